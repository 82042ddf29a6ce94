//! One native processor, used alone or as the pattern for an engine's slot.

use cspace_dsp::{self as dsp, Block, Info, Prepare, Smoothed, StateIo, registry};
use cspace_engine::hosted::{Hosted, HostedSpec};
use cspace_engine::{FADE_MS, FlushDenormals, all_finite};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray2, PyReadonlyArrayDyn};
use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::sync::{Arc, Mutex};

use crate::arrays;
use crate::errors::lock;
use crate::model::Model;

struct Inner {
    processor: Box<dyn dsp::Processor>,
    prepared: Option<Prepare>,
    /// Arrays as given, to build further copies from.
    arrays: Vec<Option<Vec<f32>>>,
    guard: Guard,
}

/// What an engine does for a slot, for a processor used alone: one that gives NaN or Inf is muted and
/// reset, and comes back within 10 ms.
struct Guard {
    faults: u64,
    heal: Smoothed,
}

impl Guard {
    fn new() -> Self {
        Self { faults: 0, heal: Smoothed::new(1.0) }
    }

    /// Runs the processor on a block of at most the prepared size.
    fn process(&mut self, processor: &mut dyn dsp::Processor, block: &mut Block<'_>, rate: f64) {
        processor.process(block);
        if !(0..block.channels()).all(|c| all_finite(block.channel(c))) {
            block.clear();
            processor.reset();
            self.faults += 1;
            self.heal.set(0.0, 0);
            self.heal.set(1.0, (FADE_MS * 1e-3 * rate).round() as usize);
        } else if self.heal.current() < 1.0 || self.heal.is_moving() {
            let mut end = self.heal.clone();
            for channel in block.channels_mut() {
                end = self.heal.clone();
                channel.iter_mut().for_each(|x| *x *= end.tick());
            }
            self.heal = end;
        }
    }
}

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct Processor {
    info: &'static Info,
    /// What it hosts, if it is a model.
    model: Option<Arc<HostedSpec>>,
    inner: Mutex<Inner>,
}

fn no_name(kind: &str, info: &Info, name: &str) -> PyErr {
    PyKeyError::new_err(format!("'{}' has no {kind} called '{name}'", info.name))
}

impl Processor {
    /// A new, unprepared processor with the same parameters and arrays.
    /// `live`: a device will drive it, so a model gets a thread of its own.
    pub fn build(&self, live: bool) -> PyResult<Box<dyn dsp::Processor>> {
        let inner = lock(&self.inner);
        let mut copy: Box<dyn dsp::Processor> = match &self.model {
            Some(spec) => Box::new(Hosted::new(spec.clone(), live)),
            None => registry::create(self.info.name)
                .ok_or_else(|| PyKeyError::new_err(format!("no processor called '{}'", self.info.name)))?,
        };
        for id in 0..self.info.params.len() {
            copy.set_param(id, inner.processor.param(id));
        }
        for (id, data) in inner.arrays.iter().enumerate() {
            if let Some(data) = data {
                copy.set_array(id, data);
            }
        }
        Ok(copy)
    }

    /// Whether it may only run offline unless it is built live.
    pub fn is_model(&self) -> bool {
        self.model.is_some()
    }

    fn ready(&self) -> PyResult<std::sync::MutexGuard<'_, Inner>> {
        let inner = lock(&self.inner);
        if inner.prepared.is_none() {
            return Err(PyRuntimeError::new_err(format!("'{}': call prepare() first", self.info.name)));
        }
        Ok(inner)
    }
}

#[pymethods]
impl Processor {
    #[new]
    fn new(name: &str) -> PyResult<Self> {
        let processor = registry::create(name)
            .ok_or_else(|| PyKeyError::new_err(format!("no processor called '{name}'")))?;
        let info = processor.info();
        let arrays = vec![None; info.arrays.len()];
        Ok(Self {
            info,
            model: None,
            inner: Mutex::new(Inner { processor, prepared: None, arrays, guard: Guard::new() }),
        })
    }

    #[staticmethod]
    fn of_model(model: &Model) -> Self {
        let processor = Box::new(Hosted::new(model.spec.clone(), false));
        let inner = Inner { processor, prepared: None, arrays: Vec::new(), guard: Guard::new() };
        Self { info: model.spec.info, model: Some(model.spec.clone()), inner: Mutex::new(inner) }
    }

