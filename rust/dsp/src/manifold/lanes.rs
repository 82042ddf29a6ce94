//! Eight-lane loads and stores, and the transcendental functions of the inner loops.

use crate::simd::{F32x8, LANES};

/// The next multiple of `LANES`.
pub fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

#[inline(always)]
pub fn load(x: &[f32]) -> F32x8 {
    F32x8(std::array::from_fn(|i| x[i]))
}

#[inline(always)]
pub fn store(v: F32x8, x: &mut [f32]) {
    x[..LANES].copy_from_slice(&v.0);
}

/// Adding and taking away 1.5 · 2^23 rounds to a whole number; its bits then hold that number.
const ROUND: f32 = 12_582_912.0;

/// Past this the reduction by π loses digits, and the library's sine is taken.
const FAR: f32 = 8192.0;

/// Sine, to 2e-7 absolutely.
#[inline(always)]
pub fn sin<const FMA: bool>(x: F32x8) -> F32x8 {
    if x.0.iter().any(|v| v.abs() > FAR || v.is_nan()) {
        return F32x8(std::array::from_fn(|i| x.0[i].sin()));
    }
    // π in three parts, the first two exact in products with n (Cody and Waite).
    const PI: [f32; 3] = [3.140_625, 9.670_257_6e-4, 6.277_114e-7];
    const C: [f32; 5] = [-1.0 / 6.0, 1.0 / 120.0, -1.0 / 5_040.0, 1.0 / 362_880.0, -1.0 / 39_916_800.0];
    let round = F32x8::splat(ROUND);
    let n = x.mul_add::<FMA>(F32x8::splat(std::f32::consts::FRAC_1_PI), round) - round;
    let mut r = x;
    for part in PI {
        r = n.neg_mul_add::<FMA>(F32x8::splat(part), r);
    }
    // 1 for even n, −1 for odd.
    let half = n.mul_add::<FMA>(F32x8::splat(0.5), round) - round;
    let odd = n - half * F32x8::splat(2.0);
    let sign = F32x8::splat(1.0) - odd * odd * F32x8::splat(2.0);
    let r2 = r * r;
    let mut p = F32x8::splat(C[4]);
    for c in [C[3], C[2], C[1], C[0]] {
        p = p.mul_add::<FMA>(r2, F32x8::splat(c));
    }
    (r * r2).mul_add::<FMA>(p, r) * sign
}

/// e^x, to 2e-7 of its value; clamped where float32 ends.
#[inline(always)]
pub fn exp<const FMA: bool>(x: F32x8) -> F32x8 {
    const C: [f32; 6] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];
    let x = F32x8(std::array::from_fn(|i| x.0[i].clamp(-87.0, 88.0)));
    let round = F32x8::splat(ROUND);
    let shifted = x.mul_add::<FMA>(F32x8::splat(std::f32::consts::LOG2_E), round);
    let n = shifted - round;
    let r = n.neg_mul_add::<FMA>(F32x8::splat(0.693_145_75), x);
    let r = n.neg_mul_add::<FMA>(F32x8::splat(1.428_606_8e-6), r);
    let mut p = F32x8::splat(C[0]);
    for c in &C[1..] {
        p = p.mul_add::<FMA>(r, F32x8::splat(*c));
    }
    let p = p.mul_add::<FMA>(r, F32x8::splat(1.0));
    F32x8(std::array::from_fn(|i| {
        let n = shifted.0[i].to_bits().wrapping_sub(ROUND.to_bits());
        p.0[i] * f32::from_bits(n.wrapping_add(127) << 23)
    }))
}

/// x · sigmoid(x).
#[inline(always)]
pub fn silu<const FMA: bool>(x: F32x8) -> F32x8 {
    let e = exp::<FMA>(F32x8(std::array::from_fn(|i| -x.0[i])));
    F32x8(std::array::from_fn(|i| x.0[i] / (1.0 + e.0[i])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(f: impl Fn(F32x8) -> F32x8, want: impl Fn(f64) -> f64, from: f64, to: f64) -> f64 {
        let mut worst = 0f64;
        for i in 0..20_000 {
            let x = (from + (to - from) * f64::from(i) / 20_000.0) as f32;
            let got = f64::from(f(F32x8::splat(x)).0[3]);
            let want = want(f64::from(x));
            worst = worst.max((got - want).abs() / want.abs().max(1.0));
        }
        worst
    }

    #[test]
    fn functions_equal_float64() {
        for (from, to) in [(-2.0, 2.0), (-40.0, 40.0), (-8000.0, 8000.0), (1e6, 2e6)] {
            let (plain, fused) =
                (worst(sin::<false>, f64::sin, from, to), worst(sin::<true>, f64::sin, from, to));
            assert!(plain < 1e-6 && fused < 1e-6, "sin from {from} to {to}: {plain:e}, {fused:e}");
        }
        for (from, to) in [(-86.0, 0.0), (0.0, 87.0)] {
            let (plain, fused) =
                (worst(exp::<false>, f64::exp, from, to), worst(exp::<true>, f64::exp, from, to));
            assert!(plain < 1e-6 && fused < 1e-6, "exp from {from} to {to}: {plain:e}, {fused:e}");
        }
        let silu64 = |x: f64| x / (1.0 + (-x).exp());
        assert!(worst(silu::<true>, silu64, -200.0, 200.0) < 1e-6);
        assert!(worst(silu::<false>, silu64, -200.0, 200.0) < 1e-6);
    }
}
