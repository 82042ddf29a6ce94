"""The thread that runs plugins from elsewhere beside a live engine."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .externalstage import External

if TYPE_CHECKING:
    from .._native import Worker

_log = logging.getLogger(__name__)


class WorkerThread:
    """Serves one live slot: takes hops of input, runs the stage, gives hops back in step."""

    def __init__(self, worker: Worker, external: External):
        self.worker = worker
        self.external = external
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"cspace-{external.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        begun_before = False  # the next hop began before a panic
        while not (self._stop.is_set() or self.worker.closed):
            x = self.worker.pull(0.1)
            if self.external.forgotten():
                begun_before = True
                while x is not None:  # it came before, be it ever so much that a slow plugin let wait
                    self._push(self.external.skip(x))
                    x = self.worker.pull(0.0)
            elif x is not None:
                self._push(self.external.skip(x) if begun_before else self.external.work(x))
                begun_before = False

    def _push(self, hops: list[NDArray[np.float32]]) -> None:
        try:
            for hop in hops:
                self.worker.push(hop)
        except RuntimeError:  # nobody takes the results: the stream stands still
            _log.debug("%s: results were not taken", self.external.name)

    def stop(self) -> None:
        """Ends the thread after the block it is at."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)


__all__ = ["WorkerThread"]
