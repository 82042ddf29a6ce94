//! The fade at the start and at the end of a device: a stream that opens or closes in the middle of a
//! sound would click. Files have none: what is written is what a render gives, bit for bit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How the control side closes the gate, and hears that it is closed.
#[derive(Debug, Default)]
pub struct GateSwitch {
    closing: AtomicBool,
    silent: AtomicBool,
}

impl GateSwitch {
    /// Lets sound pass again. Thread: control.
    pub(crate) fn open(&self) {
        self.closing.store(false, Ordering::Release);
        self.silent.store(false, Ordering::Release);
    }

    /// Fades the device's sound out and waits until it is silent, at most `patience`. False where the
    /// device has not asked for that many blocks by then. Thread: control. Sleeps.
    pub fn fade_out(&self, patience: Duration) -> bool {
        self.closing.store(true, Ordering::Release);
        let until = Instant::now() + patience;
        while !self.silent.load(Ordering::Acquire) {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

/// The gain at the very end of the audio half of a device: a straight line between 0 and 1.
pub(crate) struct Gate {
    length: usize,
    open: usize, // frames of the fade that are done: 0 is silence, `length` leaves every bit alone
}

impl Gate {
    /// An open one: whoever drives an engine by hand gets its samples as they are.
    pub fn new(length: usize) -> Self {
        let length = length.max(1);
        Self { length, open: length }
    }

    /// From here on the sound fades in. Thread: control, while no device runs.
    pub fn shut(&mut self) {
        self.open = 0;
    }

    /// Scales interleaved sound in place. Thread: audio. Never allocates, locks or logs.
    pub fn pass(&mut self, output: &mut [f32], channels: usize, switch: &GateSwitch) {
        let closing = switch.closing.load(Ordering::Acquire);
        if !closing && self.open == self.length {
            return;
        }
        for frame in output.chunks_exact_mut(channels) {
            self.open = if closing { self.open.saturating_sub(1) } else { (self.open + 1).min(self.length) };
            if self.open < self.length {
                let gain = self.open as f32 / self.length as f32;
                frame.iter_mut().for_each(|x| *x *= gain);
            }
        }
        if closing && self.open == 0 {
            switch.silent.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, GateSwitch};
    use std::time::Duration;

    fn shut() -> (Gate, GateSwitch) {
        let mut gate = Gate::new(480);
        gate.shut();
        (gate, GateSwitch::default())
    }

    #[test]
    fn a_step_becomes_a_ramp_at_both_ends_and_leaves_the_middle_alone() {
        let (mut gate, switch) = shut();
        let mut all = Vec::new();
        for block in 0..30 {
            if block == 15 {
                assert!(!switch.fade_out(Duration::ZERO)); // not yet silent
            }
            let mut x = vec![0.5f32; 2 * 64];
            gate.pass(&mut x, 2, &switch);
            all.extend(x);
        }
        assert!(switch.fade_out(Duration::ZERO));
        let left: Vec<f32> = all.iter().step_by(2).copied().collect();
        assert!(left.windows(2).all(|w| (w[1] - w[0]).abs() <= 0.5 / 480.0 * 1.001));
        assert!(left[479..15 * 64].iter().all(|&x| x == 0.5));
        assert_eq!(left[15 * 64 + 479..], vec![0.0; 15 * 64 - 479]);
        assert!(left[0] <= 0.5 / 480.0);
    }

    #[test]
    fn a_gate_shut_again_opens_again_and_may_close_while_it_opens() {
        let (mut gate, switch) = shut();
        let mut x = vec![1.0f32; 240];
        gate.pass(&mut x, 1, &switch);
        assert_eq!(x[239], 0.5);
        assert!(!switch.fade_out(Duration::ZERO));
        let mut y = vec![1.0f32; 240];
        gate.pass(&mut y, 1, &switch);
        assert!(y[0] < 0.5 && y[239] == 0.0);
        assert!(switch.fade_out(Duration::ZERO));
        gate.shut();
        switch.open();
        let mut z = vec![1.0f32; 960];
        gate.pass(&mut z, 1, &switch);
        assert!(z[0] < 0.01 && z[479..].iter().all(|&v| v == 1.0));
    }
}
