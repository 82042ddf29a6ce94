//! A verified model package as the engine hosts it.

use cspace_dsp::Info;
use cspace_engine::hosted::{self, HopModel, HostedSpec, ModelParameter};
use cspace_neural::{Constants, OnnxModel, Tensor, Tensors, open_library};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::errors::{lock, lock_py};
use crate::patience::{Slow, wait};

// What is taken from the manifest, by its attributes: cspace.modelmanifest.Manifest.

#[derive(FromPyObject)]
struct TensorEntry {
    name: String,
    shape: Vec<usize>,
}

#[derive(FromPyObject)]
struct StateEntry {
    input: String,
    output: String,
    shape: Vec<usize>,
}

#[derive(FromPyObject)]
struct ParameterEntry {
    name: String,
    input: String,
    shape: Vec<usize>,
    min: f32,
    max: f32,
    default: f32,
    unit: String,
    smooth_ms: f32,
    doc: String,
}

#[derive(FromPyObject)]
pub struct ManifestEntries {
    sample_rate: f64,
    hop: usize,
    channels: usize,
    latency_samples: usize,
    tail_samples: usize,
    audio_in: TensorEntry,
    audio_out: TensorEntry,
    states: Vec<StateEntry>,
    parameters: Vec<ParameterEntry>,
}

impl ManifestEntries {
    fn tensors(&self) -> Tensors {
        let tensor = |name: &str, shape: &[usize]| Tensor { name: name.to_owned(), shape: shape.to_vec() };
        let states = self.states.iter();
        Tensors {
            audio_in: tensor(&self.audio_in.name, &self.audio_in.shape),
            audio_out: tensor(&self.audio_out.name, &self.audio_out.shape),
            states: states.map(|s| (tensor(&s.input, &s.shape), tensor(&s.output, &s.shape))).collect(),
            parameters: self.parameters.iter().map(|p| tensor(&p.input, &p.shape)).collect(),
        }
    }

    fn parameters(&self) -> Vec<ModelParameter> {
        let one = |p: &ParameterEntry| ModelParameter {
            name: p.name.clone(),
            unit: p.unit.clone(),
            min: p.min,
            max: p.max,
            default: p.default,
            smooth_ms: p.smooth_ms,
            doc: p.doc.clone(),
        };
        self.parameters.iter().map(one).collect()
    }
}

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct Model {
    pub spec: Slow<Arc<HostedSpec>>,
}

#[pymethods]
impl Model {
    #[new]
    fn new(
        py: Python<'_>,
        library: PathBuf,
        kind: &str,
        doc: &str,
        manifest: ManifestEntries,
        model: Vec<u8>,
    ) -> PyResult<Self> {
        let tensors = manifest.tensors();
        let first: Arc<Mutex<Option<Box<dyn HopModel>>>> = Arc::default();
        let kept = first.clone();
        let model: Arc<[u8]> = model.into();
        let open = Arc::new(move |constants| -> Result<Box<dyn HopModel>, String> {
            open_library(&library)?;
            Ok(Box::new(OnnxModel::new(&model, tensors.clone(), constants)?))
        });
        let spec = |load| HostedSpec {
            info: hosted::info(kind, doc, &manifest.parameters()),
            sample_rate: manifest.sample_rate,
            hop: manifest.hop,
            channels: manifest.channels,
            latency: manifest.latency_samples,
            tail: manifest.tail_samples,
            load,
        };
        // Runs once with nothing computed beforehand: what depends on no input may take for ever, and can be
        // stopped there only. What was done in time then is done in time while the model is opened.
        let trial = open.clone();
        let trial = Arc::new(spec(Box::new(move || trial(Constants::Kept))));
        wait(py, move || hosted::open(&trial, 1))?.map_err(PyValueError::new_err)?;
        let load = move || lock(&kept).take().map_or_else(|| open(Constants::Folded), Ok);
        let spec = Arc::new(spec(Box::new(load)));
        // Opened and run now, so that a model that cannot run is refused here; the first stream uses it.
        let opening = spec.clone();
        let opened = wait(py, move || hosted::open(&opening, 1))?.map_err(PyValueError::new_err)?;
        *lock_py(py, &first) = opened.into_iter().next();
        Ok(Self { spec: Slow::new(spec) })
    }

    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        crate::info::dict(py, self.spec.info)
    }
}

/// See the type stub.
#[pyfunction]
pub fn hosted_info<'py>(py: Python<'py>, kind: &str, doc: &str) -> PyResult<Bound<'py, PyDict>> {
    let info = Info { name: "", doc: "", ..*hosted::info("", "", &[]) };
    let d = crate::info::dict(py, &info)?;
    d.set_item("name", kind)?;
    d.set_item("doc", doc)?;
    Ok(d)
}

/// See the type stub.
#[pyfunction]
pub fn hosted_latency(hop: usize, block: usize, spare: usize) -> PyResult<usize> {
    if hop == 0 || block == 0 {
        return Err(PyValueError::new_err("hop and block must be at least 1 sample"));
    }
    Ok(hosted::latency(hop, block, spare))
}
