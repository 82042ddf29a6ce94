"""Training: seeded, resumable, every term logged by name for every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ...clitools import note, progress
from ...plugins._errors import FileError, ParameterError
from . import checkpoint, losses, metrics
from .checkpoint import Run
from .data import Source
from .model import Manifold
from .optimiser import Optimiser
from .spec import LossSpec, RunSpec, TrainSpec

#: Batches never trained on: their size, the seed of the one that every epoch is logged with, by which settings may be
#: chosen, and the seed of the one that tables of results are made with, by which nothing is chosen.
HELD_OUT, VALIDATION_SEED, HELD_OUT_SEED = 64, 971, 977


def learning_rate(step: int, total: int, spec: TrainSpec) -> float:
    """The rate of a step, by the schedule.

    One cycle: up by half a cosine over the first 30 % from 1/25, down to 1/10000 of that (Smith 2018). Linear: straight
    up over the first 10 %, straight down to nothing, so that most of the steps are taken while it falls.
    """
    if spec.schedule == "constant":
        return spec.learning_rate
    if spec.schedule == "linear":
        return spec.learning_rate * min((step + 1) / max(1.0, 0.1 * total), (total - step) / (0.9 * total))
    rise = max(1, round(0.3 * total))
    low, end = spec.learning_rate / 25.0, spec.learning_rate / 250_000.0
    if step < rise:
        return low + (spec.learning_rate - low) * 0.5 * (1.0 - math.cos(math.pi * step / rise))
    share = (step - rise) / max(1, total - rise)
    return end + (spec.learning_rate - end) * 0.5 * (1.0 + math.cos(math.pi * share))


def weights_at(spec: LossSpec, share: float) -> LossSpec:
    """The weights when this share of the steps is done: the oracle's rises, all others stay."""
    return spec.model_copy(update={"oracle": spec.oracle * (1.0 + (spec.oracle_rise - 1.0) * share)})


def train(
    spec: RunSpec,
    out: Path | None = None,
    *,
    resume: bool = True,
    source: Source | None = None,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
    label: str = "train",
) -> Run:
    """Trains a model; with a folder, saves it after every epoch and goes on from there when asked again.

    Raises FileError for a folder with a run of other settings, ParameterError for a loss that is not finite.
    """
    torch.manual_seed(spec.train.seed)
    source = source or Source(spec.data)
    run = Run(spec, Manifold(spec.model))
    if out is not None and resume and (out / checkpoint.STATE).exists():
        run = _resumed(out, spec)
    model, total = run.model, spec.train.epochs * spec.train.steps
    optimiser = Optimiser(model, spec.train)
    if run.slots:
        optimiser.load(run.slots)
    began, worked = time.monotonic(), time.process_time()
    with progress() as bar:
        task = bar.add_task(label, total=total, completed=run.step)
        while run.step < total:
            row = _epoch(run, source, optimiser, lambda: bar.update(task, advance=1))
            row |= evaluate(model, source, spec) | {
                "seconds": time.monotonic() - began,
                "cpu_seconds": time.process_time() - worked,
            }
            run.history.append(row)
            run.slots = optimiser.slots
            if out is not None:
                checkpoint.save(out, run)
            if on_epoch is not None:
                on_epoch(run.step // spec.train.steps, row)
    return run


def _resumed(out: Path, spec: RunSpec) -> Run:
    found = checkpoint.load(out)
    old, new = found.spec.model_dump(mode="json"), spec.model_dump(mode="json")
    if spec.data.folder is not None:
        new["data"]["folder"] = spec.data.folder.name
    changed = [
        f"{part}.{key} is {new[part][key]!r}, was {old[part][key]!r}"
        for part in new
        for key in new[part]
        if new[part][key] != old[part].get(key)
    ]
    if changed:
        raise FileError(
            f"{out}: holds a run of other settings ({'; '.join(changed[:3])}); give another --out, or say --no-resume"
        )
    if found.step:
        note(f"goes on at step {found.step} from {out}")
    return Run(spec, found.model, found.step, found.history, found.slots)


def _epoch(run: Run, source: Source, optimiser: Optimiser, advance: Callable[[], object]) -> dict[str, float]:
    """One epoch; means of the terms and of the gradient's norm by module."""
    spec, model = run.spec, run.model
    sums: dict[str, float] = {}
    total = spec.train.epochs * spec.train.steps
    model.train()
    for _ in range(spec.train.steps):
        seed = spec.train.seed * 1_000_003 + run.step
        torch.manual_seed(seed)
        batch = source.batch(spec.train.batch, seed)
        last = spec.data.length - 1 - spec.loss.rollout_frames
        start = int(torch.randint(min(16, max(1, last)), max(2, last + 1), (1,)))
        found = losses.terms(model, batch, model(batch.noisy[:, :-1]), spec.loss, start)
        loss = losses.total(found, weights_at(spec.loss, run.step / total))
        if not bool(torch.isfinite(loss)):
            raise ParameterError(
                f"the loss is {float(loss.detach())} at step {run.step}; try a smaller --learning-rate"
            )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norms = {f"gradient_{name}": _norm(part) for name, part in model.named_children()}
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step(learning_rate(run.step, total, spec.train))
        run.step += 1
        logged = {k: float(v.detach()) for k, v in {"loss": loss, **found}.items()} | norms
        for key, value in logged.items():
            sums[key] = sums.get(key, 0.0) + value / spec.train.steps
        advance()
    return {"step": float(run.step), **sums}


def _norm(part: torch.nn.Module) -> float:
    grads = [p.grad.square().sum() for p in part.parameters() if p.grad is not None]
    return float(torch.stack(grads).sum().sqrt()) if grads else 0.0


@torch.no_grad()
def evaluate(
    model: Manifold, source: Source, spec: RunSpec, *, size: int = HELD_OUT, seed: int = VALIDATION_SEED
) -> dict[str, float]:
    """Figures on sequences never trained on, without sampling noise."""
    model.eval()
    batch = source.batch(size, seed, held_out=True)
    passed = model(batch.noisy[:, :-1])
    found = {f"held_out_{k}": v for k, v in metrics.one_ahead(passed.prediction, batch).items()}
    if batch.oracle is not None:
        z, oracle = passed.mean, batch.oracle[:, :-1]
        if z.shape[2] >= oracle.shape[2]:
            found["oracle_rmse"] = metrics.procrustes_rmse(z, oracle)
            found["oracle_rmse_settled"] = metrics.procrustes_rmse(z, oracle, metrics.SETTLED_FRAMES)
    start = spec.data.length // 2
    longest = min(32, spec.data.length - start)
    filled, clean = metrics.model_gap(model, batch, start, longest), batch.clean.double().numpy()
    for gap in (16, 32):
        if gap <= longest:
            figures = metrics.gap_figures(filled[:, :gap], clean, start)
            found[f"gap_{gap}_snr_db"] = figures.snr_db
            found[f"gap_{gap}_amplitude"] = figures.amplitude_ratio
    return found | metrics.latent_figures(model, batch)
