//! The bank alone, for analysis: states out of sound, without the effect around it.

use super::bank::{Advance, CHUNK, Coefs, Complex, Output, Pole, States, Weights, groups, step, unpack};
use crate::simd::{F32x8, Kernel, LANES, Level};
use crate::{StateError, StateIo};

/// One channel's bank with its own coefficients: the building block for analysis.
#[derive(Clone, Debug)]
pub struct OscillatorBank {
    poles: Vec<Pole>,
    coefs: Coefs,
    states: States,
    weights: Weights,
    level: Level,
    unused: [f32; CHUNK],
    /// Σ |z|² over the samples of the frame of [`Self::energies`] that is not yet full.
    sums: Vec<F32x8>,
}

impl OscillatorBank {
    /// A bank at rest, with unit gain at each centre. Thread: control. May allocate.
    pub fn new(poles: &[Pole], level: Level) -> Self {
        Self {
            poles: poles.to_vec(),
            coefs: Coefs::new(poles),
            states: States::new(poles.len()),
            weights: Weights::new(poles.len()),
            level,
            unused: [0.0; CHUNK],
            sums: vec![F32x8::ZERO; groups(poles.len())],
        }
    }

    /// Sets the weights of [`Self::resynthesise`], one per oscillator. Thread: control. May allocate.
    pub fn set_weights(&mut self, weights: &[Complex]) {
        assert_eq!(weights.len(), self.len(), "one weight per oscillator");
        self.weights = Weights::from_complex(weights);
    }

    /// Number of oscillators.
    pub fn len(&self) -> usize {
        self.poles.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.poles.is_empty()
    }

    /// The poles given to `new`.
    pub fn poles(&self) -> &[Pole] {
        &self.poles
    }

    /// The running states.
    pub fn states(&self) -> &States {
        &self.states
    }

    /// Takes in `x`, any length. Thread: audio. Never allocates, locks or logs.
    pub fn advance(&mut self, x: &[f32]) {
        for x in x.chunks(CHUNK) {
            self.level.run(Advance {
                coefs: &self.coefs,
                states: &mut self.states,
                x,
                weights: &self.weights,
                output: Output::Real,
                moving: None,
                // The sum is not wanted, but its stores make the loop vectors (see `step`).
                out_re: &mut self.unused,
                out_im: &mut [],
            });
        }
    }

    /// Takes in `x` and writes Σ Re(w z) per sample to `out` (same length).
    /// Thread: audio. Never allocates, locks or logs.
    pub fn resynthesise(&mut self, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len());
        for (x, out_re) in x.chunks(CHUNK).zip(out.chunks_mut(CHUNK)) {
            self.level.run(Advance {
                coefs: &self.coefs,
                states: &mut self.states,
                x,
                weights: &self.weights,
                output: Output::Real,
                moving: None,
                out_re,
                out_im: &mut [],
            });
        }
    }

    /// Writes Re z (N) then Im z (N) to `out[..2 N]`. Thread: audio. Never allocates, locks or logs.
    pub fn read(&self, out: &mut [f32]) {
        let (re, im) = out[..2 * self.len()].split_at_mut(self.len());
        unpack(&self.states.re, re);
        unpack(&self.states.im, im);
    }

    /// Takes in `x` and writes one row, Re z (N) then Im z (N), for every `hop`th sample, the first
    /// after `wait` samples. `rows` holds as many rows as there are such samples, no more.
    /// Thread: audio. Never allocates, locks or logs.
    pub fn record(&mut self, x: &[f32], hop: usize, wait: usize, rows: &mut [f32]) {
        let width = 2 * self.len();
        assert!(hop > 0 && width > 0);
        assert_eq!(rows.len(), x.len().saturating_sub(wait).div_ceil(hop) * width, "one row per hop");
        if hop == 1 && wait == 0 {
            for (x, rows) in x.chunks(CHUNK).zip(rows.chunks_mut(CHUNK * width)) {
                self.level.run(Record { coefs: &self.coefs, states: &mut self.states, x, rows, width });
            }
            return;
        }
        let mut from = 0;
        for (k, row) in rows.chunks_exact_mut(width).enumerate() {
            let to = wait + k * hop + 1;
            self.advance(&x[from..to]);
            self.read(row);
            from = to;
        }
        self.advance(&x[from..]);
    }

    /// Takes in `x` and writes one row, the mean of |z|² of each oscillator, for every full frame of
    /// `hop` samples. `filled` samples of the frame at hand came with earlier calls; `rows` holds as
    /// many rows as frames become full, no more. The sums run sample by sample, so any division of
    /// the input gives the same bits. Thread: audio. Never allocates, locks or logs.
    pub fn energies(&mut self, mut x: &[f32], hop: usize, filled: usize, rows: &mut [f32]) {
        let width = self.len();
        assert!(filled < hop && width > 0);
        assert_eq!(rows.len(), (filled + x.len()) / hop * width, "one row per full frame");
        let mut left = hop - filled;
        let mut rows = rows.chunks_exact_mut(width);
        while !x.is_empty() {
            let (now, later) = x.split_at(left.min(CHUNK).min(x.len()));
            self.level.run(Energies {
                coefs: &self.coefs,
                states: &mut self.states,
                sums: &mut self.sums,
                x: now,
            });
            x = later;
            left -= now.len();
            if left == 0 {
                if let Some(row) = rows.next() {
                    unpack(&self.sums, row);
                    row.iter_mut().for_each(|v| *v /= hop as f32);
                }
                self.sums.fill(F32x8::ZERO);
                left = hop;
            }
        }
    }

    /// Back to rest. Thread: audio. Never allocates, locks or logs.
    pub fn reset(&mut self) {
        self.states.clear();
        self.sums.fill(F32x8::ZERO);
    }

    /// Saves or restores the states.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        self.states.state(io)
    }
}

