//! A streaming model in the chain: hops in, hops out, on a worker thread live and inline offline.
//!
//! The audio thread collects hops, sends them to the worker by a ring and plays what comes back,
//! each hop at its appointed sample. A hop that is not there in time is concealed and counted, and
//! one that comes late is used from where it should be by now or thrown away: the latency never
//! changes. Offline the model runs inside `process`, and the samples are the same.
//!
//! A run that computes for too long is stopped, and its hop concealed; after three in a row, or a panic, the
//! model is out of use: the input passes in its place, and the statistics say why.
//!
//! What a model computes is no matter here: see [`HopModel`]; ONNX is one of them (`rust/neural`).

mod bench;
mod conceal;
mod line;
mod load;
mod priority;
mod processor;
mod report;
mod ring;
mod spec;
mod watch;

pub use load::open;
pub use processor::Hosted;
pub(crate) use report::WorkerCounts;
pub use report::WorkerShared;
pub use spec::{HostedSpec, ModelParameter, PARAMS, info};
pub use watch::{Stop, end, run_limit, stuck_threads};

use cspace_dsp::{StateError, StateIo};
use std::sync::Arc;

/// One stream through a model.
pub trait HopModel: Send {
    /// One hop: planar `input` and `output` of channels × hop samples, and the values of the
    /// model's own parameters. Thread: worker, or whoever renders. May allocate.
    ///
    /// # Errors
    /// A sentence; the hop then counts as a fault.
    fn run(&mut self, input: &[f32], output: &mut [f32], parameters: &[f32]) -> Result<(), String>;

    /// Forgets all sound. Thread: as `run`.
    fn reset(&mut self);

    /// What ends a run that takes too long. A model without it cannot be stopped: its thread is left
    /// behind, and counted, should a run never end. Thread: control.
    fn stop(&self) -> Option<Arc<dyn Stop>> {
        None
    }

    /// Saves or restores what a run hands on to the next. Thread: control.
    ///
    /// # Errors
    /// If the saved state is not of this model.
    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError>;
}

/// Delay in samples from a sample going in to its result coming out, besides the model's own.
///
/// A hop must be collected (`hop`), and between the block in which it is complete and the block in
/// which it is heard lie `periods` callbacks, long enough for one hop's worth of work and `spare`
/// samples on top. With blocks of constant size `block`, `hop + periods · block − gcd(hop, block)`
/// is the least delay for which that holds wherever the two grids meet.
pub fn latency(hop: usize, block: usize, spare: usize) -> usize {
    let periods = (hop + spare).div_ceil(block).max(1);
    hop + periods * block - gcd(hop, block)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least delay found by trying: every hop must have its periods.
    fn least(hop: usize, block: usize, periods: usize) -> usize {
        (0..)
            .find(|latency| {
                (0..block).all(|j| (j * hop + latency) / block >= (j * hop + hop - 1) / block + periods)
            })
            .unwrap()
    }

    #[test]
    fn no_smaller_latency_would_do() {
        for hop in [1usize, 7, 48, 64, 100, 128, 480, 512, 1024] {
            for block in [1usize, 16, 32, 64, 100, 128, 256, 480, 512, 1024] {
                for spare in [0, 96] {
                    let periods = (hop + spare).div_ceil(block);
                    assert_eq!(
                        latency(hop, block, spare),
                        least(hop, block, periods),
                        "hop {hop}, block {block}, spare {spare}"
                    );
                }
            }
        }
    }
}
