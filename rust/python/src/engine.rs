//! The engine: control half always, audio half until a device takes it.

use cspace_engine::{self as engine, Config, Controller, Driver, EditError, Prepared, driver, reaper};
use numpy::{PyArray2, PyReadonlyArray2, PyReadonlyArrayDyn};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::arrays;
use crate::errors::{edit, guarded, lock, lock_py};
use crate::fileport::{Player, Recorder, check_ring};
use crate::inline::{FirstError, Inline};
use crate::patience::wait;
use crate::processor::Processor;
use crate::statistics;
use crate::tap::Tap;
use crate::worker::Worker;

/// Largest hop and longest delay of a worker, in samples: more is a slip, and there is no memory for it.
const MAX_HOP: usize = 1 << 16;
const MAX_LATENCY: usize = 1 << 22;

/// Where the audio half is.
enum Audio {
    /// Here, free to be used.
    Idle(Box<Driver>),
    /// Lent to a PortAudio stream, which has its address.
    Device(*mut Driver),
    /// Lent to a paced thread.
    Lent,
}

// SAFETY: the pointer is only ever turned back into the box it came from, by `detach`; Driver is Send.
unsafe impl Send for Audio {}

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct Engine {
    config: Config,
    control: Arc<Mutex<Controller>>,
    audio: Mutex<Audio>,
    inline_error: FirstError,
    /// Something runs in the block loop that an audio thread would have to wait for.
    has_inline: AtomicBool,
    /// It is Python code.
    has_python: AtomicBool,
    live: AtomicBool,
    housekeeping: AtomicBool,
}

impl Engine {
    /// Lends the audio half. Not to be called with the GIL held.
    pub fn lend(&self) -> PyResult<Box<Driver>> {
        if self.has_inline.load(Ordering::Relaxed) {
            return Err(PyRuntimeError::new_err(
                "the chain has a Python processor or a model run inline, which an audio thread would have to \
                 wait for; use insert_worker, and set live before a model is inserted",
            ));
        }
        let mut audio = lock(&self.audio);
        match std::mem::replace(&mut *audio, Audio::Lent) {
            Audio::Idle(driver) => {
                if !self.housekeeping.swap(true, Ordering::Relaxed) {
                    driver::housekeep(Arc::downgrade(&self.control))
                        .map_err(|e| PyRuntimeError::new_err(format!("no thread for housekeeping: {e}")))?;
                }
                Ok(driver)
            }
            other => {
                *audio = other;
                Err(PyRuntimeError::new_err("a device or PacedStream already drives this engine"))
            }
        }
    }

    /// Takes the audio half back. Not to be called with the GIL held.
    pub fn give_back(&self, driver: Box<Driver>) {
        *lock(&self.audio) = Audio::Idle(driver);
        self.service(|| lock(&self.control).drain());
    }

    /// Lets an idle audio half take its commands, so that queues cannot fill while nothing plays.
    fn service(&self, drain: impl FnOnce()) {
        if let Ok(mut audio) = self.audio.try_lock()
            && let Audio::Idle(driver) = &mut *audio
        {
            driver.engine().service();
            drain();
        }
    }

    /// A slot around a prepared copy. Preparing can take seconds (eigenvalues, least squares, models), so it is
    /// done without the GIL and outside every lock.
    fn built(&self, py: Python<'_>, processor: &Processor) -> PyResult<Prepared> {
        let live = self.live.load(Ordering::Relaxed);
        let mut built = processor.build(py, live)?;
        if processor.is_model() && !live {
            if self.attached() {
                return Err(PyRuntimeError::new_err(
                    "a model can run inline offline only: set the engine's live before a device drives it",
                ));
            }
            self.has_inline.store(true, Ordering::Relaxed);
        }
        let (config, name) = (self.config, processor.name());
        let work = move || {
            built.prepare(&config.prepare())?;
            Ok::<_, cspace_dsp::PrepareError>(Prepared::new(&config, built, name))
        };
        let made = if processor.is_model() { wait(py, work) } else { py.detach(|| guarded(name, work)) };
        made?.map_err(|e| PyValueError::new_err(e.to_string()))
    }

