"""What takes long, one after the other, beside the thread that asks for it.

Building a processor anew can take seconds, loading a preset too. Jobs are done in the order in which
they came; a newer one with the key of one that still waits takes its place, so that a fader over a
set-up parameter builds for where it stands and not for where it was. Thread: any.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

MAX_WAITING = 256


class _Job(NamedTuple):
    key: str
    run: Callable[[], None]
    fence: bool  # what came before it is never left out for what comes after it
    scene: bool  # which processors there are after it is not known before
    behind: bool = False  # it came while a scene was on its way


class Builder:
    """One thread that works off a queue."""

    def __init__(self) -> None:
        # An executor's thread is waited for at the interpreter's end: one that is inside the core
        # when the interpreter goes away would take the process down with it.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="cspace-build")
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._runs: _Job | None = None
        self._working = False
        self._closed = False

    def add(self, key: str, run: Callable[[], None], *, fence: bool = False, scene: bool = False) -> bool:
        """Queues a job; False if too many wait. `run` must not raise.

        A job takes the place of a waiting one with its key, unless a fence lies between them.
        """
        with self._changed:
            if self._closed:
                return False
            self._drop_older(key)
            if len(self._waiting) >= MAX_WAITING:
                return False
            if not self._working:
                try:
                    self._pool.submit(self._work)
                except RuntimeError:  # the interpreter ends
                    return False
                self._working = True
            self._waiting.append(_Job(key, run, fence or scene, scene, self._settling()))
        return True

    def _drop_older(self, key: str) -> None:
        for i in range(len(self._waiting) - 1, -1, -1):
            if self._waiting[i].key == key:
                del self._waiting[i]
                return
            if self._waiting[i].fence:
                return

    @property
    def idle(self) -> bool:
        """Nothing runs or waits."""
        return not self._working

    @property
    def scene(self) -> bool:
        """A scene runs or waits."""
        with self._changed:
            return any(j.scene for j in self._waiting) or (self._runs is not None and self._runs.scene)

    @property
    def settling(self) -> bool:
        """A scene runs or waits, or something that came while one did: what comes now goes behind it."""
        with self._changed:
            return self._settling()

    def _settling(self) -> bool:
        jobs = [*self._waiting] if self._runs is None else [self._runs, *self._waiting]
        return any(j.scene or j.behind for j in jobs)

    def wait(self, timeout_s: float) -> bool:
        """Waits until nothing runs or waits; False on time-out."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._working, timeout_s)

    def close(self) -> None:
        """Drops what waits; what runs cannot be stopped, and ends by itself. Idempotent."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
        self._pool.shutdown(wait=False)

    def _work(self) -> None:
        while True:
            with self._changed:
                ends = not threading.main_thread().is_alive()  # the interpreter waits for this thread
                if ends or not self._waiting:
                    self._runs, self._working = None, False
                    self._waiting.clear()
                    self._changed.notify_all()
                    return
                self._runs = self._waiting.popleft()
            with contextlib.suppress(Exception):
                self._runs.run()
