//! The music manifold, stepped: one frame in, one state on the sphere out, from carried state.
//!
//! A causal encoder puts a frame on the unit sphere; dynamics move the state one frame on; a decoder
//! makes a frame of a state. Training does it with torch over whole sequences (`offline/manifold`);
//! here every step takes the same time, and what it takes grows at most linearly with the frames
//! looked back on ([`Spec::history_frames`]). Nothing is allocated after construction.
//!
//! `setup.rs` checks a [`Spec`] and its tensors; `step.rs` runs. The parts have a file each.

mod decoder;
mod encoder;
mod flow;
pub mod fractional;
mod gru;
mod keys;
mod lanes;
mod linear;
mod memory;
mod rotor;
mod setup;
mod sphere;
mod step;
mod tensors;

pub use setup::{Attention, Dynamics, EncoderKind, MemoryKind, Spec};
pub use step::{Manifold, StepError};
pub use tensors::{BuildError, Tensors};
