//! CSpace: the sound as the states of a bank of complex damped oscillators.
//!
//! Each channel runs through N oscillators z += μ z + b x ([`bank`]), exactly and without block or
//! window. Their states are the coordinates (taps `states`, `magnitude_db`, `center_hz`), and the
//! weighted sum Σ Re(w z) is the sound again ([`design`]); in between it can be frozen, blurred,
//! shifted and shaped.
//!
//! With every knob at its neutral place the input passes bit for bit, without latency. As soon as
//! one leaves it, the sum fades in over 20 ms, and fades out when all are back; `resynthesis` = 1
//! lets the neutral sum itself be heard.
//!
//! # What the neutral sum is
//!
//! With `synthesis` = `dispersed` it is the input all-passed: each frequency comes min(q / 8, 1) of
//! its own periods late (1 ms at 1 kHz, 10 ms at 100 Hz), which lets bands be told apart and makes
//! the sum analytic. With `prompt` (and always with `legacy`) it is the input itself, undelayed.
//! Measured from 100 Hz to 10 kHz at 48 kHz, as signal to error against that target, for noise and
//! (the system being linear) for an impulse of the same spectrum:
//!
//! | oscillators | q | synthesis | pink | white | gain within | image of `shift_hz` |
//! |---|---|---|---|---|---|---|
//! | 64 | 8 | dispersed | 34.8 dB | 33.5 dB | 0.40 dB | −50 dB mean, −38 dB worst heard |
//! | 128 | 8 | dispersed | 42.7 dB | 38.8 dB | 0.16 dB | −51 dB mean |
//! | 1024 | 8 | dispersed | 41.3 dB | 37.5 dB | 0.19 dB | |
//! | 64 | 8 | prompt | 36.0 dB | 32.3 dB | 0.30 dB | −3 dB: a ring modulator |
//! | 128 | 8 | prompt | 51.8 dB | 47.7 dB | 0.02 dB | as above |
//! | 64 | legacy | prompt | 55.7 dB | 51.7 dB | 0.01 dB | as above |
//!
//! Have about q oscillators per octave or more: 64 over 8.6 octaves at q 16 leave 18 dB.
//! Outside low_hz..high_hz the sum falls off. An oscillator is one pole, so bands have skirts of
//! 6 dB per octave at first: one octave heard alone at q 8 is 0.9 dB at its centre, −16 dB two
//! octaves below and −35 dB two above. Blur 3, 10 and 30 change the level of noise by −1.8, −3.2
//! and −3.7 dB. A frozen oscillator drifts by 0.03 dB in a minute.
//!
//! # Accuracy and price
//!
//! Against the float64 recurrence after ten minutes of noise and tones (64 oscillators, q 8): the
//! state vector is off by 5e-7 of itself, the worst oscillator by 2e-6 of its rms level; from 10 Hz
//! at 192 kHz 5e-6, at q 100 7e-6. It grows with q (rounding of μ) and with the root of the ring
//! time (rounding of the state), not with the length of the audio. `examples/cspace_cost.rs`
//! measures the price: 0.14 to 0.17 ns per oscillator and sample with AVX2 at 2.6 GHz, analysis
//! alone or with the sum (1024 to 64 oscillators); up to 0.20 under blur, freeze and gains; 0.18 to 0.29 while shifting; about 0.8
//! while blur, shift and gains all move.

pub mod analysis;
pub mod bank;
pub mod design;
pub mod lookahead;
mod motion;
mod spec;

use crate::simd::{F32x8, LANES, Level};
use crate::{Bank, Block, Info, Prepare, PrepareError, Processor, StateError, StateIo};
use bank::{Advance, CHUNK, Output, Pole, States};
use design::Target;
use motion::{Motion, SEGMENT};
pub use spec::INFO;
use spec::*;

/// A bank of damped oscillators per channel, and the sum of what they play.
pub struct CSpace {
    params: Bank<COUNT>,
    band_gain_db: Vec<f32>,
    prepared: bool,
    sample_rate: f64,
    level: Level,
    hz: Vec<f64>,
    slowest: f64,
    motion: Motion,
    channels: Vec<States>,
    input: [f32; CHUNK],
    sums: [[f32; CHUNK]; 2],
}

