"""Clips made by code: tones, a melody, clicks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from cspace.plugins.kuramoto import note_number

F32 = NDArray[np.float32]
RATE = 22_050
#: Every note is followed by one other only, so that the order can be recognised.
MELODY = ("C4", "E4", "G4", "C5", "A4", "F4", "D4", "B4")
NOTE_S = 0.5


def hz(note: str) -> float:
    return float(440.0 * 2 ** ((note_number(note) - 69) / 12))


def tone(freq_hz: float, seconds: float, rate: int = RATE, level: float = 0.3) -> F32:
    t = np.arange(int(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * freq_hz * t)).astype(np.float32)


def plucked(freq_hz: float, seconds: float, rate: int = RATE) -> F32:
    """A struck tone with three partials."""
    t = np.arange(int(seconds * rate)) / rate
    ring = sum(np.sin(2 * np.pi * h * freq_hz * t) / h**2 for h in (1, 2, 3))
    return (0.3 * ring * np.exp(-2.5 * t) * np.minimum(t / 0.004, 1)).astype(np.float32)


def melody(times: int = 3) -> F32:
    """The melody's eight notes at 120 a minute, again and again."""
    return np.concatenate([plucked(hz(n), NOTE_S) for _ in range(times) for n in MELODY])


def write(path: Path, x: F32, rate: int = RATE) -> Path:
    sf.write(path, x, rate, subtype="FLOAT")
    return path
