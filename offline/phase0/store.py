"""Latents on disk: a zarr group for each utterance, and an index of them all.

    latents.zarr/<utterance>/{x float32 [T, D], energy [T], timestamps [T] in s}, attribute speaker_id
    latents_index.parquet    utterance_id, speaker_id, n_frames, duration_sec, audio_path
    store.json               what made them: name, note, rates, dimension

A group is written beside its place and renamed, so an utterance is there whole or not at all: many processes can
fill one store, and what a killed one leaves is made again. The index is written when all are there.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import FileError, near
from ...textfile import read_text
from ...wholefile import whole, write_json

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

CHUNK_FRAMES = 4096
GROUPS, INDEX, ABOUT = "latents.zarr", "latents_index.parquet", "store.json"
#: How far the frames of an utterance may be from its length: Hz, and frames for short ones.
RATE_TOLERANCE_HZ, FRAME_TOLERANCE = 0.5, 1.0
#: Latents that are kept. What was read first stays: passes over everything would find the latest ones gone each time.
CACHE_BYTES = 384 << 20


@dataclass(frozen=True)
class Latents:
    """One utterance: x float32 [shape=(T, D)]; energy, RMS of each frame's own samples; timestamps of starts [s]."""

    x: F32
    energy: F32
    timestamps: F64
    speaker_id: str


@dataclass(frozen=True)
class EncoderInfo:
    """What made the latents. All numbers come from the model, none from settings."""

    name: str
    #: What must be said with every result, such as "random weights"; may be empty.
    note: str
    sample_rate: int
    hop: int
    dim: int
    frame_rate_hz: float
    #: Of settings and weights: the same latents come out where it is the same.
    fingerprint: str


@dataclass(frozen=True)
class Entry:
    """A line of the index."""

    utterance_id: str
    speaker_id: str
    n_frames: int
    duration_sec: float
    audio_path: str


class LatentStore:
    """Latents of a data set.

    >>> store = LatentStore.open("results/phase0/latents")
    >>> x = store.read(store.index[0].utterance_id).x
    """

    def __init__(self, folder: str | os.PathLike[str], info: EncoderInfo):
        self.folder = Path(folder)
        self.info = info
        self._cache: dict[str, Latents] = {}
        self._held = 0
        self._lock = Lock()

    @classmethod
    def create(cls, folder: str | os.PathLike[str], info: EncoderInfo) -> LatentStore:
        """A store to write to; one that was begun by the same encoder goes on. Raises FileError for another's."""
        path = Path(folder)
        if (path / ABOUT).exists():
            found = cls._about(path)
            if found.fingerprint != info.fingerprint:
                raise FileError(
                    f"{path}: holds latents of {found.name} made with other settings or weights; "
                    "give another folder, or --force to make them again"
                )
            return cls(path, info)
        import zarr

        zarr.open_group(str(path / GROUPS), mode="a")
        write_json(path / ABOUT, {"format": 1, "encoder": asdict(info)})
        return cls(path, info)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> LatentStore:
        """A finished store. Raises FileError for a folder that is none, or not finished."""
        path = Path(folder)
        if not (path / ABOUT).is_file():
            raise FileError(f"{path}: is not a store of latents (no {ABOUT}); `cspace phase0 latents` makes one")
        store = cls(path, cls._about(path))
        if not (path / INDEX).is_file():
            raise FileError(f"{path}: is not finished (no {INDEX}); run `cspace phase0 latents` again, it goes on")
        return store

    @staticmethod
    def _about(path: Path) -> EncoderInfo:
        try:
            return EncoderInfo(**json.loads(read_text(path / ABOUT))["encoder"])
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise FileError(f"{path / ABOUT}: cannot be read: {e}") from None

    # ---- what there is ----

    @property
    def encoder(self) -> str:
        """Name of the encoder, with what must be said about it."""
        return f"{self.info.name} ({self.info.note})" if self.info.note else self.info.name

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self.info.frame_rate_hz

    @property
    def dim(self) -> int:
        """Values to a frame."""
        return self.info.dim

    @cached_property
    def index(self) -> list[Entry]:
        """All utterances, in the order of their ids. Raises FileError."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / INDEX
        try:
            rows = pq.read_table(path).to_pylist()
            return [Entry(**row) for row in rows]
        except (OSError, TypeError, pa.ArrowException) as e:
            raise FileError(f"{path}: is not an index of latents: {_first_line(e)}") from None

    @cached_property
    def _ids(self) -> set[str]:
        return {e.utterance_id for e in self.index}

    def has(self, utterance_id: str) -> bool:
        """Whether an utterance was written."""
        return self._group(utterance_id).is_dir()

    def _group(self, utterance_id: str) -> Path:
        return self.folder / GROUPS / quote(utterance_id, safe=" ")

    # ---- reading ----

    def read(self, utterance_id: str) -> Latents:
        """The latents of an utterance, checked. Do not write into them: they may be handed out again.

        Raises FileError for an unknown or broken utterance, NaN or Inf, another dimension than the store's.
        """
        with self._lock:
            if utterance_id in self._cache:
                return self._cache[utterance_id]
        found = self._read(utterance_id)
        with self._lock:
            if utterance_id not in self._cache and self._held + found.x.nbytes <= CACHE_BYTES:
                self._cache[utterance_id] = found
                self._held += found.x.nbytes
        return found

    def _read(self, utterance_id: str) -> Latents:
        path = self._group(utterance_id)
        if not path.is_dir():
            raise FileError(f"{self.folder}: has no utterance {utterance_id!r}{near(utterance_id, self._ids)}")
        import zarr

        try:
            group: Any = zarr.open_group(str(path), mode="r")
            for name in ("x", "energy", "timestamps"):
                _check_claim(path, group[name], self.info)
            parts = [np.asarray(group[k][:]) for k in ("x", "energy", "timestamps")]
            found = Latents(
                parts[0].astype(np.float32, copy=False),
                parts[1].astype(np.float32, copy=False),
                parts[2].astype(np.float64, copy=False),
                str(group.attrs["speaker_id"]),
            )
        except (OSError, KeyError, ValueError, TypeError) as e:
            raise FileError(f"{self.folder}: utterance {utterance_id!r} cannot be read: {_first_line(e)}") from None
        _check(utterance_id, found, self.info)
        return found

    # ---- writing ----

    def write(self, utterance_id: str, latents: Latents) -> None:
        """Writes an utterance, whole or not at all; one that is there is replaced. Raises FileError for bad latents."""
        import zarr

        _check(utterance_id, latents, self.info)
        target = self._group(utterance_id)
        part = self.folder / f".{secrets.token_hex(8)}.part"
        try:
            group: Any = zarr.open_group(str(part), mode="w")
            group.attrs["speaker_id"] = latents.speaker_id
            for name, array in (("x", latents.x), ("energy", latents.energy), ("timestamps", latents.timestamps)):
                made: Any = zarr.create(
                    array.shape, chunks=_chunks(array.shape), dtype=array.dtype, store=str(part), path=name
                )
                made[:] = array
        except OSError as e:
            shutil.rmtree(part, ignore_errors=True)
            raise FileError(f"{target}: cannot be written: {e.strerror or e}") from None
        try:
            shutil.rmtree(target, ignore_errors=True)
            os.replace(part, target)
        except OSError as e:
            if not target.is_dir():  # else another process has just put the same there
                raise FileError(f"{target}: cannot be written: {e.strerror or e}") from None
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def finish(self, entries: Iterable[Entry]) -> None:
        """Writes the index, in the order of ids. Raises FileError for an utterance that was not written."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = sorted(entries, key=lambda e: e.utterance_id)
        for row in rows:
            if not self.has(row.utterance_id):
                raise FileError(f"{self.folder}: utterance {row.utterance_id!r} was not written; run this step again")
        table = pa.Table.from_pylist(
            [asdict(r) for r in rows],
            schema=pa.schema(
                [
                    ("utterance_id", pa.string()),
                    ("speaker_id", pa.string()),
                    ("n_frames", pa.int64()),
                    ("duration_sec", pa.float64()),
                    ("audio_path", pa.string()),
                ]
            ),
        )
        with whole(self.folder / INDEX) as part:
            pq.write_table(table, part)
        for left in self.folder.glob(".*.part"):  # of killed processes; all that was wanted is there
            shutil.rmtree(left, ignore_errors=True)
        self.__dict__.pop("index", None)


