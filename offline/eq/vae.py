"""The variational autoencoder of equaliser settings: 13 numbers ↔ a latent space of 32.

Curves decide: the loss holds the decoded numbers and, more so, the decoded curve (in float64).
Kingma and Welling, "Auto-encoding variational Bayes", 2014. Close latents are close curves, so that
words can be averaged and walked between.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from ...plugins._adaptive.curve import (
    BANDS,
    CENTERS,
    FLAT,
    GAINS,
    IS_LOG,
    QS,
    SIZE,
    from_domain,
    grid,
    response_db,
    to_domain,
)
from . import loop
from .torchcurve import domain_to_unit, unit_to_domain
from .torchcurve import response_db as torch_response_db

F64 = NDArray[np.float64]
ACTIVE_DB = 0.5  # a band with less gain has no audible centre


class VaeSpec(BaseModel):
    """Settings of the training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    latent: int = Field(32, ge=2, le=256)
    hidden: int = Field(192, ge=8, le=2048)
    steps: int = Field(6_000, ge=1)
    batch: int = Field(256, ge=2)
    rate: float = Field(2e-3, gt=0.0)
    kl: float = Field(1e-3, ge=0.0)
    curve_points: int = Field(40, ge=8)
    seed: int = Field(0, ge=0)


def mlp(sizes: tuple[int, ...]) -> nn.Sequential:
    """Dense layers with SiLU between them."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


def leaky(raw: torch.Tensor) -> torch.Tensor:
    """Held to 0..1 but for a hundredth of what lies beyond: a gradient is left where a knob is at its end."""
    held = raw.clamp(0.0, 1.0)
    return held + 0.01 * (raw - held)


class EqVae(nn.Module):
    """Encoder to mean and log variance, decoder to settings as 0..1 of the knobs' ranges."""

    def __init__(self, latent: int = 32, hidden: int = 192):
        super().__init__()
        self.latent = latent
        self.encoder = mlp((SIZE, hidden, hidden, 2 * latent))
        self.decoder = mlp((latent, hidden, hidden, SIZE))

    def encode(self, unit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Settings as 0..1 [shape=(n, 13)] -> mean and log variance [shape=(n, latent)]."""
        mean, log_var = self.encoder(2.0 * unit - 1.0).chunk(2, dim=-1)
        return mean, log_var.clamp(-16.0, 4.0)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents -> settings as 0..1; a straight line inside, so that the ends of the knobs are reached."""
        raw: torch.Tensor = self.decoder(z)
        return leaky(raw) if self.training else raw.clamp(0.0, 1.0)


def augment(x: F64, rng: np.random.Generator, n: int) -> F64:
    """`n` settings in the domain of `to_domain`, made of rows of `x`: jittered, bands swapped, muted and mixed."""
    out = x[rng.integers(len(x), size=n)].copy()
    for _, *where in BANDS:  # a band of another row
        ids = [i for i in where if i is not None]
        take = rng.random(n) < 0.25
        out[np.ix_(np.flatnonzero(take), np.array(ids))] = x[rng.integers(len(x), size=int(take.sum()))][:, ids]
    bells = [[i for i in where if i is not None] for kind, *where in BANDS if kind == "bell"]
    order = np.argsort(rng.random((n, 3)), axis=1)
    swap = rng.random(n) < 0.2
    stacked = np.stack([out[:, ids] for ids in bells], axis=1)
    shuffled = np.take_along_axis(stacked, order[..., None], axis=1)
    for k, ids in enumerate(bells):
        out[:, ids] = np.where(swap[:, None], shuffled[:, k], out[:, ids])
    jitter = rng.random((n, 1)) < 0.7
    out += jitter * np.where(IS_LOG, 0.25, 1.5) * rng.standard_normal(out.shape)
    gains = out[:, list(GAINS)]
    gains *= rng.random(gains.shape) > 0.1
    gains *= np.where(rng.random((n, 1)) < 0.15, rng.uniform(-1, 1, (n, 1)), 1.0)
    out[:, list(GAINS)] = gains
    return out


def train(
    values: F64, spec: VaeSpec, progress: loop.Progress | None = None, *, checkpoint: Path | None = None
) -> EqVae:
    """Trains on settings [shape=(n, 13)] in dB, Hz and Q; `progress(step, steps, losses)` now and then."""
    torch.manual_seed(spec.seed)
    model = EqVae(spec.latent, spec.hidden)
    x = to_domain(values)

    def losses(rng: np.random.Generator) -> tuple[torch.Tensor, loop.Losses]:
        unit = domain_to_unit(torch.from_numpy(augment(x, rng, spec.batch))).clamp(0.0, 1.0)
        freqs = _points(rng, spec.curve_points)
        target = torch_response_db(unit_to_domain(unit), freqs)
        mean, log_var = model.encode(unit)
        back = model.decode(mean + torch.exp(0.5 * log_var) * torch.randn_like(mean))
        numbers = torch.mean((back - unit) ** 2)
        curve = nn.functional.smooth_l1_loss(torch_response_db(unit_to_domain(back), freqs), target, beta=0.3)
        kl = 0.5 * torch.mean(torch.sum(mean**2 + torch.exp(log_var) - 1.0 - log_var, dim=-1))
        return 10.0 * numbers + 0.1 * curve + spec.kl * kl, {"numbers": numbers, "curve": curve, "kl": kl}

    settings = {"what": "eq", **spec.model_dump(), "rows": len(values), "sum": round(float(values.sum()), 3)}
    loop.run(
        model,
        losses,
        steps=spec.steps,
        rate=spec.rate,
        seed=spec.seed,
        settings=settings,
        checkpoint=checkpoint,
        progress=progress,
    )
    return model


def _points(rng: np.random.Generator, count: int) -> torch.Tensor:
    """Frequencies that lie elsewhere at each step, so that no narrow bell hides between them."""
    edges = np.linspace(np.log(20.0), np.log(20_000.0), count + 1)
    return torch.from_numpy(np.exp(rng.uniform(edges[:-1], edges[1:])))


@torch.no_grad()
def encode(model: EqVae, values: F64) -> F64:
    """Latent means [shape=(n, latent)] of settings."""
    mean, _ = model.encode(domain_to_unit(torch.from_numpy(to_domain(values))))
    return mean.double().numpy()


@torch.no_grad()
def decode(model: EqVae, z: F64) -> F64:
    """Settings [shape=(n, 13)] of latents."""
    return from_domain(unit_to_domain(model.decode(torch.from_numpy(np.asarray(z)).float())).numpy())


# ---- how good --------------------------------------------------------------------------------


def _originals_unit(x: F64) -> F64:
    """Knobs as 0..1 the way the original had it, to set its published error (0.148) beside ours."""
    unit = x.copy()
    unit[:, list(GAINS)] = (x[:, list(GAINS)] + 12.0) / 24.0
    unit[:, list(CENTERS)] = (np.log10(x[:, list(CENTERS)] + 1.0) - 1.36) / (4.30 - 1.36)
    unit[:, list(QS)] = (np.log10(x[:, list(QS)]) + 1.0) / 2.0
    return unit


def reconstruction(values: F64, back: F64) -> dict[str, float]:
    """Errors of settings `back` for `values`: curves at 200 points over 20 Hz to 20 kHz, knobs where active."""
    freqs = grid(200)
    wrong = np.abs(response_db(back, freqs) - response_db(values, freqs))
    gains, centers = values[:, list(GAINS)], values[:, list(CENTERS)]
    active = np.abs(gains) >= ACTIVE_DB
    octaves = np.abs(np.log2(back[:, list(CENTERS)] / centers))
    q_active = active[:, 1:4]
    q_octaves = np.abs(np.log2(back[:, list(QS)] / values[:, list(QS)]))
    return {
        "response_mae_db": float(wrong.mean()),
        "response_p95_db": float(np.percentile(wrong, 95)),
        "response_max_db": float(wrong.max()),
        "gain_mae_db": float(np.abs(back[:, list(GAINS)] - gains).mean()),
        "frequency_mae_octaves": float(octaves[active].mean()),
        "q_mae_octaves": float(q_octaves[q_active].mean()),
        "originals_mse": float(np.mean((_originals_unit(back) - _originals_unit(values)) ** 2)),
    }


def baselines(train_values: F64, test_values: F64) -> dict[str, dict[str, float]]:
    """The same errors for answers without a model: flat, the mean curve, and the nearest training setting."""
    freqs = grid(200)
    curves, known = response_db(test_values, freqs), response_db(train_values, freqs)
    mean = np.abs(curves - known.mean(axis=0)).mean()
    space, mine = to_domain(train_values), to_domain(test_values)
    spread = space.std(axis=0)
    nearest = np.argmin((((mine[:, None] - space[None]) / spread) ** 2).sum(axis=-1), axis=1)
    by_curve = np.argmin(np.abs(curves[:, None, ::4] - known[None, :, ::4]).mean(axis=-1), axis=1)
    flat = np.tile(FLAT, (len(test_values), 1))
    return {
        "flat": reconstruction(test_values, flat),
        "mean curve": {"response_mae_db": float(mean)},
        "nearest setting": reconstruction(test_values, train_values[nearest]),
        "nearest curve": reconstruction(test_values, train_values[by_curve]),
    }


def report(model: EqVae, values: F64) -> dict[str, Any]:
    """Errors of encoding and decoding `values`."""
    return reconstruction(values, decode(model, encode(model, values)))
