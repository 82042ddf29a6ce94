//! The worker's half of a slot served by a Python thread.

use cspace_engine::WorkerEnd;
use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::arrays;
use crate::errors::{lock, lock_py};

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct Worker {
    slot: u32,
    hop: usize,
    channels: usize,
    latency: usize,
    closed: Arc<AtomicBool>,
    end: Mutex<WorkerEnd>,
}

impl Worker {
    pub fn new(slot: u32, end: WorkerEnd) -> Self {
        let (hop, channels, latency) = (end.hop(), end.channels(), end.latency_samples());
        Self { slot, hop, channels, latency, closed: end.closed(), end: Mutex::new(end) }
    }
}

#[pymethods]
impl Worker {
    #[getter]
    fn slot(&self) -> u32 {
        self.slot
    }

    #[getter]
    fn hop(&self) -> usize {
        self.hop
    }

    #[getter]
    fn channels(&self) -> usize {
        self.channels
    }

    #[getter]
    fn latency_samples(&self) -> usize {
        self.latency
    }

    #[getter]
    fn closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn pull<'py>(&self, py: Python<'py>, timeout_s: f64) -> PyResult<Option<Bound<'py, PyArray2<f32>>>> {
        let timeout = Duration::try_from_secs_f64(timeout_s)
            .map_err(|_| PyValueError::new_err(format!("timeout_s {timeout_s} is not a duration")))?;
        let got = py.detach(|| {
            let mut out = vec![0.0; self.channels * self.hop];
            lock(&self.end).pull(&mut out, timeout).then_some(out)
        });
        got.map(|out| arrays::array(py, out, self.channels, self.hop)).transpose()
    }

    fn push(&self, py: Python<'_>, audio: PyReadonlyArray2<'_, f32>) -> PyResult<()> {
        let (x, frames) = arrays::planar(&audio, self.channels)?;
        if frames != self.hop {
            return Err(PyValueError::new_err(format!(
                "{frames} frames given back; the hop is {}",
                self.hop
            )));
        }
        let mut end = lock_py(py, &self.end);
        if end.push(&x) || end.is_closed() {
            Ok(())
        } else {
            Err(PyRuntimeError::new_err(
                "the audio side has not read earlier results: is the stream running?",
            ))
        }
    }
}
