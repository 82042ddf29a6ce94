"""Rollouts: the model's own frames become its context. Experiment 2 watches what happens; 1B trains through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .baselines import Baseline
from .fit import Arrays
from .heads import Model
from .moments import Moments
from .rows import Rows
from .spec import DiagSpec, RolloutSpec

#: The four modes: after which steps (counted from 1) the true state is put back.
MODES = ("A_teacher", "B_periodic", "C_one_shot", "D_rollout")


def restored(mode: str, frames: int, every: int) -> set[int]:
    """After which steps, counted from 1, a mode puts the true state back."""
    return {
        "A_teacher": set(range(1, frames + 1)),
        "B_periodic": set(range(every, frames, every)),
        "C_one_shot": {1},
        "D_rollout": set(),
    }[mode]


def clipped(step: Tensor, longest: float) -> Tensor:
    """Steps [n, D] no longer than `longest`, in their own direction."""
    return step * torch.clamp(longest / step.norm(dim=1, keepdim=True).clamp_min(1e-12), max=1.0)


@dataclass(frozen=True)
class Trace:
    """What a mode did; all [n, K] but the steps taken, [n, K, D]. Steps of no length are NaN."""

    nll: NDArray[np.float64]
    cosine: NDArray[np.float64]
    magnitude_ratio: NDArray[np.float64]
    #: |x_hat - x| before each step.
    state_error: NDArray[np.float64]
    taken: NDArray[np.float32]


@torch.no_grad()
def inject(
    model: Model, frames: NDArray[np.float32], lag: int, mode: str, m: Moments, every: int, longest: float
) -> Trace:
    """Walks segments in one mode.

    Parameters
    ----------
    frames : the truth, float32 [n, W + lag + K, D]: `Rows.frames`; the first step is at frame W + lag
    longest : steps are cut to this length; infinite leaves them alone
    """
    device = next(model.parameters()).device
    true = torch.from_numpy(frames).to(device)
    state = true.clone()
    before = model.window + lag
    count = frames.shape[1] - before
    back = restored(mode, count, every)
    out: dict[str, list[Tensor]] = {k: [] for k in ("nll", "cosine", "ratio", "error", "taken")}
    model.eval()
    for j in range(count):
        t = before + j
        said: Any = model(state[:, j : j + model.window])
        dx = true[:, t] - true[:, t - 1]
        length = dx.norm(dim=1).double()
        still = length <= m.least_step
        nan = torch.full_like(length, torch.nan)
        step = model.point(said)
        size = step.norm(dim=1).double()
        out["nll"].append(torch.where(still, nan, model.nll(said, torch.where(still[:, None], 1.0, dx)).double()))
        cosine = (step.double() * dx.double()).sum(1) / (size * length).clamp_min(1e-30)
        out["cosine"].append(torch.where(still, nan, cosine))
        out["ratio"].append(torch.where(still, nan, size / length.clamp_min(1e-30)))
        out["error"].append((state[:, t - 1] - true[:, t - 1]).norm(dim=1).double())
        taken = clipped(step, longest) if np.isfinite(longest) else step
        out["taken"].append(taken)
        state[:, t] = state[:, t - 1] + taken
        if j + 1 in back:
            state[:, : t + 1] = true[:, : t + 1]
    found = {k: torch.stack(v, 1).cpu().numpy() for k, v in out.items()}
    return Trace(found["nll"], found["cosine"], found["ratio"], found["error"], found["taken"].astype(np.float32))


def diagnose(
    model: Model, frames: NDArray[np.float32], lag: int, m: Moments, beside: dict[str, Baseline], spec: DiagSpec
) -> list[dict[str, Any]]:
    """All modes, one row for each mode and step; steps are never cut here, so that a runaway shows.

    dnll is against every baseline; `dnll_median` against the first. Means over the segments that move at that step.
    """
    before = model.window + lag
    count = frames.shape[1] - before
    steps = np.diff(frames, axis=1)[:, before - 1 :]
    base: dict[str, NDArray[np.float64]] = {}
    for name, baseline in beside.items():
        flat = steps.reshape(-1, steps.shape[2])
        moves = m.moves(flat)
        values = np.full(len(flat), np.nan)
        values[moves] = baseline.nll(flat[moves])
        base[name] = values.reshape(len(frames), count)
    rows: list[dict[str, Any]] = []
    first = next(iter(base))
    for mode in MODES:
        trace = inject(model, frames, lag, mode, m, spec.restore_every, np.inf)
        for j in range(count):
            good = np.isfinite(base[first][:, j])
            nll = trace.nll[good, j]
            row: dict[str, Any] = {"mode": mode, "step": j + 1, "n": int(good.sum()), "nll": _mean(nll)}
            for name, values in base.items():
                row |= {f"nll_{name}": _mean(values[good, j]), f"dnll_{name}": _mean(nll - values[good, j])}
            row["dnll_median"] = float(np.median(nll - base[first][good, j])) if good.any() else float("nan")
            row["cosine"] = _mean(trace.cosine[good, j])
            ratio = trace.magnitude_ratio[good, j]
            row["magnitude_ratio"] = float(np.median(ratio)) if len(ratio) else float("nan")
            row["magnitude_ratio_mean"] = _mean(ratio)
            row["state_error"] = _mean(trace.state_error[:, j])
            row["state_error_steps"] = row["state_error"] / m.rms_step
            rows.append(row)
    return rows


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def totals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each mode: means over its steps weighted by n, and the gap to the teacher's nats."""
    found: list[dict[str, Any]] = []
    for mode in MODES:
        mine = [r for r in rows if r["mode"] == mode and r["n"]]
        weights = np.array([r["n"] for r in mine], float)
        row: dict[str, Any] = {"mode": mode, "n": int(weights.sum())}
        for key in mine[0] if mine else ():
            if key not in ("mode", "step", "n"):
                row[key] = float(np.average([r[key] for r in mine], weights=weights))
        found.append(row)
    teacher = found[0].get("nll", float("nan"))
    for row in found:
        row["rollout_gap"] = row.get("nll", float("nan")) - teacher
    return found


