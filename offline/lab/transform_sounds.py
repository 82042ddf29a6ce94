"""What the studies of the transform listen to: starts of recordings, and sounds made by code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..audio import load_mono, normalise_peak, require_sound
from ..bank import BankSpec
from ..config import LabConfig

F32 = NDArray[np.float32]


@dataclass
class Sound:
    """A name and mono samples, peak 1."""

    name: str
    samples: F32


def recordings(
    paths: Sequence[Path], config: LabConfig, seconds: float, notes: list[str], shortest_s: float = 0.1
) -> list[Sound]:
    """The first `seconds` of each recording at the settings' rate, peak-normalised; raises AudioError, FileError.

    `notes` receives the conversions made, in words.
    """
    found = []
    for path in paths:
        clip = load_mono(path, config.sample_rate, seconds=seconds)
        notes += [f"{path.name}: {c}" for c in clip.conversions]
        require_sound(clip.samples, str(path), at_least=round(shortest_s * config.sample_rate))
        found.append(Sound(path.stem, normalise_peak(clip.samples)))
    names = [s.name for s in found]
    for sound, path in zip(found, paths, strict=True):
        if names.count(sound.name) > 1:
            sound.name = f"{path.parent.name}/{sound.name}"
    return found


def made(config: LabConfig, seconds: float) -> list[Sound]:
    """White noise from the settings' seed, and four impulses."""
    frames = round(seconds * config.sample_rate)
    noise = np.random.default_rng(config.seed).uniform(-1.0, 1.0, frames).astype(np.float32)
    impulses = np.zeros(frames, np.float32)
    impulses[[0, frames // 3, frames // 2, frames - 1]] = [1.0, -0.5, 0.25, 1.0]
    return [Sound("noise (made)", noise), Sound("impulses (made)", impulses)]


def both_laws(config: LabConfig) -> dict[str, BankSpec]:
    """The settings' bank, and the default of the other decay law."""
    other = BankSpec() if config.bank.decay_law == "legacy" else BankSpec.original()
    return {label(config.bank): config.bank, label(other): other}


def label(spec: BankSpec) -> str:
    """A bank in a few characters."""
    if spec.decay_law == "legacy":
        return f"legacy, {spec.oscillators}"
    return f"Q {spec.q:g}, {spec.oscillators}"
