//! Eight float32 lanes in one register, for loops that the compiler does not turn into vector code
//! by itself: permutations, gathers, and a tanh of its own.
//!
//! Both kinds of register do the same operations in the same order; only fused products differ.

use super::kernel::MAX_NODES;
use crate::simd::{F32x8, LANES};

/// Operations on eight lanes, held by a proof that the CPU has them.
pub trait Lanes8: Copy {
    /// Eight float32.
    type V: Copy;

    fn load(self, a: &[f32; LANES]) -> Self::V;
    fn store(self, v: Self::V) -> [f32; LANES];
    fn splat(self, v: f32) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b + c.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// c − a b.
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller; b where a is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn abs(self, a: Self::V) -> Self::V;
    /// Size of a with the sign of b.
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V;
    /// 2^n from the lowest bits of `k`, which hold n + 127.
    fn power(self, k: Self::V) -> Self::V;
    /// Lane `i` of the result is lane `at[i]` (below 8) of `a`.
    fn permute(self, a: Self::V, at: &[u8; LANES]) -> Self::V;
    /// The values at these places, modulo `MAX_NODES`.
    fn gather(self, from: &[f32; MAX_NODES], at: &[u16; LANES]) -> Self::V;

    /// Hyperbolic tangent: within 2e-7 of the true value, both absolutely and in proportion to it,
    /// exact at ±0 and ±∞; NaN gives ±1.
    ///
    /// From e = exp(−2|x|) − 1: tanh |x| = −e / (e + 2), which loses nothing near 0.
    #[inline(always)]
    fn tanh(self, x: Self::V) -> Self::V {
        // 2^n comes from the low bits of a number so large that its last bit is worth 1.
        const MAGIC: f32 = 12_582_912.0 + 127.0;
        // (exp(r) − 1 − r) / r² on |r| ≤ ln 2 / 2, error below 1e-7 of it (Chebyshev fit).
        const P: [f32; 5] = [0.5, 0.166_665_77, 0.041_666_552, 0.008_363_297, 0.001_392_633_2];
        let c = |v| self.splat(v);
        let t = self.mul(self.min(self.abs(x), c(9.5)), c(-2.0));
        let k = self.mul_add(t, c(std::f32::consts::LOG2_E), c(MAGIC));
        let n = self.sub(k, c(MAGIC));
        let r = self.neg_mul_add(n, c(0.693_359_4), t); // ln 2 in two parts, the first short
        let r = self.neg_mul_add(n, c(-2.121_944_4e-4), r);
        let p = self.mul_add(c(P[4]), r, c(P[3]));
        let p = self.mul_add(p, r, c(P[2]));
        let p = self.mul_add(p, r, c(P[1]));
        let p = self.mul_add(p, r, c(P[0]));
        let q = self.mul_add(p, self.mul(r, r), r);
        let power = self.power(k);
        let e = self.mul_add(power, q, self.sub(power, c(1.0)));
        self.copysign(self.div(e, self.add(e, c(2.0))), x)
    }
}

/// Arrays, for any target.
#[derive(Clone, Copy)]
pub struct Arrays<const FMA: bool>;

impl<const FMA: bool> Lanes8 for Arrays<FMA> {
    type V = F32x8;

