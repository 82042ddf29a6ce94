//! Time statistics: records leave the audio thread by a ring, histograms are kept outside it.

use hdrhistogram::Histogram;
use std::collections::HashMap;

use crate::MAX_SLOTS;

/// About five seconds of 64-frame blocks at 48 kHz; a housekeeping thread drains every 10 ms.
pub(crate) const RECORD_CAPACITY: usize = 4096;

/// How long one block took, in all and slot by slot.
#[derive(Clone, Copy)]
pub(crate) struct BlockRecord {
    pub frames: u32,
    pub total_ns: u32,
    pub slots: usize,
    pub slot_ns: [(u32, u32); MAX_SLOTS],
}

/// Percentiles of a set of block times.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TimeStats {
    /// Blocks counted.
    pub count: u64,
    /// Half of the blocks took at most this, in µs.
    pub p50_us: f64,
    /// 99 % of the blocks.
    pub p99_us: f64,
    /// 99.9 % of the blocks.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Mean.
    pub mean_us: f64,
}

/// What one slot reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlotStats {
    /// Slot id.
    pub slot: u32,
    /// Its name.
    pub name: String,
    /// Blocks muted because of NaN or Inf.
    pub faults: u64,
    /// 1 if it panicked and is out of use.
    pub panics: u64,
    /// It runs no more; the input passes in its place.
    pub out_of_use: bool,
    /// What went wrong last: the words of a panic, the reason of a failed or stopped hop. Empty if nothing did.
    pub fault: String,
    /// Blocks concealed because a worker was late.
    pub late_blocks: u64,
    /// Time per block.
    pub time: TimeStats,
    /// Hosted models: hops run by the model.
    pub hops: u64,
    /// Hosted models: hops not there at their first sample.
    pub late_hops: u64,
    /// Hosted models: hops dropped on purpose.
    pub dropped_hops: u64,
    /// Hosted models: hops whose run failed.
    pub failed_hops: u64,
    /// Hosted models: hops stopped because they took too long.
    pub stopped_hops: u64,
    /// Hosted models: time of the model per hop.
    pub hop_time: TimeStats,
}

/// All statistics at one moment. Peaks are linear and since the last snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Samples played since the start.
    pub sample_time: u64,
    /// Blocks processed since the start.
    pub blocks: u64,
    /// Mean share of the deadline used since the last reset of the statistics.
    pub load: f64,
    /// Blocks whose computation took longer than they last.
    pub deadline_misses: u64,
    /// See [`crate::Shared`].
    pub input_xruns: u64,
    /// See [`crate::Shared`].
    pub output_xruns: u64,
    /// See [`crate::Shared`].
    pub bad_input_samples: u64,
    /// See [`crate::Shared`].
    pub dropped_events: u64,
    /// See [`crate::Shared`].
    pub dropped_records: u64,
    /// Panics caught, in the engine and in workers.
    pub panics: u64,
    /// Threads of this program left behind in models that do not let themselves be stopped.
    pub stuck_threads: usize,
    /// Histograms kept; each takes 230 KB.
    pub histograms: usize,
    /// Per channel.
    pub input_peak: Vec<f32>,
    /// Per channel.
    pub output_peak: Vec<f32>,
    /// Per channel, over about 300 ms.
    pub output_rms: Vec<f32>,
    /// Whole block.
    pub time: TimeStats,
    /// In chain order.
    pub slots: Vec<SlotStats>,
}

/// 1 ns to 100 s in three digits: 10 ms late and 10 µs quick are told apart equally well.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 100_000_000_000, 3).expect("constant bounds are valid")
}

/// The percentiles of nanoseconds.
pub(crate) fn percentiles(h: &Histogram<u64>) -> TimeStats {
    let us = |q| h.value_at_quantile(q) as f64 * 1e-3;
    TimeStats {
        count: h.len(),
        p50_us: us(0.5),
        p99_us: us(0.99),
        p999_us: us(0.999),
        max_us: h.max() as f64 * 1e-3,
        mean_us: h.mean() * 1e-3,
    }
}

struct Times {
    histogram: Histogram<u64>,
}

impl Times {
    fn new() -> Self {
        Self { histogram: histogram() }
    }

    fn record(&mut self, ns: u32) {
        self.histogram.saturating_record(u64::from(ns));
    }

    fn stats(&self) -> TimeStats {
        percentiles(&self.histogram)
    }
}

/// The histograms, on the control side.
pub(crate) struct Statistics {
    sample_rate: f64,
    block: Times,
    slots: HashMap<u32, Times>,
    busy_ns: f64,
    audio_ns: f64,
    pub deadline_misses: u64,
}

impl Statistics {
    pub fn new(sample_rate: f64) -> Self {
        Self {
            sample_rate,
            block: Times::new(),
            slots: HashMap::new(),
            busy_ns: 0.0,
            audio_ns: 0.0,
            deadline_misses: 0,
        }
    }

    /// Slots that `known` does not know are on their way out: nobody asks for their times any more.
    pub fn add(&mut self, record: &BlockRecord, known: impl Fn(u32) -> bool) {
        let lasts_ns = f64::from(record.frames) / self.sample_rate * 1e9;
        let took_ns = f64::from(record.total_ns);
        self.busy_ns += took_ns;
        self.audio_ns += lasts_ns;
        self.deadline_misses += u64::from(took_ns > lasts_ns);
        self.block.record(record.total_ns);
        for &(id, ns) in &record.slot_ns[..record.slots] {
            if known(id) {
                self.slots.entry(id).or_insert_with(Times::new).record(ns);
            }
        }
    }

    /// Lets go of the times of a slot.
    pub fn forget(&mut self, id: u32) {
        self.slots.remove(&id);
    }

    /// Histograms kept; each takes 230 KB.
    pub fn histograms(&self) -> usize {
        1 + self.slots.len()
    }

    pub fn block(&self) -> TimeStats {
        self.block.stats()
    }

    pub fn slot(&self, id: u32) -> TimeStats {
        self.slots.get(&id).map(Times::stats).unwrap_or_default()
    }

    pub fn load(&self) -> f64 {
        if self.audio_ns > 0.0 { self.busy_ns / self.audio_ns } else { 0.0 }
    }
}
