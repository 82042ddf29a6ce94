"""Plays a map live: a control thread walks over it in time with the audio clock, unless a hand is on it.

The thread sets parameters and levels of one Kuramoto plugin, as OSC does; the audio thread never waits
for it. A late tick is made up for, and a long pause is skipped. Thread: control.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np

from .control import Control
from .errors import CspaceError

_log = logging.getLogger(__name__)

TICK_S = 0.01
#: Ticks that are made up for at once; what is older than these is skipped.
_CATCH_UP = 25
#: After this long without a new position from outside the walk goes on.
HOLD_S = 4.0


class MapWalk(Protocol):
    """What moves over the map; `cspace.offline.ksom.live.LiveWalk` is one."""

    def tick(
        self, *, morph: float, perturb: float, held: tuple[float, float] | None
    ) -> tuple[float, tuple[float, float] | None]:
        """The level from now on, and a position if there is a new one."""


class MapPlayer:
    """Walks a plugin's map while a stream plays.

    `map_x` and `map_y` set by anyone else (OSC, a preset) hold the walk there; it goes on from that
    place 4 s after the last such move. `morph` and `perturb` are read at every step.

    Parameters
    ----------
    control : the chain's controls
    name : the plugin's name in the chain
    walk : what to play; ticked once per 10 ms of sound
    sample_time : gives the samples played so far
    sample_rate : Hz
    """

    def __init__(self, control: Control, name: str, walk: MapWalk, sample_time: Callable[[], int], sample_rate: float):
        self._control, self._name, self._walk, self._sample_time = control, name, walk, sample_time
        self._frames = max(1, round(TICK_S * sample_rate))
        plugin = control.chain.slot(name).plugin
        self._ones = np.ones(plugin.oscillators, np.float32)
        self._mine = self._place()
        self._done: int | None = None
        self._hold = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ksom", daemon=True)

    def __enter__(self) -> MapPlayer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2.0)

    def _get(self, name: str) -> float:
        return float(self._control.get(self._name, name))

    def _place(self) -> tuple[float, float]:
        return self._get("map_x"), self._get("map_y")

    @property
    def held(self) -> bool:
        """Whether a hand is on the map."""
        return self._hold > 0

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.5 * TICK_S):
                with contextlib.suppress(CspaceError):  # the stream is closed for now; a gap is skipped
                    self.follow()
        except Exception:  # a defect here must not end the music that plays
            _log.exception("the walk over the map failed")

    def follow(self) -> int:
        """Does the ticks that are due, and says how many. Called by the thread; tests call it themselves."""
        now = self._sample_time() // self._frames
        if self._done is None or now < self._done or now - self._done > _CATCH_UP:
            self._done = now - 1
        due = now - self._done
        for _ in range(due):
            self._tick()
        self._done = now
        return due

    def _tick(self) -> None:
        with self._control.lock:
            place = self._place()
            if max(abs(place[0] - self._mine[0]), abs(place[1] - self._mine[1])) > 1e-5:
                self._mine, self._hold = place, round(HOLD_S / TICK_S)
            self._hold = max(0, self._hold - 1)
            level, move = self._walk.tick(
                morph=self._get("morph"), perturb=self._get("perturb"), held=place if self._hold else None
            )
            plugin = self._control.chain.slot(self._name).plugin
            if move is not None:
                self._control.set(self._name, "map_x", move[0])
                self._control.set(self._name, "map_y", move[1])
                self._mine = self._place()
            plugin.update(level=self._ones * np.float32(level))
