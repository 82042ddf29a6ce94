//! The music manifold, stepped: spec and weights in, states and frames out.

use cspace_dsp::manifold::{
    Attention, Dynamics, EncoderKind, Manifold, MemoryKind, Spec, StepError, Tensors,
};
use cspace_engine::FlushDenormals;
use numpy::{PyArray2, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Mutex;

use crate::arrays;
use crate::errors::{lock, lock_py};

type Rows<'py> = PyResult<Bound<'py, PyArray2<f32>>>;

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct ManifoldStepper {
    model: Mutex<Manifold>,
    channels: usize,
    latent: usize,
    history_frames: usize,
}

fn wrong(text: impl ToString) -> PyErr {
    PyValueError::new_err(text.to_string())
}

fn entry<'py, T: for<'a> FromPyObject<'a, 'py>>(spec: &Bound<'py, PyDict>, key: &str) -> PyResult<T> {
    let value = spec.get_item(key)?.ok_or_else(|| wrong(format!("the spec has no {key}")))?;
    let shown = value.to_string();
    value.extract().map_err(|_| wrong(format!("{key} is {shown}, which it cannot be")))
}

/// One of several words.
fn choice<T: Copy>(spec: &Bound<'_, PyDict>, key: &str, all: &[(&str, T)]) -> PyResult<T> {
    let word: String = entry(spec, key)?;
    all.iter().find(|(name, _)| *name == word).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        wrong(format!("{key} is {word:?}; it can be {}", names.join(", ")))
    })
}

fn read_spec(spec: &Bound<'_, PyDict>, history_frames: usize, predicts: bool) -> PyResult<Spec> {
    let rotation: String = entry(spec, "rotation")?;
    if rotation != "none" && rotation != "static" {
        return Err(wrong(format!(
            "rotation is {rotation:?}, which is known after 16 frames only; one frame at a time goes with none or \
             static"
        )));
    }
    Ok(Spec {
        channels: entry(spec, "channels")?,
        latent: entry(spec, "latent")?,
        encoder: choice(
            spec,
            "encoder",
            &[("residual", EncoderKind::Residual), ("original", EncoderKind::Original)],
        )?,
        width: entry(spec, "width")?,
        layers: entry(spec, "layers")?,
        sphere: choice(spec, "space", &[("euclid", false), ("sphere", true), ("sampled", true)])?,
        static_rotation: rotation == "static",
        dynamics: choice(
            spec,
            "dynamics",
            &[
                ("identity", Dynamics::Identity),
                ("residual", Dynamics::Residual),
                ("memory", Dynamics::Memory),
                ("kuramoto", Dynamics::Kuramoto),
                ("full", Dynamics::Full),
                ("rotor", Dynamics::Rotor),
            ],
        )?,
        memory: choice(
            spec,
            "memory",
            &[("free", MemoryKind::Free), ("fractional", MemoryKind::Fractional), ("both", MemoryKind::Both)],
        )?,
        memory_taps: entry(spec, "memory_taps")?,
        gammas: entry::<Vec<f64>>(spec, "gammas")?.len(),
        attention: choice(
            spec,
            "attention",
            &[("sakaguchi", Attention::Sakaguchi), ("kuramoto", Attention::Kuramoto)],
        )?,
        divide_by_count: entry(spec, "divide_by_count")?,
        substeps: entry(spec, "substeps")?,
        decoder_width: entry(spec, "decoder_width")?,
        history_frames,
        predicts,
    })
}

fn read_tensors(tensors: &Bound<'_, PyDict>) -> PyResult<Tensors> {
    let mut out = Tensors::default();
    for (name, data) in tensors {
        let name: String = name.extract().map_err(|_| wrong("the names of tensors are texts"))?;
        let data: PyReadonlyArrayDyn<'_, f32> =
            data.extract().map_err(|_| wrong(format!("tensor {name} is no float32 array")))?;
        out.insert(&name, data.shape(), arrays::flat(&data)).map_err(wrong)?;
    }
    Ok(out)
}

/// The error of a row, which it names.
fn at(row: usize) -> impl Fn(StepError) -> PyErr {
    move |e| wrong(format!("frame {row}: {e}"))
}

