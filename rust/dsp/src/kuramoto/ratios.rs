//! Couplings near whole-number ratios: q θ_j − p θ_i is drawn to 0.
//!
//! In the frame that turns with both oscillators this phase moves only by their mistuning, a few Hz,
//! so it is taken on the grid, and the pull is held for the 32 samples between two grid points. That
//! makes a coupling cost a thirtieth of one in `edges`. Phases are whole numbers of 2^-32 turns, and
//! p and q times them wrap exactly.

use super::kernel::Loop;
use super::ops::Ops;
use super::phase::{TURN, Turns};
use crate::simd::{F32x8, LANES};

/// Largest p or q.
const MOST: f32 = 64.0;
/// Averaging time of the locking value, s.
pub(super) const LOCKING_S: f64 = 0.5;

/// One coupling: oscillator `i` is drawn so that `p` of its turns match `q` of oscillator `j`.
#[derive(Clone, Copy, Debug)]
struct Edge {
    i: u32,
    j: u32,
    p: i32,
    q: i32,
}

/// All couplings, and what they do now.
#[derive(Clone, Debug, Default)]
pub(super) struct Ratios {
    edges: Vec<Edge>,
    /// Hz, by vectors of eight couplings; 0 in the padding.
    weights: Vec<F32x8>,
    /// q θ_j − p θ_i of eight couplings.
    angles: Vec<Turns>,
    /// weight · sin(angle).
    pulls: Vec<F32x8>,
    /// Leaky mean of e^{j angle}, for the locking value.
    pub mean_re: Vec<F32x8>,
    pub mean_im: Vec<F32x8>,
}

impl Ratios {
    /// From flat sets of five [i, j, p, q, weight_hz, …].
    pub fn new(n: usize, data: &[f32]) -> Result<Self, String> {
        if !data.len().is_multiple_of(5) {
            return Err(format!(
                "ratios has {} values; it must be sets of five [i, j, p, q, weight_hz, ...]",
                data.len()
            ));
        }
        let whole = |v: f32, low: f32, high: f32, what: &str| {
            if v >= low && v <= high && v.fract() == 0.0 {
                Ok(v)
            } else {
                Err(format!("ratios has {what} {v}; allowed are whole numbers from {low} to {high}"))
            }
        };
        let last = n as f32 - 1.0;
        let mut edges = Vec::with_capacity(data.len() / 5);
        for e in data.chunks_exact(5) {
            let (i, j) = (whole(e[0], 0.0, last, "oscillator")?, whole(e[1], 0.0, last, "oscillator")?);
            let (p, q) = (whole(e[2], 1.0, MOST, "p")?, whole(e[3], 1.0, MOST, "q")?);
            if !e[4].is_finite() {
                return Err(format!("ratios has weight {} between {i} and {j}", e[4]));
            }
            edges.push(Edge { i: i as u32, j: j as u32, p: p as i32, q: q as i32 });
        }
        let vectors = edges.len().div_ceil(LANES);
        let weight = |k: usize| data.get(5 * k + 4).copied().unwrap_or(0.0);
        Ok(Self {
            weights: (0..vectors).map(|v| F32x8(std::array::from_fn(|l| weight(v * LANES + l)))).collect(),
            angles: vec![Turns::splat(0); vectors],
            pulls: vec![F32x8::ZERO; vectors],
            mean_re: vec![F32x8::ZERO; vectors],
            mean_im: vec![F32x8::ZERO; vectors],
            edges,
        })
    }

    /// Number of couplings.
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Takes the angles from the phases as they are. Thread: audio. Never allocates, locks or logs.
    pub fn look(&mut self, phase: impl Fn(usize) -> i32) {
        for (k, e) in self.edges.iter().enumerate() {
            let (i, j) = (phase(e.i as usize), phase(e.j as usize));
            self.angles[k / LANES].0[k % LANES] = e.q.wrapping_mul(j).wrapping_sub(e.p.wrapping_mul(i));
        }
    }

    /// Adds what pulls each oscillator, in Hz at strength 1. Thread: audio. Never allocates, locks or logs.
    pub fn add_to(&self, sums: &mut [f32]) {
        for (k, e) in self.edges.iter().enumerate() {
            sums[e.i as usize] += self.pulls[k / LANES].0[k % LANES];
        }
    }

    /// Sines of the angles as pulls; `share` of them goes into the locking values.
    pub fn pass(&mut self, share: f32) -> Sines<'_> {
        Sines { this: self, share }
    }

    /// How fixed each angle has been, |⟨e^{j angle}⟩|: 1 locked, 0 drifting.
    pub fn locking(&self, out: &mut [f32]) {
        for (k, o) in out.iter_mut().enumerate() {
            *o = self.mean_re[k / LANES].0[k % LANES].hypot(self.mean_im[k / LANES].0[k % LANES]);
        }
    }
}

/// The loop of [`Ratios::pass`].
pub(super) struct Sines<'a> {
    this: &'a mut Ratios,
    share: f32,
}

impl Loop for Sines<'_> {
    type Output = ();
    #[inline(always)]
    fn run<O: Ops>(self, o: O) {
        let r = self.this;
        let share = F32x8::splat(self.share);
        let means = r.mean_re.iter_mut().zip(&mut r.mean_im);
        for (((angle, weight), pull), (re, im)) in
            r.angles.iter().zip(&r.weights).zip(&mut r.pulls).zip(means)
        {
            let (s, c) = angle.sin_cos(o);
            *pull = o.mul(s, *weight);
            *re = o.fma(o.sub(c, *re), share, *re);
            *im = o.fma(o.sub(s, *im), share, *im);
        }
    }
}

/// Cycles per sample as a step of 64 bits.
pub(super) fn step(cycles: f64) -> i64 {
    (cycles.clamp(-0.4999, 0.4999) * TURN * TURN) as i64
}
