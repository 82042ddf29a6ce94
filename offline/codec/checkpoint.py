"""Where a training stands: safetensors and JSON, no pickles. The two files agree or the checkpoint is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from ...plugins._errors import FileError
from ...wholefile import whole
from .. import trainstate
from .model import Transform

WEIGHTS = "transform.safetensors"
STATE = "checkpoint.json"
BEST = "best.safetensors"


def save_training(
    folder: Path,
    transform: Transform,
    optimiser: torch.optim.Optimizer,
    step: int,
    history: list[dict[str, float]],
    identity: dict[str, Any],
) -> None:
    """Weights, the optimiser's state and the step, each file whole."""
    slots = optimiser.state_dict()["state"]
    trainstate.save(
        folder / WEIGHTS, folder / STATE, transform, slots, step, {"history": history, "identity": identity}
    )


def save_best(folder: Path, transform: Transform) -> None:
    """Weights that did best on the validation clips so far."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in transform.state_dict().items()}
    with whole(folder / BEST) as part:
        part.write_bytes(to_bytes(tensors))


def load_best(folder: Path, transform: Transform) -> None:
    """Puts the weights of `save_best` into the transform. Raises FileError."""
    try:
        transform.load_state_dict(load_file(folder / BEST))
    except (OSError, ValueError, RuntimeError, SafetensorError) as e:
        raise FileError(f"{folder / BEST}: cannot be read ({e}); train again with --no-resume") from None


def load_training(
    folder: Path, transform: Transform, optimiser: torch.optim.Optimizer, identity: dict[str, Any]
) -> tuple[int, list[dict[str, float]]]:
    """The step to go on from and the history so far; (0, []) where there is no checkpoint.

    Raises FileError for one that is damaged or was made with other settings, naming them.
    """
    if not (folder / STATE).exists():
        return 0, []
    then = "remove it, or say --no-resume"
    tensors, slots, state = trainstate.load(folder / WEIGHTS, folder / STATE, then)
    before, history = state.get("identity"), state.get("history")
    if not isinstance(history, list) or not isinstance(before, dict) or not {"spec", "options"} <= set(before):
        raise FileError(f"{folder}: {STATE} is no checkpoint of a codec; {then}")
    changed = [
        f"{part}.{key} is {identity[part].get(key)!r}, was {before[part].get(key)!r}"
        for part in ("spec", "options")
        for key in sorted({*identity[part], *before[part]})
        if identity[part].get(key) != before[part].get(key)
    ]
    if changed:
        raise FileError(
            f"{folder}: the checkpoint was made with other settings ({'; '.join(changed[:3])}); "
            "give another --out, or say --no-resume"
        )
    try:
        transform.load_state_dict(tensors)
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": slots, "param_groups": groups})
    except (RuntimeError, ValueError) as e:
        raise FileError(f"{folder}: the checkpoint does not fit ({str(e).splitlines()[0]}); {then}") from None
    return int(state["step"]), history
