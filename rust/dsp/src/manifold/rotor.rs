//! One rotation fitted to the past, without weights: orthogonal Procrustes (Schönemann 1966) on carried
//! sums, its polar factor by Newton and Schulz (Björck and Bowie 1971), and the mean of the past turned
//! on to the present.
//!
//! One frame ahead, the rotation is found anew in every frame from sums that grow by one product. For a
//! rollout it is found once, in two passes over the states kept: those averaged along a first rotation
//! are cleaner, and give the second. That first step of a rollout costs `window` products of d²; every
//! other step of it one.

use super::lanes::{load, padded, store};
use super::sphere::retract;
use crate::simd::{F32x8, Kernel, LANES, Level};
use crate::{StateError, StateIo};

/// Newton-Schulz steps, as in training: singular values above 0.8 % of the norm come out near 1.
pub const POLAR_STEPS: usize = 12;
/// States at the start that the second rotation leaves out: their means are of too few frames.
pub const SETTLING_FRAMES: usize = 8;

/// A d × d matrix by padded rows, and room for its polar factor.
struct Matrix {
    dims: usize,
    rows: usize,
    x: Vec<f32>,
    across: Vec<f32>,
    square: Vec<f32>,
    next: Vec<f32>,
    sums: Vec<f64>,
}

impl Matrix {
    fn new(dims: usize) -> Self {
        let rows = padded(dims);
        let zero = || vec![0.0; dims * rows];
        let sums = vec![0.0; dims * dims];
        Self { dims, rows, x: zero(), across: zero(), square: zero(), next: zero(), sums }
    }

    /// sums += sign · a bᵀ.
    fn add(sums: &mut [f64], dims: usize, a: &[f32], b: &[f32], sign: f64) {
        for (row, a) in sums.chunks_exact_mut(dims).zip(a) {
            let a = sign * f64::from(*a);
            row.iter_mut().zip(b).for_each(|(s, b)| *s += a * f64::from(*b));
        }
    }

    /// The polar factor of `sums` into `turn`, column by column.
    fn polar(&mut self, level: Level, sums: Option<&[f64]>, turn: &mut [f32]) {
        let Self { dims, rows, x, across, square, next, sums: own } = self;
        let (dims, rows, sums) = (*dims, *rows, sums.unwrap_or(own));
        let norm = sums.iter().map(|v| v * v).sum::<f64>().sqrt().max(1e-12);
        for (row, sums) in x.chunks_exact_mut(rows).zip(sums.chunks_exact(dims)) {
            row.iter_mut().zip(sums).for_each(|(x, s)| *x = (s / norm) as f32);
        }
        for _ in 0..POLAR_STEPS {
            transpose(dims, rows, x, across);
            level.run(Product { dims, rows, a: x, b: across, c: square });
            level.run(Product { dims, rows, a: square, b: x, c: next });
            x.iter_mut().zip(&*next).for_each(|(x, n)| *x = 1.5 * *x - 0.5 * n);
        }
        transpose(dims, rows, x, turn);
    }
}

fn transpose(dims: usize, rows: usize, x: &[f32], y: &mut [f32]) {
    for i in 0..dims {
        for j in 0..dims {
            y[j * rows + i] = x[i * rows + j];
        }
    }
}

/// c = a b.
struct Product<'a> {
    dims: usize,
    rows: usize,
    a: &'a [f32],
    b: &'a [f32],
    c: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Self { dims, rows, a, b, c } = self;
        for (a, c) in a.chunks_exact(rows).zip(c.chunks_exact_mut(rows)) {
            let mut from = 0;
            while from < rows {
                match (rows - from) / LANES {
                    1 => row::<1, FMA>(&a[..dims], b, rows, from, c),
                    2 => row::<2, FMA>(&a[..dims], b, rows, from, c),
                    3 => row::<3, FMA>(&a[..dims], b, rows, from, c),
                    _ => row::<4, FMA>(&a[..dims], b, rows, from, c),
                }
                from += 4 * LANES;
            }
        }
    }
}

