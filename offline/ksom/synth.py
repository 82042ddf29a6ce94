"""From steps to sound: envelopes at a control rate, oscillators and limiter in Rust, streamed into a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ... import _native
from ...audiofile import Writer
from .oscillators import Coupled, Performance

F32 = NDArray[np.float32]

#: Length of a control tick; the processor's levels glide over 20 ms.
TICK_S = 0.01
#: Peak between samples, dB full scale, that is not passed.
CEILING_DB = -1.0
#: Ticks handed to the limiter and the file at once.
_TICKS = 200
_FADE_S = 1.0
#: Ticks of silence at the very end, longer than the glide of the levels.
_LAST_TICKS = 4

Report = Callable[[float], None]


class Levels(Protocol):
    """What sets the levels of the oscillators, tick by tick."""

    def tick(self) -> F32:
        """The level of each oscillator from now on [shape=(oscillators,)]."""


@dataclass
class Trace:
    """Order parameters over time, one entry every `every` ticks.

    r : |mean of e^{jθ}| over all oscillators
    note_r : the same over the voices of each note, averaged over the notes
    locking : how fixed the coupled phase differences are, averaged: 1 locked, 0 drifting
    """

    time_s: list[float] = field(default_factory=list)
    r: list[float] = field(default_factory=list)
    note_r: list[float] = field(default_factory=list)
    locking: list[float] = field(default_factory=list)
    phases_rad: list[F32] = field(default_factory=list)


@dataclass
class Sound:
    """What was made."""

    frames: int
    rms_db: float
    sample_peak_db: float
    trace: Trace


def tick_frames(sample_rate: int) -> int:
    """Samples of a control tick."""
    return max(1, round(TICK_S * sample_rate))


class Renderer:
    """Oscillators and limiter, driven by levels. Blocks of any length come out, memory stays the same.

    Parameters
    ----------
    bank : the oscillators
    levels : sets their levels
    play : length, rate, channels, strength of the coupling
    trace_every : ticks between two entries of `trace`; 0 for none
    """

    def __init__(self, bank: Coupled, levels: Levels, play: Performance, *, trace_every: int = 10):
        self.play, self.levels, self.trace = play, levels, Trace()
        self._every = trace_every
        self._voices = play.voices if play.mode == "tonal" else 1
        self._ratios = len(bank.ratios) > 0
        self._core = bank.processor(
            play.sample_rate,
            play.channels,
            seed=play.seed,
            coupling=play.coupling,
            harmonics=play.harmonics,
            rolloff=play.rolloff,
            level_db=play.level_db,
            width=play.width,
        )
        self._limiter = _native.Processor("limiter")
        self._limiter.set("ceiling_db", CEILING_DB)
        self._limiter.prepare(float(play.sample_rate), 1024, play.channels)
        self.frames = round(play.seconds * play.sample_rate)
        self._tick = tick_frames(play.sample_rate)

    def blocks(self) -> Iterator[F32]:
        """The piece, float32 [shape=(channels, frames)], exactly `frames` in all."""
        quiet = np.zeros((self.play.channels, self._tick), np.float32)
        late = skip = int(self._limiter.latency_samples)
        ticks = -(-(self.frames + late) // self._tick)
        fade = max(1, round(min(_FADE_S, 0.1 * self.play.seconds) / TICK_S))
        last = max(1, self.frames // self._tick - _LAST_TICKS)
        left = self.frames
        parts = []
        for t in range(ticks):
            gain = min(1.0, max(0.0, (last - t) / fade))
            if t <= last:  # the level of tick `last` is 0, reached after a glide that must not begin again
                self._core.set_array("level", self.levels.tick() * np.float32(gain))
            parts.append(self._core.process(quiet))
            if self._every and t % self._every == 0:
                self._look(t)
            if len(parts) == _TICKS or t == ticks - 1:
                y = self._limiter.process(np.concatenate(parts, axis=1))
                parts = []
                y = y[:, skip:] if skip < y.shape[1] else y[:, :0]
                skip = max(0, skip - _TICKS * self._tick)
                y = y[:, :left]
                left -= y.shape[1]
                if y.shape[1]:
                    yield y

    def _look(self, t: int) -> None:
        phases = self._core.tap("phases_rad")
        z = np.exp(1j * phases.astype(np.float64))
        self.trace.time_s.append(round(t * self._tick / self.play.sample_rate, 4))
        self.trace.r.append(round(float(abs(z.mean())), 4))
        self.trace.note_r.append(round(float(abs(z.reshape(-1, self._voices).mean(axis=1)).mean()), 4))
        locking = float(self._core.tap("ratio_locking").mean()) if self._ratios else 0.0
        self.trace.locking.append(round(locking, 4))
        self.trace.phases_rad.append(phases)


def write_sound(
    renderer: Renderer, path: str | os.PathLike[str], *, subtype: str | None = None, report: Report | None = None
) -> Sound:
    """Renders into a file that appears whole or not at all. Raises FileError."""
    play, power, peak, done = renderer.play, 0.0, 0.0, 0
    with Writer(path, play.sample_rate, play.channels, frames=renderer.frames, subtype=subtype) as file:
        for y in renderer.blocks():
            power += float(np.sum(y.astype(np.float64) ** 2))
            peak = max(peak, float(np.abs(y).max()))
            done += y.shape[1]
            file.write(np.ascontiguousarray(y.T))
            if report is not None:
                report(done / play.sample_rate)
    rms = power / max(1, done * play.channels)
    return Sound(done, _db(rms, 10), _db(peak, 20), renderer.trace)


def _db(value: float, factor: float) -> float:
    return round(float(factor * np.log10(max(value, 1e-12))), 3)
