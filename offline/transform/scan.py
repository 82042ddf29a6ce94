"""The bank's recurrence z[n] = λ z[n−1] + u[n], exact and differentiable, by matrix products over chunks.

Within a chunk of 32 samples the states are a triangular Toeplitz matrix of powers of λ times the
input; from chunk to chunk they go on by λ³², which is the same recurrence, 32 times shorter, and is
solved in the same way. No power is ever divided by, so nothing grows: |λ| < 1 makes every product
decay. After Blelloch 1990 ("Prefix sums and their applications") with the inner step as one
matrix product, as in Martin and Cundy 2018 ("Parallelizing linear recurrent neural nets over
sequence length").
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .kernels import Kernels

CHUNK = 32


class Powers:
    """Powers of λ as tensors: one set per level of the scan, made once."""

    def __init__(self, kernels: Kernels, dtype: torch.dtype, device: torch.device):
        self.kernels = kernels
        self.kind = torch.complex128 if dtype == torch.float64 else torch.complex64
        self.device = device
        self._levels: dict[int, tuple[Tensor, Tensor]] = {}  # by stride
        lags = np.subtract.outer(np.arange(CHUNK), np.arange(CHUNK))
        within = kernels.drive[:, None, None] * kernels.powers(np.maximum(lags, 0)) * (lags >= 0)
        # (CHUNK in) × (2, oscillators, CHUNK out): a real input needs two real products, no complex one.
        flat = np.stack([within.real, within.imag]).transpose(3, 0, 1, 2).reshape(CHUNK, -1)
        with torch.inference_mode(False):  # what is kept must also serve a later call with gradients
            self.first = torch.from_numpy(np.ascontiguousarray(flat)).to(dtype).to(device)

    def level(self, stride: int) -> tuple[Tensor, Tensor]:
        """For pole λ^stride: Toeplitz matrix [shape=(N, CHUNK in, CHUNK out)], powers 1 … CHUNK [shape=(N, CHUNK)]."""
        if stride not in self._levels:
            lags = np.subtract.outer(np.arange(CHUNK), np.arange(CHUNK)).T
            within = self.kernels.powers(stride * np.maximum(lags, 0)) * (lags >= 0)
            ahead = self.kernels.powers(stride * np.arange(1, CHUNK + 1))
            with torch.inference_mode(False):
                self._levels[stride] = (
                    torch.from_numpy(within).to(self.kind).to(self.device),
                    torch.from_numpy(ahead).to(self.kind).to(self.device),
                )
        return self._levels[stride]


def states(x: Tensor, powers: Powers, start: Tensor | None = None) -> Tensor:
    """Complex states after each sample of `x`.

    Parameters
    ----------
    x : [shape=(batch, T)], real
    start : states before the first sample [shape=(batch, N)], complex; None for rest

    Returns
    -------
    z : [shape=(batch, N, T)], complex
    """
    sounds, frames = x.shape
    chunks = -(-frames // CHUNK)
    padded = torch.nn.functional.pad(x, (0, chunks * CHUNK - frames))
    n = len(powers.kernels.decay)
    local = (padded.reshape(sounds * chunks, CHUNK) @ powers.first).reshape(sounds, chunks, 2, n, CHUNK)
    z = torch.complex(local[:, :, 0], local[:, :, 1]).transpose(1, 2)  # (batch, N, chunks, CHUNK)
    return _join(z, powers, 1, start)[..., :frames]


def _join(z: Tensor, powers: Powers, stride: int, start: Tensor | None) -> Tensor:
    """Adds to chunks solved from rest what came before them; (batch, N, chunks, CHUNK) -> (batch, N, all)."""
    chunks = z.shape[2]
    ahead = powers.level(stride)[1][:, None]  # (N, 1, CHUNK)
    if chunks > 1:
        ends = _scan(z[:, :, :-1, -1], powers, stride * CHUNK, start)
        first = torch.zeros_like(ends[..., :1]) if start is None else start[..., None]
        z = z + ahead * torch.cat([first, ends], dim=-1)[..., None]
    elif start is not None:
        z = z + ahead * start[:, :, None, None]
    return z.flatten(2)


def _scan(u: Tensor, powers: Powers, stride: int, start: Tensor | None) -> Tensor:
    """z[n] = λ^stride z[n−1] + u[n] along the last axis of complex `u` [shape=(batch, N, length)]."""
    length = u.shape[-1]
    chunks = -(-length // CHUNK)
    u = torch.nn.functional.pad(u, (0, chunks * CHUNK - length)).reshape(*u.shape[:2], chunks, CHUNK)
    z = u @ powers.level(stride)[0]
    return _join(z, powers, stride, start)[..., :length]
