"""The transform as torch sees it: two matrices, no biases, so that twice the sound gives twice the values.

Without a bias or a nonlinearity the model is a learned lapped transform (a multirate filter bank):
whatever level it was trained at, it does the same at any other.

Reference: H. S. Malvar, Signal Processing with Lapped Transforms, 1992.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .spec import CodecSpec

Init = Literal["mdct", "random"]


class Transform(nn.Module):
    """Frames to values and back.

    `analysis` [shape=(dims, encoder_taps · hop)]: columns of the newest frame first.
    `synthesis` [shape=(hop, decoder_taps · dims)]: columns of the newest values first; what it gives is
    the sound of `lookahead` frames ago.
    """

    def __init__(self, spec: CodecSpec, init: Init = "mdct", seed: int = 0):
        super().__init__()
        self.spec = spec
        analysis, synthesis = initial(spec, init, seed)
        self.analysis = nn.Parameter(torch.from_numpy(analysis))
        self.synthesis = nn.Parameter(torch.from_numpy(synthesis))

    def encode(self, x: Tensor) -> Tensor:
        """Values [shape=(clips, frames, dims)] of sound [shape=(clips, frames · hop)], silence before it."""
        frames = x.reshape(x.shape[0], -1, self.spec.hop)
        return _taps(frames, self.spec.encoder_taps) @ self.analysis.T

    def decode(self, z: Tensor) -> Tensor:
        """Sound [shape=(clips, frames · hop)], `delay_samples` later, of values [shape=(clips, frames, dims)]."""
        return (_taps(z, self.spec.decoder_taps) @ self.synthesis.T).flatten(-2)

    def encode_step(self, frame: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """One frame's values, and the past for the next frame.

        frame : [shape=(clips, hop)]; past : the frames before it, newest first
        [shape=(clips, (encoder_taps − 1) · hop)]
        """
        seen = torch.cat([frame, past], dim=-1)
        return seen @ self.analysis.T, seen[..., : past.shape[-1]]

    def decode_step(self, z: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """One frame's sound, and the past for the next frame.

        z : [shape=(clips, dims)]; past : the values before it, newest first
        [shape=(clips, (decoder_taps − 1) · dims)]
        """
        seen = torch.cat([z, past], dim=-1)
        return seen @ self.synthesis.T, seen[..., : past.shape[-1]]


def _taps(frames: Tensor, taps: int) -> Tensor:
    """Each frame with those before it, newest first [shape=(clips, frames, taps · width)]."""
    count = frames.shape[-2]
    padded = nn.functional.pad(frames, (0, 0, taps - 1, 0))
    return torch.cat([padded[..., taps - 1 - k : taps - 1 - k + count, :] for k in range(taps)], dim=-1)


def initial(spec: CodecSpec, init: Init, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Analysis and synthesis to start from.

    `mdct`: the sine-windowed modulated lapped transform over two frames (perfect reconstruction with
    `dims` = `hop`; fewer dims keep its lowest bands), other taps 0. `random`: Gaussian, of a size that keeps levels.
    """
    n, d, a, s = spec.hop, spec.dims, spec.encoder_taps, spec.decoder_taps
    if init == "random":
        rng = np.random.default_rng(seed)
        return (
            rng.standard_normal((d, a * n), np.float32) / np.float32(np.sqrt(a * n)),
            rng.standard_normal((n, s * d), np.float32) / np.float32(np.sqrt(s * d)),
        )
    if d > n or min(a, s) < 2 or spec.lookahead != 1:
        raise ValueError("the lapped start needs dims ≤ hop, two taps or more, and a look-ahead of 1")
    t, k = np.arange(2 * n), np.arange(d)
    window = np.sin(np.pi * (t + 0.5) / (2 * n))
    basis = np.sqrt(2 / n) * window * np.cos(np.pi / n * (t + 0.5 + n / 2) * (k[:, None] + 0.5))
    analysis, synthesis = np.zeros((d, a * n), np.float32), np.zeros((n, s * d), np.float32)
    # basis: first half meets the older frame. Values z_t = B0 x_{t-1} + B1 x_t;
    # x_{t-1} = B0ᵀ z_t + B1ᵀ z_{t-1}.
    analysis[:, :n], analysis[:, n : 2 * n] = basis[:, n:], basis[:, :n]
    synthesis[:, :d], synthesis[:, d : 2 * d] = basis[:, :n].T, basis[:, n:].T
    return analysis, synthesis
