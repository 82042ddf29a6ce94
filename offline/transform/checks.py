"""What the transform and the losses take, and how they refuse anything else."""

from __future__ import annotations

import torch
from torch import Tensor

from ...plugins._errors import AudioError


def batch(x: Tensor, name: str = "audio", *, at_least: int = 1, finite: bool = True) -> Tensor:
    """`x` if it is (batch, T) of real floating numbers; half precision comes back as float32.

    Parameters
    ----------
    x : [shape=(batch, T)], nothing else: a third axis would be broadcast in silence, and channels
        of the transform would be mixed with channels of the sound (defect 9 of the original)
    at_least : samples needed
    finite : whether to look for NaN and Inf (waits for a GPU)

    Raises AudioError that names the argument, what it is and what is wanted.
    """
    if not isinstance(x, Tensor):
        raise AudioError(f"{name}: is a {type(x).__name__}; a torch tensor of shape (batch, samples) is needed")
    shape = tuple(x.shape)
    if x.ndim != 2:
        hint = {
            1: "; say x[None] for one sound",
            3: "; say x[:, 0] for mono, or x.flatten(0, 1) to take channels as separate sounds",
        }.get(x.ndim, "")
        raise AudioError(f"{name}: has shape {shape}; (batch, samples) is needed{hint}")
    if not x.is_floating_point():
        raise AudioError(f"{name}: holds {str(x.dtype).removeprefix('torch.')}; float32 or float64 is needed")
    if x.shape[0] == 0 or x.shape[1] < at_least:
        raise AudioError(f"{name}: has shape {shape}; at least 1 sound of {at_least} samples is needed")
    if finite and not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).sum())
        raise AudioError(f"{name}: {bad} of {x.numel()} samples are NaN or Inf")
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def pair(estimate: Tensor, target: Tensor, *, at_least: int = 1, finite: bool = True) -> tuple[Tensor, Tensor]:
    """Estimate and target of one loss, both (batch, T), of the same shape and type."""
    estimate = batch(estimate, "estimate", at_least=at_least, finite=finite)
    target = batch(target, "target", at_least=at_least, finite=finite)
    if estimate.shape != target.shape:
        raise AudioError(
            f"estimate has shape {tuple(estimate.shape)}, target {tuple(target.shape)}; they must be equal"
        )
    return estimate, target.to(estimate.dtype)
