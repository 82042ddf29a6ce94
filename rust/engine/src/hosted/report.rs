//! What a worker and its audio half report to the control side.

use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counters, times and the last fault.
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
    /// Hops whose run was stopped because it took too long.
    pub stopped_hops: AtomicU64,
    /// 1 if the model panicked.
    pub panics: AtomicU64,
    out_of_use: AtomicBool,
    /// The last fault. Locked by worker and control, never by the audio thread.
    fault: Mutex<String>,
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
            stopped_hops: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            out_of_use: AtomicBool::new(false),
            fault: Mutex::default(),
            times: Mutex::new(crate::stats::histogram()),
        }
    }
}

impl WorkerShared {
    /// The model runs no more; the input passes in its place. Thread: any; never waits.
    pub fn is_out_of_use(&self) -> bool {
        self.out_of_use.load(Acquire)
    }

    /// What went wrong last; empty if nothing did. Thread: control.
    pub fn fault(&self) -> String {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Thread: worker, or whoever renders.
    pub(super) fn set_fault(&self, text: &str) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if *fault != text {
            fault.clear();
            fault.push_str(text);
        }
    }

    /// Thread: worker, or whoever renders.
    pub(super) fn set_out_of_use(&self) {
        self.out_of_use.store(true, Release);
    }

    /// Counts a hop whose result is on its way: who sees the count finds the result and the time.
    pub(super) fn done(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.times.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(ns);
        self.hops.fetch_add(1, Release);
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
    pub stopped_hops: u64,
    pub panics: u64,
}

impl WorkerCounts {
    pub fn add(&mut self, w: &WorkerShared) {
        self.late_blocks += w.late_blocks.load(Relaxed);
        self.hops += w.hops.load(Acquire);
        self.late_hops += w.late_hops.load(Relaxed);
        self.dropped_hops += w.dropped_hops.load(Relaxed);
        self.failed_hops += w.failed_hops.load(Relaxed);
        self.stopped_hops += w.stopped_hops.load(Relaxed);
        self.panics += w.panics.load(Relaxed);
    }
}
