//! One native processor, used alone or as the pattern for an engine's slot.

use cspace_dsp::{self as dsp, Block, Info, Prepare, Smoothed, StateIo, registry};
use cspace_engine::hosted::{Hosted, HostedSpec, WorkerShared};
use cspace_engine::{FADE_MS, FlushDenormals, all_finite, reaper};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray2, PyReadonlyArrayDyn};
use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::arrays;
use crate::errors::{guarded, lock, lock_py};
use crate::model::Model;
use crate::patience::{Slow, wait};

/// More is a slip, and there is no memory for it.
const MAX_BLOCK: usize = 1 << 20;
const MAX_CHANNELS: usize = 64;

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
            self.heal.scale(block);
        }
    }
}

/// How it is freed: a model may take long.
enum Inside {
    Quick(Mutex<Inner>),
    Slow(Slow<Mutex<Inner>>),
}

impl Deref for Inside {
    type Target = Mutex<Inner>;

    fn deref(&self) -> &Mutex<Inner> {
        match self {
            Self::Quick(inner) => inner,
            Self::Slow(inner) => inner,
        }
    }
}

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct Processor {
    info: &'static Info,
    /// What it hosts, if it is a model.
    model: Option<Arc<HostedSpec>>,
    inner: Inside,
}

fn no_name(kind: &str, info: &Info, name: &str) -> PyErr {
    PyKeyError::new_err(format!("'{}' has no {kind} called '{name}'", info.name))
}

impl Processor {
    /// A new, unprepared processor with the same parameters and arrays.
    /// `live`: a device will drive it, so a model gets a thread of its own.
    pub fn build(&self, py: Python<'_>, live: bool) -> PyResult<Box<dyn dsp::Processor>> {
        let inner = lock_py(py, &self.inner);
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

    /// Why its model runs no more, if that is so.
    fn out_of_use(&self, py: Python<'_>) -> Option<String> {
        let report = lock_py(py, &self.inner).processor.report()?.downcast::<WorkerShared>().ok()?;
        report.is_out_of_use().then(|| report.fault())
    }

    /// Whether it may only run offline unless it is built live.
    pub fn is_model(&self) -> bool {
        self.model.is_some()
    }

    fn ready(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, Inner>> {
        let inner = lock_py(py, &self.inner);
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
            inner: Inside::Quick(Mutex::new(Inner {
                processor,
                prepared: None,
                arrays,
                guard: Guard::new(),
            })),
        })
    }

    #[staticmethod]
    fn of_model(model: &Model) -> Self {
        let processor = Box::new(Hosted::new(Arc::clone(&model.spec), false));
        let inner = Inner { processor, prepared: None, arrays: Vec::new(), guard: Guard::new() };
        Self {
            info: model.spec.info,
            model: Some(Arc::clone(&model.spec)),
            inner: Inside::Slow(Slow::new(Mutex::new(inner))),
        }
    }

