"""Comparing a clip with a passage at every sample, by the states of the Rust bank.

The distance of two passages of the same length is that of their state sequences, both from rest,
after the gain that brings them closest: d = |Q − g P| / |Q| = sqrt(1 − c²), c = Re⟨Q, P⟩ / (|Q| |P|)
over all samples and oscillators. 0 is the same sound at any level, 1 nothing in common.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray

from ...audiofile import Reader
from .spec import IndexSpec

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# Oscillators transformed at a time: bounds the memory of a long window.
_GROUP = 8
# Samples per sum of energies where lags are looked through.
_POWER_HOP = 8
# Lags either side over which the two halves of a window are compared: 1300 ppm for one second.
_DRIFT_LAGS = 8
#: Halves that differ by less than this many samples count as running at the same rate.
DRIFT_SAMPLES = 0.6
# Rows of states whose residual is formed at a time: stays in the second-level cache.
_ROWS = 256
# Sound read before a passage to let the resampler's filter fill.
_MARGIN_S = 0.05


@dataclass(frozen=True)
class Alignment:
    """Where in a passage the query begins, and how alike they are there."""

    #: Samples into the passage, with the fraction that interpolation finds.
    offset: float
    #: 0 to 1.
    distance: float
    #: Level of the query over the recording's.
    gain_db: float
    inverted: bool
    #: How much faster the query runs through the recording, in parts per million; None if not found.
    rate_ppm: float | None = None


class Aligner:
    """Finds one window of a query in passages."""

    def __init__(self, spec: IndexSpec, window: F32):
        self.spec = spec
        self.length = len(window)
        #: Samples searched before and after where a candidate frame begins.
        self.reach = 2 * spec.hop
        self._bank = spec.fine.bank(spec.sample_rate)
        self._states = self._bank.process(window)
        self._power = _product(self._states, self._states)
        ring = spec.fine.ring_samples(spec.sample_rate)
        self._size = int(scipy.fft.next_fast_len(self.length + 2 * self.reach + ring))
        self._filter = self._matched_filter()

    def _matched_filter(self) -> NDArray[np.complex64]:
        """Σ conj(FFT of the query's states) × the oscillators' responses, over all oscillators.

        The states of a passage are linear in its samples, so one filter over the samples gives the
        sum over all oscillators at all lags at once. The responses are those of the recursion,
        b / (1 − λ exp(−jω)); the transform is long enough for them to ring down by 60 dB.
        """
        n, size = self.spec.fine.oscillators, self._size
        decay, angle = self.spec.fine.poles(self.spec.sample_rate)
        pole, drive = np.exp(-decay + 1j * angle), self.spec.fine.drive(self.spec.sample_rate)
        turn = np.exp(-2j * np.pi * np.arange(size) / size)
        total = np.zeros(size, np.complex64)
        for first in range(0, n, _GROUP):
            group = slice(first, min(first + _GROUP, n))
            z = (self._states[:, :n][:, group] + 1j * self._states[:, n:][:, group]).T.astype(np.complex64)
            spectrum = np.conj(scipy.fft.fft(z, size, axis=1))
            for k, i in enumerate(range(group.start, group.stop)):
                total += spectrum[k] * (drive[i] / (1.0 - pole[i] * turn)).astype(np.complex64)
        return total

    def lags(self, passage: F32) -> F64:
        """About c, with the window at every offset of a passage [shape=(len(passage) − window + 1,)].

        The passage is at most 2 `reach` samples longer than the window.
        """
        count = len(passage) - self.length + 1
        products = scipy.fft.ifft(self._filter * scipy.fft.fft(passage, self._size))[:count].real
        # The norms change slowly from lag to lag; sums every few samples, with lines between, will do here.
        bank = self.spec.fine.bank(self.spec.sample_rate, _POWER_HOP)
        blocks = bank.energies(np.append(passage, np.zeros(_POWER_HOP, np.float32))).sum(axis=1, dtype=np.float64)
        power = np.concatenate([[0.0], np.cumsum(blocks) * _POWER_HOP])
        sums = np.interp(np.arange(len(passage) + 1), np.arange(len(power)) * _POWER_HOP, power)
        norms = np.sqrt(np.maximum(sums[self.length :] - sums[:count], 0.0) * self._power)
        c: F64 = np.divide(products, norms, out=np.zeros(count), where=norms > 1e-12 * self._power)
        return c

    def exact(self, passage: F32) -> tuple[float, float]:
        """C and the query's gain over a passage of the window's length, both from rest."""
        self._bank.reset()
        z = self._bank.process(passage)
        power = _product(z, z)
        if power <= 1e-12 * self._power:
            return 0.0, 0.0
        product = _product(self._states, z)
        return product / math.sqrt(power * self._power), product / power

    def distance(self, passage: F32, gain: float) -> float:
        """|Q − gain P| / |Q|: √(1 − c²) without its cancellation, which near 0 leaves the last digits of c alone."""
        self._bank.reset()
        z = self._bank.process(passage)
        left = 0.0
        for k in range(0, len(z), _ROWS):
            residual = self._states[k : k + _ROWS] - np.float32(gain) * z[k : k + _ROWS]
            left += _product(residual, residual)
        return min(1.0, math.sqrt(left / self._power))

    def align(self, passage: F32, near: int) -> Alignment:
        """Exact distance around offset `near` of a passage; climbs to the nearest maximum of |c|."""
        known: dict[int, tuple[float, float]] = {}

        def at(offset: int) -> tuple[float, float]:
            if offset not in known:
                inside = 0 <= offset <= len(passage) - self.length
                known[offset] = self.exact(passage[offset:][: self.length]) if inside else (0.0, 0.0)
            return known[offset]

        best = near
        for _ in range(8):
            step = max((best - 1, best, best + 1), key=lambda o: abs(at(o)[0]))
            if step == best:
                break
            best = step
        c, gain = at(best)
        distance = self.distance(passage[best:][: self.length], gain) if c else 1.0
        offset = best + peak(abs(at(best - 1)[0]), abs(c), abs(at(best + 1)[0]))
        return Alignment(offset, distance, 20.0 * math.log10(max(abs(gain), 1e-9)), c < 0.0)

    def with_rate(self, passage: F32, found: Alignment) -> Alignment:
        """The same with a difference in rate, if the halves of the window lie apart by one.

        The offset becomes that of the window's first sample; without this it is the one of its loud parts.
        """
        first = round(found.offset) - _DRIFT_LAGS
        half = self.length // 2
        if first < 0 or first + self.length + 2 * _DRIFT_LAGS > len(passage):
            return found
        self._bank.reset()
        z = self._bank.process(passage[first : first + self.length + 2 * _DRIFT_LAGS])
        shifts, times = [], []
        for begin in (0, half):
            # Every fourth sample: at 24 kHz the states, bands of at most 1.4 kHz, are still overcomplete.
            query = self._states[begin : begin + half : 4]
            c = np.array([_cosine(query, z[lag + begin :][:half:4]) for lag in range(2 * _DRIFT_LAGS + 1)])
            c = np.abs(c)
            top = int(np.argmax(c))
            if not 0 < top < len(c) - 1 or c[top] < 0.5:
                return found
            shifts.append(first + top + peak(c[top - 1], c[top], c[top + 1]))
            # A half's offset holds where its sound is: at the centre of its power.
            power = np.einsum("ij,ij->i", query, query)
            times.append(begin + 4.0 * float(power @ np.arange(len(power))) / float(power.sum()))
        rate = (shifts[1] - shifts[0]) / (times[1] - times[0])
        if abs(rate) * half < DRIFT_SAMPLES:
            return found
        return replace(found, offset=shifts[0] - rate * times[0], rate_ppm=1e6 * rate)


def peak(before: float, top: float, after: float) -> float:
    """Where a parabola through three values has its maximum, −0.5 to 0.5 from the middle one."""
    bend = before - 2.0 * top + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0.0 else 0.0


def _product(a: F32, b: F32) -> float:
    """Σ a b of two sequences of rows; each row in float32, the rows in float64.

    One float32 sum over all of them, millions of products, is off by 1e-4, and otherwise with every BLAS.
    """
    return float(np.einsum("ij,ij->i", a, b).sum(dtype=np.float64))


def _cosine(a: F32, b: F32) -> float:
    norm = math.sqrt(_product(a, a) * _product(b, b))
    return _product(a, b) / norm if norm > 0.0 else 0.0


def read_passage(path: Path, sample_rate: int, start: int, frames: int) -> F32:
    """Samples `start` to `start + frames` of a file as `stream_mono` gives it, zeros outside of it.

    Only the part around the passage is decoded. Raises FileError for what cannot be read.
    """
    with Reader(path) as file:
        common = math.gcd(file.sample_rate, sample_rate)
        up, down = sample_rate // common, file.sample_rate // common
        # Whole multiples of the ratio, so that resampled samples fall where those of the whole file do.
        margin = 0 if up == down else math.ceil(_MARGIN_S * sample_rate)
        first = max(0, (start - margin) // up) * up
        begin = first // up * down
        wanted = math.ceil((start + frames + margin - first) * down / up)
        mono = _decode(file, begin, wanted)
    if up != down and len(mono):
        mono = soxr.resample(mono, down, up, quality="VHQ")
    out = np.zeros(frames, np.float32)
    part = mono[max(0, start - first) :][: frames - max(0, -start)]
    at = max(0, first - start)
    out[at : at + len(part)] = part[: frames - at]
    return out


def _decode(file: Reader, begin: int, frames: int) -> F32:
    if frames <= 0 or (file.frames is not None and begin >= file.frames):
        return np.zeros(0, np.float32)
    file.seek(begin)
    x = file.read(frames)
    return np.ascontiguousarray(x.mean(axis=1, dtype=np.float32) if x.shape[1] > 1 else x[:, 0])
