"""Does the streaming bank drift away from the truth? Rust in float32 against float64, hour by hour.

The reference is z[n] = λ z[n−1] + b x[n] in float64 with unrounded poles. It is taken a frame of H
samples at a time, which is the same arithmetic in another order:
z[n+H] = λ^H z[n] + Σ_k λ^(H−1−k) b x[n+1+k]. One matrix product gives the sums of many frames, so
that an hour takes seconds; `frame_reference` is checked against scipy.signal.lfilter, sample by
sample, in every run.

The original's test could not fail (it compared a convolution, which has no state to drift, with
itself). This one can: the same recursion with its poles rounded to float32 runs beside it, and is
to be rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ...plugins._errors import AudioError
from ..audio import SILENCE_DB, stream_mono
from ..bank import BankSpec

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
C128 = NDArray[np.complex128]

#: Samples between two comparisons; no divisor of usual periods, so that all phases are met.
FRAME = 61
#: Samples handled at a time, a whole number of frames.
CHUNK = FRAME * 1024
TARGET = 1e-5
#: Seconds over which errors are gathered into one figure.
BIN_S = 10.0


def made_sound(seconds: float, sample_rate: int, seed: int) -> Iterator[F32]:
    """Noise in bursts, three gliding tones and pauses, up to full scale, in chunks of any length of sound.

    Seeded: the same numbers every time.
    """
    rng = np.random.default_rng(seed)
    left, at = round(seconds * sample_rate), 0
    while left > 0:
        n = min(CHUNK, left)
        t = (at + np.arange(n)) / sample_rate
        noise = 0.3 * rng.standard_normal(n) * (np.sin(2 * np.pi * 1.7 * t) > 0)
        tones = sum(
            0.2 * np.sin(2 * np.pi * hz * t + 40.0 * np.sin(2 * np.pi * slow * t))
            for hz, slow in ((110.0, 0.031), (997.0, 0.017), (5003.0, 0.011))
        )
        pause = np.sin(2 * np.pi * t / 29.0) > -0.8
        yield np.clip((noise + tones) * pause, -1.0, 1.0).astype(np.float32)
        at, left = at + n, left - n


def tiled(path: Path, seconds: float, sample_rate: int, conversions: list[str] | None = None) -> Iterator[F32]:
    """A recording, again and again until `seconds` have passed; raises AudioError where it is silent.

    `conversions` receives what the first reading changed, in words.
    """
    left, peak = round(seconds * sample_rate), 0.0
    while left > 0:
        got = 0
        reading = stream_mono(path, sample_rate, conversions=conversions)
        for block in reading:
            part = block[:left]
            got += len(part)
            left -= len(part)
            peak = max(peak, float(np.max(np.abs(part), initial=0.0)))
            yield part
            if left == 0:
                break
        reading.close()
        conversions = None
        if got == 0:
            raise AudioError(f"{path}: has no samples")
        if peak < 10 ** (SILENCE_DB / 20):
            raise AudioError(
                f"{path}: is silent (peak {peak:.1e}, below {SILENCE_DB:.0f} dB full scale); nothing can drift"
            )


def even(blocks: Iterator[F32], size: int) -> Iterator[F32]:
    """The same sound in pieces of `size` samples; the last may be shorter."""
    kept: list[F32] = []
    have = 0
    for block in blocks:
        kept.append(block)
        have += len(block)
        while have >= size:
            joined = np.concatenate(kept)
            yield joined[:size]
            kept, have = [joined[size:]], have - size
    if have:
        yield np.concatenate(kept)


class FrameReference:
    """Float64 states after samples 0, H, 2 H … of a sound that comes in whole frames of H."""

    def __init__(self, pole: C128, drive: F64, frame: int = FRAME):
        self.frame = frame
        self.pole = pole
        # Row k holds what sample k of a frame adds to the state at the frame's end.
        self.kernel = drive * pole ** np.arange(frame - 1, -1, -1)[:, None]
        self.drive = drive
        self.jump = pole**frame
        self.z: C128 | None = None
        self.rest = np.zeros(0)

    def process(self, x: F64) -> C128:
        """The frames completed by `x` [shape=(samples,)]: complex [shape=(frames, N)]."""
        out: list[C128] = []
        if self.z is None:
            self.z = self.drive * x[0] + 0j
            out.append(self.z[None])
            x = x[1:]
        x = np.concatenate([self.rest, x])
        frames = len(x) // self.frame
        self.rest = x[frames * self.frame :]
        sums = x[: frames * self.frame].reshape(frames, self.frame)
        sums = sums @ self.kernel.real + 1j * (sums @ self.kernel.imag)
        z = np.empty((frames, len(self.pole)), complex)
        now = self.z
        for i, s in enumerate(sums):
            now = self.jump * now + s
            z[i] = now
        self.z = now
        out.append(z)
        return np.concatenate(out)


def by_sample(pole: C128, drive: F64, x: F64) -> C128:
    """Float64 states by scipy.signal.lfilter at every sample [shape=(samples, N)], from rest."""
    return np.stack([signal.lfilter([b], [1.0, -p], x + 0j) for p, b in zip(pole, drive, strict=True)], axis=1)


@dataclass
class Errors:
    """Errors of one contender, bin by bin."""

    seconds: list[float] = field(default_factory=list)
    #: ‖z − truth‖ / ‖truth‖ over all oscillators and comparisons of the bin.
    vector: list[float] = field(default_factory=list)
    #: Root mean square error of the worst oscillator over its own root mean square since the start.
    worst: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Figures at the end and at their largest, and whether they grow."""
        early, late = self._ends()
        return {
            "vector_last": self.vector[-1],
            "vector_largest": max(self.vector),
            "worst_oscillator_last": self.worst[-1],
            "worst_oscillator_largest": max(self.worst),
            "late_over_early": late / early if early > 0 else None,
            # The worst oscillator decides: in the whole vector loud oscillators hide a wrong one.
            "holds": max(self.vector + self.worst) <= TARGET,
        }

    def _ends(self) -> tuple[float, float]:
        quarter = max(1, len(self.vector) // 4)
        return float(np.median(self.vector[:quarter])), float(np.median(self.vector[-quarter:]))


class Meter:
    """Gathers squared errors of each oscillator into bins of time."""

    def __init__(self, oscillators: int, sample_rate: float):
        self.errors = Errors()
        self.sample_rate = sample_rate
        self.bin = BIN_S
        self.wrong = np.zeros(oscillators)
        self.right = np.zeros(oscillators)
        self.sofar = np.zeros(oscillators)
        self.count = self.all = self.frames = 0

    def add(self, got: C128, truth: C128) -> None:
        """Compares states [shape=(frames, N)]."""
        self.wrong += np.sum(np.abs(got - truth) ** 2, axis=0)
        power = np.sum(np.abs(truth) ** 2, axis=0)
        self.right += power
        self.sofar += power
        self.count += len(truth)
        self.frames += len(truth)
        if self.frames * FRAME / self.sample_rate >= self.bin:
            self.close()

    def close(self) -> None:
        """Ends a bin. One without sound is left out: there is nothing to be relative to."""
        self.bin += BIN_S
        mean = self.sofar / max(self.frames, 1)
        if self.count and self.right.sum() > 1e-6 * self.count * mean.sum() > 0.0:
            self.errors.seconds.append(self.frames * FRAME / self.sample_rate)
            self.errors.vector.append(float(np.sqrt(self.wrong.sum() / self.right.sum())))
            share = self.wrong / self.count / np.maximum(mean, 1e-300)
            self.errors.worst.append(float(np.sqrt(share.max())))
        self.wrong[:] = 0.0
        self.right[:] = 0.0
        self.count = 0


def compare(
    sound: Iterator[F32], spec: BankSpec, sample_rate: int, tick: Callable[[float], None] | None = None
) -> dict[str, Errors]:
    """The Rust bank, and the same recursion with float32 poles, against the float64 reference.

    Contenders are compared at every 61st sample. `tick` receives the seconds done so far.
    """
    decay, angle = spec.poles(sample_rate)
    drive = spec.drive(sample_rate)
    truth = FrameReference(np.exp(-decay + 1j * angle), drive)
    coarse = FrameReference(np.exp(-decay + 1j * angle).astype(np.complex64).astype(np.complex128), drive)
    rust = spec.bank(sample_rate, FRAME)
    n = spec.oscillators
    meters = {"rust": Meter(n, sample_rate), "float32_poles": Meter(n, sample_rate)}
    done = 0
    for x in even(sound, CHUNK):
        wide = x.astype(np.float64)
        reference = truth.process(wide)
        got = rust.process(np.ascontiguousarray(x)).astype(np.float64)
        meters["rust"].add(got[:, :n] + 1j * got[:, n:], reference)
        meters["float32_poles"].add(coarse.process(wide), reference)
        done += len(x)
        if tick:
            tick(done / sample_rate)
    for meter in meters.values():
        if meter.count * FRAME > sample_rate or not meter.errors.vector:
            meter.close()
    return {name: meter.errors for name, meter in meters.items()}


def reference_check(sound: F32, spec: BankSpec, sample_rate: int) -> float:
    """Largest difference of the two float64 references over the largest state, on a few seconds."""
    decay, angle = spec.poles(sample_rate)
    pole, drive = np.exp(-decay + 1j * angle), spec.drive(sample_rate)
    slow = by_sample(pole, drive, sound.astype(np.float64))[::FRAME]
    quick = FrameReference(pole, drive).process(sound.astype(np.float64))
    return float(np.max(np.abs(slow - quick)) / max(float(np.max(np.abs(slow))), 1e-300))
