//! A slot whose sound is made by another thread: models, pedalboard and VST3 plugins.
//!
//! The audio thread writes its input to one ring and reads results from another, `latency` samples
//! later, and never waits. If a result is late, the missing samples are concealed (the last sample
//! fades into the delayed dry signal), the block is counted, and the same number of samples is
//! skipped when they arrive after all, so the latency never changes.

use cspace_dsp::{Block, Info, Prepare, PrepareError, Processor, StateError, StateIo};
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Config;
use crate::delay::Delay;
use crate::shared::count;

/// Seconds of audio each ring holds; a worker further behind than this is started afresh.
const RING_SECONDS: f64 = 2.0;
/// Fade between concealment and result.
const FADE_SECONDS: f64 = 0.005;
/// How often a waiting worker looks for input: the audio thread cannot wake it without a system call.
const POLL: Duration = Duration::from_micros(200);

static INFO: Info = Info {
    name: "worker",
    doc: "A processor served by a thread of its own.",
    params: &[],
    taps: &[],
    arrays: &[],
};

/// The audio half.
pub struct Remote {
    channels: usize,
    latency: usize,
    tail: usize,
    to_worker: Producer<f32>,
    from_worker: Consumer<f32>,
    closed: Arc<AtomicBool>,
    late: Arc<AtomicU64>,
    dry: Delay,
    dry_block: Vec<f32>,
    stride: usize,
    last: Vec<f32>,
    sent: u64,
    received: u64,
    /// Results to throw away: they belong to moments that have passed.
    debt: u64,
    /// Samples until the first result is due.
    lead: usize,
    /// The worker is so far behind that its input ring is full.
    lost: bool,
    gain: f32,
    step: f32,
}

/// The worker's half.
pub struct WorkerEnd {
    hop: usize,
    channels: usize,
    latency: usize,
    input: Consumer<f32>,
    output: Producer<f32>,
    closed: Arc<AtomicBool>,
}

impl Remote {
    /// `latency` counts from a sample going in to its result coming out; it must cover one hop and
    /// one block, and what is left of it is the time the worker has. Thread: control. Allocates.
    ///
    /// # Errors
    /// A sentence if the latency is too short.
    pub fn new(
        config: &Config,
        hop: usize,
        latency: usize,
        tail: usize,
        late: Arc<AtomicU64>,
    ) -> Result<(Self, WorkerEnd), String> {
        let least = hop + config.max_block;
        if hop == 0 || latency < least {
            return Err(format!(
                "a worker with a hop of {hop} samples and blocks up to {} needs a latency of at least {least} \
                 samples, not {latency}",
                config.max_block
            ));
        }
        let channels = config.channels;
        let room = ((RING_SECONDS * config.sample_rate) as usize).max(4 * latency) * channels;
        let (to_worker, input) = RingBuffer::new(room);
        let (output, from_worker) = RingBuffer::new(room);
        let closed = Arc::new(AtomicBool::new(false));
        let remote = Self {
            channels,
            latency,
            tail,
            to_worker,
            from_worker,
            closed: closed.clone(),
            late,
            dry: Delay::new(channels, latency),
            dry_block: vec![0.0; channels * config.max_block],
            stride: config.max_block,
            last: vec![0.0; channels],
            sent: 0,
            received: 0,
            debt: 0,
            lead: latency,
            lost: false,
            gain: 1.0,
            step: (1.0 / (FADE_SECONDS * config.sample_rate)) as f32,
        };
        Ok((remote, WorkerEnd { hop, channels, latency, input, output, closed }))
    }

    fn send(&mut self, block: &Block<'_>) {
        let frames = block.frames();
        if self.lost && self.to_worker.slots() * 2 >= self.to_worker.buffer().capacity() {
            // Room again: what is still under way belongs to the past; start afresh from here.
            self.lost = false;
            self.start_afresh();
        }
        if self.lost {
            return;
        }
        match self.to_worker.write_chunk_uninit(frames * self.channels) {
            Ok(chunk) => {
                chunk.fill_from_iter(
                    (0..frames).flat_map(|i| (0..self.channels).map(move |c| block.channel(c)[i])),
                );
                self.sent += frames as u64;
            }
            Err(_) => self.lost = true,
        }
    }

