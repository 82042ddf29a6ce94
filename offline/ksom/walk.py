"""A walk over the map: which node sounds in each step of new music."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import ParameterError
from .modelfile import Model, Track

F32 = NDArray[np.float32]

#: The weight of a track that is not to be heard: its places stay, but are never chosen.
_NOTHING = 1e-9
#: So far below its mean level a track has not begun, or has ended.
_QUIET_DB = 40.0


@dataclass(frozen=True)
class Step:
    """One step of new music.

    node : place on the map, row · columns + column
    track, index : the step of the source that led here
    strike : how strongly notes begin, 0 to 1
    """

    node: int
    track: int
    index: int
    strike: float


class Nodes:
    """What a model's nodes sound like: means over the steps that belong to them.

    levels : amplitude of each note [shape=(nodes, notes)], each row of length 1, or 0 where no step is
    gain_db : loudness relative to the track's mean [shape=(nodes,)]
    onset : mean onset strength [shape=(nodes,)]
    """

    def __init__(self, model: Model, track_weights: NDArray[np.float64] | None = None):
        size = model.require_map().rows * model.require_map().columns
        weights = np.ones(len(model.tracks)) if track_weights is None else track_weights
        levels = np.zeros((size, len(model.notes)))
        gain, onset, count = np.zeros(size), np.zeros(size), np.zeros(size)
        for t, track in enumerate(model.tracks):
            path = np.array(track.path)
            np.add.at(levels, path, weights[t] * model.note_levels(t).astype(np.float64))
            np.add.at(gain, path, weights[t] * (np.array(track.steps.level_db) - track.level_db))
            np.add.at(onset, path, weights[t] * np.array(track.steps.onset))
            np.add.at(count, path, weights[t])
        self.used = count > 0
        per = np.maximum(count, 1e-9)
        norm = np.linalg.norm(levels, axis=1, keepdims=True)
        self.levels: F32 = (levels / np.maximum(norm, 1e-9)).astype(np.float32)
        self.gain_db: F32 = (gain / per).astype(np.float32)
        self.onset: F32 = (onset / per).astype(np.float32)


class Walk:
    """Draws one node after the other from the transition table of the tracks' paths.

    From a node, every place where the music was there counts once (times its track's weight), and
    the walk goes on with what followed it. `perturb` also counts the places of the eight nodes
    around it, each `perturb` as much: similar sounds may follow one another though they never did.
    What was played v times counts (1 + v)^-2, so that all of the music comes up in the end, as often
    as it does in the source. A track's end leads to a track's beginning; silence before and after its
    music is left out.

    >>> walk = Walk(model, seed=7)
    >>> step = walk.next()
    """

    def __init__(self, model: Model, *, seed: int, perturb: float = 0.0, track_weights: list[float] | None = None):
        self._map = model.require_map()
        self._weights = check_weights(model, track_weights)
        self._paths = [np.array(t.path) for t in model.tracks]
        self._onsets = [np.array(t.steps.onset) for t in model.tracks]
        self._accents = [np.array(t.accents) for t in model.tracks]
        self._perturb = perturb
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._sounding = [_sounding(t) for t in model.tracks]
        for t, path in enumerate(self._paths):
            for i in range(*self._sounding[t]):
                self._places.setdefault(int(path[i]), []).append((t, i))
        self._seed = seed
        self.restart()

    def restart(self, draw: int = 0) -> None:
        """Begins again, with the same track; another `draw` goes another way from there."""
        self._rng = np.random.default_rng([self._seed, 3])
        # Of the place after the last step too: the end, from where a track begins.
        self._played = [np.zeros(len(path) + 1) for path in self._paths]
        self._count = 0
        self._track, self._index = self._start()
        if draw:
            self._rng = np.random.default_rng([self._seed, 3, draw])

    def _start(self) -> tuple[int, int]:
        chosen = int(self._rng.choice(len(self._paths), p=self._weights / self._weights.sum()))
        self._begun = False
        return chosen, self._sounding[chosen][0] - 1

    def weigh(self, track_weights: list[float]) -> None:
        """Other weights of the tracks from the next step on; a track that weighs nothing now is left at once."""
        self._weights = np.maximum(np.asarray(track_weights, np.float64), _NOTHING)
        if not self._begun:
            self._track, self._index = self._start()
        elif self._weights[self._track] <= _NOTHING:
            self.jump(int(self._paths[self._track][self._index]))

    def wander(self, perturb: float) -> None:
        """Another perturbation from the next step on."""
        self._perturb = perturb

    def jump(self, node: int) -> None:
        """Goes on from a place of the map; where no music was, from the nearest node where it was.

        Music is that of the tracks that weigh something.
        """
        row, column = divmod(node, self._map.columns)
        heard = {n: [(t, i) for t, i in p if self._weights[t] > _NOTHING] for n, p in self._places.items()}
        used = np.array(sorted(n for n, p in heard.items() if p))
        away = (used // self._map.columns - row) ** 2 + (used % self._map.columns - column) ** 2
        places = heard[int(used[away.argmin()])]
        self._track, self._index = places[int(self._rng.integers(len(places)))]
        self._begun = True

    def next(self) -> Step:
        """The next step."""
        if self._begun:
            self._track, self._index = self._choose(int(self._paths[self._track][self._index]))
        self._index += 1
        if self._index >= self._sounding[self._track][1]:
            self._track, self._index = self._start()
            self._index += 1
        self._begun = True
        t, i = self._track, self._index
        self._played[t][i] += 1
        accent = self._accents[t][self._count % len(self._accents[t])]
        self._count += 1
        strike = float(self._onsets[t][i] * (0.4 + 0.6 * accent))
        return Step(int(self._paths[t][i]), t, i, round(strike, 4))

    def _choose(self, node: int) -> tuple[int, int]:
        places = list(self._places[node])
        weights = [self._weights[t] for t, _ in places]
        if self._perturb > 0:
            for other in self._around(node):
                more = self._places.get(other, [])
                places += more
                weights += [self._perturb * self._weights[t] for t, _ in more]
        w = np.array(weights) / np.array([1.0 + self._played[t][i + 1] for t, i in places]) ** 2
        k = int(np.searchsorted(np.cumsum(w), self._rng.random() * w.sum(), side="right"))
        return places[min(k, len(places) - 1)]

    def _around(self, node: int) -> list[int]:
        rows, columns = self._map.rows, self._map.columns
        row, column = divmod(node, columns)
        return [
            r * columns + c
            for r in range(max(0, row - 1), min(rows, row + 2))
            for c in range(max(0, column - 1), min(columns, column + 2))
            if (r, c) != (row, column)
        ]


def _sounding(track: Track) -> tuple[int, int]:
    """First step that sounds, and the one after the last."""
    loud = np.flatnonzero(np.array(track.steps.level_db) > track.level_db - _QUIET_DB)
    return (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, len(track.path))


def check_weights(model: Model, track_weights: list[float] | None) -> NDArray[np.float64]:
    """One weight per track [shape=(tracks,)], all 1 if none are given. Raises ParameterError."""
    given = track_weights or [1.0] * len(model.tracks)
    if len(given) != len(model.tracks):
        raise ParameterError(f"{len(given)} track weights are given; the model has {len(model.tracks)} tracks")
    if min(given) < 0 or max(given) <= 0:
        raise ParameterError(f"track weights {given} are not allowed, use numbers from 0 on, one at least above 0")
    return np.maximum(np.array(given, np.float64), _NOTHING)


def transitions(model: Model) -> list[tuple[int, int, int]]:
    """The transition table: (from node, to node, how often) over all tracks, sorted."""
    counts: dict[tuple[int, int], int] = {}
    for track in model.tracks:
        for a, b in zip(track.path, track.path[1:], strict=False):
            counts[a, b] = counts.get((a, b), 0) + 1
    return sorted((a, b, n) for (a, b), n in counts.items())