    #[getter]
    pub fn name(&self) -> &'static str {
        self.info.name
    }

    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        crate::info::dict(py, self.info)
    }

    fn set(&self, py: Python<'_>, name: &str, value: f32) -> PyResult<()> {
        let id = self.info.param_id(name).ok_or_else(|| no_name("parameter", self.info, name))?;
        if value.is_nan() {
            return Err(PyValueError::new_err(format!("'{name}': the value is not a number")));
        }
        lock_py(py, &self.inner).processor.set_param(id, value);
        Ok(())
    }

    fn get(&self, py: Python<'_>, name: &str) -> PyResult<f64> {
        let id = self.info.param_id(name).ok_or_else(|| no_name("parameter", self.info, name))?;
        Ok(crate::info::decimal(lock_py(py, &self.inner).processor.param(id)))
    }

    fn set_array(&self, py: Python<'_>, name: &str, data: PyReadonlyArrayDyn<'_, f32>) -> PyResult<()> {
        let id = self.info.array_id(name).ok_or_else(|| no_name("array", self.info, name))?;
        let data = arrays::flat(&data);
        if let Some(i) = data.iter().position(|v| !v.is_finite()) {
            return Err(PyValueError::new_err(format!("array '{name}': value {i} is {}", data[i])));
        }
        let mut inner = lock_py(py, &self.inner);
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
        if !(1..=MAX_BLOCK).contains(&max_block) || !(1..=MAX_CHANNELS).contains(&channels) {
            return Err(PyValueError::new_err(format!(
                "max_block is 1 to {MAX_BLOCK} and channels 1 to {MAX_CHANNELS}, not {max_block} and {channels}"
            )));
        }
        let spec = Prepare { sample_rate, max_block, channels };
        let refused = |e: dsp::PrepareError| PyValueError::new_err(e.to_string());
        if self.is_model() {
            let mut built = self.build(py, false)?;
            let built = wait(py, move || built.prepare(&spec).map(|()| built))?.map_err(refused)?;
            let mut inner = lock_py(py, &self.inner);
            reaper::dispose(std::mem::replace(&mut inner.processor, built));
            inner.prepared = Some(spec);
            return Ok(());
        }
        py.detach(|| {
            let mut inner = lock(&self.inner);
            inner.prepared = None;
            guarded(self.info.name, || inner.processor.prepare(&spec))?.map_err(refused)?;
            inner.prepared = Some(spec);
            Ok(())
        })
    }

    fn process<'py>(
        &self,
        py: Python<'py>,
        audio: PyReadonlyArray2<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let spec = self.ready(py)?.prepared.ok_or_else(|| PyRuntimeError::new_err("not prepared"))?;
        let (mut x, frames) = arrays::planar(&audio, spec.channels)?;
        py.detach(|| {
            let mut inner = lock(&self.inner);
            if inner.prepared != Some(spec) {
                return Err(PyRuntimeError::new_err(format!(
                    "'{}' was prepared anew by another thread meanwhile",
                    self.info.name
                )));
            }
            let Inner { processor, guard, .. } = &mut *inner;
            let processed = guarded(self.info.name, || {
                let _flush = FlushDenormals::new();
                let mut all = Block::new(&mut x, frames.max(1), frames);
                for from in (0..frames).step_by(spec.max_block) {
                    let mut block = all.slice(from, frames.min(from + spec.max_block));
                    guard.process(&mut **processor, &mut block, spec.sample_rate);
                }
            });
            if processed.is_err() {
                inner.prepared = None; // its state may be half changed
            }
            processed
        })?;
        if let Some(fault) = self.out_of_use(py) {
            return Err(PyRuntimeError::new_err(format!("'{}' is out of use: {fault}", self.info.name)));
        }
        arrays::array(py, x, spec.channels, frames)
    }

    fn reset(&self, py: Python<'_>) {
        let mut inner = lock_py(py, &self.inner);
        inner.processor.reset();
        inner.guard.heal = Smoothed::new(1.0);
    }

    #[getter]
    fn faults(&self, py: Python<'_>) -> u64 {
        lock_py(py, &self.inner).guard.faults
    }

    #[getter]
    fn latency_samples(&self, py: Python<'_>) -> usize {
        lock_py(py, &self.inner).processor.latency_samples()
    }

    #[getter]
    fn tail_samples(&self, py: Python<'_>) -> usize {
        lock_py(py, &self.inner).processor.tail_samples()
    }

    fn tap<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyArray1<f32>>> {
        let id = self.info.tap_id(name).ok_or_else(|| no_name("tap", self.info, name))?;
        let out = {
            let inner = self.ready(py)?;
            let mut out = vec![0.0; inner.processor.tap_len(id)];
            inner.processor.read_tap(id, &mut out);
            out
        };
        Ok(out.into_pyarray(py))
    }

    fn save_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let mut bytes = Vec::new();
        self.ready(py)?
            .processor
            .state(&mut StateIo::Save(&mut bytes))
            .map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(PyBytes::new(py, &bytes))
    }

    fn load_state(&self, py: Python<'_>, state: &[u8]) -> PyResult<()> {
        let mut inner = self.ready(py)?;
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
