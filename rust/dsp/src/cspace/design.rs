//! Where the oscillators lie, and the weights that add them up to the input again.
//!
//! Thread: control throughout. Everything here is float64.

use super::bank::{Complex, Pole};
use std::f64::consts::{LN_2, PI, TAU};

/// `n` frequencies from `low` to `high`, evenly spaced on a log scale (one alone lies at `low`).
pub fn log_spaced(n: usize, low: f64, high: f64) -> Vec<f64> {
    let step = (high / low).ln() / (n.max(2) - 1) as f64;
    (0..n).map(|k| low * (step * k as f64).exp()).collect()
}

/// Constant Q: a pole of radius exp(−π f / (q sample_rate)) at each frequency.
pub fn constant_q(hz: &[f64], q: f64, sample_rate: f64) -> Vec<Pole> {
    hz.iter().map(|&f| Pole::from_q(f, q, sample_rate)).collect()
}

/// The original's law: the radius walks from `r_low` to `r_high` in equal steps per oscillator.
pub fn legacy(hz: &[f64], r_low: f64, r_high: f64, sample_rate: f64) -> Vec<Pole> {
    let last = (hz.len().max(2) - 1) as f64;
    let radius = |k: usize| r_low + (r_high - r_low) * k as f64 / last;
    hz.iter().enumerate().map(|(k, &f)| Pole::from_radius(f, radius(k), sample_rate)).collect()
}

/// What a complex exponential of `omega` radians per sample becomes in this oscillator:
/// b / (1 − λ e^{−jω}), 1 at the centre.
pub fn response(pole: &Pole, omega: f64) -> Complex {
    // 1 − e^{−s} without cancellation, s = decay + j (ω − angle).
    let (half, delta) = ((0.5 * (omega - pole.angle)).sin(), omega - pole.angle);
    let shrink = (-pole.decay).exp_m1();
    let re = -shrink * delta.cos() + 2.0 * half * half;
    let im = (1.0 + shrink) * delta.sin();
    Complex::new(pole.unit_drive(), 0.0) / Complex::new(re, im)
}

/// What the weighted sum Σ Re(w z) makes of a real tone of `hz`: gain and phase.
pub fn sum_response(poles: &[Pole], weights: &[Complex], hz: f64, sample_rate: f64) -> Complex {
    let omega = TAU * hz / sample_rate;
    let (plus, minus) = sides(poles, weights, omega);
    (plus + minus.conj()) * 0.5
}

/// How far the image of a tone of `hz` lies below the tone when Σ w z is rotated by a frequency
/// offset: |response at −f| / |response at f|.
pub fn image_ratio(poles: &[Pole], weights: &[Complex], hz: f64, sample_rate: f64) -> f64 {
    let (plus, minus) = sides(poles, weights, TAU * hz / sample_rate);
    minus.norm() / plus.norm()
}

fn sides(poles: &[Pole], weights: &[Complex], omega: f64) -> (Complex, Complex) {
    let sum = |omega: f64| poles.iter().zip(weights).map(|(p, w)| response(p, omega) * w).sum::<Complex>();
    (sum(omega), sum(-omega))
}

/// What the weighted sum is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// The input itself, without delay. Bands overlap widely, and Σ w z is far from analytic.
    Prompt,
    /// The input all-passed: each frequency comes `cycles` of its own periods late. Bands are
    /// narrow and Σ w z is analytic, so that it can be shifted in frequency.
    Dispersed {
        /// Delay in periods of each frequency.
        cycles: f64,
    },
}

impl Target {
    /// Response wanted at `hz`; `center` is where the phase is 0.
    pub fn response(self, hz: f64, center: f64) -> Complex {
        match self {
            Self::Prompt => Complex::ONE,
            Self::Dispersed { cycles } => Complex::cis(-TAU * cycles * (hz / center).ln()),
        }
    }
}

