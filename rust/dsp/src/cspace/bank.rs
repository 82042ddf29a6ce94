//! A bank of complex damped oscillators, `z[n] = λ z[n−1] + b x[n]`, advanced sample by sample.
//!
//! The recurrence is exact (no truncated kernel) and kept in delta form,
//! `z += μ z + b x` with `μ = λ − 1`: near λ = 1 the float32 grid is 2⁻²⁴ wide, too coarse to place
//! a pole of 20 Hz, while μ itself is small there and carries full relative precision.
//!
//! Eight oscillators share a vector; four vectors stay in registers while a chunk of samples runs
//! through them. Lanes past the last oscillator have μ = b = 0 and stay silent. Each sample's
//! output is summed in an order that depends on the number of oscillators alone, so any division
//! of the input into blocks gives the same bits.

use crate::simd::{F32x8, Kernel, LANES};
use crate::{StateError, StateIo};

pub use super::analysis::OscillatorBank;

/// Samples advanced per trip through the bank; bounds the scratch on the stack.
pub const CHUNK: usize = 64;

/// A complex number of the set-up code, float64.
pub use num_complex::Complex64 as Complex;

/// A damped oscillator, kept as logarithms so that `λ − 1` is exact to float64 at any frequency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pole {
    /// Decay per sample in nepers: |λ| = exp(−decay). At least 0.
    pub decay: f64,
    /// Rotation per sample in radians, 0..π.
    pub angle: f64,
}

impl Pole {
    /// At `hz` with quality `q`: |λ| = exp(−π hz / (q sample_rate)), the −3 dB width being hz / q.
    pub fn from_q(hz: f64, q: f64, sample_rate: f64) -> Self {
        use std::f64::consts::{PI, TAU};
        Self { decay: PI * hz / (q * sample_rate), angle: TAU * hz / sample_rate }
    }

    /// At `hz` with radius |λ| = `r`.
    pub fn from_radius(hz: f64, r: f64, sample_rate: f64) -> Self {
        Self { decay: -r.ln(), angle: std::f64::consts::TAU * hz / sample_rate }
    }

    /// λ − 1, without cancellation.
    pub fn mu(&self) -> Complex {
        let half = (0.5 * self.angle).sin();
        let shrink = (-self.decay).exp_m1();
        // r cos θ − 1 = (r − 1) cos θ + (cos θ − 1), and cos θ − 1 = −2 sin²(θ/2).
        Complex { re: shrink * self.angle.cos() - 2.0 * half * half, im: (1.0 + shrink) * self.angle.sin() }
    }

    /// λ.
    pub fn lambda(&self) -> Complex {
        let mu = self.mu();
        Complex { re: 1.0 + mu.re, im: mu.im }
    }

    /// 1 − |λ|: the input gain for which a tone at the centre comes out at its own level.
    pub fn unit_drive(&self) -> f64 {
        -(-self.decay).exp_m1()
    }
}

/// One step of eight oscillators, `z += μ z + b x`; returns the new (re, im).
///
/// The sum μ z + b x is formed first, so each step rounds once at the size of z. Use it in a loop
/// that stores something made from the states for every sample: the compiler looks for vectors
/// from the stores backwards, and without one it keeps single lanes (measured: five times slower).
/// Thread: audio.
#[inline(always)]
pub fn step<const FMA: bool>(
    re: F32x8,
    im: F32x8,
    mu_re: F32x8,
    mu_im: F32x8,
    b: F32x8,
    x: F32x8,
) -> (F32x8, F32x8) {
    let dr = mu_im.neg_mul_add::<FMA>(im, mu_re.mul_add::<FMA>(re, b * x));
    let di = mu_im.mul_add::<FMA>(re, mu_re * im);
    (re + dr, im + di)
}

/// Vectors needed for `n` values.
pub fn groups(n: usize) -> usize {
    n.div_ceil(LANES)
}

/// Writes `values` over the lanes, zero past the end.
pub fn pack(values: impl IntoIterator<Item = f32>, out: &mut [F32x8]) {
    let mut values = values.into_iter();
    for v in out {
        *v = F32x8(std::array::from_fn(|_| values.next().unwrap_or(0.0)));
    }
}

