"""K-SOM's oscillators and synthesis against the original's listing, run as it is written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from cspace.offline.ksom.oscillators import Performance
from cspace.offline.ksom.score import Score, Voices, perform
from cspace.offline.ksom.synth import Renderer

from .common import Row, race

TARGET_RATIO, TARGET_S = 1000.0, 1.0


# ---- the original, typed again from its description: same loops, same records --------------------


@dataclass
class ListedOscillator:
    frequency: float
    coupling: float
    phase: float = 0.0

    def update(self, dt: float, others: list[ListedOscillator]) -> None:
        pull = 0.0
        for other in others:
            if other is not self:
                pull += other.coupling * np.sin(other.phase - self.phase)
        self.phase += 2 * np.pi * self.frequency * dt + self.coupling * pull * dt
        self.phase = self.phase % (2 * np.pi)

    def amplitude(self, t: float) -> float:
        return float(np.sin(self.phase + 2 * np.pi * self.frequency * t))


@dataclass
class ListedSystem:
    oscillators: list[ListedOscillator]
    records: list[dict[str, object]] = field(default_factory=list)

    def evolve(self, seconds: float, dt: float = 0.001) -> None:
        for step in range(int(seconds / dt)):
            t = step * dt
            for oscillator in self.oscillators:
                oscillator.update(dt, self.oscillators)
            self.records.append(
                {
                    "time": t,
                    "phases": [o.phase for o in self.oscillators],
                    "frequencies": [o.frequency for o in self.oscillators],
                    "amplitudes": [o.amplitude(t) for o in self.oscillators],
                }
            )

    def synthesise(self) -> np.ndarray:
        out = np.zeros(len(self.records))
        for n, record in enumerate(self.records):
            sample = 0.0
            for amplitude, phase in zip(record["amplitudes"], record["phases"], strict=True):  # type: ignore[call-overload]
                sample += 0.1 * amplitude * np.sin(phase)
            out[n] = np.tanh(sample)
        return out


def score(notes: int, seconds: float, voices: int) -> Score:
    """Steps at 120 beats a minute in which all notes sound, so that nothing is left out."""
    steps = int(seconds * 8) + 4
    level = [round(1000 / notes**0.5)] * notes
    return Score(
        play=Performance(seconds=seconds, voices=voices),
        tempo_bpm=120.0,
        steps_per_beat=4,
        tracks=["bench"],
        voices=Voices(
            notes_hz=np.geomspace(110.0, 1760.0, notes).tolist(),
            names=[str(k) for k in range(notes)],
            levels={"0": level},
            gain_db={"0": 0.0},
        ),
        node=[0] * steps,
        track=[0] * steps,
        strike=[0.5] * steps,
    )


def run(quick: bool) -> Iterator[Row]:
    rounds = 3 if quick else 7
    for oscillators in (5, 32):
        seconds = 10.0 if quick else 60.0
        voices = 2 if oscillators % 2 == 0 else 1
        piece = score(oscillators // voices, seconds, voices)
        listed_s = 0.5 if oscillators == 5 else 0.1
        freq = np.geomspace(110.0, 1760.0, oscillators)

        def ours(piece: Score = piece) -> float:
            renderer = Renderer(*perform(piece), piece.play, trace_every=0)
            start = time.process_time()
            for _ in renderer.blocks():
                pass
            return time.process_time() - start

        def listing(freq: np.ndarray = freq, listed_s: float = listed_s) -> float:
            system = ListedSystem([ListedOscillator(float(f), 0.05) for f in freq])
            start = time.process_time()
            system.evolve(listed_s)
            system.synthesise()
            return time.process_time() - start

        steps = (seconds * piece.play.sample_rate * oscillators, listed_s * 1000 * oscillators)
        r = race(ours, listing, work=steps, rounds=rounds)
        yield Row(
            bench="ksom",
            what=f"{oscillators} oscillators: coupled, stereo, {piece.play.harmonics} harmonics, limited",
            unit="ns/osc-step",
            ours=r.ours,
            rival_name="the original's listing",
            rival=r.rival,
            ratio=r.ratio,
            spread=r.spread,
            target=f">= {TARGET_RATIO:.0f}x",
            met=r.ratio >= TARGET_RATIO,
            how=f"{r.how}, CPU time",
            extra={"ours, million steps/s": 1e3 / r.ours, "listing, steps/s": 1e9 / r.rival},
        )
        cost = r.ours * 1e-9 * 60 * piece.play.sample_rate * oscillators
        yield Row(
            bench="ksom",
            what=f"60 s at 48 kHz with {oscillators} oscillators",
            unit="s CPU",
            ours=cost,
            target=f"<= {TARGET_S:g} s",
            met=cost <= TARGET_S,
        )
