"""`cspace lab theory`: what is shown about CSpace and what is only claimed, each statement with a check.

The text is written by hand; the figures in it are computed when the page is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ..bank import BankSpec, forward_states
from ..config import EsnSpec, LabConfig
from ..esn import network
from .drift import by_sample, made_sound

F64 = NDArray[np.float64]


@dataclass
class Check:
    """A figure of the page, with what it must not pass."""

    name: str
    value: float
    limit: float
    words: str

    @property
    def holds(self) -> bool:
        """Whether the statement stood."""
        return bool(np.isfinite(self.value) and self.value <= self.limit)


def _sound(rate: int, seconds: float, seed: int = 1) -> F64:
    return np.concatenate(list(made_sound(seconds, rate, seed))).astype(np.float64)


def _bank(config: LabConfig) -> tuple[NDArray[np.complex128], F64]:
    decay, angle = config.bank.poles(config.sample_rate)
    return np.exp(-decay + 1j * angle), config.bank.drive(config.sample_rate)


def check_kernel(config: LabConfig) -> Check:
    """A kernel cut at K samples is off by at most r^K of the loudest sample."""
    pole, drive = _bank(config)
    x = _sound(config.sample_rate, 0.2)
    exact = by_sample(pole, drive, x)
    worst = 0.0
    for taps in (16, 256, 2048):
        kernel = drive * pole ** np.arange(taps)[:, None]
        cut = np.stack([signal.fftconvolve(x, k)[: len(x)] for k in kernel.T], axis=1)
        bound = np.abs(pole) ** taps * np.max(np.abs(x))
        worst = max(worst, float(np.max(np.max(np.abs(cut - exact), axis=0) / (bound + 1e-12))))
    return Check("kernel", worst, 1.0, "largest error over its bound, kernels of 16, 256 and 2048 samples")


def check_bounded(config: LabConfig) -> Check:
    """No state exceeds the loudest sample."""
    x = _sound(config.sample_rate, 2.0).astype(np.float32)
    states = forward_states(x, config.bank, config.sample_rate)
    n = config.bank.oscillators
    largest = float(np.max(np.hypot(states[:, :n], states[:, n:])) / np.max(np.abs(x)))
    return Check("bounded", largest, 1.0, "largest state over the loudest sample")


def check_inverse(config: LabConfig) -> Check:
    """Every sample comes back from two neighbouring states of any one oscillator."""
    pole, drive = _bank(config)
    x = _sound(config.sample_rate, 0.5)
    z = by_sample(pole, drive, x)
    before = np.concatenate([np.zeros((1, len(pole))), z[:-1]])
    back = ((z - pole * before) / drive).real
    return Check("inverse", float(np.max(np.abs(back - x[:, None]))), 1e-9, "largest error of a sample, float64")


def inverse_float32(config: LabConfig) -> float:
    """The same from the float32 states of the slowest oscillator: error over the loudest sample."""
    pole, drive = _bank(config)
    k = int(np.argmin(drive))
    x = _sound(config.sample_rate, 0.5).astype(np.float32)
    states = forward_states(x, config.bank, config.sample_rate).astype(np.float64)
    z = states[:, k] + 1j * states[:, config.bank.oscillators + k]
    back = ((z[1:] - pole[k] * z[:-1]) / drive[k]).real
    return float(np.max(np.abs(back - x[1:])) / np.max(np.abs(x)))


def check_parseval(config: LabConfig) -> Check:
    """The squared state distance is a squared waveform distance with one weight per frequency."""
    pole, drive = _bank(config)
    rest = int(np.ceil(36.0 / -np.log(np.abs(pole)).max()))
    e = np.random.default_rng(0).standard_normal(500)
    padded = np.concatenate([e, np.zeros(rest)])
    both = 0.0
    for p, b in zip(pole, drive, strict=True):
        for x in (padded, np.concatenate([e[::-1], np.zeros(rest)])):
            both += float(np.sum(np.abs(signal.lfilter([b], [1, -p], x + 0j)) ** 2))
    size = 1 << (len(padded) - 1).bit_length()
    omega = 2 * np.pi * np.arange(size) / size
    weight = np.zeros(size)
    for p, b in zip(pole, drive, strict=True):
        # A real sound has the same power at both signs of a frequency.
        weight += b**2 / np.abs(1 - p * np.exp(-1j * omega)) ** 2 + b**2 / np.abs(1 - p * np.exp(1j * omega)) ** 2
    whole = float(np.mean(np.abs(np.fft.fft(padded, size)) ** 2 * weight))
    return Check("parseval", abs(both / whole - 1.0), 1e-6, "relative difference of both sides")


def check_shift(config: LabConfig) -> Check:
    """A later sound gives later states, unchanged."""
    pole, drive = _bank(config)
    x = _sound(config.sample_rate, 0.2)
    late = np.concatenate([np.zeros(333), x])
    difference = by_sample(pole, drive, late)[333:] - by_sample(pole, drive, x)
    return Check("shift", float(np.max(np.abs(difference))), 1e-12, "largest difference after undoing the delay")


def check_gain(config: LabConfig) -> Check:
    """The distance to a copy g times as loud is |g − 1| times the states' length: 6 dB are no small change."""
    pole, drive = _bank(config)
    z = by_sample(pole, drive, _sound(config.sample_rate, 0.2))
    loud = by_sample(pole, drive, 2.0 * _sound(config.sample_rate, 0.2))
    return Check(
        "gain",
        abs(float(np.linalg.norm(loud - z) / np.linalg.norm(z)) - 1.0),
        1e-12,
        "distance to a copy 6 dB louder over the states' length, less 1",
    )


