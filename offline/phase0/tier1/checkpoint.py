"""Models of Tier 1 on disk: safetensors weights, and a JSON beside them that rebuilds the model. No pickles."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from .... import __version__
from ....plugins._errors import FileError
from ....textfile import read_text
from ....wholefile import whole, write_json
from .baselines import GaussianMixture
from .heads import MdnModel, Model, VmfModel
from .moments import Moments
from .spec import ModelSpec


def name(kind: str, lag: int) -> str:
    """The stem of a lag's checkpoint, `vmf_k1`."""
    return f"{kind}_k{lag}"


def final(folder: Path, kind: str, lag: int) -> Path:
    """Where the finished model of a lag is."""
    return folder / "checkpoints" / f"{name(kind, lag)}_final.safetensors"


def build(
    kind: str,
    window: int,
    spec: ModelSpec,
    m: Moments,
    *,
    seed: int = 0,
    ln_sigma_above: float | None = None,
    start: GaussianMixture | None = None,
) -> Model:
    """A new model of kind vmf or mdn with the first guesses of the moments, and for an MDN those of `start`."""
    torch.manual_seed(seed)
    if kind == "vmf":
        return VmfModel(window, spec, m, ln_sigma_above=ln_sigma_above)
    return MdnModel(window, spec, m, start)


def save_final(path: Path, model: Model, lag: int, m: Moments, **about: Any) -> None:
    """Writes the model, and its JSON beside it, each whole; the weights first."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    with whole(path) as part:
        part.write_bytes(to_bytes(tensors))
    write_json(
        path.with_suffix(".json"),
        {
            "version": __version__,
            "kind": model.kind,
            "window": model.window,
            "lag": lag,
            "model": model.spec.model_dump(mode="json"),
            "moments": {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in asdict(m).items()},
            **about,
        },
    )


def load_final(path: Path) -> tuple[Model, int, Moments, dict[str, Any]]:
    """The model, its lag, the moments it was built on, and what else its JSON says. Raises FileError."""
    beside = path.with_suffix(".json")
    if not path.exists():
        raise FileError(f"{path}: is not there; give a vmf_k<k>_final.safetensors of cspace phase0 tier1 exp1")
    try:
        about: dict[str, Any] = json.loads(read_text(beside))
        raw: dict[str, Any] = about["moments"]
        values: dict[str, Any] = {k: np.asarray(v, np.float64) if isinstance(v, list) else v for k, v in raw.items()}
        m = Moments(**values)
        above = about.get("ln_sigma_above")
        model = build(about["kind"], about["window"], ModelSpec(**about["model"]), m, ln_sigma_above=above)
        model.load_state_dict(load_file(path))
        return model, int(about["lag"]), m, about
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, ValidationError) as e:
        reason = (str(e).splitlines() or [type(e).__name__])[0]
        raise FileError(f"{path}: cannot be read as a model of Tier 1 ({reason}); train again with --force") from None
