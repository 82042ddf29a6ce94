"""Long-term spectra in bands of equal ratio: what the adaptive EQ hears, independent of level and rate.

Pink noise (equal power per octave) is flat here. Thread: control or worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._errors import AudioError
from .curve import F64

LOW_HZ, HIGH_HZ = 20.0, 20_000.0
FRAME_S = 0.34  # a frame resolves 3 Hz: the lowest bands are 4 Hz wide
SILENCE_DB = -70.0  # rms of a frame, full scale 1.0; quieter ones are not sound
SHORTEST_S = 0.5  # of sound, to be judged
_TOP = 0.46  # of the sample rate: above it converters' filters are heard, not the sound
_DEAD_DB = 75.0  # a band this far below the strongest holds nothing (a lowpass of a coder, say)


def edges(bands: int) -> F64:
    """Band edges in Hz [shape=(bands + 1,)]."""
    return np.geomspace(LOW_HZ, HIGH_HZ, bands + 1)


def centers(bands: int) -> F64:
    """Band centres in Hz [shape=(bands,)]."""
    e = edges(bands)
    return np.asarray(np.sqrt(e[:-1] * e[1:]))


@dataclass(frozen=True)
class Sound:
    """A long-term spectrum: mean power per band in dB, and where that means something."""

    levels_db: F64  # [shape=(bands,)], relative to full scale
    valid: NDArray[np.bool_]  # [shape=(bands,)]
    seconds: float  # of sound, without silence

    def against(self, reference: Sound | None = None) -> tuple[F64, NDArray[np.bool_]]:
        """Deviation in dB from pink noise or from a reference, with mean 0 over the valid bands, and those bands."""
        valid = self.valid if reference is None else self.valid & reference.valid
        dev = self.levels_db if reference is None else self.levels_db - reference.levels_db
        if valid.any():
            dev = dev - dev[valid].mean()
        return np.where(valid, dev, 0.0), valid

    def after(self, curve_db: F64) -> Sound:
        """What it would be behind a filter with this curve [shape=(bands,)]."""
        return Sound(self.levels_db + curve_db, self.valid, self.seconds)

    def tilt_db_per_octave(self) -> float:
        """Slope of a straight line through the valid bands, over octaves; pink noise has 0."""
        dev, valid = self.against()
        octaves = np.log2(centers(len(dev)))[valid]
        octaves -= octaves.mean()
        return float((octaves * dev[valid]).sum() / (octaves**2).sum())


class Frames:
    """Cuts sound into overlapping frames and gives each one's power in bands.

    Parameters
    ----------
    sample_rate : 8,000 to 192,000 Hz
    bands : how many, from 20 Hz to 20 kHz
    """

    def __init__(self, sample_rate: float, bands: int):
        self.sample_rate = sample_rate
        self.size = int(2 ** round(np.log2(FRAME_S * sample_rate)))
        self.hop = self.size // 2
        self._window = np.hanning(self.size + 1)[:-1].astype(np.float32)
        self._scale = 2.0 / (self.size * float((self._window.astype(np.float64) ** 2).sum()))
        step = sample_rate / self.size
        # The power of bin k is spread evenly over one bin's width about it.
        self._bin_edges = (np.arange(self.size // 2 + 2) - 0.5) * step
        self._edges = np.minimum(edges(bands), self._bin_edges[-1])
        self.reaches = edges(bands)[1:] <= _TOP * sample_rate
        self._rest: NDArray[np.float32] = np.zeros((0, 0), np.float32)

    def clear(self) -> None:
        """Forgets samples of an unfinished frame."""
        self._rest = np.zeros((0, 0), np.float32)

    def add(self, audio: NDArray[np.float32], *, last: bool = False) -> list[tuple[F64, float]]:
        """Frames completed by more sound [shape=(channels, n)]: powers [shape=(bands,)] and rms in dB of each.

        Channels' powers are averaged, so that opposite phases do not cancel. With `last`, the rest
        is one more frame, filled up with silence, if nothing else was heard or half of it is sound.
        """
        waiting = audio if self._rest.shape[0] != audio.shape[0] else np.concatenate([self._rest, audio], axis=1)
        out = []
        at = 0
        while waiting.shape[1] - at >= self.size:
            out.append(self._frame(waiting[:, at : at + self.size], 1.0))
            at += self.hop
        self._rest = np.array(waiting[:, at:], np.float32)
        if last and not out and self._rest.shape[1] >= self.size // 8:
            n = self._rest.shape[1]
            padded = np.zeros((audio.shape[0], self.size), np.float32)
            start = (self.size - n) // 2
            padded[:, start : start + n] = self._rest
            out.append(self._frame(padded, n / self.size))
        return out

    def _frame(self, x: NDArray[np.float32], filled: float) -> tuple[F64, float]:
        rms = float(np.sqrt(np.mean(x.astype(np.float64) ** 2) / filled))
        if not np.isfinite(rms):  # NaN or Inf somewhere: no sound to learn from
            return np.zeros(len(self._edges) - 1), -np.inf
        spectrum = np.fft.rfft(x * self._window, axis=1)
        power = np.mean(spectrum.real.astype(np.float64) ** 2 + spectrum.imag.astype(np.float64) ** 2, axis=0)
        return self.bands(power * self._scale), 20.0 * np.log10(max(rms, 1e-12))

    def bands(self, power: F64) -> F64:
        """Power per band of powers per bin [shape=(size / 2 + 1,)]."""
        total = np.concatenate([[0.0], np.cumsum(power)])
        return np.diff(np.interp(self._edges, self._bin_edges, total))


class LongTerm:
    """A long-term spectrum that grows with the sound.

    Parameters
    ----------
    sample_rate, bands : as for `Frames`
    memory_s : time constant of forgetting, in seconds of sound; None remembers all alike
    """

    def __init__(self, sample_rate: float, bands: int, memory_s: float | None = None):
        self.frames = Frames(sample_rate, bands)
        self.bands = bands
        self.memory_s = memory_s
        self.clear()

    def clear(self) -> None:
        """Forgets all."""
        self.frames.clear()
        self._sum = np.zeros(self.bands)
        self._weight = 0.0
        self.seconds = 0.0
        self.silent_s = 0.0

    def add(self, audio: NDArray[np.float32], *, last: bool = False) -> int:
        """Takes more sound [shape=(channels, n)]; returns how many frames of sound were complete."""
        hop_s = self.frames.hop / self.frames.sample_rate
        keep = 1.0 if self.memory_s is None else float(np.exp(-hop_s / self.memory_s))
        heard = 0
        for power, level_db in self.frames.add(audio, last=last):
            if level_db < SILENCE_DB:
                self.silent_s += hop_s
                continue
            self._sum = keep * self._sum + power
            self._weight = keep * self._weight + 1.0
            self.seconds += hop_s if self.seconds or not last else audio.shape[1] / self.frames.sample_rate
            heard += 1
        return heard

    @property
    def enough(self) -> bool:
        """Whether there was sound for long enough to be judged."""
        return self.seconds >= SHORTEST_S - 0.5 * self.frames.hop / self.frames.sample_rate

    def sound(self) -> Sound:
        """The spectrum so far. Raises AudioError where there is too little sound."""
        if not self.enough:
            what = "silent" if self.seconds == 0.0 and self.silent_s > 0 else f"{self.seconds:.2f} s of sound"
            raise AudioError(f"{what}: too little to judge, at least {SHORTEST_S:g} s of sound are needed")
        levels = 10.0 * np.log10(np.maximum(self._sum / self._weight, 1e-30))
        valid = self.frames.reaches & (levels > np.max(levels, initial=-300.0, where=self.frames.reaches) - _DEAD_DB)
        return Sound(levels, valid, self.seconds)


def spectrum_of(audio: Any, sample_rate: float, bands: int) -> Sound:
    """Long-term spectrum of sound [shape=(channels, n) or (n,)]. Raises AudioError for too little sound."""
    x = np.atleast_2d(np.asarray(audio, np.float32))
    meter = LongTerm(sample_rate, bands)
    meter.add(x, last=True)
    return meter.sound()
