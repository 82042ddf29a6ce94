//! Weights by name, as a training wrote them, taken out with their shapes checked.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Why a model could not be built; names the tensor or setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError(pub String);

impl std::fmt::Display for BuildError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for BuildError {}

/// Named float32 arrays. Thread: control.
#[derive(Default)]
pub struct Tensors {
    all: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    taken: RefCell<BTreeSet<String>>,
}

impl Tensors {
    /// Adds an array, row-major.
    pub fn insert(&mut self, name: &str, shape: &[usize], data: Vec<f32>) -> Result<(), BuildError> {
        if shape.iter().product::<usize>() != data.len() {
            return Err(BuildError(format!(
                "tensor {name} has {} values for the shape {shape:?}",
                data.len()
            )));
        }
        if !data.iter().all(|v| v.is_finite()) {
            return Err(BuildError(format!("tensor {name} holds NaN or Inf")));
        }
        self.all.insert(name.to_owned(), (shape.to_vec(), data));
        Ok(())
    }

    /// The array of this name, which must have this shape.
    pub(super) fn take(&self, name: &str, shape: &[usize]) -> Result<&[f32], BuildError> {
        let (has, data) =
            self.all.get(name).ok_or_else(|| BuildError(format!("tensor {name} is missing")))?;
        if has != shape {
            return Err(BuildError(format!("tensor {name} has the shape {has:?}; {shape:?} is needed")));
        }
        self.taken.borrow_mut().insert(name.to_owned());
        Ok(data)
    }

    /// To call after the last `take`: nothing but the encoder's noise in training may be left.
    pub(super) fn finish(&self) -> Result<(), BuildError> {
        let taken = self.taken.borrow();
        match self.all.keys().find(|n| !taken.contains(*n) && !n.starts_with("spread.")) {
            Some(name) => Err(BuildError(format!("tensor {name} has no place in a model of this spec"))),
            None => Ok(()),
        }
    }
}