    #[getter]
    pub fn name(&self) -> &'static str {
        self.info.name
    }

    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        crate::info::dict(py, self.info)
    }

    fn set(&self, name: &str, value: f32) -> PyResult<()> {
        let id = self.info.param_id(name).ok_or_else(|| no_name("parameter", self.info, name))?;
        if value.is_nan() {
            return Err(PyValueError::new_err(format!("'{name}': the value is not a number")));
        }
        lock(&self.inner).processor.set_param(id, value);
        Ok(())
    }

    fn get(&self, name: &str) -> PyResult<f64> {
        let id = self.info.param_id(name).ok_or_else(|| no_name("parameter", self.info, name))?;
        Ok(crate::info::decimal(lock(&self.inner).processor.param(id)))
    }

    fn set_array(&self, name: &str, data: PyReadonlyArrayDyn<'_, f32>) -> PyResult<()> {
        let id = self.info.array_id(name).ok_or_else(|| no_name("array", self.info, name))?;
        let data = arrays::flat(&data);
        if let Some(i) = data.iter().position(|v| !v.is_finite()) {
            return Err(PyValueError::new_err(format!("array '{name}': value {i} is {}", data[i])));
        }
        let mut inner = lock(&self.inner);
        if !inner.processor.set_array(id, &data) {
            let why = match (inner.prepared, self.info.arrays[id].live) {
                (Some(_), false) => "it takes effect in prepare; set it on a new processor".to_owned(),
                (Some(_), true) => {
                    format!("{} values are needed, not {}", inner.processor.array_len(id), data.len())
                }
                (None, _) => format!("{} values do not fit", data.len()),
            };
            return Err(PyValueError::new_err(format!("array '{name}' of '{}': {why}", self.info.name)));
        }
        inner.arrays[id] = Some(data);
        Ok(())
    }

    fn prepare(&self, py: Python<'_>, sample_rate: f64, max_block: usize, channels: usize) -> PyResult<()> {
        if !(8_000.0..=192_000.0).contains(&sample_rate) {
            return Err(PyValueError::new_err(format!(
                "sample rate {sample_rate} Hz is outside 8000 to 192000 Hz"
            )));
        }
        if max_block == 0 || channels == 0 {
            return Err(PyValueError::new_err("max_block and channels must be at least 1"));
        }
        let spec = Prepare { sample_rate, max_block, channels };
        py.detach(|| {
            let mut inner = lock(&self.inner);
            inner.prepared = None;
            inner.processor.prepare(&spec).map_err(|e| PyValueError::new_err(e.to_string()))?;
            inner.prepared = Some(spec);
            Ok(())
        })
    }

    fn process<'py>(
        &self,
        py: Python<'py>,
        audio: PyReadonlyArray2<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let spec = self.ready()?.prepared.ok_or_else(|| PyRuntimeError::new_err("not prepared"))?;
        let (mut x, frames) = arrays::planar(&audio, spec.channels)?;
        py.detach(|| {
            let mut inner = lock(&self.inner);
            let Inner { processor, guard, .. } = &mut *inner;
            let _flush = FlushDenormals::new();
            let mut all = Block::new(&mut x, frames.max(1), frames);
            for from in (0..frames).step_by(spec.max_block) {
                let mut block = all.slice(from, frames.min(from + spec.max_block));
                guard.process(&mut **processor, &mut block, spec.sample_rate);
            }
        });
        arrays::array(py, x, spec.channels, frames)
    }

    fn reset(&self) {
        let mut inner = lock(&self.inner);
        inner.processor.reset();
        inner.guard.heal = Smoothed::new(1.0);
    }

    #[getter]
    fn faults(&self) -> u64 {
        lock(&self.inner).guard.faults
    }

    #[getter]
    fn latency_samples(&self) -> usize {
        lock(&self.inner).processor.latency_samples()
    }

    #[getter]
    fn tail_samples(&self) -> usize {
        lock(&self.inner).processor.tail_samples()
    }

    fn tap<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let id = self.info.tap_id(name).ok_or_else(|| no_name("tap", self.info, name))?;
        let inner = self.ready()?;
        let mut out = vec![0.0; inner.processor.tap_len(id)];
        inner.processor.read_tap(id, &mut out);
        Ok(out.into_pyarray(py))
    }

    fn save_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let mut bytes = Vec::new();
        self.ready()?
            .processor
            .state(&mut StateIo::Save(&mut bytes))
            .map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn load_state(&self, state: &[u8]) -> PyResult<()> {
        let mut inner = self.ready()?;
        let mut io = StateIo::Load(state);
        let loaded = inner.processor.state(&mut io).and_then(|()| io.finish());
        loaded.map_err(|e| {
            inner.processor.reset(); // half a state is worse than none
            PyValueError::new_err(format!("'{}': {e}", self.info.name))
        })
    }

    fn __repr__(&self) -> String {
        format!("Processor('{}')", self.info.name)
    }
}
