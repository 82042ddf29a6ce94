"""Filling of lost frames: encode what came before, roll the latent state on, decode once."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ...plugins._errors import AudioError
from .model import Manifold

F32 = NDArray[np.float32]
Bools = NDArray[np.bool_]

#: Below this rms what came before a gap is silence, and silence goes on.
SILENT = 1e-5


def gaps(lost: Bools) -> list[tuple[int, int]]:
    """Runs of lost frames as (start, end), end not included."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


@torch.no_grad()
def fill(model: Manifold, frames: F32, lost: Bools, *, window: int = 128, normalise: bool = False) -> F32:
    """`frames` with the lost ones put in.

    Parameters
    ----------
    frames : float32 [shape=(length, channels)]; what stands in lost frames is not looked at
    lost : bool [shape=(length,)]
    window : frames before a gap that count, and states that the dynamics look back on. A gap can be longer.
    normalise : scale what came before to unit rms, fill, scale back; for models of recordings

    Each gap sees the frames put into those before it. A gap at the end has no end to meet; one at the
    start has nothing to go on from and is an AudioError, as are shapes that do not fit and NaN.
    """
    x = np.array(frames, np.float32)
    if x.ndim != 2 or x.shape[1] != model.spec.channels:
        raise AudioError(f"frames of shape {x.shape}; (length, {model.spec.channels}) is needed")
    if lost.shape != (len(x),):
        raise AudioError(f"lost frames of shape {lost.shape}; one of each frame is needed, ({len(x)},)")
    if not lost.any():
        return x
    if lost[0]:
        first = gaps(lost)[0][1]
        raise AudioError(f"the first {first} frames are lost; at least one frame is needed before a gap")
    if not np.isfinite(x[~lost]).all():
        raise AudioError("the frames that are not lost hold NaN or Inf")
    model.eval()
    x[lost] = 0.0
    for start, end in gaps(lost):
        history = x[max(0, start - window) : start]
        level = float(np.sqrt(np.mean(history.astype(np.float64) ** 2)))
        if level < SILENT:
            continue
        scale = np.float32(1.0 / level if normalise else 1.0)
        z = model.encode(torch.from_numpy(history * scale)[None])
        x[start:end] = model.decode(model.rollout(z, end - start, window=window))[0].numpy() / scale
    return x
