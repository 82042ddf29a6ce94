//! What a model is: its sizes and switches, checked.

use super::tensors::BuildError;

/// The layers before the sphere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderKind {
    /// Dilated causal convolutions of kernel 3, each added to its input after SiLU.
    Residual,
    /// The original's two of kernel 5, rectified.
    Original,
}

/// How a state moves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamics {
    /// It stays.
    Identity,
    /// A gated recurrent unit is added.
    Residual,
    /// Causal filters over the past, as a velocity.
    Memory,
    /// Attention to the past, as a velocity.
    Kuramoto,
    /// Both.
    Full,
    /// One rotation fitted to the past.
    Rotor,
}

impl Dynamics {
    pub(super) fn remembers(self) -> bool {
        matches!(self, Self::Memory | Self::Full)
    }

    pub(super) fn couples(self) -> bool {
        matches!(self, Self::Kuramoto | Self::Full)
    }
}

/// What the memory's filters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Learned taps.
    Free,
    /// A mix of power-law kernels.
    Fractional,
    /// Their sum.
    Both,
}

/// What attention weighs the past by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// sin(⟨s, k⟩ + alpha) for each past state k.
    Sakaguchi,
    /// All alike: the mean, turned by a learned rotation.
    Kuramoto,
}

/// Sizes and switches, as `ModelSpec` in `offline/manifold/spec.py` has them.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Values of a frame, 1 to 1024.
    pub channels: usize,
    /// Dimensions of a state, 2 to 512.
    pub latent: usize,
    /// See [`EncoderKind`].
    pub encoder: EncoderKind,
    /// Channels of the encoder's layers, 1 to 1024.
    pub width: usize,
    /// Layers of the residual encoder, 0 to 12.
    pub layers: usize,
    /// States have length 1.
    pub sphere: bool,
    /// The encoder's states are turned by a learned rotation.
    pub static_rotation: bool,
    /// See [`Dynamics`].
    pub dynamics: Dynamics,
    /// See [`MemoryKind`].
    pub memory: MemoryKind,
    /// Frames that the memory's filters reach, 1 to 4096.
    pub memory_taps: usize,
    /// Power-law kernels of the memory, 1 to 64.
    pub gammas: usize,
    /// See [`Attention`].
    pub attention: Attention,
    /// Attention is a mean, not a sum.
    pub divide_by_count: bool,
    /// Runge-Kutta steps to a frame, 1 to 32.
    pub substeps: usize,
    /// Width of the decoder's hidden layer, 0 (linear) to 4096.
    pub decoder_width: usize,
    /// States that the dynamics look back on, 1 to 65,536: the `window` of `rollout` in training. The
    /// recurrent unit carries its own state and has no such limit.
    pub history_frames: usize,
    /// Rotor only: the rotation is found in every frame, so that `ahead` can be asked for.
    pub predicts: bool,
}

impl Spec {
    /// Every size in its range.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        for (name, value, low, high) in [
            ("channels", self.channels, 1, 1024),
            ("latent", self.latent, 2, 512),
            ("width", self.width, 1, 1024),
            ("layers", self.layers, 0, 12),
            ("memory_taps", self.memory_taps, 1, 4096),
            ("gammas", self.gammas, 1, 64),
            ("substeps", self.substeps, 1, 32),
            ("decoder_width", self.decoder_width, 0, 4096),
            ("history_frames", self.history_frames, 1, 65_536),
        ] {
            if !(low..=high).contains(&value) {
                return Err(BuildError(format!("{name} is {value}; it is {low} to {high}")));
            }
        }
        if self.dynamics == Dynamics::Rotor && !self.sphere {
            return Err(BuildError("dynamics rotor turns the sphere, and space is euclid".to_owned()));
        }
        Ok(())
    }
}
