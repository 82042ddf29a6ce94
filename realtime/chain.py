"""The chain: a list of plugins that sound passes through in order.

Offline it runs in the same engine that plays live, so a render equals the live output. Thread:
control, for everything here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..plugins._audio import MAX_CHANNELS, as_audio, check_buffer, check_rate
from ..plugins._hosted import HostedPlugin
from .errors import AudioError, CspaceError, ParameterError, near
from .link import Link, foreign_figures
from .slot import Slot, free_name, type_name, usual_name

MAX_BLOCK = 1024  # of offline engines; longer buffers are cut to it


class Chain(MutableSequence[Any]):
    """An ordered list of plugins: native ones and `pedalboard` ones side by side.

    >>> from cspace.realtime import Chain
    >>> from cspace.plugins import Eq, Gain
    >>> chain = Chain([Eq(low_gain_db=3.0), Gain(gain_db=-3.0)])
    >>> y = chain(x, sample_rate=48_000)  # x : float32 [shape=(channels, frames)]

    Each plugin has a unique name, used in OSC addresses and chain files: its type, with a number
    from the second on (`eq`, `eq2`); `chain["eq2"]` finds it. While a live engine is attached,
    every edit of the list is made there too, with a cross-fade of 10 ms.

    Parameters
    ----------
    plugins : what to start with
    title : shown to people
    sample_rate : the rate in Hz the chain wants to run at, None for that of the audio
    block : the live block size in frames the chain wants, None for the host's choice
    """

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
        self._slots: list[Slot] = []
        self._links: list[Link] = []
        self._all_bypassed = False
        self._stream: Link | None = None  # the offline engine that process(reset=False) goes on with
        for plugin in plugins:
            self.append(plugin)

    # ---- the list ----------------------------------------------------------------------------

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Plugins with their names and bypass switches, in order."""
        return tuple(self._slots)

    @property
    def names(self) -> list[str]:
        """The unique names, in order."""
        return [s.name for s in self._slots]

    def slot(self, which: int | str | Any) -> Slot:
        """The slot at an index, under a name, or of a plugin object. Raises ParameterError or IndexError."""
        if isinstance(which, str):
            for s in self._slots:
                if s.name == which:
                    return s
            known = f"; it has {', '.join(self.names)}" if self._slots else "; it is empty"
            raise ParameterError(f"the chain has no processor {which!r}{near(which, self.names) or known}")
        if isinstance(which, int):
            return self._slots[which]
        for s in self._slots:
            if s.plugin is which:
                return s
        raise ParameterError(f"{which!r} is not in the chain")

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Any]:
        return iter([s.plugin for s in self._slots])

    @overload
    def __getitem__(self, which: int | str) -> Any: ...
    @overload
    def __getitem__(self, which: slice) -> Chain: ...
    def __getitem__(self, which: int | str | slice) -> Any:
        if isinstance(which, slice):
            part = Chain(title=self.title, sample_rate=self.sample_rate, block=self.block)
            for s in self._slots[which]:
                part.insert(len(part), s.plugin, name=s.name, bypass=s.bypass)
            return part
        return self.slot(which).plugin

    def insert(self, index: int, plugin: Any, *, name: str | None = None, bypass: bool = False) -> None:
        """Puts a plugin before `index`. Raises ParameterError for a taken name or a second use."""
        if any(s.plugin is plugin for s in self._slots):
            raise ParameterError(f"{plugin!r} is in the chain already; use copy.copy of it for a second one")
        if name in self.names:
            raise ParameterError(f"the chain has a processor {name!r} already")
        size = len(self._slots)
        index = max(0, index + size) if index < 0 else min(index, size)
        slot = Slot(plugin, name or free_name(usual_name(plugin), self.names), bypass)
        done: list[Link] = []
        try:
            for link in self._links:
                link.insert(index, slot)
                done.append(link)
        except CspaceError:
            for link in done:
                link.remove(slot)
            raise
        self._slots.insert(index, slot)

    @overload
    def __setitem__(self, which: int | str, value: Any) -> None: ...
    @overload
    def __setitem__(self, which: slice, value: Iterable[Any]) -> None: ...
    def __setitem__(self, which: int | str | slice, value: Any) -> None:
        if isinstance(which, slice):
            self._replace_slice(which, list(value))
            return
        old = self.slot(which)
        if value is old.plugin:
            return
        if any(s.plugin is value for s in self._slots):
            raise ParameterError(f"{value!r} is in the chain already; use copy.copy of it for a second one")
        others = [s.name for s in self._slots if s is not old]
        keeps = type_name(value) == old.type_name
        new = Slot(value, old.name if keeps else free_name(usual_name(value), others), old.bypass)
        index = self._slots.index(old)
        for link in self._links:
            link.replace(old, new, index)
        self._slots[index] = new

    def _replace_slice(self, which: slice, plugins: list[Any]) -> None:
        start, stop, step = which.indices(len(self._slots))
        if step != 1:
            raise ParameterError("a slice of a chain can only be replaced whole, without a step")
        leaving = self._slots[start : max(start, stop)]
        stay = [s.plugin for s in self._slots if s not in leaving]
        if any(p is q for p in plugins for q in stay):
            raise ParameterError("a plugin can be in the chain once only; use copy.copy of it for a second one")
        for s in leaving:
            del self[self._slots.index(s)]
        for i, p in enumerate(plugins):
            self.insert(start + i, p)

    def __delitem__(self, which: int | str | slice) -> None:
        if isinstance(which, slice):
            for s in self._slots[which]:
                del self[self._slots.index(s)]
            return
        slot = self.slot(which)
        for link in self._links:
            link.remove(slot)
        self._slots.remove(slot)

    def move(self, which: int | str | Any, index: int) -> None:
        """Gives a plugin another place: the one it will have in the list afterwards."""
        slot = self.slot(which)
        if not 0 <= index < len(self._slots):
            raise ParameterError(f"place {index} is not allowed, use 0 to {len(self._slots) - 1}")
        for link in self._links:
            link.move(slot, index)
        self._slots.remove(slot)
        self._slots.insert(index, slot)

    def bypass(self, which: int | str | Any, on: bool = True) -> None:
        """Lets sound pass by a plugin, at the same latency; cross-faded."""
        slot = self.slot(which)
        for link in self._links:
            link.bypass(slot, bool(on))
        slot.bypass = bool(on)

    def bypass_all(self, on: bool = True) -> None:
        """Lets sound pass by all plugins of the engines that play live, at the same latency; cross-faded.

        A state of its own: each plugin's own switch stays as it is, and holds again afterwards. It is
        not part of chain files, and nothing rendered offline heeds it.
        """
        self._all_bypassed = bool(on)
        for link in self._links:
            if link.live:
                link.bypass_all(self._all_bypassed)

    @property
    def all_bypassed(self) -> bool:
        """Whether `bypass_all` is on."""
        return self._all_bypassed

    def set(self, address: str, value: Any, *, time: int | None = None) -> None:
        """Sets `"eq.low_gain_db"`; `time` in samples of the live engine's clock. Raises ParameterError."""
        name, dot, param = address.partition(".")
        if not dot:
            raise ParameterError(f"{address!r} names no parameter; write processor.parameter, as in eq.low_gain_db")
        self.slot(name).set(param, value, time=time)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Chain):
            return NotImplemented
        mine = [(s.plugin, s.name, s.bypass) for s in self._slots]
        return mine == [(s.plugin, s.name, s.bypass) for s in other._slots]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Chain([{', '.join(map(repr, self))}])"

    # ---- engines -----------------------------------------------------------------------------

    def attach(self, engine: _native.Engine, *, live: bool = True) -> Link:
        """Fills an empty engine with this chain and keeps it in step until `detach`.

        With `live`, plugins from elsewhere run on worker threads, late by their own latency, one
        hop and one maximal block.
        """
        if engine.slots():
            raise CspaceError("this engine has processors already; attach a chain to an empty engine")
        link = Link(engine, self._slots, live=live)
        if live and self._all_bypassed:
            link.bypass_all(True)
        self._links.append(link)
        return link

    def link(self, engine: _native.Engine) -> Link | None:
        """What follows this chain in an engine; None if nothing does."""
        return next((k for k in self._links if k.engine is engine), None)

    def detach(self, engine: _native.Engine) -> None:
        """Stops following: later edits stay out of the engine, which plays on as it is."""
        for link in [k for k in self._links if k.engine is engine]:
            self._links.remove(link)
            link.close()

    def offline(self, sample_rate: float, channels: int, max_block: int = MAX_BLOCK) -> Link:
        """A new engine with a copy of this chain, unaffected by later edits. `close()` it after use.

        Raises CspaceError while a plugin from elsewhere plays live: there is only one of it, and it
        cannot play two sounds.
        """
        if any(link.has_workers for link in self._links):
            raise CspaceError("a plugin of this chain that is not native plays live; stop the stream first")
        if not 1 <= channels <= MAX_CHANNELS:
            raise AudioError(f"{channels} channels cannot be processed, use 1 to {MAX_CHANNELS}")
        engine = _native.Engine(check_rate(sample_rate), channels, max_block)
        return Link(engine, self._slots, live=False, bind=False)

    def check(self, plugins: Chain) -> None:
        """Raises CspaceError if the processors of another chain could not play where this one does."""
        for link in self._links[:1]:
            engine = link.engine
            Link(_native.Engine(engine.sample_rate, engine.channels), plugins._slots, live=False, bind=False).close()

    @property
    def wanted_rate(self) -> float | None:
        """The rate in Hz to run at where nobody asks for another: `sample_rate`, else that of a hosted model."""
        models = (s.plugin.manifest.sample_rate for s in self._slots if isinstance(s.plugin, HostedPlugin))
        return self.sample_rate or next(models, None)

    @property
    def latency_samples(self) -> int:
        """Delay from input to output; of the attached engine if there is one."""
        if self._links:
            return int(self._links[0].engine.latency_samples)
        return sum(self._each("latency_samples"))

    @property
    def tail_samples(self) -> int:
        """How long sound may go on after the input ends."""
        if self._links:
            return int(self._links[0].engine.tail_samples)
        return sum(self._each("tail_samples"))

    def _each(self, what: str) -> Iterator[int]:
        yield from (int(getattr(s.native, what)) for s in self._slots if s.native is not None)
        yield foreign_figures(self._slots, self.sample_rate or 48_000.0)[what]

    # ---- audio -------------------------------------------------------------------------------

    def process(
        self, audio: Any, sample_rate: float, buffer_size: int = 8192, reset: bool = True
    ) -> NDArray[np.float32]:
        """Runs audio through the chain, in the engine that also plays live.

        Parameters
        ----------
        audio : floating point [shape=(channels, frames) or (frames,)]
        sample_rate : 8,000 to 192,000 Hz
        buffer_size : frames handed to the engine at once; the samples do not depend on it
        reset : start from silence. False goes on where the last such call ended; edits in between
            are cross-faded. Another rate or number of channels starts from silence in any case.

        Returns
        -------
        float32, same shape; delayed by `latency_samples`.
        """
        x, mono = as_audio(audio)
        size = check_buffer(buffer_size)
        if reset:
            self._end_stream()
            link = self.offline(sample_rate, x.shape[0])
        else:
            link = self._stream_link(check_rate(sample_rate), x.shape[0])
        try:
            y = [link.engine.process(np.ascontiguousarray(x[:, i : i + size])) for i in range(0, x.shape[1], size)]
        finally:
            if reset:
                link.close()
        out = np.concatenate([x[:, :0], *y], axis=1)
        return out[0] if mono else out

    __call__ = process

    def reset(self) -> None:
        """Forgets the sound of `process(reset=False)`."""
        self._end_stream()

    def _stream_link(self, rate: float, channels: int) -> Link:
        s = self._stream
        if s is None or (s.engine.sample_rate, s.engine.channels) != (rate, channels):
            self._end_stream()
            s = self._stream = self.attach(_native.Engine(rate, channels, MAX_BLOCK), live=False)
        return s

    def _end_stream(self) -> None:
        if self._stream is not None:
            self.detach(self._stream.engine)
            self._stream = None
