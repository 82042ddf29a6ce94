//! The compiled core of the Python package: exports only.

use pyo3::prelude::*;

/// The module `cspace._native`.
#[pymodule]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))
}
