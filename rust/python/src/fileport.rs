//! Files at the ends of a chain that a device drives.

use cspace_engine::{PlayerEnd, RecorderEnd};
use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Mutex;

use crate::arrays;
use crate::errors::lock;

/// Refuses rings that make no sense.
pub fn check_ring(seconds: f64) -> PyResult<()> {
    if (0.01..=600.0).contains(&seconds) {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("ring_seconds {seconds} is outside 0.01 to 600")))
}

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct Player {
    pub slot: u32,
    pub end: Mutex<PlayerEnd>,
}

#[pymethods]
impl Player {
    #[getter]
    fn slot(&self) -> u32 {
        self.slot
    }

    fn feed(&self, audio: PyReadonlyArray2<'_, f32>) -> PyResult<usize> {
        let mut end = lock(&self.end);
        let channels = end.channels();
        let (x, frames) = arrays::planar(&audio, channels)?;
        Ok(end.feed(arrays::interleaved(&x, channels, frames)))
    }

    fn end(&self) {
        lock(&self.end).end();
    }

    #[getter]
    fn played(&self) -> u64 {
        lock(&self.end).played()
    }

    #[getter]
    fn finished(&self) -> bool {
        lock(&self.end).finished()
    }
}

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct Recorder {
    pub slot: u32,
    pub end: Mutex<RecorderEnd>,
}

#[pymethods]
impl Recorder {
    #[getter]
    fn slot(&self) -> u32 {
        self.slot
    }

    fn drain<'py>(&self, py: Python<'py>, max_frames: usize) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let mut end = lock(&self.end);
        let out = end.drain(max_frames);
        arrays::array_of_interleaved(py, &out, end.channels())
    }

    #[getter]
    fn dropped(&self) -> u64 {
        lock(&self.end).dropped()
    }
}
