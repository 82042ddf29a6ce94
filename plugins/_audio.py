"""Checks on audio that comes from users."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._errors import AudioError, refused

MAX_CHANNELS = 64
RATES = (8_000.0, 192_000.0)


def as_audio(audio: Any) -> tuple[NDArray[np.float32], bool]:
    """`audio` as C-ordered float32 [shape=(channels, frames)], and whether it came as 1-D mono.

    Raises AudioError for integers (whose full scale is a guess), other shapes, and more than 64
    channels, which is nearly always audio that lies the other way round.
    """
    x = np.asarray(audio)
    if not np.issubdtype(x.dtype, np.floating):
        raise AudioError(f"audio must be floating point with full scale at 1.0, not {x.dtype}")
    mono = x.ndim == 1
    if mono:
        x = x[None, :]
    if x.ndim != 2:
        raise AudioError(f"audio must have shape (channels, frames) or (frames,), not {np.shape(audio)}")
    if not 1 <= x.shape[0] <= MAX_CHANNELS:
        raise AudioError(
            f"audio has shape {x.shape}, that is {x.shape[0]} channels (1 to {MAX_CHANNELS} are allowed); "
            "the shape is (channels, frames), so pass audio.T if yours is (frames, channels)"
        )
    return np.ascontiguousarray(x, dtype=np.float32), mono


def check_rate(sample_rate: float) -> float:
    """`sample_rate` as float; AudioError outside 8 to 192 kHz."""
    rate = float(sample_rate)
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"sample rate {refused(rate, *RATES)} Hz is not allowed, use {RATES[0]:g} to {RATES[1]:g} Hz")
    return rate


def check_buffer(buffer_size: int) -> int:
    """`buffer_size` as int; AudioError below 1."""
    if int(buffer_size) < 1:
        raise AudioError(f"buffer_size = {buffer_size} is not allowed, use 1 or more samples")
    return int(buffer_size)
