"""Checks on audio that comes from users, and on the numbers beside it."""

from __future__ import annotations

import numbers
import sys
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._errors import AudioError, CspaceWarning, refused

MAX_CHANNELS = 64
RATES = (8_000.0, 192_000.0)
_NEEDED = "audio must be floating point with full scale at 1.0"


def as_audio(audio: Any) -> tuple[NDArray[np.float32], bool]:
    """`audio` as C-ordered float32 [shape=(channels, frames)], and whether it came as 1-D mono.

    Anything NumPy turns into floating point will do: lists, float16 to float64, tensors of torch.
    Raises AudioError for integers (whose full scale is a guess), masked arrays, other shapes, and
    more than 64 channels, which is nearly always audio that lies the other way round.
    """
    if isinstance(audio, np.ma.MaskedArray):
        raise AudioError("audio is a masked array; say what sounds in place of the masked samples: audio.filled(0.0)")
    if audio is None or isinstance(audio, (str, bytes)):
        raise AudioError(f"{_NEEDED}, not a {type(audio).__name__}; read a file with soundfile, or use render()")
    try:
        x = np.asarray(audio)
    except (TypeError, ValueError, RuntimeError) as e:  # ragged lists; tensors with a gradient or on a GPU
        fix = "; pass tensor.detach().cpu().numpy()" if hasattr(audio, "detach") else ""
        raise AudioError(
            f"{_NEEDED}, and this {type(audio).__name__} is no array: {str(e).splitlines()[0]}{fix}"
        ) from None
    if x.ndim == 0:
        raise AudioError(f"{_NEEDED} and shape (channels, frames), not one {type(audio).__name__}: audio comes first")
    if not np.issubdtype(x.dtype, np.floating):
        raise AudioError(f"{_NEEDED}, not {x.dtype}{_mend(x.dtype)}")
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
    with np.errstate(over="ignore"):  # beyond float32 is Inf, and told as such
        return np.ascontiguousarray(x, dtype=np.float32), mono


def _mend(dtype: np.dtype[Any]) -> str:
    if np.issubdtype(dtype, np.unsignedinteger) and dtype.itemsize == 1:
        return "; 8-bit PCM is (audio.astype('float32') - 128) / 128"
    if np.issubdtype(dtype, np.signedinteger):
        return f"; PCM of {8 * dtype.itemsize} bits is audio.astype('float32') / {2 ** (8 * dtype.itemsize - 1)}"
    if np.issubdtype(dtype, np.complexfloating):
        return "; pass audio.real, or the magnitudes"
    return ""


def without_bad(x: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
    """`x` with 0 for NaN and Inf, as the engine plays it, and how many there were; `x` itself if none."""
    good = np.isfinite(x)
    bad = x.size - int(np.count_nonzero(good))
    return (np.where(good, x, np.float32(0.0)) if bad else x), bad


def tell(who: str, bad: int, faults: dict[str, int]) -> None:
    """Warns, once a call, of samples that were NaN or Inf in the input, and of processors muted for giving some."""
    found = []
    if bad:
        found.append(
            f"{bad} sample{'s' if bad > 1 else ''} of the input {'were' if bad > 1 else 'was'} NaN or Inf, played as 0"
        )
    found += [f"{name} gave NaN or Inf and was muted and reset {n}×" for name, n in faults.items()]
    if found:
        warnings.warn(f"{who}: {'; '.join(found)}", CspaceWarning, stacklevel=caller())


def caller() -> int:
    """The stack level, for a warning of the function that asks, of the first function that is not of this package."""
    package = __name__.partition(".")[0]
    level, frame = 2, sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    return level


def is_number(value: Any) -> bool:
    """Whether it is a real number: no bool, no text, no array."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def check_rate(sample_rate: Any) -> float:
    """`sample_rate` as float; AudioError if it is no number from 8 to 192 kHz."""
    if np.ndim(sample_rate) > 0:
        raise AudioError("sample_rate is an array: audio comes first, then the sample rate, as in plugin(audio, 48000)")
    if not is_number(sample_rate) and not isinstance(sample_rate, np.ndarray):
        raise AudioError(
            f"sample rate {sample_rate!r} is not allowed, use a number from {RATES[0]:g} to {RATES[1]:g} Hz"
        )
    rate = float(sample_rate)
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(f"sample rate {refused(rate, *RATES)} Hz is not allowed, use {RATES[0]:g} to {RATES[1]:g} Hz")
    return rate


def check_buffer(buffer_size: Any) -> int:
    """`buffer_size` as int; AudioError if it is no whole number from 1 on."""
    if not is_number(buffer_size) or not 1 <= buffer_size < float("inf") or buffer_size != int(buffer_size):
        raise AudioError(f"buffer_size = {buffer_size!r} is not allowed, use 1 or more samples")
    return int(buffer_size)
