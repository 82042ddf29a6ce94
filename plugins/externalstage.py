"""How plugins from elsewhere run in a chain.

They are not real-time safe, so they never run on the audio thread: offline they run inside the
block loop, live on a worker thread of their own, at a stated extra latency.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ._audio import check_rate
from ._errors import CspaceError, ParameterError
from .external import external_name, is_external

if TYPE_CHECKING:
    from .._native import Worker

_log = logging.getLogger(__name__)
HOP = 512  # frames per call. Constant: pedalboard prepares, and so clears, a plugin whose call size changes
_PROBE_SECONDS = 2.0


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


class External:
    """A pedalboard-like plugin as a stage that gives back as many samples as it gets.

    It is always called with `hop` frames, so its output does not depend on the blocks around it.
    `latency_samples` is one hop plus what the plugin was seen to withhold with `reset=False`, found
    by probing with silence. pedalboard takes out the latency that a plugin reports by withholding
    it; a delay that a plugin does not report cannot be known.

    Thread: control or the worker; one at a time.
    """

    def __init__(self, plugin: Any, sample_rate: float, channels: int, hop: int = HOP):
        if not is_external(plugin):
            raise ParameterError(
                f"a {type(plugin).__name__} is not a plugin: it needs process(audio, sample_rate, buffer_size, "
                "reset) and reset()"
            )
        self.plugin = plugin
        self.sample_rate = check_rate(sample_rate)
        self.channels = channels
        self.hop = hop
        self.faults = 0
        self.withheld = self._probe()
        self._fifo = ExactFifo(self._raw, channels, hop, self.withheld)
        self._ready = np.zeros((channels, 0), np.float32)

    def live_latency(self, max_block: int) -> int:
        """Delay in samples on a worker thread.

        What the plugin withholds in whole hops, one hop to collect, one hop of time for the work
        itself, and one block.
        """
        return -(-self.withheld // self.hop) * self.hop + 2 * self.hop + max_block

    def work(self, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """One hop in; the hops that are complete now, in step with the input: none, one or more."""
        try:
            made = self._raw(x)
        except CspaceError:  # the stream must go on
            if self.faults == 0:
                _log.exception("%s failed; its input passes on", self.name)
            self.faults += 1
            made = x
        ready = np.concatenate([self._ready, made], axis=1)
        whole = ready.shape[1] // self.hop
        self._ready = ready[:, whole * self.hop :]
        return [np.ascontiguousarray(h) for h in np.split(ready[:, : whole * self.hop], whole, axis=1)] if whole else []

    @property
    def latency_samples(self) -> int:
        """One hop plus what the plugin withholds."""
        return self._fifo.delay

    @property
    def name(self) -> str:
        """The word for it in tables and addresses."""
        return external_name(self.plugin)

    @property
    def tail_samples(self) -> int:
        """Unknown for these plugins; 2 s is assumed, enough for most rooms."""
        return int(2 * self.sample_rate)

    def _raw(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            made = _native.keep_float_mode(
                lambda: self.plugin.process(x, self.sample_rate, buffer_size=self.hop, reset=False)
            )
            y = np.asarray(made, np.float32)
        except Exception as e:  # a foreign plugin may raise anything
            reason = str(e).split("\n")[0]
            raise CspaceError(
                f"{self.name} failed at {self.sample_rate:g} Hz with {self.channels} channels: {reason}"
            ) from e
        if y.size == 0:
            return x[:, :0]
        if y.ndim != 2 or y.shape[0] != x.shape[0] or y.shape[1] > x.shape[1]:
            raise CspaceError(f"{self.name} made {y.shape} of {x.shape}; an effect keeps channels and length")
        return y

    def _probe(self) -> int:
        """The most samples the plugin holds back at any time in its first two seconds."""
        silence = np.zeros((self.channels, self.hop), np.float32)
        withheld = most = 0
        self.plugin.reset()
        for i in range(max(40, int(_PROBE_SECONDS * self.sample_rate / self.hop))):
            withheld += self.hop - self._raw(silence).shape[1]
            most = max(most, withheld)
            if i >= 8 and most == 0:
                break  # withholds nothing: the usual case
        self.plugin.reset()
        return most

    def process(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, n) in and out, for any n, delayed by `latency_samples`."""
        return self._fifo.process(x)

    def reset(self) -> None:
        """Starts from silence."""
        self.plugin.reset()
        self._fifo.clear()
        self._ready = self._ready[:, :0]


class WorkerThread:
    """Serves one live slot: takes hops of input, runs the plugin, gives hops back in step.

    A plugin that raises passes its input on (delayed alike) and is counted in `external.faults`.
    """

    def __init__(self, worker: Worker, external: External):
        self.worker = worker
        self.external = external
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"cspace-{external.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not (self._stop.is_set() or self.worker.closed):
            x = self.worker.pull(0.1)
            if x is None:
                continue
            try:
                for hop in self.external.work(x):
                    self.worker.push(hop)
            except RuntimeError:  # nobody takes the results: the stream stands still
                _log.debug("%s: results were not taken", self.external.name)

    def stop(self) -> None:
        """Ends the thread after the block it is at."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)
