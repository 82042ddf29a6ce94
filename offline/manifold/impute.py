"""Filling of lost frames: encode what came before, roll the latent state on, decode once.

A training runs by torch, a package (`cspace.manifoldpackage`) by Rust's steps, without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...manifoldpackage import Package
from ...plugins._errors import AudioError

if TYPE_CHECKING:
    from .model import Manifold

F32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

#: Below this rms what came before a gap is silence, and silence goes on.
SILENT = 1e-5


def gaps(lost: Bools) -> list[tuple[int, int]]:
    """Runs of lost frames as (start, end), end not included."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def fill(
    model: Manifold | Package, frames: F32, lost: Bools, *, window: int | None = None, normalise: bool | None = None
) -> F32:
    """`frames` with the lost ones put in.

    Parameters
    ----------
    model : a trained one, run by torch, or a package, run by Rust
    frames : float32 [shape=(length, channels)]; what stands in lost frames is not looked at
    lost : bool [shape=(length,)]
    window : frames before a gap that count, and states that the dynamics look back on. A gap can be longer.
        By default what a package says, or 128.
    normalise : scale what came before to unit rms, fill, scale back; for models of recordings. By default
        what a package says, or no.

    Each gap sees the frames put into those before it. A gap at the end has no end to meet; one at the
    start has nothing to go on from and is an AudioError, as are shapes that do not fit and NaN.
    """
    if isinstance(model, Package):
        channels, manifest = model.channels, model.manifest
        window = manifest.history_frames if window is None else window
        normalise = manifest.normalise if normalise is None else normalise
    else:
        channels, window, normalise = model.spec.channels, 128 if window is None else window, bool(normalise)
    x = np.array(frames, np.float32)
    if x.ndim != 2 or x.shape[1] != channels:
        raise AudioError(f"frames of shape {x.shape}; (length, {channels}) is needed")
    if lost.shape != (len(x),):
        raise AudioError(f"lost frames of shape {lost.shape}; one of each frame is needed, ({len(x)},)")
    if not lost.any():
        return x
    if lost[0]:
        first = gaps(lost)[0][1]
        raise AudioError(f"the first {first} frames are lost; at least one frame is needed before a gap")
    if not np.isfinite(x[~lost]).all():
        raise AudioError("the frames that are not lost hold NaN or Inf")
    x[lost] = 0.0
    roll = _Rust(model, window) if isinstance(model, Package) else _Torch(model, window)
    for start, end in gaps(lost):
        history = x[max(0, start - window) : start]
        level = float(np.sqrt(np.mean(history.astype(np.float64) ** 2)))
        if level < SILENT:
            continue
        scale = np.float32(1.0 / level if normalise else 1.0)
        x[start:end] = roll(history * scale, end - start) / scale
    return x


class _Torch:
    """History [shape=(length, channels)] -> the frames after it, by torch."""

    def __init__(self, model: Manifold, window: int):
        self.model, self.window = model.eval(), window

    def __call__(self, history: F32, frames: int) -> F32:
        import torch

        with torch.no_grad():
            z = self.model.encode(torch.from_numpy(history)[None])
            made: F32 = self.model.decode(self.model.rollout(z, frames, window=self.window))[0].numpy()
        return made


class _Rust:
    """The same by Rust's steps."""

    def __init__(self, package: Package, window: int):
        self.stepper = package.stepper(history_frames=window)

    def __call__(self, history: F32, frames: int) -> F32:
        self.stepper.reset()
        try:
            self.stepper.push(history)
            return self.stepper.decode(self.stepper.roll(frames))
        except ValueError as e:  # numbers beyond float32
            raise AudioError(f"a gap cannot be filled: {e}") from None
