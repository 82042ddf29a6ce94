"""Sequences for the manifold: chords of the original, channel phases of their own, any frequencies, real loops.

A batch is a function of its seed alone, so a run that goes on after a stop sees the batches it would have seen.
Training takes even seeds, evaluation odd ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...plugins._errors import AudioError, ParameterError
from ..audio import audio_files, load_mono
from ..bank import BankSpec, forward_states
from .spec import TONES, DataSpec

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

AMPLITUDES = np.array([1.0, 0.5, 0.25])
#: Frequencies of the random kind, in the units of TONES: t runs over 4 π.
LOWEST, HIGHEST = 1.0, 10.0


@dataclass
class Batch:
    """Noisy input, clean signal and, where tones are known, the oracle [shape=(batch, length, …) each]."""

    noisy: Tensor
    clean: Tensor
    #: (sin, cos) of each tone at channel 0 in the spec's order, unit norm [shape=(batch, length, 6)].
    oracle: Tensor | None
    #: Radians per frame [shape=(batch, 3)], loudest first; None for loops.
    omega: F64 | None

    def __len__(self) -> int:
        return len(self.noisy)


class Source:
    """Batches of a `DataSpec` by seed. Reads the recordings once, where there are any."""

    def __init__(self, spec: DataSpec):
        self.spec = spec
        self._loops: list[list[F32]] = _loops(spec) if spec.kind == "loops" else []

    def batch(self, size: int, seed: int, *, held_out: bool = False) -> Batch:
        """`size` sequences; held-out ones come from other seeds and, for loops, from other recordings.

        Raises ParameterError for a size below 1.
        """
        if size < 1:
            raise ParameterError(f"a batch of {size} sequences; at least 1 is needed")
        rng = np.random.default_rng([seed, int(held_out)])
        if self.spec.kind == "loops":
            clean, oracle, omega = _cut(self._loops[int(held_out)], size, self.spec.length, rng), None, None
        else:
            clean, oracle, omega = _tones(self.spec, size, rng)
        noisy = clean + self.spec.noise * rng.standard_normal(clean.shape)
        return Batch(
            torch.from_numpy(noisy.astype(np.float32)),
            torch.from_numpy(clean.astype(np.float32)),
            None if oracle is None else torch.from_numpy(oracle.astype(np.float32)),
            omega,
        )


def _tones(spec: DataSpec, size: int, rng: np.random.Generator) -> tuple[F64, F64, F64]:
    step = 4.0 * np.pi / (spec.length - 1)
    # Frequencies per frame do not depend on the length: a longer sequence has more turns, not slower ones.
    if spec.kind in ("random", "scattered"):
        frequency = np.stack([_apart(rng) for _ in range(size)])
        step = 4.0 * np.pi / 127
        start = rng.uniform(0.0, 2.0 * np.pi, (size, 3))
    else:
        frequency = np.stack([rng.choice(TONES, 3, replace=False) for _ in range(size)])
        start = np.zeros((size, 3))
    c = np.arange(spec.channels)
    if spec.kind == "chords":  # every tone has the same channel phases: one 2-D signal (defect 13)
        channel = np.broadcast_to(2.0 * np.pi * c / spec.channels, (size, 3, spec.channels))
    elif spec.kind != "scattered":  # tone i turns i + 1 times over the channels, so that one frame tells tones apart
        channel = np.broadcast_to(2.0 * np.pi * np.outer([1, 2, 3], c) / spec.channels, (size, 3, spec.channels))
    else:  # other channel phases in every sequence
        channel = rng.uniform(0.0, 2.0 * np.pi, (size, 3, spec.channels))
    omega = frequency * step
    phase = omega[:, None, :] * np.arange(spec.length)[:, None] + start[:, None, :]
    # sin(a + b) = sin a cos b + cos a sin b: sines of frames and of channels alone, twenty times faster.
    turning = np.concatenate([np.sin(phase) * AMPLITUDES, np.cos(phase) * AMPLITUDES], axis=2)
    clean = turning @ np.concatenate([np.cos(channel), np.sin(channel)], axis=1)
    first = phase + channel[:, None, :, 0]
    if spec.oracle_order == "lowest":
        first = np.take_along_axis(first, np.argsort(omega, axis=1)[:, None, :], axis=2)
    oracle = np.stack([np.sin(first), np.cos(first)], axis=3).reshape(size, spec.length, 6) / np.sqrt(3.0)
    return clean, oracle, omega


def _apart(rng: np.random.Generator) -> F64:
    """Three frequencies at least half a unit (one turn in 128 frames) from each other."""
    while True:
        f = rng.uniform(LOWEST, HIGHEST, 3)
        if np.min(np.abs(np.diff(np.sort(f)))) >= 0.5:
            return f


# ---- recordings -------------------------------------------------------------------------------


def frames_of(x: F32, spec: DataSpec) -> F32:
    """Frames [shape=(frames, channels)] of mono sound: states of the CSpace bank, or complex STFT; real parts first."""
    half = spec.channels // 2
    if spec.frames == "cspace":
        bank = BankSpec(oscillators=half, low_hz=60.0, high_hz=0.45 * spec.sample_rate)
        return forward_states(x, bank, spec.sample_rate, spec.hop)
    window = np.hanning(2 * half + 1)[:-1].astype(np.float32)
    count = 1 + (len(x) - 2 * half) // spec.hop
    if count < 1:
        raise AudioError(f"{len(x)} samples are too short for one frame of {2 * half}")
    at = np.arange(count)[:, None] * spec.hop + np.arange(2 * half)
    spectrum = np.fft.rfft(x[at] * window, axis=1)[:, 1:] * (2.0 / half)
    return np.concatenate([spectrum.real, spectrum.imag], axis=1).astype(np.float32)


def _loops(spec: DataSpec) -> list[list[F32]]:
    """Frames of all recordings at unit rms: for training, and every fifth file for evaluation."""
    if spec.folder is None:
        raise ParameterError("loops need recordings; say --folder FOLDER")
    files = audio_files(spec.folder)
    if len(files) < 2:
        raise ParameterError(f"{spec.folder}: has {len(files)} recording; at least 2 are needed, one to evaluate with")
    parts: list[list[F32]] = [[], []]
    for index, path in enumerate(files):
        clip = load_mono(Path(path), spec.sample_rate, seconds=30.0)
        frames = frames_of(clip.samples, spec) if len(clip.samples) >= spec.channels else np.zeros((0, 1), np.float32)
        if len(frames) >= spec.length:
            parts[int(index % 5 == 1)].append(frames)
    if not all(parts):
        raise AudioError(f"{spec.folder}: too few recordings have {spec.length} frames of {spec.hop} samples")
    return parts


def _cut(frames: list[F32], size: int, length: int, rng: np.random.Generator) -> F64:
    """Pieces at unit rms; silent places are drawn again, a few times."""
    out = np.zeros((size, length, frames[0].shape[1]))
    for row in out:
        for _ in range(20):
            one = frames[rng.integers(len(frames))]
            at = int(rng.integers(len(one) - length + 1))
            row[:] = one[at : at + length]
            level = float(np.sqrt(np.mean(row**2)))
            if level > 1e-4:
                row /= level
                break
    return out
