"""Model packages: a folder with a streaming ONNX model and all that is known of it, checked before use.

    model.onnx     one hop in, one hop out; all state explicit as inputs and outputs, float32
    model.json     the manifest: schema, rate, hop, latency, tensors, parameters, hashes, training, licence
    *.npy          goldens: arrays of input and output the model must reproduce

The format is described in docs/neural.md; `cspace.export.package` writes it. Everything is verified
here, before a runtime sees a byte: a package that is not what its manifest says is refused with the
reason. Nothing is unpickled, and no path in a package leads out of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .arrayfile import parse_npy
from .modelmanifest import (
    MANIFEST,
    MODEL,
    Golden,
    Manifest,
    PackageError,
    Parameter,
    State,
    Tensor,
    parse,
    shape_text,
)
from .onnxfile import Graph, OnnxError, Value, inspect
from .packagefile import load_text, verified
from .plugins._errors import FileError, near

__all__ = [
    "MANIFEST",
    "MODEL",
    "Golden",
    "Manifest",
    "Package",
    "PackageError",
    "Parameter",
    "State",
    "Tensor",
    "check_graph",
    "parse",
    "read",
]

MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True)
class Package:
    """A verified package. `model` is the very bytes that were hashed: nothing is read twice."""

    folder: Path
    manifest: Manifest
    model: bytes

    def file(self, name: str) -> bytes:
        """A listed file, its hash verified again. Raises PackageError."""
        return _verified(self.folder, self.manifest, name)

    def golden(self, golden: Golden) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Input and output of a golden. Raises PackageError."""
        x, y = (_array(self.folder, name, self.file(name)) for name in (golden.input, golden.output))
        m = self.manifest
        for name, a in ((golden.input, x), (golden.output, y)):
            if a.ndim != 2 or a.shape[0] != m.channels or a.shape[1] % m.hop or a.shape != x.shape:
                raise PackageError(
                    f"{self.folder}: golden {name} has shape {a.shape}; ({m.channels}, whole hops of {m.hop}) is needed"
                )
        return x, y


def read(path: str | os.PathLike[str]) -> Package:
    """The package in this folder, verified. Raises PackageError.

    Checked: the schema; every entry of the manifest, its type and range; the hash of every listed
    file; the graph's structure; that no weight lies outside `model.onnx`; that the graph has exactly
    the manifest's tensors, in float32 and with these shapes.
    """
    folder = Path(path)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "there is no such folder"
        raise PackageError(f"{folder}: {what}; a model package is a folder with {MODEL} and {MANIFEST}")
    manifest = parse(load_text(folder / MANIFEST, MAX_FILE_BYTES), str(folder))
    for name in manifest.files:
        data = _verified(folder, manifest, name)
        if name == MODEL:
            model = data
        elif name.endswith(".onnx"):
            _graph(folder, name, data)
    check_graph(folder, manifest, _graph(folder, MODEL, model))
    return Package(folder, manifest, model)


# ---- files -----------------------------------------------------------------------------------


def _verified(folder: Path, manifest: Manifest, name: str) -> bytes:
    if name not in manifest.files:
        raise PackageError(f"{folder}: {name} is not listed under files in {MANIFEST}")
    return verified(folder / name, manifest.files[name], MANIFEST, MAX_FILE_BYTES)


def _array(folder: Path, name: str, data: bytes) -> NDArray[np.float32]:
    try:
        array = parse_npy(data, f"{folder}: {name}")
    except FileError as e:
        raise PackageError(str(e)) from None
    if array.dtype != np.float32:
        raise PackageError(f"{folder}: {name} holds {array.dtype}, float32 is needed")
    return array


# ---- the graph -------------------------------------------------------------------------------


def _graph(folder: Path, name: str, data: bytes) -> Graph:
    try:
        graph = inspect(data)
    except OnnxError as e:
        raise PackageError(f"{folder}: {name} is not a readable ONNX model: {e}") from None
    for location in graph.external:
        raise PackageError(
            f"{folder}: {name} keeps weights in another file, {location!r}; all weights must be inside {name} "
            "(onnx.save_model(…, save_as_external_data=False))"
        )
    return graph


def check_graph(folder: str | os.PathLike[str], m: Manifest, graph: Graph) -> None:
    """Raises PackageError unless the graph has exactly the manifest's tensors."""
    wanted_in = [m.audio_in, *(Tensor(s.input, s.shape) for s in m.states)]
    wanted_in += [Tensor(p.input, p.shape) for p in m.parameters]
    wanted_out = [m.audio_out, *(Tensor(s.output, s.shape) for s in m.states)]
    for kind, wanted, has in (("input", wanted_in, graph.inputs), ("output", wanted_out, graph.outputs)):
        names = [t.name for t in wanted]
        for name in names:
            if names.count(name) > 1:
                raise PackageError(f"{folder}: {MANIFEST} names the {kind} tensor {name!r} twice")
        for t in wanted:
            if t.name not in has:
                hint = near(t.name, has) or f"; it has {', '.join(has) or 'none'}"
                raise PackageError(f"{folder}: {MODEL} has no {kind} tensor {t.name!r}{hint}")
            _check_tensor(folder, kind, t, has[t.name])
        for name in has:
            if name not in names:
                raise PackageError(f"{folder}: {MODEL} has an {kind} tensor {name!r} that {MANIFEST} does not name")


def _check_tensor(folder: str | os.PathLike[str], kind: str, want: Tensor, has: Value) -> None:
    if has.type != "float32":
        raise PackageError(f"{folder}: {kind} tensor {want.name!r} is {has.type}; float32 is needed")
    # A dimension without a number takes any; outputs of exporters often have none.
    fits = len(has.shape) == len(want.shape) and all(
        not isinstance(a, int) or a == b for a, b in zip(has.shape, want.shape, strict=True)
    )
    if not fits and not (kind == "output" and not has.shape):
        raise PackageError(
            f"{folder}: {kind} tensor {want.name!r} has shape {shape_text(has.shape)} in {MODEL} and "
            f"{shape_text(want.shape)} in {MANIFEST}"
        )
