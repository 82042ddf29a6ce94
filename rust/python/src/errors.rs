//! Engine errors as Python exceptions, and locks that do not hold Python up.

use cspace_engine::EditError;
use pyo3::exceptions::{PyKeyError, PyRuntimeError, PyValueError};
use pyo3::sync::MutexExt;
use pyo3::{PyErr, PyResult, Python};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// For a thread that does not hold the GIL. A mutex that a panicking thread left behind is still used: its data
/// are counters and queues.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For a thread that holds the GIL: it lets go of it while it has to wait.
pub fn lock_py<'a, T>(py: Python<'_>, mutex: &'a Mutex<T>) -> MutexGuard<'a, T> {
    mutex.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
}

/// A panic in `f` as a RuntimeError that says what it was: never a raw `PanicException`, which no
/// `except Exception` would catch.
pub fn guarded<T>(what: &str, f: impl FnOnce() -> T) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let said = cspace_engine::describe(&*payload);
        PyRuntimeError::new_err(format!("{what}: a fault inside: {said}"))
    })
}
