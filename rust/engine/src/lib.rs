//! The block loop of CSpace: chain, parameter events, cross-faded edits, taps, statistics, workers.
//!
//! An engine has two halves. [`AudioEngine`] belongs to whoever drives the audio: the PortAudio
//! callback ([`driver::pa_callback`]), a paced thread ([`paced`]), or a caller that just wants
//! blocks processed ([`Driver::process`]). [`Controller`] belongs to everybody else. They meet only
//! in wait-free rings and atomics, so the audio half never waits:
//!
//! ```text
//! Controller ──commands──► AudioEngine      values: newest wins after smoothing
//!            ◄──returns──                   edits: queued in order; replaced objects come home here
//!            ◄──records──                   time of every block
//! ```
//!
//! Many threads of the control side share a `Controller` behind a lock. Nothing that may take long happens while
//! it is held: slots are built before ([`Prepared`]), and what comes home is freed elsewhere ([`reaper`]).

mod audio;
mod command;
mod control;
mod delay;
mod denormal;
pub mod driver;
mod edit;
mod faults;
mod fileport;
mod gate;
pub mod hosted;
pub mod paced;
mod prepared;
pub mod reaper;
mod remote;
mod rings;
mod shared;
mod slot;
mod stats;
mod taps;

pub use audio::AudioEngine;
pub use control::Controller;
pub use denormal::{FlushDenormals, KeepFloatMode};
pub use driver::Driver;
pub use edit::{EditError, SlotInfo};
pub use faults::{describe, keep_panics_quiet};
pub use fileport::{PlayerEnd, RecorderEnd};
pub use gate::GateSwitch;
pub use prepared::Prepared;
pub use remote::{Remote, WorkerEnd};
pub use shared::Shared;
pub use slot::all_finite;
pub use stats::{SlotStats, Snapshot, TimeStats};
pub use taps::TapReader;

/// Slots a chain can hold.
pub const MAX_SLOTS: usize = 32;
/// Taps that can be read from one slot at the same time.
pub const MAX_TAPS_PER_SLOT: usize = 8;
/// Parameter events and edits that can wait for the audio thread.
pub const COMMAND_CAPACITY: usize = 4096;
/// Timed parameter events that can wait for their sample.
pub const PENDING_CAPACITY: usize = 1024;
/// Length of the cross-fade of an edit, and of a device's fade at its start and its end.
pub const FADE_MS: f64 = 10.0;

/// What an engine is made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Config {
    /// Samples per second, 8,000 to 192,000.
    pub sample_rate: f64,
    /// Channels in and out.
    pub channels: usize,
    /// Largest block processed at once; larger host blocks are split.
    pub max_block: usize,
}

impl Config {
    /// The promise made to processors.
    pub fn prepare(&self) -> cspace_dsp::Prepare {
        cspace_dsp::Prepare {
            sample_rate: self.sample_rate,
            max_block: self.max_block,
            channels: self.channels,
        }
    }

    pub(crate) fn fade_samples(&self) -> usize {
        (FADE_MS * 1e-3 * self.sample_rate).round() as usize
    }
}

/// Ends what this library does on threads of its own, before the program ends: models are stopped, and what
/// waits to be freed is freed, both within `limit`. False if a thread stays in a model that cannot be
/// stopped. Nothing of the engine is to be used afterwards. Thread: control.
pub fn end(limit: std::time::Duration) -> bool {
    let started = std::time::Instant::now();
    let ended = hosted::end(limit);
    let freed = reaper::wait(limit.saturating_sub(started.elapsed()));
    reaper::end();
    ended && freed
}

/// Makes an engine: its audio half in a [`Driver`], and its control half.
///
/// # Errors
/// A sentence naming the value that is out of range.
pub fn new(config: Config) -> Result<(Driver, Controller), String> {
    if !(8_000.0..=192_000.0).contains(&config.sample_rate) {
        return Err(format!("sample rate {} Hz is outside 8000 to 192000 Hz", config.sample_rate));
    }
    if !(1..=64).contains(&config.channels) {
        return Err(format!("{} channels: 1 to 64 are possible", config.channels));
    }
    if !(1..=65_536).contains(&config.max_block) {
        return Err(format!("largest block {} is outside 1 to 65536 samples", config.max_block));
    }
    let (commands_in, commands_out) = rtrb::RingBuffer::new(COMMAND_CAPACITY);
    let (returns_in, returns_out) = rtrb::RingBuffer::new(COMMAND_CAPACITY + 4 * MAX_SLOTS);
    let (records_in, records_out) = rtrb::RingBuffer::new(stats::RECORD_CAPACITY);
    let shared = std::sync::Arc::new(Shared::new(config.channels));
    let audio = AudioEngine::new(config, commands_out, returns_in, records_in, shared.clone());
    let control = Controller::new(config, commands_in, returns_out, records_out, shared);
    Ok((Driver::new(audio), control))
}
