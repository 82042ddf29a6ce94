//! Both halves of CSpace live: the forward states, and the backward ones over a bounded look-ahead.
//!
//! The backward half B[n] = Σ λ^m b x[n + m], m = 0, 1, … needs the whole future. Here the sum stops
//! after D samples, and everything comes D samples late. What is left out is λ^W B[n + W] with
//! W = D + 1: each oscillator's error is its own later state, faded by exp(−decay W).
//!
//! A sliding sum of W terms could be updated by taking the oldest out, but that multiplies by 1/λ
//! and grows every rounding error without end. Instead time is cut into blocks of W samples (van
//! Herk 1992, "A fast algorithm for local minimum and maximum filters"). Any window of W samples
//! spans the end of one block and the start of the next. The first part comes from the bank run
//! backward over the finished block, once; the second from a sum that grows as samples arrive.
//! Every factor is a power of λ, so nothing grows, and the window is exact for every sample.
//!
//! Price per sample: three bank steps, on average. The call that completes a block runs back over
//! all of it, W steps at once.

use super::analysis::OscillatorBank;
use super::bank::{CHUNK, Coefs, Pole, groups, pack, step};
use crate::simd::{F32x8, Kernel, LANES, Level};

/// Real and imaginary part of eight oscillators.
type Pair = [F32x8; 2];

/// Powers of λ below this are 0: multiplied by sound they would be denormal, which is slow.
const NEGLIGIBLE: f64 = 1e-30;

/// One channel's states in both directions, `latency_samples` late.
#[derive(Clone, Debug)]
pub struct LookaheadBank {
    forward: OscillatorBank,
    coefs: Coefs,
    /// W, the samples the backward half sees, the present one included; a block is as long.
    window: usize,
    hop: usize,
    /// λ^j for j < W, group by group.
    powers: Vec<Pair>,
    /// States of the bank run back over the last block, from its end; W + 1 of them, the last zero.
    behind: Vec<Pair>,
    /// Σ λ^j b x over the block so far.
    ahead: Vec<Pair>,
    block: Vec<f32>,
    last_block: Vec<f32>,
    /// Samples of the block so far.
    at: usize,
    /// Samples until the first one whose window is complete.
    skip: usize,
    /// Samples after that until the next one whose states are wanted.
    wait: usize,
    rows: Vec<f32>,
    level: Level,
}

impl LookaheadBank {
    /// A bank at rest that looks `lookahead` samples ahead and gives every `hop`th row.
    ///
    /// Takes 16 bytes per oscillator and sample of look-ahead. Thread: control. May allocate.
    pub fn new(poles: &[Pole], lookahead: usize, hop: usize, level: Level) -> Self {
        assert!(hop > 0 && !poles.is_empty());
        let (window, n) = (lookahead + 1, groups(poles.len()));
        let mut powers = vec![[F32x8::ZERO; 2]; n * window];
        let mut lane = [vec![F32x8::ZERO; n], vec![F32x8::ZERO; n]];
        for j in 0..window {
            let power = |p: &Pole| {
                let size = (-p.decay * j as f64).exp();
                let size = if size < NEGLIGIBLE { 0.0 } else { size };
                // The turn is reduced by whole circles in float64: exact enough for any window.
                let turn = p.angle * j as f64;
                [(size * turn.cos()) as f32, (size * turn.sin()) as f32]
            };
            for (part, lanes) in lane.iter_mut().enumerate() {
                pack(poles.iter().map(|p| power(p)[part]), lanes);
            }
            for g in 0..n {
                powers[g * window + j] = [lane[0][g], lane[1][g]];
            }
        }
        Self {
            forward: OscillatorBank::new(poles, level),
            coefs: Coefs::new(poles),
            window,
            hop,
            powers,
            behind: vec![[F32x8::ZERO; 2]; n * (window + 1)],
            ahead: vec![[F32x8::ZERO; 2]; n],
            block: vec![0.0; window],
            last_block: vec![0.0; window],
            at: 0,
            skip: lookahead,
            wait: 0,
            rows: vec![0.0; CHUNK * 2 * poles.len()],
            level,
        }
    }

    /// Number of oscillators.
    pub fn len(&self) -> usize {
        self.forward.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.forward.is_empty()
    }

    /// Samples between a sample and its states.
    pub fn latency_samples(&self) -> usize {
        self.window - 1
    }

    /// Every how many samples there is a row.
    pub fn hop(&self) -> usize {
        self.hop
    }

    /// Rows that the next `frames` samples complete.
    pub fn rows_of(&self, frames: usize) -> usize {
        frames.saturating_sub(self.skip).saturating_sub(self.wait).div_ceil(self.hop)
    }

    /// Takes in `x`, any length, and writes Re F, Im F, Re B, Im B (4 N values) for every `hop`th
    /// sample whose look-ahead is now complete; `rows` holds [`Self::rows_of`] of them.
    /// Thread: audio. Never allocates, locks or logs.
    pub fn process(&mut self, x: &[f32], mut rows: &mut [f32]) {
        let width = 4 * self.len();
        assert_eq!(rows.len(), self.rows_of(x.len()) * width, "one row per hop");
        let mut x = x;
        while !x.is_empty() {
            let frames = x.len().min(CHUNK).min(self.window - self.at);
            let (now, rest) = x.split_at(frames);
            let (own, other) = rows.split_at_mut(self.rows_of(frames) * width);
            self.piece(now, own);
            (x, rows) = (rest, other);
        }
    }