impl ManifoldStepper {
    /// Runs `each` on every row of `x`, which must have `width` columns; `out_width` values come of each.
    fn rows<'py>(
        &self,
        py: Python<'py>,
        x: &PyReadonlyArray2<'_, f32>,
        [width, out_width]: [usize; 2],
        each: impl Fn(&mut Manifold, usize, &[f32], &mut [f32]) -> Result<(), StepError> + Send + Sync,
    ) -> Rows<'py> {
        let view = x.as_array();
        let (count, has) = view.dim();
        if has != width {
            return Err(wrong(format!(
                "an array of shape ({count}, {has}) came; (count, {width}) is needed"
            )));
        }
        let x: Vec<f32> = view.iter().copied().collect();
        let out = py.detach(|| -> PyResult<Vec<f32>> {
            let _flush = FlushDenormals::new();
            let model = &mut *lock(&self.model);
            let mut out = vec![0.0; count * out_width];
            for (t, (x, y)) in x.chunks_exact(width).zip(out.chunks_exact_mut(out_width)).enumerate() {
                each(model, t, x, y).map_err(at(t))?;
            }
            Ok(out)
        })?;
        arrays::array(py, out, count, out_width)
    }
}

#[pymethods]
impl ManifoldStepper {
    #[new]
    #[pyo3(signature = (spec, tensors, history_frames = 128, predicts = true))]
    fn new(
        spec: &Bound<'_, PyDict>,
        tensors: &Bound<'_, PyDict>,
        history_frames: usize,
        predicts: bool,
    ) -> PyResult<Self> {
        let spec = read_spec(spec, history_frames, predicts)?;
        let model = Manifold::new(&spec, &read_tensors(tensors)?).map_err(wrong)?;
        Ok(Self { channels: spec.channels, latent: spec.latent, history_frames, model: Mutex::new(model) })
    }

    #[getter]
    fn channels(&self) -> usize {
        self.channels
    }

    #[getter]
    fn latent(&self) -> usize {
        self.latent
    }

    #[getter]
    fn history_frames(&self) -> usize {
        self.history_frames
    }

    fn push<'py>(&self, py: Python<'py>, frames: PyReadonlyArray2<'_, f32>) -> Rows<'py> {
        self.rows(py, &frames, [self.channels, self.latent], |m, _, x, y| m.push(x, y))
    }

    fn place<'py>(&self, py: Python<'py>, states: PyReadonlyArray2<'_, f32>) -> PyResult<()> {
        self.rows(py, &states, [self.latent, 1], |m, _, x, _| m.place(x)).map(|_| ())
    }

    fn ahead<'py>(&self, py: Python<'py>) -> Rows<'py> {
        let mut z = vec![0.0; self.latent];
        py.detach(|| lock(&self.model).ahead(&mut z)).map_err(wrong)?;
        arrays::array(py, z, 1, self.latent)
    }

    fn roll<'py>(&self, py: Python<'py>, count: usize) -> Rows<'py> {
        let out = py.detach(|| -> PyResult<Vec<f32>> {
            let _flush = FlushDenormals::new();
            let model = &mut *lock(&self.model);
            let mut out = vec![0.0; count * self.latent];
            for (t, z) in out.chunks_exact_mut(self.latent).enumerate() {
                model.roll(z).map_err(at(t))?;
            }
            Ok(out)
        })?;
        arrays::array(py, out, count, self.latent)
    }

    fn decode<'py>(&self, py: Python<'py>, states: PyReadonlyArray2<'_, f32>) -> Rows<'py> {
        self.rows(py, &states, [self.latent, self.channels], |m, _, x, y| m.decode(x, y))
    }

    fn step<'py>(
        &self,
        py: Python<'py>,
        frames: PyReadonlyArray2<'_, f32>,
        lost: PyReadonlyArray1<'_, bool>,
    ) -> Rows<'py> {
        let lost = lost.as_array().to_vec();
        let count = frames.as_array().dim().0;
        if lost.len() != count {
            return Err(wrong(format!(
                "{} flags of lost frames for {count} frames; one of each is needed",
                lost.len()
            )));
        }
        self.rows(py, &frames, [self.channels, self.channels], |m, t, x, y| {
            m.step((!lost[t]).then_some(x), y)
        })
    }

    fn reset(&self, py: Python<'_>) {
        lock_py(py, &self.model).reset();
    }
}
