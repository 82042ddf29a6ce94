"""The rivals: waveform, mel and short-time spectra, as the original compared with and trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...plugins._errors import ParameterError
from .base import Loss, Terms


class WaveformLoss(Loss):
    """Mean of |estimate − target| over samples; one term, `waveform`."""

    def terms(self, estimate: Tensor, target: Tensor) -> Terms:
        """The weighted terms of checked sounds."""
        return {"waveform": (estimate - target).abs().mean()}


class Spectrum(nn.Module):
    """|STFT| with a Hann window, centred, mirrored at the ends: (batch, T) -> (batch, n_fft // 2 + 1, frames).

    Parameters
    ----------
    n_fft, hop : samples
    normalised : divided by the root of the window's energy, so that noise has one level for all sizes
    """

    def __init__(self, n_fft: int, hop: int, *, normalised: bool = False):
        super().__init__()
        self.n_fft, self.hop, self.normalised = n_fft, hop, normalised
        self.window: Tensor
        self.register_buffer("window", torch.hann_window(n_fft, dtype=torch.float64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Magnitudes squared."""
        window = self.window.to(x.dtype)
        if self.normalised:
            window = window / window.square().sum().sqrt()
        spectrum = torch.stft(x, self.n_fft, self.hop, window=window, center=True, return_complex=True)
        return spectrum.real.square() + spectrum.imag.square()


def mel_bands(sample_rate: float, n_fft: int, mels: int) -> NDArray[np.float64]:
    """Triangles with unit peaks, overlapping by half, on the HTK mel scale [shape=(mels, n_fft // 2 + 1)].

    Edges in equal steps of 2595 log10(1 + f/700) from 0 to half the sample rate. Bands narrower than a
    bin are empty and add nothing. Written out here because importing librosa takes 200 MB.
    """
    top = 2595.0 * np.log10(1.0 + sample_rate / 2.0 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, mels + 2) / 2595.0) - 1.0)
    hz = np.linspace(0.0, sample_rate / 2.0, n_fft // 2 + 1)
    low, centre, high = (edges[i : i + mels, None] for i in range(3))
    bands: NDArray[np.float64] = np.minimum((hz - low) / (centre - low), (high - hz) / (high - centre)).clip(0.0)
    return bands


class MelLoss(Loss):
    """Mean of |difference| of log(1 + mel power); one term, `mel_<n_fft>`.

    Triangular filters on the HTK mel scale with unit peaks over power spectra (torchaudio's
    defaults; the original does not say which it used).

    Parameters
    ----------
    n_fft, hop : samples, 43 and 11 ms at 24 kHz
    mels : bands from 0 to half the sample rate
    normalised : whether spectra are divided by the root of the window's energy
    """

    def __init__(
        self,
        sample_rate: float = 24_000,
        *,
        n_fft: int = 1024,
        hop: int = 256,
        mels: int = 80,
        normalised: bool = True,
        check_finite: bool = True,
    ):
        super().__init__(check_finite=check_finite)
        self.spectrum = Spectrum(n_fft, hop, normalised=normalised)
        self.bands: Tensor
        self.register_buffer("bands", torch.from_numpy(mel_bands(sample_rate, n_fft, mels)), persistent=False)

    @property
    def shortest_samples(self) -> int:
        """The shortest sound that can be compared: its ends are mirrored by half a window."""
        return self.spectrum.n_fft // 2 + 1

    def log_mel(self, x: Tensor) -> Tensor:
        """log(1 + mel power) [shape=(batch, mels, frames)]."""
        return torch.log1p(self.bands.to(x.dtype) @ self.spectrum(x))

    def terms(self, estimate: Tensor, target: Tensor) -> Terms:
        """The weighted terms of checked sounds."""
        return {f"mel_{self.spectrum.n_fft}": (self.log_mel(estimate) - self.log_mel(target)).abs().mean()}


class MultiScaleMelLoss(Loss):
    """Sum of three mel losses: windows of 512, 1024 and 2048, hops of a quarter, 64 bands; a term for each."""

    def __init__(
        self,
        sample_rate: float = 24_000,
        *,
        n_ffts: Sequence[int] = (512, 1024, 2048),
        mels: int = 64,
        normalised: bool = False,
        check_finite: bool = True,
    ):
        super().__init__(check_finite=check_finite)
        self.scales = nn.ModuleList(
            MelLoss(sample_rate, n_fft=n, hop=n // 4, mels=mels, normalised=normalised) for n in _sizes(n_ffts)
        )

    @property
    def shortest_samples(self) -> int:
        """The shortest sound that can be compared."""
        return max(s.shortest_samples for s in self.scales if isinstance(s, Loss))

    def terms(self, estimate: Tensor, target: Tensor) -> Terms:
        """The weighted terms of checked sounds."""
        out: Terms = {}
        for scale in self.scales:
            assert isinstance(scale, MelLoss)
            out |= scale.terms(estimate, target)
        return out


class MultiScaleSpectralLoss(Loss):
    """Magnitude and log-magnitude L1 at 512, 1024 and 2048 points, summed; terms `magnitude` and `log_magnitude`.

    Hops are a quarter of a window; log is the natural one of magnitude + 1e-5 (−100 dB).
    """

    def __init__(self, *, n_ffts: Sequence[int] = (512, 1024, 2048), check_finite: bool = True):
        super().__init__(check_finite=check_finite)
        self.scales = nn.ModuleList(Spectrum(n, n // 4) for n in _sizes(n_ffts))
        self._longest = max(n_ffts)

    @property
    def shortest_samples(self) -> int:
        """The shortest sound that can be compared."""
        return self._longest // 2 + 1

    def terms(self, estimate: Tensor, target: Tensor) -> Terms:
        """The weighted terms of checked sounds."""
        magnitude, log = [], []
        for scale in self.scales:
            # The root has no slope at 0: kept off it by 1e-10, the square of the log's floor.
            a, b = (scale(estimate) + 1e-10).sqrt(), (scale(target) + 1e-10).sqrt()
            magnitude.append((a - b).abs().mean())
            log.append((a.log() - b.log()).abs().mean())
        return {"magnitude": torch.stack(magnitude).sum(), "log_magnitude": torch.stack(log).sum()}


def _sizes(n_ffts: Sequence[int]) -> Sequence[int]:
    if not n_ffts or any(n < 8 or n % 4 for n in n_ffts):
        raise ParameterError(f"n_ffts is {list(n_ffts)}; window lengths of 8 and more, divisible by 4, are needed")
    return n_ffts