    /// At most [`CHUNK`] samples, none beyond the block.
    fn piece(&mut self, x: &[f32], rows: &mut [f32]) {
        let skip = self.skip.min(x.len());
        let (n, wait) = (self.len(), self.wait);
        self.block[self.at..][..x.len()].copy_from_slice(x);
        let count = rows.len() / (4 * n);
        // Forward: the same bank, fed what came D = W − 1 samples ago.
        let mut late = [0.0; CHUNK];
        for (i, late) in late[..x.len()].iter_mut().enumerate() {
            let j = self.at + i + 1;
            *late = if j < self.window { self.last_block[j] } else { self.block[0] };
        }
        let forward = &mut self.rows[..count * 2 * n];
        self.forward.record(&late[skip..x.len()], self.hop, wait, forward);
        for (row, forward) in rows.chunks_exact_mut(4 * n).zip(forward.chunks_exact(2 * n)) {
            row[..2 * n].copy_from_slice(forward);
        }
        self.level.run(Ahead {
            coefs: &self.coefs,
            powers: &self.powers,
            behind: &self.behind,
            sums: &mut self.ahead,
            window: self.window,
            at: self.at,
            x,
            first: skip + wait,
            hop: self.hop,
            rows,
            oscillators: n,
        });
        self.skip -= skip;
        self.wait = wait + count * self.hop - (x.len() - skip);
        self.at += x.len();
        if self.at == self.window {
            self.level.run(Behind { coefs: &self.coefs, block: &self.block, behind: &mut self.behind });
            self.ahead.fill([F32x8::ZERO; 2]);
            std::mem::swap(&mut self.block, &mut self.last_block);
            self.at = 0;
        }
    }

    /// Back to rest. Thread: audio. Never allocates, locks or logs.
    pub fn reset(&mut self) {
        self.forward.reset();
        self.behind.fill([F32x8::ZERO; 2]);
        self.ahead.fill([F32x8::ZERO; 2]);
        self.block.fill(0.0);
        self.last_block.fill(0.0);
        (self.at, self.skip, self.wait) = (0, self.window - 1, 0);
    }
}

/// Runs the bank back over a finished block and keeps every state.
struct Behind<'a> {
    coefs: &'a Coefs,
    block: &'a [f32],
    behind: &'a mut [Pair],
}

impl Kernel for Behind<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let (c, window) = (self.coefs, self.block.len());
        for (g, behind) in self.behind.chunks_exact_mut(window + 1).enumerate() {
            let (mu_re, mu_im, drive) = (c.mu_re[g], c.mu_im[g], c.drive[g]);
            let (mut re, mut im) = (F32x8::ZERO, F32x8::ZERO);
            for (kept, &x) in behind[..window].iter_mut().zip(self.block).rev() {
                (re, im) = step::<FMA>(re, im, mu_re, mu_im, drive, F32x8::splat(x));
                *kept = [re, im];
            }
        }
    }
}

/// Adds samples to the growing sums and writes the backward half of the rows they complete.
struct Ahead<'a> {
    coefs: &'a Coefs,
    powers: &'a [Pair],
    behind: &'a [Pair],
    sums: &'a mut [Pair],
    window: usize,
    at: usize,
    x: &'a [f32],
    /// Sample of `x` that completes the first row; then one every `hop`.
    first: usize,
    hop: usize,
    rows: &'a mut [f32],
    oscillators: usize,
}

impl Kernel for Ahead<'_> {
    type Output = ();
    #[inline(always)]
    fn run<const FMA: bool>(mut self) {
        for group in 0..self.sums.len() {
            self.group::<FMA>(group);
        }
    }
}

impl Ahead<'_> {
    #[inline(always)]
    fn group<const FMA: bool>(&mut self, g: usize) {
        let (n, window, frames) = (self.oscillators, self.window, self.x.len());
        let powers = &self.powers[g * window..][..window];
        let behind = &self.behind[g * (window + 1)..][..window + 1];
        let drive = self.coefs.drive[g];
        let [mut re, mut im] = self.sums[g];
        let mut passed = [[F32x8::ZERO; 2]; CHUNK];
        let grow = &powers[self.at..][..frames];
        let fade = &powers[window - self.at - frames..][..frames];
        let before = &behind[self.at + 1..][..frames];
        for i in 0..frames {
            let [p, q] = grow[i];
            let [fade_re, fade_im] = fade[frames - 1 - i];
            let [from_re, from_im] = before[i];
            let x = drive * F32x8::splat(self.x[i]);
            re = p.mul_add::<FMA>(x, re);
            im = q.mul_add::<FMA>(x, im);
            let out_re = fade_im.neg_mul_add::<FMA>(im, fade_re.mul_add::<FMA>(re, from_re));
            let out_im = fade_im.mul_add::<FMA>(re, fade_re.mul_add::<FMA>(im, from_im));
            passed[i] = [out_re, out_im];
        }
        self.sums[g] = [re, im];
        let first = g * LANES;
        let lanes = LANES.min(n - first);
        for (k, row) in self.rows.chunks_exact_mut(4 * n).enumerate() {
            let [re, im] = &passed[self.first + k * self.hop];
            row[2 * n + first..][..lanes].copy_from_slice(&re.0[..lanes]);
            row[3 * n + first..][..lanes].copy_from_slice(&im.0[..lanes]);
        }
    }
}
