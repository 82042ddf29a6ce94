"""The two groups of oscillators: pitch (voices of the album's notes) and rhythm (parts and multiples of the beat).

Both are the Rust processor `kuramoto`; here is only which frequencies they have and who is coupled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ... import _native

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

#: Ratios p:q of a lower to a higher note (p turns of the lower … of the higher), simplest first.
RATIOS = ((2, 1), (3, 2), (4, 3), (3, 1), (5, 4), (6, 5), (5, 3), (5, 2))
#: How far off a ratio a pair may be and still be coupled.
NEAR = 0.03
#: Most notes a note is coupled to, the simplest ratios first.
_PARTNERS = 4
#: Rates of the rhythm oscillators in beats: two bars' halves to half beats; the step's own comes last.
BEATS = (0.25, 0.5, 1.0, 2.0)
#: A rhythm coupling reaches at least this part of the frequency, so that it finds together within a beat or two.
_RHYTHM_REACH = 0.05
#: A full perturbation: standard deviations of pitch in cents and of rhythm as a part of the rate.
PERTURB_CENTS, PERTURB_RATE = 20.0, 0.01


class Performance(BaseModel):
    """How a model is played."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seconds: float = Field(60.0, gt=0.0, le=86_400.0)
    seed: int = Field(7, ge=0, le=2**31 - 1)
    sample_rate: int = Field(48_000, ge=8_000, le=192_000)
    channels: int = Field(2, ge=1, le=64)
    #: In units of the locking border of each pair: 1 is where two voices lock.
    coupling: float = Field(1.5, ge=0.0, le=16.0)
    #: 0 plays the transition table as it is, in tune and in time; 1 wanders.
    perturb: float = Field(0.1, ge=0.0, le=1.0)
    harmonics: int = Field(3, ge=1, le=16)
    rolloff: float = Field(1.5, ge=0.0, le=4.0)
    voices: int = Field(2, ge=1, le=8)
    #: Voices of a note lie this far either side of it before they are coupled.
    detune_cents: float = Field(4.0, ge=0.0, le=50.0)
    #: How deep the rhythm oscillators cut into the sound.
    gate: float = Field(0.6, ge=0.0, le=1.0)
    level_db: float = Field(-16.0, ge=-60.0, le=0.0)
    width: float = Field(0.5, ge=0.0, le=1.0)
    mode: Literal["tonal", "bands"] = "tonal"
    #: How much each track counts in the walk; empty: all the same.
    track_weights: list[float] = []


@dataclass(frozen=True)
class Coupled:
    """Oscillators for the `kuramoto` processor.

    freq_hz : [shape=(oscillators,)]
    ratios : flat sets [i, j, p, q, weight_hz]
    matrix : coupling matrix in Hz [shape=(oscillators, oscillators)], empty for none
    """

    freq_hz: F64
    ratios: F32
    matrix: F32

    def processor(
        self, sample_rate: float, channels: int, *, seed: int, coupling: float, **params: float
    ) -> _native.Processor:
        """A prepared `kuramoto` that plays these, silent until its `level` is set."""
        core = _native.Processor("kuramoto")
        values = {
            "oscillators": len(self.freq_hz),
            "seed": seed % 65_536,
            "coupling_hz": 1.0 if self.matrix.size else 0.0,
            "ratio_coupling": coupling,
            "perturb": 0.0,
            "dry": 0.0,
            **params,
        }
        for name, value in values.items():
            core.set(name, value)
        core.set_array("freq_hz", self.freq_hz.astype(np.float32))
        core.set_array("level", np.zeros(len(self.freq_hz), np.float32))
        if len(self.ratios):
            core.set_array("ratios", self.ratios)
        if self.matrix.size:
            core.set_array("matrix", self.matrix)
        core.prepare(float(sample_rate), 1024, channels)
        return core


def pitch_bank(notes_hz: Sequence[float] | F64, play: Performance) -> Coupled:
    """Voices of notes; voice v of note k is oscillator k · voices + v.

    Voices of a note are spread evenly over ± `detune_cents` and coupled 1:1 to the next; the same
    voice of two notes is coupled where their frequencies lie within 3 % of a small-integer ratio.
    `perturb` moves every voice by a seeded number of cents.
    """
    v = play.voices
    spread = np.linspace(-play.detune_cents, play.detune_cents, v) if v > 1 else np.zeros(1)
    rng = np.random.default_rng([play.seed, 1])
    cents = spread[None, :] + PERTURB_CENTS * play.perturb * rng.standard_normal((len(notes_hz), v)).clip(-3, 3)
    freq = (np.asarray(notes_hz)[:, None] * 2 ** (cents / 1200)).ravel()
    sets: list[float] = []
    for k in range(len(notes_hz)):
        for a in range(v - 1):
            sets += pair(k * v + a, k * v + a + 1, 1, 1, freq)
    for low, high, p, q in _partners(np.asarray(notes_hz)):
        for a in range(v):
            sets += pair(low * v + a, high * v + a, p, q, freq)
    return Coupled(freq, np.array(sets, np.float32), np.zeros(0, np.float32))


