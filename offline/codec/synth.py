"""Music made by code: something to train on and test with where there are no recordings.

Notes of a few decaying instruments over a random harmony, percussion of filtered noise, glides, a room of
decaying noise; every clip another key, tempo and balance. It claims variety of spectra and envelopes, not beauty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

F32 = NDArray[np.float32]

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 3, 5, 7, 10), (0, 2, 4, 6, 8, 10))


def music(seconds: float, sample_rate: int, seed: int) -> F32:
    """A clip [shape=(samples,)] with its peak between −20 and 0 dB full scale, the same for the same seed."""
    rng = np.random.default_rng([seed, 0xC5])
    count = round(seconds * sample_rate)
    out = np.zeros(count)
    root, scale = rng.uniform(36, 52), SCALES[rng.integers(len(SCALES))]
    beat = 60.0 / rng.uniform(60, 160)
    for _ in range(rng.integers(1, 5)):
        _voice(out, rng, sample_rate, root + 12 * rng.integers(0, 3), scale, beat * rng.choice((0.25, 0.5, 1, 2)))
    if rng.random() < 0.6:
        _drums(out, rng, sample_rate, beat)
    if rng.random() < 0.3:
        _glide(out, rng, sample_rate)
    if rng.random() < 0.6:
        out = _room(out, rng, sample_rate)
    if rng.random() < 0.3:  # a floor of noise, as recordings have
        out += rng.standard_normal(count) * np.max(np.abs(out), initial=1e-9) * 10 ** rng.uniform(-4, -2)
    peak = float(np.max(np.abs(out), initial=1e-9))
    return np.asarray(out / peak * 10 ** rng.uniform(-1.0, 0.0), np.float32)


def _voice(
    out: NDArray[np.float64], rng: np.random.Generator, rate: int, root: float, scale: tuple[int, ...], step: float
) -> None:
    """Notes of one instrument: harmonics of a random slope and stiffness, each with its own decay."""
    slope, stiffness = rng.uniform(0.4, 2.0), 10 ** rng.uniform(-6, -3.3) * (rng.random() < 0.6)
    attack, ring = 10 ** rng.uniform(-3, -1), 10 ** rng.uniform(-1, 0.5)
    vibrato = rng.uniform(0, 0.006) * (rng.random() < 0.4)
    level = 10 ** rng.uniform(-1, 0)
    chord = rng.integers(1, 4)
    position = rng.uniform(-1.0, 0.0) * step
    while position < len(out) / rate:
        start, length = max(0, int(position * rate)), int(min(2.5, 3 * ring + step) * rate)
        position += step * rng.choice((1, 1, 1, 2))
        length = min(length, len(out) - start)
        if length <= 0 or rng.random() < 0.15:
            continue
        t = np.arange(length) / rate
        onset = np.minimum(t / attack, 1.0)
        for _ in range(chord):
            degree = int(rng.integers(0, 2 * len(scale)))
            pitch = root + 12 * (degree // len(scale)) + scale[degree % len(scale)]
            hz = 440.0 * 2 ** ((pitch - 69) / 12)
            top = min(24, int(0.48 * rate / hz))
            k = np.arange(1, max(top, 1) + 1)
            partial = hz * k * np.sqrt(1 + stiffness * k**2)
            partial = partial[partial < 0.49 * rate]
            wobble = hz * vibrato * 0.03 * np.sin(2 * np.pi * 5.5 * t)
            for i, f in enumerate(partial):
                size = level * (i + 1) ** -slope * rng.uniform(0.3, 1.0)
                if size < 2e-3:
                    continue
                life = min(length, int(7 * ring / (1 + 0.3 * i) * rate))  # −60 dB
                envelope = onset[:life] * np.exp(t[:life] * (-(1 + 0.3 * i) / ring))
                phase = (2 * np.pi * f) * t[:life] + rng.uniform(0, 6.3)
                if vibrato:
                    phase += (i + 1) * wobble[:life]
                out[start : start + life] += size * envelope * np.sin(phase)


def _drums(out: NDArray[np.float64], rng: np.random.Generator, rate: int, beat: float) -> None:
    for tone, every in ((rng.uniform(0.02, 0.3), 1), (rng.uniform(0.3, 0.98), 0.5)):
        ring, level = 10 ** rng.uniform(-2, -0.7), 10 ** rng.uniform(-1.2, 0.1)
        length = min(int(6 * ring * rate), len(out))
        for at in np.arange(rng.uniform(0, beat), len(out) / rate, beat * every):
            start = int(at * rate)
            hit = lfilter([tone], [1.0, tone - 1.0], rng.standard_normal(min(length, len(out) - start)))
            out[start : start + len(hit)] += level * hit * np.exp(-np.arange(len(hit)) / (ring * rate))


def _glide(out: NDArray[np.float64], rng: np.random.Generator, rate: int) -> None:
    t = np.arange(len(out)) / rate
    low, high = np.sort(rng.uniform(np.log(80), np.log(0.45 * rate), 2))
    track = low + (high - low) * 0.5 * (1 + np.sin(2 * np.pi * rng.uniform(0.05, 0.8) * t + rng.uniform(0, 6.3)))
    out += 10 ** rng.uniform(-1.5, -0.3) * np.sin(2 * np.pi * np.cumsum(np.exp(track)) / rate)


def _room(out: NDArray[np.float64], rng: np.random.Generator, rate: int) -> NDArray[np.float64]:
    ring = rng.uniform(0.1, 1.2)
    count = int(ring * rate)
    tail = rng.standard_normal(count) * np.exp(-6.9 * np.arange(count) / count) * rng.uniform(0.01, 0.08)
    tail[0] = 1.0
    size = int(2 ** np.ceil(np.log2(len(out) + count)))
    return np.asarray(np.fft.irfft(np.fft.rfft(out, size) * np.fft.rfft(tail, size), size)[: len(out)])
