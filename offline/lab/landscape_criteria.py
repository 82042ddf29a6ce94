"""What can be compared along a shift: each criterion gives one distance per sound of a batch.

The formulas are those of `cspace.offline.losses`, kept per sound where the losses average the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bank import BankSpec
from ..losses import MelLoss
from ..losses.spectral import Spectrum
from ..transform import CSpace

#: Keeps roots and logarithms off 0, where they have no slope; −100 dB of full scale.
TINY = 1e-5


class Criterion(ABC):
    """A distance between windows of sound; 0 where they are equal."""

    name: str
    label: str
    #: Sounds handled at once, so that all stays within a GiB, torch included.
    batch: int = 16

    @abstractmethod
    def features(self, x: Tensor) -> list[Tensor]:
        """What is compared, of windows [shape=(batch, samples)]: tensors with the batch first."""

    @abstractmethod
    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """One distance per sound [shape=(batch,)] of features `a` from those of one window, `b`."""


def weights(spec: BankSpec, sample_rate: float, tilt: float) -> NDArray[np.float64]:
    """How much each oscillator's squared error counts: proportional to centre^−tilt, mean 1 [shape=(N,)]."""
    w = spec.centers_hz(sample_rate) ** -tilt
    scaled: NDArray[np.float64] = w / w.mean()
    return scaled


def gram(spec: BankSpec, sample_rate: float, window: int, tilt: float) -> Tensor:
    """G with Σ over time and channels of weight · |state|² = xᵀ G x for a window x alone, as its two halves.

    In closed form, for the forward half and i ≤ j:
    G[i, j] = Σₖ wₖ bₖ² / (1 − rₖ²) · Re(λₖ^(j−i)) · (1 − rₖ^(2 (window − j))); the backward half is the
    same turned round. So the sum is unchanged by turning round, and falls into one matrix for the part
    of x that is even about the middle and one for the odd part: with x = [p, q reversed],
    xᵀ G x = ½ (p + q)ᵀ G₀ (p + q) + ½ (p − q)ᵀ G₁ (p − q).

    Returns [shape=(2, window / 2, window / 2)]; `window` is even. One product replaces 4 N states a
    sample; a test holds it against the transform.
    """
    decay, angle = spec.poles(sample_rate)
    strength = weights(spec, sample_rate, tilt) * spec.drive(sample_rate) ** 2 / -np.expm1(-2.0 * decay)
    n = np.arange(window)
    turning = np.exp(-np.outer(n, decay)) * np.cos(np.outer(n, angle)) * strength
    endless = turning.sum(axis=1)
    cut = turning @ np.exp(-2.0 * np.outer(decay, window - n))
    half = window // 2
    out = np.empty((2, half, half))
    for i in range(half):
        back = window - 1 - i
        row = endless[np.abs(n - i)] - cut[np.abs(n - i), np.maximum(n, i)]
        turned = endless[np.abs(n - back)] - cut[np.abs(n - back), np.maximum(n, back)]
        row += turned[::-1]
        out[0, i] = row[:half] + row[: half - 1 : -1]
        out[1, i] = row[:half] - row[: half - 1 : -1]
    return torch.from_numpy(out)


