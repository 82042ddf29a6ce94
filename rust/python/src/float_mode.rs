//! The floating-point mode of a Python thread, kept safe from foreign code.

use cspace_engine::KeepFloatMode;
use pyo3::prelude::*;

/// See the type stub.
#[pyfunction]
pub fn keep_float_mode<'py>(call: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let _keep = KeepFloatMode::new();
    call.call0()
}