#[inline(always)]
fn row<const V: usize, const FMA: bool>(a: &[f32], b: &[f32], rows: usize, from: usize, c: &mut [f32]) {
    let mut sum = [F32x8::ZERO; V];
    for (k, a) in a.iter().enumerate() {
        let b = &b[k * rows + from..][..V * LANES];
        for (v, s) in sum.iter_mut().enumerate() {
            *s = load(&b[v * LANES..]).mul_add::<FMA>(F32x8::splat(*a), *s);
        }
    }
    for (v, s) in sum.into_iter().enumerate() {
        store(s, &mut c[from + v * LANES..]);
    }
}

/// out = R s, R column by column.
fn turned(rows: usize, turn: &[f32], s: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    for (column, s) in turn.chunks_exact(rows).zip(s) {
        out.iter_mut().zip(column).for_each(|(o, c)| *o += c * s);
    }
}

/// mean = (t · R mean + z) / (t + 1).
fn average(rows: usize, turn: &[f32], mean: &mut [f32], z: &[f32], t: usize, scratch: &mut [f32]) {
    turned(rows, turn, mean, scratch);
    let (t, scale) = (t as f32, (t + 1) as f32);
    mean.iter_mut().zip(scratch).zip(z).for_each(|((m, s), z)| *m = (t * *s + z) / scale);
}

fn identity(rows: usize, turn: &mut [f32]) {
    turn.fill(0.0);
    turn.chunks_exact_mut(rows).enumerate().for_each(|(i, column)| column[i] = 1.0);
}

/// See the module.
pub struct Rotor {
    dims: usize,
    rows: usize,
    window: usize,
    /// Whether the rotation is found in every frame, which `ahead` needs.
    predicts: bool,
    /// The last states, each padded.
    ring: Vec<f32>,
    at: usize,
    count: usize,
    /// Σ z_t z_{t−1}ᵀ over the states in the ring; float64, since what is added is taken away again.
    sums: Vec<f64>,
    matrix: Matrix,
    /// One frame ahead: rotation, and mean of the past turned on.
    turn: Vec<f32>,
    mean: Vec<f32>,
    /// Of the rollout that is under way.
    rolling: bool,
    roll_turn: Vec<f32>,
    roll_state: Vec<f32>,
    before: Vec<f32>,
    scratch: Vec<f32>,
}

impl Rotor {
    /// Thread: control. Allocates.
    pub fn new(dims: usize, window: usize, predicts: bool) -> Self {
        let rows = padded(dims);
        let vector = || vec![0.0; rows];
        let mut turn = vec![0.0; dims * rows];
        identity(rows, &mut turn);
        Self {
            dims,
            rows,
            window,
            predicts,
            ring: vec![0.0; window * rows],
            at: 0,
            count: 0,
            sums: vec![0.0; dims * dims],
            matrix: Matrix::new(dims),
            roll_turn: turn.clone(),
            turn,
            mean: vector(),
            rolling: false,
            roll_state: vector(),
            before: vector(),
            scratch: vector(),
        }
    }

    /// A state that was heard, or one of the rollout. Thread: audio. Never allocates, locks or logs.
    pub fn push(&mut self, level: Level, z: &[f32], heard: bool) {
        let (dims, rows, window) = (self.dims, self.rows, self.window);
        let held = self.count;
        if window > 1 && held > 0 {
            let slot = |i: usize| (self.at + i) % window * rows;
            if held == window {
                let (first, second) = (slot(0), slot(1));
                Matrix::add(&mut self.sums, dims, &self.ring[second..], &self.ring[first..][..dims], -1.0);
            }
            let last = slot(window - 1);
            Matrix::add(&mut self.sums, dims, z, &self.ring[last..][..dims], 1.0);
        }
        self.ring[self.at * rows..][..dims].copy_from_slice(&z[..dims]);
        self.at = if self.at + 1 == window { 0 } else { self.at + 1 };
        self.count = (held + 1).min(window);
        if heard {
            self.rolling = false;
        }
        if !self.predicts {
            return;
        }
        if held == 0 {
            identity(rows, &mut self.turn);
            self.mean[..dims].copy_from_slice(&z[..dims]);
        } else {
            if window > 1 {
                self.matrix.polar(level, Some(&self.sums), &mut self.turn);
            }
            let t = held.min(window - 1);
            average(rows, &self.turn, &mut self.mean, z, t, &mut self.scratch);
        }
    }

    /// Whether `ahead` is there.
    pub fn predicts(&self) -> bool {
        self.predicts
    }

