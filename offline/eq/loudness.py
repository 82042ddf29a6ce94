"""Integrated loudness of a whole sound, ITU-R BS.1770-4: K weighting, 400 ms blocks, two gates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import sosfilt

from ...plugins._adaptive.loudness import k_sections

SILENT = float("-inf")


def loudness_lufs(x: NDArray[np.float32], sample_rate: float) -> float:
    """Loudness in LUFS of sound [shape=(channels, n)]; -inf for silence or less than 0.4 s.

    All channels weigh alike, as the standard has it for mono, stereo and the front of 5.1.
    """
    y = sosfilt(k_sections(sample_rate), np.atleast_2d(x).astype(np.float64), axis=1)
    size, hop = round(0.4 * sample_rate), round(0.1 * sample_rate)
    if y.shape[1] < size:
        return SILENT
    total = np.concatenate([[0.0], np.cumsum((y**2).sum(axis=0))])
    starts = np.arange(0, y.shape[1] - size + 1, hop)
    power = (total[starts + size] - total[starts]) / size
    power = power[power > 10.0 ** ((-70.0 + 0.691) / 10.0)]
    if not len(power):
        return SILENT
    power = power[power > 0.1 * power.mean()]
    return float(-0.691 + 10.0 * np.log10(power.mean()))
