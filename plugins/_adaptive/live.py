"""The thread that steers a live equaliser: hears its input through the engine's ear, sends timed events.

The audio thread never waits for it: sound comes through a ring, knobs go through the event ring, and
`Eq` itself smooths every step. If this thread is late, the knobs move later; nothing else happens.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from .pilot import TICK_S, Pilot

if TYPE_CHECKING:
    from ..._native import Engine

_log = logging.getLogger(__name__)
_RING_S = 2.0  # of sound that may wait for this thread
_AHEAD_S = 0.03  # events are sent this far ahead of the engine's clock, so that they land on their sample
_KEPT = 50_000  # events remembered in `trajectory`

Event = tuple[int, str, float]  # sample, knob, value


class LivePilot:
    """Steers slot `slot` of `engine` until `stop`.

    `trajectory` keeps the last events, so that a session can be rendered again exactly. `late_events`
    counts those that came after their sample had passed, and so moved their knob later than written.
    """

    def __init__(self, pilot: Pilot, engine: Engine, slot: int, *, start: bool = True):
        self.pilot = pilot
        self.trajectory: deque[Event] = deque(maxlen=_KEPT)
        self.late_events = 0
        self._engine = engine
        self._slot = slot
        self._sent = dict(pilot.values)
        self._ear = engine.listen(slot, _RING_S)
        self._ahead = round(_AHEAD_S * engine.sample_rate) + engine.max_block
        self._wake = threading.Event()
        self._halt = threading.Event()
        self._first = True
        self._reset = False
        self._thread = threading.Thread(target=self._run, name="cspace-adaptive-eq", daemon=True)
        if start:
            self._thread.start()

    def step(self) -> None:
        """Hears what has come and moves the knobs by as many ticks as that lasted."""
        if self._reset:
            self._reset = False
            self.pilot.reset()
            self._first = True
        heard = self._ear.drain(1 << 20)
        ticks = heard.shape[1] // self.pilot.tick_samples if heard.shape[1] else 0
        if heard.shape[1]:
            self.pilot.hear(heard)
        if not (ticks or self._first or heard.shape[1]):
            return  # the stream stands still
        values = None
        for _ in range(max(1, min(ticks, 50))):
            values = self.pilot.tick() or values
        if values is not None:
            self._send(values, at_once=self._first)
        self._first = False

    def _send(self, values: dict[str, float], *, at_once: bool) -> None:
        now = self._engine.sample_time
        time = now if at_once and now == 0 else now + self._ahead
        for name, value in values.items():
            if value != self._sent[name]:
                self._engine.set(self._slot, name, value, time)
                self._sent[name] = value
                self.trajectory.append((time, name, value))
                self.late_events += self._engine.sample_time > time

    def reset(self) -> None:
        """Forgets the sound heard so far, at the next step."""
        self._reset = True

    def stop(self) -> None:
        """Ends the thread; the knobs stay where they are."""
        self._halt.set()
        self._wake.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)

    def _run(self) -> None:
        while not self._halt.is_set():
            try:
                self.step()
            except RuntimeError:  # the slot is gone, or the queue is full for the moment
                if self._halt.is_set():
                    return
                _log.debug("adaptive EQ: the engine did not take an event", exc_info=True)
            except Exception:  # sound goes on with the knobs as they are
                _log.exception("adaptive EQ")
                return
            self._wake.wait(TICK_S)
