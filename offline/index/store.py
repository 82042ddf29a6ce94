"""The index on disk: a folder with `manifest.json` and `.npy` shards, memory-mapped when read.

docs/lab-index.md describes the format. Every file appears whole or not at all; the manifest is
written last, so what it lists is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ... import __version__
from ...arrayfile import read_npy
from ...plugins._errors import FileError, ParameterError
from ...regularfile import open_regular
from ...textfile import read_text, shown
from ...wholefile import whole, write_text
from .quantise import HIGHEST_SCALE, HIGHEST_ZERO_POINT, Quantiser
from .spec import IndexSpec

SCHEMA = 1
KIND = "cspace-index"
MANIFEST = "manifest.json"
_CHUNK = 1 << 22
_MEND = "the index is damaged; cspace index build mends it"


class IndexFormatError(FileError):
    """An index is damaged, of another version, or no index; the message names file and reason."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """A recording in the index."""

    #: Under the index's root, with forward slashes.
    path: str
    #: Size and time of last change when it was read: how a changed file is known.
    bytes: int = Field(ge=0)
    mtime_ns: int
    #: The file's own rate, and its length in samples of the index's rate.
    source_rate: int = Field(ge=1, le=10_000_000)
    samples: int = Field(ge=0, le=2**53)
    conversions: list[str] = []
    #: A file name may be any bytes, JSON holds text: the bytes of one that is no text, as hexadecimal
    #: digits. `path` shows it then, with `\xe9` for such a byte.
    name_bytes: str | None = Field(None, pattern=r"^([0-9a-f]{2})+$")

    @model_validator(mode="after")
    def _stays_below(self) -> Source:
        for path in {self.path, self.file}:
            parts = PurePosixPath(path)
            if parts.is_absolute() or ".." in parts.parts or not parts.parts or "\0" in path:
                raise ValueError(f"path {path!r} is not one under the root")
        return self

    @property
    def file(self) -> str:
        """The path as the system knows it."""
        return self.path if self.name_bytes is None else os.fsdecode(bytes.fromhex(self.name_bytes))


class Skipped(_Part):
    """A file that could not be read, and why."""

    path: str
    why: str


class Piece(_Part):
    """Consecutive frames of one recording, at consecutive rows of a shard."""

    path: str
    first_frame: int = Field(ge=0)
    row: int = Field(ge=0)
    frames: int = Field(ge=1)


class Shard(_Part):
    """One `.npy` file of rows [shape=(rows, channels)]."""

    name: str = Field(pattern=r"^rows-[0-9a-f]{8,32}\.npy$")
    rows: int = Field(ge=1)
    bytes: int = Field(ge=1)
    crc32: int = Field(ge=0, lt=2**32)
    #: int8 only: integers per channel, see `Quantiser`.
    scale: list[int] | None = None
    zero_point: list[int] | None = None
    pieces: list[Piece]

    def quantiser(self) -> Quantiser | None:
        """How codes become values; None for float32."""
        if self.scale is None or self.zero_point is None:
            return None
        return Quantiser(np.array(self.scale, np.int64), np.array(self.zero_point, np.int64))


class Manifest(_Part):
    """All that is known about an index."""

    kind: Literal["cspace-index"] = "cspace-index"
    schema_version: int = SCHEMA
    written_by: str = __version__
    #: The recordings' folder, relative to the index's.
    root: str = Field(min_length=1, pattern=r"^[^\x00]+$")
    #: The same as bytes where it is no text, see `Source.name_bytes`.
    root_bytes: str | None = Field(None, pattern=r"^([0-9a-f]{2})+$")
    spec: IndexSpec
    sources: list[Source] = []
    skipped: list[Skipped] = []
    shards: list[Shard] = []

    @model_validator(mode="after")
    def _fits_together(self) -> Manifest:
        known = {s.path: s for s in self.sources}
        if len(known) != len(self.sources):
            raise ValueError("a recording is listed twice")
        if len({s.name for s in self.shards}) != len(self.shards):
            raise ValueError("a shard is listed twice")
        width = self.spec.channels * np.dtype(self.spec.dtype).itemsize
        for shard in self.shards:
            if shard.rows * width > shard.bytes:
                raise ValueError(f"{shard.name}: {shard.rows} rows do not fit into {shard.bytes} bytes")
            end = 0
            for piece in sorted(shard.pieces, key=lambda p: p.row):
                source = known.get(piece.path)
                if source is not None and (piece.first_frame + piece.frames) * self.spec.hop > source.samples:
                    raise ValueError(f"{shard.name}: frames of {piece.path} lie beyond its end")
                if piece.row < end:
                    raise ValueError(f"{shard.name}: rows of {piece.path} belong to two pieces")
                end = piece.row + piece.frames
            if end > shard.rows:
                raise ValueError(f"{shard.name}: pieces reach row {end} of {shard.rows}")
            lists = (shard.scale, shard.zero_point)
            if self.spec.dtype == "float32":
                if lists != (None, None):
                    raise ValueError(f"{shard.name}: float32 has no scale")
            elif not all(q is not None and len(q) == self.spec.channels for q in lists):
                raise ValueError(f"{shard.name}: one scale and zero point per channel is needed")
            elif not all(0 < s <= HIGHEST_SCALE for s in shard.scale or []) or any(
                abs(z) > HIGHEST_ZERO_POINT for z in shard.zero_point or []
            ):
                raise ValueError(f"{shard.name}: a scale or zero point is out of range")
        return self


class Index:
    """An index opened for reading.

    Parameters
    ----------
    folder : where the index lies
    root : the recordings' folder, if it was moved

    Raises IndexFormatError for what is no index, damaged, cut off, or of another version.
    """

    def __init__(self, folder: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None):
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        self.spec = self.manifest.spec
        self.root = Path(root) if root is not None else recordings_root(self.folder, self.manifest)
        self.sources = {s.path: s for s in self.manifest.sources}
        self._checked: set[str] = set()
        for shard in self.manifest.shards:
            size = _size(self.folder / shard.name)
            if size != shard.bytes:
                raise IndexFormatError(
                    f"{self.folder / shard.name}: has {size} bytes, the manifest says {shard.bytes}; {_MEND}"
                )

    @property
    def seconds(self) -> float:
        """Length of all recordings in it."""
        return sum(s.samples for s in self.manifest.sources) / self.spec.sample_rate

    @property
    def bytes(self) -> int:
        """Size of the shards."""
        return sum(s.bytes for s in self.manifest.shards)

    def rows(self, shard: Shard) -> NDArray[Any]:
        """A shard's rows, memory-mapped [shape=(rows, channels)], int8 codes or float32 features.

        Its checksum is verified on first use. Raises IndexFormatError.
        """
        path = self.folder / shard.name
        try:
            if shard.name not in self._checked:
                if crc32(path) != shard.crc32:
                    raise IndexFormatError(f"{path}: its checksum is wrong; {_MEND}")
                self._checked.add(shard.name)
            rows = read_npy(path, mmap_mode="r")
        except IndexFormatError:
            raise
        except OSError as e:
            words = str(e) if isinstance(e, FileError) else f"{path}: cannot be read: {e.strerror or e}"
            raise IndexFormatError(words) from None
        wanted = (shard.rows, self.spec.channels)
        if rows.shape != wanted or rows.dtype != np.dtype(self.spec.dtype):
            raise IndexFormatError(
                f"{path}: holds {rows.dtype} of shape {rows.shape}; the manifest says {self.spec.dtype} {wanted}"
            )
        return rows

    def source_path(self, path: str) -> Path:
        """Where a recording lies."""
        return self.root / self.sources[path].file


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an index. Raises IndexFormatError."""
    file = folder / MANIFEST
    if not os.path.isdir(folder):
        raise IndexFormatError(f"{folder}: there is no such index; make one with cspace index build")
    try:
        if not os.path.lexists(file):
            raise IndexFormatError(f"{folder}: is not an index (no {MANIFEST} in it); make one with cspace index build")
        data = json.loads(read_text(file))
    except IndexFormatError:
        raise
    except FileError as e:
        raise IndexFormatError(str(e)) from None
    except (ValueError, RecursionError) as e:
        raise IndexFormatError(f"{file}: is damaged: {e}; build the index anew into an empty folder") from None
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise IndexFormatError(f"{file}: is not the manifest of a search index")
    if data.get("schema_version") != SCHEMA:
        raise IndexFormatError(
            f"{file}: has schema version {data.get('schema_version')!r}; this version of cspace reads {SCHEMA}; "
            "build the index anew"
        )
    if data.pop("checksum", None) != _checksum(data):
        raise IndexFormatError(f"{file}: its checksum is wrong; build the index anew into an empty folder")
    try:
        manifest = Manifest.model_validate(data)
        manifest.spec.check()
    except ValidationError as e:
        first = e.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise IndexFormatError(f"{file}: is damaged: {where + ': ' if where else ''}{first['msg']}") from None
    except ParameterError as e:
        raise IndexFormatError(f"{file}: is damaged: {e}") from None
    return manifest


