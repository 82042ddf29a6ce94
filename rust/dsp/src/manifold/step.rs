//! The model as it runs: frame in, state out; state on, frame out.

use super::decoder::Decoder;
use super::encoder::Encoder;
use super::flow::Flow;
use super::gru::Gru;
use super::lanes::padded;
use super::rotor::Rotor;
use super::tensors::{BuildError, Tensors};
use super::{Dynamics, Spec, sphere};
use crate::simd::Level;
use crate::{StateError, StateIo};

/// Why a step was not done. The model is as it was before, unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepError {
    /// A frame or state of another length.
    Length {
        /// What came.
        got: usize,
        /// What is needed.
        want: usize,
    },
    /// NaN or Inf at this place of the frame or state.
    NotFinite(usize),
    /// The numbers left float32's range; the model was reset.
    Overflow,
    /// Nothing was heard yet, so there is nothing to go on from.
    NoPast,
    /// `ahead` of a rotor that was built without `predicts`.
    NotPredicting,
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length { got, want } => write!(f, "{got} values came; {want} are needed"),
            Self::NotFinite(at) => write!(f, "value {at} is NaN or Inf"),
            Self::Overflow => f.write_str("the states left float32's range; the model was reset"),
            Self::NoPast => f.write_str("nothing was heard yet; at least one frame is needed to go on from"),
            Self::NotPredicting => f.write_str("the rotor was built for rollouts alone; set predicts"),
        }
    }
}
impl std::error::Error for StepError {}

enum Motion {
    Identity,
    Recurrent(Gru),
    Flow(Flow),
    Rotor(Rotor),
}

/// A model with its carried state. Build it on the control thread; every other method may run on the
/// audio thread and never allocates, locks or logs.
pub struct Manifold {
    spec: Spec,
    level: Level,
    encoder: Encoder,
    motion: Motion,
    decoder: Decoder,
    /// The last state, padded; meaningful once something was heard.
    last: Vec<f32>,
    next: Vec<f32>,
    made: Vec<f32>,
    started: bool,
}

impl Manifold {
    /// Checks the sizes and takes the weights, by the names torch gave them. Thread: control. Allocates.
    pub fn new(spec: &Spec, tensors: &Tensors) -> Result<Self, BuildError> {
        spec.check()?;
        let encoder = Encoder::new(spec, tensors)?;
        let motion = match spec.dynamics {
            Dynamics::Identity => Motion::Identity,
            Dynamics::Residual => Motion::Recurrent(Gru::new(spec.latent, tensors)?),
            Dynamics::Rotor => Motion::Rotor(Rotor::new(spec.latent, spec.history_frames, spec.predicts)),
            _ => Motion::Flow(Flow::new(spec, tensors)?),
        };
        let decoder = Decoder::new(spec, tensors)?;
        tensors.finish()?;
        let rows = padded(spec.latent);
        Ok(Self {
            level: Level::detect(),
            encoder,
            motion,
            decoder,
            last: vec![0.0; rows],
            next: vec![0.0; rows],
            made: vec![0.0; spec.channels],
            started: false,
            spec: spec.clone(),
        })
    }

    /// What it was built from.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Another instruction set than the machine's best; for tests. Thread: control.
    pub fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    /// A frame that was heard; its state becomes the last, and goes to `z`. Thread: audio.
    pub fn push(&mut self, frame: &[f32], z: &mut [f32]) -> Result<(), StepError> {
        check(frame, self.spec.channels)?;
        room(z, self.spec.latent)?;
        self.encoder.run(self.level, frame, &mut self.next, self.spec.latent);
        self.take_next(true)?;
        z.copy_from_slice(&self.last[..self.spec.latent]);
        Ok(())
    }

    /// A state in place of a frame: what `push` would have made of one. Thread: audio.
    pub fn place(&mut self, z: &[f32]) -> Result<(), StepError> {
        check(z, self.spec.latent)?;
        self.next[..z.len()].copy_from_slice(z);
        if self.spec.sphere {
            sphere::retract(&mut self.next[..z.len()]);
        }
        self.take_next(true)
    }

    /// The state one frame on from the last, to `z`; nothing moves. Thread: audio.
    pub fn ahead(&mut self, z: &mut [f32]) -> Result<(), StepError> {
        room(z, self.spec.latent)?;
        self.one_on(false)?;
        z.copy_from_slice(&self.next[..self.spec.latent]);
        if z.iter().all(|v| v.is_finite()) { Ok(()) } else { Err(self.overflow()) }
    }

    /// A lost frame: the state one frame on becomes the last, and goes to `z`. Thread: audio.
    pub fn roll(&mut self, z: &mut [f32]) -> Result<(), StepError> {
        room(z, self.spec.latent)?;
        self.one_on(true)?;
        self.take_next(false)?;
        z.copy_from_slice(&self.last[..self.spec.latent]);
        Ok(())
    }

