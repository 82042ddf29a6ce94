"""The thread that loads VST3 files: pedalboard loads them on the thread that loaded the first one, and on no other.

That is the thread that opened a chain file with such a plugin. A preset that OSC asks for is loaded beside
it, so its plugins are handed over: to whoever calls `serve` now and then, inside `serving`. Thread: any.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from typing import Any

from ._errors import ParameterError

WAIT_S = 20.0

_guard = threading.Lock()
_waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
_serves: threading.Thread | None = None


@contextlib.contextmanager
def serving() -> Iterator[None]:
    """Inside, this thread calls `serve` at least every second; what still waits at the end is refused."""
    global _serves
    with _guard:
        _serves = threading.current_thread()
    try:
        yield
    finally:
        with _guard:
            _serves = None
            while _waiting:
                _waiting.popleft()[0].cancel()


def serve() -> None:
    """Does what other threads have handed over."""
    while True:
        with _guard:
            if not _waiting:
                return
            future, run = _waiting.popleft()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(run())
            except Exception as e:  # the thread that waits raises it
                future.set_exception(e)


def run_there(run: Callable[[], Any]) -> Any:
    """What `run` gives, done by the thread that serves; by this one if none does. Raises what it raises."""
    with _guard:
        if _serves in (None, threading.current_thread()):
            future = None
        else:
            future = Future[Any]()
            _waiting.append((future, run))
    if future is None:
        return run()
    try:
        return future.result(WAIT_S)
    except NotInTime:
        if not future.cancel():
            return future.result()  # it has begun
        raise ParameterError("a VST3 file was not loaded: the thread that loads them is busy") from None