def landscape_slope(power: F64, omega: F64, shifts: F64) -> F64:
    """dD²/ds = 2 Σ power ω sin(ω s) of a sound with this weighted power at ω [radians per sample]."""
    slope: F64 = 2.0 * np.sin(np.outer(shifts, omega)) @ (power * omega)
    return slope


def check_half_period(config: LabConfig) -> Check:
    """Below half the shortest period the direction is always right, whatever the spectrum below that."""
    rng = np.random.default_rng(0)
    rate, top = config.sample_rate, 500.0
    shifts = np.linspace(0.01, rate / (2 * top), 200)
    wrong = 0
    for _ in range(200):
        omega = 2 * np.pi * rng.uniform(10.0, top, 30) / rate
        wrong += int(np.sum(landscape_slope(rng.exponential(size=30), omega, shifts) <= 0))
    words = "wrong directions in 200 random spectra below 500 Hz, 200 shifts each"
    return Check("half_period", float(wrong), 0.0, words)


def check_not_convex(config: LabConfig) -> Check:
    """The bowl of a tone bends the other way past a quarter period."""
    shifts = np.linspace(0.3, 0.45, 20)  # periods
    slope = landscape_slope(np.ones(1), np.array([2 * np.pi]), shifts)
    return Check("not_convex", float(np.max(np.diff(slope))), 0.0, "largest curvature found past a quarter period")


def check_esn_bounded(config: LabConfig) -> Check:
    """The network's states stay within ±1 at any radius."""
    largest = 0.0
    for radius in (0.5, 0.99, 2.0):
        esn = network(config.esn.model_copy(update={"spectral_radius": radius}))
        esn.set_state(np.ones(len(esn), np.float32))
        largest = max(largest, float(np.max(np.abs(esn.process(_sound(24_000, 2.0).astype(np.float32) * 100)))))
    return Check("esn_bounded", largest, 1.0, "largest state at radius 0.5, 0.99 and 2, input 40 dB above full scale")


def check_esn_contraction(config: LabConfig) -> Check:
    """With row sums of |W| below 1 any two runs approach each other at least as fast as the bound says."""
    esn = network(EsnSpec(nodes=32, spectral_radius=0.2, density=0.1, leak_low=1e-3))
    row = float(np.max(np.abs(esn.w).sum(axis=1)))
    x = _sound(24_000, 0.5).astype(np.float32)
    runs = []
    for corner in (1.0, -1.0):
        esn.set_state(np.full(32, corner, np.float32))
        runs.append(esn.process(x))
    apart = np.max(np.abs(runs[0] - runs[1]), axis=1)
    rate = 1.0 - float(esn.leak.min()) * (1.0 - row)
    bound = 2.0 * rate ** np.arange(1, len(x) + 1)
    seen = bound > 1e-5  # above float32's rounding
    if row >= 1.0:
        return Check("esn_contraction", float("inf"), 1.0, "row sums are not below 1")
    words = f"largest distance over its bound ({row:.2f} row sum)"
    return Check("esn_contraction", float(np.max(apart[seen] / bound[seen])), 1.001, words)


CHECKS: tuple[Callable[[LabConfig], Check], ...] = (
    check_kernel,
    check_bounded,
    check_inverse,
    check_parseval,
    check_shift,
    check_gain,
    check_half_period,
    check_not_convex,
    check_esn_bounded,
    check_esn_contraction,
)


def study(config: LabConfig) -> tuple[str, dict[str, Any]]:
    """The page as Markdown, and its checks. A check that fails is marked on the page."""
    from .theory_page import PAGE

    checks = {c.name: c for c in (check(config) for check in CHECKS)}
    words = {
        name: f"*Check: {c.words}: {c.value:.1e} (at most {c.limit:g}){'' if c.holds else ' — FAILS'}.*"
        for name, c in checks.items()
    }
    bank: BankSpec = config.bank
    single = inverse_float32(config)
    page = PAGE.format(
        **words,
        slowest_b=f"{bank.drive(config.sample_rate).min():.1e}",
        inverse_float32=f"{single:.1e}",
        ring_ms=f"{1000 * bank.ring_samples(config.sample_rate) / config.sample_rate:.0f}",
    )
    figures = {n: {"value": c.value, "limit": c.limit, "holds": c.holds, "what": c.words} for n, c in checks.items()}
    return page, {"checks": figures, "inverse_float32": single, "all_hold": all(c.holds for c in checks.values())}
