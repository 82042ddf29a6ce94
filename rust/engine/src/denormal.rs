//! Denormal numbers cost a hundred cycles each and are never heard: flush them while audio runs.

/// Flushes denormals to zero until dropped, on this thread. The caller's floating-point mode comes
/// back afterwards, since the thread belongs to the host.
pub struct FlushDenormals {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    before: u64,
}

#[cfg(target_arch = "x86_64")]
mod mode {
    /// Flush-to-zero (results) and denormals-are-zero (operands).
    pub const FLUSH: u64 = (1 << 15) | (1 << 6);
    pub fn get() -> u64 {
        let mut word = 0u32;
        // SAFETY: stores the 32-bit MXCSR to a local of that size.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut word, options(nostack, preserves_flags)) };
        u64::from(word)
    }
    pub fn set(word: u64) {
        let word = word as u32;
        // SAFETY: loads MXCSR with the value it had plus the two flush bits, or the one it had.
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const word, options(nostack, preserves_flags))
        };
    }
}

#[cfg(target_arch = "aarch64")]
mod mode {
    /// FZ: flush to zero.
    pub const FLUSH: u64 = 1 << 24;
    pub fn get() -> u64 {
        let word: u64;
        // SAFETY: reads the floating-point control register.
        unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) word) };
        word
    }
    pub fn set(word: u64) {
        // SAFETY: writes back the register's own value, with the flush bit set or as it was.
        unsafe { std::arch::asm!("msr fpcr, {}", in(reg) word) };
    }
}

impl FlushDenormals {
    /// Thread: audio. Never allocates, locks or logs.
    #[must_use = "flushing ends when this is dropped"]
    pub fn new() -> Self {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        {
            let before = mode::get();
            mode::set(before | mode::FLUSH);
            Self { before }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        Self {}
    }
}

impl Default for FlushDenormals {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for FlushDenormals {
    fn drop(&mut self) {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        mode::set(self.before);
    }
}

/// Brings this thread's floating-point mode back when dropped, whatever happened in between: plugin
/// files built with `-ffast-math` change it merely by being loaded, and then Python, NumPy and
/// everything else of the thread compute without denormals.
pub struct KeepFloatMode {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    before: u64,
}

impl KeepFloatMode {
    /// Thread: any; must be dropped on the same one.
    #[must_use = "the mode comes back when this is dropped"]
    pub fn new() -> Self {
        Self {
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            before: mode::get(),
        }
    }
}

impl Default for KeepFloatMode {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for KeepFloatMode {
    fn drop(&mut self) {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        mode::set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn a_changed_mode_comes_back() {
        let keep = KeepFloatMode::new();
        std::mem::forget(FlushDenormals::new());
        assert_eq!(black_box(1e-40f32) * black_box(0.5), 0.0);
        drop(keep);
        assert!(black_box(1e-40f32) * black_box(0.5) > 0.0);
    }

    #[test]
    fn flushes_inside_and_restores_outside() {
        let tiny = 1e-40f32;
        assert!(black_box(tiny) * black_box(0.5) > 0.0);
        {
            let _flush = FlushDenormals::new();
            assert_eq!(black_box(tiny) * black_box(0.5), 0.0);
        }
        assert!(black_box(tiny) * black_box(0.5) > 0.0);
    }
}