@dataclass(frozen=True)
class SegmentStream:
    """Stretches of true frames for 1B: [n, W + lag + K, D]."""

    rows: Rows
    ahead: int
    batch: int
    seed: int
    buffer: int

    def batches(self, first: int) -> Iterator[Callable[[], Arrays]]:
        """Lazily gathered batches."""
        for index in self.rows.batches(self.batch, self.seed, self.buffer, first):
            yield lambda index=index: (self.rows.frames(index, self.ahead),)  # type: ignore[misc]


class RolloutLoss:
    """1B: nats of the true steps under contexts the model made itself, with the gradient through every state.

    The original took the state's advance without gradient, so it never trained through the rollout (defect 9).
    """

    def __init__(self, spec: RolloutSpec, lag: int, window: int, m: Moments, seed: int):
        self.spec, self.lag, self.window, self.seed = spec, lag, window, seed
        self.longest, self.least = spec.step_clip * m.rms_step, m.least_step

    def teacher_probability(self, step: int) -> float:
        """The chance of a true frame at a training step."""
        done = min(1.0, step / self.spec.teacher_steps) if self.spec.teacher_steps else 1.0
        return self.spec.teacher_probability * (1.0 - done)

    def __call__(self, model: Any, batch: tuple[Tensor, ...], step: int) -> Tensor:
        """Nats per dimension: the weighted sum of rollout and teacher."""
        (true,) = batch
        before = self.window + self.lag
        count, dim = true.shape[1] - before, true.shape[2]
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        odds = self.teacher_probability(step)
        # One tensor per frame: writing into a shared one would break the graph of the contexts already used.
        state = list(true[:, :before].unbind(1))
        rolled: list[Tensor] = []
        for j in range(count):
            t = before + j
            said = model(torch.stack(state[j : j + self.window], 1))
            dx, weight = self._target(true, t)
            rolled.append((model.nll(said, dx) * weight).sum() / weight.sum().clamp_min(1.0))
            made = state[t - 1] + clipped(model.point(said), self.longest)
            given = torch.rand(len(true), 1, generator=draw).to(true.device) < odds
            state.append(torch.where(given, true[:, t], made))
        loss = self.spec.rollout_weight * torch.stack(rolled).mean()
        if self.spec.teacher_weight:
            contexts = torch.stack([true[:, j : j + self.window] for j in range(count)], 1).flatten(0, 1)
            pairs = [self._target(true, before + j) for j in range(count)]
            dx = torch.stack([p[0] for p in pairs], 1).flatten(0, 1)
            weight = torch.stack([p[1] for p in pairs], 1).flatten()
            nll = (model.nll(model(contexts), dx) * weight).sum() / weight.sum().clamp_min(1.0)
            loss = loss + self.spec.teacher_weight * nll
        found: Tensor = loss / dim
        return found

    def _target(self, true: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """The true step, and 0 for those that stand still."""
        dx = true[:, t] - true[:, t - 1]
        moves = dx.norm(dim=1) > self.least
        return torch.where(moves[:, None], dx, 1.0), moves.double()
