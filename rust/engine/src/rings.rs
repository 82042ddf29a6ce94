//! Whole frames in and out of a ring of interleaved samples. Thread: the one that is not audio.

use rtrb::{Consumer, Producer};

/// Queues interleaved samples; returns the frames that fitted.
pub(crate) fn feed(
    ring: &mut Producer<f32>,
    channels: usize,
    interleaved: impl ExactSizeIterator<Item = f32>,
) -> usize {
    let room = ring.slots() / channels * channels;
    let n = room.min(interleaved.len() / channels * channels);
    match ring.write_chunk_uninit(n) {
        Ok(chunk) => chunk.fill_from_iter(interleaved.take(n)) / channels,
        Err(_) => 0,
    }
}

/// Takes up to `max_frames`, interleaved.
pub(crate) fn drain(ring: &mut Consumer<f32>, channels: usize, max_frames: usize) -> Vec<f32> {
    let n = (ring.slots() / channels).min(max_frames) * channels;
    ring.read_chunk(n).map(|c| c.into_iter().collect()).unwrap_or_default()
}
