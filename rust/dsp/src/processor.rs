//! The contract of a processor.

use std::any::Any;
use std::sync::Arc;

use crate::{Block, ParamSpec, StateError, StateIo};

/// What the host promises before the first block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prepare {
    /// Samples per second, 8,000 to 192,000.
    pub sample_rate: f64,
    /// The largest block that will come.
    pub max_block: usize,
    /// Channels of every block, at least 1.
    pub channels: usize,
}

/// Why a processor cannot be prepared: a sentence that names the thing, the value and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareError(pub String);

impl std::fmt::Display for PrepareError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for PrepareError {}

/// A named array a processor shows to meters, plots and analysis.
#[derive(Clone, Copy, Debug)]
pub struct TapSpec {
    /// Unique within the processor.
    pub name: &'static str,
    /// What the numbers are, their order, unit and range.
    pub doc: &'static str,
}

/// A named array a processor can be given: weights, matrices, per-band gains.
#[derive(Clone, Copy, Debug)]
pub struct ArraySpec {
    /// Unique within the processor.
    pub name: &'static str,
    /// Can be set while audio runs, if its length equals [`Processor::array_len`]. The others
    /// take effect in `prepare`.
    pub live: bool,
    /// Shape, order, unit and range.
    pub doc: &'static str,
}

/// What a processor is: fixed for the type.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The word used in chain files and OSC addresses.
    pub name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// Parameters; their index is the id used by `set_param`.
    pub params: &'static [ParamSpec],
    /// Taps; their index is the id used by `read_tap`.
    pub taps: &'static [TapSpec],
    /// Arrays; their index is the id used by `set_array`.
    pub arrays: &'static [ArraySpec],
}

impl Info {
    /// The id of the parameter called `name`.
    pub fn param_id(&self, name: &str) -> Option<usize> {
        self.params.iter().position(|p| p.name == name)
    }

    /// The id of the tap called `name`.
    pub fn tap_id(&self, name: &str) -> Option<usize> {
        self.taps.iter().position(|t| t.name == name)
    }

    /// The id of the array called `name`.
    pub fn array_id(&self, name: &str) -> Option<usize> {
        self.arrays.iter().position(|a| a.name == name)
    }
}

/// A streaming audio processor.
///
/// Life cycle: new → `set_param`/`set_array` → `prepare` → any mix of `process`, `set_param`,
/// live `set_array`, `reset`, `read_tap` → dropped on the control thread.
///
/// Every processor keeps these promises, and `tests/contract.rs` checks them for all of them:
/// the samples that come out do not depend on how the input is cut into blocks, bit for bit;
/// a run after `reset` equals a first run with the same parameters; nothing in an audio-thread
/// method allocates, locks, logs or panics; a finite input gives a finite output.
pub trait Processor: Send {
    /// What this processor is. Thread: any.
    fn info(&self) -> &'static Info;

    /// Allocates everything for `spec` and starts from silence with parameters where they were
    /// set. May be called again. Thread: control. May allocate.
    fn prepare(&mut self, spec: &Prepare) -> Result<(), PrepareError>;

    /// Changes the block in place. Thread: audio. Never allocates, locks or logs.
    fn process(&mut self, block: &mut Block<'_>);

    /// Forgets all sound; parameters stay and their ramps land. Thread: audio. Never allocates,
    /// locks or logs.
    fn reset(&mut self);

    /// Delay from input to output, exact. Constant after `prepare`. Thread: any.
    fn latency_samples(&self) -> usize {
        0
    }

    /// How long sound goes on after the input ends (to −60 dB where it decays; `usize::MAX` if it
    /// never ends). Thread: any.
    fn tail_samples(&self) -> usize {
        0
    }

    /// Sets parameter `id`, clamped to its range; starts its ramp. Before `prepare` it jumps.
    /// Thread: audio. Never allocates, locks or logs.
    fn set_param(&mut self, id: usize, value: f32);

    /// The target of parameter `id`. Thread: any.
    fn param(&self, id: usize) -> f32;

    /// Numbers in tap `id`, constant after `prepare`. Thread: any.
    fn tap_len(&self, _id: usize) -> usize {
        0
    }

    /// Writes the tap's values after the last processed sample to `out[..tap_len]`.
    /// Thread: audio. Never allocates, locks or logs.
    fn read_tap(&self, _id: usize, _out: &mut [f32]) {}

    /// Length array `id` must have to be set live; 0 before `prepare`. Thread: any.
    fn array_len(&self, _id: usize) -> usize {
        0
    }

    /// Sets array `id`. Before `prepare`: any length, may allocate (control). After `prepare`,
    /// live arrays of the right length only: copies, never allocates; returns false and changes
    /// nothing otherwise.
    fn set_array(&mut self, _id: usize, _data: &[f32]) -> bool {
        false
    }

    /// What the control side may keep looking at once the processor is on the audio side: counters
    /// of a worker. The host knows the types it looks for. Thread: control.
    fn report(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }

    /// Saves or restores all that `process` depends on besides what `prepare` makes from set-up
    /// parameters. Thread: control, while no audio runs.
    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError>;
}
