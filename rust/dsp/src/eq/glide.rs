//! A knob on its way from one value to another, in float64.

use crate::{StateError, StateIo};

/// A straight walk over a number of samples.
///
/// Where [`crate::Smoothed`] takes one step per sample, this one is asked for its value now and
/// then: it is a formula of the samples gone by, so nothing adds up and long strides cost nothing.
#[derive(Clone, Debug)]
pub struct Glide {
    from: f64,
    to: f64,
    gone: usize,
    length: usize,
}

impl Glide {
    /// Rests at `value`.
    pub fn new(value: f64) -> Self {
        Self { from: value, to: value, gone: 0, length: 0 }
    }

    /// Sets out from where it is to `target`, to arrive in `length` samples (0: at once).
    pub fn set(&mut self, target: f64, length: usize) {
        let from = self.value();
        let length = if target == from { 0 } else { length };
        *self = Self { from, to: target, gone: 0, length };
    }

    /// Arrives at once.
    pub fn snap(&mut self) {
        self.gone = self.length;
    }

    pub fn is_moving(&self) -> bool {
        self.gone < self.length
    }

    /// Goes on by `samples`, at most to the target.
    pub fn advance(&mut self, samples: usize) {
        self.gone = (self.gone + samples).min(self.length);
    }

    pub fn value(&self) -> f64 {
        if self.is_moving() {
            self.from + (self.to - self.from) * (self.gone as f64 / self.length as f64)
        } else {
            self.to
        }
    }

    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f64(&mut self.from)?;
        io.f64(&mut self.to)?;
        io.usize(&mut self.gone)?;
        io.usize(&mut self.length)
    }
}
