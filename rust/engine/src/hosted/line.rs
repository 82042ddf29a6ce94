//! The way of a hop from the audio side to the model and back: rings and a thread, or a direct call.

use hdrhistogram::Histogram;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::HopModel;
use crate::denormal::FlushDenormals;
use crate::shared::count;

/// Seconds of hops that can wait for a worker that stands still.
const RING_SECONDS: f64 = 2.0;
/// How often a worker without work looks for some: the audio thread cannot wake it without a system
/// call. A sixteenth of a hop, within these bounds.
const POLL: (f64, f64) = (100e-6, 1e-3);
/// How long the control side waits for a worker to end before it lets it go.
const FAREWELL: Duration = Duration::from_millis(200);

/// What a worker and its audio half report to the control side.
#[derive(Debug)]
pub struct WorkerShared {
    /// Blocks with a concealed sample because a hop was late.
    pub late_blocks: AtomicU64,
    /// Hops the model has run.
    pub hops: AtomicU64,
    /// Hops that were not there at their first sample.
    pub late_hops: AtomicU64,
    /// Hops dropped on purpose (`drop_rate`).
    pub dropped_hops: AtomicU64,
    /// Hops whose run failed.
    pub failed_hops: AtomicU64,
    /// Nanoseconds per hop. Locked by worker and control, never by the audio thread.
    pub(crate) times: Mutex<Histogram<u64>>,
}

impl Default for WorkerShared {
    fn default() -> Self {
        Self {
            late_blocks: AtomicU64::new(0),
            hops: AtomicU64::new(0),
            late_hops: AtomicU64::new(0),
            dropped_hops: AtomicU64::new(0),
            failed_hops: AtomicU64::new(0),
            times: Mutex::new(crate::stats::histogram()),
        }
    }
}

/// The sum of several.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkerCounts {
    pub late_blocks: u64,
    pub hops: u64,
    pub late_hops: u64,
    pub dropped_hops: u64,
    pub failed_hops: u64,
}

impl WorkerCounts {
    pub fn add(&mut self, w: &WorkerShared) {
        self.late_blocks += w.late_blocks.load(Relaxed);
        self.hops += w.hops.load(Acquire);
        self.late_hops += w.late_hops.load(Relaxed);
        self.dropped_hops += w.dropped_hops.load(Relaxed);
        self.failed_hops += w.failed_hops.load(Relaxed);
    }
}

/// The models of one slot: one for all channels, or one for each.
pub(super) struct Bench {
    pub models: Vec<Box<dyn HopModel>>,
    pub shared: Arc<WorkerShared>,
}

impl Bench {
    /// Returns how long it took. Thread: worker, or whoever renders.
    fn run(&mut self, input: &[f32], output: &mut [f32], parameters: &[f32]) -> Duration {
        let started = Instant::now();
        let part = input.len() / self.models.len();
        let parts = input.chunks_exact(part).zip(output.chunks_exact_mut(part));
        for (model, (from, to)) in self.models.iter_mut().zip(parts) {
            if model.run(from, to, parameters).is_err() {
                // The guard of the slot sees it: muted, counted as a fault, reset.
                to.fill(f32::NAN);
                count(&self.shared.failed_hops);
            }
        }
        started.elapsed()
    }

    /// Counts a hop whose result is on its way: who sees the count finds the result and the time.
    fn done(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.shared.times.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(ns);
        self.shared.hops.fetch_add(1, Release);
    }

    pub fn reset(&mut self) {
        self.models.iter_mut().for_each(|m| m.reset());
    }
}

/// In front of the samples of a hop.
#[derive(Clone, Copy)]
struct Header {
    number: u64,
    /// The models forget all before this hop.
    fresh: bool,
}

/// One direction: headers in one ring, their values in another, written first.
struct Sender {
    headers: Producer<Header>,
    values: Producer<f32>,
}

struct Receiver {
    headers: Consumer<Header>,
    values: Consumer<f32>,
    size: usize,
}

fn ring(hops: usize, size: usize) -> (Sender, Receiver) {
    let (headers_in, headers_out) = RingBuffer::new(hops);
    let (values_in, values_out) = RingBuffer::new(hops * size);
    (
        Sender { headers: headers_in, values: values_in },
        Receiver { headers: headers_out, values: values_out, size },
    )
}

impl Sender {
    /// False if there is no room. Thread: audio or worker. Never allocates, locks or logs.
    fn send(&mut self, header: Header, parts: [&[f32]; 2]) -> bool {
        let size = parts[0].len() + parts[1].len();
        if self.headers.is_full() {
            return false;
        }
        let Ok(chunk) = self.values.write_chunk_uninit(size) else { return false };
        chunk.fill_from_iter(parts[0].iter().chain(parts[1]).copied());
        self.headers.push(header).is_ok()
    }
}

