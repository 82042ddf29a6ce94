"""Training by Lightning Fabric: seeded, resumable, the same batches however many devices or workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ....clitools import note, progress
from ....plugins._errors import FileError, ParameterError
from ... import trainstate
from .heads import Model
from .rows import Rows
from .spec import TrainSpec

Arrays = tuple[NDArray[np.float32], ...]
#: Nats per dimension of a batch; gets the model, the batch and the step.
Loss = Callable[[Any, tuple[Tensor, ...], int], Tensor]


class Stream(Protocol):
    """Batches by number: the same number gives the same batch."""

    def batches(self, first: int) -> Iterator[Callable[[], Arrays]]:
        """From batch `first` on, for ever; each is gathered when it is called."""
        ...


@dataclass(frozen=True)
class RowStream:
    """Contexts and steps of a corpus; steps that stand still are left out of their batch."""

    rows: Rows
    batch: int
    seed: int
    buffer: int
    least_step: float

    def batches(self, first: int) -> Iterator[Callable[[], Arrays]]:
        """Lazily gathered batches."""
        for index in self.rows.batches(self.batch, self.seed, self.buffer, first):
            yield lambda index=index: self._gather(index)  # type: ignore[misc]

    def _gather(self, index: NDArray[np.int64]) -> Arrays:
        context, dx = self.rows.gather(index)
        moves = np.linalg.norm(dx, axis=1) > self.least_step
        return context[moves], dx[moves]


class _Loaded(IterableDataset[tuple[Tensor, ...]]):
    """What torch's loader reads. Worker i of n gathers batches i, i + n …; they come back in order."""

    def __init__(self, stream: Stream, first: int, rank: int, world: int):
        self.stream, self.first, self.rank, self.world = stream, first, rank, world

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        info = get_worker_info()
        mine, workers = (info.id, info.num_workers) if info else (0, 1)
        for k, gather in enumerate(self.stream.batches(self.first)):
            if k % workers == mine:
                yield tuple(torch.from_numpy(a[self.rank :: self.world]) for a in gather())


def learning_rate(step: int, spec: TrainSpec) -> float:
    """A straight rise over `warmup` steps, then half a cosine to 1 %."""
    if step < spec.warmup:
        return spec.learning_rate * (step + 1) / spec.warmup
    done = min(1.0, (step - spec.warmup) / max(1, spec.max_steps - spec.warmup))
    return spec.learning_rate * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * done)))


def teacher_loss(model: Any, batch: tuple[Tensor, ...], step: int) -> Tensor:
    """Mean nats per dimension of the true steps under the true contexts."""
    context, dx = batch
    found: Tensor = model.nll(model(context), dx).mean() / dx.shape[1]
    return found


def fabric_for(spec: TrainSpec) -> Any:
    """Fabric for these settings, launched. Raises ParameterError for what this machine does not have.

    With several devices every one runs the whole command in a process of its own; only the first writes.
    """
    return _launched(spec.accelerator, spec.devices, spec.precision)


@cache
def _launched(accelerator: str, devices: int, precision: Any) -> Any:
    """Once in a process: launching again would start the other processes again."""
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)
        fabric.launch()
    except (ValueError, RuntimeError, TypeError, OSError) as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise ParameterError(f"accelerator {accelerator}, devices {devices}, precision {precision}: {reason}") from None
    return fabric


