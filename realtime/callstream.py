"""The offline engine of a chain that is called: what carries on from one call to the next.

After a whole call it is only kept. Once a call goes on with it, it follows the chain as a live engine
does; what was edited and set in between is made up for then, cross-faded. Thread: control.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plugins._alone import settings_of
from ..plugins._base import NativePlugin
from .errors import ParameterError
from .link import Link
from .linkedit import PLACES, edit
from .slot import Slot

F32 = NDArray[np.float32]


class CallStream:
    """One engine with the slots it was last brought up to.

    Parameters
    ----------
    link : an offline engine filled with `slots`, not bound to their plugins
    settings : of each slot's plugin, taken before the engine was filled
    """

    def __init__(self, link: Link, slots: Sequence[Slot], settings: dict[Slot, Any]):
        self.link = link
        self.engine = link.engine
        self._order = list(slots)
        self._settings = settings
        self._bypassed = {s: s.bypass for s in slots}

    @staticmethod
    def settings(slots: Iterable[Slot]) -> dict[Slot, Any]:
        """What the sound of each native slot depends on, as it is now."""
        return {s: _settings(s.native) for s in slots if s.native is not None}

    def fits(self, rate: float, channels: int) -> bool:
        """Whether it can go on with such sound."""
        return (self.engine.sample_rate, self.engine.channels) == (rate, channels)

    def holds(self, slots: Iterable[Slot]) -> bool:
        """Whether these are its slots, in whatever order."""
        return set(self.link.slots) == set(slots)

    def follow(self, slots: Sequence[Slot]) -> bool:
        """Takes over every change of the list and of settings, and from now on all that come.

        Raises CspaceError, and must then be closed. False, and nothing is done, for more changes than
        an engine has places: begin from silence.
        """
        leaving = [s for s in self._order if s not in slots]
        if len(leaving) + len(slots) > PLACES:
            return False
        self.link.bind()
        edit(self.link, self._order, slots)
        for s in slots:
            if self._bypassed.get(s, s.bypass) != s.bypass:
                self.link.bypass(s, s.bypass)
            native = s.native
            if s in self._settings and native is not None and not native.staged:  # a stage asks its plugin itself
                self._set(s, native)
        return True

    def _set(self, slot: Slot, native: NativePlugin) -> None:
        made, values, arrays = _settings(native)
        old_made, old_values, old_arrays = self._settings[slot]
        changed = {n: v for n, v in values.items() if v != old_values.get(n)}
        moved = {n: a for n, a in arrays.items() if a is not old_arrays.get(n)}
        place = self.link.id_of(slot)
        try:
            if made is not old_made:
                self.engine.replace(place, native._build())
            else:
                for name, data in moved.items():
                    self.engine.set_array(place, name, data)
                for name, value in changed.items():
                    self.engine.set(place, name, value)
        except (ValueError, RuntimeError) as e:
            raise ParameterError(f"{slot.name}: {e}") from None

    # ---- sound -------------------------------------------------------------------------------

    @property
    def latency_samples(self) -> int:
        """How late its output is."""
        return int(self.engine.latency_samples)

    def process(self, audio: F32) -> F32:
        """(channels, n) in and out, for any n."""
        return self.engine.process(audio)

    def ahead(self, frames: int) -> F32:
        """What comes out if silence follows.

        A plugin from elsewhere that has latency cannot be asked without hearing that silence; it then
        has a gap of its latency between two pieces, as in pedalboard itself.
        """
        try:
            return self.engine.ahead(frames)
        except RuntimeError:
            return self.engine.process(np.zeros((self.engine.channels, frames), np.float32))

    def faults(self) -> dict[str, int]:
        """Blocks muted because of NaN or Inf, by the name of the processor, ever."""
        names = {place: s.name for s, place in self.link.ids.items()}
        return {names[s["slot"]]: s["faults"] for s in self.engine.stats()["slots"] if s["slot"] in names}

    def close(self) -> None:
        """Lets go of the plugins."""
        self.link.close()

    def __del__(self) -> None:
        self.close()  # plugins that outlive their chain must not keep its engine


def _settings(native: NativePlugin) -> tuple[Any, dict[str, float], dict[str, NDArray[np.float32]]]:
    """What it is made of (another object whenever it must be built anew), parameters, arrays."""
    return (native._made_of, *settings_of(native))


# ---- plugins from elsewhere: there is one of each, whichever chains it is in -------------------

_guard = threading.Lock()
_held: dict[int, tuple[threading.RLock, int]] = {}


@contextmanager
def held(plugins: Iterable[Any]) -> Iterator[None]:
    """Keeps other threads that call chains with these plugins waiting."""
    keys = sorted({id(p) for p in plugins})  # in one order, so that no two wait for each other
    with _guard:
        for key in keys:
            lock, users = _held.get(key, (threading.RLock(), 0))
            _held[key] = (lock, users + 1)
        locks = [_held[key][0] for key in keys]
    try:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            yield
    finally:
        with _guard:
            for key in keys:
                lock, users = _held[key]
                if users == 1:
                    del _held[key]
                else:
                    _held[key] = (lock, users - 1)


__all__ = ["CallStream", "held"]
