//! The unit of sound that processors pass on: planar float32, changed in place.

/// A view of `channels` × `frames` float32 samples, planar, changed in place.
///
/// Channel `c` lies at `data[c * stride + start ..][..frames]`. A host block is cut at parameter
/// events with [`Block::slice`], which moves `start` and copies nothing.
pub struct Block<'a> {
    data: &'a mut [f32],
    stride: usize,
    start: usize,
    frames: usize,
}

impl<'a> Block<'a> {
    /// Wraps `data`, which holds one channel every `stride` samples; the first `frames` of each
    /// are in view.
    ///
    /// # Panics
    /// If `data` is not a whole number of strides or `frames > stride`.
    pub fn new(data: &'a mut [f32], stride: usize, frames: usize) -> Self {
        assert!(frames <= stride && stride > 0, "frames {frames} > stride {stride}");
        assert_eq!(data.len() % stride, 0, "data is not a whole number of channels");
        Self { data, stride, start: 0, frames }
    }

    /// Number of channels, at least 1 for any block a processor sees.
    pub fn channels(&self) -> usize {
        self.data.len() / self.stride
    }

    /// Number of samples per channel in view.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// The samples of channel `c`.
    pub fn channel(&self, c: usize) -> &[f32] {
        &self.data[c * self.stride + self.start..][..self.frames]
    }

    /// The samples of channel `c`, to write.
    pub fn channel_mut(&mut self, c: usize) -> &mut [f32] {
        &mut self.data[c * self.stride + self.start..][..self.frames]
    }

    /// All channels in order, to write.
    pub fn channels_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let (start, frames) = (self.start, self.frames);
        self.data.chunks_exact_mut(self.stride).map(move |c| &mut c[start..start + frames])
    }

    /// The part `[from, to)` of this block, as a block of its own.
    pub fn slice(&mut self, from: usize, to: usize) -> Block<'_> {
        assert!(from <= to && to <= self.frames, "slice {from}..{to} of {} frames", self.frames);
        Block { data: self.data, stride: self.stride, start: self.start + from, frames: to - from }
    }

    /// Writes the mean of all channels to `out[..frames]`.
    pub fn mean_into(&self, out: &mut [f32]) {
        let out = &mut out[..self.frames];
        out.copy_from_slice(self.channel(0));
        for c in 1..self.channels() {
            for (o, x) in out.iter_mut().zip(self.channel(c)) {
                *o += x;
            }
        }
        if self.channels() > 1 {
            let scale = 1.0 / self.channels() as f32;
            out.iter_mut().for_each(|o| *o *= scale);
        }
    }

    /// Writes silence.
    pub fn clear(&mut self) {
        self.channels_mut().for_each(|c| c.fill(0.0));
    }
}
