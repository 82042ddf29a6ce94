//! A subscription to a tap.

use cspace_engine::TapReader;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::prelude::*;
use std::sync::Mutex;

use crate::arrays;
use crate::errors::lock_py;

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct Tap(pub Mutex<TapReader>);

type Frames<'py> = (Bound<'py, PyArray1<u64>>, Bound<'py, PyArray2<f32>>);

#[pymethods]
impl Tap {
    #[getter]
    fn width(&self, py: Python<'_>) -> usize {
        lock_py(py, &self.0).width()
    }

    #[getter]
    fn hop(&self, py: Python<'_>) -> u64 {
        lock_py(py, &self.0).hop()
    }

    #[getter]
    fn dropped(&self, py: Python<'_>) -> u64 {
        lock_py(py, &self.0).dropped()
    }

    fn read<'py>(&self, py: Python<'py>) -> PyResult<Frames<'py>> {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let width = {
            let mut reader = lock_py(py, &self.0);
            reader.read(&mut times, &mut values);
            reader.width()
        };
        let frames = times.len();
        Ok((times.into_pyarray(py), arrays::array(py, values, frames, width)?))
    }
}
