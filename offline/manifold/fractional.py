"""Power-law (fractional) kernels: as a memory that is really used, and as a loss that really differs by gamma."""

from __future__ import annotations

import torch
from torch import Tensor


def kernel(gamma: Tensor, taps: int) -> Tensor:
    """g[n] = n^(−gamma) / Gamma(1 − gamma), n = 1 … taps [shape=(*gamma.shape, taps)]; 0 < gamma < 1.

    The kernel of a fractional integral of order 1 − gamma (Riemann and Liouville), sampled at whole frames.
    """
    n = torch.arange(1, taps + 1, dtype=gamma.dtype, device=gamma.device)
    return torch.exp(-gamma[..., None] * torch.log(n) - torch.lgamma(1.0 - gamma)[..., None])


def causal(x: Tensor, taps: Tensor) -> Tensor:
    """y[t] = Σ_n taps[…, n] x[t − n], n = 0 …; nothing before the start [x, y: shape=(batch, length, channels)].

    `taps` [shape=(channels, taps)] is one filter per channel.
    """
    padded = torch.nn.functional.pad(x.transpose(1, 2), (taps.shape[1] - 1, 0))
    return torch.nn.functional.conv1d(padded, taps.flip(1)[:, None], groups=taps.shape[0]).transpose(1, 2)


def log_energy_distance(estimate: Tensor, target: Tensor, gammas: tuple[float, ...], taps: int = 128) -> Tensor:
    """Mean |ln E(estimate) − ln E(target)| over kernels, E the energy of each filtered channel [shape=(gammas,)].

    The energy is taken after the kernel and before the logarithm, so the kernel weighs frequencies by its own
    response and does not cancel as it does in a ratio of spectra bin by bin (defect 1 of the original).
    """
    found = []
    for gamma in gammas:
        g = kernel(torch.tensor(gamma, dtype=target.dtype), taps).expand(target.shape[2], taps)
        energy = [causal(v, g).square().mean(1) for v in (estimate, target)]
        floor = 1e-4 * energy[1].detach().amax(1, keepdim=True) + 1e-12
        found.append((torch.log(energy[0] + floor) - torch.log(energy[1] + floor)).abs().mean())
    return torch.stack(found)
