//! State -> frame, each alone: two layers with rectifiers between, or one.

use super::Spec;
use super::linear::Linear;
use super::tensors::{BuildError, Tensors};
use crate::simd::Level;

pub struct Decoder {
    layers: Vec<Linear>,
    hidden: Vec<f32>,
    out: Vec<f32>,
}

impl Decoder {
    /// Thread: control. Allocates.
    pub fn new(spec: &Spec, tensors: &Tensors) -> Result<Self, BuildError> {
        let (d, c, wide) = (spec.latent, spec.channels, spec.decoder_width);
        let sizes = if wide == 0 { vec![("", d, c)] } else { vec![("0.", d, wide), ("2.", wide, c)] };
        let layers = sizes
            .iter()
            .map(|(at, inputs, outputs)| {
                let w = tensors.take(&format!("decoder.{at}weight"), &[*outputs, *inputs])?;
                let b = tensors.take(&format!("decoder.{at}bias"), &[*outputs])?;
                Ok(Linear::new(*outputs, *inputs, |o, i| w[o * inputs + i], Some(b)))
            })
            .collect::<Result<Vec<_>, BuildError>>()?;
        let (first, last) = (layers[0].rows(), layers[layers.len() - 1].rows());
        Ok(Self { hidden: vec![0.0; first], out: vec![0.0; last], layers })
    }

    /// Thread: audio. Never allocates, locks or logs.
    pub fn run(&mut self, level: Level, z: &[f32], frame: &mut [f32]) {
        if let [first, last] = &self.layers[..] {
            first.apply(level, z, &mut self.hidden);
            self.hidden.iter_mut().for_each(|v| *v = v.max(0.0));
            last.apply(level, &self.hidden, &mut self.out);
        } else {
            self.layers[0].apply(level, z, &mut self.out);
        }
        frame.copy_from_slice(&self.out[..frame.len()]);
    }
}
