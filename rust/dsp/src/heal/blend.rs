//! Which model to trust: each plays on in secret from where its window ended, and is compared with
//! what came.

use crate::simd::Level;
use crate::{StateError, StateIo};

use super::burg::Model;
use super::line::Lines;
use super::voice::Voice;

/// Models: one of short memory, for speech and what moves; one of long memory, for what rings.
pub const MODELS: usize = 2;
/// How long a rehearsal runs.
const REHEARSAL_SECONDS: f64 = 0.010;
/// Share of the sound's power that is added to every error: how far a small one may be trusted.
const DOUBT: f64 = 0.1;

/// One model's rehearsal, all channels.
struct Stage {
    voices: Vec<Voice>,
    /// Per channel: squares of what it missed, and of the sound; what came before counts half.
    misses: Vec<f64>,
    powers: Vec<f64>,
    /// The next sample to foretell, and how many there are to come.
    at: u64,
    left: usize,
}

/// Rehearsals of all models.
pub struct Rehearsal {
    stages: [Stage; MODELS],
    length: usize,
}

impl Rehearsal {
    /// Thread: control. Allocates.
    pub fn new(orders: [usize; MODELS], channels: usize, sample_rate: f64) -> Self {
        let stage = |order| Stage {
            voices: (0..channels).map(|_| Voice::new(order)).collect(),
            misses: vec![0.0; channels],
            powers: vec![0.0; channels],
            at: 0,
            left: 0,
        };
        Self { stages: orders.map(stage), length: (REHEARSAL_SECONDS * sample_rate).round() as usize }
    }

    /// Thread: audio.
    pub fn clear(&mut self) {
        for stage in &mut self.stages {
            stage.voices.iter_mut().for_each(Voice::clear);
            stage.misses.fill(0.0);
            stage.powers.fill(0.0);
            (stage.at, stage.left) = (0, 0);
        }
    }

    /// A new model is ready. Thread: audio.
    pub fn offer(&mut self, index: usize, model: &Model, lines: &Lines) {
        let stage = &mut self.stages[index];
        if stage.left > 0 || !model.can_be_judged() {
            return;
        }
        (stage.at, stage.left) = (model.ready_end(), self.length);
        for (c, voice) in stage.voices.iter_mut().enumerate() {
            voice.start(model.ready(c), lines, c, stage.at, f64::MAX);
            stage.misses[c] *= 0.5;
            stage.powers[c] *= 0.5;
        }
    }

    /// Breaks off: what comes now is no measure. Thread: audio.
    pub fn stop(&mut self) {
        self.stages.iter_mut().for_each(|s| s.left = 0);
    }

    /// One sample of each rehearsal; the line holds what came. Thread: audio. Never allocates, locks
    /// or logs.
    pub fn tick(&mut self, lines: &Lines, level: Level) {
        for stage in self.stages.iter_mut().filter(|s| s.left > 0) {
            for (c, voice) in stage.voices.iter_mut().enumerate() {
                let x = f64::from(lines.at(c, stage.at));
                let miss = voice.tick(level) - x;
                stage.misses[c] += miss * miss;
                stage.powers[c] += x * x;
            }
            stage.at += 1;
            stage.left -= 1;
        }
    }

    /// Shares of the models in channel `c`, together 1.
    pub fn shares(&self, c: usize) -> [f64; MODELS] {
        let trust: [f64; MODELS] = std::array::from_fn(|i| {
            let stage = &self.stages[i];
            let error = (stage.misses[c] / (stage.powers[c] + 1e-30)).min(10.0) + DOUBT;
            // To the fourth: nearly a choice, since two sounds out of step weaken each other.
            let trust = error.powi(-4);
            if trust.is_finite() { trust } else { 1.0 }
        });
        let sum: f64 = trust.iter().sum();
        trust.map(|t| t / sum)
    }

    /// Saves or restores.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        for stage in &mut self.stages {
            stage.voices.iter_mut().try_for_each(|v| v.state(io))?;
            io.f64s(&mut stage.misses)?;
            io.f64s(&mut stage.powers)?;
            io.u64(&mut stage.at)?;
            io.usize(&mut stage.left)?;
        }
        Ok(())
    }
}
