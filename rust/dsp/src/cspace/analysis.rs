//! The bank alone, for analysis: states out of sound, without the effect around it.

use super::bank::{Advance, CHUNK, Coefs, Complex, Output, Pole, States, Weights, unpack};
use crate::simd::Level;
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

    /// Back to rest. Thread: audio. Never allocates, locks or logs.
    pub fn reset(&mut self) {
        self.states.clear();
    }

    /// Saves or restores the states.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        self.states.state(io)
    }
}
