"""Losses on the states of the bank and on nothing else (defect 10: the original's contained mel and waveform)."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ...plugins._errors import ParameterError
from ..bank import BankSpec
from ..transform import CSpace
from ..transform.kernels import Kernels
from ..transform.module import Path
from .base import Loss, Terms

Gain = Literal["drive", "one", "energy"]
Distance = Literal["l1", "l2", "norm"]
Level = Literal["absolute", "ratio_db"]

#: A target is taken to be no quieter than white noise at this level: without a floor the ratio to a
#: silent one would be without bound.
SILENCE_DBFS = -80.0
#: The ratio form stops here, so that equal sounds have a finite loss.
LOWEST_DB = -100.0
_TINY = 1e-12


def gains(kernels: Kernels, gain: Gain) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What the states, driven by b = 1 − |λ|, are multiplied by.

    Their drive then is: `drive` b itself: a tone at a centre counts alike in all octaves; `one` 1: an impulse starts
    every oscillator alike, and slow ones weigh 1/b more; `energy` √(1 − |λ|²): every kernel has unit
    energy, so white noise counts alike in all.
    """
    if gain == "drive":
        return np.ones_like(kernels.drive)
    if gain == "one":
        return 1.0 / kernels.drive
    if gain == "energy":
        return np.sqrt(-np.expm1(-2.0 * kernels.decay)) / kernels.drive
    raise ParameterError(f"gain is {gain!r}; it is 'drive', 'one' or 'energy'")


def ratio_db(noise: Tensor, signal: Tensor, floor: float) -> Tensor:
    """10 log10 of noise over signal energy per clip, from −100 dB up, with the signal at least `floor`."""
    signal = signal.clamp_min(floor)
    return 10.0 * torch.log10(noise / signal + 10.0 ** (LOWEST_DB / 10.0))


def _silence(weight: float) -> float:
    """Mean energy of a state for white noise at the silence level, `weight` being the mean energy of a kernel."""
    return float(10.0 ** (SILENCE_DBFS / 10.0) * weight)


class CSpaceLoss(Loss):
    """Distance of the bidirectional states, by the transform itself; one term, `states`.

    The transform is linear, so the states of the difference are the difference of the states: one
    transform does for `absolute`, a second one gives the target's energy for `ratio_db`.

    Parameters
    ----------
    spec, sample_rate, path, cut_db : of `CSpace`
    gain : see `gains`
    distance : `l1` mean of |difference| over the 4 N channels and time; `l2` mean of its square;
        `norm` mean over time of the Euclidean length over channels (the metric of search)
    level : `absolute`, or `ratio_db`: energy of the difference over energy of the target's states per
        clip in dB (−100 dB and up; targets below −80 dB full scale count as noise at −80 dB), mean
        over the batch. Does not change when both sounds are made louder. `l2` only.
    edge_samples : states left out at both ends
    """

    def __init__(
        self,
        spec: BankSpec | None = None,
        sample_rate: float = 24_000,
        *,
        gain: Gain = "drive",
        distance: Distance = "l1",
        level: Level = "absolute",
        edge_samples: int = 0,
        path: Path = "fft",
        cut_db: float = 140.0,
        check_finite: bool = True,
    ):
        super().__init__(check_finite=check_finite)
        if distance not in ("l1", "l2", "norm"):
            raise ParameterError(f"distance is {distance!r}; it is 'l1', 'l2' or 'norm'")
        if level not in ("absolute", "ratio_db"):
            raise ParameterError(f"level is {level!r}; it is 'absolute' or 'ratio_db'")
        if level == "ratio_db" and distance != "l2":
            raise ParameterError(f"level 'ratio_db' is a ratio of energies; distance must be 'l2', not {distance!r}")
        if edge_samples < 0:
            raise ParameterError(f"edge_samples is {edge_samples}; it must be 0 or more")
        self.distance, self.level, self.edge_samples = distance, level, edge_samples
        self.transform = CSpace(spec, sample_rate, path=path, cut_db=cut_db, check_finite=False)
        scale = gains(self.transform.kernels, gain)
        kernels = self.transform.kernels
        self._floor = _silence(float(np.mean(scale**2 * kernels.drive**2 / -np.expm1(-2.0 * kernels.decay))) / 2.0)
        self.plain = gain == "drive"
        self.scale: Tensor
        self.register_buffer("scale", torch.from_numpy(np.tile(scale, 4))[:, None], persistent=False)

    @property
    def shortest_samples(self) -> int:
        """The shortest sound that can be compared."""
        return 2 * self.edge_samples + 1

    def _states(self, x: Tensor) -> Tensor:
        z: Tensor = self.transform(x)
        if self.edge_samples:
            z = z[..., self.edge_samples : -self.edge_samples]
        return z if self.plain else z * self.scale.to(z.dtype)

    def terms(self, estimate: Tensor, target: Tensor) -> Terms:
        """The weighted terms of checked sounds."""
        z = self._states(estimate - target)
        if self.level == "ratio_db":
            noise, signal = z.square().mean((1, 2)), self._states(target).square().mean((1, 2))
            return {"states": ratio_db(noise, signal, self._floor).mean()}
        if self.distance == "l1":
            return {"states": z.abs().mean()}
        if self.distance == "l2":
            return {"states": z.square().mean()}
        # The root has no slope at 0; the floor is far below float32's rounding of any sound.
        return {"states": (z.square().sum(1) + _TINY).sqrt().mean()}