def check_rate(utterance_id: str, n_frames: int, seconds: float, info: EncoderInfo) -> None:
    """FileError if an utterance has more or fewer frames than its length asks for (0.5 Hz, or 1 frame)."""
    if abs(n_frames - seconds * info.frame_rate_hz) > max(FRAME_TOLERANCE, RATE_TOLERANCE_HZ * seconds):
        raise FileError(
            f"utterance {utterance_id!r}: {n_frames} frames in {seconds:.2f} s are {n_frames / seconds:.2f} Hz; "
            f"{info.name} gives {info.frame_rate_hz:g} Hz (within {RATE_TOLERANCE_HZ} Hz)"
        )


def _check(utterance_id: str, latents: Latents, info: EncoderInfo) -> None:
    x = latents.x
    if x.ndim != 2 or x.shape[1] != info.dim:
        raise FileError(
            f"utterance {utterance_id!r}: latents of shape {x.shape}; {info.name} gives (frames, {info.dim})"
        )
    if not len(x):
        raise FileError(f"utterance {utterance_id!r}: is empty (no frames)")
    if len(latents.energy) != len(x) or len(latents.timestamps) != len(x):
        raise FileError(
            f"utterance {utterance_id!r}: {len(x)} frames, but {len(latents.energy)} energies and "
            f"{len(latents.timestamps)} timestamps"
        )
    if not np.isfinite(x).all():
        t, d = np.argwhere(~np.isfinite(x))[0]
        raise FileError(f"utterance {utterance_id!r}: frame {t}, dimension {d} is {x[t, d]}; latents must be finite")
    if not np.isfinite(latents.energy).all():
        raise FileError(f"utterance {utterance_id!r}: its energy is NaN or Inf in a frame")


def _check_claim(path: Path, array: Any, info: EncoderInfo) -> None:
    """ValueError for an array whose header claims more than its chunks can hold: zarr would make it, of zeros."""
    shape, chunks = tuple(map(int, array.shape)), tuple(map(int, array.chunks))
    if not shape or not 0 < chunks[0] <= CHUNK_FRAMES or any(n not in (1, info.dim) for n in shape[1:]):
        raise ValueError(f"{array.path or 'array'} claims the shape {shape} in chunks of {chunks}")
    there = sum(1 for p in path.rglob("*") if p.is_file())
    if -(-shape[0] // chunks[0]) > there:
        raise ValueError(f"{array.path or 'array'} claims {shape[0]} frames, but only {there} files are there")


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """All of an utterance in a chunk, up to CHUNK_FRAMES."""
    return (min(shape[0], CHUNK_FRAMES), *shape[1:])


def _first_line(e: Exception) -> str:
    return (str(e).splitlines() or [type(e).__name__])[0]
