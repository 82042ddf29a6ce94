"""A chain that is called and has plugins from elsewhere: part after part, each plugin as it is called alone.

A call with `reset=True` gives what the plugins give in whole calls one after the other; calls that go on
give what they give then. Thread: control.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..plugins._calls import Calls
from ..plugins.externalstage import check_free, refusal
from ..plugins.externalways import HOP, LARGEST, Way, call, forget, way_of
from .callstream import CallStream
from .link import Link
from .slot import Slot

_FADE_S = 0.010  # as the engine fades its own switches

F32 = NDArray[np.float32]


class _Native:
    """A run of native processors in an engine of its own."""

    def __init__(self, slots: Sequence[Slot], rate: float, channels: int, block: int):
        self.slots = list(slots)
        settings = CallStream.settings(self.slots)
        link = Link(_native.Engine(rate, channels, block), self.slots, live=False, bind=False)
        self.stream = CallStream(link, self.slots, settings)
        self._calls = Calls()
        self._calls.aligned = True
        self._bypassed: dict[Slot, bool] | None = None

    def call(self, x: F32, size: int, first: bool) -> F32:
        """One piece; what was set since the last is cross-faded."""
        if not first and self._bypassed is None:
            self.stream.follow(self.slots)
            self._bypassed = {s: s.bypass for s in self.slots}
        for slot, was in (self._bypassed or {}).items():
            if slot.bypass != was:
                self.stream.link.bypass(slot, slot.bypass)
        if self._bypassed is not None:
            self._bypassed = {s: s.bypass for s in self.slots}
        return self._calls.run(self.stream, x, size)


class CallParts:
    """One sound, whole or in pieces, through the slots of a chain."""

    def __init__(self, slots: Sequence[Slot], rate: float, channels: int, block: int):
        self.slots = list(slots)
        self.rate, self.channels = rate, channels
        self.latency_samples = 0
        self._first = True
        self._wet: dict[Slot, float] = {}  # where the fade between a plugin and what passes it by stands
        self._parts: list[_Native | Slot] = []
        for native, group in groupby(self.slots, lambda s: s.native is not None):
            run = list(group)
            self._parts += [_Native(run, rate, channels, block)] if native else run
        for part in self._parts:
            if isinstance(part, Slot):
                check_free(part.plugin, self)
                forget(part.plugin)  # else pedalboard remembers the channels of another sound

    def fits(self, slots: Sequence[Slot], rate: float, channels: int) -> bool:
        """Whether it can go on with such sound: the same places in the same order."""
        return (list(slots), rate, channels) == (self.slots, self.rate, self.channels)

    def call(self, x: F32, size: int) -> F32:
        """(channels, n) in and out. Raises CspaceError for a plugin that fails or cannot go on."""
        first = self._first
        for part in self._parts:
            x = part.call(x, size, first) if isinstance(part, _Native) else self._switched(part, x, first)
        self._first = False
        return x

    def _switched(self, slot: Slot, x: F32, first: bool) -> F32:
        """The plugin, or the sound that passes it by, or a fade of 10 ms between them."""
        goal = 0.0 if slot.bypass else 1.0
        at = self._wet.setdefault(slot, goal)
        if at == goal == 0.0 or x.shape[1] == 0:
            return x
        if goal == 0.0 and way_of(slot.plugin, self.rate, self.channels) is Way.WHOLE:
            self._wet[slot] = 0.0
            return x
        if at == 0.0:
            forget(slot.plugin)  # what it heard before it was passed by is long gone
        y = self._foreign(slot, x, first)
        if at == goal:
            return y
        steps = np.arange(1, x.shape[1] + 1) / (_FADE_S * self.rate)
        wet = np.clip(at + (steps if goal else -steps), 0.0, 1.0)
        self._wet[slot] = float(wet[-1])
        return (x + wet * (y - x)).astype(np.float32)

    def _foreign(self, slot: Slot, x: F32, first: bool) -> F32:
        if x.shape[1] == 0:
            return x
        if not first and way_of(slot.plugin, self.rate, self.channels) is Way.WHOLE:
            raise refusal(slot.plugin)
        n = x.shape[1]
        y = call(slot.plugin, x, self.rate, LARGEST, first)
        if first:  # pedalboard's own give all of it; others may withhold some, which silence brings out
            silence = np.zeros((self.channels, min(n, HOP)), np.float32)
            for _ in range(int(10 * self.rate / silence.shape[1])):
                if y.shape[1] >= n:
                    break
                y = np.concatenate([y, call(slot.plugin, silence, self.rate, LARGEST, False)], axis=1)
            y = y[:, :n]
        # What withholds gives less after a change of its settings; the rest is silence.
        return np.pad(y, ((0, 0), (n - y.shape[1], 0))) if y.shape != x.shape else y

    def faults(self) -> dict[str, int]:
        """Blocks muted because of NaN or Inf, by the name of the processor, ever."""
        found: dict[str, int] = {}
        for part in self._parts:
            if isinstance(part, _Native):
                found |= part.stream.faults()
        return found

    def close(self) -> None:
        """Lets go of the engines."""
        for part in self._parts:
            if isinstance(part, _Native):
                part.stream.close()