/// Reads `out.len()` values back from the lanes.
pub fn unpack(lanes: &[F32x8], out: &mut [f32]) {
    out.iter_mut().enumerate().for_each(|(i, o)| *o = lanes[i / LANES].0[i % LANES]);
}

/// What drives the oscillators: μ and b per oscillator. Shared by the channels.
#[derive(Clone, Debug, Default)]
pub struct Coefs {
    /// Re μ.
    pub mu_re: Vec<F32x8>,
    /// Im μ.
    pub mu_im: Vec<F32x8>,
    /// Input gain b.
    pub drive: Vec<F32x8>,
}

impl Coefs {
    /// For these poles, with unit gain at each centre. Thread: control. May allocate.
    pub fn new(poles: &[Pole]) -> Self {
        let mut out = Self::silent(poles.len());
        pack(poles.iter().map(|p| p.mu().re as f32), &mut out.mu_re);
        pack(poles.iter().map(|p| p.mu().im as f32), &mut out.mu_im);
        pack(poles.iter().map(|p| p.unit_drive() as f32), &mut out.drive);
        out
    }

    /// Room for `n` oscillators, all off. Thread: control. May allocate.
    pub fn silent(n: usize) -> Self {
        let zero = vec![F32x8::ZERO; groups(n)];
        Self { mu_re: zero.clone(), mu_im: zero.clone(), drive: zero }
    }
}

/// The running states z of one channel.
#[derive(Clone, Debug, Default)]
pub struct States {
    /// Re z.
    pub re: Vec<F32x8>,
    /// Im z.
    pub im: Vec<F32x8>,
}

impl States {
    /// `n` oscillators at rest. Thread: control. May allocate.
    pub fn new(n: usize) -> Self {
        Self { re: vec![F32x8::ZERO; groups(n)], im: vec![F32x8::ZERO; groups(n)] }
    }

    /// Back to rest. Thread: audio.
    pub fn clear(&mut self) {
        self.re.fill(F32x8::ZERO);
        self.im.fill(F32x8::ZERO);
    }

    /// Takes the states of another bank of the same size. Thread: audio.
    pub fn copy_from(&mut self, other: &Self) {
        self.re.copy_from_slice(&other.re);
        self.im.copy_from_slice(&other.im);
    }

    /// Saves or restores the states.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        self.re.iter_mut().chain(&mut self.im).try_for_each(|v| io.f32s(&mut v.0))
    }
}

/// Complex output weights; they may move in a straight line over a span of samples.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    /// Re w at the span's start.
    pub re: Vec<F32x8>,
    /// Im w at the span's start.
    pub im: Vec<F32x8>,
    /// Change of Re w per sample.
    pub slope_re: Vec<F32x8>,
    /// Change of Im w per sample.
    pub slope_im: Vec<F32x8>,
}

impl Weights {
    /// `n` zero weights. Thread: control. May allocate.
    pub fn new(n: usize) -> Self {
        let zero = vec![F32x8::ZERO; groups(n)];
        Self { re: zero.clone(), im: zero.clone(), slope_re: zero.clone(), slope_im: zero }
    }

    /// `n` weights that rest at these values. Thread: control. May allocate.
    pub fn from_complex(w: &[Complex]) -> Self {
        let mut out = Self::new(w.len());
        pack(w.iter().map(|w| w.re as f32), &mut out.re);
        pack(w.iter().map(|w| w.im as f32), &mut out.im);
        out
    }
}

/// What a trip through the bank writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Σ Re(w z).
    Real,
    /// Σ w z.
    Complex,
}