    /// Whether freeing it may take long.
    fn has_models(&self) -> bool {
        self.live.load(Ordering::Relaxed) || self.has_inline.load(Ordering::Relaxed)
    }

    /// What `f` does takes no time: whatever does is done before.
    fn edit<T>(
        &self,
        py: Python<'_>,
        f: impl FnOnce(&mut Controller) -> Result<T, EditError>,
    ) -> PyResult<T> {
        let done = f(&mut lock_py(py, &self.control)).map_err(edit);
        self.service(|| lock_py(py, &self.control).drain());
        done
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let audio = self.audio.get_mut().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(audio, Audio::Lent) {
            // The stream may still call back with this address: leaking is safe, freeing is not.
            Audio::Device(_leaked) => {}
            Audio::Lent => {}
            // Python's objects want the GIL back, and somebody may be waiting for their end.
            Audio::Idle(driver) if self.has_python.load(Ordering::Relaxed) => {
                Python::try_attach(|py| py.detach(|| drop(driver)));
            }
            Audio::Idle(driver) if self.has_models() => reaper::dispose(driver),
            Audio::Idle(_quick) => {}
        }
        lock(&self.control).drain(); // nothing slow is left in it
    }
}

#[pymethods]
impl Engine {
    #[new]
    #[pyo3(signature = (sample_rate, channels, max_block = 1024))]
    fn new(sample_rate: f64, channels: usize, max_block: usize) -> PyResult<Self> {
        let config = Config { sample_rate, channels, max_block };
        let (driver, control) = engine::new(config).map_err(PyValueError::new_err)?;
        Ok(Self {
            config,
            control: Arc::new(Mutex::new(control)),
            audio: Mutex::new(Audio::Idle(Box::new(driver))),
            inline_error: FirstError::default(),
            has_inline: AtomicBool::new(false),
            has_python: AtomicBool::new(false),
            live: AtomicBool::new(false),
            housekeeping: AtomicBool::new(false),
        })
    }

    #[getter]
    pub fn sample_rate(&self) -> f64 {
        self.config.sample_rate
    }

    #[getter]
    pub fn channels(&self) -> usize {
        self.config.channels
    }

    #[getter]
    fn max_block(&self) -> usize {
        self.config.max_block
    }

    #[getter]
    fn live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_live(&self, on: bool) {
        self.live.store(on, Ordering::Relaxed);
    }

    // ---- chain -------------------------------------------------------------------------------

    fn insert(&self, py: Python<'_>, index: usize, processor: &Processor) -> PyResult<u32> {
        let built = self.built(py, processor)?;
        self.edit(py, |c| c.insert_ready(index, built))
    }

    #[pyo3(signature = (index, call, latency_samples, tail_samples, name, reset, keeper = None))]
    #[expect(clippy::too_many_arguments, reason = "what a processor in Python consists of")]
    fn insert_inline(
        &self,
        py: Python<'_>,
        index: usize,
        call: Py<PyAny>,
        latency_samples: usize,
        tail_samples: usize,
        name: &str,
        reset: Py<PyAny>,
        keeper: Option<(Py<PyAny>, Py<PyAny>)>,
    ) -> PyResult<u32> {
        if self.attached() {
            return Err(PyRuntimeError::new_err(
                "a Python processor can run inline offline only: use insert_worker",
            ));
        }
        let error = self.inline_error.clone();
        let inline = Inline { call, reset, latency: latency_samples, tail: tail_samples, error, keeper };
        let prepared = Prepared::new(&self.config, Box::new(inline), name);
        self.has_python.store(true, Ordering::Relaxed);
        let slot = self.edit(py, |c| c.insert_ready(index, prepared))?;
        self.has_inline.store(true, Ordering::Relaxed);
        Ok(slot)
    }

