//! ONNX models for the engine's workers, run by the shared library of the onnxruntime wheel.
//!
//! The library is opened at run time from the path that Python gives ([`open_library`]); there is no
//! search. A model comes as verified bytes with the names and shapes of its tensors; files are never
//! read here. Every stream has a session of its own: one thread, no spinning, denormals flushed.

mod session;

pub use session::{Constants, OnnxModel};

use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The library in use. One per program: ONNX Runtime keeps global state.
static LIBRARY: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Opens ONNX Runtime. The same path again does nothing. Thread: control.
///
/// # Errors
/// A sentence: the library cannot be opened, is too old, or another one is open already.
pub fn open_library(path: &Path) -> Result<(), String> {
    let mut open = LIBRARY.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match &*open {
        Some(at) if at == path => return Ok(()),
        Some(at) => {
            return Err(format!(
                "ONNX Runtime is open already from {}, not {}",
                at.display(),
                path.display()
            ));
        }
        None => {}
    }
    // A relative path would be looked for beside the interpreter.
    if !path.is_absolute() {
        return Err(format!("the path of ONNX Runtime must be absolute, not {}", path.display()));
    }
    ort::init_from(path)
        .map_err(|e| format!("ONNX Runtime cannot be opened: {e}"))?
        .with_telemetry(false)
        .commit();
    *open = Some(path.to_owned());
    Ok(())
}

/// An input or output of the graph, float32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// As the graph calls it.
    pub name: String,
    /// Every dimension.
    pub shape: Vec<usize>,
}

impl Tensor {
    /// Values in it.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tensors of a streaming model, as its manifest has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensors {
    /// One hop of audio, planar.
    pub audio_in: Tensor,
    /// As much.
    pub audio_out: Tensor,
    /// Pairs: what a run gives as the second is the next run's first.
    pub states: Vec<(Tensor, Tensor)>,
    /// One value each, in the order of the model's parameters.
    pub parameters: Vec<Tensor>,
}