/// Most unknowns solved for; a bank with more oscillators gets weights interpolated between this
/// many, which its overlap makes as good.
const KNOTS: usize = 96;
/// Weight of the size of the solution against its error, per unknown.
const REGULARISATION: f64 = 1e-3;
/// Weight of the image's error against the sum's. 3 puts the image 50 dB down and costs the sum
/// nothing; more only makes the weights large.
const IMAGE_WEIGHT: f64 = 3.0;

/// Weights for which Σ Re(w z) meets the target between the lowest and the highest centre, by
/// regularised least squares on a log-frequency grid (each octave counts the same).
///
/// `hz` are the centres of `poles`, rising. Costs about 10 ms at 64 oscillators and more.
pub fn weights(hz: &[f64], poles: &[Pole], target: Target, sample_rate: f64) -> Vec<Complex> {
    let n = poles.len();
    if n == 0 {
        return Vec::new();
    }
    let knots = n.min(KNOTS);
    // Oscillator k takes (1 − t) of knot j and t of knot j + 1.
    let hats: Vec<(usize, f64)> = (0..n)
        .map(|k| {
            let at = if n > knots { k as f64 * (knots - 1) as f64 / (n - 1) as f64 } else { k as f64 };
            let j = (at.floor() as usize).min(knots.saturating_sub(2));
            (j, at - j as f64)
        })
        .collect();
    let center = (hz[0] * hz[n - 1]).sqrt();
    // The unknowns u are the weights turned back by the target's phase: they hardly change from
    // one oscillator to the next, so that they can be interpolated.
    let turns: Vec<Complex> = hz.iter().map(|&f| target.response(f, center)).collect();
    let points = 4 * knots;
    let mut system = Normal::new(2 * knots);
    for i in 0..=points {
        let f = hz[0] * (hz[n - 1] / hz[0]).powf(i as f64 / points as f64);
        let omega = TAU * f / sample_rate;
        let mut sides = [vec![Complex::ZERO; knots], vec![Complex::ZERO; knots]];
        for (side, omega) in sides.iter_mut().zip([omega, -omega]) {
            for ((p, turn), &(j, t)) in poles.iter().zip(&turns).zip(&hats) {
                let h = response(p, omega) * turn * 0.5;
                side[j] += h * (1.0 - t);
                if t > 0.0 {
                    side[j + 1] += h * t;
                }
            }
        }
        let [plus, mut minus] = sides;
        // plus·u + conj(minus)·conj(u) = wanted
        system.add(&plus, Some(&minus), target.response(f, center));
        if target != Target::Prompt {
            // minus·u = 0
            minus.iter_mut().for_each(|m| *m *= IMAGE_WEIGHT);
            system.add(&minus, None, Complex::ZERO);
        }
    }
    let x = system.solve(REGULARISATION);
    let knot = |j: usize| Complex::new(x[j], x[knots + j]);
    let between =
        |&(j, t): &(usize, f64)| if t > 0.0 { knot(j) * (1.0 - t) + knot(j + 1) * t } else { knot(j) };
    hats.iter().zip(turns).map(|(hat, turn)| between(hat) * turn).collect()
}

/// Normal equations of a real least-squares problem, gathered row by row.
struct Normal {
    size: usize,
    matrix: Vec<f64>,
    right: Vec<f64>,
    rows: Vec<f64>,
    waiting: usize,
}

/// Rows added to the matrix in one sweep; spares memory traffic.
const SWEEP: usize = 8;

impl Normal {
    fn new(size: usize) -> Self {
        Self {
            size,
            matrix: vec![0.0; size * size],
            right: vec![0.0; size],
            rows: vec![0.0; SWEEP * size],
            waiting: 0,
        }
    }

