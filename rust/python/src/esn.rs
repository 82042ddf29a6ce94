//! The echo state network for analysis: states out of sound.

use cspace_dsp::esn::{Csr, Esn};
use cspace_dsp::{Prepare, Processor};
use cspace_engine::FlushDenormals;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Mutex;

use crate::arrays;
use crate::errors::{lock, lock_py};

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct EsnAnalysis {
    esn: Mutex<Esn>,
    nodes: usize,
}

#[pymethods]
impl EsnAnalysis {
    #[new]
    #[pyo3(signature = (nodes = 64, density = 0.1, spectral_radius = 0.99, seed = 42, leak_min = 1e-4, leak_max = 1.0))]
    fn new(
        py: Python<'_>,
        nodes: u32,
        density: f32,
        spectral_radius: f32,
        seed: u32,
        leak_min: f32,
        leak_max: f32,
    ) -> PyResult<Self> {
        let mut esn = Esn::new();
        for (name, value) in [
            ("nodes", nodes as f32),
            ("density", density),
            ("spectral_radius", spectral_radius),
            ("seed", seed as f32),
            ("leak_min", leak_min),
            ("leak_max", leak_max),
        ] {
            let id = esn.info().param_id(name).expect("a parameter of esn");
            let spec = &esn.info().params[id];
            // Clamping would give another network than the one asked for.
            if !(spec.min..=spec.max).contains(&value) {
                return Err(PyValueError::new_err(format!(
                    "{name} is {value}; it is {} to {}",
                    spec.min, spec.max
                )));
            }
            esn.set_param(id, value);
        }
        // The equations know no sample rate, and no block is ever processed.
        let spec = Prepare { sample_rate: 48_000.0, max_block: 1, channels: 1 };
        py.detach(|| esn.prepare(&spec)).map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(Self { nodes: esn.w_in().len(), esn: Mutex::new(esn) })
    }

    fn __len__(&self) -> usize {
        self.nodes
    }

    #[getter]
    fn achieved_radius(&self, py: Python<'_>) -> f64 {
        lock_py(py, &self.esn).achieved_radius().value
    }

    #[getter]
    fn w<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let dense = lock_py(py, &self.esn).w().map_or(Vec::new(), Csr::to_dense);
        arrays::array(py, dense, self.nodes, self.nodes)
    }

    #[getter]
    fn w_in<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        lock_py(py, &self.esn).w_in().to_vec().into_pyarray(py)
    }

    #[getter]
    fn leak<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<f32>> {
        lock_py(py, &self.esn).leak().to_vec().into_pyarray(py)
    }

    fn process<'py>(
        &self,
        py: Python<'py>,
        audio: PyReadonlyArray1<'_, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let x = audio.as_array().to_vec();
        let values = py.detach(|| {
            let _flush = FlushDenormals::new();
            let mut values = vec![0.0; x.len() * self.nodes];
            lock(&self.esn).run_states(&x, &mut values);
            values
        });
        arrays::array(py, values, x.len(), self.nodes)
    }

    fn set_state(&self, py: Python<'_>, state: PyReadonlyArray1<'_, f32>) -> PyResult<()> {
        let state = state.as_array().to_vec();
        if state.len() != self.nodes || !state.iter().all(|v| v.abs() <= 1.0) {
            return Err(PyValueError::new_err(format!(
                "a state is {} numbers from -1 to 1, one per node; got {}",
                self.nodes,
                state.len()
            )));
        }
        lock_py(py, &self.esn).set_state(&state);
        Ok(())
    }

    fn reset(&self, py: Python<'_>) {
        lock_py(py, &self.esn).reset();
    }
}
