"""Where a training stands: safetensors and JSON, no pickles. The two files agree or the checkpoint is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from ...plugins._errors import FileError
from ...wholefile import whole, write_json
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
    tensors = {k: v.detach().cpu().contiguous() for k, v in transform.state_dict().items()}
    plain: dict[str, dict[str, float]] = {}
    for index, slots in optimiser.state_dict()["state"].items():
        for name, value in slots.items():
            if torch.is_tensor(value):
                tensors[f"optimiser.{index}.{name}"] = value.detach().cpu().contiguous()
            else:
                plain.setdefault(str(index), {})[name] = value
    with whole(folder / WEIGHTS) as part:
        part.write_bytes(to_bytes(tensors, metadata={"step": str(step)}))
    write_json(folder / STATE, {"step": step, "optimiser": plain, "history": history, "identity": identity})


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
    state_file, weights_file = folder / STATE, folder / WEIGHTS
    if not state_file.exists():
        return 0, []
    try:
        state = json.loads(state_file.read_text(encoding="utf-8"))
        tensors = load_file(weights_file)
        step, plain, before = int(state["step"]), state["optimiser"], state["identity"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as e:
        raise FileError(f"{folder}: the checkpoint cannot be read ({e}); remove it, or say --no-resume") from None
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
    transform.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("optimiser.")})
    saved = optimiser.state_dict()
    slots: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in plain.items()}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".", 2)
            slots.setdefault(int(index), {})[name] = value
    optimiser.load_state_dict({"state": slots, "param_groups": saved["param_groups"]})
    return step, list(state["history"])
