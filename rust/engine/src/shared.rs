//! Counters and meters both sides can see.

use crate::faults::SharedText;
use cspace_dsp::Block;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::gate::GateSwitch;

/// Written by the audio thread, read by anyone; every field on its own, so Relaxed is enough.
#[derive(Debug)]
pub struct Shared {
    /// Samples played since the start.
    pub sample_time: AtomicU64,
    /// Blocks processed.
    pub blocks: AtomicU64,
    /// Input over- or underflows flagged by the device.
    pub input_xruns: AtomicU64,
    /// Output over- or underflows flagged by the device.
    pub output_xruns: AtomicU64,
    /// NaN or Inf samples from outside, replaced by 0.
    pub bad_input_samples: AtomicU64,
    /// Parameter events lost because a queue was full.
    pub dropped_events: AtomicU64,
    /// Timing records lost because nobody drained them.
    pub dropped_records: AtomicU64,
    /// Panics caught.
    pub panics: AtomicU64,
    /// Fades a device's sound out before it is closed.
    pub gate: GateSwitch,
    pub(crate) meters: Vec<Meter>,
}

#[derive(Debug, Default)]
pub(crate) struct Meter {
    input_peak: AtomicU32,
    output_peak: AtomicU32,
    output_square: AtomicU32,
}

/// Non-negative floats order like their bits, so a peak needs no compare-and-swap loop of ours.
fn raise(peak: &AtomicU32, value: f32) {
    peak.fetch_max(value.abs().to_bits(), Relaxed);
}

impl Meter {
    pub fn input(&self, peak: f32) {
        raise(&self.input_peak, peak);
    }

    /// `keep`: how much of the old mean square remains after this block.
    pub fn output(&self, peak: f32, mean_square: f32, keep: f32) {
        raise(&self.output_peak, peak);
        let old = f32::from_bits(self.output_square.load(Relaxed));
        self.output_square.store((old * keep + mean_square * (1.0 - keep)).to_bits(), Relaxed);
    }

    /// (input peak, output peak) since the last call, and the running output RMS.
    pub fn take(&self) -> (f32, f32, f32) {
        let peak = |p: &AtomicU32| f32::from_bits(p.swap(0, Relaxed));
        let square = f32::from_bits(self.output_square.load(Relaxed));
        (peak(&self.input_peak), peak(&self.output_peak), square.sqrt())
    }
}

impl Shared {
    pub(crate) fn new(channels: usize) -> Self {
        Self {
            sample_time: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            input_xruns: AtomicU64::new(0),
            output_xruns: AtomicU64::new(0),
            bad_input_samples: AtomicU64::new(0),
            dropped_events: AtomicU64::new(0),
            dropped_records: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            gate: GateSwitch::default(),
            meters: (0..channels).map(|_| Meter::default()).collect(),
        }
    }

    /// Sound from outside: meters it, and replaces NaN and Inf by 0. Thread: audio.
    pub(crate) fn check_input(&self, block: &mut Block<'_>) {
        let mut bad = 0;
        for (channel, meter) in block.channels_mut().zip(&self.meters) {
            if !crate::slot::all_finite(channel) {
                for x in channel.iter_mut().filter(|x| !x.is_finite()) {
                    *x = 0.0;
                    bad += 1;
                }
            }
            meter.input(channel.iter().fold(0.0, |m, x| m.max(x.abs())));
        }
        if bad > 0 {
            self.bad_input_samples.fetch_add(bad, Relaxed);
        }
    }
}

/// What one slot reports.
#[derive(Debug, Default)]
pub(crate) struct SlotShared {
    pub faults: AtomicU64,
    pub panics: AtomicU64,
    /// What the panic said.
    pub panic: SharedText,
    /// The processor that plays panicked; the input passes in its place.
    pub out_of_use: AtomicBool,
    pub late_blocks: std::sync::Arc<AtomicU64>,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
