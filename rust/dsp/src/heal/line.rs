//! What was heard, and behind it what waits to be: one ring per channel, addressed by sample time.

use crate::{StateError, StateIo};

/// Rings of equal length. Sample `t` of a channel stays readable until `size` more are written.
pub struct Lines {
    data: Vec<f32>,
    size: usize,
}

impl Lines {
    /// For `channels` lines that keep at least `kept` samples. Thread: control. Allocates.
    pub fn new(channels: usize, kept: usize) -> Self {
        let size = kept.next_power_of_two();
        Self { data: vec![0.0; channels * size], size }
    }

    /// Samples kept of a line.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Thread: audio.
    pub fn clear(&mut self) {
        self.data.fill(0.0);
    }

    #[inline]
    fn place(&self, channel: usize, t: u64) -> usize {
        channel * self.size + (t as usize & (self.size - 1))
    }

    #[inline]
    pub fn at(&self, channel: usize, t: u64) -> f32 {
        self.data[self.place(channel, t)]
    }

    #[inline]
    pub fn set(&mut self, channel: usize, t: u64, x: f32) {
        let place = self.place(channel, t);
        self.data[place] = x;
    }

    /// Samples from `from` on, `out.len()` of them. Thread: audio.
    pub fn read(&self, channel: usize, from: u64, out: &mut [f32]) {
        let line = &self.data[channel * self.size..][..self.size];
        let at = from as usize & (self.size - 1);
        let first = out.len().min(self.size - at);
        out[..first].copy_from_slice(&line[at..][..first]);
        let rest = out.len() - first;
        out[first..].copy_from_slice(&line[..rest]);
    }

    /// The largest magnitude from `from` to before `to`. Thread: audio.
    pub fn peak(&self, channel: usize, from: u64, to: u64) -> f32 {
        (from..to).fold(0.0, |m, t| m.max(self.at(channel, t).abs()))
    }

    /// Saves or restores.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(&mut self.data)
    }
}
