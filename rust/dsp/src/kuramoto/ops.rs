//! The vector operations of the inner loop, once for each instruction set.
//!
//! The compiler joins most lane-wise loops into AVX2 instructions by itself, but not one that
//! mixes floats and integers as the phase loop does (it was 3 times slower), so here each
//! operation names its instruction. `pulp` carries the proof that the CPU has it.

use super::phase::Turns;
use crate::simd::F32x8;
use std::array::from_fn;

/// Operations on eight lanes.
pub(super) trait Ops: Copy {
    fn add(self, a: F32x8, b: F32x8) -> F32x8;
    fn sub(self, a: F32x8, b: F32x8) -> F32x8;
    fn mul(self, a: F32x8, b: F32x8) -> F32x8;
    /// 1/√a, both steps correctly rounded: the same on every machine.
    fn rsqrt(self, a: F32x8) -> F32x8;
    /// Within ±`limit`; NaN gives a number within.
    fn clamp(self, a: F32x8, limit: F32x8) -> F32x8;
    /// a b + c, fused where the hardware does it.
    fn fma(self, a: F32x8, b: F32x8, c: F32x8) -> F32x8;
    /// c − a b, fused where the hardware does it.
    fn fnma(self, a: F32x8, b: F32x8, c: F32x8) -> F32x8;
    /// Sum, wrapping at whole turns.
    fn turn_add(self, a: Turns, b: Turns) -> Turns;
    /// Difference, wrapping at whole turns.
    fn turn_sub(self, a: Turns, b: Turns) -> Turns;
    /// Absolute value; half a turn stays as it is.
    fn turn_abs(self, a: Turns) -> Turns;
    /// Units as floats.
    fn to_float(self, a: Turns) -> F32x8;
    /// Rounds towards zero; for less than half a turn.
    fn to_turns(self, a: F32x8) -> Turns;
}

/// For any machine; products are fused if `FMA`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Portable<const FMA: bool>;

impl<const FMA: bool> Ops for Portable<FMA> {
    #[inline(always)]
    fn add(self, a: F32x8, b: F32x8) -> F32x8 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: F32x8, b: F32x8) -> F32x8 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: F32x8, b: F32x8) -> F32x8 {
        a * b
    }
    #[inline(always)]
    fn rsqrt(self, a: F32x8) -> F32x8 {
        F32x8(from_fn(|i| 1.0 / a.0[i].sqrt()))
    }
    #[inline(always)]
    fn clamp(self, a: F32x8, limit: F32x8) -> F32x8 {
        F32x8(from_fn(|i| a.0[i].max(-limit.0[i]).min(limit.0[i])))
    }
    #[inline(always)]
    fn fma(self, a: F32x8, b: F32x8, c: F32x8) -> F32x8 {
        a.mul_add::<FMA>(b, c)
    }
    #[inline(always)]
    fn fnma(self, a: F32x8, b: F32x8, c: F32x8) -> F32x8 {
        a.neg_mul_add::<FMA>(b, c)
    }
    #[inline(always)]
    fn turn_add(self, a: Turns, b: Turns) -> Turns {
        Turns(from_fn(|i| a.0[i].wrapping_add(b.0[i])))
    }
    #[inline(always)]
    fn turn_sub(self, a: Turns, b: Turns) -> Turns {
        Turns(from_fn(|i| a.0[i].wrapping_sub(b.0[i])))
    }
    #[inline(always)]
    fn turn_abs(self, a: Turns) -> Turns {
        Turns(from_fn(|i| a.0[i].wrapping_abs()))
    }
    #[inline(always)]
    fn to_float(self, a: Turns) -> F32x8 {
        F32x8(from_fn(|i| a.0[i] as f32))
    }
    #[inline(always)]
    fn to_turns(self, a: F32x8) -> Turns {
        Turns(from_fn(|i| a.0[i] as i32))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::*;
    use pulp::cast;
    use pulp::x86::V3;
    use std::arch::x86_64::{__m256, __m256i};

    // `pulp::cast!`, unlike `pulp::cast`, stays free where debug assertions are on.
    #[inline(always)]
    fn f(v: F32x8) -> __m256 {
        cast!(v.0)
    }
    #[inline(always)]
    fn i(v: Turns) -> __m256i {
        cast!(v.0)
    }

    impl Ops for V3 {
        #[inline(always)]
        fn add(self, a: F32x8, b: F32x8) -> F32x8 {
            F32x8(cast!(self.avx._mm256_add_ps(f(a), f(b))))
        }
        #[inline(always)]
        fn sub(self, a: F32x8, b: F32x8) -> F32x8 {
            F32x8(cast!(self.avx._mm256_sub_ps(f(a), f(b))))
        }
        #[inline(always)]
        fn mul(self, a: F32x8, b: F32x8) -> F32x8 {
            F32x8(cast!(self.avx._mm256_mul_ps(f(a), f(b))))
        }
        #[inline(always)]
        fn rsqrt(self, a: F32x8) -> F32x8 {
            let root = self.avx._mm256_sqrt_ps(f(a));
            F32x8(cast!(self.avx._mm256_div_ps(f(F32x8::splat(1.0)), root)))
        }
        #[inline(always)]
        fn clamp(self, a: F32x8, limit: F32x8) -> F32x8 {
            let low = self.sub(F32x8::ZERO, limit);
            // Of a NaN and a number these two take the second argument.
            let above = self.avx._mm256_max_ps(f(a), f(low));
            F32x8(cast!(self.avx._mm256_min_ps(above, f(limit))))
        }
        #[inline(always)]
        fn fma(self, a: F32x8, b: F32x8, c: F32x8) -> F32x8 {
            F32x8(cast!(self.fma._mm256_fmadd_ps(f(a), f(b), f(c))))
        }
        #[inline(always)]
        fn fnma(self, a: F32x8, b: F32x8, c: F32x8) -> F32x8 {
            F32x8(cast!(self.fma._mm256_fnmadd_ps(f(a), f(b), f(c))))
        }
        #[inline(always)]
        fn turn_add(self, a: Turns, b: Turns) -> Turns {
            Turns(cast!(self.avx2._mm256_add_epi32(i(a), i(b))))
        }
        #[inline(always)]
        fn turn_sub(self, a: Turns, b: Turns) -> Turns {
            Turns(cast!(self.avx2._mm256_sub_epi32(i(a), i(b))))
        }
        #[inline(always)]
        fn turn_abs(self, a: Turns) -> Turns {
            Turns(cast!(self.avx2._mm256_abs_epi32(i(a))))
        }
        #[inline(always)]
        fn to_float(self, a: Turns) -> F32x8 {
            F32x8(cast!(self.avx._mm256_cvtepi32_ps(i(a))))
        }
        #[inline(always)]
        fn to_turns(self, a: F32x8) -> Turns {
            Turns(cast!(self.avx._mm256_cvttps_epi32(f(a))))
        }
    }
}
