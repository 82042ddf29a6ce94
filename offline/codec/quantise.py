"""From values to integers and back, at any level; and the rate that a step costs, in a form with gradients."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .spec import CODE_MAX, STEP_MAX, STEP_ZERO, STEPS_PER_OCTAVE

F32 = NDArray[np.float32]
I16 = NDArray[np.int16]


def step_size(index: NDArray[np.integer] | int) -> NDArray[np.float64]:
    """The step of an index 0 … 255, a power of two in eighths."""
    return np.exp2((np.asarray(index, np.float64) - STEP_ZERO) / STEPS_PER_OCTAVE)


def smallest_step(peak: float) -> int:
    """The smallest index whose codes hold a value of magnitude `peak`."""
    if peak <= 0.0:
        return 0
    return int(np.clip(np.ceil(np.log2(peak / (CODE_MAX + 0.49)) * STEPS_PER_OCTAVE + STEP_ZERO), 0, STEP_MAX))


def quantise(z: F32, index: int, deadzone: float) -> I16:
    """Codes of values at a step; magnitudes round up from 0.5 + `deadzone` only, since a 0 costs least."""
    scaled = np.abs(z) / np.float32(step_size(index))
    whole = np.minimum(np.floor(scaled + np.float32(0.5 - deadzone)), CODE_MAX)
    return np.where(z < 0, -whole, whole).astype(np.int16)


def dequantise(codes: I16, index: int, shrink: float) -> F32:
    """Values of codes at a step, `shrink` steps nearer to 0, where values of a code are denser."""
    magnitude = np.abs(codes.astype(np.float32)) - np.float32(shrink)
    return np.where(codes == 0, 0.0, np.sign(codes) * magnitude * np.float32(step_size(index))).astype(np.float32)


def proxy_bits(z: Tensor, step: Tensor) -> Tensor:
    """Bits per value, ½ log2(1 + 12 (z/step)²): the entropy of a value whose scale is known, smoothed at 0.

    Parameters
    ----------
    z : values [shape=(clips, frames, dims)]
    step : [shape=(clips, 1, 1)]

    Returns
    -------
    [shape=(clips,)]
    """
    return 0.5 * torch.log2(1.0 + 12.0 * (z / step).square()).mean(dim=(1, 2))


def step_for_rate(z: Tensor, bits: float, rounds: int = 24) -> Tensor:
    """The step at which each clip costs `bits` per value by `proxy_bits` [shape=(clips, 1, 1)], with its gradient.

    Bisection finds the step; one Newton step from there, which changes nothing but carries the implicit
    derivative d ln step / dz = −(∂R/∂z) / (∂R/∂ ln step), makes it differentiable. So the rate is a
    constraint, held at every moment, and no term of the loss.
    """
    with torch.no_grad():
        level = z.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp_min(1e-20).log2()
        low, high = level - 40.0, level + 10.0
        for _ in range(rounds):
            middle = (low + high) / 2
            dear = (proxy_bits(z, middle.exp2()) > bits)[:, None, None]
            low, high = torch.where(dear, middle, low), torch.where(dear, high, middle)
        found = ((low + high) / 2) * np.log(2.0)
    probe = found.clone().requires_grad_()
    with torch.enable_grad():
        slope = torch.autograd.grad(proxy_bits(z.detach(), probe.exp()).sum(), probe)[0]
    miss = proxy_bits(z, found.exp())[:, None, None] - bits
    step: Tensor = (found - (miss - miss.detach()) / slope).exp()
    return step
