//! The oscillator bank for analysis: states out of sound, forward or in both directions.

use cspace_dsp::cspace::bank::{OscillatorBank as Bank, Pole};
use cspace_dsp::cspace::design;
use cspace_dsp::cspace::lookahead::LookaheadBank as Lookahead;
use cspace_dsp::simd::Level;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::borrow::Cow;
use std::sync::Mutex;

use crate::arrays;
use crate::errors::{lock, lock_py};

type Poles<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>);

/// See the type stub.
#[pyfunction]
#[pyo3(signature = (centers_hz, sample_rate, law, q = 8.0, r_low = 0.999, r_high = 0.6))]
pub fn bank_poles<'py>(
    py: Python<'py>,
    centers_hz: PyReadonlyArray1<'_, f64>,
    sample_rate: f64,
    law: &str,
    q: f64,
    r_low: f64,
    r_high: f64,
) -> PyResult<Poles<'py>> {
    let hz: Vec<f64> = centers_hz.as_array().iter().copied().collect();
    if !(sample_rate > 0.0 && hz.iter().all(|f| *f > 0.0 && *f < 0.5 * sample_rate)) {
        return Err(PyValueError::new_err(format!(
            "centres must lie above 0 and below half the sample rate, {} Hz",
            0.5 * sample_rate
        )));
    }
    let radius = 0.0..1.0;
    let poles = match law {
        "constant_q" if q > 0.0 => design::constant_q(&hz, q, sample_rate),
        "constant_q" => return Err(PyValueError::new_err(format!("q is {q}; it must be above 0"))),
        "legacy" if radius.contains(&r_low) && radius.contains(&r_high) && r_low.min(r_high) > 0.0 => {
            design::legacy(&hz, r_low, r_high, sample_rate)
        }
        "legacy" => {
            return Err(PyValueError::new_err(format!(
                "radii are {r_low} and {r_high}; 0 < r < 1 is needed"
            )));
        }
        _ => return Err(PyValueError::new_err(format!("law is {law:?}; it is constant_q or legacy"))),
    };
    let decay: Vec<f64> = poles.iter().map(|p| p.decay).collect();
    let angle: Vec<f64> = poles.iter().map(|p| p.angle).collect();
    Ok((decay.into_pyarray(py), angle.into_pyarray(py)))
}

/// The poles, if these are some, and `hop` is one.
fn checked(
    decay: &PyReadonlyArray1<'_, f64>,
    angle: &PyReadonlyArray1<'_, f64>,
    hop: usize,
) -> PyResult<Vec<Pole>> {
    let (decay, angle) = (decay.as_array(), angle.as_array());
    if decay.len() != angle.len() || decay.is_empty() {
        return Err(PyValueError::new_err(format!(
            "{} decays and {} angles; one of each per oscillator is needed, and at least one oscillator",
            decay.len(),
            angle.len()
        )));
    }
    if hop == 0 {
        return Err(PyValueError::new_err("hop is 0; it is 1 or more samples"));
    }
    if !decay.iter().all(|d| d.is_finite() && *d >= 0.0) || !angle.iter().all(|a| a.is_finite()) {
        return Err(PyValueError::new_err("decays must be finite and 0 or more, angles finite"));
    }
    Ok(decay.iter().zip(angle).map(|(&decay, &angle)| Pole { decay, angle }).collect())
}

struct Running {
    bank: Bank,
    /// Samples until the next one whose states are wanted; carried from call to call.
    wait: usize,
    /// Samples in the frame of `energies` that is not yet full.
    filled: usize,
}

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct OscillatorBank {
    running: Mutex<Running>,
    oscillators: usize,
    hop: usize,
}

#[pymethods]
impl OscillatorBank {
    #[new]
    #[pyo3(signature = (decay, angle, hop = 1))]
    fn new(decay: PyReadonlyArray1<'_, f64>, angle: PyReadonlyArray1<'_, f64>, hop: usize) -> PyResult<Self> {
        let poles = checked(&decay, &angle, hop)?;
        Ok(Self {
            oscillators: poles.len(),
            running: Mutex::new(Running { bank: Bank::new(&poles, Level::detect()), wait: 0, filled: 0 }),
            hop,
        })
    }

