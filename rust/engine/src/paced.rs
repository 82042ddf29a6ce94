//! Real-time pace without sound hardware: a native thread runs the engine block by block, from and
//! to rings that Python (or anyone) fills and empties. Nothing is lost: a block whose input is not
//! there yet, or whose output has no room, starts late and is counted.

use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Driver;
use crate::rings;
use crate::shared::count;

/// What the thread and its owner share.
#[derive(Default)]
struct Flags {
    stop: AtomicBool,
    ended: AtomicBool,
    finished: AtomicBool,
    stalls: AtomicU64,
    late_starts: AtomicU64,
}

/// A running engine at real-time pace.
pub struct Paced {
    input: Producer<f32>,
    output: Consumer<f32>,
    channels: usize,
    flags: Arc<Flags>,
    thread: Option<JoinHandle<Driver>>,
    idle: Option<Loop>,
}

struct Loop {
    driver: Driver,
    input: Consumer<f32>,
    output: Producer<f32>,
    block: usize,
    null: bool,
    flags: Arc<Flags>,
}

impl Paced {
    /// Rings hold `ring_seconds` each. `null`: silence in, output thrown away, runs until stopped.
    /// Thread: control. Allocates.
    pub fn new(mut driver: Driver, block: usize, ring_seconds: f64, null: bool) -> Self {
        let config = *driver.engine().config();
        let frames = ((ring_seconds * config.sample_rate) as usize).max(4 * block);
        let (input, input_out) = RingBuffer::new(frames * config.channels);
        let (output_in, output) = RingBuffer::new(frames * config.channels);
        let flags = Arc::new(Flags::default());
        let idle = Loop { driver, input: input_out, output: output_in, block, null, flags: flags.clone() };
        Self { input, output, channels: config.channels, flags, thread: None, idle: Some(idle) }
    }

    /// Queues interleaved input; returns the frames that fitted.
    pub fn feed(&mut self, interleaved: impl ExactSizeIterator<Item = f32>) -> usize {
        rings::feed(&mut self.input, self.channels, interleaved)
    }

    /// Room for input, in frames.
    pub fn room(&self) -> usize {
        self.input.slots() / self.channels
    }

    /// No more input will come.
    pub fn end(&self) {
        self.flags.ended.store(true, Ordering::Release);
    }

    /// Takes up to `max_frames` of output, interleaved.
    pub fn drain(&mut self, max_frames: usize) -> Vec<f32> {
        rings::drain(&mut self.output, self.channels, max_frames)
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread to give.
    pub fn start(&mut self) -> std::io::Result<()> {
        if let Some(work) = self.idle.take() {
            let name = "cspace-audio".to_owned();
            self.thread = Some(std::thread::Builder::new().name(name).spawn(move || work.run())?);
        }
        Ok(())
    }

    /// Stops and gives the engine back. None if the thread died.
    pub fn stop(&mut self) -> Option<Driver> {
        self.flags.stop.store(true, Ordering::Release);
        match self.thread.take() {
            Some(thread) => {
                thread.thread().unpark();
                thread.join().ok()
            }
            None => self.idle.take().map(|l| l.driver),
        }
    }

    /// All input was played.
    pub fn finished(&self) -> bool {
        self.flags.finished.load(Ordering::Acquire)
    }

    /// Blocks that waited for input or for room.
    pub fn stalls(&self) -> u64 {
        self.flags.stalls.load(Ordering::Relaxed)
    }

    /// Blocks that started more than a block late.
    pub fn late_starts(&self) -> u64 {
        self.flags.late_starts.load(Ordering::Relaxed)
    }
}

impl Drop for Paced {
    /// A clock that nobody holds any more would play for ever, out of reach.
    fn drop(&mut self) {
        self.stop();
    }
}

impl Loop {
    fn run(mut self) -> Driver {
        let config = *self.driver.engine().config();
        let channels = config.channels;
        let period = Duration::from_secs_f64(self.block as f64 / config.sample_rate);
        let mut buffer = vec![0.0f32; self.block * channels];
        let mut out = buffer.clone();
        let mut due = Instant::now();
        let stopped = |f: &Flags| f.stop.load(Ordering::Acquire);
        while !stopped(&self.flags) {
            let mut frames = self.block;
            if !self.null {
                let ready = || self.input.slots() >= buffer.len() && self.output.slots() >= buffer.len();
                // Read the end mark first: whatever was queued before it is then visible.
                let ended = self.flags.ended.load(Ordering::Acquire);
                if ended && self.input.slots() < buffer.len() {
                    frames = self.input.slots() / channels;
                    if frames == 0 {
                        break;
                    }
                } else if !ready() {
                    count(&self.flags.stalls);
                    while !ready() && !stopped(&self.flags) && !self.flags.ended.load(Ordering::Acquire) {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                    due = Instant::now();
                    if !ready() {
                        if self.output.slots() < buffer.len() {
                            std::thread::sleep(Duration::from_micros(200));
                        }
                        continue;
                    }
                }
            }
            let n = frames * channels;
            if self.null {
                self.driver.process_interleaved(None, &mut out[..n]);
            } else if let Ok(chunk) = self.input.read_chunk(n) {
                buffer.iter_mut().zip(chunk).for_each(|(b, x)| *b = x);
                self.driver.process_interleaved(Some(&buffer[..n]), &mut out[..n]);
                while self.output.slots() < n && !stopped(&self.flags) {
                    std::thread::sleep(Duration::from_micros(200));
                }
                if let Ok(chunk) = self.output.write_chunk_uninit(n) {
                    chunk.fill_from_iter(out[..n].iter().copied());
                }
            }
            due += period;
            let now = Instant::now();
            match due.checked_duration_since(now) {
                Some(wait) => self.nap(wait),
                None if now - due > period => {
                    count(&self.flags.late_starts);
                    due = now; // keep the pace from here; catching up would be a burst
                }
                None => {}
            }
        }
        self.flags.finished.store(true, Ordering::Release);
        self.driver
    }

    /// Sleeps, but not beyond the wish to stop: a block may be seconds long.
    fn nap(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while !self.flags.stop.load(Ordering::Acquire) {
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::park_timeout(left),
                _ => return,
            }
        }
    }
}
