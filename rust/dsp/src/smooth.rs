//! Parameter ramps that do not depend on how the audio is cut into blocks.

use crate::{Block, StateError, StateIo};

/// A value that walks to its target in a straight line, one step per sample.
///
/// The ramp is counted in samples, so any division into blocks gives the same values bit for bit,
/// and it lands on the target exactly. A new target during a ramp starts a new ramp from where the
/// value is (newest wins).
#[derive(Clone, Debug, Default)]
pub struct Smoothed {
    current: f32,
    target: f32,
    step: f32,
    left: u32,
}

impl Smoothed {
    /// Rests at `value`.
    pub fn new(value: f32) -> Self {
        Self { current: value, target: value, step: 0.0, left: 0 }
    }

    /// Starts a ramp of `ramp` samples to `target` (0: jumps). Thread: audio.
    pub fn set(&mut self, target: f32, ramp: usize) {
        self.target = target;
        if ramp == 0 || target == self.current {
            self.current = target;
            self.left = 0;
        } else {
            self.left = ramp as u32;
            self.step = (target - self.current) / ramp as f32;
        }
    }

    /// Jumps to the target. Thread: audio.
    pub fn snap(&mut self) {
        self.current = self.target;
        self.left = 0;
    }

    /// The value for this sample, moving on by one. Thread: audio.
    #[inline]
    pub fn tick(&mut self) -> f32 {
        if self.left > 0 {
            self.left -= 1;
            self.current = if self.left == 0 { self.target } else { self.current + self.step };
        }
        self.current
    }

    /// Multiplies every channel of a block by the ramp, and moves on by the block.
    /// Thread: audio. Never allocates, locks or logs.
    pub fn scale(&mut self, block: &mut Block<'_>) {
        // Every channel must see the same ramp: walk a copy and keep the last one.
        let mut end = self.clone();
        for channel in block.channels_mut() {
            end = self.clone();
            if end.is_moving() {
                channel.iter_mut().for_each(|x| *x *= end.tick());
            } else {
                let g = end.current();
                channel.iter_mut().for_each(|x| *x *= g);
            }
        }
        *self = end;
    }

    /// The value of the sample before the next `tick`.
    pub fn current(&self) -> f32 {
        self.current
    }

    /// Where the ramp leads.
    pub fn target(&self) -> f32 {
        self.target
    }

    /// Whether the value still moves; a resting value can be hoisted out of a loop.
    pub fn is_moving(&self) -> bool {
        self.left > 0
    }

    /// Samples until the ramp lands.
    pub fn remaining(&self) -> usize {
        self.left as usize
    }

    /// Saves or restores the ramp.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32(&mut self.current)?;
        io.f32(&mut self.target)?;
        io.f32(&mut self.step)?;
        io.u32(&mut self.left)
    }
}
