"""The training loop of both networks: AdamW, one warm-up and one cosine, resumable to the bit.

Each step draws from a generator of its own (seed and step), so a run that was stopped and goes on
from its checkpoint computes what an unbroken one would. A checkpoint is safetensors, never a pickle.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...plugins._adaptive.model import array_bytes, read_arrays
from ...plugins._errors import FileError
from ...wholefile import whole

Losses = dict[str, torch.Tensor]
Progress = Callable[[int, int, dict[str, float]], None]
EVERY = 500  # steps between checkpoints
_WARM = 0.08  # share of the steps in which the rate rises


def rate_at(step: int, steps: int, top: float) -> float:
    """Learning rate: up in a straight line, then down a cosine to a thousandth."""
    warm = max(1.0, _WARM * steps)
    if step < warm:
        return top * (step + 1) / warm
    share = (step - warm) / max(1.0, steps - warm)
    return top * (0.001 + 0.999 * 0.5 * (1.0 + math.cos(math.pi * share)))


def run(
    net: nn.Module,
    losses: Callable[[np.random.Generator], tuple[torch.Tensor, Losses]],
    *,
    steps: int,
    rate: float,
    seed: int,
    settings: dict[str, Any],
    checkpoint: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Minimises the first result of `losses` over the parameters of `net`.

    With `checkpoint`, goes on from that file if it is of a run with the same `settings`, and writes
    it every 500 steps; it is left to the caller to remove it when all is done. Beside it, in `log`,
    TensorBoard finds the losses and the rate.
    """
    params = [p for p in net.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(params, lr=rate, weight_decay=1e-5)
    mark = json.dumps(settings, sort_keys=True)
    first = 0 if checkpoint is None else _resume(checkpoint, params, optimiser, mark)
    log = None if checkpoint is None else _log(checkpoint.parent / "log" / settings["what"], first)
    net.train()
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, steps, rate)
        torch.manual_seed(1_000_003 * seed + step)
        loss, parts = losses(np.random.default_rng((seed, step)))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(params, 1.0)
        optimiser.step()
        done = step + 1
        if step % 25 == 0 or done == steps:
            values = {k: v.item() for k, v in parts.items()}
            if progress is not None:
                progress(done, steps, values)
            if log is not None:
                for name, value in {"loss": loss.item(), **values, "rate": rate_at(step, steps, rate)}.items():
                    log.add_scalar(name, value, done)
        if checkpoint is not None and (done % EVERY == 0 or done == steps):
            _save(checkpoint, params, optimiser, mark, done)
    if log is not None:
        log.close()
    net.eval()


def _log(folder: Path, first: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(log_dir=str(folder), purge_step=first or None)


def _save(path: Path, params: list[nn.Parameter], optimiser: torch.optim.Optimizer, mark: str, step: int) -> None:
    arrays = {f"param.{i}": p.detach().numpy() for i, p in enumerate(params)}
    for i, p in enumerate(params):
        state = optimiser.state[p]
        arrays[f"mean.{i}"], arrays[f"square.{i}"] = state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()
    arrays["step"] = np.array([step], np.float64)
    arrays["mark"] = np.frombuffer(mark.encode("utf-32-le"), "<u4").astype(np.float64)
    with whole(path) as part:
        part.write_bytes(array_bytes(arrays))


def _resume(path: Path, params: list[nn.Parameter], optimiser: torch.optim.Optimizer, mark: str) -> int:
    if not path.exists():
        return 0
    found = read_arrays(path)
    try:
        text = found["mark"].astype("<u4").tobytes().decode("utf-32-le")
        if text != mark:
            raise FileError(f"{path}: is of a run with other settings ({text}); remove it or choose another folder")
        step = int(found["step"][0])
        with torch.no_grad():
            for i, p in enumerate(params):
                p.copy_(torch.from_numpy(found[f"param.{i}"]))
                optimiser.state[p] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": torch.from_numpy(found[f"mean.{i}"]),
                    "exp_avg_sq": torch.from_numpy(found[f"square.{i}"]),
                }
    except (KeyError, ValueError, RuntimeError, UnicodeDecodeError) as e:
        if isinstance(e, FileError):
            raise
        raise FileError(f"{path}: is no checkpoint of this training: {e}") from None
    return step