    fn insert_worker(
        &self,
        py: Python<'_>,
        index: usize,
        hop: usize,
        latency_samples: usize,
        tail_samples: usize,
        name: &str,
    ) -> PyResult<Worker> {
        if hop > MAX_HOP || latency_samples > MAX_LATENCY {
            return Err(PyValueError::new_err(format!(
                "a worker has a hop up to {MAX_HOP} and a latency up to {MAX_LATENCY} samples, not {hop} and \
                 {latency_samples}"
            )));
        }
        let (slot, end) =
            self.edit(py, |c| c.insert_worker(index, hop, latency_samples, tail_samples, name))?;
        Ok(Worker::new(slot, end))
    }

    fn insert_player(&self, py: Python<'_>, index: usize, ring_seconds: f64) -> PyResult<Player> {
        check_ring(ring_seconds, self.config.sample_rate, self.config.channels)?;
        let (slot, end) = self.edit(py, |c| c.insert_player(index, ring_seconds))?;
        Ok(Player { slot, end: Mutex::new(end) })
    }

    fn insert_recorder(&self, py: Python<'_>, index: usize, ring_seconds: f64) -> PyResult<Recorder> {
        check_ring(ring_seconds, self.config.sample_rate, self.config.channels)?;
        let (slot, end) = self.edit(py, |c| c.insert_recorder(index, ring_seconds))?;
        Ok(Recorder { slot, end: Mutex::new(end) })
    }

    fn listen(&self, py: Python<'_>, slot: u32, ring_seconds: f64) -> PyResult<Recorder> {
        check_ring(ring_seconds, self.config.sample_rate, self.config.channels)?;
        let end = self.edit(py, |c| c.listen(slot, ring_seconds))?;
        Ok(Recorder { slot, end: Mutex::new(end) })
    }

    fn replace(&self, py: Python<'_>, slot: u32, processor: &Processor) -> PyResult<()> {
        let built = self.built(py, processor)?;
        self.edit(py, |c| c.replace_ready(slot, built))
    }

    fn remove(&self, py: Python<'_>, slot: u32) -> PyResult<()> {
        self.edit(py, |c| c.remove(slot))
    }

