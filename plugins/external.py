"""Plugins from elsewhere in the same chain: pedalboard's own effects and VST3 files.

They are not real-time safe, so they never run on the audio thread: offline they run inside the
block loop, live on a worker thread of their own, at a stated extra latency.

pedalboard is GPLv3 and therefore an optional extra: `pip install 'cspace[pedalboard]'`.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ._audio import check_rate
from ._errors import CspaceError, MissingExtraError, ParameterError, near

if TYPE_CHECKING:
    from .._native import Worker

_log = logging.getLogger(__name__)
HOP = 512  # frames per call. Constant: pedalboard prepares, and so clears, a plugin whose call size changes
_PROBE_SECONDS = 2.0


def require_pedalboard() -> Any:
    """The pedalboard module, or MissingExtraError that says how to get it."""
    try:
        return importlib.import_module("pedalboard")
    except ImportError as e:
        raise MissingExtraError(
            f"this needs pedalboard ({e}); install it with: pip install 'cspace[pedalboard]'"
        ) from None


def pedalboard_class(name: str) -> type:
    """The effect class of pedalboard called `name`, as in chain files. Raises ParameterError."""
    module = require_pedalboard()
    known = sorted(
        n
        for n, c in vars(module).items()
        if isinstance(c, type) and issubclass(c, module.Plugin) and c is not module.Plugin
    )
    if name not in known:
        raise ParameterError(f"pedalboard has no effect {name!r}{near(name, known)}")
    return getattr(module, name)  # type: ignore[no-any-return]


def load_vst3(path: str | Path, plugin_name: str | None = None, **parameters: Any) -> Any:
    """Loads a VST3 file as a pedalboard plugin. Raises ParameterError naming file and reason."""
    module = require_pedalboard()
    if not Path(path).exists():
        raise ParameterError(f"there is no VST3 file {str(path)!r}")
    try:
        # Loading a file built with -ffast-math turns denormals off for the whole thread.
        return _native.keep_float_mode(
            lambda: module.load_plugin(str(path), parameter_values=parameters, plugin_name=plugin_name)
        )
    except (ImportError, ValueError, RuntimeError, AttributeError) as e:
        raise ParameterError(f"VST3 file {str(path)!r} cannot be used: {e}") from None


def is_external(plugin: Any) -> bool:
    """Whether `plugin` has pedalboard's `process(audio, sample_rate, buffer_size, reset)` and `reset()`."""
    return callable(getattr(plugin, "process", None)) and callable(getattr(plugin, "reset", None))


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


def external_name(plugin: Any) -> str:
    """The word for `plugin` in chain files and OSC addresses: lower case letters and digits."""
    word = str(getattr(plugin, "name", "") or type(plugin).__name__)
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in word.lower()).strip("_") or "external"


def external_params(plugin: Any) -> dict[str, float | bool | str]:
    """The settable numbers, switches and texts of a pedalboard plugin by name, with their values."""
    listed = getattr(plugin, "parameters", None)
    names = (
        list(listed)
        if listed is not None
        else [n for n in dir(type(plugin)) if not n.startswith("_") and isinstance(getattr(type(plugin), n), property)]
    )
    out: dict[str, float | bool | str] = {}
    for name in names:
        prop = getattr(type(plugin), name, None)
        if isinstance(prop, property) and prop.fset is None:
            continue
        try:
            value = getattr(plugin, name)
        except Exception:  # a property of a foreign plugin may fail in any way; it is then left out
            continue
        if hasattr(value, "name") and not isinstance(value, (int, float, str)):
            value = value.name  # an enum, as in LadderFilter.mode
        if isinstance(value, (bool, int, str)):
            out[name] = value
        elif isinstance(value, float) or hasattr(value, "__float__"):
            out[name] = float(f"{float(value):.7g}")  # these are float32 inside: 0.3, not 0.30000001192
    return out


def set_external(plugin: Any, name: str, value: Any) -> None:
    """Sets a parameter of a pedalboard plugin. Raises ParameterError for a wrong name or value."""
    known = external_params(plugin)
    if name not in known:
        raise ParameterError(f"{external_name(plugin)} has no parameter {name!r}{near(name, known)}")
    current = getattr(plugin, name)
    if isinstance(value, str) and not isinstance(current, str) and hasattr(type(current), "__members__"):
        members = type(current).__members__
        if value not in members:
            raise ParameterError(f"{external_name(plugin)}.{name} = {value!r} is not allowed, use {', '.join(members)}")
        value = members[value]
    elif isinstance(value, float) and not np.isfinite(value):
        raise ParameterError(f"{external_name(plugin)}.{name} = {value} is not allowed")
    try:
        setattr(plugin, name, value)
    except TypeError:
        raise ParameterError(f"{external_name(plugin)}.{name} cannot be set to {value!r}") from None
    except (ValueError, AttributeError, RuntimeError) as e:
        reason = str(e).split("\n")[0]
        raise ParameterError(f"{external_name(plugin)}.{name} = {value!r} is not allowed: {reason}") from None


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


__all__ = [
    "ExactFifo",
    "External",
    "WorkerThread",
    "external_name",
    "external_params",
    "is_external",
    "load_vst3",
    "pedalboard_class",
    "require_pedalboard",
    "set_external",
]
