//! Opens models and runs them for the first time, on a thread that is left behind if it does not come back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::spec::{BASE, HostedSpec};
use super::watch::{self, Alive, Watch};
use super::{HopModel, run_limit};
use crate::faults;

/// Runs before the first hop: memory is planned and pages are touched while nobody waits.
const WARM_UP_RUNS: usize = 3;
/// How often the waiting side looks whether it waits in vain.
const LOOK: Duration = Duration::from_millis(20);

type Models = Vec<Box<dyn HopModel>>;

/// `count` streams through the model, each run three times with silence. Thread: control. Returns within the
/// time limits of a model whatever the model does.
///
/// # Errors
/// A sentence: what the model says, that it panicked, or that it took too long.
pub fn open(spec: &Arc<HostedSpec>, count: usize) -> Result<Models, String> {
    let watch = Watch::new(spec.hop, spec.sample_rate);
    let (alive, left_behind) = Alive::new();
    let (sender, made) = sync_channel(1);
    let (theirs, eye) = (spec.clone(), watch.clone());
    let work = move || {
        let _alive = alive;
        let models = {
            let _here = eye.enter();
            catch_unwind(AssertUnwindSafe(|| all(&theirs, count, &eye))).unwrap_or_else(|p| {
                Err(format!("the model panicked while it was opened: {}", faults::describe(&*p)))
            })
        };
        drop(theirs);
        let _ = sender.send(models); // nobody waits: they are freed here
    };
    std::thread::Builder::new()
        .name("cspace-load".into())
        .spawn(work)
        .map_err(|e| format!("no thread to open the model on: {e}"))?;
    loop {
        match made.recv_timeout(LOOK) {
            Ok(models) => return models,
            Err(RecvTimeoutError::Disconnected) => {
                return Err("the model's thread ended without a word".into());
            }
            Err(RecvTimeoutError::Timeout) if watch.is_ignored() => {
                watch::leave_behind(&left_behind);
                watch.close();
                return Err(format!("{}; it could not be stopped either", too_long(spec, watch.limit())));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Why a run was stopped.
pub(super) fn too_long(spec: &HostedSpec, limit: Duration) -> String {
    if limit == watch::OPEN {
        return format!("the model was not open after {} s of computing; use a smaller one", limit.as_secs());
    }
    format!(
        "a run of the model, {} samples, was not done after {:.3} s of computing; it may loop without end: mend the \
         model, or use a smaller one",
        spec.hop,
        limit.as_secs_f64()
    )
}

fn all(spec: &HostedSpec, count: usize, watch: &Watch) -> Result<Models, String> {
    (0..count).map(|_| one(spec, watch)).collect()
}

fn one(spec: &HostedSpec, watch: &Watch) -> Result<Box<dyn HopModel>, String> {
    let name = spec.info.name;
    watch.set_limit(watch::OPEN);
    let mut model = watch.run(|| (spec.load)()).0?;
    watch.set_limit(run_limit(spec.hop, spec.sample_rate));
    watch.set_stops(model.stop().into_iter().collect());
    let size = spec.channels * spec.hop;
    let values: Vec<f32> = spec.info.params[BASE..].iter().map(|p| p.default).collect();
    let (quiet, mut out) = (vec![0.0; size], vec![0.0; size]);
    for _ in 0..WARM_UP_RUNS {
        if watch.is_closed() {
            return Err("the program ends".into());
        }
        match watch.run(|| model.run(&quiet, &mut out, &values)) {
            (_, true) => return Err(too_long(spec, watch.limit())),
            (Err(why), _) => return Err(format!("{name}: {why}")),
            (Ok(()), _) => {}
        }
    }
    model.reset();
    Ok(model)
}