/// Advances the states over `x` (at most [`CHUNK`] samples) and adds |z|² of each sample to `sums`.
struct Energies<'a> {
    coefs: &'a Coefs,
    states: &'a mut States,
    sums: &'a mut [F32x8],
    x: &'a [f32],
}

impl Kernel for Energies<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        let n = self.states.re.len();
        let mut at = 0;
        while at + 4 <= n {
            self.pass::<FMA, 4>(at);
            at += 4;
        }
        while at < n {
            self.pass::<FMA, 1>(at);
            at += 1;
        }
    }
}

impl Energies<'_> {
    /// `G` vectors over all samples, their states and sums in registers.
    #[inline(always)]
    fn pass<const FMA: bool, const G: usize>(&mut self, at: usize) {
        let load = |v: &[F32x8]| -> [F32x8; G] { std::array::from_fn(|g| v[at + g]) };
        let (mu_re, mu_im, drive) =
            (load(&self.coefs.mu_re), load(&self.coefs.mu_im), load(&self.coefs.drive));
        let (mut re, mut im) = (load(&self.states.re), load(&self.states.im));
        let mut sums = load(self.sums);
        // Only the last of these sums is wanted, but their stores make the loop vectors (see `step`).
        let mut passed = [[F32x8::ZERO; G]; CHUNK];
        for (&x, passed) in self.x.iter().zip(&mut passed) {
            let x = F32x8::splat(x);
            for g in 0..G {
                (re[g], im[g]) = step::<FMA>(re[g], im[g], mu_re[g], mu_im[g], drive[g], x);
                sums[g] = im[g].mul_add::<FMA>(im[g], re[g].mul_add::<FMA>(re[g], sums[g]));
                passed[g] = sums[g];
            }
        }
        if let Some(last) = self.x.len().checked_sub(1) {
            sums = passed[last];
        }
        self.states.re[at..at + G].copy_from_slice(&re);
        self.states.im[at..at + G].copy_from_slice(&im);
        self.sums[at..at + G].copy_from_slice(&sums);
    }
}

/// Advances the states over `x` and writes them all: row i holds those after sample i.
struct Record<'a> {
    coefs: &'a Coefs,
    states: &'a mut States,
    x: &'a [f32],
    rows: &'a mut [f32],
    width: usize,
}

impl Kernel for Record<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        for group in 0..self.states.re.len() {
            self.group::<FMA>(group);
        }
    }
}

impl Record<'_> {
    #[inline(always)]
    fn group<const FMA: bool>(&mut self, g: usize) {
        let c = self.coefs;
        let (mu_re, mu_im, drive) = (c.mu_re[g], c.mu_im[g], c.drive[g]);
        let (mut re, mut im) = (self.states.re[g], self.states.im[g]);
        // Whole vectors go here first, so that the recurrence runs in vectors also where the last
        // group is not full.
        let mut passed = [[F32x8::ZERO; CHUNK]; 2];
        for (i, &x) in self.x.iter().enumerate() {
            (re, im) = step::<FMA>(re, im, mu_re, mu_im, drive, F32x8::splat(x));
            passed[0][i] = re;
            passed[1][i] = im;
        }
        self.states.re[g] = re;
        self.states.im[g] = im;
        let (half, first) = (self.width / 2, g * LANES);
        let lanes = LANES.min(half - first);
        for (i, row) in self.rows.chunks_exact_mut(self.width).enumerate() {
            row[first..][..lanes].copy_from_slice(&passed[0][i].0[..lanes]);
            row[half + first..][..lanes].copy_from_slice(&passed[1][i].0[..lanes]);
        }
    }
}
