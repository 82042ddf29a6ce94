"""How plugins from elsewhere run in an engine: neighbours as one stage, on one worker thread.

They are not real-time safe, so they never run on the audio thread: in an engine without a device they
run inside the block loop, live on a worker thread, at a stated extra latency. Within a stage one plugin
hands its samples to the next at once, so a run of neighbours is late only once, and what moves inside
them (an LFO) stays with the sound.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._audio import check_rate
from ._errors import CspaceError, ParameterError
from .external import external_name, is_external
from .externalways import HOP, LARGEST, Way, call, forget, prime, way_of

_log = logging.getLogger(__name__)
_PROBE_S = 2.0
_FADE_S = 0.010  # as the engine fades its own edits
TAIL_S = 2.0  # pedalboard tells no tails; enough for most rooms


# ---- one sound at a time ---------------------------------------------------------------------

_claims: dict[int, tuple[weakref.ref[Any], weakref.ref[Any] | None]] = {}


def check_free(plugin: Any, owner: Any) -> None:
    """Raises CspaceError if `plugin` plays live for another than `owner`: there is only one of it."""
    entry = _claims.get(id(plugin))
    if entry is None:
        return
    held = entry[0]()
    if held is not None and held is not owner and (entry[1] is None or entry[1]() is plugin):
        raise CspaceError(
            f"{external_name(plugin)} plays live; stop the stream first, or put a copy into this chain: there is "
            "only one of it, and it cannot play two sounds"
        )


def claim(plugin: Any, owner: Any) -> None:
    """Notes that `plugin` plays live for `owner`. Raises CspaceError if it does for another."""
    check_free(plugin, owner)
    alive: weakref.ref[Any] | None
    try:
        alive = weakref.ref(plugin)
    except TypeError:
        alive = None
    _claims[id(plugin)] = (weakref.ref(owner), alive)


def unclaim(plugin: Any, owner: Any) -> None:
    """Lets go of it."""
    entry = _claims.get(id(plugin))
    if entry is not None and entry[0]() in (owner, None):
        del _claims[id(plugin)]


# ---- lengths ---------------------------------------------------------------------------------


class ExactFifo:
    """As many samples out as in, always, around a call that wants whole hops and may withhold some.

    The delay is constant: one hop plus `withheld`. Should more than that be withheld once, zeros
    stand in, are counted in `missing`, and as many late samples are dropped: the delay stays.
    """

    def __init__(
        self, call: Callable[[NDArray[np.float32]], NDArray[np.float32]], channels: int, hop: int, withheld: int
    ):
        self.call = call
        self.hop = hop
        self.delay = hop + withheld
        self.missing = 0
        self._channels = channels
        self.clear()

    def clear(self) -> None:
        """Starts over from silence."""
        self._owed = 0
        self._in = np.zeros((self._channels, 0), np.float32)
        self._out = np.zeros((self._channels, self.delay), np.float32)

    def process(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, n) in and out, for any n."""
        n = x.shape[1]
        waiting = np.concatenate([self._in, x], axis=1)
        ready = [self._out]
        while waiting.shape[1] >= self.hop:
            made = self.call(np.ascontiguousarray(waiting[:, : self.hop]))
            drop = min(self._owed, made.shape[1])
            self._owed -= drop
            ready.append(made[:, drop:])
            waiting = waiting[:, self.hop :]
        self._in = waiting
        out = np.concatenate(ready, axis=1)
        short = max(0, n - out.shape[1])
        self._owed += short
        self.missing += short
        self._out = out[:, n:]
        return np.ascontiguousarray(np.pad(out[:, :n], ((0, 0), (0, short))))


def refusal(plugin: Any) -> ParameterError:
    """Why `plugin` cannot play in blocks, and what to do."""
    return ParameterError(
        f"{external_name(plugin)} cannot play in blocks: it gives its sound only when it is called once with all of "
        "it. Render a file, or call the chain with a whole sound (reset=True); live, take it out"
    )


# ---- one plugin of a stage -------------------------------------------------------------------


