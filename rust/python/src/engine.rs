//! The engine: control half always, audio half until a device takes it.

use cspace_engine::{self as engine, Config, Controller, Driver, EditError, TimeStats, driver};
use numpy::{PyArray2, PyReadonlyArray2, PyReadonlyArrayDyn};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::arrays;
use crate::errors::{edit, lock};
use crate::fileport::{Player, Recorder, check_ring};
use crate::inline::{FirstError, Inline};
use crate::processor::Processor;
use crate::tap::Tap;
use crate::worker::Worker;

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
    has_inline: AtomicBool,
    live: AtomicBool,
    housekeeping: AtomicBool,
}

impl Engine {
    /// Lends the audio half; `what` names the borrower in the error.
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

    /// Takes the audio half back.
    pub fn give_back(&self, driver: Box<Driver>) {
        *lock(&self.audio) = Audio::Idle(driver);
        self.service();
    }

    /// Lets an idle audio half take its commands, so that queues cannot fill while nothing plays.
    fn service(&self) {
        if let Ok(mut audio) = self.audio.try_lock()
            && let Audio::Idle(driver) = &mut *audio
        {
            driver.engine().service();
            lock(&self.control).drain();
        }
    }

    /// A prepared copy. Preparing can take seconds (eigenvalues, least squares), so it is done
    /// without the GIL and outside every lock.
    fn built(&self, py: Python<'_>, processor: &Processor) -> PyResult<Box<dyn cspace_dsp::Processor>> {
        let live = self.live.load(Ordering::Relaxed);
        let mut built = processor.build(live)?;
        if processor.is_model() && !live {
            if self.attached() {
                return Err(PyRuntimeError::new_err(
                    "a model can run inline offline only: set the engine's live before a device drives it",
                ));
            }
            self.has_inline.store(true, Ordering::Relaxed);
        }
        py.detach(|| built.prepare(&self.config.prepare()))
            .map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(built)
    }

    fn edit<T>(&self, f: impl FnOnce(&mut Controller) -> Result<T, EditError>) -> PyResult<T> {
        let done = f(&mut lock(&self.control)).map_err(edit);
        self.service();
        done
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Audio::Device(driver) = *lock(&self.audio) {
            // The stream may still call back with this address: leaking is safe, freeing is not.
            let _leaked = driver;
        }
    }
}

