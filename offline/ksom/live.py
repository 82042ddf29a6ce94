"""A model for live play: its oscillators with the map as a plugin, and the walk that moves over it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...plugins import Kuramoto
from .modelfile import Model
from .oscillators import Performance, RhythmClock, pitch_bank
from .score import DECAY_BEATS, GATE, SUSTAIN, loudness
from .walk import Nodes, Walk

F32 = NDArray[np.float32]

#: A hand on the map plays notes this strongly, there being no onset to take it from.
_HAND_STRIKE = 0.7


def layers(model: Model) -> F32:
    """Level patterns of the map for the processor's array `map` [shape=(tracks, rows, columns, notes)].

    A layer is one track: what its steps sound like in each node. A node where the track never was
    takes the mean of those where it was, weighted by distance^-4, so that every place sounds.
    """
    m = model.require_map()
    rows, columns = np.divmod(np.arange(m.rows * m.columns), m.columns)
    out = []
    for t in range(len(model.tracks)):
        only = np.zeros(len(model.tracks))
        only[t] = 1.0
        nodes = Nodes(model, only)
        used = np.flatnonzero(nodes.used)
        away = (rows[:, None] - rows[used]) ** 2 + (columns[:, None] - columns[used]) ** 2
        weight = 1.0 / np.maximum(away, 1e-3) ** 2
        weight /= weight.sum(axis=1, keepdims=True)
        levels = weight @ nodes.levels[used]
        levels /= np.maximum(np.linalg.norm(levels, axis=1, keepdims=True), 1e-9)
        gain = np.array([loudness(float(g)) for g in weight @ nodes.gain_db[used]])
        out.append((np.sqrt(len(model.notes)) * levels * gain[:, None]).reshape(m.rows, m.columns, -1))
    return np.array(out, np.float32)


def live_plugin(model: Model, play: Performance, *, entrained: bool = False) -> Kuramoto:
    """The model's oscillators as a `kuramoto` plugin: position, coupling, perturbation and morph are its parameters."""
    m = model.require_map()
    bank = pitch_bank(model.frequencies_hz, play.model_copy(update={"perturb": 0.0}))
    return Kuramoto(
        oscillators=len(bank.freq_hz),
        freq_hz=bank.freq_hz,
        ratios=bank.ratios,
        map=np.repeat(layers(model), play.voices, axis=-1).ravel(),
        level=np.zeros(len(bank.freq_hz), np.float32),
        map_rows=m.rows,
        map_columns=m.columns,
        seed=play.seed % 65_536,
        mode="entrained" if entrained else "free",
        follow=0.5 if entrained else 0.0,
        coupling_hz=0.0,
        ratio_coupling=play.coupling,
        perturb=play.perturb,
        harmonics=play.harmonics,
        rolloff=play.rolloff,
        level_db=play.level_db,
        width=play.width,
        dry=0.0,
    )


class LiveWalk:
    """Moves over the map in the model's tempo; stepped once per control tick, by one thread.

    Parameters
    ----------
    tick_s : length of a control tick, s
    """

    def __init__(self, model: Model, play: Performance, tick_s: float):
        self._map = model.require_map()
        self._tracks = len(model.tracks)
        self._walk = Walk(model, seed=play.seed, perturb=play.perturb)
        self.tempo_bpm = model.tracks[0].tempo_bpm
        self._clock = RhythmClock(self.tempo_bpm, model.settings.steps_per_beat, play, tick_s)
        self._fall = float(np.exp(-tick_s / (DECAY_BEATS * 60.0 / self.tempo_bpm)))
        self._gate, self._envelope = play.gate, SUSTAIN

    def tick(
        self, *, morph: float, perturb: float, held: tuple[float, float] | None
    ) -> tuple[float, tuple[float, float] | None]:
        """The level from now on, 0 to 1, and the position (x, y), 0 to 1 each, if the walk moves there now.

        held : where a hand holds the map: the walk stays there, strikes in time, and goes on from there
        """
        begins, turns = self._clock.tick()
        self._envelope = SUSTAIN + (self._envelope - SUSTAIN) * self._fall
        place = None
        if begins and held is not None:
            self._strike(_HAND_STRIKE)
            column, row = round(held[0] * (self._map.columns - 1)), round(held[1] * (self._map.rows - 1))
            self._walk.jump(row * self._map.columns + column)
        elif begins:
            self._walk.weigh(self._weights(morph))
            self._walk.wander(perturb)
            step = self._walk.next()
            row, column = divmod(step.node, self._map.columns)
            place = column / max(1, self._map.columns - 1), row / max(1, self._map.rows - 1)
            self._strike(step.strike)
        pulse = float(GATE @ (0.5 + 0.5 * np.cos(2 * np.pi * turns)) ** 2)
        return self._envelope * (1.0 - self._gate * (1.0 - pulse)), place

    def _strike(self, strength: float) -> None:
        self._envelope = max(self._envelope, SUSTAIN + (1.0 - SUSTAIN) * strength)

    def _weights(self, morph: float) -> list[float]:
        """The tracks either side of the morph, as much as they sound."""
        at = morph * (self._tracks - 1)
        return [max(0.0, 1.0 - abs(at - t)) for t in range(self._tracks)]
