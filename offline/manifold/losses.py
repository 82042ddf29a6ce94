"""Terms of the loss, each by name. What is asked for is summed; what is summed is logged."""

from __future__ import annotations

import torch
from torch import Tensor

from ...plugins._errors import ParameterError
from . import fractional
from .data import Batch
from .model import Manifold, Passed
from .spec import GAMMAS, LossSpec

#: Energy-weighted distance: bins below this share of the largest count for nothing, and levels stop 20 dB lower.
FLOOR, LEVEL_FLOOR = 0.01, 0.001
#: Zeros that both spectral distances append, as the original did, so that bins lie between the tones too.
PAD = 128


def spectral(estimate: Tensor, target: Tensor, phase: float = 0.5) -> Tensor:
    """Distance of spectra over time, every bin by its magnitude [both: shape=(batch, length, channels)].

    Spectra of both with zeros behind; w = |Y| + |P|, held fixed for the gradient, nothing below 1 % of the
    largest, summing to 1 over a channel's bins; Σ w (|ln |P| − ln |Y|| + phase (1 − cos(arg P − arg Y))),
    averaged over channels. Empty bins, which ruled the original's loss (defect 4), count for nothing.
    """
    bins = target.shape[1] + PAD
    p, y = torch.fft.rfft(estimate, bins, dim=1), torch.fft.rfft(target, bins, dim=1)
    a, b = p.abs(), y.abs()
    weight = (a + b).detach()
    top = weight.amax(1, keepdim=True).clamp_min(1e-8)
    weight = torch.where(weight >= FLOOR * top, weight, torch.zeros_like(weight))
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1e-8)
    level = (torch.log(a + LEVEL_FLOOR * top) - torch.log(b + LEVEL_FLOOR * top)).abs()
    # Where both are equal and count at all, neither is below half the floor, so equal spectra are at 0;
    # the clamp bounds the gradient of an estimate that has nothing where the target has much.
    half = 0.5 * FLOOR * top
    turn = 1.0 - (p * y.conj()).real / (a.clamp_min(half) * b.clamp_min(half))
    distance: Tensor = (weight * (level + phase * turn)).sum(1).mean()
    return distance


def original(
    estimate: Tensor, target: Tensor, gammas: tuple[float, ...] = GAMMAS, phase: float = 1.0, taps: int = PAD
) -> Tensor:
    """The prototype's spectral loss, for each gamma [shape=(gammas,)]; they are equal, since the kernel cancels."""
    length = estimate.shape[1] + taps
    p, q = torch.fft.rfft(estimate, length, dim=1), torch.fft.rfft(target, length, dim=1)
    out = []
    for gamma in gammas:
        k = torch.fft.rfft(fractional.kernel(torch.tensor(gamma), taps), length)[:, None]
        a, b = p * k, q * k
        level = (torch.log(a.abs() + 1e-8) - torch.log(b.abs() + 1e-8)).abs().mean()
        out.append(level + phase * (1.0 - torch.cos(a.angle() - b.angle())).mean())
    return torch.stack(out)


def entropy(z: Tensor, of: str = "power") -> Tensor:
    """Entropy in nepers of the states' spectrum over time, averaged over dimensions and sequences."""
    s = torch.fft.rfft(z, dim=1).abs()
    s = s.square() if of == "power" else s
    p = s / s.sum(1, keepdim=True).clamp_min(1e-12)
    mean: Tensor = -(p * torch.log(p + 1e-12)).sum(1).mean()
    return mean


def divergence(sigma: Tensor, start: float) -> Tensor:
    """Kullback-Leibler divergence of the noise from its start value, in nepers per dimension."""
    ratio = (sigma / start).square()
    return 0.5 * (ratio - 1.0 - torch.log(ratio)).mean()


def oracle_target(oracle: Tensor, latent: int) -> Tensor:
    """The oracle padded with zeros to `latent` dimensions. Raises ParameterError where they are too few."""
    if latent < oracle.shape[-1]:
        raise ParameterError(f"latent is {latent}; the oracle of three tones needs at least {oracle.shape[-1]}")
    return torch.nn.functional.pad(oracle, (0, latent - oracle.shape[-1]))


def terms(model: Manifold, batch: Batch, passed: Passed, spec: LossSpec, start: int) -> dict[str, Tensor]:
    """Every term that has a weight, not yet weighted. `start`: frames that the rollout is given."""
    x_next, x_now = batch.clean[:, 1:], batch.clean[:, :-1]
    out: dict[str, Tensor] = {}
    if spec.spectral:
        out["spectral"] = spectral(passed.prediction, x_next, spec.phase)
    if spec.mse:
        out["mse"] = (passed.prediction - x_next).square().mean()
    if spec.rollout or spec.rollout_mse or spec.rollout_consistency:
        end = start + spec.rollout_frames
        states = model.rollout(passed.latent[:, :start], spec.rollout_frames)
        rolled, target = model.decode(states), batch.clean[:, start:end]
        if spec.rollout:
            out["rollout"] = spectral(rolled, target, spec.phase)
        if spec.rollout_mse:
            out["rollout_mse"] = (rolled - target).square().mean()
        if spec.rollout_consistency:
            out["rollout_consistency"] = (states - passed.mean[:, start:end].detach()).square().sum(-1).mean()
    if spec.reconstruction:
        out["reconstruction"] = (passed.reconstruction - x_now).square().mean()
    if spec.consistency:
        out["consistency"] = (passed.ahead[:, :-1] - passed.mean[:, 1:].detach()).square().sum(-1).mean()
    if batch.oracle is not None and (spec.oracle or spec.gram):
        aim = oracle_target(batch.oracle[:, : passed.mean.shape[1]], passed.mean.shape[2])
        if spec.oracle:
            out["oracle"] = (passed.mean - aim).square().sum(-1).mean()
        if spec.gram:
            z = passed.mean
            out["gram"] = (z @ z.transpose(1, 2) - aim @ aim.transpose(1, 2)).square().mean()
    if spec.original:
        out["original"] = original(passed.prediction, x_next, phase=spec.phase).mean()
    if spec.entropy:
        out["entropy"] = entropy(passed.latent, spec.entropy_of)
    if spec.kl and passed.sigma is not None:
        out["kl"] = divergence(passed.sigma, model.spec.sigma_start)
    if spec.fractional:
        out["fractional"] = fractional.log_energy_distance(passed.prediction, x_next, GAMMAS).mean()
    return out


def total(found: dict[str, Tensor], spec: LossSpec) -> Tensor:
    """Terms by their weights."""
    parts = [getattr(spec, name) * value for name, value in found.items()]
    if not parts:
        raise ParameterError("every weight of the loss is 0; at least one term is needed")
    return torch.stack(parts).sum()
