//! Memory and coupling as a velocity along the sphere, and one Runge-Kutta step of it.

use super::keys::Keys;
use super::linear::Linear;
use super::memory::Memory;
use super::tensors::{BuildError, Tensors};
use super::{Attention, MemoryKind, Spec, fractional, sphere};
use crate::simd::Level;
use crate::{StateError, StateIo};

/// What the dynamics look back on.
struct Past {
    memory: Option<Memory>,
    coupling: Option<(Keys, Linear)>,
}

/// Memory, coupling, or both.
pub struct Flow {
    dims: usize,
    sphere: bool,
    attention: Attention,
    alpha: f32,
    divide_by_count: bool,
    substeps: usize,
    past: Past,
    /// The part of the force that does not change within a step.
    base: Vec<f32>,
    pull: Vec<f32>,
    k: [Vec<f32>; 4],
    at: Vec<f32>,
}

impl Flow {
    /// Thread: control. Allocates.
    pub fn new(spec: &Spec, tensors: &Tensors) -> Result<Self, BuildError> {
        let d = spec.latent;
        let memory = if spec.dynamics.remembers() {
            let filters = filters(spec, tensors)?;
            let reach = spec.memory_taps.min(spec.history_frames);
            Some(Memory::new(d, reach, |i| filters[i * spec.memory_taps..][..spec.memory_taps].to_vec()))
        } else {
            None
        };
        let mut alpha = 0.0;
        let coupling = if spec.dynamics.couples() {
            let w = tensors.take("dynamics.coupling.weight", &[d, d])?;
            alpha = tensors.take("dynamics.alpha", &[])?[0];
            let layer = match spec.attention {
                Attention::Sakaguchi => Linear::new(d, d, |o, i| w[o * d + i], None),
                Attention::Kuramoto => {
                    // The lag turns the mean, then the coupling takes it: one matrix.
                    let name = "dynamics.lag";
                    let turn = sphere::cayley(name, d, tensors.take(name, &[d, d])?)?;
                    let product = |o: usize, i: usize| {
                        (0..d).map(|m| f64::from(w[o * d + m]) * turn[m * d + i]).sum::<f64>() as f32
                    };
                    Linear::new(d, d, product, None)
                }
            };
            Some((Keys::new(d, spec.history_frames), layer))
        } else {
            None
        };
        let rows = super::lanes::padded(d);
        let vector = || vec![0.0; rows];
        Ok(Self {
            dims: d,
            sphere: spec.sphere,
            attention: spec.attention,
            alpha,
            divide_by_count: spec.divide_by_count,
            substeps: spec.substeps,
            past: Past { memory, coupling },
            base: vector(),
            pull: vector(),
            k: std::array::from_fn(|_| vector()),
            at: vector(),
        })
    }

    /// Thread: audio. Never allocates, locks or logs.
    pub fn push(&mut self, z: &[f32]) {
        if let Some(memory) = &mut self.past.memory {
            memory.push(&z[..self.dims]);
        }
        if let Some((keys, _)) = &mut self.past.coupling {
            keys.push(&z[..self.dims]);
        }
    }

    /// `s`, the last state, one frame on. Thread: audio. Never allocates, locks or logs.
    pub fn advance(&mut self, level: Level, s: &mut [f32]) {
        let d = self.dims;
        self.base.fill(0.0);
        if let Some((keys, layer)) = &self.past.coupling
            && self.attention == Attention::Kuramoto
        {
            let scale = if self.divide_by_count { 1.0 / keys.count().max(1) as f64 } else { 1.0 };
            keys.sum(scale, &mut self.pull);
            layer.apply(level, &self.pull[..d], &mut self.base);
        }
        if let Some(memory) = &self.past.memory {
            memory.read(level, &mut self.at);
            self.base[..d].iter_mut().zip(&self.at).for_each(|(b, m)| *b += m);
        }
        let h = 1.0 / self.substeps as f32;
        for _ in 0..self.substeps {
            for stage in 0..4 {
                let step = [0.0, 0.5 * h, 0.5 * h, h][stage];
                self.at[..d].copy_from_slice(&s[..d]);
                if stage > 0 {
                    self.at[..d].iter_mut().zip(&self.k[stage - 1]).for_each(|(a, k)| *a += step * k);
                    self.retract();
                }
                self.velocity(level, stage);
            }
            let [k1, k2, k3, k4] = &self.k;
            for (i, s) in s[..d].iter_mut().enumerate() {
                *s += (h / 6.0) * (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]);
            }
            if self.sphere {
                sphere::retract(&mut s[..d]);
            }
        }
    }

    fn retract(&mut self) {
        if self.sphere {
            sphere::retract(&mut self.at[..self.dims]);
        }
    }

    /// The velocity at `at`, to `k[stage]`.
    fn velocity(&mut self, level: Level, stage: usize) {
        let d = self.dims;
        let Self { past, pull, at, base, k, .. } = self;
        let force = &mut k[stage];
        match &mut past.coupling {
            Some((keys, layer)) if self.attention == Attention::Sakaguchi => {
                let scale = if self.divide_by_count { 1.0 / keys.count().max(1) as f32 } else { 1.0 };
                keys.pull(level, at, self.alpha, scale, pull);
                layer.apply(level, &pull[..d], force);
                force[..d].iter_mut().zip(&*base).for_each(|(f, b)| *f += b);
            }
            _ => force[..d].copy_from_slice(&base[..d]),
        }
        if self.sphere {
            sphere::tangent(&mut force[..d], &at[..d]);
        }
    }

    pub fn reset(&mut self) {
        if let Some(memory) = &mut self.past.memory {
            memory.reset();
        }
        if let Some((keys, _)) = &mut self.past.coupling {
            keys.reset();
        }
    }

    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        if let Some(memory) = &mut self.past.memory {
            memory.state(io)?;
        }
        if let Some((keys, _)) = &mut self.past.coupling {
            keys.state(io)?;
        }
        Ok(())
    }
}

/// The memory's filters [dimension][tap], lag 0 first: learned taps, a mix of power laws, or their sum.
fn filters(spec: &Spec, tensors: &Tensors) -> Result<Vec<f32>, BuildError> {
    let (d, taps) = (spec.latent, spec.memory_taps);
    let mut total = vec![0.0f64; d * taps];
    if spec.memory != MemoryKind::Fractional {
        let free = tensors.take("dynamics.taps", &[d, taps])?;
        total.iter_mut().zip(free).for_each(|(t, f)| *t = f64::from(*f));
    }
    if spec.memory != MemoryKind::Free {
        let mix = tensors.take("dynamics.mix", &[d, spec.gammas])?;
        let logits = tensors.take("dynamics.gamma_logit", &[spec.gammas])?;
        for (g, logit) in logits.iter().enumerate() {
            // A logistic keeps the exponent between 0 and 1; far out it would round onto an end.
            let gamma = (1.0 / (1.0 + (-f64::from(*logit)).exp())).clamp(1e-9, 1.0 - 1e-9);
            let kernel = fractional::kernel(gamma, taps);
            for (i, row) in total.chunks_exact_mut(taps).enumerate() {
                let mix = f64::from(mix[i * spec.gammas + g]);
                row.iter_mut().zip(&kernel).for_each(|(t, k)| *t += mix * k);
            }
        }
    }
    Ok(total.into_iter().map(|v| v as f32).collect())
}
