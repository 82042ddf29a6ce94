//! Engine errors as Python exceptions.

use cspace_engine::EditError;
use pyo3::PyErr;
use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyValueError};

/// `KeyError` for names and slots, `ValueError` for values, `RuntimeError` for full queues.
pub fn edit(error: EditError) -> PyErr {
    let text = error.to_string();
    match error {
        EditError::NoSlot(_) | EditError::NoName(_) => PyKeyError::new_err(text),
        EditError::NotANumber(_)
        | EditError::SetupParameter(_)
        | EditError::Array(_)
        | EditError::Prepare(_) => PyValueError::new_err(text),
        EditError::ChainFull | EditError::TooManyTaps | EditError::QueueFull => PyRuntimeError::new_err(text),
    }
}

/// A mutex that a panicking thread left behind is still used: its data are counters and queues.
pub fn lock<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