    fn start_afresh(&mut self) {
        self.debt = self.sent - self.received;
        self.lead = self.latency;
    }

    fn pop(&mut self) -> bool {
        let channels = self.channels;
        let Ok(chunk) = self.from_worker.read_chunk(channels) else { return false };
        for (to, from) in self.last.iter_mut().zip(chunk) {
            *to = from;
        }
        self.received += 1;
        true
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl Processor for Remote {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn prepare(&mut self, _spec: &Prepare) -> Result<(), PrepareError> {
        Ok(())
    }

    fn latency_samples(&self) -> usize {
        self.latency
    }

    fn tail_samples(&self) -> usize {
        self.tail
    }

    fn set_param(&mut self, _id: usize, _value: f32) {}

    fn param(&self, _id: usize) -> f32 {
        f32::NAN
    }

    fn state(&mut self, _io: &mut StateIo<'_>) -> Result<(), StateError> {
        Ok(()) // the state lives in the worker
    }

    fn reset(&mut self) {
        self.start_afresh();
        self.dry.reset();
        self.last.fill(0.0);
        self.gain = 1.0;
    }

    fn process(&mut self, block: &mut Block<'_>) {
        self.send(block);
        let frames = block.frames();
        for c in 0..self.channels {
            self.dry_block[c * self.stride..][..frames].copy_from_slice(block.channel(c));
        }
        self.dry.process(&mut self.dry_block, self.stride, frames);
        while self.debt > 0 && self.pop() {
            self.debt -= 1;
        }
        let mut was_late = self.lost;
        for i in 0..frames {
            let have = if self.lead > 0 {
                self.lead -= 1;
                self.last.fill(0.0);
                !self.lost
            } else if self.debt == 0 && !self.lost && self.pop() {
                true
            } else {
                if !self.lost {
                    self.debt += 1;
                }
                was_late = true;
                false
            };
            self.gain =
                if have { (self.gain + self.step).min(1.0) } else { (self.gain - self.step).max(0.0) };
            for c in 0..self.channels {
                let dry = self.dry_block[c * self.stride + i];
                let wet = self.last[c];
                block.channel_mut(c)[i] = if self.gain == 1.0 { wet } else { dry + self.gain * (wet - dry) };
            }
        }
        if was_late {
            count(&self.late);
        }
    }
}

impl WorkerEnd {
    /// Frames per chunk of work.
    pub fn hop(&self) -> usize {
        self.hop
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Delay of the slot in samples.
    pub fn latency_samples(&self) -> usize {
        self.latency
    }

    /// The flag behind [`Self::is_closed`].
    pub fn closed(&self) -> Arc<AtomicBool> {
        self.closed.clone()
    }

    /// Whether the slot is gone.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits until one hop of input is there and writes it, planar, to `out`; false when the time
    /// is over or the slot is gone. Thread: worker.
    pub fn pull(&mut self, out: &mut [f32], timeout: Duration) -> bool {
        let start = Instant::now();
        let samples = self.hop * self.channels;
        loop {
            if let Ok(chunk) = self.input.read_chunk(samples) {
                for (i, x) in chunk.into_iter().enumerate() {
                    out[i % self.channels * self.hop + i / self.channels] = x;
                }
                return true;
            }
            if self.is_closed() || start.elapsed() >= timeout {
                return false;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Hands one processed hop back, planar; false if the audio side has not read the earlier ones.
    /// Thread: worker.
    pub fn push(&mut self, audio: &[f32]) -> bool {
        let (hop, channels) = (self.hop, self.channels);
        match self.output.write_chunk_uninit(hop * channels) {
            Ok(chunk) => {
                chunk.fill_from_iter((0..hop).flat_map(|i| (0..channels).map(move |c| audio[c * hop + i])));
                true
            }
            Err(_) => false,
        }
    }
}