class Member:
    """A plugin of a stage, with a bypass that fades.

    Of `way` HOPS it is only called with whole hops; samples wait here until one is full. What it
    gives belongs to the oldest samples it was given, so bypassed sound is late alike.
    """

    def __init__(self, plugin: Any, sample_rate: float, channels: int, bypass: bool = False):
        if not is_external(plugin):
            raise ParameterError(
                f"a {type(plugin).__name__} is not a plugin: it needs process(audio, sample_rate, buffer_size, "
                "reset) and reset()"
            )
        self.plugin = plugin
        self.sample_rate = check_rate(sample_rate)
        self.channels = channels
        self.way = way_of(plugin, sample_rate, channels)
        if self.way is Way.WHOLE:
            raise refusal(plugin)
        self.bypass = bypass
        self._wet = 0.0 if bypass else 1.0
        self._step = 1.0 / max(1.0, _FADE_S * sample_rate)
        self._none = np.zeros((channels, 0), np.float32)
        self.clear()
        self.withheld = 0 if self.way is Way.DIRECT else self._probe()

    @property
    def name(self) -> str:
        """The word for it in tables and addresses."""
        return external_name(self.plugin)

    def clear(self) -> None:
        """Forgets what waits here."""
        self._in = self._dry = self._none

    def reset(self) -> None:
        """Starts from silence."""
        if self.way is Way.DIRECT:
            prime(self.plugin, self.channels, self.sample_rate, LARGEST)
        else:
            forget(self.plugin)
        self.clear()
        self._wet = 0.0 if self.bypass else 1.0

    def raw(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the plugin makes of one call."""
        return call(self.plugin, x, self.sample_rate, LARGEST if self.way is Way.DIRECT else HOP, False)

    def _probe(self) -> int:
        """The most samples the plugin holds back at any time in its first two seconds."""
        silence = np.zeros((self.channels, HOP), np.float32)
        withheld = most = 0
        forget(self.plugin)
        for i in range(max(40, int(_PROBE_S * self.sample_rate / HOP))):
            withheld += HOP - self.raw(silence).shape[1]
            most = max(most, withheld)
            if i >= 8 and most == 0:
                break  # withholds nothing: the usual case
        forget(self.plugin)
        return most

    def process(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, n) in, what is ready out. Raises CspaceError if the plugin fails."""
        self._dry = np.concatenate([self._dry, x], axis=1)
        if self.way is Way.DIRECT:
            pieces = [self.raw(x[:, i : i + LARGEST]) for i in range(0, x.shape[1], LARGEST)]
            made = pieces[0] if len(pieces) == 1 else np.concatenate([self._none, *pieces], axis=1)
        else:
            self._in = np.concatenate([self._in, x], axis=1)
            out = [self._none]
            while self._in.shape[1] >= HOP:
                piece, self._in = np.ascontiguousarray(self._in[:, :HOP]), self._in[:, HOP:]
                out.append(self.raw(piece))
            made = np.concatenate(out, axis=1)
        n = made.shape[1]
        dry, self._dry = self._dry[:, :n], self._dry[:, n:]
        return self._faded(made, dry)

    def failed(self) -> NDArray[np.float32]:
        """What stands in for the call that raised: the sound as it came."""
        dry = self._dry
        self.clear()
        return dry

    def _faded(self, wet: NDArray[np.float32], dry: NDArray[np.float32]) -> NDArray[np.float32]:
        goal = 0.0 if self.bypass else 1.0
        if self._wet == goal:
            return dry if self.bypass else wet
        steps = np.arange(1, wet.shape[1] + 1) * self._step
        gains = self._wet + steps if goal > self._wet else self._wet - steps
        gains = np.clip(gains, 0.0, 1.0).astype(np.float32)
        if len(gains):
            self._wet = float(gains[-1])
        return dry + gains * (wet - dry)


# ---- the stage -------------------------------------------------------------------------------


class External:
    """Neighbouring plugins as one stage that gives back as many samples as it gets.

    If all of them take pieces of any size, it has no latency of its own (offline). Else it calls
    them with hops of 512 frames, so that its output does not depend on the blocks around it, and is
    late by one hop and by what they withhold. pedalboard takes out the latency that a plugin reports
    by withholding it; a delay that a plugin does not report cannot be known.

    Thread: control or the worker; edits wait for the hop at work, `forget` does not.
    """

    def __init__(self, members: Sequence[Member]):
        self._members = list(members)
        first = self._members[0]
        self.sample_rate, self.channels, self.hop = first.sample_rate, first.channels, HOP
        self.faults = 0
        self.direct = all(m.way is Way.DIRECT for m in self._members)
        self.withheld = withheld_by(self._members)
        self.latency_samples = offline_latency(self._members)
        self._fifo = ExactFifo(self._run, self.channels, HOP, self.withheld)
        self._ready = np.zeros((self.channels, 0), np.float32)
        self._last = np.zeros((self.channels, 1), np.float32)
        self._jump: NDArray[np.float32] | None = None  # decaying difference after an edit; empty: to be measured
        self._under_way = 0  # frames that went into `work` and did not come out yet
        self._told_to_forget = threading.Event()
        self._lock = threading.RLock()
        for m in self._members:
            m.reset()

    @classmethod
    def of(cls, plugin: Any, sample_rate: float, channels: int) -> External:
        """A stage of one plugin."""
        return cls([Member(plugin, sample_rate, channels)])

    @property
    def members(self) -> list[Member]:
        """Its plugins in order."""
        return list(self._members)

    @property
    def name(self) -> str:
        """The words for its plugins."""
        return "+".join(m.name for m in self._members)

    @property
    def tail_samples(self) -> int:
        """Unknown for these plugins; 2 s each is assumed."""
        return int(TAIL_S * self.sample_rate) * max(1, len(self._members))

    def live_latency(self, max_block: int) -> int:
        """Delay in samples on a worker thread.

        What the plugins withhold in whole hops, one hop to collect, one hop of time for the work
        itself, and one block.
        """
        return -(-self.withheld // self.hop) * self.hop + 2 * self.hop + max_block

    def takes(self, members: Sequence[Member]) -> bool:
        """Whether these can play here at the latency it has."""
        return withheld_by(members) == self.withheld and all(m.way is Way.DIRECT for m in members) == self.direct

    def edit(self, members: Sequence[Member]) -> None:
        """From the next hop on these play, in this order; the step that may make is faded over 10 ms."""
        with self._lock:
            for m in members:
                if m not in self._members:
                    m.reset()
            self._members = list(members)
            self._jump = self._last[:, :0]

    def process(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, n) in and out, for any n, delayed by `latency_samples`."""
        with self._lock:
            return self._run(x) if self.direct else self._fifo.process(x)

    def work(self, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """One hop in; the hops that are complete now, in step with the input: none, one or more.

        A plugin that raises passes its input on, and is counted in `faults`.
        """
        with self._lock:
            return self._given(x, self._run_on(x))

    def skip(self, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """As `work`, but silence in place of what the plugins would make; they do not hear it."""
        with self._lock:
            return self._given(x, np.zeros_like(x))

    def _given(self, x: NDArray[np.float32], made: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        ready = np.concatenate([self._ready, made], axis=1)
        whole = ready.shape[1] // self.hop
        self._ready = ready[:, whole * self.hop :]
        self._under_way += x.shape[1] - whole * self.hop
        return [np.ascontiguousarray(ready[:, i * self.hop : (i + 1) * self.hop]) for i in range(whole)]

    def forget(self) -> None:
        """The worker is to start from silence before its next hop. Never waits for the plugins. Thread: any."""
        self._told_to_forget.set()

    def forgotten(self) -> bool:
        """Starts from silence if `forget` was called since, and says whether. Thread: the worker."""
        if not self._told_to_forget.is_set():
            return False
        self._told_to_forget.clear()
        with self._lock:
            for m in self._members:
                with contextlib.suppress(Exception):  # one that fails is told of when it plays
                    m.reset()
            self._clear()
            # Silence for what the plugins held back: what comes out stays in step with what goes in.
            self._ready = np.zeros((self.channels, max(0, self._under_way)), np.float32)
        return True

    def reset(self) -> None:
        """Starts from silence."""
        with self._lock:
            for m in self._members:
                m.reset()
            self._clear()

    def _clear(self) -> None:
        self._fifo.clear()
        self._ready = self._ready[:, :0]
        self._last = np.zeros_like(self._last)
        self._jump = None

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        y = x
        for m in self._members:
            y = m.process(y)
        return self._smoothed(y)

    def _run_on(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `_run`, past plugins that fail."""
        y = x
        for m in self._members:
            y = self._passing(m, y)
        return self._smoothed(y)

    def _passing(self, m: Member, x: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return m.process(x)
        except CspaceError:
            if self.faults == 0:
                _log.exception("%s failed; its input passes on", m.name)
            self.faults += 1
            return m.failed()

    def _smoothed(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        n = y.shape[1]
        if n == 0:
            return y
        if self._jump is not None:
            if self._jump.shape[1] == 0:
                fade = np.linspace(1.0, 0.0, max(1, int(_FADE_S * self.sample_rate)), dtype=np.float32)
                self._jump = (self._last - y[:, :1]) * fade
            part = self._jump[:, :n]
            y = np.concatenate([y[:, : part.shape[1]] + part, y[:, part.shape[1] :]], axis=1)
            self._jump = self._jump[:, n:] if self._jump.shape[1] > n else None
        self._last = y[:, -1:].copy()
        return y


def withheld_by(members: Sequence[Member]) -> int:
    """The most samples that these hold back together, in hops."""
    total = 0
    for m in members:
        if m.way is Way.HOPS and total:
            total += HOP - 1  # hops of the one before arrive in other pieces; they are collected again
        total += m.withheld
    return total


def offline_latency(members: Sequence[Member]) -> int:
    """Delay in samples of a stage of these in an engine that no device drives."""
    return 0 if all(m.way is Way.DIRECT for m in members) else HOP + withheld_by(members)


__all__ = [
    "ExactFifo",
    "External",
    "Member",
    "check_free",
    "claim",
    "offline_latency",
    "unclaim",
    "withheld_by",
]
