"""Loudness: the K weighting of ITU-R BS.1770-4, at any sample rate, and what a curve does to it.

The weighting is two sections given at 48 kHz; for other rates their analog prototypes are turned
into filters anew, as B. De Man's analysis of the standard has it ("Evaluation of implementations of
the EBU R128 loudness measurement", AES 2018). Thread: control or worker.
"""

from __future__ import annotations

import numpy as np

from .curve import F64
from .spectrum import Sound, centers

_SHELF_HZ, _SHELF_DB, _SHELF_Q, _SHELF_EXPONENT = (
    1681.974450955533,
    3.999843853973347,
    0.7071752369554196,
    0.4996667741545416,
)
_LOW_HZ, _LOW_Q = 38.13547087602444, 0.5003270373238773
MOST_DB = 12.0  # of make-up gain, either way


def k_sections(sample_rate: float) -> F64:
    """The weighting as two second-order sections, b0 b1 b2 1 a1 a2 [shape=(2, 6)]."""
    k = np.tan(np.pi * min(_SHELF_HZ / sample_rate, 0.49))
    high = 10.0 ** (_SHELF_DB / 20.0)
    mid = high**_SHELF_EXPONENT
    a0 = 1.0 + k / _SHELF_Q + k * k
    shelf = [
        (high + mid * k / _SHELF_Q + k * k) / a0,
        2.0 * (k * k - high) / a0,
        (high - mid * k / _SHELF_Q + k * k) / a0,
        1.0,
        2.0 * (k * k - 1.0) / a0,
        (1.0 - k / _SHELF_Q + k * k) / a0,
    ]
    k = np.tan(np.pi * _LOW_HZ / sample_rate)
    a0 = 1.0 + k / _LOW_Q + k * k
    low = [1.0, -2.0, 1.0, 1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / _LOW_Q + k * k) / a0]
    return np.array([shelf, low])


def k_weight_db(freqs_hz: F64, sample_rate: float = 48_000.0) -> F64:
    """The weighting's magnitude in dB."""
    z = np.exp(-2j * np.pi * np.asarray(freqs_hz) / sample_rate)
    h = np.ones(len(z), complex)
    for b0, b1, b2, _, a1, a2 in k_sections(sample_rate):
        h *= (b0 + b1 * z + b2 * z * z) / (1.0 + a1 * z + a2 * z * z)
    return np.asarray(20.0 * np.log10(np.maximum(np.abs(h), 1e-12)))


def change_db(sound: Sound, curve_db: F64) -> float:
    """By how much a filter with this curve [shape=(bands,)] changes the loudness of a sound, ungated, in dB."""
    weight = k_weight_db(centers(len(sound.levels_db)))
    before = np.where(sound.valid, 10.0 ** ((sound.levels_db + weight) / 10.0), 0.0)
    if not before.sum() > 0.0:
        return 0.0
    return float(10.0 * np.log10((before * 10.0 ** (curve_db / 10.0)).sum() / before.sum()))
