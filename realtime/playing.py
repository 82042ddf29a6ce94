"""What plays for a stream: engine, chain and device together. It ends with the stream, however that ends.

A `Stream` may be dropped, its program may end or fail: nothing here refers to it, so that threads do
not keep it alive, and what plays is closed in its place. Thread: control.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Protocol

from .errors import CspaceError

if TYPE_CHECKING:
    from .._native import Engine
    from .chain import Chain
    from .link import Link

_log = logging.getLogger("cspace")
_open: set[Playing] = set()  # closed at the interpreter's end


class Player(Protocol):
    """A device that drives an engine, in any of its kinds."""

    def start(self) -> None:
        """Starts the sound."""

    def close(self) -> None:
        """Stops it; idempotent."""


class Playing:
    """An engine with a chain in it, and soon the device that drives it."""

    def __init__(self, chain: Chain, engine: Engine, link: Link):
        self.engine = engine
        self.link = link
        self.device: Player | None = None
        self._chain = chain
        self._lock = threading.RLock()
        self._closed = False
        _open.add(self)

    def close(self) -> None:
        """Stops the device, completes its file, lets go of the chain. Idempotent.

        A close that was interrupted goes on where it was. In a forked child it does nothing: device and
        file are its parent's. Raises TakeError if the file could not be written to its end.
        """
        with self._lock:
            if self._closed or self not in _open:
                return
            try:
                if self.device is not None:
                    self.device.close()
            except CspaceError:  # closed, and something is to be told
                self._let_go()
                raise
            self._let_go()

    def _let_go(self) -> None:
        self._closed = True
        _open.discard(self)
        self._chain.detach(self.engine)

    def dropped(self) -> None:
        """The stream is gone without being closed: nobody is there to hear of errors."""
        here = getattr(self.device, "here", None)
        if here is not None and here():
            # Collected on a thread that the device itself waits for.
            threading.Thread(target=self._close_quietly, name="cspace-close").start()
        else:
            self._close_quietly()

    def _close_quietly(self) -> None:
        try:
            self.close()
        except CspaceError as e:
            _log.error("%s", e)


def _close_all() -> None:
    for playing in [*_open]:
        with contextlib.suppress(Exception):  # the others are closed all the same
            playing._close_quietly()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open.clear)