    fn __len__(&self) -> usize {
        self.oscillators
    }

    #[getter]
    fn hop(&self) -> usize {
        self.hop
    }

    fn process<'py>(
        &self,
        py: Python<'py>,
        audio: PyReadonlyArray1<'_, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let x = samples(&audio);
        let width = 2 * self.oscillators;
        let (values, frames) = py.detach(|| {
            let running = &mut *lock(&self.running);
            let frames = x.len().saturating_sub(running.wait).div_ceil(self.hop);
            let mut values = vec![0.0; frames * width];
            running.bank.record(&x, self.hop, running.wait, &mut values);
            running.wait = running.wait + frames * self.hop - x.len();
            (values, frames)
        });
        arrays::array(py, values, frames, width)
    }

    fn energies<'py>(
        &self,
        py: Python<'py>,
        audio: PyReadonlyArray1<'_, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let x = samples(&audio);
        let (values, frames) = py.detach(|| {
            let running = &mut *lock(&self.running);
            let samples = running.filled + x.len();
            let frames = samples / self.hop;
            let mut values = vec![0.0; frames * self.oscillators];
            running.bank.energies(&x, self.hop, running.filled, &mut values);
            running.filled = samples % self.hop;
            (values, frames)
        });
        arrays::array(py, values, frames, self.oscillators)
    }

    fn reset(&self, py: Python<'_>) {
        let running = &mut *lock_py(py, &self.running);
        running.bank.reset();
        running.wait = 0;
        running.filled = 0;
    }
}

/// The samples as a slice, copied only where they do not lie side by side.
fn samples<'a>(audio: &'a PyReadonlyArray1<'_, f32>) -> Cow<'a, [f32]> {
    let view = audio.as_array();
    match audio.as_slice() {
        Ok(x) => Cow::Borrowed(x),
        Err(_) => Cow::Owned(view.to_vec()),
    }
}

/// Samples that all oscillators together may look ahead: 64 bytes each, so 4 GiB.
const MAX_AHEAD: usize = 1 << 26;

/// See the type stub.
#[pyclass(module = "cspace._native", frozen)]
pub struct LookaheadBank {
    running: Mutex<Lookahead>,
    oscillators: usize,
    hop: usize,
    latency: usize,
}

#[pymethods]
impl LookaheadBank {
    #[new]
    #[pyo3(signature = (decay, angle, lookahead_samples, hop = 1))]
    fn new(
        decay: PyReadonlyArray1<'_, f64>,
        angle: PyReadonlyArray1<'_, f64>,
        lookahead_samples: usize,
        hop: usize,
    ) -> PyResult<Self> {
        let poles = checked(&decay, &angle, hop)?;
        let most = MAX_AHEAD / poles.len().max(1);
        if lookahead_samples > most {
            return Err(PyValueError::new_err(format!(
                "lookahead_samples is {lookahead_samples}; {} oscillators can look {most} samples ahead",
                poles.len()
            )));
        }
        Ok(Self {
            oscillators: poles.len(),
            running: Mutex::new(Lookahead::new(&poles, lookahead_samples, hop, Level::detect())),
            hop,
            latency: lookahead_samples,
        })
    }

    fn __len__(&self) -> usize {
        self.oscillators
    }

    #[getter]
    fn hop(&self) -> usize {
        self.hop
    }

    #[getter]
    fn latency_samples(&self) -> usize {
        self.latency
    }

    fn process<'py>(
        &self,
        py: Python<'py>,
        audio: PyReadonlyArray1<'_, f32>,
    ) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let x = audio.as_array().to_vec();
        let width = 4 * self.oscillators;
        let (values, frames) = py.detach(|| {
            let bank = &mut *lock(&self.running);
            let frames = bank.rows_of(x.len());
            let mut values = vec![0.0; frames * width];
            bank.process(&x, &mut values);
            (values, frames)
        });
        arrays::array(py, values, frames, width)
    }

    fn reset(&self, py: Python<'_>) {
        lock_py(py, &self.running).reset();
    }
}
