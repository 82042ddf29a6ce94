//! The registry as Python dictionaries.

use cspace_dsp::{Info, ParamSpec, Scale, eq, registry, simd::Level};
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::collections::HashMap;

fn param<'py>(py: Python<'py>, p: &ParamSpec) -> PyResult<Bound<'py, PyDict>> {
    let (scale, choices): (&str, &[&str]) = match p.scale {
        Scale::Linear => ("linear", &[]),
        Scale::Log => ("log", &[]),
        Scale::Int => ("int", &[]),
        Scale::Toggle => ("toggle", &[]),
        Scale::Choice(names) => ("choice", names),
    };
    let d = PyDict::new(py);
    d.set_item("name", p.name)?;
    d.set_item("unit", p.unit)?;
    d.set_item("min", decimal(p.min))?;
    d.set_item("max", decimal(p.max))?;
    d.set_item("default", decimal(p.default))?;
    d.set_item("scale", scale)?;
    d.set_item("choices", choices)?;
    d.set_item("smooth_ms", decimal(p.smooth_ms))?;
    d.set_item("setup", p.setup)?;
    d.set_item("doc", p.doc)?;
    Ok(d)
}

/// The float64 that people would write for this float32: 0.1, not 0.10000000149.
pub fn decimal(v: f32) -> f64 {
    v.to_string().parse().unwrap_or(f64::from(v))
}

/// What a processor is, as a dictionary.
pub fn dict<'py>(py: Python<'py>, info: &Info) -> PyResult<Bound<'py, PyDict>> {
    let d = PyDict::new(py);
    d.set_item("name", info.name)?;
    d.set_item("doc", info.doc)?;
    let params: Vec<_> = info.params.iter().map(|p| param(py, p)).collect::<PyResult<_>>()?;
    d.set_item("params", PyList::new(py, params)?)?;
    let taps = PyList::empty(py);
    for t in info.taps {
        let item = PyDict::new(py);
        item.set_item("name", t.name)?;
        item.set_item("doc", t.doc)?;
        taps.append(item)?;
    }
    d.set_item("taps", taps)?;
    let arrays = PyList::empty(py);
    for a in info.arrays {
        let item = PyDict::new(py);
        item.set_item("name", a.name)?;
        item.set_item("live", a.live)?;
        item.set_item("doc", a.doc)?;
        arrays.append(item)?;
    }
    d.set_item("arrays", arrays)?;
    Ok(d)
}

/// All native processors, in the order shown to people.
#[pyfunction]
pub fn processors(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    registry::all().map(|info| dict(py, info)).collect()
}

/// The instruction set the inner loops run with: "avx2" or "plain".
#[pyfunction]
pub fn detected_simd() -> &'static str {
    match Level::detect() {
        Level::Plain => "plain",
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) => "avx2",
    }
}

/// The magnitude of the equaliser's true transfer function, output gain included, in dB, at each frequency.
#[pyfunction]
pub fn eq_response_db<'py>(
    py: Python<'py>,
    params: HashMap<String, f32>,
    freqs_hz: PyReadonlyArray1<'py, f64>,
    sample_rate: f64,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let info = &eq::INFO;
    let mut values: Vec<f32> = info.params.iter().map(|p| p.default).collect();
    for (name, value) in params {
        let id = info
            .param_id(&name)
            .ok_or_else(|| PyKeyError::new_err(format!("'eq' has no parameter called '{name}'")))?;
        values[id] = info.params[id].clamp(value);
    }
    let wrong = || PyKeyError::new_err("eq: wrong number of parameters");
    let (curve, output) = values.split_first_chunk().ok_or_else(wrong)?;
    let output = f64::from(*output.first().ok_or_else(wrong)?);
    let freqs: Vec<f64> = freqs_hz.as_array().to_vec();
    let mut db = eq::response_db(curve, &freqs, sample_rate);
    db.iter_mut().for_each(|v| *v += output);
    Ok(db.into_pyarray(py))
}
