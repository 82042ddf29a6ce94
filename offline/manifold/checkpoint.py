"""A trained manifold: `manifold.safetensors` with the weights, `run.json` the settings, log and scalars."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ... import __version__
from ...plugins._errors import FileError
from ...wholefile import whole, write_json
from .model import Manifold
from .spec import RunSpec

WEIGHTS = "manifold.safetensors"
STATE = "run.json"


@dataclass
class Run:
    """A training and where it stands."""

    spec: RunSpec
    model: Manifold
    step: int = 0
    #: One row per epoch: every term by name.
    history: list[dict[str, float]] = field(default_factory=list)
    #: The optimiser's tensors and scalars by parameter index; empty before the first step.
    slots: dict[int, dict[str, Any]] = field(default_factory=dict)


def save(folder: Path, run: Run) -> None:
    """Both files, each whole; the weights first, and the step in both, so that a torn pair is noticed."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in run.model.state_dict().items()}
    plain: dict[str, dict[str, float]] = {}
    for index, slots in run.slots.items():
        for name, value in slots.items():
            if torch.is_tensor(value):
                tensors[f"optimiser.{index}.{name}"] = value.detach().cpu().contiguous()
            else:
                plain.setdefault(str(index), {})[name] = value
    with whole(folder / WEIGHTS) as part:
        save_file(tensors, part, metadata={"step": str(run.step)})
    spec = run.spec.model_dump(mode="json")
    if run.spec.data.folder is not None:
        spec["data"]["folder"] = run.spec.data.folder.name  # no paths of this machine in a model
    write_json(
        folder / STATE,
        {"version": __version__, "step": run.step, "spec": spec, "optimiser": plain, "history": run.history},
    )


def load(folder: Path) -> Run:
    """The run in a folder. Raises FileError for one that is not there, damaged or torn."""
    state_file, weights_file = folder / STATE, folder / WEIGHTS
    if not state_file.exists():
        raise FileError(f"{folder}: has no {STATE}; train with cspace manifold train --out {folder}")
    try:
        state = json.loads(state_file.read_text(encoding="utf-8"))
        spec = RunSpec.model_validate(state["spec"])
        tensors = load_file(weights_file)
        with open(weights_file, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            step = int(json.loads(file.read(size))["__metadata__"]["step"])
        if step != int(state["step"]):
            raise FileError(f"{folder}: {WEIGHTS} is of step {step}, {STATE} of step {state['step']}; train again")
        model = Manifold(spec.model)
        model.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("optimiser.")})
        slots: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in state["optimiser"].items()}
    except FileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ValidationError) as e:
        reason = str(e).splitlines()[0]
        raise FileError(f"{folder}: the training cannot be read ({reason}); train again with --no-resume") from None
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".", 2)
            slots.setdefault(int(index), {})[name] = value
    return Run(spec, model, step, list(state["history"]), slots)
