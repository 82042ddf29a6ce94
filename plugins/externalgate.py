"""One at a time inside a plugin from elsewhere, and values that come while somebody is.

Such plugins are not made for several threads: one that is set while another thread is in its `process`
may take the process down. So whoever calls one holds its gate, and who sets a parameter never waits for
that: the value is left here, and the one inside sets it before it goes on. Thread: any.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

_log = logging.getLogger(__name__)


class Gate:
    """The gate of one plugin."""

    def __init__(self, plugin: Any):
        self.plugin = plugin  # held, so that no other plugin gets its id as long as there is the gate
        self._inside = threading.RLock()
        self._guard = threading.Lock()
        self._left: dict[str, tuple[Any, Callable[[], None]]] = {}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else is inside; what was left before is set, and what is left meanwhile will be."""
        try:
            with self._inside:
                self._set_what_was_left()
                yield
        finally:
            self._settle()

    def set(self, name: str, value: Any, put: Callable[[], None], check: Callable[[], None]) -> None:
        """Calls `put` at once if nobody is inside; else `check`, and leaves `put` to the one inside.

        The last value of a parameter wins. What `put` or `check` raises is passed on.
        """
        if self._inside.acquire(blocking=False):
            try:
                self._set_what_was_left()
                put()
            finally:
                self._inside.release()
        else:
            check()
            with self._guard:
                self._left.pop(name, None)
                self._left[name] = (value, put)
        self._settle()

    def left(self) -> dict[str, Any]:
        """The values that are not set yet."""
        with self._guard:
            return {name: value for name, (value, _) in self._left.items()}

    def _settle(self) -> None:
        """Sets what is left unless somebody is inside, who does it then."""
        while self._left and self._inside.acquire(blocking=False):
            try:
                self._set_what_was_left()
            finally:
                self._inside.release()

    def _set_what_was_left(self) -> None:
        while True:
            with self._guard:
                name, first = next(iter(self._left.items()), ("", None))
            if first is None:
                return
            try:
                first[1]()
            except Exception:  # of a range that the plugin does not declare; it keeps its value
                _log.debug("%s was not taken", name, exc_info=True)
            with self._guard:  # only now, so that whoever reads finds it there or in the plugin
                if self._left.get(name) is first:
                    del self._left[name]


_gates: WeakValueDictionary[int, Gate] = WeakValueDictionary()
_gates_guard = threading.Lock()


def gate_of(plugin: Any) -> Gate:
    """The gate of a plugin; there is one as long as somebody uses it."""
    with _gates_guard:
        gate = _gates.get(id(plugin))
        if gate is None:
            gate = _gates[id(plugin)] = Gate(plugin)
        return gate


__all__ = ["Gate", "gate_of"]
