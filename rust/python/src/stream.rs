//! The file and null devices: an engine at real-time pace on a native thread.

use cspace_engine::paced::Paced;
use numpy::{PyArray2, PyReadonlyArray2};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use std::sync::Mutex;

use crate::arrays;
use crate::engine::Engine;
use crate::errors::lock;
use crate::fileport::check_ring;

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct PacedStream {
    engine: Py<Engine>,
    channels: usize,
    paced: Mutex<Paced>,
}

impl Drop for PacedStream {
    /// Stops the clock, and the engine has its audio half again. The audio thread never wants the
    /// GIL, so that joining it here cannot lock up; it ends within the block it is at.
    fn drop(&mut self) {
        if let Some(driver) = lock(&self.paced).stop() {
            self.engine.get().give_back(Box::new(driver));
        }
    }
}

#[pymethods]
impl PacedStream {
    #[new]
    #[pyo3(signature = (engine, block, ring_seconds = 10.0, null = false))]
    fn new(
        py: Python<'_>,
        engine: Py<Engine>,
        block: usize,
        ring_seconds: f64,
        null: bool,
    ) -> PyResult<Self> {
        if !(1..=65_536).contains(&block) {
            return Err(PyValueError::new_err(format!("block {block} is outside 1 to 65536 samples")));
        }
        let e = engine.get();
        check_ring(ring_seconds, e.sample_rate(), e.channels())?;
        let driver = py.detach(|| e.lend())?;
        let paced = Mutex::new(Paced::new(*driver, block, ring_seconds, null));
        Ok(Self { channels: e.channels(), engine, paced })
    }

    fn feed(&self, audio: PyReadonlyArray2<'_, f32>) -> PyResult<usize> {
        let (x, frames) = arrays::planar(&audio, self.channels)?;
        Ok(lock(&self.paced).feed(arrays::interleaved(&x, self.channels, frames)))
    }

    fn end(&self) {
        lock(&self.paced).end();
    }

    fn drain<'py>(&self, py: Python<'py>, max_frames: usize) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let out = lock(&self.paced).drain(max_frames);
        arrays::array_of_interleaved(py, &out, self.channels)
    }

    fn start(&self) -> PyResult<()> {
        lock(&self.paced)
            .start()
            .map_err(|e| PyRuntimeError::new_err(format!("no thread for the audio: {e}")))
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| {
            if let Some(driver) = lock(&self.paced).stop() {
                self.engine.get().give_back(Box::new(driver));
            }
        });
    }

    #[getter]
    fn finished(&self) -> bool {
        lock(&self.paced).finished()
    }

    #[getter]
    fn stalls(&self) -> u64 {
        lock(&self.paced).stalls()
    }

    #[getter]
    fn late_starts(&self) -> u64 {
        lock(&self.paced).late_starts()
    }
}