    /// The state one frame on. Thread: audio. Never allocates, locks or logs.
    pub fn ahead(&self, out: &mut [f32]) {
        turned(self.rows, &self.turn, &self.mean[..self.dims], out);
        retract(&mut out[..self.dims]);
    }

    /// The next state of a rollout; the first finds the rotation. Thread: audio. Never allocates, locks or logs.
    pub fn roll(&mut self, level: Level, out: &mut [f32]) {
        if !self.rolling {
            self.settle(level);
            self.rolling = true;
        }
        turned(self.rows, &self.roll_turn, &self.roll_state[..self.dims], out);
        retract(&mut out[..self.dims]);
        self.roll_state.copy_from_slice(out);
    }

    fn settle(&mut self, level: Level) {
        let Self { dims, rows, window, ring, at, count, sums, matrix, roll_turn: turn, .. } = self;
        let (dims, rows, window, count) = (*dims, *rows, *window, *count);
        let first = (*at + window - count) % window;
        let state = |t: usize| &ring[(first + t) % window * rows..][..rows];
        let mean = &mut self.roll_state;
        mean.copy_from_slice(state(0));
        if count < 2 {
            identity(rows, turn);
            return;
        }
        matrix.polar(level, Some(sums), turn);
        if count >= SETTLING_FRAMES + 2 {
            let mut second = std::mem::take(&mut matrix.sums);
            second.fill(0.0);
            for t in 1..count {
                self.before.copy_from_slice(mean);
                average(rows, turn, mean, state(t), t, &mut self.scratch);
                if t > SETTLING_FRAMES {
                    Matrix::add(&mut second, dims, mean, &self.before[..dims], 1.0);
                }
            }
            matrix.sums = second;
            matrix.polar(level, None, turn);
            mean.copy_from_slice(state(0));
        }
        for t in 1..count {
            average(rows, turn, mean, state(t), t, &mut self.scratch);
        }
    }

    pub fn reset(&mut self) {
        self.ring.fill(0.0);
        self.sums.fill(0.0);
        (self.at, self.count, self.rolling) = (0, 0, false);
    }

    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        for values in
            [&mut self.ring, &mut self.turn, &mut self.mean, &mut self.roll_turn, &mut self.roll_state]
        {
            io.f32s(values)?;
        }
        io.f64s(&mut self.sums)?;
        io.usize(&mut self.at)?;
        io.usize(&mut self.count)?;
        io.bool(&mut self.rolling)?;
        let ok = self.at < self.window && self.count <= self.window;
        if ok { Ok(()) } else { Err(StateError::Mismatch) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polar_factor_of_a_stretched_rotation_is_the_rotation() {
        let (sin, cos) = 0.7f64.sin_cos();
        // R diag(3, 2): its polar factor is R (the singular values are known, the matrix is not symmetric).
        let sums = [cos * 3.0, -sin * 2.0, sin * 3.0, cos * 2.0];
        let mut turn = vec![0.0; 2 * LANES];
        for level in [Level::detect(), Level::Plain] {
            Matrix::new(2).polar(level, Some(&sums), &mut turn);
            let got = [turn[0], turn[LANES], turn[1], turn[LANES + 1]].map(f64::from);
            let want = [cos, -sin, sin, cos];
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-6, "{got} is not {want}");
            }
        }
    }

    #[test]
    fn carried_sums_forget_what_leaves_the_ring() {
        let z = |t: usize| -> Vec<f32> {
            let mut z: Vec<f32> = (0..5).map(|i| ((t * (3 + i)) as f32 * 0.37).sin()).collect();
            retract(&mut z);
            z
        };
        for window in [1, 2, 7, 40] {
            let (mut long, mut short) = (Rotor::new(5, window, false), Rotor::new(5, window, false));
            let level = Level::detect();
            (0..100).for_each(|t| long.push(level, &z(t), true));
            (100 - window..100).for_each(|t| short.push(level, &z(t), true));
            let (mut a, mut b) = (vec![0.0; 8], vec![0.0; 8]);
            for _ in 0..20 {
                long.roll(level, &mut a);
                short.roll(level, &mut b);
                let far = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far < 1e-4, "window {window}: {far}");
            }
        }
    }
}
