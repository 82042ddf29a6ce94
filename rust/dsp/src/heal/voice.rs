//! Sound that goes on: a model fed with what it says itself.

use crate::simd::{Kernel, Level};
use crate::{StateError, StateIo};

use super::line::Lines;

const WIDE: usize = 4;

/// Σ a[i] x[i], in four sums of four lanes.
struct Dot<'a> {
    a: &'a [f64],
    x: &'a [f64],
}

impl Kernel for Dot<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        const STEP: usize = 4 * WIDE;
        let mut sums = [0.0; STEP];
        let (a, rest_a) = self.a.as_chunks::<STEP>();
        let (x, rest_x) = self.x.as_chunks::<STEP>();
        let rest: f64 = rest_a.iter().zip(rest_x).map(|(a, x)| a * x).sum();
        for (a, x) in a.iter().zip(x) {
            for i in 0..STEP {
                sums[i] = if FMA { a[i].mul_add(x[i], sums[i]) } else { a[i] * x[i] + sums[i] };
            }
        }
        let mut four = [0.0; WIDE];
        for (i, s) in sums.iter().enumerate() {
            four[i % WIDE] += s;
        }
        (four[0] + four[2]) + (four[1] + four[3]) + rest
    }
}

/// One model running on, one channel.
pub struct Voice {
    coefficients: Vec<f64>,
    /// The newest sample at `at`, older ones after it; written twice, `order` apart, so that
    /// `order` of them always lie in a row.
    past: Vec<f64>,
    at: usize,
    /// No sample is larger than this.
    bound: f64,
}

impl Voice {
    /// Thread: control. Allocates.
    pub fn new(order: usize) -> Self {
        Self { coefficients: vec![0.0; order], past: vec![0.0; 2 * order], at: 0, bound: 0.0 }
    }

    /// Thread: audio.
    pub fn clear(&mut self) {
        self.coefficients.fill(0.0);
        self.past.fill(0.0);
        self.at = 0;
        self.bound = 0.0;
    }

    /// To go on from before sample `end` with these coefficients, never beyond `bound`: a model may
    /// swell before it decays. Thread: audio. Never allocates, locks or logs.
    pub fn start(&mut self, coefficients: &[f64], lines: &Lines, channel: usize, end: u64, bound: f64) {
        let order = self.coefficients.len();
        self.coefficients.copy_from_slice(coefficients);
        for i in 0..order {
            let x = f64::from(lines.at(channel, end - 1 - i as u64));
            (self.past[i], self.past[i + order]) = (x, x);
        }
        self.at = 0;
        self.bound = bound;
    }

    /// Goes on with other coefficients. Thread: audio.
    pub fn adopt(&mut self, coefficients: &[f64]) {
        self.coefficients.copy_from_slice(coefficients);
    }

    /// The next sample. Thread: audio. Never allocates, locks or logs.
    pub fn tick(&mut self, level: Level) -> f64 {
        let order = self.coefficients.len();
        let y = level.run(Dot { a: &self.coefficients, x: &self.past[self.at..][..order] });
        // Below -400 dB it is silence; this keeps denormals out.
        let y = if y.abs() < 1e-20 || !y.is_finite() { 0.0 } else { y.clamp(-self.bound, self.bound) };
        self.at = if self.at == 0 { order - 1 } else { self.at - 1 };
        (self.past[self.at], self.past[self.at + order]) = (y, y);
        y
    }

    /// Saves or restores.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f64s(&mut self.coefficients)?;
        io.f64s(&mut self.past)?;
        io.usize(&mut self.at)?;
        io.f64(&mut self.bound)
    }
}
