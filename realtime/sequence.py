"""A chain offline, part after part: native runs in engines, each plugin from elsewhere as it is alone.

In one engine every delay would have to be known beforehand and constant. A whole sound has none of that
need: pedalboard takes out the latency of its plugins itself, some of them only work when they are called
once with all of the sound, and each part hears the one before from its first sample on. So each plugin
gives here what it gives alone. Thread: control.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..plugins.external import external_params, set_external
from ..plugins.externalstage import TAIL_S, check_free
from ..plugins.externalways import LARGEST, Way, call, forget, prime, way_of
from .errors import AudioError, CspaceError, ParameterError
from .link import Link
from .slot import Slot

F32 = NDArray[np.float32]
Event = tuple[
    int, str, str, Any
]  # sample of the chain's time, slot, parameter, value (native ones as the engine has it)
WHOLE_BYTES = 2**30  # of sound that a plugin is given at once: 46 minutes of stereo at 48 kHz
_SHORT = 256  # frames; calls of a plugin that wants one size are not made shorter than this
_PIECE = 16_384
_EVENTS = 512  # handed to an engine at once, which holds 1,024


class NativePart:
    """A run of native processors in an engine of its own."""

    def __init__(self, slots: Sequence[Slot], rate: float, channels: int, block: int, events: Sequence[Event]):
        engine = _native.Engine(rate, channels, block)
        self.link = Link(engine, slots, live=False, bind=False)
        self.slots = list(slots)
        self.engine = engine
        self.latency = int(engine.latency_samples)
        self.tail = int(engine.tail_samples)
        ids = {s.name: self.link.id_of(s) for s in slots}
        self._events = [(at, ids[name], param, value) for at, name, param, value in events if name in ids]
        self._next = 0
        self._drop = self.latency
        self._end: int | None = None

    def _engine(self, x: F32) -> F32:
        """Events go in just ahead of their sound: the engine holds a limited number of them."""
        out, done = [x[:, :0]], 0
        while done < x.shape[1] or self._next < len(self._events):
            start, until = self.engine.sample_time, x.shape[1]
            given = 0
            while self._next < len(self._events):
                at, slot, name, value = self._events[self._next]
                # From `_end` on it is latency that runs: nothing of it is heard.
                if at >= start + until - done or (self._end is not None and at >= self._end):
                    break
                if given >= _EVENTS:
                    until = max(done, done + at - start)
                    break
                self.engine.set(slot, name, value, at)
                self._next += 1
                given += 1
            if until > done:
                out.append(self.engine.process(np.ascontiguousarray(x[:, done:until])))
                done = until
            elif not given:
                break
        return np.concatenate(out, axis=1)

    def feed(self, x: F32) -> F32:
        """What is ready, its delay taken out."""
        y = self._engine(x)
        cut = min(self._drop, y.shape[1])
        self._drop -= cut
        return y[:, cut:]

    def finish(self) -> F32:
        """The rest."""
        self._end = self.engine.sample_time
        left, out = self.latency, [np.zeros((self.engine.channels, 0), np.float32)]
        while left > 0:
            n = min(left, _PIECE)
            out.append(self.feed(np.zeros((self.engine.channels, n), np.float32)))
            left -= n
        return np.concatenate(out, axis=1)

    def close(self) -> None:
        """Lets go of the engine."""
        self.link.close()


class ForeignPart:
    """One plugin from elsewhere, called as if it were alone.

    Parameter moves are made between calls, at their sample. Of a plugin that wants calls of one size they
    make those calls smaller; one that must be called with all of the sound at once takes none.
    """

    def __init__(self, slot: Slot, rate: float, channels: int, events: Sequence[Event]):
        self.plugin, self.name = slot.plugin, slot.name
        self.rate, self.channels = rate, channels
        self.latency = 0  # taken out by pedalboard
        self.tail = int(TAIL_S * rate)
        self.way = way_of(slot.plugin, rate, channels)
        self._none = np.zeros((channels, 0), np.float32)
        self._waiting: list[F32] = []
        self._heard = self._given = 0  # frames fed to the plugin, and given back by it
        mine = [e for e in events if e[1] == slot.name]
        self._kept = _checked(self.plugin, mine)
        self._events = [e for e in mine if e[0] > 0]
        if self._events and self.way is Way.WHOLE:
            raise ParameterError(
                f"automation of '{self.name}.{self._events[0][2]}': {self.name} must be called once with all of the "
                "sound, so nothing can move meanwhile; set it before, or at 0 s"
            )
        self._size, self._skip = LARGEST, 0
        try:
            self._begin([e for e in mine if e[0] <= 0])
        except BaseException:
            self.close()
            raise

    def _begin(self, first: Sequence[Event]) -> None:
        """Makes the moves that hold from the beginning, and the plugin ready for the first call."""
        for _, _, param, value in first:
            set_external(self.plugin, param, value)
        forget(self.plugin)
        if self._events and self.way is Way.DIRECT:
            prime(self.plugin, self.channels, self.rate, LARGEST)
        elif self._events:
            # The largest call must be the first: pedalboard clears a plugin when calls grow.
            self._size = min(LARGEST, max(_SHORT, self._events[0][0]))
            if self._events[0][0] < _SHORT:
                self._skip = _SHORT
                self._run(np.zeros((self.channels, _SHORT), np.float32))

    def feed(self, x: F32) -> F32:
        """What is ready."""
        self._waiting.append(np.ascontiguousarray(x))
        have = sum(w.shape[1] for w in self._waiting)
        if self.way is Way.WHOLE:
            if have * self.channels * 4 > WHOLE_BYTES:
                most = WHOLE_BYTES / 4 / self.channels / self.rate
                raise AudioError(
                    f"{self.name} must be called once with all of the sound, which is longer than the {most:.0f} s "
                    "that are kept in memory for that; cut it, or take it out of the chain"
                )
            return self._none
        out = [self._none]
        while have >= (n := self._next_size()):
            out.append(self._run(self._take(n)))
            have -= n
        return np.concatenate(out, axis=1)

    def _next_size(self) -> int:
        """Frames up to the next parameter move, and not more than one call's."""
        heard = self._heard - self._skip
        while self._events and self._events[0][0] <= heard:
            _, _, param, value = self._events.pop(0)
            set_external(self.plugin, param, value)
        return min(self._size, self._events[0][0] - heard) if self._events else self._size

    def _take(self, n: int) -> F32:
        """The next `n` frames that wait."""
        all_ = np.concatenate([self._none, *self._waiting], axis=1)
        self._waiting = [all_[:, n:]]
        return np.ascontiguousarray(all_[:, :n])

    def _run(self, x: F32, until: int | None = None) -> F32:
        """One call; of its output up to frame `until`."""
        y = call(self.plugin, x, self.rate, LARGEST, False)
        self._heard += x.shape[1]
        first = self._given
        self._given += y.shape[1]
        return y[:, max(0, self._skip - first) : None if until is None else max(0, until - first)]

    def finish(self) -> F32:
        """The rest: the last part of a call, and silence until as much came back as went in."""
        if self.way is Way.WHOLE:
            x = np.concatenate([self._none, *self._waiting], axis=1)
            self._waiting = []
            return call(self.plugin, x, self.rate, LARGEST, True) if x.shape[1] else x
        out = [self._none]
        while left := sum(w.shape[1] for w in self._waiting):
            out.append(self._run(self._take(min(left, self._next_size()))))
        end = self._heard
        silence = np.zeros((self.channels, min(self._size, LARGEST)), np.float32)
        patience = int(10 * self.rate / silence.shape[1]) + 1
        while self._given < end and patience:
            out.append(self._run(silence, end))
            patience -= 1
        if self._given < end:
            raise CspaceError(f"{self.name} kept {end - self._given} samples for itself, even after 10 s of silence")
        return np.concatenate(out, axis=1)

    def close(self) -> None:
        """Parameters that were moved stand where they stood."""
        for name, value in self._kept.items():
            set_external(self.plugin, name, value)


