//! The states that attention looks back on: a ring of bounded length, dimension by dimension.

use super::lanes::{load, sin, store};
use crate::simd::{F32x8, Kernel, LANES, Level};
use crate::{StateError, StateIo};

const RUN: usize = 4 * LANES;

/// The last `window` states.
pub struct Keys {
    dims: usize,
    window: usize,
    /// `window`, padded to whole runs; unused slots hold 0 and so pull nowhere.
    slots: usize,
    data: Vec<f32>,
    /// Sum of the states held; float64, so that 10⁹ additions and subtractions leave 1e-7.
    sum: Vec<f64>,
    at: usize,
    count: usize,
    weights: Vec<f32>,
}

impl Keys {
    /// Thread: control. Allocates.
    pub fn new(dims: usize, window: usize) -> Self {
        let slots = window.next_multiple_of(RUN);
        Self {
            dims,
            window,
            slots,
            data: vec![0.0; dims * slots],
            sum: vec![0.0; dims],
            at: 0,
            count: 0,
            weights: vec![0.0; slots],
        }
    }

    /// States held, `window` at most.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Thread: audio. Never allocates, locks or logs.
    pub fn push(&mut self, z: &[f32]) {
        for (d, (sum, z)) in self.sum.iter_mut().zip(z).enumerate() {
            let slot = &mut self.data[d * self.slots + self.at];
            *sum += f64::from(*z) - f64::from(*slot);
            *slot = *z;
        }
        self.at = if self.at + 1 == self.window { 0 } else { self.at + 1 };
        self.count = (self.count + 1).min(self.window);
    }

    /// Kuramoto: the sum of the states, times `scale`. Thread: audio. Never allocates, locks or logs.
    pub fn sum(&self, scale: f64, out: &mut [f32]) {
        out.iter_mut().zip(&self.sum).for_each(|(o, s)| *o = (s * scale) as f32);
    }

    /// Sakaguchi: Σ sin(⟨s, k⟩ + alpha) k, times `scale`. Thread: audio. Never allocates, locks or logs.
    pub fn pull(&mut self, level: Level, s: &[f32], alpha: f32, scale: f32, out: &mut [f32]) {
        level.run(Pull { keys: self, s, alpha, scale, out });
    }

    pub fn reset(&mut self) {
        self.data.fill(0.0);
        self.sum.fill(0.0);
        (self.at, self.count) = (0, 0);
    }

    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(&mut self.data)?;
        io.f64s(&mut self.sum)?;
        io.usize(&mut self.at)?;
        io.usize(&mut self.count)?;
        let ok = self.at < self.window && self.count <= self.window;
        if ok { Ok(()) } else { Err(StateError::Mismatch) }
    }
}

struct Pull<'a> {
    keys: &'a mut Keys,
    s: &'a [f32],
    alpha: f32,
    scale: f32,
    out: &'a mut [f32],
}

impl Kernel for Pull<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Keys { dims, slots, data, count, weights, .. } = self.keys;
        let (dims, slots) = (*dims, *slots);
        let used = count.next_multiple_of(RUN);
        for from in (0..used).step_by(RUN) {
            let mut sum = [F32x8::splat(self.alpha); 4];
            for (d, s) in self.s[..dims].iter().enumerate() {
                let key = &data[d * slots + from..][..RUN];
                let s = F32x8::splat(*s);
                for (k, sum) in sum.iter_mut().enumerate() {
                    *sum = load(&key[k * LANES..]).mul_add::<FMA>(s, *sum);
                }
            }
            for (k, sum) in sum.into_iter().enumerate() {
                let w = sin::<FMA>(sum) * F32x8::splat(self.scale);
                store(w, &mut weights[from + k * LANES..]);
            }
        }
        for (d, out) in self.out[..dims].iter_mut().enumerate() {
            let mut sum = [F32x8::ZERO; 4];
            let keys = &data[d * slots..][..used];
            for (key, w) in keys.chunks_exact(RUN).zip(weights[..used].chunks_exact(RUN)) {
                for (k, s) in sum.iter_mut().enumerate() {
                    *s = load(&key[k * LANES..]).mul_add::<FMA>(load(&w[k * LANES..]), *s);
                }
            }
            *out = ((sum[0] + sum[1]) + (sum[2] + sum[3])).sum();
        }
    }
}
