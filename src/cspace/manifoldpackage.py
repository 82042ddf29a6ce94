"""Packages of the manifold: a folder with weights, goldens and all that is known of them, checked before use.

    manifold.json          the manifest: schema, settings, shapes, hashes, training data, figures, licence
    manifold.safetensors   the weights, float32, by the names torch gave them
    goldens.safetensors    a stream with lost frames, and what torch made of it
    CARD.md                the same for people
    live/                  the same model as a streaming ONNX package (docs/neural.md), where it was asked for

`cspace manifold export` writes it (`offline/manifold/packages.py`). Reading and running needs neither torch nor
ONNX Runtime: the steps are Rust's. Nothing is unpickled, and no path in a package leads out of it.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _native
from .modelmanifest import PackageError, entries
from .models import MANIFOLD as SHIPPED
from .packagefile import load_text, verified
from .plugins._errors import near

F32 = NDArray[np.float32]

FORMAT = "cspace-manifold"
SCHEMA = 1
MANIFEST = "manifold.json"
WEIGHTS = "manifold.safetensors"
GOLDENS = "goldens.safetensors"
CARD = "CARD.md"
#: The streaming ONNX package inside.
LIVE = "live"
#: Arrays of the goldens: frames, which of them are lost (1), and the decoded states that torch gave.
GOLDEN_ARRAYS = ("frames", "lost", "output")
MAX_FILE_BYTES = 1 << 28
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

__all__ = [
    "FORMAT",
    "MANIFEST",
    "SCHEMA",
    "Manifest",
    "Package",
    "PackageError",
    "find",
    "is_package",
    "parse",
    "read",
    "shipped",
]


@dataclass(frozen=True)
class Manifest:
    """`manifold.json`."""

    name: str
    #: The entries of `ModelSpec`.
    spec: dict[str, Any]
    #: States that the dynamics look back on, and frames that a gap is filled from.
    history_frames: int
    #: Whether frames go in at unit rms, as for recordings.
    normalise: bool
    #: Largest difference allowed between a runtime and the goldens.
    tolerance: float
    #: name -> shape of every weight.
    tensors: dict[str, tuple[int, ...]]
    #: name -> sha256 of every file but the manifest and the `live` package, which has its own.
    files: dict[str, str]
    licence: str
    description: str = ""
    #: What a frame is and what the training saw: the entries of `DataSpec`, losses and steps.
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What stands in the file."""
        return {"format": FORMAT, "schema": SCHEMA, **asdict(self)}


@dataclass(frozen=True)
class Package:
    """A verified package: these weights are the very bytes that were hashed."""

    folder: Path
    manifest: Manifest
    tensors: dict[str, F32]
    goldens: dict[str, F32]

    @property
    def channels(self) -> int:
        """Values of a frame."""
        return int(self.manifest.spec["channels"])

    def stepper(self, *, history_frames: int | None = None, predicts: bool = False) -> _native.ManifoldStepper:
        """A fresh stream through the model; see `_native.ManifoldStepper`. Raises PackageError."""
        window = self.manifest.history_frames if history_frames is None else history_frames
        try:
            return _native.ManifoldStepper(self.manifest.spec, self.tensors, window, predicts)
        except ValueError as e:
            raise PackageError(f"{self.folder}: {e}") from None

    def worst(self) -> float:
        """Largest difference of Rust's steps from the goldens; NaN where they are not finite."""
        made = self.stepper().step(self.goldens["frames"], self.goldens["lost"] > 0.5)
        return float(np.abs(made - self.goldens["output"]).max(initial=0.0))

    def alone(self, frames: int, block: int = 128) -> dict[str, float]:
        """How the model holds out on its own for `frames` after the goldens' frames, all heard.

        norm_error : largest distance of a state's length from 1
        rms : of the first `block` frames it makes
        rms_end : of the last `block`
        """
        stepper = self.stepper()
        stepper.push(self.goldens["frames"])
        error, first, last = 0.0, np.zeros((0, self.channels), np.float32), np.zeros((0, self.channels), np.float32)
        for done in range(0, frames, block):
            z = stepper.roll(min(block, frames - done))
            error = max(error, float(np.abs(np.linalg.norm(z.astype(np.float64), axis=1) - 1.0).max()))
            made = stepper.decode(z)
            first = made if done == 0 else first
            last = np.concatenate([last, made])[-block:]
        rms, rms_end = (float(np.sqrt(np.mean(y.astype(np.float64) ** 2))) for y in (first, last))
        return {"norm_error": error, "rms": rms, "rms_end": rms_end}


def shipped() -> list[str]:
    """Names of the models that come along."""
    return sorted(p.name for p in SHIPPED.iterdir() if is_package(p)) if SHIPPED.is_dir() else []


def find(name: str | os.PathLike[str]) -> Path:
    """The folder of a model that comes along, by its name; any other name is a path. A folder here comes first."""
    path = Path(name)
    return SHIPPED / path if not path.exists() and str(path) in shipped() else path