    #[inline(always)]
    fn load(self, a: &[f32; LANES]) -> F32x8 {
        F32x8(*a)
    }
    #[inline(always)]
    fn store(self, v: F32x8) -> [f32; LANES] {
        v.0
    }
    #[inline(always)]
    fn splat(self, v: f32) -> F32x8 {
        F32x8::splat(v)
    }
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
    fn div(self, a: F32x8, b: F32x8) -> F32x8 {
        F32x8(std::array::from_fn(|i| a.0[i] / b.0[i]))
    }
    #[inline(always)]
    fn mul_add(self, a: F32x8, b: F32x8, c: F32x8) -> F32x8 {
        a.mul_add::<FMA>(b, c)
    }
    #[inline(always)]
    fn neg_mul_add(self, a: F32x8, b: F32x8, c: F32x8) -> F32x8 {
        a.neg_mul_add::<FMA>(b, c)
    }
    #[inline(always)]
    fn min(self, a: F32x8, b: F32x8) -> F32x8 {
        F32x8(std::array::from_fn(|i| if a.0[i] < b.0[i] { a.0[i] } else { b.0[i] }))
    }
    #[inline(always)]
    fn abs(self, a: F32x8) -> F32x8 {
        F32x8(a.0.map(f32::abs))
    }
    #[inline(always)]
    fn copysign(self, a: F32x8, b: F32x8) -> F32x8 {
        F32x8(std::array::from_fn(|i| a.0[i].copysign(b.0[i])))
    }
    #[inline(always)]
    fn power(self, k: F32x8) -> F32x8 {
        F32x8(k.0.map(|k| f32::from_bits(k.to_bits() << 23)))
    }
    #[inline(always)]
    fn permute(self, a: F32x8, at: &[u8; LANES]) -> F32x8 {
        F32x8(at.map(|i| a.0[usize::from(i) & 7]))
    }
    #[inline(always)]
    fn gather(self, from: &[f32; MAX_NODES], at: &[u16; LANES]) -> F32x8 {
        F32x8(at.map(|i| from[usize::from(i) % MAX_NODES]))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{LANES, Lanes8, MAX_NODES};
    use pulp::x86::V3;
    use std::arch::x86_64::__m256;

    impl Lanes8 for V3 {
        type V = __m256;

        #[inline(always)]
        fn load(self, a: &[f32; LANES]) -> __m256 {
            pulp::cast(*a)
        }
        #[inline(always)]
        fn store(self, v: __m256) -> [f32; LANES] {
            pulp::cast(v)
        }
        #[inline(always)]
        fn splat(self, v: f32) -> __m256 {
            self.avx._mm256_set1_ps(v)
        }
        #[inline(always)]
        fn add(self, a: __m256, b: __m256) -> __m256 {
            self.avx._mm256_add_ps(a, b)
        }
        #[inline(always)]
        fn sub(self, a: __m256, b: __m256) -> __m256 {
            self.avx._mm256_sub_ps(a, b)
        }
        #[inline(always)]
        fn mul(self, a: __m256, b: __m256) -> __m256 {
            self.avx._mm256_mul_ps(a, b)
        }
        #[inline(always)]
        fn div(self, a: __m256, b: __m256) -> __m256 {
            self.avx._mm256_div_ps(a, b)
        }
        #[inline(always)]
        fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            self.fma._mm256_fmadd_ps(a, b, c)
        }
        #[inline(always)]
        fn neg_mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            self.fma._mm256_fnmadd_ps(a, b, c)
        }
        #[inline(always)]
        fn min(self, a: __m256, b: __m256) -> __m256 {
            self.avx._mm256_min_ps(a, b)
        }
        #[inline(always)]
        fn abs(self, a: __m256) -> __m256 {
            self.avx._mm256_andnot_ps(self.splat(-0.0), a)
        }
        #[inline(always)]
        fn copysign(self, a: __m256, b: __m256) -> __m256 {
            let sign = self.splat(-0.0);
            self.avx._mm256_or_ps(self.avx._mm256_andnot_ps(sign, a), self.avx._mm256_and_ps(sign, b))
        }
        #[inline(always)]
        fn power(self, k: __m256) -> __m256 {
            let bits = self.avx2._mm256_slli_epi32::<23>(self.avx._mm256_castps_si256(k));
            self.avx._mm256_castsi256_ps(bits)
        }
        #[inline(always)]
        fn permute(self, a: __m256, at: &[u8; LANES]) -> __m256 {
            let at = pulp::cast([u64::from_le_bytes(*at), 0]);
            self.avx2._mm256_permutevar8x32_ps(a, self.avx2._mm256_cvtepu8_epi32(at))
        }
        // Eight loads and shuffles: on Zen 4 no slower than the gather instruction, and safe.
        #[inline(always)]
        fn gather(self, from: &[f32; MAX_NODES], at: &[u16; LANES]) -> __m256 {
            let [a, b, c, d, e, f, g, h] = *at;
            self.avx._mm256_setr_ps(
                from[usize::from(a) % MAX_NODES],
                from[usize::from(b) % MAX_NODES],
                from[usize::from(c) % MAX_NODES],
                from[usize::from(d) % MAX_NODES],
                from[usize::from(e) % MAX_NODES],
                from[usize::from(f) % MAX_NODES],
                from[usize::from(g) % MAX_NODES],
                from[usize::from(h) % MAX_NODES],
            )
        }
    }
}

/// A loop over eight-lane registers.
pub trait Loop {
    /// The loop. Mark the implementation `#[inline(always)]`, and everything it calls.
    fn run<L: Lanes8>(self, lanes: L);
}

/// Runs the loop with the registers of this level. Thread: audio. Never allocates, locks or logs.
pub fn run(level: crate::simd::Level, body: impl Loop) {
    use crate::simd::{Kernel, Level};
    struct With<L, B>(L, B);
    impl<L: Lanes8, B: Loop> Kernel for With<L, B> {
        type Output = ();
        #[inline(always)]
        fn run<const FMA: bool>(self) {
            self.1.run(self.0);
        }
    }
    match level {
        Level::Plain => level.run(With(Arrays::<{ cfg!(target_arch = "aarch64") }>, body)),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(token) => level.run(With(token, body)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Level;

    #[test]
    fn tanh_is_accurate_everywhere() {
        struct Tanh<'a>(&'a mut [F32x8]);
        impl Loop for Tanh<'_> {
            #[inline(always)]
            fn run<L: Lanes8>(self, l: L) {
                self.0.iter_mut().for_each(|v| v.0 = l.store(l.tanh(l.load(&v.0))));
            }
        }
        // Every 97th float32 of either sign, infinities included.
        let bits: Vec<u32> =
            (0..=f32::INFINITY.to_bits()).step_by(97).chain([f32::INFINITY.to_bits()]).collect();
        for level in [Level::Plain, Level::detect()] {
            let (mut absolute, mut relative) = (0f64, 0f64);
            for part in bits.chunks(8) {
                for sign in [1.0, -1.0] {
                    let x = F32x8(std::array::from_fn(|i| f32::from_bits(*part.get(i).unwrap_or(&0)) * sign));
                    let mut y = [x];
                    run(level, Tanh(&mut y));
                    for (x, y) in x.0.iter().zip(y[0].0) {
                        let t = f64::from(*x).tanh();
                        let e = (f64::from(y) - t).abs();
                        absolute = absolute.max(e);
                        if x.abs() >= f32::MIN_POSITIVE {
                            relative = relative.max(e / t.abs());
                        }
                        assert!(
                            y.abs() <= 1.0 && y.is_sign_negative() == x.is_sign_negative(),
                            "tanh {x} = {y}"
                        );
                    }
                }
            }
            println!("{level:?}: tanh error {absolute:.2e}, relative {relative:.2e}");
            assert!(absolute < 2e-7 && relative < 2e-7, "{absolute:e} {relative:e}");
        }
        let mut nan = [F32x8::splat(f32::NAN)];
        run(Level::detect(), Tanh(&mut nan));
        assert!(nan[0].0[0].abs() == 1.0);
    }
}
