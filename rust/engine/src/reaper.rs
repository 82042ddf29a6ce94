//! Frees what may take long to free (slots with their models) on a thread of its own: nobody waits for it, with a
//! lock or without. Thread: control throughout; the audio side never comes here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Objects that can wait. Should more come, whoever brings one frees it itself.
const ROOM: usize = 64;

type Object = Box<dyn Send>;

static QUEUE: OnceLock<Option<SyncSender<Object>>> = OnceLock::new();
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// The process that has the thread: a fork of it has none.
static PROCESS: AtomicU32 = AtomicU32::new(0);
static ENDING: AtomicBool = AtomicBool::new(false);

fn start() -> Option<SyncSender<Object>> {
    let (sender, objects) = sync_channel::<Object>(ROOM);
    PROCESS.store(std::process::id(), Relaxed);
    let work = move || {
        for object in objects {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(object)));
            WAITING.fetch_sub(1, SeqCst);
        }
    };
    std::thread::Builder::new().name("cspace-reaper".into()).spawn(work).ok().map(|_| sender)
}

/// Frees `object` soon, elsewhere. Once the program ends nothing is freed any more: the libraries that
/// would do it are being taken down. Thread: control. Returns at once.
pub fn dispose<T: Send + 'static>(object: T) {
    if ENDING.load(SeqCst) {
        std::mem::forget(object);
        return;
    }
    let queue = QUEUE.get_or_init(start);
    let Some(queue) = queue.as_ref().filter(|_| PROCESS.load(Relaxed) == std::process::id()) else {
        return drop(object);
    };
    WAITING.fetch_add(1, SeqCst);
    if let Err(TrySendError::Full(object) | TrySendError::Disconnected(object)) =
        queue.try_send(Box::new(object))
    {
        WAITING.fetch_sub(1, SeqCst);
        drop(object);
    }
}

/// Waits until all that was handed over is free; false if it is not within `limit`. For tests, and for the
/// end of the program.
pub fn wait(limit: Duration) -> bool {
    let started = Instant::now();
    while WAITING.load(SeqCst) > 0 && PROCESS.load(Relaxed) == std::process::id() {
        if started.elapsed() >= limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// From now on nothing is freed. The program is about to end.
pub(crate) fn end() {
    ENDING.store(true, SeqCst);
}
