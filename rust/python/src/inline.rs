//! A Python processor inside the block loop, for offline rendering only: it waits for the GIL,
//! which an audio thread never may, so an engine that has one refuses to be driven by a device.

use cspace_dsp::{Block, Info, Prepare, PrepareError, Processor, StateError, StateIo};
use numpy::PyReadonlyArray2;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex};

use crate::arrays;
use crate::errors::lock;

static INFO: Info =
    Info { name: "python", doc: "A Python processor, offline only.", params: &[], taps: &[], arrays: &[] };

/// The first exception a Python processor raised, until `Engine.process` raises it again.
pub type FirstError = Arc<Mutex<Option<PyErr>>>;

/// Calls Python for every block.
pub struct Inline {
    pub call: Py<PyAny>,
    pub reset: Py<PyAny>,
    pub latency: usize,
    pub tail: usize,
    pub error: FirstError,
    /// Keeps the sound as it is, and puts it back, if the object can.
    pub keeper: Option<(Py<PyAny>, Py<PyAny>)>,
}

impl Inline {
    fn run(&self, py: Python<'_>, block: &mut Block<'_>) -> PyResult<()> {
        let (channels, frames) = (block.channels(), block.frames());
        let planar = (0..channels).flat_map(|c| block.channel(c).to_vec()).collect();
        let out = self.call.bind(py).call1((arrays::array(py, planar, channels, frames)?,))?;
        let out: PyReadonlyArray2<'_, f32> = out.extract()?;
        let (out, got) = arrays::planar(&out, channels)?;
        if got != frames {
            return Err(PyValueError::new_err(format!("a processor gave {got} frames back for {frames}")));
        }
        for c in 0..channels {
            block.channel_mut(c).copy_from_slice(&out[c * frames..][..frames]);
        }
        Ok(())
    }

    fn keep(&self, error: PyErr) {
        lock(&self.error).get_or_insert(error);
    }
}

impl Processor for Inline {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn prepare(&mut self, _spec: &Prepare) -> Result<(), PrepareError> {
        Ok(())
    }

    fn process(&mut self, block: &mut Block<'_>) {
        Python::attach(|py| self.run(py, block).unwrap_or_else(|e| self.keep(e)));
    }

    fn reset(&mut self) {
        Python::attach(|py| self.reset.call0(py).map(drop).unwrap_or_else(|e| self.keep(e)));
    }

    fn latency_samples(&self) -> usize {
        self.latency
    }

    fn tail_samples(&self) -> usize {
        self.tail
    }

    fn set_param(&mut self, _id: usize, _value: f32) {}

    fn param(&self, _id: usize) -> f32 {
        f32::NAN
    }

    /// The Python object itself keeps what is asked for last.
    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        let Some((keep, put_back)) = &self.keeper else { return Err(StateError::Mismatch) };
        let call = if matches!(io, StateIo::Save(_)) { keep } else { put_back };
        Python::attach(|py| {
            call.call0(py).map(drop).map_err(|e| {
                self.keep(e);
                StateError::Mismatch
            })
        })
    }
}
