//! The audio side: blocks, cut at the grid points.

use super::Kuramoto;
use super::kernel::{GRID, Parts, Pass};
use super::spec::*;
use crate::Block;

/// dB RMS of a sine to its peak; the bottom of the range is true silence.
pub(super) fn rms_to_peak(level_db: f32) -> f32 {
    if level_db <= PARAMS[LEVEL_DB].min { 0.0 } else { std::f32::consts::SQRT_2 * amplitude(level_db) }
}

/// dB to a factor.
pub(super) fn amplitude(level_db: f32) -> f32 {
    10f32.powf(level_db * 0.05)
}

impl Kuramoto {
    /// Thread: audio. Never allocates, locks or logs.
    pub(super) fn run(&mut self, block: &mut Block<'_>) {
        let mut done = 0;
        while done < block.frames() {
            let offset = (self.clock % GRID as u64) as usize;
            if offset == 0 {
                self.control_step();
            }
            let frames = (GRID - offset).min(block.frames() - done);
            self.stretch(&mut block.slice(done, done + frames), offset);
            self.clock += frames as u64;
            done += frames;
        }
    }

    /// Up to [`GRID`] samples within one grid step.
    fn stretch(&mut self, block: &mut Block<'_>, offset: usize) {
        let frames = block.frames();
        let (mut input, mut left, mut right) = ([0.0; GRID], [0.0; GRID], [0.0; GRID]);
        if self.shape.listening {
            block.mean_into(&mut input);
            // One bad sample must not stay in the resonators; their squares must stay finite.
            input.iter_mut().for_each(|x| *x = if x.is_nan() { 0.0 } else { x.clamp(-1e6, 1e6) });
        }
        let pass = Pass {
            osc: &mut self.osc,
            ramps: &self.ramps,
            partials: &self.partials,
            bands: &mut self.bands,
            field: &mut self.field,
            coupling: &self.coupling,
            last: self.last,
            count: self.count,
            pull: self.pull,
            harmonics: self.shape.harmonics as usize,
            offset,
            input: &input[..frames],
            left: &mut left[..frames],
            right: &mut right[..frames],
            z: &mut self.z,
            r2: &mut self.r2,
        };
        let (ramp, entrain) = (self.shape.ramping, self.shape.listening);
        pass.run(self.simd, Parts { ramp, entrain, matrix: self.matrix_on });

        let mut dry = [0.0; GRID];
        for j in 0..frames {
            dry[j] = self.dry.tick();
            let wet = self.level.tick() * self.norm.tick();
            left[j] *= wet;
            right[j] *= wet;
        }
        let channels = block.channels();
        for (c, channel) in block.channels_mut().enumerate() {
            let alone = c % 2 == 0 && c + 1 == channels && channels > 1;
            for (j, x) in channel.iter_mut().enumerate() {
                // A last channel without a partner gets the middle; mono has no width to begin with.
                let synth = match c % 2 {
                    _ if alone => 0.5 * (left[j] + right[j]),
                    0 => left[j],
                    _ => right[j],
                };
                *x = dry[j] * *x + synth;
            }
        }
    }
}
