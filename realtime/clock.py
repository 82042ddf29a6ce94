"""Wall-clock time to sample time of a running engine. Thread: control."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 5.0
SLACK_S = 0.002


class Clock:
    """Maps seconds since the epoch to the engine's sample clock.

    The engine's clock steps by blocks and is read late by whatever the reading thread was delayed;
    both make `wall - samples / rate` too large, never too small, so the least value of the last
    seconds is the best one. The mapping then stays as it is, so that two time tags keep their exact
    distance in samples, until it is off by a block and 2 ms: device clocks drift, streams stall.

    Parameters
    ----------
    sample_time : reads the engine's clock, in samples
    rate : samples per second
    block : frames per step of the clock
    """

    def __init__(self, sample_time: Callable[[], int], rate: float, block: int, wall: Callable[[], float] = time.time):
        self._sample_time = sample_time
        self._rate = rate
        self._slack = block / rate + SLACK_S
        self._wall = wall
        self._seen: deque[tuple[float, float]] = deque()  # (wall, offset), offsets increasing
        self._offset: float | None = None
        self._last = 0

    def observe(self) -> float:
        """Reads both clocks; returns the wall time. To be called a few times a second."""
        samples = self._sample_time()
        now = self._wall()
        if samples < self._last:  # a new engine plays: its clock began anew
            self._seen.clear()
            self._offset = None
        self._last = samples
        offset = now - samples / self._rate
        while self._seen and self._seen[-1][1] >= offset:
            self._seen.pop()
        self._seen.append((now, offset))
        while self._seen[0][0] < now - WINDOW_S or self._seen[0][0] > now:
            self._seen.popleft()
        best = self._seen[0][1]
        if self._offset is None or abs(best - self._offset) > self._slack:
            self._offset = best
        return now

    def samples(self, wall: float) -> int:
        """The sample that plays at this wall time; may lie in the past or before the start."""
        if self._offset is None:
            self.observe()
        assert self._offset is not None
        return round((wall - self._offset) * self._rate)