// ---- control ---------------------------------------------------------------------------------

impl CSpace {
    /// Parameters at their defaults.
    pub fn new() -> Self {
        Self::with_level(Level::detect())
    }

    /// With a forced instruction set, for tests.
    pub fn with_level(level: Level) -> Self {
        Self {
            params: Bank::new(&PARAMS),
            band_gain_db: Vec::new(),
            prepared: false,
            sample_rate: 48_000.0,
            level,
            hz: Vec::new(),
            slowest: 1.0,
            motion: Motion::default(),
            channels: Vec::new(),
            input: [0.0; CHUNK],
            sums: [[0.0; CHUNK]; 2],
        }
    }

    fn len(&self) -> usize {
        self.hz.len()
    }

    /// The oscillators that the set-up parameters ask for, and what their sum is to be.
    fn design(&self, sample_rate: f64) -> Result<(Vec<f64>, Vec<Pole>, Target), PrepareError> {
        let get = |id: usize| f64::from(self.params.get(id));
        let (low, high) = (get(LOW_HZ), get(HIGH_HZ).min(0.49 * sample_rate));
        if low >= high {
            return Err(PrepareError(format!(
                "cspace: low_hz is {low} and high_hz {high} (at most 0.49 of the sample rate); low_hz must \
                 be the smaller one"
            )));
        }
        let hz = design::log_spaced(get(OSCILLATORS) as usize, low, high);
        let legacy = get(DECAY_LAW) == 1.0;
        let poles = if legacy {
            design::legacy(&hz, get(LEGACY_R_LOW).max(1e-6), get(LEGACY_R_HIGH).max(1e-6), sample_rate)
        } else {
            design::constant_q(&hz, get(Q), sample_rate)
        };
        // An oscillator of Q periods' ring can wait Q/8 periods; more than one would smear.
        let target = if legacy || get(SYNTHESIS) == 1.0 {
            Target::Prompt
        } else {
            Target::Dispersed { cycles: (get(Q) / 8.0).min(1.0) }
        };
        Ok((hz, poles, target))
    }
}

impl Default for CSpace {
    fn default() -> Self {
        Self::new()
    }
}

impl Processor for CSpace {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn prepare(&mut self, spec: &Prepare) -> Result<(), PrepareError> {
        let (hz, poles, target) = self.design(spec.sample_rate)?;
        if !self.band_gain_db.is_empty() && self.band_gain_db.len() != hz.len() {
            return Err(PrepareError(format!(
                "cspace: band_gain_db has {} values for {} oscillators; give one per oscillator",
                self.band_gain_db.len(),
                hz.len()
            )));
        }
        self.band_gain_db.resize(hz.len(), 0.0);
        let weights = design::weights(&hz, &poles, target, spec.sample_rate);
        self.sample_rate = spec.sample_rate;
        self.slowest = poles.iter().fold(f64::INFINITY, |least, p| least.min(p.decay));
        self.motion = Motion::new(spec.sample_rate, &hz, &poles, &weights, &self.params);
        self.motion.set_bands(&self.band_gain_db);
        self.motion.settle();
        self.channels = vec![States::new(hz.len()); spec.channels];
        self.hz = hz;
        self.prepared = true;
        Ok(())
    }

    fn tail_samples(&self) -> usize {
        let held = self.params.get(FREEZE);
        if held >= 1.0 {
            return usize::MAX;
        }
        let stretch = f64::from(self.params.get(BLUR)) / f64::from(1.0 - held);
        (1000f64.ln() * stretch / self.slowest).ceil() as usize
    }

    fn param(&self, id: usize) -> f32 {
        self.params.get(id)
    }

    fn array_len(&self, id: usize) -> usize {
        if id == ARRAY_GAINS { self.len() } else { 0 }
    }

