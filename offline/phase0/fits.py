"""What was fitted, as files: tensors as safetensors, the rest as JSON. The evaluation reads these and fits nothing.

    <condition>_lag<L>_{kmeans,pca,bins}.safetensors and .json, <condition>_lag<L>_clusters.json, norm_stats_lag<L>.json

Every JSON says whose speech it was fitted to, as the store gave it; what saw an evaluation speaker is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import CspaceError, FileError
from ...textfile import read_text
from ...wholefile import whole, write_json
from . import windows
from .frames import Block
from .kmeans import nearest
from .pca import pieces, project

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

#: Standard deviations of steps are at least this.
SD_FLOOR = 1e-6


class LeakError(CspaceError, ValueError):
    """Something that was fitted has seen an evaluation speaker."""


@dataclass(frozen=True)
class Conditioner:
    """Contexts to ids. `mean_vq64`: centres of means. `pca8_*`: components, then centres or quartiles."""

    condition: str
    lag: int
    window: int
    mean: F32 | None = None
    axes: F32 | None = None
    centres: F32 | None = None
    edges: F32 | None = None

    @property
    def most_ids(self) -> int:
        """Ids are 0 … most_ids − 1."""
        if self.centres is not None:
            return len(self.centres)
        assert self.edges is not None
        return int(4 ** len(self.edges))

    def features(self, found: F32) -> F32:
        """What centres and edges are in [shape=(n, d)], of contexts [shape=(n, W, D)]."""
        if self.axes is None or self.mean is None:
            pooled: F32 = found.mean(axis=1, dtype=np.float64).astype(np.float32)
            return pooled
        return project(found, self.mean, self.axes)

    def ids(self, features: F32) -> tuple[I32, F32]:
        """Ids and squared distances to the own centre; NaN where there are none, as for quartiles."""
        if self.centres is not None:
            return nearest(features, self.centres)
        assert self.edges is not None
        out = np.zeros(len(features), np.int32)
        for d, edges in enumerate(self.edges):
            out += np.searchsorted(edges, features[:, d], side="right").astype(np.int32) * np.int32(4**d)
        return out, np.full(len(features), np.nan, np.float32)


def conditioned(block: Block, folder: str, conditioner: Conditioner) -> tuple[I32, F32]:
    """Ids and distances of a block's rows [shape=(rows,) each]."""
    ids, distance = np.empty(block.rows, np.int32), np.empty(block.rows, np.float32)
    for at, found, _ in pieces(block, folder, conditioner.lag, conditioner.window):
        ids[at], distance[at] = conditioner.ids(conditioner.features(found))
    return ids, distance


def steps(block: Block, folder: str) -> tuple[F32, set[str]]:
    """The steps dx of a block's rows [shape=(rows, D)], and whose they are."""
    from .frames import opened

    store = opened(folder)
    parts, speakers = [], set()
    for name, times in block.parts:
        latents = store.read(name)
        parts.append(windows.targets(latents.x, times))
        speakers.add(latents.speaker_id)
    return np.concatenate(parts), speakers


# ---- files -----------------------------------------------------------------------------------


def write_tensors(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    """Writes arrays, whole or not at all."""
    from safetensors.numpy import save

    with whole(path) as part:
        part.write_bytes(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}))


def read_tensors(path: Path, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Arrays by name. Raises FileError for a file that is not there, or lacks one, or has NaN in it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise FileError(f"{path}: is not there; run `cspace phase0 fit` first")
    try:
        held = load_file(path)
        out = {name: held[name] for name in names}
    except (OSError, KeyError, ValueError, SafetensorError) as e:
        raise FileError(f"{path}: is not what `cspace phase0 fit` writes: {e}") from None
    for name, array in out.items():
        if not np.isfinite(array).all():
            raise FileError(f"{path}: {name} has NaN or Inf; run `cspace phase0 fit` again")
    return out


def read_about(path: Path) -> dict[str, Any]:
    """A JSON of a fit. Raises FileError."""
    if not path.is_file():
        raise FileError(f"{path}: is not there; run `cspace phase0 fit` first")
    try:
        about: dict[str, Any] = json.loads(read_text(path))
        about["fitted_to"]["speakers"], about["key"]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise FileError(f"{path}: is not what `cspace phase0 fit` writes: {e}") from None
    return about


def base(folder: Path, condition: str, lag: int, what: str) -> Path:
    """Path of a fit without its suffix."""
    return folder / f"{condition}_lag{lag}_{what}"


def finished(path: Path, key: str) -> bool:
    """Whether a JSON is there and was made from the same settings and data."""
    try:
        return bool(json.loads(read_text(path))["key"] == key)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load(folder: Path, condition: str, lag: int, window: int) -> Conditioner:
    """The conditioner of a condition and lag, from its files. Raises FileError."""
    if condition == "mean_vq64":
        centres = read_tensors(base(folder, condition, lag, "kmeans.safetensors"), ["centres"])["centres"]
        return Conditioner(condition, lag, window, centres=centres)
    pca = read_tensors(base(folder, condition, lag, "pca.safetensors"), ["mean", "axes"])
    if condition == "pca8_vq256":
        centres = read_tensors(base(folder, condition, lag, "kmeans.safetensors"), ["centres"])["centres"]
        return Conditioner(condition, lag, window, **pca, centres=centres)
    edges = read_tensors(base(folder, condition, lag, "bins.safetensors"), ["edges"])["edges"]
    return Conditioner(condition, lag, window, **pca, edges=edges)


def save_norm(folder: Path, lag: int, key: str, mean: F64, sd: F64, fitted_to: dict[str, Any]) -> None:
    """Mean and standard deviation of the training steps."""
    write_json(folder / f"norm_stats_lag{lag}.json", {"key": key, "fitted_to": fitted_to, "mean": mean, "sd": sd})


def load_norm(folder: Path, lag: int) -> tuple[F64, F64]:
    """Mean and sd of the training steps [shape=(D,) each]. Raises FileError."""
    path = folder / f"norm_stats_lag{lag}.json"
    about = read_about(path)
    try:
        return np.array(about["mean"], float), np.array(about["sd"], float)
    except (KeyError, ValueError, TypeError) as e:
        raise FileError(f"{path}: is not what `cspace phase0 fit` writes: {e}") from None


def check_leaks(folder: Path, latents: Path, eval_speakers: Iterable[str]) -> None:
    """LeakError if any fit in the folder, or one the encoder needed, has seen an evaluation speaker."""
    from .encoders.logmel import FILE, fitted_speakers

    asked = set(eval_speakers)
    seen = {path: read_about(path)["fitted_to"]["speakers"] for path in sorted(folder.glob("*.json"))}
    encoder = fitted_speakers(latents)
    if encoder is not None:
        seen[latents / FILE] = encoder
    for path, speakers in seen.items():
        both = sorted(asked & set(speakers))
        if both:
            raise LeakError(
                f"{path}: was fitted to speaker {both[0]!r}, who is an evaluation speaker"
                + (f" (and {len(both) - 1} more)" if len(both) > 1 else "")
                + "; fit again on training speakers only: --force"
            )
