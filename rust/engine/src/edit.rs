//! What the control side knows of a slot, and why it refuses an edit. Thread: control throughout.

use cspace_dsp::{Info, PrepareError, Processor};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::hosted::{WorkerCounts, WorkerShared};
use crate::shared::SlotShared;
use crate::{MAX_SLOTS, MAX_TAPS_PER_SLOT};

/// Why an edit was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq)]
pub enum EditError {
    /// No slot has this id.
    NoSlot(u32),
    /// The slot's processor has no such parameter, tap or array.
    NoName(String),
    /// The value is not a number.
    NotANumber(String),
    /// The parameter takes effect only when the processor is built anew.
    SetupParameter(String),
    /// The array cannot be set while audio runs, or has the wrong length.
    Array(String),
    /// The chain is full.
    ChainFull,
    /// Too many taps on one slot.
    TooManyTaps,
    /// The audio thread has not taken earlier commands yet.
    QueueFull,
    /// The processor cannot be prepared.
    Prepare(PrepareError),
}

impl std::fmt::Display for EditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSlot(id) => write!(f, "no slot {id} in the chain"),
            Self::NoName(name) => write!(f, "no parameter, tap or array called '{name}'"),
            Self::NotANumber(name) => write!(f, "'{name}': the value is not a number"),
            Self::SetupParameter(name) => {
                write!(f, "'{name}' takes effect only when the processor is built anew: use replace")
            }
            Self::Array(why) => f.write_str(why),
            Self::ChainFull => write!(f, "the chain holds {MAX_SLOTS} processors at most"),
            Self::TooManyTaps => write!(f, "{MAX_TAPS_PER_SLOT} taps at most can be read from one slot"),
            Self::QueueFull => f.write_str("the audio side has not taken earlier commands yet; try again"),
            Self::Prepare(e) => e.fmt(f),
        }
    }
}
impl std::error::Error for EditError {}

/// What the control side knows of a slot.
#[derive(Clone)]
pub struct SlotInfo {
    /// Its id, never used again after removal.
    pub id: u32,
    /// Name for people.
    pub name: String,
    /// What its processor is.
    pub info: &'static Info,
    /// Delay it adds, in samples.
    pub latency_samples: usize,
    /// How long it sounds on, in samples.
    pub tail_samples: usize,
    pub(crate) values: Vec<f32>,
    pub(crate) tap_lens: Vec<usize>,
    pub(crate) array_lens: Vec<usize>,
    pub(crate) taps: Vec<std::sync::Weak<()>>,
    pub(crate) status: Arc<SlotShared>,
    /// Of the model that plays here, and before it of those that were replaced and may still fade.
    pub(crate) workers: Vec<Arc<WorkerShared>>,
    /// What models that are gone had counted.
    pub(crate) past: WorkerCounts,
}

impl SlotInfo {
    /// What models have counted here since the slot was made.
    pub(crate) fn worker_counts(&mut self) -> WorkerCounts {
        let playing = self.workers.len().saturating_sub(1);
        let mut index = 0;
        let past = &mut self.past;
        self.workers.retain(|w| {
            index += 1;
            // Nobody else has it: the processor was dropped, and its worker with it.
            let gone = index <= playing && Arc::strong_count(w) == 1;
            if gone {
                past.add(w);
            }
            !gone
        });
        let mut all = self.past;
        self.workers.iter().for_each(|w| all.add(w));
        all
    }

    /// It runs no more; the input passes in its place.
    pub(crate) fn is_out_of_use(&self) -> bool {
        self.status.out_of_use.load(Relaxed) || self.workers.last().is_some_and(|w| w.is_out_of_use())
    }

    /// What went wrong last; empty if nothing did.
    pub(crate) fn fault(&self) -> String {
        let of_model = self.workers.last().map(|w| w.fault()).unwrap_or_default();
        if of_model.is_empty() { self.status.panic.get() } else { of_model }
    }

    /// Another processor plays here from now on; the slot keeps its name, its counters and its taps.
    pub(crate) fn become_like(&mut self, other: SlotInfo) {
        self.info = other.info;
        self.latency_samples = other.latency_samples;
        self.tail_samples = other.tail_samples;
        self.values = other.values;
        self.tap_lens = other.tap_lens;
        self.array_lens = other.array_lens;
        self.workers.extend(other.workers);
    }

    /// Copies what the control side must know once the processor has gone to the audio side.
    pub(crate) fn learn(&mut self, processor: &dyn Processor) {
        self.latency_samples = processor.latency_samples();
        self.tail_samples = processor.tail_samples();
        self.values = (0..self.info.params.len()).map(|i| processor.param(i)).collect();
        self.tap_lens = (0..self.info.taps.len()).map(|i| processor.tap_len(i)).collect();
        if let Some(worker) = processor.report().and_then(|r| r.downcast::<WorkerShared>().ok()) {
            self.workers.push(worker);
        }
        self.array_lens = (0..self.info.arrays.len()).map(|i| processor.array_len(i)).collect();
    }
}
