"""The bank as numbers: powers of the poles, kernel lengths, spectra; all in float64 from a `BankSpec`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import ParameterError
from ..bank import BankSpec

C128 = NDArray[np.complex128]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Neighbouring oscillators whose kernels are about equally long."""

    first: int
    last: int
    #: Samples of the kernel that are kept.
    taps: int

    @property
    def size(self) -> int:
        """How many."""
        return self.last - self.first


class Kernels:
    """k[n] = b λⁿ of each oscillator, with λ and b from the Rust bank's own design.

    Parameters
    ----------
    spec : which bank
    sample_rate : Hz
    cut_db : where kernels are cut: at the first sample at which |λ|ⁿ has fallen by this much
    """

    def __init__(self, spec: BankSpec, sample_rate: float, cut_db: float):
        if not 20.0 <= cut_db <= 320.0:
            raise ParameterError(f"cut_db is {cut_db:g}; 20 to 320 dB can be used")
        self.spec, self.sample_rate, self.cut_db = spec, float(sample_rate), float(cut_db)
        self.decay, self.angle = spec.poles(sample_rate)
        self.drive = spec.drive(sample_rate)
        nepers = cut_db / 20.0 * math.log(10.0)
        self.taps = np.maximum(1, np.ceil(nepers / self.decay)).astype(np.int64)
        #: The cut moves no state by more than this share of the sound's largest sample: the part cut
        #: off sums to b Σ |λ|ⁿ = |λ|^taps, since b = 1 − |λ|.
        self.cut_error = float(np.exp(-self.decay * self.taps).max())

    @property
    def longest(self) -> int:
        """Taps of the longest kernel."""
        return int(self.taps.max())

    def powers(self, exponents: NDArray[np.int64]) -> C128:
        """λᵉ [shape=(oscillators, *exponents.shape)], not driven."""
        s = -self.decay + 1j * self.angle
        return np.exp(np.multiply.outer(s, exponents.astype(np.float64)))

    def spectrum(self, group: Group, size: int) -> C128:
        """Transform of the cut kernels at `size` points [shape=(group.size, size)], summed in closed form.

        Σ b λⁿ e^{−jωn} over n < taps = b (1 − (λ e^{−jω})^taps) / (1 − λ e^{−jω}).
        """
        own = slice(group.first, group.last)
        turn = 2j * np.pi * np.arange(size) / size
        s = (-self.decay[own] + 1j * self.angle[own])[:, None] - turn
        # e^{−jω taps} by whole numbers: the phase of a long kernel would otherwise lose digits.
        ends = np.exp(-2j * np.pi * ((np.arange(size) * group.taps) % size) / size)
        kept = np.exp((-self.decay[own] + 1j * self.angle[own]) * group.taps)[:, None] * ends
        spectrum: C128 = self.drive[own, None] * (1.0 - kept) / -np.expm1(s)
        return spectrum

    def response(self, omega: F64) -> C128:
        """Transform of the endless kernels at `omega` radians per sample [shape=(oscillators, len(omega))]."""
        s = (-self.decay + 1j * self.angle)[:, None] - 1j * omega
        response: C128 = self.drive[:, None] / -np.expm1(s)
        return response

    def groups(self, frames: int) -> list[Group]:
        """The oscillators in runs of kernels within a factor of two in length.

        No kernel is longer than a sound of `frames` can use, to the next power of two: so sounds of
        many lengths share few sets of spectra.
        """
        taps = np.minimum(self.taps, 1 << (frames - 1).bit_length())
        octave = np.ceil(np.log2(taps)).astype(int)
        edges = [0, *(np.flatnonzero(np.diff(octave)) + 1).tolist(), len(taps)]
        return [Group(a, b, int(taps[a:b].max())) for a, b in pairwise(edges)]