    /// The complex equation Σ plus·w + conj(minus)·conj(w) = wanted as two real rows over
    /// (Re w, Im w).
    fn add(&mut self, plus: &[Complex], minus: Option<&[Complex]>, wanted: Complex) {
        let k = plus.len();
        for part in 0..2 {
            let row = &mut self.rows[self.waiting * self.size..][..self.size];
            for j in 0..k {
                let m = minus.map_or(Complex::ZERO, |m| m[j].conj());
                let (of_re, of_im) = (plus[j] + m, Complex::I * (plus[j] - m));
                (row[j], row[k + j]) = if part == 0 { (of_re.re, of_im.re) } else { (of_re.im, of_im.im) };
            }
            let y = if part == 0 { wanted.re } else { wanted.im };
            self.right.iter_mut().zip(&*row).for_each(|(r, v)| *r += y * v);
            self.waiting += 1;
        }
        if self.waiting == SWEEP {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let n = self.size;
        let rows: [&[f64]; SWEEP] = std::array::from_fn(|s| &self.rows[s * n..][..n]);
        for i in 0..n {
            let factor: [f64; SWEEP] = std::array::from_fn(|s| rows[s][i]);
            for (j, m) in self.matrix[i * n..][..=i].iter_mut().enumerate() {
                *m += (0..SWEEP).map(|s| factor[s] * rows[s][j]).sum::<f64>();
            }
        }
        self.rows.fill(0.0);
        self.waiting = 0;
    }

    /// Adds `regularisation` times the mean of the diagonal to it and solves by Cholesky.
    fn solve(mut self, regularisation: f64) -> Vec<f64> {
        self.sweep();
        let (n, mut a, mut x) = (self.size, self.matrix, self.right);
        let lift = regularisation * (0..n).map(|i| a[i * n + i]).sum::<f64>() / n as f64;
        for i in 0..n {
            a[i * n + i] += lift;
            for j in 0..=i {
                let (head, row) = a.split_at_mut(i * n);
                let other = if j < i { &head[j * n..][..n] } else { &*row };
                let dot: f64 = row[..j].iter().zip(&other[..j]).map(|(p, q)| p * q).sum();
                let value = row[j] - dot;
                a[i * n + j] = if i == j { value.sqrt() } else { value / a[j * n + j] };
            }
        }
        for i in 0..n {
            let dot: f64 = (0..i).map(|j| a[i * n + j] * x[j]).sum();
            x[i] = (x[i] - dot) / a[i * n + i];
        }
        for i in (0..n).rev() {
            let dot: f64 = (i + 1..n).map(|j| a[j * n + i] * x[j]).sum();
            x[i] = (x[i] - dot) / a[i * n + i];
        }
        x
    }
}

/// μ in float32 for a pole on the unit circle, chosen among the neighbours of the rounded value so
/// that |1 + μ| is 1 to about 1e-10: an oscillator that is to ring for minutes must not drift in
/// level. The frequency is off by less than 1e-5 of itself.
pub fn undamped(angle: f64) -> (f32, f32) {
    let (sine, half) = (angle.sin(), (0.5 * angle).sin());
    let re = -2.0 * half * half;
    // The smaller of sin and |cos| is walked, and the other follows from it: near its extreme each
    // of them says too little about the angle.
    let walk_im = sine < angle.cos().abs();
    let exact = if walk_im { sine } else { re } as f32;
    let mut best = (f64::INFINITY, re as f32, sine as f32);
    for offset in -64i32..=64 {
        let walked = f32::from_bits(exact.to_bits().wrapping_add_signed(offset));
        let w = f64::from(walked);
        let (re, im) = if walk_im {
            // sqrt(1 − im²) − 1 without cancellation; past a quarter turn the cosine is negative.
            let cosine = (1.0 - w * w).sqrt();
            (if angle < 0.5 * PI { -w * w / (1.0 + cosine) } else { -cosine - 1.0 } as f32, walked)
        } else {
            (walked, (-w * (2.0 + w)).sqrt() as f32)
        };
        let (re64, im64) = (f64::from(re), f64::from(im));
        let error = (re64 * (2.0 + re64) + im64 * im64).abs();
        if error < best.0 {
            best = (error, re, im);
        }
    }
    (best.1, best.2)
}

/// Distance in octaves from `a` to `b`.
pub fn octaves(a: f64, b: f64) -> f64 {
    (b / a).ln() / LN_2
}