    fn r#move(&self, py: Python<'_>, slot: u32, index: usize) -> PyResult<()> {
        self.edit(py, |c| c.move_to(slot, index))
    }

    fn bypass(&self, py: Python<'_>, slot: u32, on: bool) -> PyResult<()> {
        self.edit(py, |c| c.bypass(slot, on))
    }

    // ---- parameters --------------------------------------------------------------------------

    #[pyo3(signature = (slot, name, value, time = None))]
    fn set(&self, py: Python<'_>, slot: u32, name: &str, value: f32, time: Option<u64>) -> PyResult<()> {
        self.edit(py, |c| c.set(slot, name, value, time.unwrap_or(0)))
    }

    fn set_array(
        &self,
        py: Python<'_>,
        slot: u32,
        name: &str,
        data: PyReadonlyArrayDyn<'_, f32>,
    ) -> PyResult<()> {
        let data = arrays::flat(&data);
        self.edit(py, |c| c.set_array(slot, name, &data))
    }

    fn get(&self, py: Python<'_>, slot: u32, name: &str) -> PyResult<f64> {
        self.edit(py, |c| c.get(slot, name)).map(crate::info::decimal)
    }

    fn panic(&self, py: Python<'_>) -> PyResult<()> {
        self.edit(py, Controller::panic)
    }

    fn subscribe(&self, py: Python<'_>, slot: u32, tap: &str, hop: u64) -> PyResult<Tap> {
        if hop == 0 {
            return Err(PyValueError::new_err("hop must be at least 1 sample"));
        }
        self.edit(py, |c| c.subscribe(slot, tap, hop)).map(|reader| Tap(Mutex::new(reader)))
    }

    // ---- state -------------------------------------------------------------------------------

    fn slots(&self, py: Python<'_>) -> Vec<u32> {
        lock_py(py, &self.control).slots().iter().map(|s| s.id).collect()
    }

    #[getter]
    fn latency_samples(&self, py: Python<'_>) -> usize {
        lock_py(py, &self.control).latency_samples()
    }

    #[getter]
    fn tail_samples(&self, py: Python<'_>) -> usize {
        lock_py(py, &self.control).tail_samples()
    }

    #[getter]
    fn sample_time(&self, py: Python<'_>) -> u64 {
        lock_py(py, &self.control).shared().sample_time.load(Ordering::Relaxed)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let snapshot = py.detach(|| lock(&self.control).stats());
        statistics::dict(py, snapshot)
    }

    fn reset_stats(&self, py: Python<'_>) {
        lock_py(py, &self.control).reset_stats();
    }

    // ---- driving -----------------------------------------------------------------------------

    fn process<'py>(
        &self,
        py: Python<'py>,
        audio: PyReadonlyArray2<'py, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let channels = self.config.channels;
        let (mut x, frames) = arrays::planar(&audio, channels)?;
        py.detach(|| {
            // In pieces, so that timing records and returned objects are collected on the way.
            let piece = 256 * self.config.max_block;
            let mut audio = lock(&self.audio);
            let Audio::Idle(driver) = &mut *audio else {
                return Err(PyRuntimeError::new_err("a device or PacedStream drives this engine"));
            };
            let mut buffer = vec![0.0; channels * piece.min(frames)];
            for from in (0..frames).step_by(piece) {
                let n = piece.min(frames - from);
                let part = &mut buffer[..channels * n];
                for c in 0..channels {
                    part[c * n..][..n].copy_from_slice(&x[c * frames + from..][..n]);
                }
                driver.process(part, n);
                for c in 0..channels {
                    x[c * frames + from..][..n].copy_from_slice(&part[c * n..][..n]);
                }
                lock(&self.control).drain();
            }
            Ok(())
        })?;
        match lock(&self.inline_error).take() {
            Some(error) => Err(error),
            None if self.live.load(Ordering::Relaxed) => arrays::array(py, x, channels, frames),
            // Live its input passes and the statistics say so; a render would be a wrong file.
            None => match lock_py(py, &self.control).out_of_use() {
                Some((name, fault)) => Err(PyRuntimeError::new_err(format!("{name} is out of use: {fault}"))),
                None => arrays::array(py, x, channels, frames),
            },
        }
    }

    fn ahead<'py>(&self, py: Python<'py>, frames: usize) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let channels = self.config.channels;
        let mut x = vec![0.0; channels * frames];
        py.detach(|| {
            let mut audio = lock(&self.audio);
            let Audio::Idle(driver) = &mut *audio else {
                return Err(PyRuntimeError::new_err("a device or PacedStream drives this engine"));
            };
            driver.engine().ahead(&mut x, frames).map_err(|e| PyRuntimeError::new_err(e.to_string()))
        })?;
        match lock(&self.inline_error).take() {
            Some(error) => Err(error),
            None => arrays::array(py, x, channels, frames),
        }
    }

    fn attach(&self, py: Python<'_>) -> PyResult<(usize, usize)> {
        py.detach(|| {
            let mut driver = self.lend()?;
            driver.shut_gate();
            let raw = Box::into_raw(driver);
            *lock(&self.audio) = Audio::Device(raw);
            Ok((driver::pa_callback as *const () as usize, raw as usize))
        })
    }

    fn fade_out(&self, py: Python<'_>, patience_s: f64) -> bool {
        let shared = lock(&self.control).shared().clone();
        py.detach(|| shared.gate.fade_out(Duration::from_secs_f64(patience_s.clamp(0.0, 10.0))))
    }

    fn detach(&self, py: Python<'_>) {
        py.detach(|| {
            let mut audio = lock(&self.audio);
            if let Audio::Device(raw) = *audio {
                // SAFETY: the pointer came from Box::into_raw in `attach`, and the caller promises
                // that the stream which borrowed it is closed.
                *audio = Audio::Idle(unsafe { Box::from_raw(raw) });
            }
        });
        self.service(|| lock_py(py, &self.control).drain());
    }

    #[getter]
    fn attached(&self) -> bool {
        // Never wait here with the GIL: `process` may hold the lock while a Python processor wants
        // the GIL, and then no device has it.
        self.audio.try_lock().is_ok_and(|audio| !matches!(*audio, Audio::Idle(_)))
    }
}
