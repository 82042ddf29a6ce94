"""Recordings as the studies need them: mono, at one sample rate, in bounded memory, with every conversion stated."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from ..audiofile import Reader
from ..plugins._errors import AudioError, ParameterError
from .folders import Found, files_under

F32 = NDArray[np.float32]

#: Suffixes looked for in folders.
SUFFIXES = frozenset((".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64"))
SILENCE_DB = -80.0


@dataclass
class Clip:
    """Mono sound of a file."""

    samples: F32
    sample_rate: int
    path: Path
    #: What was changed on the way in, in words; empty if nothing.
    conversions: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.sample_rate


def stream_mono(
    path: str | os.PathLike[str],
    sample_rate: int,
    *,
    block: int = 65536,
    seconds: float | None = None,
    conversions: list[str] | None = None,
    faults: list[str] | None = None,
) -> Generator[F32]:
    """Mono float32 blocks of a file at `sample_rate`, of any length in bounded memory.

    Channels are averaged, the rate is changed by soxr (VHQ), NaN and Inf become 0; `conversions`
    receives what was done and what is wrong with the file (it is cut off), in words, when the last
    block has been given or the reading is left; `faults` the latter alone.

    Raises FileError for what cannot be read, ParameterError for `seconds` that are not a length.
    """
    if seconds is not None and not 0.0 < seconds < np.inf:
        raise ParameterError(f"seconds is {seconds}; more than 0 is needed, and a finite number")
    said = conversions if conversions is not None else []
    with Reader(path) as file, _faults_said(file, said, faults):
        left = None if seconds is None else round(seconds * file.sample_rate)
        change: Any = None
        if file.sample_rate != sample_rate:
            change = soxr.ResampleStream(file.sample_rate, sample_rate, 1, dtype="float32", quality="VHQ")
            said.append(f"resampled from {file.sample_rate} to {sample_rate} Hz")
        if file.channels > 1:
            said.append(f"{file.channels} channels averaged to one")
        for x in file.blocks(block):
            mono = x.mean(axis=1, dtype=np.float32) if file.channels > 1 else x[:, 0]
            if left is not None:
                mono = mono[:left]
                left -= len(mono)
            if change is not None:
                mono = change.resample_chunk(np.ascontiguousarray(mono), last=False)
            if len(mono):
                yield np.ascontiguousarray(mono)
            if left == 0:
                break
        if change is not None:
            rest = change.resample_chunk(np.zeros(0, np.float32), last=True)
            if len(rest):
                yield rest


@contextlib.contextmanager
def _faults_said(file: Reader, said: list[str], faults: list[str] | None) -> Iterator[None]:
    """Says what is wrong with a file and how many samples were mended, at the end and where a caller stops early."""
    try:
        yield
    finally:
        said += file.warnings
        if faults is not None:
            faults += file.warnings
        if file.bad_samples:
            said.append(f"{file.bad_samples} NaN or Inf samples set to 0")


def load_mono(path: str | os.PathLike[str], sample_rate: int, *, seconds: float | None = None) -> Clip:
    """A whole file (or its first `seconds`) as mono float32 at `sample_rate`, not normalised.

    Raises FileError for what cannot be read, AudioError for a file without samples.
    """
    conversions: list[str] = []
    blocks = list(stream_mono(path, sample_rate, seconds=seconds, conversions=conversions))
    if not blocks:
        raise AudioError(f"{path}: has no samples")
    return Clip(np.concatenate(blocks), sample_rate, Path(path), conversions)


def require_sound(x: F32, name: str, *, at_least: int = 1) -> None:
    """AudioError if `x` is shorter than `at_least` samples or silent (below −80 dB full scale throughout)."""
    if len(x) < at_least:
        raise AudioError(f"{name}: {len(x)} samples are too short; at least {at_least} are needed")
    peak = float(np.max(np.abs(x)))
    if peak < 10 ** (SILENCE_DB / 20):
        raise AudioError(f"{name}: is silent (peak {peak:.1e}, below {SILENCE_DB:.0f} dB full scale)")


def require_index(index: int, length: int, name: str, *, margin: int = 0) -> None:
    """AudioError if `index` is not a sample of the clip with `margin` samples either side."""
    if not margin <= index < length - margin:
        raise AudioError(f"{name}: sample {index} is out of range; {margin} to {length - margin - 1} can be used here")


def normalise_peak(x: F32) -> F32:
    """Scaled so that the largest sample has magnitude 1 (as the original did with all its input)."""
    peak = float(np.max(np.abs(x))) if len(x) else 0.0
    return x / np.float32(peak) if peak > 0.0 else x


def audio_files(folder: str | os.PathLike[str], *, unread: list[str] | None = None) -> list[Path]:
    """All audio files under a folder, sorted; hidden ones are left out. A file stands for itself.

    Linked folders are followed once. `unread` receives what could not be looked into, and why.
    Raises AudioError where there are none, FileError for a folder that cannot be read.
    """
    root = Path(folder)
    if os.path.isfile(root):
        return [root]
    found = find_audio(root)
    if unread is not None:
        unread += [f"{path}: {why}" for path, why in found.unread.items()]
    if not found.files:
        raise _nothing(root, found)
    return found.files


def find_audio(root: Path) -> Found:
    """The audio files under a folder, and what could not be read there. Raises AudioError, FileError."""
    if not os.path.isdir(root):
        raise AudioError(f"{root}: there is no such folder or file")
    return files_under(root, lambda name: os.path.splitext(name)[1].lower() in SUFFIXES)


def _nothing(root: Path, found: Found) -> AudioError:
    more = "".join(f"; {p.relative_to(root)}: {why}" for p, why in list(found.unread.items())[:3])
    return AudioError(f"{root}: no audio files in it (looked for {' '.join(sorted(SUFFIXES))}){more}")