class States(Criterion):
    """Root mean square difference of the bidirectional states of a window alone, over channels and time."""

    def __init__(self, name: str, label: str, spec: BankSpec, sample_rate: float, window: int, tilt: float = 0.0):
        self.name, self.label, self.count = name, label, 4 * spec.oscillators * window
        self.gram = gram(spec, sample_rate, window, tilt)

    def features(self, x: Tensor) -> list[Tensor]:
        """The samples: the states of a difference are the difference of the states."""
        return [x]

    def energy(self, e: Tensor) -> Tensor:
        """Weighted energy of all states [shape=(batch,)] of windows [shape=(batch, window)]."""
        p, q = e[:, : e.shape[1] // 2], e[:, e.shape[1] // 2 :].flip(1)
        total = torch.zeros(len(e), dtype=e.dtype)
        for part, matrix in ((p + q, self.gram[0]), (p - q, self.gram[1])):
            fixed = part.detach()
            # vᵀ G v with its gradient 2 G v, which for a symmetric G needs one product instead of two.
            total = total + 0.5 * ((fixed @ matrix) * (2.0 * part - fixed)).sum(1)
        return total

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Root of the mean square."""
        return (self.energy(a[0] - b[0]) / self.count + 1e-20).sqrt()


class Magnitudes(Criterion):
    """Root mean square difference of the magnitudes of the states: no phase, an envelope at every oscillator."""

    batch = 2

    def __init__(
        self,
        name: str,
        label: str,
        spec: BankSpec,
        sample_rate: float,
        tilt: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ):
        self.name, self.label, self.dtype = name, label, dtype
        self.transform = CSpace(spec, sample_rate, cut_db=100.0, check_finite=False)
        self.scale = torch.from_numpy(np.tile(np.sqrt(weights(spec, sample_rate, tilt)), 2))[:, None]

    def features(self, x: Tensor) -> list[Tensor]:
        """Magnitudes, forward and backward, times the roots of their weights."""
        f_re, f_im, b_re, b_im = self.transform(x.to(self.dtype)).chunk(4, dim=1)
        re, im = torch.cat([f_re, b_re], 1), torch.cat([f_im, b_im], 1)
        return [(re.square() + im.square() + TINY**2).sqrt() * self.scale.to(self.dtype)]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Root of the mean square."""
        return ((a[0] - b[0]).square().mean((1, 2)) + 1e-20).sqrt().double()


class WeightedWaveform(Criterion):
    """Waveform L2 after the filter that a bank's state distance amounts to (by Parseval): a control without a bank."""

    def __init__(self, name: str, label: str, spec: BankSpec, sample_rate: float, window: int, tilt: float):
        self.name, self.label = name, label
        decay, angle = spec.poles(sample_rate)
        self.size = 4 * window
        omega = 2.0 * np.pi * np.arange(self.size // 2 + 1) / self.size
        power = np.zeros(len(omega))
        for w, b, d, a in zip(weights(spec, sample_rate, tilt), spec.drive(sample_rate), decay, angle, strict=True):
            for side in (omega, -omega):
                power += w * b**2 / np.abs(1.0 - np.exp(-d + 1j * (a - side))) ** 2
        self.gain = torch.from_numpy(np.sqrt(power))

    def features(self, x: Tensor) -> list[Tensor]:
        """The filtered samples, in the filter's phase of 0."""
        return [torch.fft.irfft(torch.fft.rfft(x, self.size) * self.gain, self.size)]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Root of the mean square."""
        return ((a[0] - b[0]).square().mean(1) + 1e-20).sqrt()


class Waveform(Criterion):
    """Root mean square difference of the samples."""

    name, label = "waveform", "waveform L2"

    def features(self, x: Tensor) -> list[Tensor]:
        """The samples."""
        return [x]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Root of the mean square."""
        return ((a[0] - b[0]).square().mean(1) + 1e-20).sqrt()


class MultiScale(Criterion):
    """Magnitude L1 and log-magnitude L1 at 512, 1024 and 2048 points, hops of a quarter, summed (the sheet's MSS)."""

    name, label = "multi_scale", "multi-scale spectral"

    def __init__(self, sizes: Sequence[tuple[int, int]] = ((512, 128), (1024, 256), (2048, 512))):
        self.spectra = [Spectrum(n, hop) for n, hop in sizes]

    def features(self, x: Tensor) -> list[Tensor]:
        """Magnitudes at each size."""
        return [(s(x) + TINY**2).sqrt() for s in self.spectra]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Sum over sizes of both L1 means."""
        return torch.stack(
            [(p - q).abs().mean((1, 2)) + (p.log() - q.log()).abs().mean((1, 2)) for p, q in zip(a, b, strict=True)]
        ).sum(0)


class MultiScaleMagnitude(MultiScale):
    """The same without its logarithms, whose slopes in quiet bins are noise: what is best of it here."""

    name, label = "multi_scale_magnitude", "multi-scale spectral, magnitudes only"

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Sum over sizes of the magnitudes' L1 means."""
        return torch.stack([(p - q).abs().mean((1, 2)) for p, q in zip(a, b, strict=True)]).sum(0)


class MultiResolution(MultiScale):
    """Spectral convergence and log-magnitude L1 at three resolutions (Yamamoto et al., "Parallel WaveGAN", 2020).

    Sizes and hops are the paper's; windows are Hann of the full size.
    """

    name, label = "multi_resolution", "multi-resolution STFT"

    def __init__(self) -> None:
        super().__init__(((512, 50), (1024, 120), (2048, 240)))

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Mean over resolutions of ‖difference‖ / ‖target‖ plus the log-magnitude L1 mean."""
        parts = []
        for p, q in zip(a, b, strict=True):
            convergence = ((p - q).square().sum((1, 2)) + 1e-20).sqrt() / (q.square().sum((1, 2)) + 1e-20).sqrt()
            parts.append(convergence + (p.log() - q.log()).abs().mean((1, 2)))
        return torch.stack(parts).mean(0)


class LogMel(Criterion):
    """L1 of log(1 + mel power): 1024 points, hop 256, 80 bands, normalised (the sheet's comparator)."""

    name, label = "log_mel", "log-mel"

    def __init__(self, sample_rate: float):
        self.mel = MelLoss(sample_rate)

    def features(self, x: Tensor) -> list[Tensor]:
        """log(1 + mel power)."""
        return [self.mel.log_mel(x)]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Mean of |difference|."""
        return (a[0] - b[0]).abs().mean((1, 2))


def rivals(sample_rate: float) -> list[Criterion]:
    """What CSpace is compared with."""
    return [MultiScale(), MultiScaleMagnitude(), MultiResolution(), LogMel(sample_rate), Waveform()]
