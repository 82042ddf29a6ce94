//! Frame -> point of the sphere: causal convolutions as a streaming step, each over its own ring.

use super::lanes::{load, padded, silu, store};
use super::linear::Linear;
use super::sphere;
use super::tensors::{BuildError, Tensors};
use super::{EncoderKind, Spec};
use crate::simd::{Kernel, LANES, Level};
use crate::{StateError, StateIo};

/// One causal convolution and the inputs it looks back on.
struct Conv {
    inputs: usize,
    taps: usize,
    dilation: usize,
    /// Inputs of tap 0 first, tap 0 the oldest.
    layer: Linear,
    ring: Vec<f32>,
    slots: usize,
    at: usize,
}

impl Conv {
    fn new(
        tensors: &Tensors,
        name: &str,
        [outputs, inputs, taps]: [usize; 3],
        dilation: usize,
    ) -> Result<Self, BuildError> {
        let w = tensors.take(&format!("{name}.weight"), &[outputs, inputs, taps])?;
        let b = tensors.take(&format!("{name}.bias"), &[outputs])?;
        let at = |o: usize, i: usize| w[(o * inputs + i % inputs) * taps + i / inputs];
        let slots = (taps - 1) * dilation + 1;
        Ok(Self {
            inputs,
            taps,
            dilation,
            layer: Linear::new(outputs, taps * inputs, at, Some(b)),
            ring: vec![0.0; slots * inputs],
            slots,
            at: 0,
        })
    }

    fn run(&mut self, level: Level, x: &[f32], y: &mut [f32]) {
        self.at = if self.at + 1 == self.slots { 0 } else { self.at + 1 };
        self.ring[self.at * self.inputs..][..self.inputs].copy_from_slice(&x[..self.inputs]);
        self.layer.start(y);
        for tap in 0..self.taps {
            let lag = (self.taps - 1 - tap) * self.dilation;
            let slot = if self.at >= lag { self.at - lag } else { self.at + self.slots - lag };
            let past = &self.ring[slot * self.inputs..][..self.inputs];
            self.layer.add(level, tap * self.inputs, past, y);
        }
    }

    fn reset(&mut self) {
        self.ring.fill(0.0);
        self.at = 0;
    }

    fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        io.f32s(&mut self.ring)?;
        io.usize(&mut self.at)?;
        if self.at >= self.slots { Err(StateError::Mismatch) } else { Ok(()) }
    }
}

/// All layers, in order.
pub struct Encoder {
    /// `residual` only: frame to the width of the layers.
    inlet: Option<Conv>,
    convs: Vec<Conv>,
    outlet: Conv,
    sphere: bool,
    rotation: Option<Linear>,
    now: Vec<f32>,
    next: Vec<f32>,
}

impl Encoder {
    /// Thread: control. Allocates.
    pub fn new(spec: &Spec, tensors: &Tensors) -> Result<Self, BuildError> {
        let (c, w, d) = (spec.channels, spec.width, spec.latent);
        let conv =
            |i: usize, size, dilation| Conv::new(tensors, &format!("encoder.convs.{i}"), size, dilation);
        let (inlet, convs) = match spec.encoder {
            EncoderKind::Residual => (
                Some(Conv::new(tensors, "encoder.inlet", [w, c, 1], 1)?),
                (0..spec.layers).map(|i| conv(i, [w, w, 3], 1 << i)).collect::<Result<Vec<_>, _>>()?,
            ),
            EncoderKind::Original => (None, vec![conv(0, [w, c, 5], 1)?, conv(1, [w, w, 5], 1)?]),
        };
        let outlet = Conv::new(tensors, "encoder.outlet", [d, w, 1], 1)?;
        let rotation = if spec.static_rotation {
            let name = "rotation.weight";
            let turn = sphere::cayley(name, d, tensors.take(name, &[d, d])?)?;
            Some(Linear::new(d, d, |o, i| turn[o * d + i] as f32, None))
        } else {
            None
        };
        let room = padded(c.max(w).max(d));
        Ok(Self {
            inlet,
            convs,
            outlet,
            sphere: spec.sphere,
            rotation,
            now: vec![0.0; room],
            next: vec![0.0; room],
        })
    }

    /// One frame on; its state goes to the front of `z`, which has room for the padding.
    /// Thread: audio. Never allocates, locks or logs.
    pub fn run(&mut self, level: Level, frame: &[f32], z: &mut [f32], dims: usize) {
        let Self { inlet, convs, outlet, now, next, .. } = self;
        let residual = inlet.is_some();
        match inlet {
            Some(inlet) => inlet.run(level, frame, now),
            None => now[..frame.len()].copy_from_slice(frame),
        }
        for conv in convs {
            conv.run(level, now, next);
            let rows = conv.layer.rows();
            if residual {
                level.run(AddSilu { now: &mut now[..rows], next: &next[..rows] });
            } else {
                now[..rows].iter_mut().zip(&next[..rows]).for_each(|(n, v)| *n = v.max(0.0));
            }
        }
        outlet.run(level, now, z);
        if self.sphere {
            sphere::retract(&mut z[..dims]);
        }
        if let Some(rotation) = &self.rotation {
            rotation.apply(level, &z[..dims], &mut self.next);
            z.copy_from_slice(&self.next[..z.len()]);
        }
    }

    pub fn reset(&mut self) {
        self.parts().for_each(Conv::reset);
    }

    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        self.parts().try_for_each(|c| c.state(io))
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Conv> {
        self.inlet.iter_mut().chain(&mut self.convs).chain([&mut self.outlet])
    }
}

/// now += silu(next).
struct AddSilu<'a> {
    now: &'a mut [f32],
    next: &'a [f32],
}

impl Kernel for AddSilu<'_> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        for (now, next) in self.now.chunks_exact_mut(LANES).zip(self.next.chunks_exact(LANES)) {
            let sum = load(now) + silu::<FMA>(load(next));
            store(sum, now);
        }
    }
}
