//! Work that may take long, done beside Python: other threads run on meanwhile, and Ctrl-C is heard.

use cspace_engine::{describe, reaper};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Something that may take long to free, which is done elsewhere.
pub struct Slow<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Slow<T> {
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T: Send + 'static> Deref for Slow<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("there until it is dropped")
    }
}

impl<T: Send + 'static> Drop for Slow<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            reaper::dispose(value);
        }
    }
}

/// How often signals are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Does `work` on a thread of its own and waits for it, without the GIL. After Ctrl-C nobody waits any longer:
/// the work ends by itself, and what it made is freed.
///
/// # Errors
/// What a signal's handler raised; RuntimeError if there is no thread or the work panicked.
pub fn wait<T: Send + 'static>(py: Python<'_>, work: impl FnOnce() -> T + Send + 'static) -> PyResult<T> {
    let (sender, mut receiver) = sync_channel(1);
    let run = move || {
        let made = catch_unwind(AssertUnwindSafe(work)).map_err(|p| describe(&*p));
        if let Err(unwanted) = sender.send(made) {
            reaper::dispose(unwanted.0);
        }
    };
    std::thread::Builder::new()
        .name("cspace-build".into())
        .spawn(run)
        .map_err(|e| PyRuntimeError::new_err(format!("no thread to prepare a processor on: {e}")))?;
    loop {
        // The receiver goes in and comes back: two threads may not share one.
        let made = py.detach(move || {
            let made = receiver.recv_timeout(LOOK);
            (receiver, made)
        });
        receiver = made.0;
        match made.1 {
            Ok(made) => {
                return made.map_err(|said| PyRuntimeError::new_err(format!("a fault inside: {said}")));
            }
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err(
                    "the thread that prepares a processor ended without a word",
                ));
            }
        }
    }
}
