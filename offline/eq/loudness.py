"""Integrated loudness of a whole sound, ITU-R BS.1770-4: K weighting, 400 ms blocks, two gates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import sosfilt

from ...plugins._adaptive.loudness import k_sections

SILENT = float("-inf")
_STEPS = 4  # of 100 ms in a block of 400 ms


class Meter:
    """Loudness of sound that comes in pieces: any length, in bounded memory.

    All channels weigh alike, as the standard has it for mono, stereo and the front of 5.1.
    """

    def __init__(self, sample_rate: float, channels: int):
        self._sections = k_sections(sample_rate)
        self._state = np.zeros((2, channels, 2))
        self._step = round(0.1 * sample_rate)
        self._rest = np.zeros(0)
        self._powers: list[NDArray[np.float64]] = []

    def add(self, x: NDArray[np.float32]) -> None:
        """Takes more sound [shape=(channels, n)]."""
        y, self._state = sosfilt(self._sections, x.astype(np.float64), axis=1, zi=self._state)
        power = np.concatenate([self._rest, (y**2).sum(axis=0)])
        whole = len(power) // self._step * self._step
        self._powers.append(power[:whole].reshape(-1, self._step).mean(axis=1))
        self._rest = power[whole:]

    def lufs(self) -> float:
        """Loudness so far; -inf for silence or less than 0.4 s."""
        steps = np.concatenate([*self._powers, np.zeros(0)])
        if len(steps) < _STEPS:
            return SILENT
        power = np.convolve(steps, np.full(_STEPS, 1.0 / _STEPS), "valid")
        power = power[power > 10.0 ** ((-70.0 + 0.691) / 10.0)]
        if not len(power):
            return SILENT
        power = power[power > 0.1 * power.mean()]
        return float(-0.691 + 10.0 * np.log10(power.mean()))


def loudness_lufs(x: NDArray[np.float32], sample_rate: float) -> float:
    """Loudness in LUFS of sound [shape=(channels, n) or (n,)]; -inf for silence or less than 0.4 s."""
    sound = np.atleast_2d(x)
    meter = Meter(sample_rate, sound.shape[0])
    meter.add(sound)
    return meter.lufs()