class SpectralCSpaceLoss(Loss):
    """The same as `CSpaceLoss(distance="l2")` over all time, without a single state: one FFT per sound.

    By Parseval, the energy of all states of a sound e, rung out to both sides, is
    Σₖ Σₜ |F|² + |B|² = 2 · mean over f of |E(f)|² Σₖ |Hₖ(f)|², H being the oscillators' response (both
    signs of f): a spectral squared error with a fixed weight per frequency. The explicit loss differs
    in leaving out what rings past the ends of the clip.

    Parameters
    ----------
    spec, sample_rate, gain, level : as for `CSpaceLoss`
    periodic : take the sound as one period of an endless one, without padding; the bank then rings
        from its end into its start. Exact, and the transform is as short as the sound.
    pad_db : otherwise zeros are added until the slowest oscillator has rung down by this much
    """

    def __init__(
        self,
        spec: BankSpec | None = None,
        sample_rate: float = 24_000,
        *,
        gain: Gain = "drive",
        level: Level = "absolute",
        periodic: bool = False,
        pad_db: float = 80.0,
        check_finite: bool = True,
    ):
        super().__init__(check_finite=check_finite)
        if level not in ("absolute", "ratio_db"):
            raise ParameterError(f"level is {level!r}; it is 'absolute' or 'ratio_db'")
        self.level, self.periodic = level, periodic
        self.kernels = Kernels(spec or BankSpec(), sample_rate, pad_db)
        self.scale = gains(self.kernels, gain)
        energy = self.scale**2 * self.kernels.drive**2 / -np.expm1(-2.0 * self.kernels.decay)
        self._floor = _silence(float(np.mean(energy)) / 2.0)
        self._weights: dict[tuple[int, torch.dtype, torch.device], Tensor] = {}

    def size(self, frames: int) -> int:
        """Points of the transform for a sound of `frames`."""
        return frames if self.periodic else 1 << (frames + self.kernels.longest - 1).bit_length()

    def weight(self, size: int, like: Tensor) -> Tensor:
        """What |E(f)|² of a real FFT over `size` points is multiplied by [shape=(size // 2 + 1,)].

        The sum of the products is Σₜ Σₖ |F|² + |B|².
        """
        key = (size, like.dtype, like.device)
        if key not in self._weights:
            omega = 2.0 * math.pi * np.arange(size // 2 + 1) / size
            total = np.zeros(len(omega))
            for at in range(0, len(omega), 8192):  # in pieces: N × size complex numbers can be many
                part = omega[at : at + 8192]
                both = np.abs(self.kernels.response(part)) ** 2 + np.abs(self.kernels.response(-part)) ** 2
                total[at : at + 8192] = (self.scale**2) @ both
            total *= 2.0 / size  # forward and backward; f and −f are in `both`
            total[0] /= 2.0  # these have no partner at −f
            if size % 2 == 0:
                total[-1] /= 2.0
            if len(self._weights) >= 8:
                self._weights.clear()
            with torch.inference_mode(False):
                self._weights[key] = torch.from_numpy(total).to(like.dtype).to(like.device)
        return self._weights[key]

    def energy(self, x: Tensor) -> Tensor:
        """Mean square of the 4 N channels over the sound's own length [shape=(batch,)]."""
        size = self.size(x.shape[1])
        spectrum = torch.fft.rfft(x, n=size)
        power = spectrum.real.square() + spectrum.imag.square()
        total: Tensor = power @ self.weight(size, x)
        return total / (4 * len(self.scale) * x.shape[1])

    def terms(self, estimate: Tensor, target: Tensor) -> Terms:
        """The weighted terms of checked sounds."""
        noise = self.energy(estimate - target)
        if self.level == "ratio_db":
            return {"states": ratio_db(noise, self.energy(target), self._floor).mean()}
        return {"states": noise.mean()}
