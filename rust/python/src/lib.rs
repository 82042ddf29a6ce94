//! `cspace._native`: the compiled core as Python sees it. Array checks, GIL release, exceptions;
//! no signal code lives here. The types are in `src/cspace/_native.pyi`.

use pyo3::prelude::*;
use std::time::Duration;

mod arrays;
mod bank;
mod engine;
mod errors;
mod esn;
mod fileport;
mod float_mode;
mod info;
mod inline;
mod manifold;
mod model;
mod patience;
mod processor;
mod statistics;
mod stream;
mod tap;
mod worker;

/// How long the end of a program waits for models to end.
const FAREWELL: Duration = Duration::from_secs(3);

/// Called by `atexit`: models stop before their library is taken down.
#[pyfunction(name = "_end")]
fn end(py: Python<'_>) -> bool {
    py.detach(|| cspace_engine::end(FAREWELL))
}

#[pymodule]
fn _native(m: &Bound<'_, PyModule>) -> PyResult<()> {
    cspace_engine::keep_panics_quiet();
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    let end = wrap_pyfunction!(end, m)?;
    m.py().import("atexit")?.call_method1("register", (end,))?;
    m.add_function(wrap_pyfunction!(info::processors, m)?)?;
    m.add_function(wrap_pyfunction!(info::detected_simd, m)?)?;
    m.add_function(wrap_pyfunction!(info::eq_response_db, m)?)?;
    m.add_function(wrap_pyfunction!(bank::bank_poles, m)?)?;
    m.add_function(wrap_pyfunction!(float_mode::keep_float_mode, m)?)?;
    m.add_function(wrap_pyfunction!(model::hosted_info, m)?)?;
    m.add_function(wrap_pyfunction!(model::hosted_latency, m)?)?;
    m.add_class::<model::Model>()?;
    m.add_class::<processor::Processor>()?;
    m.add_class::<engine::Engine>()?;
    m.add_class::<stream::PacedStream>()?;
    m.add_class::<fileport::Player>()?;
    m.add_class::<fileport::Recorder>()?;
    m.add_class::<bank::OscillatorBank>()?;
    m.add_class::<bank::LookaheadBank>()?;
    m.add_class::<esn::EsnAnalysis>()?;
    m.add_class::<manifold::ManifoldStepper>()?;
    m.add_class::<tap::Tap>()?;
    m.add_class::<worker::Worker>()?;
    Ok(())
}
