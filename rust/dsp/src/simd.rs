//! Run-time choice of instruction set, and the eight-lane vector the inner loops are written in.
//!
//! A kernel is written once, over [`F32x8`], generic in `FMA`, as a [`Kernel`]. [`Level::run`]
//! compiles it twice: for AVX2 with fused multiply-add, and for the plain target. The order of
//! operations is the same in both, so the two differ only by the rounding of fused products, and
//! results never depend on how many lanes a machine has. `pulp` carries the proof that the CPU has
//! the instructions, so no `unsafe` is needed here.

use std::ops::{Add, Mul, Sub};

/// Lanes of [`F32x8`].
pub const LANES: usize = 8;

/// Instruction set of the inner loops, found once in `prepare`.
#[derive(Clone, Copy, Debug)]
pub enum Level {
    /// What the target always has (SSE2 on x86-64, NEON on AArch64).
    Plain,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
}

/// A loop to be compiled for each [`Level`].
pub trait Kernel {
    /// What the loop returns.
    type Output;
    /// The loop. Mark the implementation `#[inline(always)]`, and everything it calls, or it will
    /// be compiled for the plain target.
    fn run<const FMA: bool>(self) -> Self::Output;
}

impl Level {
    /// The best level of this machine. `CSPACE_SIMD=plain` forces the fallback. Thread: control.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::env::var_os("CSPACE_SIMD").is_none_or(|v| v != "plain")
            && let Some(token) = pulp::x86::V3::try_new()
        {
            return Self::Avx2(token);
        }
        Self::Plain
    }

    /// Runs the kernel with this instruction set. Thread: audio. Never allocates, locks or logs.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            // NEON has fused multiply-add in its base set; SSE2 has not, and there a fused product
            // would be a slow library call.
            Self::Plain => kernel.run::<{ cfg!(target_arch = "aarch64") }>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => {
                struct Run<K>(K);
                impl<K: Kernel> pulp::NullaryFnOnce for Run<K> {
                    type Output = K::Output;
                    #[inline(always)]
                    fn call(self) -> K::Output {
                        self.0.run::<true>()
                    }
                }
                token.vectorize(Run(kernel))
            }
        }
    }
}

/// Eight float32 lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C, align(32))]
pub struct F32x8(pub [f32; LANES]);

impl F32x8 {
    /// All lanes zero.
    pub const ZERO: Self = Self([0.0; LANES]);

    /// The same value in all lanes.
    #[inline(always)]
    pub fn splat(v: f32) -> Self {
        Self([v; LANES])
    }

    /// `self * b + c`; fused if `FMA`.
    #[inline(always)]
    pub fn mul_add<const FMA: bool>(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if FMA { self.0[i].mul_add(b.0[i], c.0[i]) } else { self.0[i] * b.0[i] + c.0[i] }
        }))
    }

    /// `c - self * b`; fused if `FMA`.
    #[inline(always)]
    pub fn neg_mul_add<const FMA: bool>(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| {
            if FMA { (-self.0[i]).mul_add(b.0[i], c.0[i]) } else { c.0[i] - self.0[i] * b.0[i] }
        }))
    }

    /// The sum of the lanes, in a fixed order (pairs, then pairs of pairs).
    #[inline(always)]
    pub fn sum(self) -> f32 {
        let a = self.0;
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
}

macro_rules! lanewise {
    ($trait:ident, $method:ident, $op:tt) => {
        impl $trait for F32x8 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, b: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i] $op b.0[i]))
            }
        }
    };
}
lanewise!(Add, add, +);
lanewise!(Sub, sub, -);
lanewise!(Mul, mul, *);
