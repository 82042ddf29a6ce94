//! The recurrent residual: a gated recurrent unit (Cho et al. 2014, gates as torch has them).

use super::linear::Linear;
use super::tensors::{BuildError, Tensors};
use crate::simd::Level;
use crate::{StateError, StateIo};

/// The unit, its outlet and what it remembers.
pub struct Gru {
    dims: usize,
    /// Reset gate, update gate, candidate.
    input: [Linear; 3],
    hidden: [Linear; 3],
    outlet: Linear,
    state: Vec<f32>,
    scratch: [Vec<f32>; 6],
}

impl Gru {
    /// Thread: control. Allocates.
    pub fn new(dims: usize, tensors: &Tensors) -> Result<Self, BuildError> {
        let part = |w: &str, b: &str| -> Result<[Linear; 3], BuildError> {
            let w = tensors.take(&format!("dynamics.cell.{w}"), &[3 * dims, dims])?;
            let b = tensors.take(&format!("dynamics.cell.{b}"), &[3 * dims])?;
            Ok(std::array::from_fn(|g| {
                let (w, b) = (&w[g * dims * dims..], &b[g * dims..][..dims]);
                Linear::new(dims, dims, |o, i| w[o * dims + i], Some(b))
            }))
        };
        let w = tensors.take("dynamics.cell_outlet.weight", &[dims, dims])?;
        let b = tensors.take("dynamics.cell_outlet.bias", &[dims])?;
        let outlet = Linear::new(dims, dims, |o, i| w[o * dims + i], Some(b));
        let rows = outlet.rows();
        Ok(Self {
            dims,
            input: part("weight_ih", "bias_ih")?,
            hidden: part("weight_hh", "bias_hh")?,
            outlet,
            state: vec![0.0; rows],
            scratch: std::array::from_fn(|_| vec![0.0; rows]),
        })
    }

    /// Thread: audio. Never allocates, locks or logs.
    pub fn push(&mut self, level: Level, z: &[f32]) {
        for g in 0..3 {
            self.input[g].apply(level, z, &mut self.scratch[g]);
            self.hidden[g].apply(level, &self.state, &mut self.scratch[3 + g]);
        }
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let s = &self.scratch;
        for (d, state) in self.state[..self.dims].iter_mut().enumerate() {
            let reset = sigmoid(s[0][d] + s[3][d]);
            let update = sigmoid(s[1][d] + s[4][d]);
            let candidate = (s[2][d] + reset * s[5][d]).tanh();
            *state = candidate + update * (*state - candidate);
        }
    }

    /// What is added to the last state, to the front of `out`. Thread: audio. Never allocates, locks or logs.
    pub fn read(&self, level: Level, out: &mut [f32]) {
        self.outlet.apply(level, &self.state, out);
    }

    pub fn reset(&mut self) {
        self.state.fill(0.0);
    }

    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(&mut self.state)
    }
}
