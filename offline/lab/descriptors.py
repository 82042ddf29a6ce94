"""What stands for one sample of a sound: a row of numbers, at every sample, in bounded memory.

All searches of the laboratory see only `Descriptor`: rows of consecutive samples block by block
(the database), and rows at chosen samples (the queries).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ...plugins._errors import ParameterError
from ..audio import F32
from ..bank import BankSpec
from ..config import EsnSpec
from ..esn import network

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

_BLOCK_BYTES = 32 << 20
_BACKWARD_BYTES = 96 << 20
#: Where a backward half is started from silence: what lies further ahead is this far down.
_REACH_DB = 90.0


class Descriptor(ABC):
    """One row of `dims` numbers per sample.

    unit : divide each row by its length, so that distances are those of angles and a change of
        level changes nothing (cosine distance: d² = 2 − 2 cos). Rows of silence stay 0.
    """

    name: str
    dims: int
    #: Leading columns that look back in time only; the others look ahead. 0: there is no such split.
    forward_dims: int = 0
    unit: bool = False

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate

    def blocks(self, x: F32) -> Iterator[F32]:
        """Rows of all samples, in order, some thousands at a time [shape=(n, dims)]."""
        for rows in self._blocks(x):
            yield _unit(rows) if self.unit else rows

    def at(self, x: F32, places: I64) -> F32:
        """Rows of chosen samples [shape=(len(places), dims)]."""
        rows = self._at(x, np.asarray(places, np.int64))
        return _unit(rows) if self.unit else rows

    @abstractmethod
    def _blocks(self, x: F32) -> Iterator[F32]: ...

    @abstractmethod
    def _at(self, x: F32, places: I64) -> F32: ...

    @property
    def block_rows(self) -> int:
        """Rows in a block: about 32 MB."""
        return max(256, min(16384, _BLOCK_BYTES // (4 * self.dims)))


def _unit(rows: F32) -> F32:
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    length[length == 0.0] = 1.0
    return np.asarray(rows / length[:, None], np.float32)


# ---- oscillator banks ------------------------------------------------------------------------

Halves = Literal["both", "forward", "backward"]
Weighting = Literal["none", "diagonal", "white"]


class BankStates(Descriptor):
    """States of the oscillator bank: Re F, Im F, Re B, Im B.

    weighting
        `none`: the states as they are (the original). `diagonal`: each divided by the deviation that
        white noise gives it, √(b / (1 + r)) up to the ripple. `white`: the states of each half times
        the inverse root of their covariance under white noise, so that white noise on the sound is
        white noise on the row; the distance is then that of the waveform, projected on what the bank
        can see [1]_. The covariance follows from the poles alone; nothing is fitted to a recording.
    ridge
        `white` only: added to the eigenvalues of the correlation matrix, of which the mean is 1.

    .. [1] P. C. Mahalanobis, "On the generalised distance in statistics", Proc. Natl. Inst. Sci.
       India 2 (1936); covariance of filtered white noise: Σ b_i b_j / (1 − λ_i λ̄_j).
    """

    def __init__(
        self,
        spec: BankSpec,
        sample_rate: int,
        *,
        halves: Halves = "both",
        weighting: Weighting = "none",
        ridge: float = 1e-3,
        unit: bool = False,
        name: str = "",
    ) -> None:
        super().__init__(sample_rate)
        self.spec, self.halves, self.weighting, self.ridge, self.unit = spec, halves, weighting, ridge, unit
        self.half_dims = 2 * spec.oscillators
        self.dims = self.half_dims * (2 if halves == "both" else 1)
        self.forward_dims = self.half_dims if halves != "backward" else 0
        self.name = name or f"CSpace {spec.oscillators} {spec.decay_law}"
        self.reach = spec.ring_samples(sample_rate, _REACH_DB)

    @cached_property
    def weights(self) -> F32 | None:
        """What states of one half are multiplied by: None, a row, or a matrix [shape=(2 N, 2 N)]."""
        if self.weighting == "none":
            return None
        covariance = noise_covariance(self.spec, self.sample_rate)
        deviation = np.sqrt(np.diag(covariance))
        if self.weighting == "diagonal":
            return np.asarray(1.0 / deviation, np.float32)
        values, vectors = np.linalg.eigh(covariance / np.outer(deviation, deviation))
        matrix = (vectors / np.sqrt(np.maximum(values, 0.0) + self.ridge)) / deviation[:, None]
        return np.asarray(matrix, np.float32)

    def _weigh(self, states: F32) -> F32:
        """Weighted rows; each half by itself [shape=(n, dims)]."""
        w = self.weights
        if w is None:
            return states
        halves = states.reshape(-1, self.half_dims)
        return np.asarray(halves * w if w.ndim == 1 else halves @ w, np.float32).reshape(states.shape)

    def _blocks(self, x: F32) -> Iterator[F32]:
        for states in self._states(x):
            yield self._weigh(states)

    def _states(self, x: F32) -> Iterator[F32]:
        """Rows before they are weighted."""
        bank = self.spec.bank(self.sample_rate)
        step = self.block_rows
        if self.halves == "forward":
            for start in range(0, len(x), step):
                yield bank.process(_piece(x, start, start + step))
            return
        piece = max(step, _BACKWARD_BYTES // (4 * self.half_dims) // step * step)
        for first in range(0, len(x), piece):
            behind = self._backward(x, first, min(len(x), first + piece))
            for start in range(first, min(len(x), first + piece), step):
                stop = min(len(x), start + step)
                rows = behind[start - first : stop - first]
                if self.halves == "both":
                    rows = np.concatenate([bank.process(_piece(x, start, stop)), rows], axis=1)
                yield np.ascontiguousarray(rows)

    def _backward(self, x: F32, start: int, stop: int) -> F32:
        """Backward states of samples start to stop, the bank being started `reach` samples later."""
        bank = self.spec.bank(self.sample_rate)
        for end in range(min(len(x), stop + self.reach), stop, -8192):
            bank.process(_piece(x, max(stop, end - 8192), end)[::-1].copy())
        return bank.process(_piece(x, start, stop)[::-1].copy())[::-1]

    def _at(self, x: F32, places: I64) -> F32:
        if len(places) * self.reach > len(x):  # one pass over the sound is less work than a run-up to each place
            return self._weigh(_picked(self._states(x), places, self.dims))
        out = np.empty((len(places), self.dims), np.float32)
        for row, place in zip(out, places.tolist(), strict=True):
            parts = []
            if self.halves != "backward":
                parts.append(self._last(x[max(0, place - self.reach) : place + 1]))
            if self.halves != "forward":
                parts.append(self._last(x[place : place + self.reach + 1][::-1]))
            row[:] = np.concatenate(parts)
        return self._weigh(out)

    def _last(self, x: F32) -> F32:
        """The state after all of x."""
        states = self.spec.bank(self.sample_rate, max(1, len(x) - 1)).process(np.ascontiguousarray(x, np.float32))
        return np.asarray(states[-1], np.float32)


def noise_covariance(spec: BankSpec, sample_rate: float) -> F64:
    """Covariance of Re z (N), Im z (N) while white noise of power 1 drives the bank [shape=(2 N, 2 N)]."""
    decay, angle = spec.poles(sample_rate)
    pole = np.exp(-decay + 1j * angle)
    drive = spec.drive(sample_rate)
    both = np.outer(drive, drive)
    hermitian = both / (1.0 - np.outer(pole, pole.conj()))  # E z_i z̄_j
    plain = both / (1.0 - np.outer(pole, pole))  # E z_i z_j
    real, imag = 0.5 * (hermitian + plain).real, 0.5 * (hermitian - plain).real
    cross = 0.5 * (plain - hermitian).imag  # E Re z_i Im z_j
    return np.block([[real, cross], [cross.T, imag]])


def _picked(blocks: Iterator[F32], places: I64, dims: int) -> F32:
    """The rows of `places` out of the rows of all samples [shape=(len(places), dims)]."""
    out = np.empty((len(places), dims), np.float32)
    first = 0
    for rows in blocks:
        here = (places >= first) & (places < first + len(rows))
        out[here] = rows[places[here] - first]
        first += len(rows)
    return out


def _piece(x: F32, start: int, stop: int) -> F32:
    return np.ascontiguousarray(x[start:stop], np.float32)


# ---- windows around the sample ---------------------------------------------------------------


class _Window(Descriptor):
    """A function of the `length` samples around each sample; beyond the ends lies silence."""

    length: int

    def _rows(self, windows: F32) -> F32:
        raise NotImplementedError

    def _blocks(self, x: F32) -> Iterator[F32]:
        step = self.block_rows
        for start in range(0, len(x), step):
            stop = min(len(x), start + step)
            yield self._rows(sliding_window_view(self._padded(x, start, stop), self.length))

    def _at(self, x: F32, places: I64) -> F32:
        return self._rows(np.stack([self._padded(x, p, p + 1) for p in places.tolist()]))

    def _padded(self, x: F32, start: int, stop: int) -> F32:
        """Samples start − before to stop + after, so that each of start … stop has its window."""
        before, after = self.length // 2, (self.length - 1) // 2
        inside = x[max(0, start - before) : stop + after]
        lead = max(0, before - start)
        return np.pad(inside, (lead, stop - start + self.length - 1 - lead - len(inside)))


class WaveformWindow(_Window):
    """The samples themselves, `length` of them, the sample in the middle."""

    def __init__(self, length: int, sample_rate: int, *, unit: bool = False) -> None:
        super().__init__(sample_rate)
        if length < 1 or length % 2 == 0:
            raise ParameterError(f"length is {length}; a window around a sample has an odd number of samples")
        self.length = self.dims = length
        self.unit = unit
        self.name = f"waveform {length}" + (" cosine" if unit else "")

    def _rows(self, windows: F32) -> F32:
        return np.ascontiguousarray(windows, np.float32)


class LogMel(_Window):
    """log(1 + mel magnitudes) of the frame centred at the sample: FFT 1024, 80 bands, Hann window."""

    def __init__(self, sample_rate: int, *, n_fft: int = 1024, bands: int = 80, unit: bool = False) -> None:
        super().__init__(sample_rate)
        import librosa

        self.length, self.dims, self.unit = n_fft, bands, unit
        self.name = "log-mel" + (" cosine" if unit else "")
        self._taper = _hann(n_fft)
        self._mel = np.ascontiguousarray(librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=bands).T, np.float32)

    @property
    def block_rows(self) -> int:
        """Fewer: what is between (windows, spectra) is larger than the rows."""
        return 4096

    def _rows(self, windows: F32) -> F32:
        return np.asarray(np.log1p(_magnitudes(windows, self._taper) @ self._mel), np.float32)


class MultiStft(_Window):
    """Magnitudes of the spectra of 512, 1024 and 2048 samples centred at the sample (Hann), each at its own scale."""

    sizes = (512, 1024, 2048)

    def __init__(self, sample_rate: int, *, unit: bool = False) -> None:
        super().__init__(sample_rate)
        self.length = max(self.sizes)
        self.dims = sum(n // 2 + 1 for n in self.sizes)
        self.unit = unit
        self.name = "multi-STFT" + (" cosine" if unit else "")
        # White noise gives every magnitude the same deviation whatever the size.
        self._tapers = [_hann(n) / np.float32(np.sqrt(0.375 * n)) for n in self.sizes]

    @property
    def block_rows(self) -> int:
        """Fewer: windows and spectra are as large as the rows."""
        return 2048

    def _rows(self, windows: F32) -> F32:
        parts = []
        for n, taper in zip(self.sizes, self._tapers, strict=True):
            lead = self.length // 2 - n // 2
            parts.append(_magnitudes(windows[:, lead : lead + n], taper))
        return np.concatenate(parts, axis=1)


def _hann(n: int) -> F32:
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n), np.float32)


def _magnitudes(windows: F32, taper: F32) -> F32:
    from scipy.fft import rfft

    return np.asarray(np.abs(rfft(windows * taper, axis=1, overwrite_x=True)), np.float32)


# ---- echo state network ----------------------------------------------------------------------


class EsnStates(Descriptor):
    """States of the Rust echo state network, run from silence at the start of the sound."""

    def __init__(self, spec: EsnSpec, sample_rate: int, *, unit: bool = False) -> None:
        super().__init__(sample_rate)
        self.spec, self.unit = spec, unit
        self.dims = self.forward_dims = spec.nodes
        self.name = f"ESN {spec.nodes}" + (" cosine" if unit else "")

    def achieved_radius(self) -> float:
        """Largest eigenvalue modulus of W; 0 for a nilpotent W (no cycle of connections), which no scaling changes."""
        return network(self.spec).achieved_radius

    def _blocks(self, x: F32) -> Iterator[F32]:
        esn = network(self.spec)
        for start in range(0, len(x), self.block_rows):
            yield esn.process(_piece(x, start, start + self.block_rows))

    def _at(self, x: F32, places: I64) -> F32:
        return _picked(self._blocks(x[: int(places.max()) + 1]), places, self.dims)
