"""Short-time spectra of a recording of any length, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio import stream_mono

F32 = NDArray[np.float32]

#: Samples handed on at once; sets the memory used, not the result.
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Frames:
    """Some frames of a recording.

    first : number of the first one; frame t is centred on sample t · hop
    x : float32 [shape=(frames, n_fft)], the sound under each frame, no window applied
    """

    first: int
    x: F32


def stream_frames(
    path: str | os.PathLike[str], sample_rate: int, n_fft: int, hop: int, *, conversions: list[str] | None = None
) -> Iterator[Frames]:
    """All frames of a file, centred, with silence before the first and after the last sample.

    A recording of n samples has 1 + n // hop frames, as `librosa.stft(center=True, pad_mode="constant")`
    gives them. Raises FileError for what cannot be read.
    """
    kept = np.zeros(n_fft // 2, np.float32)
    first, total = 0, 0
    for block in stream_mono(path, sample_rate, block=_BLOCK, conversions=conversions):
        total += len(block)
        kept = np.concatenate([kept, block])
        frames = _cut(kept, n_fft, hop)
        if len(frames):
            yield Frames(first, frames)
            first += len(frames)
            kept = kept[len(frames) * hop :]
    wanted = 1 + total // hop if total else 0
    if wanted > first:
        short = (wanted - first - 1) * hop + n_fft - len(kept)
        yield Frames(
            first, _cut(np.concatenate([kept, np.zeros(max(0, short), np.float32)]), n_fft, hop)[: wanted - first]
        )


def _cut(x: F32, n_fft: int, hop: int) -> F32:
    if len(x) < n_fft:
        return np.zeros((0, n_fft), np.float32)
    return np.lib.stride_tricks.sliding_window_view(x, n_fft)[::hop]


def hann(n: int) -> F32:
    """Periodic Hann window [shape=(n,)]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32)


def amplitudes(frames: F32, window: F32) -> F32:
    """|STFT| [shape=(frames, n_fft / 2 + 1)], scaled so that a sine of amplitude A at a bin centre reads A.

    `window` may be shorter than the frames: it then sits in their middle, so that both resolutions
    are centred alike.
    """
    n = len(window)
    off = (frames.shape[1] - n) // 2
    return np.abs(np.fft.rfft(frames[:, off : off + n] * window, axis=1)).astype(np.float32) * np.float32(
        2 / window.sum()
    )
