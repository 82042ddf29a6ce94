"""Messages that wait for their time, bounded in number and bytes. Thread: control, one at a time."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_WAITING = 8192
MAX_BYTES = 1024 * 1024  # as they came: what was made of them would take up to ten times as much
AHEAD_S = 0.5  # how long before its time an event goes to the engine
#: Events the engine can hold besides those of others; it drops what comes after 1,024.
MAX_HANDED = 900


class Waiting(NamedTuple):
    """A message that waits."""

    act: float  # when to act on it, seconds since the epoch
    order: int
    time: float  # of its time tag
    data: bytes
    send: Callable[[str, list[Any]], None]
    timed: bool  # the engine can carry it out to the sample
    packet: int  # which it came with, counted


class Schedule:
    """What waits, by when to act on it: what the engine carries out to the sample goes to it ahead of its time.

    What is acted on at one time stays in the order in which it came.
    """

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []
        self._order = itertools.count()
        self._bytes = 0
        self._handed: list[int] = []  # samples of events the engine holds

    def __len__(self) -> int:
        return len(self._waiting)

    def full(self, size: int) -> str:
        """Why `size` more bytes cannot wait; empty if they can."""
        if len(self._waiting) >= MAX_WAITING:
            return f"{MAX_WAITING} messages wait for their time already"
        if self._bytes + size > MAX_BYTES:
            return f"messages of {self._bytes} bytes wait for their time already, at most {MAX_BYTES} may"
        return ""

    def add(
        self, time: float, data: bytes, send: Callable[[str, list[Any]], None], *, timed: bool, packet: int = 0
    ) -> None:
        """Lets a message wait. To be asked before: `full`."""
        act = time - AHEAD_S if timed else time
        heapq.heappush(self._waiting, Waiting(act, next(self._order), time, data, send, timed, packet))
        self._bytes += len(data)

    def next(self) -> Waiting | None:
        """The one to act on first; it stays here."""
        return self._waiting[0] if self._waiting else None

    def pop(self) -> Waiting:
        """Takes the first one out."""
        first = heapq.heappop(self._waiting)
        self._bytes -= len(first.data)
        return first

    def clear(self, before: int | None = None) -> int:
        """Forgets what waits, that in the engine's hands too; returns how many messages waited here.

        `before` leaves what came with that packet or later.
        """
        kept = [] if before is None else [w for w in self._waiting if w.packet >= before]
        n = len(self._waiting) - len(kept)
        self._waiting = kept
        heapq.heapify(self._waiting)
        self._handed.clear()
        self._bytes = sum(len(w.data) for w in kept)
        return n

    # ---- what the engine holds ---------------------------------------------------------------

    def handed(self, sample: int, events: int) -> None:
        """Notes events that the engine carries out at `sample`."""
        for _ in range(events):
            heapq.heappush(self._handed, sample)

    def room(self, now: int) -> int:
        """How many more events the engine can hold at its sample `now`."""
        while self._handed and self._handed[0] <= now:
            heapq.heappop(self._handed)
        return MAX_HANDED - len(self._handed)
