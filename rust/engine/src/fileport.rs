//! Files at the ends of a chain that a device drives: one slot plays what another thread feeds, one
//! keeps what it hears for another thread; an ear does the same at the input of any slot. None ever waits.

use cspace_dsp::{Block, Info, Prepare, PrepareError, Processor, StateError, StateIo};
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::command::Command;
use crate::edit::EditError;
use crate::rings;
use crate::shared::{Shared, SlotShared, count};
use crate::{Config, Controller, Prepared};

static PLAYER: Info = Info {
    name: "player",
    doc: "Plays what another thread feeds, in place of its input.",
    params: &[],
    taps: &[],
    arrays: &[],
};
static RECORDER: Info = Info {
    name: "recorder",
    doc: "Passes sound on and keeps a copy for another thread.",
    params: &[],
    taps: &[],
    arrays: &[],
};

/// What both halves of a [`Player`] see.
#[derive(Default)]
struct Progress {
    ended: AtomicBool,
    played: AtomicU64,
}

/// The audio half of a player.
struct Player {
    ring: Consumer<f32>,
    progress: Arc<Progress>,
    late: Arc<AtomicU64>,
    shared: Arc<Shared>,
}

/// The feeding half of a player.
pub struct PlayerEnd {
    ring: Producer<f32>,
    channels: usize,
    progress: Arc<Progress>,
}

/// Copies blocks into a ring for another thread.
pub(crate) struct Ear {
    ring: Producer<f32>,
    dropped: Arc<AtomicU64>,
}

/// The audio half of a recorder.
struct Recorder {
    ear: Ear,
    late: Arc<AtomicU64>,
}

/// The draining half of a recorder or an ear.
pub struct RecorderEnd {
    ring: Consumer<f32>,
    channels: usize,
    dropped: Arc<AtomicU64>,
}

/// A ring of `seconds`, at least four blocks.
fn ring(config: &Config, seconds: f64) -> (Producer<f32>, Consumer<f32>) {
    let frames = ((seconds * config.sample_rate) as usize).max(4 * config.max_block);
    RingBuffer::new(frames * config.channels)
}

impl Controller {
    /// Inserts a slot that plays what is fed to the [`PlayerEnd`] instead of its input. Missing
    /// samples are silence and their block counts as late; nothing that was fed is skipped.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn insert_player(&mut self, index: usize, ring_seconds: f64) -> Result<(u32, PlayerEnd), EditError> {
        let status = SlotShared::default();
        let (producer, consumer) = ring(self.config(), ring_seconds);
        let end = PlayerEnd { ring: producer, channels: self.config().channels, progress: Arc::default() };
        let player = Player {
            ring: consumer,
            progress: end.progress.clone(),
            late: status.late_blocks.clone(),
            shared: self.shared().clone(),
        };
        let status = Arc::new(status);
        let prepared = Prepared::with_status(self.config(), Box::new(player), PLAYER.name, status);
        Ok((self.insert_ready(index, prepared)?, end))
    }

    /// Inserts a slot that copies what passes through it to the [`RecorderEnd`]. Frames that find
    /// no room are dropped, and their block counts as late.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn insert_recorder(
        &mut self,
        index: usize,
        ring_seconds: f64,
    ) -> Result<(u32, RecorderEnd), EditError> {
        let status = SlotShared::default();
        let (producer, consumer) = ring(self.config(), ring_seconds);
        let end = RecorderEnd { ring: consumer, channels: self.config().channels, dropped: Arc::default() };
        let recorder = Recorder {
            ear: Ear { ring: producer, dropped: end.dropped.clone() },
            late: status.late_blocks.clone(),
        };
        let status = Arc::new(status);
        let prepared = Prepared::with_status(self.config(), Box::new(recorder), RECORDER.name, status);
        Ok((self.insert_ready(index, prepared)?, end))
    }
}

