"""Wall-clock time to sample time of a running engine. Thread: control."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 5.0
SLACK_S = 0.002
STALL_S = 0.05  # a block that comes this much too late is a stall, no jitter
SETTLED_S = 0.25  # how long the engine must be late by less than that until it counts as a stall too


class Clock:
    """Maps seconds since the epoch to the engine's sample clock.

    The engine's clock steps by blocks and is read late by whatever the reading thread was delayed;
    both make `wall - samples / rate` too large, never too small, so the least value of the last
    seconds is the best one. The mapping then stays as it is, so that two time tags keep their exact
    distance in samples, until it is off by a block and 2 ms: device clocks drift, streams stall.

    After a stall (a suspended process, a long dropout) the least value of the time before it is of no
    use. The wall clock is read before and after the engine's, so it is known by how much a reading can
    be late: where the engine itself is behind by 50 ms, or by more than the slack in every reading of
    a quarter of a second, the mapping begins anew from there, at once.

    Parameters
    ----------
    sample_time : reads the engine's clock, in samples
    rate : samples per second
    block : frames per step of the clock
    """

    def __init__(self, sample_time: Callable[[], int], rate: float, block: int, wall: Callable[[], float] = time.time):
        self._sample_time = sample_time
        self._rate = rate
        self._block = block
        self._slack = block / rate + SLACK_S
        self._wall = wall
        self._seen: deque[tuple[float, float]] = deque()  # (wall, offset), offsets increasing
        self._offset: float | None = None
        self._last = 0
        self._behind_since: float | None = None

    def retune(self, rate: float) -> None:
        """A new engine plays at this rate."""
        self._rate, self._slack = rate, self._block / rate + SLACK_S
        self._seen.clear()
        self._offset = None

    def observe(self) -> float:
        """Reads both clocks; returns the wall time. To be called a few times a second."""
        before = self._wall()
        samples = self._sample_time()
        now = self._wall()
        offset = now - samples / self._rate
        # A new engine's clock began anew; a stalled one's went on from where it was.
        if samples < self._last or self._stalled(now, offset - max(0.0, now - before)):
            self._seen.clear()
            self._offset = self._behind_since = None
        self._last = samples
        while self._seen and self._seen[-1][1] >= offset:
            self._seen.pop()
        self._seen.append((now, offset))
        while self._seen[0][0] < now - WINDOW_S or self._seen[0][0] > now:
            self._seen.popleft()
        best = self._seen[0][1]
        if self._offset is None or abs(best - self._offset) > self._slack:
            self._offset = best
        return now

    def _stalled(self, now: float, least: float) -> bool:
        """Whether the engine stood still; `least` is the least the true offset can be by this reading."""
        if self._offset is None or least <= self._offset + self._slack:
            self._behind_since = None
            return False
        if self._behind_since is None or self._behind_since > now:
            self._behind_since = now
        return least > self._offset + self._slack + STALL_S or now - self._behind_since >= SETTLED_S

    def samples(self, wall: float) -> int:
        """The sample that plays at this wall time; may lie in the past or before the start."""
        if self._offset is None:
            self.observe()
        assert self._offset is not None
        return round((wall - self._offset) * self._rate)