def recordings_root(folder: Path, manifest: Manifest) -> Path:
    """The recordings' folder; it is kept relative to the index, so that both can move together."""
    root = manifest.root if manifest.root_bytes is None else os.fsdecode(bytes.fromhex(manifest.root_bytes))
    return Path(os.path.normpath(folder.resolve() / root))


def as_text(path: str) -> tuple[str, str | None]:
    """A path as text, and, where it is none, its bytes as hexadecimal digits."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return shown(path), os.fsencode(path).hex()
    return path, None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest, whole or not at all, with its checksum."""
    data = manifest.model_dump(mode="json")
    for part, name in ((data, "root_bytes"), *((s, "name_bytes") for s in data["sources"])):
        if part[name] is None:  # nearly always; older versions know no such entry
            del part[name]
    data["checksum"] = _checksum(data)
    write_text(folder / MANIFEST, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def _checksum(data: dict[str, Any]) -> int:
    """CRC-32 of a manifest's facts, however its text is laid out."""
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())


def write_rows(folder: Path, name: str, rows: NDArray[Any]) -> tuple[int, int]:
    """Writes a shard, whole or not at all; gives its size in bytes and its checksum."""
    target = folder / name
    with whole(target) as part, open(part, "wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(rows), allow_pickle=False)
    return _size(target), crc32(target)


def is_whole(folder: Path, shard: Shard) -> bool:
    """Whether a shard's file is there, of the right size and with the right checksum."""
    path = folder / shard.name
    with contextlib.suppress(OSError):
        return path.stat().st_size == shard.bytes and crc32(path) == shard.crc32
    return False


def crc32(path: Path) -> int:
    """CRC-32 of a file."""
    value = 0
    with open(open_regular(path), "rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    raise IndexFormatError(f"{path}: is missing; {_MEND}")
