"""Figures of a model: one frame ahead, oracle distance, gaps; and what the latent space is like."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import baselines, losses
from .data import Batch
from .frequency import tone_errors
from .model import Manifold

F64 = NDArray[np.float64]

#: Frames that the encoder may need before the oracle distance counts in the second figure.
SETTLED_FRAMES = 16


def one_ahead(prediction: Tensor, batch: Batch) -> dict[str, float]:
    """Energy-weighted and original spectral distance, and MSE, of frames 1 … of a batch."""
    target = batch.clean[:, 1:]
    return {
        "energy_weighted": float(losses.spectral(prediction, target)),
        "original": float(losses.original(prediction, target)[0]),
        "mse": float((prediction - target).square().mean()),
    }


def one_ahead_rows(batch: Batch, fit: Batch, *, noise: float, chords: bool) -> dict[str, dict[str, float]]:
    """The same without a model: zero, copies, linear predictors fitted to `fit`, and Bayes for chords."""
    x, y = _double(batch.noisy), _double(batch.clean)
    found = {
        "zero": np.zeros_like(y[:, 1:]),
        "copy of the noisy frame": x[:, :-1],
        "copy of the clean frame": y[:, :-1],
    }
    for order in (9, 32):
        if order < x.shape[1] - 1:
            weights = baselines.linear_weights(_double(fit.noisy)[:16], _double(fit.clean)[:16], order)
            found[f"linear, {order} frames"] = baselines.linear(x, weights)
    if chords:
        found["exact Bayes (floor)"] = baselines.bayes_chords(x, noise)
    return {k: one_ahead(torch.from_numpy(v.astype(np.float32)), batch) for k, v in found.items()}


def procrustes_rmse(z: Tensor, oracle: Tensor, skip: int = 0) -> float:
    """RMSE over all entries between the oracle and the states, turned by the one best rotation (no centring).

    One rotation for the whole batch, fitted to the frames that count.
    """
    aim = losses.oracle_target(oracle, z.shape[-1])[:, skip:].reshape(-1, z.shape[-1]).double()
    flat = z[:, skip:].reshape(-1, z.shape[-1]).double()
    u, _, vh = torch.linalg.svd(flat.T @ aim)
    return float((flat @ (u @ vh) - aim).square().mean().sqrt())


def oracle_rows(oracle: Tensor, latent: int, seed: int = 0) -> dict[str, float]:
    """Oracle distance of what knows nothing: random points, one constant point; 0 is perfect."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(*oracle.shape[:2], latent, generator=generator)
    constant = torch.zeros(*oracle.shape[:2], latent)
    constant[..., 0] = 1.0
    points = points / points.norm(dim=-1, keepdim=True)
    return {"random points": procrustes_rmse(points, oracle), "constant": procrustes_rmse(constant, oracle)}


def bayes_oracle_rows(batch: Batch, noise: float, order: str, latent: int) -> dict[str, float]:
    """Oracle distance of the exact causal estimate on chords: what is left is what the noise hides."""
    if batch.oracle is None:
        return {}
    found = torch.from_numpy(baselines.bayes_oracle(_double(batch.noisy), noise, order))
    z, oracle, name = losses.oracle_target(found, latent), batch.oracle[:, :-1], "exact Bayes (floor)"
    return {
        name: procrustes_rmse(z, oracle),
        f"{name}, after {SETTLED_FRAMES} frames": procrustes_rmse(z, oracle, SETTLED_FRAMES),
    }


@dataclass
class Gap:
    """A filled gap against the truth, over a batch."""

    #: 10 lg (energy / error energy), all sequences together, and the median over sequences.
    snr_db: float
    median_snr_db: float
    #: Rms of what was filled in over rms of the truth.
    amplitude_ratio: float
    #: Jump from the last known frame to the first filled one, over the true jump (rms).
    edge_ratio: float
    #: Median over tones of how far their frequency in the gap is from the true one, 0.01 being 1 %; NaN where the
    #: true ones are not known.
    frequency_error: float

    def to_json(self) -> dict[str, float]:
        """As a table row."""
        return dict(vars(self))


def gap_figures(filled: F64, clean: F64, start: int, omega: F64 | None = None) -> Gap:
    """Figures of `filled` [shape=(batch, gap, channels)] against `clean` [(batch, length, channels)] from `start`.

    `omega` : the tones' true frequencies in radians per frame [shape=(batch, tones)], where they are known
    """
    truth = clean[:, start : start + filled.shape[1]]
    error, energy = np.sum((filled - truth) ** 2, axis=(1, 2)), np.sum(truth**2, axis=(1, 2))
    each = 10.0 * np.log10(np.maximum(energy, 1e-20) / np.maximum(error, 1e-20))
    before = clean[:, start - 1]
    jump = np.sqrt(np.mean((filled[:, 0] - before) ** 2) / max(float(np.mean((truth[:, 0] - before) ** 2)), 1e-20))
    return Gap(
        float(10.0 * np.log10(max(energy.sum(), 1e-20) / max(error.sum(), 1e-20))),
        float(np.median(each)),
        float(np.sqrt(np.mean(filled**2) / max(float(np.mean(truth**2)), 1e-20))),
        float(jump),
        float("nan") if omega is None else float(np.median(tone_errors(filled, truth, omega))),
    )


@torch.no_grad()
def model_gap(model: Manifold, batch: Batch, start: int, gap: int) -> F64:
    """Frames that the model puts in, from the noisy frames before `start` alone."""
    model.eval()
    return _double(model.decode(model.rollout(model.encode(batch.noisy[:, :start]), gap)))


def gap_rows(batch: Batch, start: int, gap: int) -> dict[str, Gap]:
    """All baselines on one gap; the last knows the true frequencies."""
    history, clean = _double(batch.noisy[:, :start]), _double(batch.clean)
    omega = batch.omega
    rows = {name: gap_figures(fill(history, gap), clean, start, omega) for name, fill in baselines.ROWS.items()}
    if batch.omega is not None:
        known = baselines.known_frequencies(history, gap, batch.omega)
        rows["known frequencies"] = gap_figures(known, clean, start, omega)
    return rows


@torch.no_grad()
def latent_figures(model: Manifold, batch: Batch) -> dict[str, float]:
    """How the latent space is used: effective rank (exp of the entropy of PCA shares), spectral entropy, norm error."""
    model.eval()
    z = model.encode(batch.noisy)
    flat = z.reshape(-1, z.shape[-1]).double()
    share = torch.linalg.svdvals(flat - flat.mean(0)).square()
    share = share / share.sum().clamp_min(1e-20)
    rank = float(torch.exp(-(share * torch.log(share + 1e-20)).sum()))
    rolled = model.rollout(z[:8, : max(1, z.shape[1] // 2)], 32)
    return {
        "latent_rank": rank,
        "latent_entropy": float(losses.entropy(z)),
        "norm_error": float((rolled.norm(dim=-1) - 1.0).abs().max()) if model.spec.space != "euclid" else float("nan"),
    }


def _double(x: Tensor) -> F64:
    return x.detach().cpu().numpy().astype(np.float64)
