"""What a Convolution may be made with: a sound file that is one, at a rate and of a length that can be convolved.

pedalboard opens the file by itself: it waits for pipes, takes a device or a file without sound in silence,
and resamples from any rate, 1e-300 Hz too, which takes all memory there is. Thread: control.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

from ..textfile import shown
from ._audio import caller
from ._errors import CspaceWarning, FileError, ParameterError

RATES = (1_000, 768_000)  # Hz
LONGEST_S = 120.0  # of an impulse response; the longest take about 1 GB
_PIECE = 65_536


def check_file(path: Path) -> None:
    """Reads an impulse response once; CspaceWarning says what is missing from it.

    Raises FileError for what is no regular file, no sound, damaged from the start, empty or not finite,
    and ParameterError for a rate or length out of bounds.
    """
    from ..audiofile import Reader  # imports this folder's errors
    from ..regularfile import check_regular

    check_regular(path)  # also `-`, which Reader would take for standard input
    with Reader(path) as reader:
        rate = check_rate(reader.sample_rate, f"{shown(path)}: its rate")
        if reader.frames is not None:
            check_length(reader.frames, rate, f"{shown(path)}:")
        for _ in reader.blocks(_PIECE):
            check_length(reader.frames_read, rate, f"{shown(path)}:")
        if reader.frames_read == 0:
            raise FileError(f"{shown(path)}: holds no samples, so nothing can be convolved with it")
        if reader.bad_samples:
            raise FileError(f"{shown(path)}: {reader.bad_samples} samples are NaN or Inf")
        for words in reader.warnings:
            warnings.warn(f"impulse response {shown(path)}: {words}", CspaceWarning, stacklevel=caller())


def check_rate(rate: object, what: str) -> float:
    """A rate of an impulse response in Hz. Raises ParameterError."""
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise ParameterError(f"{what} = {rate!r} is not a rate in Hz")
    if not RATES[0] <= rate <= RATES[1]:  # NaN too; whole numbers may be longer than can be written out
        size = f"{rate:g}" if isinstance(rate, float) else "a whole number" if abs(rate) > 1e15 else str(rate)
        raise ParameterError(f"{what} = {size} is not allowed, use {RATES[0]} to {RATES[1]} Hz")
    return float(rate)


def check_length(frames: int, rate: float, what: str) -> None:
    """Raises ParameterError for an impulse response that is too long."""
    seconds = frames / rate
    if not math.isfinite(seconds) or seconds > LONGEST_S:
        raise ParameterError(f"{what} {seconds:.6g} s are too long for an impulse response, use up to {LONGEST_S:g} s")