def _checked(plugin: Any, events: Sequence[Event]) -> dict[str, Any]:
    """The values of all parameters that are going to move; each move is tried. Raises ParameterError."""
    shown = external_params(plugin) if events else {}
    kept: dict[str, Any] = {}
    for _, name, param, value in events:
        if param in shown:
            kept.setdefault(param, shown[param])
        try:
            set_external(plugin, param, value)
        except ParameterError as e:
            raise ParameterError(f"automation of '{name}.{param}': {e}") from None
        finally:
            for p, v in kept.items():
                set_external(plugin, p, v)
    return kept


class PartSequence:
    """The parts of a chain one after the other. `feed` it, `finish` it, `close` it.

    Parameters
    ----------
    slots : the chain's, in order; native ones are copied, the others are there only once
    events : parameter moves, sorted by time
    """

    def __init__(
        self, slots: Iterable[Slot], rate: float, channels: int, block: int, events: Sequence[Event] = ()
    ) -> None:
        self.parts: list[NativePart | ForeignPart] = []
        try:
            for native, group in groupby(slots, lambda s: s.native is not None):
                run = list(group)
                if native:
                    self.parts.append(NativePart(run, rate, channels, block, events))
                    continue
                for slot in run:
                    check_free(slot.plugin, self)
                    if slot.bypass:
                        _checked(slot.plugin, [e for e in events if e[1] == slot.name])
                    else:
                        self.parts.append(ForeignPart(slot, rate, channels, events))
        except BaseException:
            self.close()
            raise

    @property
    def latency_samples(self) -> int:
        """Delay of the native processors, which is taken out here."""
        return sum(part.latency for part in self.parts)

    @property
    def tail_samples(self) -> int:
        """How long sound may go on after the input ends."""
        return sum(part.tail for part in self.parts)

    def feed(self, x: F32) -> F32:
        """(channels, n) in; what is ready out, in step with the input."""
        for part in self.parts:
            x = part.feed(x)
        return x

    def finish(self) -> F32 | None:
        """The rest: with what `feed` gave, as much as went in. None without any part."""
        y: F32 | None = None
        for part in self.parts:
            y = part.finish() if y is None else np.concatenate([part.feed(y), part.finish()], axis=1)
        return y

    def muted(self) -> dict[str, int]:
        """Blocks muted because of NaN or Inf, by the name of the processor."""
        found: dict[str, int] = {}
        for part in self.parts:
            if isinstance(part, NativePart):
                found |= {str(s["name"]): s["faults"] for s in part.engine.stats()["slots"] if s["faults"]}
        return found

    def close(self) -> None:
        """Lets go of engines and plugins."""
        for part in self.parts:
            part.close()
