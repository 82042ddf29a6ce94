"""Clips to look for: a file or a part of it, mono, at the index's rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...audiofile import Reader
from ...plugins._errors import AudioError
from ..audio import load_mono
from .exact import read_passage

#: A query may be cut out of a file of any length, but no more than this is loaded.
LONGEST_CLIP_S = 1200.0


def load_clip(
    path: Path, sample_rate: int, start_s: float = 0.0, seconds: float | None = None
) -> tuple[NDArray[np.float32], list[str]]:
    """Mono float32 samples, and what was converted, in words.

    Raises FileError for what cannot be read, AudioError for a start beyond the end or a clip of
    more than 20 minutes.
    """
    with Reader(path) as file:
        length = file.length() / file.sample_rate
        rate, channels = file.sample_rate, file.channels
    if start_s > 0.0 and start_s >= length:
        raise AudioError(f"{path}: --start {start_s:g} s is beyond its end at {length:.3f} s")
    wanted = max(0.0, length - start_s) if seconds is None else seconds
    if min(wanted, length - start_s) > LONGEST_CLIP_S:
        raise AudioError(
            f"{path}: {length / 60:.0f} minutes are too long for a query; name a part with --start --seconds"
        )
    if start_s == 0.0:
        clip = load_mono(path, sample_rate, seconds=seconds)
        return clip.samples, clip.conversions
    said = [f"resampled from {rate} to {sample_rate} Hz"] if rate != sample_rate else []
    if channels > 1:
        said.append(f"{channels} channels averaged to one")
    frames = round(min(wanted, length - start_s) * sample_rate)
    return read_passage(path, sample_rate, round(start_s * sample_rate), frames), said
