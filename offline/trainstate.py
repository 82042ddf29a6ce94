"""Where a training stands: weights and the optimiser's state as safetensors, all else as JSON; no pickles.

The step is in both files, so that a pair of which only one was written is noticed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from ..plugins._errors import FileError
from ..textfile import read_text
from ..wholefile import whole, write_json

_SLOT = "optimiser."
#: State of an optimiser by the index of the parameter: torch's `state_dict()["state"]`.
Slots = dict[int, dict[str, Any]]


def save(weights: Path, state: Path, model: torch.nn.Module, slots: Slots, step: int, about: dict[str, Any]) -> None:
    """Writes both files, each whole, the weights first. `about` is what the JSON holds besides step and optimiser."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in slots.items():
        for name, value in values.items():
            if torch.is_tensor(value):
                tensors[f"{_SLOT}{index}.{name}"] = value.detach().cpu().contiguous()
            else:
                scalars.setdefault(str(index), {})[name] = value
    with whole(weights) as part:
        part.write_bytes(to_bytes(tensors, metadata={"step": str(step)}))
    write_json(state, {**about, "step": step, "optimiser": scalars})


def load(weights: Path, state: Path, then: str) -> tuple[dict[str, torch.Tensor], Slots, dict[str, Any]]:
    """The model's tensors, the optimiser's slots and the JSON.

    Raises FileError, with `then` as what to do, where a file cannot be read or the two are of different steps.
    """
    try:
        about: dict[str, Any] = json.loads(read_text(state))
        tensors = load_file(weights)
        with open(weights, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            step = int(json.loads(file.read(size))["__metadata__"]["step"])
        slots: Slots = {int(k): dict(v) for k, v in about["optimiser"].items()}
        for key in [k for k in tensors if k.startswith(_SLOT)]:
            _, index, name = key.split(".", 2)
            slots.setdefault(int(index), {})[name] = tensors.pop(key)
        written = int(about["step"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise FileError(f"{state.parent}: the training cannot be read ({reason}); {then}") from None
    if step != written:
        raise FileError(f"{state.parent}: {weights.name} is of step {step}, {state.name} of step {written}; {then}")
    return tensors, slots, about
