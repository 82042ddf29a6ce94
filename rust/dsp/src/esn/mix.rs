//! Audio side: the network over a block, and the mix of its projections into the sound.

use super::kernel::Run;
use super::{Esn, Prepared};
use crate::{Block, StateError, StateIo};

/// Loudest input that the level follower believes; its square stays finite.
const MAX_LEVEL: f32 = 1e6;
/// Most that a texture is turned up, 80 dB.
const MAX_GAIN: f32 = 1e4;

/// One-pole rates of the texture at a sample rate.
#[derive(Clone, Copy)]
pub struct Rates {
    /// Pole of the DC blocker, 10 Hz.
    dc: f32,
    /// Rate of the level followers, 50 ms.
    level: f32,
}

impl Rates {
    pub fn new(sample_rate: f64) -> Self {
        Self {
            dc: (-std::f64::consts::TAU * 10.0 / sample_rate).exp() as f32,
            level: -(-1.0 / (0.05 * sample_rate)).exp_m1() as f32,
        }
    }
}

/// What the texture of one channel remembers.
#[derive(Clone, Copy, Default)]
pub struct Voice {
    last: f32,
    high: f32,
    power_in: f32,
    power_out: f32,
    playing: bool,
}

impl Voice {
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        for v in [&mut self.last, &mut self.high, &mut self.power_in, &mut self.power_out] {
            io.f32(v)?;
        }
        io.bool(&mut self.playing)
    }

    /// The projection `p` without DC and as loud as the input `x`.
    fn next(&mut self, p: f32, x: f32, rates: Rates) -> f32 {
        if !self.playing {
            *self = Self { last: p, playing: true, ..Self::default() };
        }
        self.high = self.high * rates.dc + (p - self.last);
        self.last = p;
        let x = if x.is_nan() { 0.0 } else { x.clamp(-MAX_LEVEL, MAX_LEVEL) };
        self.power_in += rates.level * (x * x - self.power_in);
        self.power_out += rates.level * (self.high * self.high - self.power_out);
        let gain = (self.power_in / (self.power_out + 1e-20)).sqrt();
        self.high * gain.min(MAX_GAIN)
    }
}

impl Esn {
    /// Thread: audio. Never allocates, locks or logs.
    pub(super) fn run_block(&mut self, block: &mut Block<'_>) {
        let most = self.prepared.as_ref().map_or(0, |p| p.max_block);
        if most == 0 {
            return;
        }
        for from in (0..block.frames()).step_by(most) {
            let to = block.frames().min(from + most);
            self.run_part(&mut block.slice(from, to));
        }
    }

    fn run_part(&mut self, block: &mut Block<'_>) {
        let Some(p) = &mut self.prepared else { return };
        let frames = block.frames();
        let slices = p.net.slices();
        block.mean_into(&mut p.input);
        for u in &mut p.input[..frames] {
            *u *= self.scale.tick();
        }
        let heard = |s: &crate::Smoothed| s.is_moving() || s.current() != 0.0;
        let (readout, texture) = (heard(&self.readout), heard(&self.texture));
        // The rows that are heard; a row costs N products per sample.
        let first = if readout { 0 } else { 1 };
        let last = if texture { 1 + p.voices.len() } else { 1 };
        super::lanes::run(
            self.level,
            Run {
                net: &p.net,
                state: &mut p.state,
                input: &p.input[..frames],
                rows: &p.rows[first * slices..last.max(first) * slices],
                out: &mut p.out[first * p.max_block..],
                stride: p.max_block,
                states: &mut [],
            },
        );
        self.mix(block);
    }

    /// Dry and wet, sample by sample so that ramps do not depend on blocks.
    fn mix(&mut self, block: &mut Block<'_>) {
        let Some(Prepared { out, bias, max_block, voices, rates, .. }) = &mut self.prepared else { return };
        for t in 0..block.frames() {
            let (wet, readout, texture) = (self.wet.tick(), self.readout.tick(), self.texture.tick());
            if texture == 0.0 {
                voices.iter_mut().for_each(|v| v.playing = false);
            }
            if readout == 0.0 && texture == 0.0 {
                continue;
            }
            let dry = 1.0 - wet * (readout + texture);
            let common = if readout != 0.0 { readout * (*bias + out[t]) } else { 0.0 };
            for (c, (channel, voice)) in block.channels_mut().zip(voices.iter_mut()).enumerate() {
                let x = channel[t];
                let mut y = common;
                if texture != 0.0 {
                    y += texture * voice.next(out[(1 + c) * *max_block + t], x, *rates);
                }
                channel[t] = dry * x + wet * y;
            }
        }
    }
}
