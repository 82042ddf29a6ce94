"""Convolution with the bank's cut kernels by overlap-save, in bounded memory.

Oscillators go in runs of similar kernel length, so that the many short kernels of high oscillators
do not pay for the few long ones. Kernel spectra come in closed form, no kernel is ever transformed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kernels import Group, Kernels

#: What the complex spectra of one step may take.
WORKSPACE_BYTES = 32 * 1024**2
#: Kernel spectra kept from call to call; past this they are made anew each time.
KEPT_BYTES = 64 * 1024**2
_SMALLEST = 4096


def size_for(taps: int, frames: int) -> int:
    """Transform length: four kernels long, since then three quarters of each are of use; less for a short sound."""
    whole = frames + taps - 1
    return 1 << (min(whole, max(4 * taps, _SMALLEST)) - 1).bit_length()


class Spectra:
    """Kernel spectra as tensors of one type on one device, kept while they are small."""

    def __init__(self, kernels: Kernels, dtype: torch.dtype, device: torch.device):
        self.kernels = kernels
        self.kind = torch.complex128 if dtype == torch.float64 else torch.complex64
        self.device = device
        self._kept: dict[tuple[Group, int], Tensor] = {}
        self._bytes = 0

    def of(self, group: Group, size: int) -> Tensor:
        """[shape=(group.size, size)], complex."""
        key = (group, size)
        if key in self._kept:
            return self._kept[key]
        with torch.inference_mode(False):  # what is kept must also serve a later call with gradients
            made = torch.from_numpy(self.kernels.spectrum(group, size)).to(self.kind).to(self.device)
        cost = made.numel() * made.element_size()
        if self._bytes + cost <= KEPT_BYTES:
            self._kept[key] = made
            self._bytes += cost
        return made


def convolve(x: Tensor, group: Group, spectra: Spectra, past: int = 0) -> list[Tensor]:
    """States of a run of oscillators, piece by piece along time.

    Parameters
    ----------
    x : [shape=(batch, past + T)], real; rest (silence) goes before it
    past : samples at the start of `x` whose states are not wanted

    Returns
    -------
    pieces : complex [shape=(batch, group.size, t) each], T samples in all
    """
    sounds, frames = x.shape
    lead = group.taps - 1
    if past > lead:  # the kernel does not reach further back
        x = x[:, past - lead :]
        past, frames = lead, lead + frames - past
    size = size_for(group.taps, frames)
    step = size - lead
    padded = torch.nn.functional.pad(x, (lead - past, 0))
    wanted = frames - past
    one = sounds * size * x.element_size() * 2
    together = max(1, WORKSPACE_BYTES // (2 * one))
    pieces = []
    for at in range(0, wanted, step):
        block = padded[:, at : at + size]
        spectrum = torch.fft.fft(block, n=size)[:, None]
        valid = min(step, wanted - at)
        rows = []
        for first in range(group.first, group.last, together):
            part = Group(first, min(first + together, group.last), group.taps)
            rows.append(torch.fft.ifft(spectrum * spectra.of(part, size))[..., lead : lead + valid])
        pieces.append(torch.cat(rows, dim=1) if len(rows) > 1 else rows[0])
    return pieces
