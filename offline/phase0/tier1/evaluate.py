"""Figures of a model on rows it was not trained on: means, medians, quantiles, worst cases, by row and by speaker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....plugins._errors import ParameterError
from . import vmf
from .baselines import Baseline, Factored, fit_gaussians, fit_vmf
from .heads import Model, Step, VmfModel
from .moments import Moments
from .rows import Rows
from .spec import ModelSpec

Array = NDArray[np.float64]
QUANTILES = (0.01, 0.05, 0.25, 0.75, 0.95, 0.99)
#: Rows of the train split a mixture is fitted on, at most.
MIXTURE_ROWS = 20_000
_BATCH = 1024


def baselines(kind: str, train: Rows, m: Moments, spec: ModelSpec, seed: int) -> dict[str, Baseline]:
    """What stands beside a model of this kind, by name; fitted on train rows alone.

    vmf: `factored` (the original's), `free_1` (one vMF x log-normal), `free_K` (a mixture of K of them).
    mdn: `gaussian` (the original's single one), `free_K` (a mixture of K, the MDN's own size).
    """
    dx = sample_steps(train, m, MIXTURE_ROWS, seed)
    k = spec.components
    if kind == "vmf":
        return {
            "factored": Factored(m),
            "free_1": fit_vmf(dx, 1, m, spec, seed),
            f"free_{k}": fit_vmf(dx, k, m, spec, seed),
        }
    return {"gaussian": fit_gaussians(dx, 1, m, spec, seed), f"free_{k}": fit_gaussians(dx, k, m, spec, seed)}


def sample_steps(rows: Rows, m: Moments, count: int, seed: int) -> Array:
    """At most `count` moving steps of these rows, drawn evenly [n, D]."""
    index = np.arange(len(rows))
    if len(rows) > count:
        index = np.sort(np.random.default_rng([seed, 5]).choice(len(rows), count, replace=False))
    parts = [rows.steps(index[k : k + _BATCH]) for k in range(0, len(index), _BATCH)]
    dx = np.concatenate([p[m.moves(p)] for p in parts])
    if len(dx) < 16:
        raise ParameterError(f"only {len(dx)} of {len(index)} train steps move; give other latents")
    return dx.astype(np.float64)


@dataclass(frozen=True)
class Scores:
    """What a model said of rows, one value for each row that moves."""

    index: NDArray[np.int64]
    #: Nats: the model's under `model`, the baselines' under their names.
    nll: dict[str, Array]
    cosine: Array
    ln_m: Array
    #: Of the rollout's step (the median of vMF x log-normal), and of the mean step.
    ln_m_point: Array
    ln_m_mean: Array
    #: kappa and sigma of a vMF; empty for an MDN.
    kappa: Array
    sigma: Array
    still: int


@torch.no_grad()
def score(model: Model, rows: Rows, beside: dict[str, Baseline], m: Moments) -> Scores:
    """Runs all rows through the model, in their order."""
    parts: dict[str, list[Array]] = {}
    kept: list[NDArray[np.int64]] = []
    still = 0
    model.eval()
    device = next(model.parameters()).device
    for index, context, dx in rows.in_order(_BATCH):
        moves = m.moves(dx)
        still += int((~moves).sum())
        if not moves.any():
            continue
        context, dx = context[moves], dx[moves]
        said: Any = model(torch.from_numpy(context).to(device))
        step = model.point(said).double().cpu().numpy()
        length = np.linalg.norm(dx.astype(np.float64), axis=1)
        size = np.maximum(np.linalg.norm(step, axis=1), 1e-30)
        row = {
            "model": model.nll(said, torch.from_numpy(dx).to(device)).double().cpu().numpy(),
            "cosine": (step * dx).sum(1) / (size * length),
            "ln_m": np.log(length),
            "point": np.log(size),
            "mean": np.log(size),
        }
        if isinstance(said, Step):
            row["mean"] = said.mean_length().double().log().cpu().numpy()
            row["kappa"] = said.ln_kappa.double().exp().cpu().numpy()
            row["sigma"] = said.ln_sigma.double().exp().cpu().numpy()
        for name, baseline in beside.items():
            row[f"nll_{name}"] = baseline.nll(dx)
        for name, values in row.items():
            parts.setdefault(name, []).append(values)
        kept.append(index[moves])
    if not kept:
        raise ParameterError(f"{rows.corpus.name}: none of {len(rows)} steps to be scored moves")
    whole = {k: np.concatenate(v) for k, v in parts.items()}
    nothing = np.zeros(0)
    return Scores(
        np.concatenate(kept),
        {"model": whole["model"], **{n: whole[f"nll_{n}"] for n in beside}},
        whole["cosine"],
        whole["ln_m"],
        whole["point"],
        whole["mean"],
        whole.get("kappa", nothing),
        whole.get("sigma", nothing),
        still,
    )


def spread(values: Array) -> dict[str, float]:
    """Mean, median and quantiles; a mean alone hides a few extreme frames."""
    found = {"mean": float(values.mean()), "median": float(np.median(values))}
    return found | {f"q{round(100 * q):02d}": float(v) for q, v in zip(QUANTILES, np.quantile(values, QUANTILES))}  # noqa: B905


def by_speaker(values: Array, speakers: list[str]) -> dict[str, Any]:
    """Mean of each speaker, and the mean over speakers with its 95 % t interval."""
    from ..evaluate import interval

    names = sorted(set(speakers))
    who = np.array(speakers)
    means = np.array([values[who == n].mean() for n in names])
    over = interval(list(means))
    found: dict[str, Any] = {"mean": float(means.mean()), "speakers": len(names)}
    found |= {k: float(over[k]) for k in ("low", "high") if k in over}
    return found | {"each": {n: float(v) for n, v in zip(names, means, strict=True)}}


def r_squared(true: Array, said: Array) -> float:
    """1 - squared error / variance; the mean of these rows scores 0."""
    return float(1.0 - np.square(true - said).sum() / max(np.square(true - true.mean()).sum(), 1e-30))


def summary(scores: Scores, rows: Rows) -> dict[str, Any]:
    """All figures of a model on a split, ready for JSON. dnll is model less baseline: below 0 is better."""
    utterances = rows.corpus.utterances
    places = [utterances[u] for u in rows.utterance[scores.index]]
    speakers = [p.speaker for p in places]
    model = scores.nll["model"]
    names = [n for n in scores.nll if n != "model"]
    gains = {n: model - scores.nll[n] for n in names}
    worst = np.argsort(model)[::-1][:10]
    found: dict[str, Any] = {
        "n": len(model),
        "still": scores.still,
        "nll": {n: spread(v) for n, v in scores.nll.items()},
        "dnll": {n: spread(v) for n, v in gains.items()},
        "dnll_by_speaker": {n: by_speaker(v, speakers) for n, v in gains.items()},
        "better_share": {n: float((v < 0).mean()) for n, v in gains.items()},
        "cosine": spread(scores.cosine),
        "cosine_by_speaker": by_speaker(scores.cosine, speakers),
        "magnitude_ratio": spread(np.exp(scores.ln_m_point - scores.ln_m)),
        "log_magnitude_r2": r_squared(scores.ln_m, scores.ln_m_point),
        "log_magnitude_r2_of_mean": r_squared(scores.ln_m, scores.ln_m_mean),
        "worst": [
            {
                "utterance_id": places[i].id,
                "t": int(rows.t[scores.index[i]]),
                "nll": float(model[i]),
                **{f"nll_{n}": float(scores.nll[n][i]) for n in names},
                "magnitude": float(np.exp(scores.ln_m[i])),
            }
            for i in worst
        ],
    }
    if len(scores.kappa):
        found |= {"kappa": spread(scores.kappa), "sigma": spread(scores.sigma)}
    return found


def expected_cosine(model: Model, scores: Scores) -> float | None:
    """Mean A_D(kappa): the cosine the model itself expects; far from the one found, it is over- or underconfident."""
    if not isinstance(model, VmfModel):
        return None
    return float(vmf.mean_resultant(model.dim, torch.from_numpy(scores.kappa)).mean())
