//! Files at the ends of a chain that a device drives.

use cspace_engine::{PlayerEnd, RecorderEnd};
use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Mutex;

use crate::arrays;
use crate::errors::lock_py;

/// Samples of all channels that a ring can hold: 1 GiB.
const MAX_RING: f64 = (1 << 28) as f64;

/// Refuses rings that make no sense, and those there is no memory for: asking the system for them would end
/// the program.
pub fn check_ring(seconds: f64, sample_rate: f64, channels: usize) -> PyResult<()> {
    if !(0.01..=600.0).contains(&seconds) {
        return Err(PyValueError::new_err(format!("ring_seconds {seconds} is outside 0.01 to 600")));
    }
    let most = MAX_RING / (sample_rate * channels as f64);
    if seconds > most {
        return Err(PyValueError::new_err(format!(
            "ring_seconds {seconds} takes more than 1 GiB for {channels} channels at {sample_rate} Hz; use {most:.0} or \
             less"
        )));
    }
    Ok(())
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

    fn feed(&self, py: Python<'_>, audio: PyReadonlyArray2<'_, f32>) -> PyResult<usize> {
        let mut end = lock_py(py, &self.end);
        let channels = end.channels();
        let (x, frames) = arrays::planar(&audio, channels)?;
        Ok(end.feed(arrays::interleaved(&x, channels, frames)))
    }

    fn end(&self, py: Python<'_>) {
        lock_py(py, &self.end).end();
    }

    #[getter]
    fn played(&self, py: Python<'_>) -> u64 {
        lock_py(py, &self.end).played()
    }

    #[getter]
    fn finished(&self, py: Python<'_>) -> bool {
        lock_py(py, &self.end).finished()
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
        let (out, channels) = {
            let mut end = lock_py(py, &self.end);
            (end.drain(max_frames), end.channels())
        };
        arrays::array_of_interleaved(py, &out, channels)
    }

    #[getter]
    fn dropped(&self, py: Python<'_>) -> u64 {
        lock_py(py, &self.end).dropped()
    }
}
