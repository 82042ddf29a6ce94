//! One stream through an ONNX model.

use cspace_dsp::{StateError, StateIo};
use cspace_engine::KeepFloatMode;
use cspace_engine::hosted::{HopModel, Stop};
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session, SessionInputValue};
use ort::value::TensorRef;
use std::borrow::Cow;
use std::sync::Arc;

use crate::{Tensor, Tensors};

/// A session with the states of one stream.
pub struct OnnxModel {
    session: Session,
    tensors: Tensors,
    states: Vec<Vec<f32>>,
    running: Arc<Running>,
}

/// What the runtime looks at while it runs: between two operators, and in every turn of a loop.
struct Running(RunOptions);

impl Stop for Running {
    fn stop(&self) {
        let _ = self.0.terminate(); // sets a flag, which cannot fail
    }
}

/// The first line of a runtime's error; the rest is for its own developers.
fn reason<R>(e: ort::Error<R>) -> String {
    let text = e.message().trim();
    text.lines().next().unwrap_or(text).to_owned()
}

/// Whether the runtime computes what depends on no input while it opens a model, or in every run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Constants {
    /// While it opens it: faster runs, but opening computes, and cannot be stopped.
    Folded,
    /// In every run, which can be stopped.
    Kept,
}

// The options stand in src/cspace/ortruntime.py too: a difference would be heard as one.
fn builder(constants: Constants) -> Result<SessionBuilder, String> {
    let builder = Session::builder()
        .map_err(reason)?
        .with_intra_threads(1)
        .map_err(reason)?
        .with_inter_threads(1)
        .map_err(reason)?
        .with_parallel_execution(false)
        .map_err(reason)?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(reason)?
        .with_intra_op_spinning(false)
        .map_err(reason)?
        .with_flush_to_zero()
        .map_err(reason)?
        .with_log_level(ort::logging::LogLevel::Fatal)
        .map_err(reason)?;
    match constants {
        Constants::Folded => Ok(builder),
        Constants::Kept => builder
            .with_config_entry("optimization.disable_specified_optimizers", "ConstantFolding")
            .map_err(reason),
    }
}

impl OnnxModel {
    /// A stream through the model in these bytes. The library must be open. Thread: control. Can take
    /// a while.
    ///
    /// # Errors
    /// The runtime's reason, or the tensor that is not in the graph.
    pub fn new(model: &[u8], tensors: Tensors, constants: Constants) -> Result<Self, String> {
        // The runtime flushes denormals on the thread that opens a session, and leaves it so.
        let _keep = KeepFloatMode::new();
        let session = builder(constants)?
            .commit_from_memory(model)
            .map_err(|e| format!("ONNX Runtime cannot open the model: {}", reason(e)))?;
        let inputs = [&tensors.audio_in].into_iter().chain(tensors.states.iter().map(|s| &s.0));
        for t in inputs.chain(&tensors.parameters) {
            if !session.inputs().iter().any(|i| i.name() == t.name) {
                return Err(format!("the model has no input tensor '{}'", t.name));
            }
        }
        for t in [&tensors.audio_out].into_iter().chain(tensors.states.iter().map(|s| &s.1)) {
            if !session.outputs().iter().any(|o| o.name() == t.name) {
                return Err(format!("the model has no output tensor '{}'", t.name));
            }
        }
        let states = tensors.states.iter().map(|(t, _)| vec![0.0; t.len()]).collect();
        let running = Arc::new(Running(RunOptions::new().map_err(reason)?));
        Ok(Self { session, tensors, states, running })
    }
}

type Input<'a> = (Cow<'a, str>, SessionInputValue<'a>);

fn input<'a>(tensor: &'a Tensor, data: &'a [f32]) -> Result<Input<'a>, String> {
    let value = TensorRef::from_array_view((tensor.shape.as_slice(), data)).map_err(reason)?;
    Ok((Cow::Borrowed(tensor.name.as_str()), value.into()))
}

impl HopModel for OnnxModel {
    fn run(&mut self, audio: &[f32], output: &mut [f32], parameters: &[f32]) -> Result<(), String> {
        let t = &self.tensors;
        let mut inputs = Vec::with_capacity(1 + self.states.len() + parameters.len());
        inputs.push(input(&t.audio_in, audio)?);
        for ((tensor, _), state) in t.states.iter().zip(&self.states) {
            inputs.push(input(tensor, state)?);
        }
        for (tensor, value) in t.parameters.iter().zip(parameters) {
            inputs.push(input(tensor, std::slice::from_ref(value))?);
        }
        let options = &self.running.0;
        options.unterminate().map_err(reason)?; // a run before this one may have been stopped
        let made = self.session.run_with_options(inputs, options).map_err(reason)?;
        let copy = |tensor: &Tensor, to: &mut [f32]| {
            let value = made.get(&tensor.name).ok_or_else(|| format!("no output '{}'", tensor.name))?;
            let (_, data) = value.try_extract_tensor::<f32>().map_err(reason)?;
            if data.len() != to.len() {
                return Err(format!("output '{}' has {} values, not {}", tensor.name, data.len(), to.len()));
            }
            to.copy_from_slice(data);
            Ok(())
        };
        copy(&t.audio_out, output)?;
        t.states.iter().zip(&mut self.states).try_for_each(|((_, tensor), state)| copy(tensor, state))
    }

    fn stop(&self) -> Option<Arc<dyn Stop>> {
        Some(self.running.clone())
    }

    fn reset(&mut self) {
        self.states.iter_mut().for_each(|s| s.fill(0.0));
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        self.states.iter_mut().try_for_each(|s| io.f32s(s))
    }
}
