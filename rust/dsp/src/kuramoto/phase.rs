//! Phase as an integer, and its sine and cosine.
//!
//! One turn is 2^32, so wrapping is free and exact, and folding to a quarter turn costs no
//! precision: the only rounding is that of the last conversion and of the polynomial.

use super::ops::Ops;
use crate::simd::{F32x8, LANES};

/// Eight phases or phase steps; one turn is 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub(super) struct Turns(pub [i32; LANES]);

/// Units of [`Turns`] in one turn.
pub(super) const TURN: f64 = 4_294_967_296.0;

const QUARTER: i32 = 1 << 30;

/// Radians in one unit.
const UNIT: f32 = (std::f64::consts::TAU / TURN) as f32;

/// (sin x − x) / x³ in x² for |x| ≤ π/2, minimax: the sine's error is 4.6e-9 before rounding.
const SINE: [f32; 4] = [-0.166_666_57, 8.333_017e-3, -1.980_661_5e-4, 2.600_054_8e-6];

impl Turns {
    /// The same phase in all lanes.
    #[inline(always)]
    pub fn splat(v: i32) -> Self {
        Self([v; LANES])
    }

    /// Half of a phase step.
    #[inline(always)]
    pub fn half(self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] >> 1))
    }

    /// Cosine by folding |phase| to a quarter turn either way, where it is a sine.
    #[inline(always)]
    fn cos<O: Ops>(self, o: O) -> F32x8 {
        let folded = o.turn_sub(Self::splat(QUARTER), o.turn_abs(self));
        let x = o.mul(o.to_float(folded), F32x8::splat(UNIT));
        let x2 = o.mul(x, x);
        let mut p = F32x8::splat(SINE[3]);
        for c in SINE[..3].iter().rev() {
            p = o.fma(p, x2, F32x8::splat(*c));
        }
        o.fma(p, o.mul(x2, x), x)
    }

    /// Sine and cosine, each within 1.5e-7.
    #[inline(always)]
    pub fn sin_cos<O: Ops>(self, o: O) -> (F32x8, F32x8) {
        (o.turn_sub(self, Self::splat(QUARTER)).cos(o), self.cos(o))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kuramoto::kernel::{Loop, run};
    use crate::simd::Level;

    struct Eval(Turns);
    impl Loop for Eval {
        type Output = (F32x8, F32x8);
        #[inline(always)]
        fn run<O: Ops>(self, o: O) -> Self::Output {
            self.0.sin_cos(o)
        }
    }

    #[test]
    fn sine_and_cosine_are_within_1_5e_7() {
        for level in [Level::Plain, Level::detect()] {
            let mut worst = 0.0f64;
            let mut check = |p: Turns| {
                let (s, c) = run(level, Eval(p));
                for i in 0..LANES {
                    let (es, ec) = (f64::from(p.0[i]) / TURN * std::f64::consts::TAU).sin_cos();
                    worst = worst.max((f64::from(s.0[i]) - es).abs()).max((f64::from(c.0[i]) - ec).abs());
                }
            };
            for k in 0..200_000u32 {
                check(Turns(std::array::from_fn(|i| (k * 8 + i as u32).wrapping_mul(2_654_435_769) as i32)));
            }
            let edges = [i32::MIN, i32::MIN + 1, -QUARTER, -QUARTER - 1, 0, 1, QUARTER, i32::MAX];
            check(Turns(edges));
            println!("{level:?}: {worst:.3e}");
            assert!(worst < 1.5e-7, "{level:?}: {worst:e}");
        }
    }
}
