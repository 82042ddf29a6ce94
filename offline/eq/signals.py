"""Sounds to train and test with: pink noise, plain synthetic instruments, and music of the user's.

Pink noise is white noise shaped by 1/√f in the frequency domain of the whole clip, so its slope is
exact at every length; the original's update rule made steps (17 values in two seconds).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from ...audiofile import Reader

F32 = NDArray[np.float32]


def pink_noise(seconds: float, sample_rate: float, seed: int, *, rms: float = 0.1) -> F32:
    """Gaussian noise with equal power per octave from 10 Hz up to half the sample rate [shape=(n,)]."""
    rng = np.random.default_rng(seed)
    n = round(seconds * sample_rate)
    size = int(2 ** np.ceil(np.log2(max(n, 2))))
    freqs = np.fft.rfftfreq(size, 1.0 / sample_rate)
    shape = np.where(freqs < 10.0, 0.0, 1.0 / np.sqrt(np.maximum(freqs, 10.0)))
    bins = (rng.standard_normal(len(freqs)) + 1j * rng.standard_normal(len(freqs))) * shape
    x = np.fft.irfft(bins, size)[:n]
    return np.asarray(x * (rms / np.sqrt(np.mean(x**2))), np.float32)


def white_noise(seconds: float, sample_rate: float, seed: int, *, rms: float = 0.1) -> F32:
    """Gaussian noise with equal power per Hz."""
    return np.asarray(rms * np.random.default_rng(seed).standard_normal(round(seconds * sample_rate)), np.float32)


def sweep(seconds: float, sample_rate: float, low_hz: float = 20.0, high_hz: float | None = None) -> F32:
    """A sine that rises by equal ratios in equal times, to 0.45 of the sample rate by default: pink on average."""
    top = high_hz or 0.45 * sample_rate
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    rate = np.log(top / low_hz) / seconds
    return np.asarray(0.2 * np.sin(2 * np.pi * low_hz * np.expm1(rate * t) / rate), np.float32)


def ensemble(seconds: float, sample_rate: float, seed: int) -> F32:
    """A short piece for synthetic instruments: plucked and bowed tones, bass, drums, with a timbre of its own.

    Every draw has its own tilt, register, density and balance, as wide as real pieces differ.
    """
    rng = np.random.default_rng(seed)
    n = round(seconds * sample_rate)
    out = np.zeros(n)
    root = rng.uniform(40.0, 80.0)
    scale = np.array([0, 2, 4, 5, 7, 9, 11]) if rng.random() < 0.5 else np.array([0, 2, 3, 5, 7, 8, 10])
    beat = 60.0 / rng.uniform(60.0, 160.0)
    for _ in range(rng.integers(2, 6)):  # voices
        register = 2.0 ** rng.integers(0, 5)
        slope, decay = rng.uniform(0.6, 2.2), rng.choice([0.15, 0.4, 1.5])
        level, bright = 10 ** rng.uniform(-1.2, 0.0), rng.uniform(1_500.0, 12_000.0)
        step = beat * rng.choice([0.25, 0.5, 1.0, 2.0])
        tones: dict[int, NDArray[np.float64]] = {}
        for start in np.arange(0.0, seconds, step):
            if rng.random() < 0.3:
                continue
            note = int(rng.choice(scale))
            if note not in tones:
                tones[note] = _tone(rng, sample_rate, root * register * 2.0 ** (note / 12.0), decay, slope, bright)
            _add(out, sample_rate, start, tones[note] * level)
    for _ in range(rng.integers(0, 3)):  # drums: bursts of coloured noise
        colour, level, step = rng.uniform(-1.0, 1.5), 10 ** rng.uniform(-1.5, -0.3), beat * rng.choice([0.25, 0.5, 1.0])
        hit = _burst(rng, sample_rate, rng.uniform(0.03, 0.25), colour)
        for start in np.arange(0.0, seconds, step):
            _add(out, sample_rate, start, hit * level * rng.uniform(0.5, 1.0))
    noise = pink_noise(seconds, sample_rate, int(rng.integers(2**31)), rms=10 ** rng.uniform(-4.0, -2.5))
    out += noise
    return np.asarray(out * (0.1 / max(float(np.sqrt(np.mean(out**2))), 1e-9)), np.float32)


def _add(out: NDArray[np.float64], sample_rate: float, start: float, sound: NDArray[np.float64]) -> None:
    at = round(start * sample_rate)
    room = max(0, min(len(sound), len(out) - at))
    out[at : at + room] += sound[:room]


def _tone(
    rng: np.random.Generator, sample_rate: float, hz: float, decay: float, slope: float, bright: float
) -> NDArray[np.float64]:
    t = np.arange(round(min(3.0 * decay, 2.0) * sample_rate)) / sample_rate
    x = np.zeros(len(t))
    for k in range(1, max(min(int(0.45 * sample_rate / hz), 40), 1) + 1):
        level = k**-slope / np.sqrt(1.0 + (k * hz / bright) ** 4)
        if k > 1 and level < 1e-4:
            break
        x += level * np.sin(2 * np.pi * hz * k * t + rng.uniform(0, 2 * np.pi)) * np.exp(-t * np.sqrt(k) / decay)
    return np.asarray(x * np.minimum(1.0, t / 0.005))


def _burst(rng: np.random.Generator, sample_rate: float, decay: float, colour: float) -> NDArray[np.float64]:
    n = round(4 * decay * sample_rate)
    freqs = np.maximum(np.fft.rfftfreq(n, 1.0 / sample_rate), 30.0)
    bins = (rng.standard_normal(len(freqs)) + 1j * rng.standard_normal(len(freqs))) * (freqs / 1_000.0) ** (-colour)
    x = np.fft.irfft(bins, n) * np.exp(-np.arange(n) / (decay * sample_rate))
    return np.asarray(x / max(float(np.abs(x).max()), 1e-9))


def excerpts(
    files: Iterable[Path], seconds: float, sample_rate: int, *, each: int = 1, limit: int | None = None
) -> Iterator[tuple[Path, float, F32]]:
    """Excerpts of pieces of music: path, start in seconds and samples (mono), evenly over each file.

    Files shorter than half of `seconds` are left out, as are silent excerpts.
    """
    given = 0
    for path in files:
        for start, x in _parts(path, seconds, sample_rate, each):
            if float(np.sqrt(np.mean(x**2))) < 1e-3:
                continue
            yield path, start, x
            given += 1
            if limit is not None and given >= limit:
                return


def _parts(path: Path, seconds: float, sample_rate: int, each: int) -> Iterator[tuple[float, F32]]:
    with Reader(path) as file:
        rate, total = file.sample_rate, file.length()
        if total < 0.5 * seconds * rate:
            return
        size = min(round(seconds * rate), total)
        starts = [round((total - size) * (i + 0.5) / each) for i in range(each)]
        kept: list[list[F32]] = [[] for _ in starts]
        at = 0
        for block in file.blocks(65_536):
            for start, parts in zip(starts, kept, strict=True):
                piece = block[max(start - at, 0) : max(start + size - at, 0)]
                if len(piece):
                    parts.append(piece.mean(axis=1, dtype=np.float32))
            at += len(block)
    for start, parts in zip(starts, kept, strict=True):
        if parts:
            x = np.concatenate(parts)
            yield start / rate, x if rate == sample_rate else soxr.resample(x, rate, sample_rate)
