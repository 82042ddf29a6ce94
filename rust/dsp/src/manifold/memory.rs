//! The memory: one causal filter per dimension over past states.

use super::lanes::load;
use crate::simd::{F32x8, Kernel, LANES, Level};
use crate::{StateError, StateIo};

/// Four sums side by side hide the latency of an addition.
const RUN: usize = 4 * LANES;

/// Filters [dimension][tap] and the states they look back on.
pub struct Memory {
    dims: usize,
    /// Taps kept, padded to whole runs.
    taps: usize,
    /// Oldest first; zeros in front of the filter's end.
    filters: Vec<f32>,
    /// Each state twice, `taps` apart, so that the last `taps` always lie in a row.
    ring: Vec<f32>,
    at: usize,
}

impl Memory {
    /// `filter(dimension)` has lag 0 first; lags from `reach` on are cut off. Thread: control. Allocates.
    pub fn new(dims: usize, reach: usize, filter: impl Fn(usize) -> Vec<f32>) -> Self {
        let lengths = (0..dims).map(|d| filter(d).len().min(reach)).max().unwrap_or(0);
        let taps = lengths.next_multiple_of(RUN);
        let mut filters = vec![0.0; dims * taps];
        for d in 0..dims {
            for (lag, v) in filter(d).into_iter().take(reach).enumerate() {
                filters[d * taps + taps - 1 - lag] = v;
            }
        }
        Self { dims, taps, filters, ring: vec![0.0; dims * 2 * taps], at: 0 }
    }

    /// Thread: audio. Never allocates, locks or logs.
    pub fn push(&mut self, z: &[f32]) {
        self.at = if self.at + 1 == self.taps { 0 } else { self.at + 1 };
        for (ring, z) in self.ring.chunks_exact_mut(2 * self.taps).zip(z) {
            ring[self.at] = *z;
            ring[self.at + self.taps] = *z;
        }
    }

    /// The filters' outputs, to the front of `out`. Thread: audio. Never allocates, locks or logs.
    pub fn read(&self, level: Level, out: &mut [f32]) {
        level.run(Read { memory: self, out });
    }

    pub fn reset(&mut self) {
        self.ring.fill(0.0);
        self.at = 0;
    }

    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(&mut self.ring)?;
        io.usize(&mut self.at)?;
        if self.at >= self.taps { Err(StateError::Mismatch) } else { Ok(()) }
    }
}

struct Read<'a> {
    memory: &'a Memory,
    out: &'a mut [f32],
}

impl Kernel for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        let Memory { dims, taps, filters, ring, at } = self.memory;
        for d in 0..*dims {
            let past = &ring[d * 2 * taps + at + 1..][..*taps];
            let filter = &filters[d * taps..][..*taps];
            let mut sum = [F32x8::ZERO; 4];
            for (p, f) in past.chunks_exact(RUN).zip(filter.chunks_exact(RUN)) {
                for (k, s) in sum.iter_mut().enumerate() {
                    *s = load(&p[k * LANES..]).mul_add::<FMA>(load(&f[k * LANES..]), *s);
                }
            }
            self.out[d] = ((sum[0] + sum[1]) + (sum[2] + sum[3])).sum();
        }
    }
}