/// Advances `states` over `x` (at most [`CHUNK`] samples) and writes the output sums.
///
/// `weights` and what to do with them: `output` says which sums are formed, into `out_re` and
/// `out_im` (each at least `x.len()` where used). With `moving`, sample i of `x` uses
/// w + (i + `position`) slope. Thread: audio. Never allocates, locks or logs.
pub struct Advance<'a> {
    /// μ and b.
    pub coefs: &'a Coefs,
    /// z, changed.
    pub states: &'a mut States,
    /// Mono input.
    pub x: &'a [f32],
    /// w.
    pub weights: &'a Weights,
    /// Which sums are formed.
    pub output: Output,
    /// `Some(position)` while the weights move: samples already gone by in the span.
    pub moving: Option<usize>,
    /// Σ Re(w z).
    pub out_re: &'a mut [f32],
    /// Σ Im(w z).
    pub out_im: &'a mut [f32],
}

const REAL: usize = 1;
const COMPLEX: usize = 2;

impl Kernel for Advance<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        match (self.output, self.moving.is_some()) {
            (Output::Real, false) => self.go::<FMA, REAL, false>(),
            (Output::Real, true) => self.go::<FMA, REAL, true>(),
            (Output::Complex, false) => self.go::<FMA, COMPLEX, false>(),
            (Output::Complex, true) => self.go::<FMA, COMPLEX, true>(),
        }
    }
}

impl Advance<'_> {
    #[inline(always)]
    fn go<const FMA: bool, const OUT: usize, const MOVING: bool>(&mut self) {
        let frames = self.x.len();
        assert!(frames <= CHUNK);
        let mut sums = [[F32x8::ZERO; CHUNK]; OUT];
        let n = self.states.re.len();
        let mut at = 0;
        while at + 4 <= n {
            self.pass::<FMA, OUT, MOVING, 4>(at, &mut sums);
            at += 4;
        }
        while at < n {
            self.pass::<FMA, OUT, MOVING, 1>(at, &mut sums);
            at += 1;
        }
        self.out_re[..frames].iter_mut().zip(&sums[0]).for_each(|(o, s)| *o = s.sum());
        if OUT == COMPLEX {
            self.out_im[..frames].iter_mut().zip(&sums[OUT - 1]).for_each(|(o, s)| *o = s.sum());
        }
    }

    /// `G` vectors over all samples, their states in registers.
    #[inline(always)]
    fn pass<const FMA: bool, const OUT: usize, const MOVING: bool, const G: usize>(
        &mut self,
        at: usize,
        sums: &mut [[F32x8; CHUNK]; OUT],
    ) {
        let load = |v: &[F32x8]| -> [F32x8; G] { std::array::from_fn(|g| v[at + g]) };
        let (mu_re, mu_im, drive) =
            (load(&self.coefs.mu_re), load(&self.coefs.mu_im), load(&self.coefs.drive));
        let (mut re, mut im) = (load(&self.states.re), load(&self.states.im));
        let w = self.weights;
        let (w_re, w_im) = (load(&w.re), load(&w.im));
        let (slope_re, slope_im) = if MOVING { (load(&w.slope_re), load(&w.slope_im)) } else { (w_re, w_im) };
        let mut time = self.moving.unwrap_or(0) as f32;
        for (i, &x) in self.x.iter().enumerate() {
            let x = F32x8::splat(x);
            let t = F32x8::splat(time);
            let mut acc: [F32x8; OUT] = std::array::from_fn(|o| sums[o][i]);
            for g in 0..G {
                (re[g], im[g]) = step::<FMA>(re[g], im[g], mu_re[g], mu_im[g], drive[g], x);
                let (mut c, mut s) = (w_re[g], w_im[g]);
                if MOVING {
                    c = slope_re[g].mul_add::<FMA>(t, c);
                    s = slope_im[g].mul_add::<FMA>(t, s);
                }
                acc[0] = s.neg_mul_add::<FMA>(im[g], c.mul_add::<FMA>(re[g], acc[0]));
                if OUT == COMPLEX {
                    acc[OUT - 1] = s.mul_add::<FMA>(re[g], c.mul_add::<FMA>(im[g], acc[OUT - 1]));
                }
            }
            for o in 0..OUT {
                sums[o][i] = acc[o];
            }
            if MOVING {
                time += 1.0;
            }
        }
        self.states.re[at..at + G].copy_from_slice(&re);
        self.states.im[at..at + G].copy_from_slice(&im);
    }
}
