//! Watches over models while they run: one that computes for too long loses its priority, is stopped, and, if it
//! cannot be stopped, is left behind and counted. One thread for the whole program.
//!
//! What counts is the time a thread has computed, not the time that has passed: a busy or suspended machine
//! makes no model slow.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::priority::{self, ThreadId};

/// How often the watch looks.
const TICK: Duration = Duration::from_millis(50);
/// A run may compute for this long at least, ...
const RUN_SECONDS: f64 = 2.0;
/// ... and for this many hops.
const RUN_HOPS: f64 = 16.0;
/// Opening a model may compute for this long.
pub(super) const OPEN: Duration = Duration::from_secs(60);
/// A run that waits instead of computing is stopped after this many times its limit.
const WAITING: u32 = 5;
/// A run that computes for this long loses the priority of its thread, ...
const SLOW_SECONDS: f64 = 0.1;
/// ... or after this many hops.
const SLOW_HOPS: f64 = 8.0;
/// One that goes on for this long after it was stopped will not end.
const IGNORED: Duration = Duration::from_secs(5);

/// Ends a run under way, from any thread.
pub trait Stop: Send + Sync {
    /// The run that is under way, if there is one, returns an error soon. Called again while it does not.
    fn stop(&self);
}

/// How long a run of `hop` samples may compute: 2 s, or 16 hops where that is longer.
pub fn run_limit(hop: usize, sample_rate: f64) -> Duration {
    Duration::from_secs_f64(RUN_SECONDS.max(RUN_HOPS * hop as f64 / sample_rate))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The models of one thread.
pub(super) struct Watch {
    slow: Duration,
    limit: AtomicU64,
    /// The thread, while it is in here. Held while the thread is dealt with, so that it cannot end meanwhile.
    thread: Mutex<Option<ThreadId>>,
    /// The thread is a worker of ours, whose priority we gave; a caller's own is left as it is.
    own: AtomicBool,
    /// Counts starts and ends of runs: odd while one is under way.
    run: AtomicU64,
    stopped: AtomicU64,
    ignored: AtomicBool,
    slowed: AtomicBool,
    closed: AtomicBool,
    stops: Mutex<Vec<Arc<dyn Stop>>>,
}

impl Watch {
    /// Thread: control.
    pub fn new(hop: usize, sample_rate: f64) -> Arc<Self> {
        let watch = Arc::new(Self {
            slow: Duration::from_secs_f64(SLOW_SECONDS.max(SLOW_HOPS * hop as f64 / sample_rate)),
            limit: AtomicU64::new(nanoseconds(run_limit(hop, sample_rate))),
            thread: Mutex::new(None),
            own: AtomicBool::new(false),
            run: AtomicU64::new(0),
            stopped: AtomicU64::new(0),
            ignored: AtomicBool::new(false),
            slowed: AtomicBool::new(false),
            closed: AtomicBool::new(ENDING.load(SeqCst)),
            stops: Mutex::default(),
        });
        register(&watch);
        watch
    }

    /// How long a run may compute.
    pub fn limit(&self) -> Duration {
        Duration::from_nanos(self.limit.load(Relaxed))
    }

    pub fn set_limit(&self, limit: Duration) {
        self.limit.store(nanoseconds(limit), Relaxed);
    }

    /// What ends a run.
    pub fn set_stops(&self, stops: Vec<Arc<dyn Stop>>) {
        *lock(&self.stops) = stops;
    }

    /// Runs from now on happen on this thread, until the guard is dropped.
    pub fn enter(&self) -> impl Drop + '_ {
        struct Leave<'a>(&'a Watch);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                *lock(&self.0.thread) = None;
            }
        }
        *lock(&self.thread) = Some(ThreadId::here());
        Leave(self)
    }

    /// Runs `f`; says whether it was stopped because it took too long. Thread: the one that entered.
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> (T, bool) {
        struct End<'a>(&'a AtomicU64);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let run = self.run.fetch_add(1, SeqCst) + 1;
        let end = End(&self.run);
        let made = f();
        drop(end);
        (made, self.stopped.load(SeqCst) == run)
    }

    /// A run goes on long after it was stopped.
    pub fn is_ignored(&self) -> bool {
        self.ignored.load(SeqCst)
    }

    /// Nobody wants results any more: the run under way is stopped, and there shall be no other.
    pub fn close(&self) {
        self.closed.store(true, SeqCst);
        self.stop();
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    fn stop(&self) {
        if self.run.load(SeqCst) % 2 == 1 {
            lock(&self.stops).iter().for_each(|s| s.stop());
        }
    }

    /// The thread that enters has its priority from us. Thread: that one.
    pub fn is_ours(&self) {
        self.own.store(true, SeqCst);
    }

    /// Takes the priority away that we gave, once. Thread: any.
    pub fn slow_down(&self) {
        if self.own.load(SeqCst)
            && let Some(thread) = *lock(&self.thread)
            && !self.slowed.swap(true, SeqCst)
        {
            priority::lower(thread);
        }
    }

    /// Gives the priority back. Thread: the one that entered.
    pub fn speed_up(&self) {
        if self.slowed.load(Relaxed) {
            self.slowed.store(false, SeqCst);
            priority::raise(priority::WORKER);
        }
    }
}

// ---- the thread ------------------------------------------------------------------------------

/// What is known of a run under way.
struct Seen {
    watch: Weak<Watch>,
    run: u64,
    computed: Duration,
    since: Instant,
    stopped: Option<Instant>,
}

static WATCHED: Mutex<Vec<Seen>> = Mutex::new(Vec::new());
/// The process that has the thread: a fork of it has none.
static PROCESS: AtomicU32 = AtomicU32::new(0);
static ADDED: Condvar = Condvar::new();

