//! The worker's half of a slot served by a Python thread.

use cspace_engine::WorkerEnd;
use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::sync::Mutex;
use std::time::Duration;

use crate::arrays;
use crate::errors::lock;

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct Worker {
    pub slot: u32,
    pub end: Mutex<WorkerEnd>,
}

#[pymethods]
impl Worker {
    #[getter]
    fn slot(&self) -> u32 {
        self.slot
    }

    #[getter]
    fn hop(&self) -> usize {
        lock(&self.end).hop()
    }

    #[getter]
    fn channels(&self) -> usize {
        lock(&self.end).channels()
    }

    #[getter]
    fn latency_samples(&self) -> usize {
        lock(&self.end).latency_samples()
    }

    #[getter]
    fn closed(&self) -> bool {
        lock(&self.end).is_closed()
    }

    fn pull<'py>(&self, py: Python<'py>, timeout_s: f64) -> PyResult<Option<Bound<'py, PyArray2<f32>>>> {
        let timeout = Duration::try_from_secs_f64(timeout_s)
            .map_err(|_| PyValueError::new_err(format!("timeout_s {timeout_s} is not a duration")))?;
        let (got, channels, hop) = py.detach(|| {
            let mut end = lock(&self.end);
            let (channels, hop) = (end.channels(), end.hop());
            let mut out = vec![0.0; channels * hop];
            (end.pull(&mut out, timeout).then_some(out), channels, hop)
        });
        got.map(|out| arrays::array(py, out, channels, hop)).transpose()
    }

    fn push(&self, audio: PyReadonlyArray2<'_, f32>) -> PyResult<()> {
        let mut end = lock(&self.end);
        let (x, frames) = arrays::planar(&audio, end.channels())?;
        if frames != end.hop() {
            return Err(PyValueError::new_err(format!(
                "{frames} frames given back; the hop is {}",
                end.hop()
            )));
        }
        if end.push(&x) || end.is_closed() {
            Ok(())
        } else {
            Err(PyRuntimeError::new_err(
                "the audio side has not read earlier results: is the stream running?",
            ))
        }
    }
}
