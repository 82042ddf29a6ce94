//! Input that was cut off: a run of zeros, or of one held value, that begins in the midst of sound.

use crate::{StateError, StateIo};

/// Samples alike before anything is suspected; single zeros are part of every quiet sound.
pub const SUSPECT: usize = 4;
/// Fall of the level that is compared with the floor, 63 % in this time.
const LEVEL_SECONDS: f64 = 0.002;

/// What counts as a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Off,
    /// Exact zeros on all channels.
    Zeros,
    /// Zeros, or each channel's last value held.
    Held,
}

/// Watches frame by frame.
pub struct Detector {
    kind: Kind,
    keep: f32,
    /// Level before this frame: peaks of all channels, falling.
    level: f32,
    /// Frames of the run so far; 0: none.
    run: usize,
    /// Whether the run began from sound above the floor.
    from_sound: bool,
}

impl Detector {
    pub fn new(kind: Kind, sample_rate: f64) -> Self {
        let keep = (-1.0 / (LEVEL_SECONDS * sample_rate)).exp() as f32;
        Self { kind, keep, level: 0.0, run: 0, from_sound: false }
    }

    /// Thread: audio.
    pub fn clear(&mut self) {
        self.level = 0.0;
        self.run = 0;
        self.from_sound = false;
    }

    /// Frames of a suspected loss up to now; 0 if the input is sound, or silence.
    pub fn run(&self) -> usize {
        if self.from_sound { self.run } else { 0 }
    }

    /// Takes a frame as pairs (sample, sample before it). Thread: audio.
    pub fn push(&mut self, frame: impl Iterator<Item = (f32, f32)>, floor: f32) {
        let (mut zero, mut held, mut peak) = (true, true, 0.0f32);
        for (x, before) in frame {
            zero &= x == 0.0;
            held &= x == before;
            peak = peak.max(x.abs());
        }
        let alike = match self.kind {
            Kind::Off => false,
            Kind::Zeros => zero,
            Kind::Held => zero || held,
        };
        if alike {
            if self.run == 0 {
                self.from_sound = self.level > floor;
            }
            self.run = self.run.saturating_add(1);
        } else {
            self.run = 0;
            self.from_sound = false;
        }
        self.level = peak.max(self.level * self.keep);
        if self.level < 1e-20 {
            self.level = 0.0;
        }
    }

    /// Saves or restores.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32(&mut self.level)?;
        io.usize(&mut self.run)?;
        io.bool(&mut self.from_sound)
    }
}
