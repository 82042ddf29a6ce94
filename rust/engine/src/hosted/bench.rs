//! The models of one slot and the rules for those that misbehave.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::HopModel;
use super::load::too_long;
use super::report::WorkerShared;
use super::spec::HostedSpec;
use super::watch::Watch;
use crate::faults::{self, Payload};
use crate::shared::count;

/// So many runs in a row that had to be stopped put a model out of use.
const STOPPED_IN_A_ROW: u32 = 3;

/// One model for all channels, or one for each.
pub(super) struct Bench {
    models: Vec<Box<dyn HopModel>>,
    spec: Arc<HostedSpec>,
    pub shared: Arc<WorkerShared>,
    pub watch: Arc<Watch>,
    stopped: u32,
}

/// What became of a hop.
pub(super) enum Outcome {
    /// It is there, or the models failed and it is NaN, which the guard of the slot sees.
    Made(Duration),
    /// It was stopped, and there is nothing to hear.
    Stopped,
    /// There will never be another one: too many were stopped, or a model panicked.
    OutOfUse(Option<Payload>),
}

impl Bench {
    /// Thread: control.
    pub fn new(models: Vec<Box<dyn HopModel>>, spec: Arc<HostedSpec>, shared: Arc<WorkerShared>) -> Self {
        let watch = Watch::new(spec.hop, spec.sample_rate);
        watch.set_stops(models.iter().filter_map(|m| m.stop()).collect());
        Self { models, spec, shared, watch, stopped: 0 }
    }

    /// Thread: worker, or whoever renders; it has entered the watch.
    pub fn run(&mut self, input: &[f32], output: &mut [f32], parameters: &[f32]) -> Outcome {
        let started = Instant::now();
        let part = input.len() / self.models.len();
        let parts = input.chunks_exact(part).zip(output.chunks_exact_mut(part));
        for (model, (from, to)) in self.models.iter_mut().zip(parts) {
            let run = || catch_unwind(AssertUnwindSafe(|| model.run(from, to, parameters)));
            let (made, stopped) = self.watch.run(run);
            match made {
                Err(payload) => {
                    // Its state may be half changed, so it is never called again.
                    count(&self.shared.panics);
                    self.shared.set_fault(&format!("the model panicked: {}", faults::describe(&*payload)));
                    self.shared.set_out_of_use();
                    return Outcome::OutOfUse(Some(payload));
                }
                _ if stopped => return self.was_stopped(),
                Ok(Err(why)) => {
                    // The guard of the slot sees it: muted, counted as a fault, reset.
                    to.fill(f32::NAN);
                    count(&self.shared.failed_hops);
                    self.shared.set_fault(&why);
                }
                Ok(Ok(())) => {}
            }
        }
        self.stopped = 0;
        Outcome::Made(started.elapsed())
    }

    fn was_stopped(&mut self) -> Outcome {
        count(&self.shared.stopped_hops);
        self.stopped += 1;
        let why = too_long(&self.spec, self.watch.limit());
        if self.stopped < STOPPED_IN_A_ROW {
            self.shared.set_fault(&why);
            return Outcome::Stopped;
        }
        self.shared.set_fault(&format!("out of use after {STOPPED_IN_A_ROW} hops in a row: {why}"));
        self.shared.set_out_of_use();
        Outcome::OutOfUse(None)
    }

    /// As [`Self::run`] where nobody waits for a worker; true if the hop is there. A panic goes on, to
    /// the guard of the slot. Thread: whoever renders.
    pub fn run_here(&mut self, fresh: bool, input: &[f32], output: &mut [f32], parameters: &[f32]) -> bool {
        if self.shared.is_out_of_use() {
            return false;
        }
        let watch = self.watch.clone();
        let _here = watch.enter();
        if fresh {
            self.reset();
        }
        match self.run(input, output, parameters) {
            Outcome::Made(took) => {
                self.shared.done(took);
                true
            }
            Outcome::OutOfUse(Some(payload)) => resume_unwind(payload),
            Outcome::Stopped | Outcome::OutOfUse(None) => false,
        }
    }

    /// Thread: as `run`.
    pub fn reset(&mut self) {
        self.models.iter_mut().for_each(|m| m.reset());
    }

    /// Thread: control.
    pub fn models(&mut self) -> impl Iterator<Item = &mut Box<dyn HopModel>> {
        self.models.iter_mut()
    }
}