def pair(i: int, j: int, p: int, q: int, freq: F64, reach_hz: float = 0.0) -> list[float]:
    """Both couplings of a pair, so weighted that q θ_j − p θ_i locks from strength 1 on.

    The phase moves by D = q f_j − p f_i and is drawn back by K (p + q) w, so w = |D| / (p + q);
    with `reach_hz`, at least that |D| is allowed for.
    """
    weight = max(abs(q * freq[j] - p * freq[i]), reach_hz) / (p + q)
    return [i, j, p, q, weight, j, i, q, p, weight]


def _partners(notes_hz: F64) -> list[tuple[int, int, int, int]]:
    """Pairs of notes (lower, higher, p, q) with q f_high ≈ p f_low; q turns of the higher match p of the lower."""
    found = [
        (rank, low, high, p, q)
        for rank, (p, q) in enumerate(RATIOS)
        for low in range(len(notes_hz))
        for high in range(len(notes_hz))
        if low != high and abs(q * notes_hz[high] / (p * notes_hz[low]) - 1) < NEAR
    ]
    taken = np.zeros(len(notes_hz), int)
    out = []
    for _, low, high, p, q in sorted(found):
        if taken[low] < _PARTNERS and taken[high] < _PARTNERS:
            taken[[low, high]] += 1
            out.append((low, high, p, q))
    return out


def rhythm_bank(tempo_bpm: float, steps_per_beat: int, play: Performance) -> Coupled:
    """Oscillators at 1/4, 1/2, 1 and 2 times the beat and at the step rate, coupled 1:2 along the line."""
    rates = np.array([*BEATS, steps_per_beat], np.float64)
    rng = np.random.default_rng([play.seed, 2])
    off = PERTURB_RATE * play.perturb * rng.standard_normal(len(rates)).clip(-3, 3)
    freq = tempo_bpm / 60.0 * rates * (1 + off)
    beat = BEATS.index(1.0)
    freq[beat] = tempo_bpm / 60.0  # the beat itself keeps the tempo that was asked for
    sets: list[float] = []
    lines = [(i, i + 1, 2, 1) for i in range(len(BEATS) - 1)]
    if steps_per_beat > 1:
        lines.append((beat, len(BEATS), steps_per_beat, 1))
    for i, j, p, q in lines:
        sets += pair(i, j, p, q, freq, _RHYTHM_REACH * q * freq[j])
    return Coupled(freq, np.array(sets, np.float32), np.zeros(0, np.float32))


class RhythmClock:
    """The rhythm oscillators, stepped tick by tick. They run in the Rust processor at 8 kHz.

    They settle for eight beats before the first tick, so that a coupled group starts in step.
    """

    RATE = 8_000

    def __init__(self, tempo_bpm: float, steps_per_beat: int, play: Performance, tick_s: float):
        bank = rhythm_bank(tempo_bpm, steps_per_beat, play)
        self._quiet = np.zeros((1, 80), np.float32)
        # The processor's second is 8000 samples; a tick is 80 of them whatever its length.
        scale = tick_s * self.RATE / self._quiet.shape[1]
        slow = Coupled(bank.freq_hz * scale, _scaled(bank.ratios, scale), bank.matrix)
        self._core = slow.processor(self.RATE, 1, seed=play.seed + 1, coupling=play.coupling)
        self._core.process(np.zeros((1, int(8 * 60 / tempo_bpm / tick_s) * 80), np.float32))
        self._turns = self._phases()
        self._due = True

    def _phases(self) -> F64:
        return self._core.tap("phases_rad").astype(np.float64) / (2 * np.pi)

    def tick(self) -> tuple[bool, F64]:
        """Whether a step begins, and the phases in turns, 0 to 1 from one pulse to the next [shape=(5,)]."""
        self._core.process(self._quiet)
        now = self._phases()
        moved = (now - self._turns + 0.5) % 1.0 - 0.5
        # A step begins where the step oscillator passes a whole turn forwards.
        begins = self._due or (moved[-1] > 0 and now[-1] % 1.0 < moved[-1])
        self._turns, self._due = now, False
        return bool(begins), now % 1.0


def _scaled(ratios: F32, scale: float) -> F32:
    sets = ratios.reshape(-1, 5).copy()
    sets[:, 4] *= scale
    return sets.ravel()
