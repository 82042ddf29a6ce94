//! A fixed multi-channel delay, for dry signals that must stay aligned with a slow processor.

use cspace_dsp::{StateError, StateIo};

/// Delays planar blocks by a constant number of samples.
pub(crate) struct Delay {
    ring: Vec<f32>,
    samples: usize,
    at: usize,
}

impl Delay {
    /// Thread: control. Allocates.
    pub fn new(channels: usize, samples: usize) -> Self {
        Self { ring: vec![0.0; channels * samples], samples, at: 0 }
    }

    /// Whether there is no delay at all.
    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Delays `data` (one channel every `stride` samples, the first `frames` of each) in place.
    /// Thread: audio. Never allocates, locks or logs.
    pub fn process(&mut self, data: &mut [f32], stride: usize, frames: usize) {
        if self.samples == 0 {
            return;
        }
        let mut end = self.at;
        for (channel, ring) in data.chunks_exact_mut(stride).zip(self.ring.chunks_exact_mut(self.samples)) {
            let mut at = self.at;
            for x in &mut channel[..frames] {
                std::mem::swap(x, &mut ring[at]);
                at += 1;
                if at == self.samples {
                    at = 0;
                }
            }
            end = at;
        }
        self.at = end;
    }

    /// Saves or restores what is under way.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(&mut self.ring)?;
        io.usize(&mut self.at)
    }

    /// Thread: audio.
    pub fn reset(&mut self) {
        self.ring.fill(0.0);
        self.at = 0;
    }
}
