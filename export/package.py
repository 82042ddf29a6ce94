"""Writes model packages: everything checked first, the folder whole or not at all.

The format is `cspace.modelpackage`, described in docs/neural.md; what reads it is re-exported here.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..modelpackage import (
    MANIFEST,
    MODEL,
    Golden,
    Manifest,
    Package,
    PackageError,
    Parameter,
    State,
    Tensor,
    parse,
    read,
)
from ..wholefile import write_json

__all__ = [
    "Golden",
    "GoldenAudio",
    "Manifest",
    "Package",
    "PackageError",
    "Parameter",
    "State",
    "Tensor",
    "npy",
    "read",
    "write",
]


@dataclass(frozen=True)
class GoldenAudio:
    """A golden as arrays [shape=(channels, whole hops)]: what the model was seen to do with `input`.

    `output` should come from the training framework. None: made by the Python runtime from the model
    itself, which still guards every other runtime, machine and version.
    """

    input: NDArray[np.float32]
    output: NDArray[np.float32] | None = None
    tolerance: float = 1e-5
    parameters: dict[str, float] = field(default_factory=dict)


def npy(array: NDArray[Any]) -> bytes:
    """An array as the bytes of a .npy file, never pickled."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def write(
    path: str | os.PathLike[str],
    manifest: Manifest,
    model: bytes,
    *,
    goldens: Sequence[GoldenAudio] = (),
    files: Mapping[str, bytes] | None = None,
    overwrite: bool = False,
) -> Package:
    """Writes a package folder and reads it back.

    Parameters
    ----------
    path : the folder to make
    manifest : `goldens` and `files` of it are filled in here
    model : the bytes of `model.onnx`, with all weights inside
    goldens : sounds with their known outputs; at least one is wise
    files : more files to carry along, such as a model card, by name
    overwrite : replace a package that is there. Another folder is never replaced.

    Raises PackageError; then the place is as it was.
    """
    target = Path(path)
    if target.exists() and not (overwrite and (target / MANIFEST).is_file()):
        why = "exists and is no model package" if overwrite else "exists already; say overwrite to replace it"
        raise PackageError(f"{target}: {why}")
    with whole_package(target) as part:
        _fill(part, target, manifest, model, goldens, dict(files or {}))
        read(part)
    return read(target)


@contextlib.contextmanager
def whole_package(target: Path) -> Iterator[Path]:
    """A folder to write a package into; it is at `target` when the block ends without an error, else gone.

    Raises PackageError that names `target`.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir(parents=True)
        yield part
        swap(part, target)
    except OSError as e:
        if isinstance(e, PackageError):
            raise PackageError(str(e).replace(str(part), str(target))) from None
        raise PackageError(f"{target}: cannot be written: {e.strerror or e}") from e
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fill(
    part: Path, target: Path, manifest: Manifest, model: bytes, goldens: Sequence[GoldenAudio], files: dict[str, bytes]
) -> None:
    files[MODEL] = model
    listed = []
    for i, g in enumerate(goldens):
        x = np.ascontiguousarray(g.input, np.float32)
        y = g.output
        if y is None:
            from .runner import Runner

            y = Runner(Package(target, manifest, model), **g.parameters).run(x)
        names = f"golden{i}_input.npy", f"golden{i}_output.npy"
        files[names[0]], files[names[1]] = npy(x), npy(np.ascontiguousarray(y, np.float32))
        listed.append(Golden(*names, g.tolerance, g.parameters))
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    whole = replace(manifest, goldens=tuple(listed), files=hashes).to_json()
    checked = parse(json.dumps(whole), str(target))  # names of files too, before any is written
    for name, data in files.items():
        with open(part / name, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
    write_json(part / MANIFEST, whole)
    made = Package(part, checked, model)
    for golden in made.manifest.goldens:
        made.golden(golden)  # their shapes


def swap(part: Path, target: Path) -> None:
    """Puts `part` where `target` is; if that fails the old one comes back."""
    if not target.exists():
        os.rename(part, target)
        return
    old = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    os.rename(target, old)
    try:
        os.rename(part, target)
    except OSError:
        with contextlib.suppress(OSError):
            os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)
