//! Audio between NumPy and planar vectors: (channels, frames) float32.

use numpy::ndarray::{Array2, ArrayView2};
use numpy::{IntoPyArray, PyArray2, PyReadonlyArray2, PyReadonlyArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// A planar copy of `audio` and its frames; the number of channels must be `channels`.
pub fn planar(audio: &PyReadonlyArray2<'_, f32>, channels: usize) -> PyResult<(Vec<f32>, usize)> {
    let view: ArrayView2<'_, f32> = audio.as_array();
    let (rows, frames) = view.dim();
    if rows != channels {
        return Err(PyValueError::new_err(format!(
            "audio has shape ({rows}, {frames}); ({channels}, frames) is needed: one row per channel"
        )));
    }
    Ok((view.iter().copied().collect(), frames))
}

/// Planar samples as a NumPy array of shape (channels, frames).
pub fn array(
    py: Python<'_>,
    planar: Vec<f32>,
    channels: usize,
    frames: usize,
) -> PyResult<Bound<'_, PyArray2<f32>>> {
    let array = Array2::from_shape_vec((channels, frames), planar)
        .map_err(|e| PyValueError::new_err(format!("audio of shape ({channels}, {frames}): {e}")))?;
    Ok(array.into_pyarray(py))
}

/// Planar samples one frame after the other.
pub fn interleaved(planar: &[f32], channels: usize, frames: usize) -> impl ExactSizeIterator<Item = f32> {
    (0..frames * channels).map(move |i| planar[i % channels * frames + i / channels])
}

/// Interleaved samples as a NumPy array of shape (channels, frames).
pub fn array_of_interleaved<'py>(
    py: Python<'py>,
    samples: &[f32],
    channels: usize,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let planar = (0..channels).flat_map(|c| samples.iter().skip(c).step_by(channels).copied()).collect();
    array(py, planar, channels, samples.len() / channels)
}

/// Any float32 array, flattened in row-major order.
pub fn flat(data: &PyReadonlyArrayDyn<'_, f32>) -> Vec<f32> {
    data.as_array().iter().copied().collect()
}
