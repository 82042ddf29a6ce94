"""What the studies of the transform listen to: recordings, whole or piece by piece, and sounds made by code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import AudioError
from ..audio import load_mono, normalise_peak, require_sound, stream_mono
from ..bank import BankSpec
from ..config import LabConfig

F32 = NDArray[np.float32]

SHORTEST_S = 0.1


@dataclass
class Sound:
    """A name and mono samples, peak 1."""

    name: str
    samples: F32


@dataclass
class Recording:
    """What one pass over a file tells; its samples are read again whenever they are needed, and never held."""

    path: Path
    sample_rate: int
    seconds: float
    frames: int
    peak: float
    #: Root of the mean square, at peak 1.
    level: float
    conversions: list[str]

    def windows(self, size: int, reach: int) -> Iterator[F32]:
        """Segments of `size` samples, one after the other, each with `reach` more samples either side.

        Peak 1 over the whole; silence stands for what lies beyond the ends; a rest that does not fill a
        segment is left out.
        """
        held = np.zeros(reach, np.float32)
        left = self.frames // size
        for block in chain(self._blocks(), [np.zeros(reach, np.float32)]):
            held = np.concatenate([held, block])
            while left and len(held) >= size + 2 * reach:
                yield held[: size + 2 * reach]
                held = held[size:]
                left -= 1

    def _blocks(self) -> Iterator[F32]:
        for block in stream_mono(self.path, self.sample_rate, seconds=self.seconds):
            yield block / np.float32(self.peak)


def listen(path: Path, sample_rate: int, seconds: float) -> Recording:
    """Length, peak and level of the first `seconds`. Raises FileError, AudioError for silence and too little."""
    frames, peak, energy = 0, np.zeros(1, np.float32), 0.0
    conversions: list[str] = []
    for block in stream_mono(path, sample_rate, seconds=seconds, conversions=conversions):
        frames += len(block)
        peak = np.maximum(peak, np.abs(block).max())
        energy += float(np.square(block, dtype=np.float64).sum())
    shortest = round(SHORTEST_S * sample_rate)
    if frames < shortest:
        raise AudioError(f"{path}: {frames} samples are too short; at least {shortest} are needed")
    require_sound(peak, str(path))
    level = float(np.sqrt(energy / frames) / peak[0])
    return Recording(path, sample_rate, seconds, frames, float(peak[0]), level, conversions)


def recordings(paths: Sequence[Path], config: LabConfig, seconds: float, notes: list[str]) -> list[Sound]:
    """The first `seconds` of each recording at the settings' rate, peak-normalised; raises AudioError, FileError.

    `notes` receives the conversions made, in words.
    """
    found = []
    for path in paths:
        clip = load_mono(path, config.sample_rate, seconds=seconds)
        notes += [f"{path.name}: {c}" for c in clip.conversions]
        require_sound(clip.samples, str(path), at_least=round(SHORTEST_S * config.sample_rate))
        found.append(Sound(path.stem, normalise_peak(clip.samples)))
    for sound, name in zip(found, names(paths), strict=True):
        sound.name = name
    return found


def names(paths: Sequence[Path]) -> list[str]:
    """File names without suffixes, with their folders where two are alike."""
    stems = [p.stem for p in paths]
    return [f"{p.parent.name}/{p.stem}" if stems.count(p.stem) > 1 else p.stem for p in paths]


def counted(windows: Iterable[F32], count: int, advance: Callable[[float], None]) -> Iterator[F32]:
    """The same, and after each of the `count` windows `advance` is told of its part of the whole."""
    for window in windows:
        yield window
        advance(1.0 / count)


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
