"""Descriptors by the names that the commands take, and the settings that the recall study found."""

from __future__ import annotations

from typing import Literal

from ..bank import BankSpec
from ..config import EsnSpec, LabConfig
from .descriptors import BankStates, Descriptor, EsnStates, Halves, LogMel, MultiStft, WaveformWindow, Weighting

Kind = Literal["best", "bank", "legacy", "waveform", "logmel", "stft", "esn"]

#: Found on the tuning set of `cspace lab recall` (docs/lab-search.md), at 256 numbers per sample.
BEST_BANK = BankSpec(oscillators=64, low_hz=100.0, high_hz=5000.0, q=60.0)
#: The best found with any number: 512 per sample.
WIDE_BANK = BankSpec(oscillators=128, low_hz=80.0, high_hz=6000.0, q=20.0)


def make(
    kind: Kind,
    config: LabConfig,
    *,
    weighting: Weighting = "white",
    halves: Halves = "both",
    cosine: bool = False,
    length: int = 257,
) -> Descriptor:
    """A descriptor at the sample rate of the settings.

    kind : `best` the bank the study found, `bank` that of the settings, `legacy` the original's (never
        weighted), `waveform` a window of `length` samples, `logmel`, `stft`, `esn` that of the settings
    """
    rate = config.sample_rate
    match kind:
        case "best":
            return BankStates(
                BEST_BANK, rate, weighting=weighting, halves=halves, unit=cosine, name=_named("CSpace best", cosine)
            )
        case "bank":
            name = _named(f"CSpace {config.bank.oscillators} {config.bank.decay_law}", cosine)
            return BankStates(config.bank, rate, weighting=weighting, halves=halves, unit=cosine, name=name)
        case "legacy":
            return BankStates(BankSpec.original(), rate, halves=halves, unit=cosine, name=_named("legacy bank", cosine))
        case "waveform":
            return WaveformWindow(length, rate, unit=cosine)
        case "logmel":
            return LogMel(rate, unit=cosine)
        case "stft":
            return MultiStft(rate, unit=cosine)
        case "esn":
            return EsnStates(config.esn, rate, unit=cosine)


def _named(name: str, cosine: bool) -> str:
    return f"{name} cosine" if cosine else name


def baselines(sample_rate: int) -> list[Descriptor]:
    """What every table holds beside CSpace."""
    return [
        WaveformWindow(257, sample_rate),
        WaveformWindow(257, sample_rate, unit=True),
        LogMel(sample_rate),
        MultiStft(sample_rate),
    ]


def _esn(nodes: int, seed: int, density: float) -> EsnSpec:
    return EsnSpec(nodes=nodes, seed=seed, density=density)


#: The rows of the original's two suites.
ESN_ROWS = (
    _esn(64, 42, 0.1),
    _esn(16, 42, 0.1),
    _esn(512, 42, 0.1),
    _esn(64, 1337, 0.1),
    _esn(64, 9999, 0.1),
    _esn(64, 42, 0.001),
    _esn(64, 42, 0.5),
)


def _legacy(nodes: int, low: float, high: float, r_low: float, r_high: float) -> BankSpec:
    return BankSpec(
        oscillators=nodes, low_hz=low, high_hz=high, decay_law="legacy", legacy_r_low=r_low, legacy_r_high=r_high
    )


CSPACE_ROWS = (
    _legacy(64, 10, 12_000, 0.999, 0.6),
    _legacy(256, 10, 12_000, 0.999, 0.6),
    _legacy(16, 10, 12_000, 0.999, 0.6),
    _legacy(64, 10, 100, 0.999, 0.9),
    _legacy(64, 5_000, 12_000, 0.8, 0.4),
    _legacy(64, 10, 12_000, 0.9999, 0.99),
)