impl Receiver {
    /// Takes the next hop's values into `to`. Thread: audio or worker.
    fn take(&mut self, to: &mut [f32]) -> Option<Header> {
        let header = self.headers.pop().ok()?;
        let chunk = self.values.read_chunk(self.size).ok()?;
        for (x, v) in to.iter_mut().zip(chunk) {
            *x = v;
        }
        Some(header)
    }

    fn skip(&mut self) {
        if self.headers.pop().is_ok()
            && let Ok(chunk) = self.values.read_chunk(self.size)
        {
            chunk.commit_all();
        }
    }
}

/// Where hops go.
pub(super) enum Line {
    /// The model runs in the caller: offline.
    Inline { bench: Bench, number: Option<u64>, output: Vec<f32> },
    /// The model runs on a thread of its own: live.
    Worker(Box<Threaded>),
}

pub(super) struct Threaded {
    to: Sender,
    from: Receiver,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// Thread: control. Allocates; starts a thread if `live`.
    pub fn new(
        bench: Bench,
        hop: usize,
        values: usize,
        size: usize,
        rate: f64,
        live: bool,
    ) -> Result<Self, String> {
        if !live {
            return Ok(Self::Inline { bench, number: None, output: vec![0.0; size] });
        }
        let hops = ((RING_SECONDS * rate / hop as f64) as usize).max(16);
        let (to, input) = ring(hops, size + values);
        let (output, from) = ring(hops, size);
        let closed = Arc::new(AtomicBool::new(false));
        let poll = (hop as f64 / rate / 16.0).clamp(POLL.0, POLL.1);
        let worker = Worker {
            bench,
            input,
            output,
            closed: closed.clone(),
            most: hops / 2,
            poll: Duration::from_secs_f64(poll),
        };
        let thread = std::thread::Builder::new()
            .name("cspace-model".into())
            .spawn(move || worker.run(size))
            .map_err(|e| format!("no thread for the model: {e}"))?;
        Ok(Self::Worker(Box::new(Threaded { to, from, closed, thread: Some(thread) })))
    }

    /// Sends a hop; false if the worker is so far behind that there is no room.
    /// Thread: audio. Never allocates, locks or logs (inline: whatever the model does).
    pub fn submit(&mut self, number: u64, fresh: bool, input: &[f32], parameters: &[f32]) -> bool {
        match self {
            Self::Inline { bench, number: last, output } => {
                if fresh {
                    bench.reset();
                }
                let took = bench.run(input, output, parameters);
                bench.done(took);
                *last = Some(number);
                true
            }
            Self::Worker(w) => w.to.send(Header { number, fresh }, [input, parameters]),
        }
    }

    /// Takes the result of hop `number` if it is there; earlier ones belong to the past.
    /// Thread: audio. Never allocates, locks or logs.
    pub fn collect(&mut self, number: u64, to: &mut [f32]) -> bool {
        match self {
            Self::Inline { number: last, output, .. } => {
                let here = *last == Some(number);
                if here {
                    to.copy_from_slice(output);
                }
                here
            }
            Self::Worker(w) => {
                while let Ok(header) = w.from.headers.peek().copied() {
                    if header.number == number {
                        return w.from.take(to).is_some();
                    }
                    if header.number > number {
                        return false;
                    }
                    w.from.skip();
                }
                false
            }
        }
    }
}

impl Drop for Threaded {
    /// Thread: control. Waits a little for a hop under way, so that at the end of a program no model
    /// runs while its library is being unloaded.
    fn drop(&mut self) {
        self.closed.store(true, Release);
        let started = Instant::now();
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && started.elapsed() < FAREWELL {
                std::thread::sleep(Duration::from_micros(200));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

/// The worker's half.
struct Worker {
    bench: Bench,
    input: Receiver,
    output: Sender,
    closed: Arc<AtomicBool>,
    /// More hops than these waiting: the oldest are past hope.
    most: usize,
    poll: Duration,
}

impl Worker {
    fn run(mut self, size: usize) {
        super::priority::raise();
        let _flush = FlushDenormals::new();
        let mut input = vec![0.0; self.input.size];
        let mut output = vec![0.0; size];
        while !self.closed.load(Relaxed) {
            let Some(header) = self.input.take(&mut input) else {
                std::thread::sleep(self.poll);
                continue;
            };
            if header.fresh {
                self.bench.reset();
            }
            if self.input.headers.slots() > self.most {
                continue; // a model slower than sound would be late for ever
            }
            let (audio, parameters) = input.split_at(size);
            let took = self.bench.run(audio, &mut output, parameters);
            // No room means that nobody listens: the stream stands still.
            self.output.send(header, [&output, &[]]);
            self.bench.done(took);
        }
    }
}
