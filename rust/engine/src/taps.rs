//! Taps: frames of a processor's inner values at exact sample times, out of the audio thread.

use cspace_dsp::Processor;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Two words of time come before the values of a frame.
const HEADER: usize = 2;

/// The audio half: writes a frame whenever `hop` more samples were processed.
pub(crate) struct TapWriter {
    pub slot: u32,
    tap: usize,
    hop: u64,
    next: u64,
    values: Vec<f32>,
    ring: Producer<u32>,
    dropped: Arc<AtomicU64>,
}

/// The control half of a subscription; dropping it ends the subscription.
pub struct TapReader {
    width: usize,
    hop: u64,
    ring: Consumer<u32>,
    dropped: Arc<AtomicU64>,
    alive: Arc<()>,
}

/// `width` values of tap `tap`, every `hop` samples, with room for `frames` unread ones.
/// Thread: control. Allocates.
pub(crate) fn tap(slot: u32, tap: usize, width: usize, hop: u64, frames: usize) -> (TapWriter, TapReader) {
    let (producer, consumer) = RingBuffer::new(frames * (width + HEADER));
    let dropped = Arc::new(AtomicU64::new(0));
    let values = vec![0.0; width];
    let writer = TapWriter { slot, tap, hop, next: 0, values, ring: producer, dropped: dropped.clone() };
    (writer, TapReader { width, hop, ring: consumer, dropped, alive: Arc::new(()) })
}

impl TapWriter {
    /// First frame: the next multiple of the hop after `now`. Thread: audio.
    pub fn start(&mut self, now: u64) {
        self.next = (now / self.hop + 1) * self.hop;
    }

    /// Samples until the next frame is due. Thread: audio.
    pub fn until(&self, now: u64) -> u64 {
        self.next - now
    }

    /// Nobody reads any more.
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// Writes a frame if it is due at `now`; without a processor (it panicked) the frame is dropped.
    /// Thread: audio. Never allocates, locks or logs.
    pub fn poll(&mut self, processor: Option<&dyn Processor>, now: u64) {
        if now < self.next {
            return;
        }
        self.next = now + self.hop;
        let width = self.values.len();
        // A replaced processor may have another size: its frames would not fit this subscription.
        let Some(processor) = processor.filter(|p| p.tap_len(self.tap) == width) else {
            crate::shared::count(&self.dropped);
            return;
        };
        match self.ring.write_chunk_uninit(width + HEADER) {
            Ok(chunk) => {
                processor.read_tap(self.tap, &mut self.values);
                let time = [now as u32, (now >> 32) as u32];
                chunk.fill_from_iter(time.into_iter().chain(self.values.iter().map(|v| v.to_bits())));
            }
            Err(_) => crate::shared::count(&self.dropped),
        }
    }
}

impl TapReader {
    /// Lets the control side see when the reader is gone.
    pub(crate) fn alive(&self) -> std::sync::Weak<()> {
        Arc::downgrade(&self.alive)
    }

    /// Values per frame.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Samples between frames.
    pub fn hop(&self) -> u64 {
        self.hop
    }

    /// Frames lost because nobody read in time.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Appends all waiting frames: times in samples processed, values `width` per frame.
    /// Thread: control. May allocate.
    pub fn read(&mut self, times: &mut Vec<u64>, values: &mut Vec<f32>) {
        let words = self.width + HEADER;
        let frames = self.ring.slots() / words;
        let Ok(chunk) = self.ring.read_chunk(frames * words) else { return };
        let mut it = chunk.into_iter();
        for _ in 0..frames {
            let (Some(low), Some(high)) = (it.next(), it.next()) else { return };
            times.push(u64::from(low) | u64::from(high) << 32);
            values.extend(it.by_ref().take(self.width).map(f32::from_bits));
        }
    }
}
