"""The chain: a list of plugins that sound passes through in order.

Offline it runs in the same engine that plays live, so a render equals the live output. Thread:
control, for everything here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..plugins._audio import MAX_CHANNELS, as_audio, check_buffer, check_rate, tell, without_bad
from ..plugins._base import NativePlugin
from ..plugins._calls import Calls
from ..plugins._hosted import HostedPlugin
from .callparts import CallParts
from .callstream import CallStream, held
from .errors import AudioError, CspaceError, ParameterError, near
from .link import Link, foreign_figures
from .pluginlist import PluginList
from .sequence import Event, PartSequence
from .slot import Slot, check_plugin, read_back, written

MAX_BLOCK = 1024  # of offline engines; longer buffers are cut to it
BLOCKS = (1, 8192)  # frames of a live block

AnyChain = TypeVar("AnyChain", bound="Chain")


class Chain(PluginList):
    """An ordered list of plugins: native ones and `pedalboard` ones side by side.

    >>> from cspace.realtime import Chain
    >>> from cspace.plugins import Eq, Gain
    >>> chain = Chain([Eq(low_gain_db=3.0), Gain(gain_db=-3.0)])
    >>> y = chain(x, sample_rate=48_000)  # x : float32 [shape=(channels, frames)]

    Each plugin has a unique name, used in OSC addresses and chain files: its type, with a number
    from the second on (`eq`, `eq2`); `chain["eq2"]` finds it. While a live engine is attached,
    every edit of the list is made there too, with a cross-fade of 10 ms; an edit that is refused
    changes nothing, neither here nor there.

    A plugin can be in a chain once. Assigning one that is in it already makes the two change places,
    so that `chain[0], chain[1] = chain[1], chain[0]` swaps them; names and bypass switches go along.
    A slice is a chain of the same plugin objects, as with lists: their settings are common, the list,
    names and bypass switches are not. `copy.copy(chain)`, `copy.deepcopy` and pickles share nothing:
    they have plugins of their own with the same settings, and nothing that sounds or is attached.

    Several threads may use a chain at the same time. Whole calls run side by side; calls that go on
    with a stream wait for each other.

    Parameters
    ----------
    plugins : what to start with
    title : shown to people
    sample_rate : the rate in Hz the chain wants to run at, None for that of the audio
    block : the live block size in frames the chain wants, None for the host's choice
    """

    title: str
    #: The files a chain file was read from: itself and its arrays. Those of plugins know the plugins.
    read_from: tuple[Path, ...] = ()
    _own = frozenset(
        {"_all_bypassed", "_calls", "_edits", "_links", "_parts", "_slots", "_stream", "_switches"}
    )  # what copies have anew

    def __init__(
        self,
        plugins: Iterable[Any] = (),
        *,
        title: str = "",
        sample_rate: float | None = None,
        block: int | None = None,
    ):
        self.title = title
        self.sample_rate = sample_rate
        self.block = block
        self._begin()
        if plugins is None or isinstance(plugins, (str, type, NativePlugin)) or not isinstance(plugins, Iterable):
            check_plugin(plugins)
            raise ParameterError(f"a chain takes a list of plugins: Chain([{plugins!r}])")
        self.extend(plugins)

    def _begin(self) -> None:
        self._begin_list()
        self._stream: CallStream | None = None  # what process(reset=False) goes on with
        self._parts: CallParts | None = None  # the same for a whole sound with plugins from elsewhere
        self._calls = Calls()

    @property
    def sample_rate(self) -> float | None:
        """The rate in Hz the chain wants to run at, 8,000 to 192,000; None for that of the audio."""
        return self._sample_rate

    @sample_rate.setter
    def sample_rate(self, rate: float | None) -> None:
        if rate is not None:
            check_rate(rate)
        self._sample_rate = rate

    @property
    def block(self) -> int | None:
        """The live block size in frames the chain wants, 1 to 8,192; None for the host's choice."""
        return self._block

    @block.setter
    def block(self, block: int | None) -> None:
        whole = isinstance(block, (int, np.integer)) and not isinstance(block, bool)
        if block is not None and not (whole and BLOCKS[0] <= block <= BLOCKS[1]):
            raise AudioError(f"block = {block!r} is not allowed, use {BLOCKS[0]} to {BLOCKS[1]} frames")
        self._block = None if block is None else int(block)

    def __setattr__(self, name: str, value: Any) -> None:
        # A mistyped name, or a parameter of a plugin, must not become an attribute that nothing reads.
        known = name.startswith("_") or hasattr(type(self), name)
        if not known and not any(name in vars(c).get("__annotations__", {}) for c in type(self).__mro__):
            owner = next((s.name for s in self.slots if name in s.params()), None)
            hint = f"; set chain[{owner!r}].{name}" if owner else near(name, ["title", "sample_rate", "block"])
            raise AttributeError(f"a Chain has no attribute {name!r}{hint}")
        super().__setattr__(name, value)

    def _part(self, slots: list[Slot]) -> Chain:
        part = Chain(title=self.title, sample_rate=self.sample_rate, block=self.block)
        part._slots = [Slot(s.plugin, s.name, s.bypass) for s in slots]
        return part

    # ---- engines -----------------------------------------------------------------------------

    def attach(self, engine: _native.Engine, *, live: bool = True) -> Link:
        """Fills an empty engine with this chain and keeps it in step until `detach`.

        With `live`, plugins from elsewhere run on worker threads, late by their own latency, one
        hop and one maximal block.
        """
        if engine.slots():
            raise CspaceError("this engine has processors already; attach a chain to an empty engine")
        with self._edits:
            before = [(s, s.bypass) for s in self._slots]
            link = Link(engine, self._slots, live=live)
            with self._switches:
                for slot, was in before:
                    if slot.bypass != was:  # switched while the engine was filled
                        link.bypass(slot, slot.bypass)
                if live and self._all_bypassed:
                    link.bypass_all(True)
                self._links.append(link)
        return link

    def link(self, engine: _native.Engine) -> Link | None:
        """What follows this chain in an engine; None if nothing does."""
        return next((k for k in self._links if k.engine is engine), None)

    def detach(self, engine: _native.Engine) -> None:
        """Stops following: later edits stay out of the engine, which plays on as it is."""
        with self._edits:
            for link in [k for k in self._links if k.engine is engine]:
                self._links.remove(link)
                link.close()

    def offline(self, sample_rate: float, channels: int, max_block: int = MAX_BLOCK) -> Link:
        """A new engine with a copy of this chain, unaffected by later edits. `close()` it after use.

        Raises CspaceError while a plugin from elsewhere plays live: there is only one of it, and it
        cannot play two sounds.
        """
        return self._offline(list(self._slots), sample_rate, channels, max_block)

    def _offline(self, slots: list[Slot], sample_rate: float, channels: int, max_block: int = MAX_BLOCK) -> Link:
        self._check_offline(channels)
        engine = _native.Engine(check_rate(sample_rate), channels, max_block)
        return Link(engine, slots, live=False, bind=False)

    def _check_offline(self, channels: int) -> None:
        if any(link.has_workers for link in self._links):
            raise CspaceError("a plugin of this chain that is not native plays live; stop the stream first")
        if not 1 <= channels <= MAX_CHANNELS:
            raise AudioError(f"{channels} channels cannot be processed, use 1 to {MAX_CHANNELS}")

    def parts(
        self, sample_rate: float, channels: int, max_block: int = MAX_BLOCK, events: Sequence[Event] = ()
    ) -> PartSequence:
        """A copy of this chain for one sound fed piece by piece, its delays taken out. `close()` it after use.

        Plugins from elsewhere are called in it as alone. `events` are parameter moves, sorted by time.
        """
        self._check_offline(channels)
        return PartSequence(self._slots, check_rate(sample_rate), channels, max_block, events)

    def check(self, plugins: Chain, away: tuple[float, int] | None = None) -> None:
        """Raises CspaceError if the processors of another chain could not play where this one does.

        `away` is the rate and the channels it is going to play at where nothing plays it at present.
        """
        playing = [(link.engine.sample_rate, link.engine.channels) for link in self._attached[:1]]
        for rate, channels in playing or ([] if away is None else [away]):
            Link(_native.Engine(rate, channels), plugins._slots, live=False, bind=False).close()

    @property
    def _attached(self) -> list[Link]:
        """The engines that follow this chain, those of devices first."""
        return sorted(self._links, key=lambda link: not link.live)

    @property
    def wanted_rate(self) -> float | None:
        """The rate in Hz to run at where nobody asks for another: `sample_rate`, else that of a hosted model."""
        models = (s.plugin.manifest.sample_rate for s in self._slots if isinstance(s.plugin, HostedPlugin))
        return next(models, None) if self.sample_rate is None else self.sample_rate

    @property
    def latency_samples(self) -> int:
        """Delay from input to output; of the attached engine if there is one."""
        return self._sum("latency_samples")

    @property
    def tail_samples(self) -> int:
        """How long sound may go on after the input ends."""
        return self._sum("tail_samples")

    def _sum(self, what: str) -> int:
        with self._edits:
            slots, live = list(self._slots), next((k.engine for k in self._attached), None)
        foreign = [s.plugin for s in slots if s.native is None]
        if live is None and foreign:
            with self._calls.lock:  # asking a plugin from elsewhere may disturb its sound
                if self._stream is not None and self._stream.holds(slots):
                    live = self._stream.engine
        if live is not None:
            return int(getattr(live, what))
        own = sum(int(getattr(s.native, what)) for s in slots if s.native is not None)
        with held(foreign):
            return own + foreign_figures(slots, 48_000.0 if self.sample_rate is None else self.sample_rate)[what]

    # ---- audio -------------------------------------------------------------------------------

    def process(
        self,
        audio: Any,
        sample_rate: float,
        buffer_size: int = 8192,
        reset: bool = True,
        compensate: bool | None = None,
    ) -> NDArray[np.float32]:
        """Runs audio through the chain: native plugins in the engine that also plays live, others as alone.

        Parameters
        ----------
        audio : floating point [shape=(channels, frames) or (frames,)]
        sample_rate : 8,000 to 192,000 Hz
        buffer_size : frames handed to the engine at once; the samples do not depend on it
        reset : start from silence. False goes on where the last call ended, for streams in pieces;
            edits of the list, bypass and settings in between are cross-faded; with plugins from
            elsewhere an edit of the list starts from silence. Another rate or number
            of channels starts from silence in any case.
        compensate : True moves the output back by `latency_samples`, so that sound is where it was
            in the input; its last `latency_samples` are made as if silence followed. False is the
            stream as it comes, late by that, the same samples however it is cut. None is True for
            `reset=True`, and for `reset=False` what the call before had (False if there was none).

        Returns
        -------
        float32, same shape. What a stream begun with `reset=True` gives at its seams, and what a
        CspaceWarning tells of: see `cspace.plugins.NativePlugin.process`.
        """
        x, mono = as_audio(audio)
        size, rate = check_buffer(buffer_size), check_rate(sample_rate)
        x, bad = without_bad(x)
        with self._edits:
            slots = list(self._slots)
        foreign = [s.plugin for s in slots if s.native is None]
        if reset and not foreign:  # an engine of its own, so whole calls need not wait for each other
            calls, stream = Calls(), self._new_stream(slots, rate, x.shape[0])
            calls.begin(reset, compensate)
            y, faults = _run(calls, stream, x, size)
            with self._calls.lock:
                self._end_stream()
                self._stream, self._calls.aligned = stream, calls.aligned
        else:
            with self._calls.lock, held(foreign):
                y, faults = self._with_foreign(slots, x, rate, size, reset, compensate)
        tell("chain", bad, faults)
        return y[0] if mono else y

    __call__ = process

    def reset(self) -> None:
        """Forgets the sound of the calls so far."""
        with self._calls.lock:
            self._end_stream()
            self._calls.aligned = False

    def _with_foreign(
        self, slots: list[Slot], x: NDArray[np.float32], rate: float, size: int, reset: bool, compensate: bool | None
    ) -> tuple[NDArray[np.float32], dict[str, int]]:
        """A call that may have to wait for plugins from elsewhere: part after part where sound belongs to its place."""
        parts, channels = self._parts, x.shape[0]
        if reset and compensate is not False:
            self._end_stream()
            self._check_offline(channels)
            parts = self._parts = CallParts(slots, rate, channels, MAX_BLOCK)
        elif reset or compensate is False or parts is None or not parts.fits(slots, rate, channels):
            stream = self._going_on(rate, channels, reset)
            self._calls.begin(reset, compensate)
            return _run(self._calls, stream, x, size)
        self._calls.begin(reset, compensate)
        before = parts.faults()
        y = parts.call(x, size)
        return y, {name: n - before.get(name, 0) for name, n in parts.faults().items() if n > before.get(name, 0)}

    def _new_stream(self, slots: list[Slot], rate: float, channels: int) -> CallStream:
        settings = CallStream.settings(slots)
        return CallStream(self._offline(slots, rate, channels), slots, settings)

    def _going_on(self, rate: float, channels: int, reset: bool) -> CallStream:
        """The stream of the last call with all changes since, or a new one."""
        with self._edits:
            stream = self._stream
            if not reset and stream is not None and stream.fits(rate, channels) and self._joined(stream):
                return stream
            self._end_stream()
            stream = self._stream = self._new_stream(list(self._slots), rate, channels)
            if not reset:
                self._joined(stream)
            return stream

    def _joined(self, stream: CallStream) -> bool:
        """Lets a stream follow the chain; False if it cannot."""
        if stream.link not in self._links:
            try:
                if not stream.follow(self._slots):
                    return False
            except CspaceError:
                self._end_stream()
                raise
            self._links.append(stream.link)
        return True

    def _end_stream(self) -> None:
        parts, self._parts = self._parts, None
        if parts is not None:
            parts.close()
        stream, self._stream = self._stream, None
        if stream is not None:
            with self._edits:
                if stream.link in self._links:
                    self._links.remove(stream.link)
                stream.close()

    # ---- copies and pickles ------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """For pickles: plugins with names and bypass switches, title, wishes, and attributes of a subclass."""
        slots = [(written(s.plugin), s.name, s.bypass) for s in self.slots]
        return {n: v for n, v in self.__dict__.items() if n not in self._own} | {"_slots": slots}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({n: v for n, v in state.items() if n != "_slots"})
        self._begin()
        self._slots = [Slot(read_back(plugin), name, bypass) for plugin, name, bypass in state["_slots"]]

    def __copy__(self: AnyChain) -> AnyChain:
        new = type(self).__new__(type(self))
        state = self.__getstate__()
        # Plugins from elsewhere keep sound where they like, so only a deep copy shares none.
        twins = [(copy.copy(p) if isinstance(p, NativePlugin) else copy.deepcopy(p), *s) for p, *s in state["_slots"]]
        new.__setstate__({**state, "_slots": twins})
        return new

    def __deepcopy__(self: AnyChain, memo: dict[int, Any]) -> AnyChain:
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return new


def _run(
    calls: Calls, stream: CallStream, x: NDArray[np.float32], size: int
) -> tuple[NDArray[np.float32], dict[str, int]]:
    """One piece, and the processors muted in it."""
    before = stream.faults()
    y = calls.run(stream, x, size)
    return y, {name: n - before.get(name, 0) for name, n in stream.faults().items() if n > before.get(name, 0)}