def is_package(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder has the manifest of one."""
    return (Path(folder) / MANIFEST).is_file()


def read(path: str | os.PathLike[str]) -> Package:
    """The package in a folder, verified. Raises PackageError.

    Checked: the schema; every entry of the manifest; the hash of every listed file; that the weights have
    exactly the manifest's names and shapes, and go with its settings; the goldens' arrays and shapes.
    """
    folder = Path(path)
    if not folder.is_dir():
        what = (
            "is a file, not a folder" if folder.exists() else f"there is no such folder{near(str(folder), shipped())}"
        )
        raise PackageError(f"{folder}: {what}; a package is a folder with {MANIFEST} and {WEIGHTS}")
    manifest = parse(load_text(folder / MANIFEST, MAX_FILE_BYTES), str(folder))
    found = {name: verified(folder / name, sha, MANIFEST, MAX_FILE_BYTES) for name, sha in manifest.files.items()}
    tensors = _arrays(folder, WEIGHTS, found[WEIGHTS])
    for name in sorted({*tensors, *manifest.tensors}):
        if name not in tensors or name not in manifest.tensors:
            missing, has = (WEIGHTS, MANIFEST) if name not in tensors else (MANIFEST, WEIGHTS)
            raise PackageError(f"{folder}: {missing} has no tensor {name}; {has} has one")
        if tensors[name].shape != manifest.tensors[name]:
            raise PackageError(
                f"{folder}: tensor {name} has the shape {tensors[name].shape} in {WEIGHTS}; {MANIFEST} says "
                f"{manifest.tensors[name]}"
            )
    package = Package(folder, manifest, tensors, _arrays(folder, GOLDENS, found[GOLDENS]))
    package.stepper()  # settings that go with the weights
    _check_goldens(package)
    return package


def parse(text: str, where: str) -> Manifest:
    """The manifest in a JSON text, every entry checked; `where` stands for the package in errors."""

    def fail(message: str) -> PackageError:
        return PackageError(f"{where}: {MANIFEST}: {message}")

    data = entries(text, where, MANIFEST, "manifold", FORMAT, SCHEMA)
    known = [f.name for f in fields(Manifest)]
    for key in data:
        if key not in known and key not in ("format", "schema"):
            raise fail(f"has the unknown entry {key!r}{near(key, known)}")

    def entry(key: str, kind: type | tuple[type, ...], what: str, default: Any = None) -> Any:
        value = data.get(key, default)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise fail(f"{key} = {value!r} must be {what}")
        return value

    name = entry("name", str, "a text")
    if not _NAME.fullmatch(name):
        raise fail(f"name = {name!r} is not allowed, use up to 64 of a-z, 0-9, ., - and _")
    history = entry("history_frames", int, "a whole number")
    if not 1 <= history <= 65_536:
        raise fail(f"history_frames = {history} is not allowed, use 1 to 65536")
    tolerance = float(entry("tolerance", (int, float), "a number"))
    if not 0.0 <= tolerance <= 1.0:
        raise fail(f"tolerance = {tolerance} is not allowed, use 0 to 1")
    if not entry("licence", str, "a text"):
        raise fail("licence is empty")
    return Manifest(
        name=name,
        spec=entry("spec", dict, "an object"),
        history_frames=history,
        normalise=entry("normalise", bool, "true or false"),
        tolerance=tolerance,
        tensors={k: _shape(k, v, fail) for k, v in entry("tensors", dict, "an object").items()},
        files=_files(entry("files", dict, "an object"), fail),
        licence=data["licence"],
        description=entry("description", str, "a text", ""),
        training=entry("training", dict, "an object", {}),
        metrics=entry("metrics", dict, "an object", {}),
    )


def _shape(name: str, value: Any, fail: Any) -> tuple[int, ...]:
    whole = isinstance(value, list) and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in value)
    if not whole:
        raise fail(f"the shape of tensor {name} is {value!r}; a list of whole numbers from 1 is needed")
    return tuple(value)


def _files(files: dict[str, Any], fail: Any) -> dict[str, str]:
    for name, sha in files.items():
        # One folder, no path: a package cannot reach out of itself.
        if not _FILE.fullmatch(name) or name == MANIFEST:
            raise fail(f"files names {name!r}; only plain file names in the package's folder are allowed")
        if not isinstance(sha, str) or not re.fullmatch(r"[0-9a-f]{64}", sha):
            raise fail(f"files: the sha256 of {name} is not 64 hexadecimal digits")
    for name in (WEIGHTS, GOLDENS):
        if name not in files:
            raise fail(f"files does not list {name}")
    return files


def _arrays(folder: Path, name: str, data: bytes) -> dict[str, F32]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found = load(data)
    except (SafetensorError, ValueError, KeyError) as e:
        raise PackageError(f"{folder}: {name} cannot be read as safetensors: {str(e).splitlines()[0]}") from None
    for key, array in found.items():
        if array.dtype != np.float32:
            raise PackageError(f"{folder}: {name}: {key} is {array.dtype}; float32 is needed")
        if not np.isfinite(array).all():
            raise PackageError(f"{folder}: {name}: {key} holds NaN or Inf")
    return found


def _check_goldens(package: Package) -> None:
    for key in GOLDEN_ARRAYS:
        if key not in package.goldens:
            raise PackageError(f"{package.folder}: {GOLDENS} has no {key}")
    count = len(package.goldens["lost"])
    for key, shape in zip(GOLDEN_ARRAYS, ((count, package.channels), (count,), (count, package.channels)), strict=True):
        if package.goldens[key].shape != shape:
            raise PackageError(
                f"{package.folder}: {GOLDENS}: {key} has the shape {package.goldens[key].shape}; {shape} is needed"
            )