def fit(
    model: Model,
    stream: Stream,
    spec: TrainSpec,
    *,
    state: Path | None = None,
    identity: dict[str, Any] | None = None,
    loss_of: Loss = teacher_loss,
    fabric: Any = None,
    resume: bool = True,
    label: str = "train",
    log: Callable[[str], None] = lambda line: None,
) -> list[dict[str, float]]:
    """Trains `model` in place; gives the history, one row per tenth of a checkpoint interval.

    Parameters
    ----------
    state : stem of the two files that hold where the training stands (`<stem>.safetensors`, `<stem>.json`)
    identity : what those files must agree on to be gone on from

    Raises ParameterError for a loss that is not finite, FileError for a state of other settings.
    """
    fabric = fabric or fabric_for(spec)
    identity = identity or {}
    torch.manual_seed(spec.seed)
    raw = model
    optimiser: Any = torch.optim.AdamW(model.parameters(), lr=spec.learning_rate, weight_decay=spec.weight_decay)
    first, history = 0, list[dict[str, float]]()
    if state is not None and resume and state.with_suffix(".json").exists():
        first, history = _resume(state, raw, optimiser, identity)
        if first:
            note(f"{label}: goes on at step {first}")
            log(f"{label}: goes on at step {first}")
    wrapped, optimiser = fabric.setup(raw, optimiser)
    running: Any = torch.compile(wrapped, mode=spec.compile_mode) if spec.compile else wrapped
    if first < spec.max_steps:
        data = _Loaded(stream, first, fabric.global_rank, fabric.world_size)
        loader = DataLoader(data, batch_size=None, num_workers=spec.num_workers)
        _steps(running, raw, loader, optimiser, spec, fabric, first, history, state, identity, loss_of, label, log)
    raw.eval()
    return history


def _steps(
    running: Any,
    raw: Model,
    loader: Any,
    optimiser: Any,
    spec: TrainSpec,
    fabric: Any,
    first: int,
    history: list[dict[str, float]],
    state: Path | None,
    identity: dict[str, Any],
    loss_of: Loss,
    label: str,
    log: Callable[[str], None],
) -> None:
    every = max(1, min(spec.checkpoint_every, spec.max_steps) // 10)
    began, total, count = time.monotonic(), 0.0, 0
    raw.train()
    with progress() as bar:
        task = bar.add_task(label, total=spec.max_steps, completed=first)
        for step, batch in zip(range(first, spec.max_steps), loader, strict=False):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, spec)
            torch.manual_seed(spec.seed * 1_000_003 + step)  # the same draws after a resume
            loss = loss_of(running, tuple(fabric.to_device(b) for b in batch), step)
            if not bool(torch.isfinite(loss)):
                raise ParameterError(
                    f"{label}: the loss is {float(loss.detach())} at step {step}; try a smaller train.learning_rate"
                )
            optimiser.zero_grad(set_to_none=True)
            fabric.backward(loss)
            fabric.clip_gradients(running, optimiser, max_norm=spec.clip, error_if_nonfinite=False)
            optimiser.step()
            total, count = total + float(loss.detach()), count + 1
            bar.update(task, advance=1)
            done = step + 1
            if done % every == 0 or done == spec.max_steps:
                seconds = time.monotonic() - began
                history.append({"step": float(done), "nats_per_dim": total / count, "seconds": round(seconds, 2)})
                log(f"{label}: step {done}, {total / count:.5f} nats per dimension, {seconds:.1f} s")
                total, count = 0.0, 0
            if state is not None and (done % spec.checkpoint_every == 0 or done == spec.max_steps):
                if fabric.is_global_zero:
                    slots = optimiser.state_dict()["state"]
                    about = {"identity": identity, "history": history}
                    trainstate.save(
                        state.with_suffix(".safetensors"), state.with_suffix(".json"), raw, slots, done, about
                    )
                fabric.barrier()


def _resume(state: Path, model: Model, optimiser: Any, identity: dict[str, Any]) -> tuple[int, list[dict[str, float]]]:
    tensors, slots, about = trainstate.load(
        state.with_suffix(".safetensors"), state.with_suffix(".json"), "train again with --force"
    )
    if about.get("identity") != identity:
        old = about.get("identity") or {}
        changed = [k for k in {**old, **identity} if old.get(k) != identity.get(k)]
        raise FileError(
            f"{state.parent}: holds a training of other settings ({', '.join(changed)}); "
            "give another --run-id or --force"
        )
    try:
        model.load_state_dict(tensors)
        optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
    except (RuntimeError, ValueError, KeyError) as e:
        raise FileError(f"{state.parent}: the training does not fit ({str(e).splitlines()[0]}); say --force") from None
    return int(about["step"]), list(about["history"])
