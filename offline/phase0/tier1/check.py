"""Acceptance: the heads find a known kappa and the gain that goes with it, and rollouts stay finite."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from . import checkpoint, vmf
from .baselines import Factored
from .fit import fit
from .heads import VmfModel, nll_parts
from .moments import moments
from .planted import Planted, PlantedStream
from .segments import inject
from .spec import ModelSpec, TrainSpec

#: D and kappa of the acceptance.
CASES = ((64, 50.0), (64, 800.0), (512, 50.0), (512, 800.0))
#: Contexts the figures are taken over, none of them trained on, and steps of the rollouts.
_HELD_OUT, _ROLLED = 8192, 16


def known_kappa(
    dim: int, kappa: float, *, steps: int = 1500, batch: int = 256, width: int = 64, seed: int = 0
) -> dict[str, Any]:
    """Trains the heads on planted directions and says how near they come to the truth.

    Returns
    -------
    gain_nats, analytic_nats : the direction's gain over the uniform one, found on held-out steps and in closed form
    kappa_found, kappa_mle : mean of the head, and the fit to the cosines about the true means (no net)
    total_nats, oracle_nats : gain over the factored baseline, Jacobian and magnitude included, against the truth's own
    rollout_finite : whether 16 steps on the model's own frames hold no NaN or Inf
    """
    source = Planted(dim, kappa, seed=seed)
    m = moments(_moment_batches(source))
    spec = ModelSpec(width=width)
    model = checkpoint.build("vmf", source.window, spec, m, seed=seed)
    assert isinstance(model, VmfModel)
    settings = TrainSpec(
        max_steps=steps, batch=batch, learning_rate=3e-3, warmup=min(100, steps // 5), checkpoint_every=steps, seed=seed
    )
    history = fit(model, PlantedStream(source, batch), settings, label=f"D {dim}, kappa {kappa:g}")
    context, dx, truth = source.draw(_HELD_OUT, [1, 0])
    with torch.no_grad():
        said = model(torch.from_numpy(context).float())
        direction, magnitude = nll_parts(said, torch.from_numpy(dx))
    ln_m = np.log(np.linalg.norm(dx, axis=1))
    cosine = (dx * truth.mu).sum(1) / np.exp(ln_m)
    k = torch.tensor(kappa, dtype=torch.float64)
    oracle = -(float(vmf.log_normaliser(dim, k)) + kappa * cosine)
    oracle += np.log(source.sigma) + 0.5 * ((ln_m - truth.mu_m) / source.sigma) ** 2 + 0.5 * np.log(2 * np.pi)
    oracle += dim * ln_m
    factored = Factored(m).nll(dx)
    found = {
        "dim": dim,
        "kappa": kappa,
        "gain_nats": vmf.log_area(dim) - float(direction.mean()),
        "analytic_nats": vmf.gain_nats(dim, kappa),
        "kappa_found": float(said.ln_kappa.double().exp().mean()),
        "kappa_mle": vmf.fit_kappa(dim, float(cosine.mean())),
        "mean_direction_cosine": float((said.mu.numpy() * truth.mu).sum(1).mean()),
        "sigma_found": float(said.ln_sigma.exp().mean()),
        "sigma": source.sigma,
        "total_nats": float(factored.mean() - (direction + magnitude).mean()),
        "oracle_nats": float((factored - oracle).mean()),
        "rollout_finite": _rolls(model, context[:256], m),
        "seconds": history[-1]["seconds"],
    }
    return found | {
        "gain_share": found["gain_nats"] / found["analytic_nats"],
        "kappa_share": found["kappa_found"] / kappa,
    }


def _moment_batches(source: Planted) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    for k in range(16):
        context, dx, _ = source.draw(256, [2, k])
        yield context[:, -1], dx


def _rolls(model: VmfModel, context: NDArray[np.float64], m: Any) -> bool:
    """Whether 16 steps without correction stay finite; the steps are not cut."""
    frames = np.concatenate([context, np.repeat(context[:, -1:], 1 + _ROLLED, axis=1)], 1).astype(np.float32)
    trace = inject(model, frames, 1, "D_rollout", m, 4, np.inf)
    return bool(np.isfinite(trace.taken).all() and np.isfinite(trace.state_error).all())


def passes(row: dict[str, Any]) -> bool:
    """Kappa within 10 %, gain within 5 %, rollouts finite."""
    return abs(row["kappa_share"] - 1.0) <= 0.1 and abs(row["gain_share"] - 1.0) <= 0.05 and bool(row["rollout_finite"])


def lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    """A table for people."""
    head = ["D", "κ", "κ of the head", "κ fitted to true means", "gain, nats", "analytic", "share"]
    head += ["with magnitude", "truth's own", "16 steps finite", "seconds", "passes"]
    return [head] + [
        [
            str(r["dim"]),
            f"{r['kappa']:g}",
            f"{r['kappa_found']:.1f}",
            f"{r['kappa_mle']:.1f}",
            f"{r['gain_nats']:.2f}",
            f"{r['analytic_nats']:.2f}",
            f"{100 * r['gain_share']:.1f} %",
            f"{r['total_nats']:.2f}",
            f"{r['oracle_nats']:.2f}",
            "yes" if r["rollout_finite"] else "no",
            f"{r['seconds']:.0f}",
            "yes" if passes(r) else "no",
        ]
        for r in rows
    ]