fn times<'py>(py: Python<'py>, t: &TimeStats) -> PyResult<Bound<'py, PyDict>> {
    let d = PyDict::new(py);
    d.set_item("count", t.count)?;
    d.set_item("p50_us", t.p50_us)?;
    d.set_item("p99_us", t.p99_us)?;
    d.set_item("p999_us", t.p999_us)?;
    d.set_item("max_us", t.max_us)?;
    d.set_item("mean_us", t.mean_us)?;
    Ok(d)
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
            live: AtomicBool::new(false),
            housekeeping: AtomicBool::new(false),
        })
    }

    #[getter]
    fn sample_rate(&self) -> f64 {
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
        self.edit(|c| c.insert_named(index, built, processor.name()))
    }

    #[pyo3(signature = (index, call, latency_samples, tail_samples, name, reset, keeper = None))]
    #[expect(clippy::too_many_arguments, reason = "what a processor in Python consists of")]
    fn insert_inline(
        &self,
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
        let slot = self.edit(|c| c.insert_named(index, Box::new(inline), name))?;
        self.has_inline.store(true, Ordering::Relaxed);
        Ok(slot)
    }

    fn insert_worker(
        &self,
        index: usize,
        hop: usize,
        latency_samples: usize,
        tail_samples: usize,
        name: &str,
    ) -> PyResult<Worker> {
        let (slot, end) = self.edit(|c| c.insert_worker(index, hop, latency_samples, tail_samples, name))?;
        Ok(Worker { slot, end: Mutex::new(end) })
    }

    fn insert_player(&self, index: usize, ring_seconds: f64) -> PyResult<Player> {
        check_ring(ring_seconds)?;
        let (slot, end) = self.edit(|c| c.insert_player(index, ring_seconds))?;
        Ok(Player { slot, end: Mutex::new(end) })
    }

    fn insert_recorder(&self, index: usize, ring_seconds: f64) -> PyResult<Recorder> {
        check_ring(ring_seconds)?;
        let (slot, end) = self.edit(|c| c.insert_recorder(index, ring_seconds))?;
        Ok(Recorder { slot, end: Mutex::new(end) })
    }

    fn listen(&self, slot: u32, ring_seconds: f64) -> PyResult<Recorder> {
        check_ring(ring_seconds)?;
        let end = self.edit(|c| c.listen(slot, ring_seconds))?;
        Ok(Recorder { slot, end: Mutex::new(end) })
    }

    fn replace(&self, py: Python<'_>, slot: u32, processor: &Processor) -> PyResult<()> {
        let built = self.built(py, processor)?;
        self.edit(|c| c.replace_prepared(slot, built))
    }

    fn remove(&self, slot: u32) -> PyResult<()> {
        self.edit(|c| c.remove(slot))
    }

    fn r#move(&self, slot: u32, index: usize) -> PyResult<()> {
        self.edit(|c| c.move_to(slot, index))
    }

    fn bypass(&self, slot: u32, on: bool) -> PyResult<()> {
        self.edit(|c| c.bypass(slot, on))
    }

    // ---- parameters --------------------------------------------------------------------------

    #[pyo3(signature = (slot, name, value, time = None))]
    fn set(&self, slot: u32, name: &str, value: f32, time: Option<u64>) -> PyResult<()> {
        self.edit(|c| c.set(slot, name, value, time.unwrap_or(0)))
    }

    fn set_array(&self, slot: u32, name: &str, data: PyReadonlyArrayDyn<'_, f32>) -> PyResult<()> {
        let data = arrays::flat(&data);
        self.edit(|c| c.set_array(slot, name, &data))
    }

    fn get(&self, slot: u32, name: &str) -> PyResult<f64> {
        self.edit(|c| c.get(slot, name)).map(crate::info::decimal)
    }

    fn panic(&self) -> PyResult<()> {
        self.edit(Controller::panic)
    }

    fn subscribe(&self, slot: u32, tap: &str, hop: u64) -> PyResult<Tap> {
        if hop == 0 {
            return Err(PyValueError::new_err("hop must be at least 1 sample"));
        }
        self.edit(|c| c.subscribe(slot, tap, hop)).map(|reader| Tap(Mutex::new(reader)))
    }

    // ---- state -------------------------------------------------------------------------------

    fn slots(&self) -> Vec<u32> {
        lock(&self.control).slots().iter().map(|s| s.id).collect()
    }

    #[getter]
    fn latency_samples(&self) -> usize {
        lock(&self.control).latency_samples()
    }

    #[getter]
    fn tail_samples(&self) -> usize {
        lock(&self.control).tail_samples()
    }

    #[getter]
    fn sample_time(&self) -> u64 {
        lock(&self.control).shared().sample_time.load(Ordering::Relaxed)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let s = lock(&self.control).stats();
        let d = PyDict::new(py);
        d.set_item("sample_time", s.sample_time)?;
        d.set_item("blocks", s.blocks)?;
        d.set_item("load", s.load)?;
        d.set_item("deadline_misses", s.deadline_misses)?;
        d.set_item("input_xruns", s.input_xruns)?;
        d.set_item("output_xruns", s.output_xruns)?;
        d.set_item("bad_input_samples", s.bad_input_samples)?;
        d.set_item("dropped_events", s.dropped_events)?;
        d.set_item("dropped_records", s.dropped_records)?;
        d.set_item("panics", s.panics)?;
        d.set_item("input_peak", s.input_peak)?;
        d.set_item("output_peak", s.output_peak)?;
        d.set_item("output_rms", s.output_rms)?;
        d.set_item("time", times(py, &s.time)?)?;
        let mut slots = Vec::new();
        for slot in &s.slots {
            let e = PyDict::new(py);
            e.set_item("slot", slot.slot)?;
            e.set_item("name", &slot.name)?;
            e.set_item("faults", slot.faults)?;
            e.set_item("panics", slot.panics)?;
            e.set_item("late_blocks", slot.late_blocks)?;
            e.set_item("time", times(py, &slot.time)?)?;
            e.set_item("hops", slot.hops)?;
            e.set_item("late_hops", slot.late_hops)?;
            e.set_item("dropped_hops", slot.dropped_hops)?;
            e.set_item("failed_hops", slot.failed_hops)?;
            e.set_item("hop_time", times(py, &slot.hop_time)?)?;
            slots.push(e);
        }
        d.set_item("slots", slots)?;
        Ok(d)
    }

    fn reset_stats(&self) {
        lock(&self.control).reset_stats();
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
            None => arrays::array(py, x, channels, frames),
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
        self.service();
    }

    #[getter]
    fn attached(&self) -> bool {
        // Never wait here with the GIL: `process` may hold the lock while a Python processor wants
        // the GIL, and then no device has it.
        self.audio.try_lock().is_ok_and(|audio| !matches!(*audio, Audio::Idle(_)))
    }
}
