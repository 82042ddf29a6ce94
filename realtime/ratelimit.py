"""How often something may happen."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable


class Bucket:
    """Allows `burst` at once and `per_second` in the long run. Thread: any, one at a time."""

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic):
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._left, self._since = burst, clock()

    def take(self) -> bool:
        """Whether it may happen once more now."""
        now = self._clock()
        self._left = min(self._burst, self._left + max(0.0, now - self._since) * self._per_second)
        self._since = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Buckets:
    """A bucket for each key, and one for all of them together. Thread: any.

    Keys not seen for longest are forgotten.
    """

    MAX_KEYS = 1024

    def __init__(self, each: tuple[float, float], total: tuple[float, float]):
        self._each = each
        self._total = Bucket(*total)
        self._of: OrderedDict[Hashable, Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: Hashable) -> bool:
        """Whether `key` may have one more now."""
        with self._lock:
            bucket = self._of.pop(key, None) or Bucket(*self._each)
            self._of[key] = bucket
            if len(self._of) > self.MAX_KEYS:
                self._of.popitem(last=False)
            return bucket.take() and self._total.take()
