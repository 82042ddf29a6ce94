//! The way of a hop from the audio side to the model and back: rings and a thread, or a direct call.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::bench::{Bench, Outcome};
use super::priority;
use super::ring::{Header, Receiver, Sender, ring};
use super::watch::{self, Alive, Watch};
use crate::denormal::FlushDenormals;

/// Seconds of hops that can wait for a worker that stands still.
const RING_SECONDS: f64 = 2.0;
/// How often a worker without work looks for some: the audio thread cannot wake it without a system
/// call. A sixteenth of a hop, within these bounds.
const POLL: (f64, f64) = (100e-6, 1e-3);
/// How long the control side waits for a worker to end before it is left behind.
const FAREWELL: Duration = Duration::from_secs(2);
/// A worker that found work for so long without a rest loses its priority until it rests: others need the
/// processor too, and the audio thread may be one of them.
const NEVER_RESTS: Duration = Duration::from_millis(500);

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
    watch: Arc<Watch>,
    left_behind: Arc<AtomicBool>,
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
        let watch = bench.watch.clone();
        let poll = (hop as f64 / rate / 16.0).clamp(POLL.0, POLL.1);
        let worker = Worker { bench, input, output, most: hops / 2, poll: Duration::from_secs_f64(poll) };
        let (alive, left_behind) = Alive::new();
        let thread = std::thread::Builder::new()
            .name("cspace-model".into())
            .spawn(move || {
                let _alive = alive;
                worker.run(size);
            })
            .map_err(|e| format!("no thread for the model: {e}"))?;
        Ok(Self::Worker(Box::new(Threaded { to, from, watch, left_behind, thread: Some(thread) })))
    }

    /// Sends a hop; false if the worker is so far behind that there is no room.
    /// Thread: audio. Never allocates, locks or logs (inline: whatever the model does).
    pub fn submit(&mut self, number: u64, fresh: bool, input: &[f32], parameters: &[f32]) -> bool {
        match self {
            Self::Inline { bench, number: last, output } => {
                *last = None;
                if bench.run_here(fresh, input, output, parameters) {
                    *last = Some(number);
                }
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
                while let Some(next) = w.from.next() {
                    if next == number {
                        return w.from.take(to).is_some();
                    }
                    if next > number {
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
    /// Thread: control; [`crate::reaper`] where somebody would have to wait. Stops a run under way and waits
    /// for its end, so that at the end of a program no model runs while its library is being unloaded.
    fn drop(&mut self) {
        self.watch.close();
        let started = Instant::now();
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() {
            if started.elapsed() >= FAREWELL {
                self.watch.slow_down();
                return watch::leave_behind(&self.left_behind);
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let _ = thread.join();
    }
}

/// The worker's half.
struct Worker {
    bench: Bench,
    input: Receiver,
    output: Sender,
    /// More hops than these waiting: the oldest are past hope.
    most: usize,
    poll: Duration,
}

impl Worker {
    fn run(mut self, size: usize) {
        priority::raise(priority::WORKER);
        let watch = self.bench.watch.clone();
        watch.is_ours();
        let _here = watch.enter();
        let _flush = FlushDenormals::new();
        let mut input = vec![0.0; self.input.size];
        let mut output = vec![0.0; size];
        let mut rested = Instant::now();
        while !watch.is_closed() {
            let Some(header) = self.input.take(&mut input) else {
                std::thread::sleep(self.poll);
                watch.speed_up();
                rested = Instant::now();
                continue;
            };
            if rested.elapsed() >= NEVER_RESTS {
                watch.slow_down();
            }
            if header.fresh {
                self.bench.reset();
            }
            if self.input.waiting() > self.most {
                continue; // a model slower than sound would be late for ever
            }
            let (audio, parameters) = input.split_at(size);
            match self.bench.run(audio, &mut output, parameters) {
                Outcome::Made(took) => {
                    // No room means that nobody listens: the stream stands still.
                    self.output.send(header, [&output, &[]]);
                    self.bench.shared.done(took);
                }
                Outcome::Stopped => {}
                Outcome::OutOfUse(_) => return,
            }
        }
    }
}
