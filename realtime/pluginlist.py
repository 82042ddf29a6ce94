"""A list of plugins with names and bypass switches, whose edits reach every live engine or none.

Thread: control.
"""

from __future__ import annotations

import contextlib
import operator
import threading
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from .errors import CspaceError, ParameterError, near
from .linkedit import edit_all
from .slot import Slot, alike, check_plugin, free_name, type_name, usual_name

if TYPE_CHECKING:
    from .chain import Chain
    from .link import Link

AnyList = TypeVar("AnyList", bound="PluginList")


class PluginList(MutableSequence[Any]):
    """The list that a `Chain` is."""

    def _begin_list(self) -> None:
        self._slots: list[Slot] = []
        self._links: list[Link] = []  # to engines that follow the list
        self._all_bypassed = False
        self._edits = threading.RLock()  # held while the list or the live engines change
        self._switches = threading.RLock()  # held for one bypass at a time, never while something is built

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
        for s in self._slots:
            if s.plugin is which:
                return s
        if not isinstance(which, bool):
            with contextlib.suppress(TypeError):
                return self._slots[operator.index(which)]  # NumPy's numbers too
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
            return self._part(self._slots[which])
        return self.slot(which).plugin

    def _part(self, slots: list[Slot]) -> Chain:
        raise NotImplementedError

    def insert(self, index: int, plugin: Any, *, name: str | None = None, bypass: bool = False) -> None:
        """Puts a plugin before `index`. Raises ParameterError for a taken name or a second use."""
        with self._edits:
            self._not_twice(plugin, self._slots)
            if name in self.names:
                raise ParameterError(f"the chain has a processor {name!r} already")
            size = len(self._slots)
            index = max(0, index + size) if index < 0 else min(index, size)
            made = self._made(plugin, self.names, name, bypass)
            self._become([*self._slots[:index], made, *self._slots[index:]])

    def extend(self, values: Iterable[Any]) -> None:
        """Adds plugins at the end: all of them, or none if one cannot be added."""
        with self._edits:
            self[len(self._slots) :] = list(values)

    def __iadd__(self: AnyList, values: Iterable[Any]) -> AnyList:
        self.extend(values)
        return self

    def __imul__(self, times: object) -> NoReturn:
        raise ParameterError("a chain cannot be repeated, since a plugin can be in it once; use copy.copy of each")

    @overload
    def __setitem__(self, which: int | str, value: Any) -> None: ...
    @overload
    def __setitem__(self, which: slice, value: Iterable[Any]) -> None: ...
    def __setitem__(self, which: int | str | slice, value: Any) -> None:
        with self._edits:
            if isinstance(which, slice):
                self._set_slice(which, list(value))
                return
            old = self.slot(which)
            order = list(self._slots)
            here = order.index(old)
            there = next((i for i, s in enumerate(order) if s.plugin is value), None)
            if there is not None:  # the two change places
                order[here], order[there] = order[there], order[here]
            else:
                order[here] = self._in_place_of(old, value, [s.name for s in order if s is not old])
            self._become(order)

    def _set_slice(self, which: slice, plugins: list[Any]) -> None:
        """Plugins that are there keep their names and bypass switches wherever they come to stand."""
        places = range(len(self._slots))[which]
        if which.step in (None, 1):
            places = range(places.start, max(places.start, places.stop))
        elif len(places) != len(plugins):
            raise ParameterError(f"{len(plugins)} plugins do not fit in the {len(places)} places of this slice")
        leaving = [self._slots[i] for i in places]
        stay = [s for s in self._slots if s not in leaving]
        found: dict[int, Slot] = {id(s.plugin): s for s in leaving}
        names = [s.name for s in stay] + [found[id(p)].name for p in plugins if id(p) in found]
        new: list[Slot] = []
        for p in plugins:
            self._not_twice(p, [*stay, *new])
            new.append(found.get(id(p)) or self._made(p, names))
            names.append(new[-1].name)
        order = list(self._slots)
        if which.step in (None, 1):
            order[places.start : places.stop] = new
        else:
            for i, slot in zip(places, new, strict=True):
                order[i] = slot
        self._become(order)

    def __delitem__(self, which: int | str | slice) -> None:
        with self._edits:
            gone = self._slots[which] if isinstance(which, slice) else [self.slot(which)]
            self._become([s for s in self._slots if s not in gone])

    def clear(self) -> None:
        """Takes every plugin out."""
        del self[:]

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """The place of a plugin: of this very object, else of the first that equals it. Raises ValueError."""
        places = range(len(self._slots))[start:stop]
        plugins = [s.plugin for s in self._slots]
        found = [i for i in places if plugins[i] is value] or [i for i in places if plugins[i] == value]
        if found:
            return found[0]
        raise ParameterError(f"{value!r} is not in the chain")

    def reverse(self) -> None:
        """Turns the order round."""
        with self._edits:
            self._become(self._slots[::-1])

    def sort(self, *, key: Callable[[Any], Any], reverse: bool = False) -> None:
        """Orders the plugins by `key(plugin)`, as `list.sort`."""
        with self._edits:
            self._become(sorted(self._slots, key=lambda s: key(s.plugin), reverse=reverse))

    def become(self, other: PluginList) -> None:
        """Takes over the plugins, names and bypass switches of another list, in one edit."""
        with self._edits:
            self._become([Slot(s.plugin, s.name, s.bypass) for s in other.slots])

    def move(self, which: int | str | Any, index: int) -> None:
        """Gives a plugin another place: the one it will have in the list afterwards."""
        with self._edits:
            slot = self.slot(which)
            if not 0 <= index < len(self._slots):
                raise ParameterError(f"place {index} is not allowed, use 0 to {len(self._slots) - 1}")
            order = [s for s in self._slots if s is not slot]
            order.insert(index, slot)
            self._become(order)

    @staticmethod
    def _not_twice(plugin: Any, slots: Iterable[Slot]) -> None:
        if any(s.plugin is plugin for s in slots):
            raise ParameterError(f"{plugin!r} is in the chain already; use copy.copy of it for a second one")

    @staticmethod
    def _made(plugin: Any, taken: Iterable[str], name: str | None = None, bypass: bool = False) -> Slot:
        check_plugin(plugin)
        return Slot(plugin, free_name(usual_name(plugin), taken) if name is None else name, bypass)

    def _in_place_of(self, old: Slot, plugin: Any, others: list[str]) -> Slot:
        """A slot for a plugin that comes where another was: one of the same type takes its name over."""
        check_plugin(plugin)
        return self._made(plugin, others, old.name if type_name(plugin) == old.type_name else None, old.bypass)

    def _become(self, slots: list[Slot]) -> None:
        """Every edit of the list: made in all live engines, or nowhere."""
        edit_all(self._links, self._slots, slots)
        self._slots = slots

    def bypass(self, which: int | str | Any, on: bool = True) -> None:
        """Lets sound pass by a plugin, at the same latency; cross-faded. Never waits for an edit."""
        slot = self.slot(which)
        with self._switches:
            before, slot.bypass = slot.bypass, bool(on)  # first: an engine that is being filled looks here
            done: list[Link] = []
            try:
                for link in list(self._links):
                    link.bypass(slot, bool(on))
                    done.append(link)
            except CspaceError:
                slot.bypass = before
                for link in done:
                    link.bypass(slot, before)
                raise

    def bypass_all(self, on: bool = True) -> None:
        """Lets sound pass by all plugins of the engines that play live, at the same latency; cross-faded.

        A state of its own: each plugin's own switch stays as it is, and holds again afterwards. It is
        not part of chain files, and nothing rendered offline heeds it.
        """
        with self._switches:
            self._all_bypassed = bool(on)
            for link in list(self._links):
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
        if not isinstance(other, PluginList):
            return NotImplemented
        mine, theirs = self._slots, other._slots
        return [(s.name, s.bypass) for s in mine] == [(s.name, s.bypass) for s in theirs] and all(
            alike(a.plugin, b.plugin) for a, b in zip(mine, theirs, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Chain([{', '.join(map(repr, self))}])"