    fn tap_len(&self, id: usize) -> usize {
        match id {
            TAP_STATES => 2 * self.len(),
            TAP_MAGNITUDE | TAP_CENTER => self.len(),
            _ => 0,
        }
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(self.params.values_mut())?;
        io.f32s(&mut self.band_gain_db)?;
        self.motion.state(io)?;
        self.channels.iter_mut().try_for_each(|c| c.state(io))
    }

    // ---- audio -------------------------------------------------------------------------------

    fn set_param(&mut self, id: usize, value: f32) {
        let v = self.params.set(id, value);
        if self.prepared && (FIRST_LIVE..COUNT).contains(&id) {
            self.motion.set(id, v, self.params.ramp(id, self.sample_rate));
        }
    }

    fn set_array(&mut self, id: usize, data: &[f32]) -> bool {
        if id != ARRAY_GAINS {
            return false;
        }
        if !self.prepared {
            self.band_gain_db = data.to_vec();
            return true;
        }
        if data.len() != self.len() {
            return false;
        }
        self.band_gain_db.copy_from_slice(data);
        self.motion.set_bands(data);
        true
    }

    fn read_tap(&self, id: usize, out: &mut [f32]) {
        let n = self.len();
        let share = 1.0 / self.channels.len().max(1) as f32;
        let mean = |part: fn(&States) -> &[F32x8], k: usize| {
            self.channels.iter().map(|c| part(c)[k / LANES].0[k % LANES]).sum::<f32>() * share
        };
        let re = |k: usize| mean(|c| &c.re, k);
        let im = |k: usize| mean(|c| &c.im, k);
        match id {
            TAP_STATES => (0..n).for_each(|k| (out[k], out[n + k]) = (re(k), im(k))),
            TAP_MAGNITUDE => (0..n).for_each(|k| out[k] = 20.0 * re(k).hypot(im(k)).max(1e-6).log10()),
            TAP_CENTER => (0..n).for_each(|k| out[k] = self.hz[k] as f32),
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.channels.iter_mut().for_each(States::clear);
        self.motion.settle();
    }

    fn process(&mut self, block: &mut Block<'_>) {
        let mut at = 0;
        while at < block.frames() {
            if self.motion.position == 0 {
                self.motion.tick();
            }
            // At rest the knobs need no look, and longer runs are cheaper.
            let most = if self.motion.is_resting() { CHUNK } else { SEGMENT - self.motion.position };
            let to = block.frames().min(at + most);
            self.run(&mut block.slice(at, to));
            self.motion.position = (self.motion.position + to - at) % SEGMENT;
            at = to;
        }
    }
}

impl CSpace {
    /// At most [`CHUNK`] frames, within a segment unless at rest.
    fn run(&mut self, block: &mut Block<'_>) {
        let (frames, m) = (block.frames(), &self.motion);
        let (position, [out_re, out_im]) = (m.position, &mut self.sums);
        let open = m.gate.is_level() && m.gate.to == 1.0;
        let silent = m.level.is_level() && m.level.to == 0.0;
        for (states, audio) in self.channels.iter_mut().zip(block.channels_mut()) {
            if !open {
                for (i, (g, x)) in self.input.iter_mut().zip(&*audio).enumerate() {
                    *g = x * m.gate.at(position + i);
                }
            }
            self.level.run(Advance {
                coefs: &m.coefs,
                states,
                x: if open { audio } else { &self.input[..frames] },
                weights: &m.weights,
                output: if m.rotating { Output::Complex } else { Output::Real },
                moving: m.moving.then_some(position),
                out_re,
                out_im,
            });
            if silent {
                continue;
            }
            if m.rotating {
                let [cos, sin] = [0, 1].map(|part| &m.rotation[part][position..][..frames]);
                for ((re, im), (c, s)) in out_re.iter_mut().zip(&*out_im).zip(cos.iter().zip(sin)) {
                    *re = *re * c - im * s;
                }
            }
            for (i, (y, sum)) in audio.iter_mut().zip(&*out_re).enumerate() {
                *y = *y * (1.0 - m.level.at(position + i)) + sum;
            }
        }
    }
}