    /// The frame of a state, to `frame`. Thread: audio.
    pub fn decode(&mut self, z: &[f32], frame: &mut [f32]) -> Result<(), StepError> {
        check(z, self.spec.latent)?;
        room(frame, self.spec.channels)?;
        self.decoder.run(self.level, z, frame);
        Ok(())
    }

    /// One frame of a stream, heard or lost: the decoded state, to `out`.
    ///
    /// The encoder hears what was put in for a lost frame, so that its convolutions look back on sound
    /// after a gap, not on silence. Before anything was heard, a lost frame gives zeros. Thread: audio.
    pub fn step(&mut self, frame: Option<&[f32]>, out: &mut [f32]) -> Result<(), StepError> {
        room(out, self.spec.channels)?;
        match frame {
            Some(frame) => {
                check(frame, self.spec.channels)?;
                self.encoder.run(self.level, frame, &mut self.next, self.spec.latent);
                self.take_next(true)?;
                self.decoder.run(self.level, &self.last[..self.spec.latent], out);
            }
            None if !self.started => out.fill(0.0),
            None => {
                self.one_on(true)?;
                self.take_next(false)?;
                self.decoder.run(self.level, &self.last[..self.spec.latent], out);
                self.made.copy_from_slice(out);
                self.encoder.run(self.level, &self.made, &mut self.next, self.spec.latent);
            }
        }
        if out.iter().all(|v| v.is_finite()) { Ok(()) } else { Err(self.overflow()) }
    }

    /// Forgets all that was heard. Thread: audio.
    pub fn reset(&mut self) {
        self.encoder.reset();
        match &mut self.motion {
            Motion::Identity => {}
            Motion::Recurrent(gru) => gru.reset(),
            Motion::Flow(flow) => flow.reset(),
            Motion::Rotor(rotor) => rotor.reset(),
        }
        self.last.fill(0.0);
        self.started = false;
    }

    /// Saves or restores what was heard. After an error in restoring, reset. Thread: control.
    pub fn state(&mut self, io: &mut StateIo<'_>) -> Result<(), StateError> {
        self.encoder.state(io)?;
        match &mut self.motion {
            Motion::Identity => {}
            Motion::Recurrent(gru) => gru.state(io)?,
            Motion::Flow(flow) => flow.state(io)?,
            Motion::Rotor(rotor) => rotor.state(io)?,
        }
        io.f32s(&mut self.last)?;
        io.bool(&mut self.started)
    }

    /// The state one frame on, to `next`.
    fn one_on(&mut self, rolling: bool) -> Result<(), StepError> {
        if !self.started {
            return Err(StepError::NoPast);
        }
        let (d, level) = (self.spec.latent, self.level);
        let next = &mut self.next;
        match &mut self.motion {
            Motion::Rotor(rotor) if rolling => rotor.roll(level, next),
            Motion::Rotor(rotor) if rotor.predicts() => rotor.ahead(next),
            Motion::Rotor(_) => return Err(StepError::NotPredicting),
            Motion::Identity => next.copy_from_slice(&self.last),
            Motion::Recurrent(gru) => {
                gru.read(level, next);
                next[..d].iter_mut().zip(&self.last).for_each(|(n, s)| *n += s);
                if self.spec.sphere {
                    sphere::retract(&mut next[..d]);
                }
            }
            Motion::Flow(flow) => {
                next.copy_from_slice(&self.last);
                flow.advance(level, next);
            }
        }
        Ok(())
    }

    /// `next` becomes the last state, and part of the past.
    fn take_next(&mut self, heard: bool) -> Result<(), StepError> {
        let d = self.spec.latent;
        if !self.next[..d].iter().all(|v| v.is_finite()) {
            return Err(self.overflow());
        }
        self.last[..d].copy_from_slice(&self.next[..d]);
        self.started = true;
        match &mut self.motion {
            Motion::Identity => {}
            Motion::Recurrent(gru) => gru.push(self.level, &self.last[..d]),
            Motion::Flow(flow) => flow.push(&self.last[..d]),
            Motion::Rotor(rotor) => rotor.push(self.level, &self.last[..d], heard),
        }
        Ok(())
    }

    fn overflow(&mut self) -> StepError {
        self.reset();
        StepError::Overflow
    }
}

fn room(x: &[f32], want: usize) -> Result<(), StepError> {
    if x.len() == want { Ok(()) } else { Err(StepError::Length { got: x.len(), want }) }
}

fn check(x: &[f32], want: usize) -> Result<(), StepError> {
    room(x, want)?;
    x.iter().position(|v| !v.is_finite()).map_or(Ok(()), |at| Err(StepError::NotFinite(at)))
}
