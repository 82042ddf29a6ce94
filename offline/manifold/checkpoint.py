"""A trained manifold: `manifold.safetensors` with the weights, `run.json` the settings, log and scalars."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from ... import __version__
from ...plugins._errors import FileError
from .. import trainstate
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
    slots: trainstate.Slots = field(default_factory=dict)


def save(folder: Path, run: Run) -> None:
    """Both files, each whole; the weights first, and the step in both, so that a torn pair is noticed."""
    spec = run.spec.model_dump(mode="json")
    if run.spec.data.folder is not None:
        spec["data"]["folder"] = run.spec.data.folder.name  # no paths of this machine in a model
    about = {"version": __version__, "spec": spec, "history": run.history}
    trainstate.save(folder / WEIGHTS, folder / STATE, run.model, run.slots, run.step, about)


def load(folder: Path) -> Run:
    """The run in a folder. Raises FileError for one that is not there, damaged or torn."""
    state_file, weights_file = folder / STATE, folder / WEIGHTS
    if not state_file.exists():
        raise FileError(f"{folder}: has no {STATE}; train with cspace manifold train --out {folder}")
    then = "train again with --no-resume"
    tensors, slots, state = trainstate.load(weights_file, state_file, then)
    try:
        spec = RunSpec.model_validate(state["spec"])
        model = Manifold(spec.model)
        model.load_state_dict(tensors)
        history = list(state["history"])
    except (ValueError, KeyError, TypeError, RuntimeError, ValidationError) as e:
        reason = str(e).splitlines()[0]
        raise FileError(f"{folder}: the training cannot be read ({reason}); {then}") from None
    return Run(spec, model, int(state["step"]), history, slots)