impl Controller {
    /// Hands a copy of what enters slot `id` to the [`RecorderEnd`], until that is dropped or
    /// another one is asked for. Costs no latency; frames that find no room are dropped and counted.
    ///
    /// # Errors
    /// See [`EditError`].
    pub fn listen(&mut self, id: u32, ring_seconds: f64) -> Result<RecorderEnd, EditError> {
        self.slot(id)?;
        let (producer, consumer) = ring(self.config(), ring_seconds);
        let end = RecorderEnd { ring: consumer, channels: self.config().channels, dropped: Arc::default() };
        let ear = Box::new(Ear { ring: producer, dropped: end.dropped.clone() });
        self.send(Command::Listen { slot: id, ear })?;
        Ok(end)
    }
}

impl Ear {
    /// Takes a copy of the block as far as there is room; says whether all of it went in.
    /// Thread: audio. Never allocates, locks or logs.
    pub fn hear(&mut self, block: &Block<'_>) -> bool {
        let (channels, frames) = (block.channels(), block.frames());
        let n = (self.ring.slots() / channels).min(frames);
        if let Ok(chunk) = self.ring.write_chunk_uninit(n * channels) {
            chunk.fill_from_iter((0..n).flat_map(|i| (0..channels).map(move |c| block.channel(c)[i])));
        }
        if n < frames {
            self.dropped.fetch_add((frames - n) as u64, Ordering::Relaxed);
        }
        n == frames
    }

    /// Nobody drains it any more.
    pub fn is_abandoned(&self) -> bool {
        self.ring.is_abandoned()
    }
}

impl Processor for Player {
    fn info(&self) -> &'static Info {
        &PLAYER
    }

    fn prepare(&mut self, _spec: &Prepare) -> Result<(), PrepareError> {
        Ok(())
    }

    fn set_param(&mut self, _id: usize, _value: f32) {}

    fn param(&self, _id: usize) -> f32 {
        f32::NAN
    }

    fn state(&mut self, _io: &mut StateIo<'_>) -> Result<(), StateError> {
        Ok(())
    }

    fn reset(&mut self) {} // the file goes on where it is

    fn process(&mut self, block: &mut Block<'_>) {
        let (channels, frames) = (block.channels(), block.frames());
        // Read the end mark first: whatever was fed before it is then visible.
        let ended = self.progress.ended.load(Ordering::Acquire);
        let n = (self.ring.slots() / channels).min(frames);
        if n < frames {
            block.clear();
        }
        if let Ok(chunk) = self.ring.read_chunk(n * channels) {
            for (i, x) in chunk.into_iter().enumerate() {
                block.channel_mut(i % channels)[i / channels] = x;
            }
        }
        // The file is the input here: it is guarded and shown as such.
        self.shared.check_input(block);
        self.progress.played.fetch_add(n as u64, Ordering::Release);
        if n < frames && !ended {
            count(&self.late);
        }
    }
}

impl PlayerEnd {
    /// Queues interleaved samples; returns the frames that fitted.
    pub fn feed(&mut self, interleaved: impl ExactSizeIterator<Item = f32>) -> usize {
        rings::feed(&mut self.ring, self.channels, interleaved)
    }

    /// No more will come: from there on silence is no fault.
    pub fn end(&self) {
        self.progress.ended.store(true, Ordering::Release);
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Frames played so far.
    pub fn played(&self) -> u64 {
        self.progress.played.load(Ordering::Acquire)
    }

    /// All that was fed before [`Self::end`] was played.
    pub fn finished(&self) -> bool {
        self.progress.ended.load(Ordering::Acquire) && self.ring.slots() == self.ring.buffer().capacity()
    }
}

impl Processor for Recorder {
    fn info(&self) -> &'static Info {
        &RECORDER
    }

    fn prepare(&mut self, _spec: &Prepare) -> Result<(), PrepareError> {
        Ok(())
    }

    fn set_param(&mut self, _id: usize, _value: f32) {}

    fn param(&self, _id: usize) -> f32 {
        f32::NAN
    }

    fn state(&mut self, _io: &mut StateIo<'_>) -> Result<(), StateError> {
        Ok(())
    }

    fn reset(&mut self) {}

    fn process(&mut self, block: &mut Block<'_>) {
        if !self.ear.hear(block) {
            count(&self.late);
        }
    }
}

impl RecorderEnd {
    /// Takes up to `max_frames`, interleaved.
    pub fn drain(&mut self, max_frames: usize) -> Vec<f32> {
        rings::drain(&mut self.ring, self.channels, max_frames)
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Frames that found no room.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