fn register(watch: &Arc<Watch>) {
    let mut watched = lock(&WATCHED);
    let seen = Seen {
        watch: Arc::downgrade(watch),
        run: 0,
        computed: Duration::ZERO,
        since: Instant::now(),
        stopped: None,
    };
    watched.push(seen);
    let process = std::process::id();
    if PROCESS.load(SeqCst) != process
        && std::thread::Builder::new().name("cspace-watch".into()).spawn(look).is_ok()
    {
        PROCESS.store(process, SeqCst);
    }
    drop(watched);
    ADDED.notify_one();
}

fn look() {
    priority::raise(priority::WATCH);
    let mut watched = lock(&WATCHED);
    loop {
        watched.retain_mut(Seen::look);
        watched = if watched.is_empty() {
            ADDED.wait(watched).unwrap_or_else(PoisonError::into_inner)
        } else {
            drop(watched);
            std::thread::sleep(TICK);
            lock(&WATCHED)
        };
    }
}

impl Seen {
    /// False if there is nothing left to be watched.
    fn look(&mut self) -> bool {
        let Some(watch) = self.watch.upgrade() else { return false };
        let run = watch.run.load(SeqCst);
        if run % 2 == 0 {
            return true;
        }
        let now = Instant::now();
        let thread = *lock(&watch.thread);
        let computed = thread.and_then(ThreadId::computed);
        if run != self.run {
            *self = Self {
                run,
                computed: computed.unwrap_or_default(),
                since: now,
                stopped: None,
                watch: self.watch.clone(),
            };
            return true;
        }
        let passed = now - self.since;
        let took = computed.map_or(passed, |c| c.saturating_sub(self.computed));
        let limit = watch.limit();
        if took >= watch.slow {
            watch.slow_down();
        }
        if took >= limit || passed >= WAITING * limit {
            watch.stopped.store(run, SeqCst);
            watch.stop();
            if now - *self.stopped.get_or_insert(now) >= IGNORED {
                watch.ignored.store(true, SeqCst);
            }
        } else if watch.is_closed() {
            watch.stop();
        }
        true
    }
}

// ---- the end ---------------------------------------------------------------------------------

static ALIVE: AtomicUsize = AtomicUsize::new(0);
static STUCK: AtomicUsize = AtomicUsize::new(0);
static ENDING: AtomicBool = AtomicBool::new(false);

/// A thread that may be inside a model.
pub(super) struct Alive {
    left_behind: Arc<AtomicBool>,
}

impl Alive {
    /// Of a thread about to start; the flag is for [`leave_behind`].
    pub fn new() -> (Self, Arc<AtomicBool>) {
        ALIVE.fetch_add(1, SeqCst);
        let left_behind = Arc::new(AtomicBool::new(false));
        (Self { left_behind: left_behind.clone() }, left_behind)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, SeqCst);
        if self.left_behind.swap(true, SeqCst) {
            STUCK.fetch_sub(1, SeqCst);
        }
    }
}

/// Nobody waits for this thread any longer; it is counted until it ends.
pub(super) fn leave_behind(flag: &AtomicBool) {
    STUCK.fetch_add(1, SeqCst);
    if flag.swap(true, SeqCst) {
        STUCK.fetch_sub(1, SeqCst); // it has just ended
    }
}

/// Threads left behind in models that do not let themselves be stopped.
pub fn stuck_threads() -> usize {
    STUCK.load(SeqCst)
}

/// Ends all models, for the end of the program: no library may be unloaded while a thread runs in it. False if
/// some did not end within `limit`. Thread: control.
pub fn end(limit: Duration) -> bool {
    ENDING.store(true, SeqCst);
    if PROCESS.load(SeqCst) != std::process::id() {
        return true; // a fork has no threads of ours
    }
    let started = Instant::now();
    loop {
        let watches: Vec<_> = lock(&WATCHED).iter().filter_map(|s| s.watch.upgrade()).collect();
        watches.iter().for_each(|w| w.close());
        drop(watches);
        if ALIVE.load(SeqCst) == 0 {
            return true;
        }
        if started.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_computes_for_long_loses_its_priority_and_gets_it_back() {
        let watch = Watch::new(64, 48_000.0);
        watch.is_ours();
        let _here = watch.enter();
        let (_, stopped) = watch.run(|| {
            let started = Instant::now();
            while !watch.slowed.load(SeqCst) {
                assert!(started.elapsed() < Duration::from_secs(60), "nobody looked");
                std::hint::spin_loop();
            }
        });
        assert!(!stopped, "0.1 s is slow, not too long");
        watch.speed_up();
        assert!(!watch.slowed.load(SeqCst));
        assert!(ThreadId::here().computed().is_none_or(|c| c > Duration::ZERO));
    }

    #[test]
    fn a_callers_thread_keeps_its_priority() {
        let watch = Watch::new(64, 48_000.0);
        let _here = watch.enter();
        watch.run(|| {
            let here = ThreadId::here();
            let started = here.computed().unwrap_or_default();
            while here.computed().is_some_and(|c| c - started < Duration::from_millis(400)) {
                std::hint::spin_loop();
            }
        });
        assert!(!watch.slowed.load(SeqCst));
    }

    #[test]
    fn a_run_that_waits_is_given_time() {
        let watch = Watch::new(64, 48_000.0);
        let _here = watch.enter();
        watch.set_limit(Duration::from_millis(200));
        let (_, stopped) = watch.run(|| std::thread::sleep(Duration::from_millis(700)));
        assert!(!stopped, "it computed for next to nothing");
        watch.set_limit(Duration::ZERO);
        let (_, stopped) = watch.run(|| std::thread::sleep(Duration::from_millis(700)));
        assert!(stopped);
    }
}
