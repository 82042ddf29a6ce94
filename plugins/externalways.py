"""How a plugin from elsewhere can be called: found by trying, not by a list.

pedalboard prepares a plugin anew at every call, and some lose their sound by that. So each class is
tried once with noise: whole against pieces. Thread: control.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ._errors import CspaceError
from .external import external_from, external_name, external_state, require_pedalboard
from .externalgate import gate_of

HOP = 512  # frames per call of what wants constant calls: a plugin whose calls grow is prepared, and so cleared
LARGEST = 8192  # frames per call at most of what takes pieces of any size; pedalboard's own default
_RAGGED = (1, 300, 1024, 2, 77, HOP)
_NOISE_S = 0.4
_PATIENCE_S = 2.5  # of silence fed after the noise until all of it must be back
_FLOOR_DB = -60.0  # bit-equal as a rule; other kernels may round. A plugin that loses sound is above -40 dB


class Way(enum.Enum):
    """In which pieces a plugin gives what it gives whole."""

    DIRECT = "pieces of any size, as many samples back as in"
    HOPS = "calls of one size; it may withhold some at first"
    WHOLE = "one call for all of the sound"


_found: dict[tuple[Any, ...], Way] = {}


def call(plugin: Any, x: NDArray[np.float32], sample_rate: float, size: int, reset: bool) -> NDArray[np.float32]:
    """`plugin.process`, checked: float32 (channels, n), n at most what came in. Raises CspaceError with its name."""
    name = external_name(plugin)
    try:
        with gate_of(plugin).alone():
            made = _native.keep_float_mode(lambda: plugin.process(x, sample_rate, buffer_size=size, reset=reset))
        y = np.asarray(made, np.float32)
    except Exception as e:  # a foreign plugin may raise anything
        reason = str(e).split("\n")[0]
        raise CspaceError(f"{name} failed at {sample_rate:g} Hz with {x.shape[0]} channels: {reason}") from e
    if y.size == 0:
        return x[:, :0]
    if y.ndim != 2 or y.shape[0] != x.shape[0] or y.shape[1] > x.shape[1]:
        raise CspaceError(f"{name} made {y.shape} of {x.shape}; an effect keeps channels and length")
    return y


def forget(plugin: Any) -> None:
    """`plugin.reset`, when nobody is inside."""
    with gate_of(plugin).alone():
        plugin.reset()


def way_of(plugin: Any, sample_rate: float, channels: int) -> Way:
    """How `plugin` may be called. Raises CspaceError for a rate or channels it does not take.

    VST3 plugins and plugins that are not pedalboard's are not tried: they get hops.
    """
    if not type(plugin).__module__.startswith("pedalboard"):
        return Way.HOPS
    module = require_pedalboard()
    if isinstance(plugin, module.ExternalPlugin):
        return Way.HOPS
    if isinstance(plugin, module.PluginContainer):
        return _container(plugin, module, sample_rate, channels)
    key = (type(plugin), sample_rate, channels)
    if key not in _found:
        _found[key] = _try(_twin(plugin), sample_rate, channels)
    return _found[key]


def _container(plugin: Any, module: Any, sample_rate: float, channels: int) -> Way:
    inner = [p for p in plugin if p is not None]
    ways = [way_of(p, sample_rate, channels) for p in inner]
    if Way.WHOLE in ways:
        return Way.WHOLE
    if all(w is Way.DIRECT for w in ways):
        return Way.DIRECT  # nothing is withheld, so nothing waits inside
    if not isinstance(plugin, module.Mix) and len(inner) == 1:
        return ways[0]
    # What waits in a container for the slowest of its plugins is lost at the next call, or not: by kind and order.
    key = (type(plugin), _kinds(plugin), sample_rate, channels)
    if key not in _found:
        _found[key] = _try(_twin(plugin), sample_rate, channels)
    return _found[key]


def _kinds(plugin: Any) -> tuple[Any, ...]:
    own = (type(plugin), getattr(plugin, "name", None))
    try:
        return (*own, *(_kinds(p) for p in plugin))
    except TypeError:  # no container
        return own


def _twin(plugin: Any) -> Any:
    """One to try with: of the class as it is made by default, whose effect is heard."""
    try:
        return type(plugin)() if not hasattr(plugin, "__iter__") else external_from(external_state(plugin))
    except (TypeError, CspaceError):
        try:
            return external_from(external_state(plugin))
        except CspaceError:
            return plugin


def _try(plugin: Any, sample_rate: float, channels: int) -> Way:
    n = int(_NOISE_S * sample_rate)
    x = np.random.default_rng(0).uniform(-0.25, 0.25, (channels, n)).astype(np.float32)
    whole = call(plugin, x, sample_rate, 8192, True)
    try:
        forget(plugin)
        back = [call(plugin, x[:, i : i + HOP], sample_rate, HOP, False) for i in range(0, n - HOP + 1, HOP)]
        # Uneven pieces only for what withholds nothing: pedalboard's own buffering has overrun with them.
        prompt = all(b.shape[1] == HOP for b in back)
        silence = np.zeros((channels, HOP), np.float32)
        for _ in range(int(_PATIENCE_S * sample_rate / HOP)):
            if sum(b.shape[1] for b in back) >= n:
                break
            back.append(call(plugin, silence, sample_rate, HOP, False))
        # The last part hop is not fed, and what comes before it may already hear of its absence.
        fed = n - n % HOP - 4 * HOP
        y = np.concatenate(back, axis=1)
        if y.shape[1] < fed or not _same(y[:, :fed], whole[:, :fed]):
            return Way.WHOLE
        return Way.DIRECT if prompt and _direct(plugin, x, whole, sample_rate) else Way.HOPS
    finally:
        forget(plugin)


def _direct(plugin: Any, x: NDArray[np.float32], whole: NDArray[np.float32], sample_rate: float) -> bool:
    prime(plugin, x.shape[0], sample_rate, LARGEST)
    i = 0
    for turn in range(x.shape[1]):
        piece = x[:, i : i + _RAGGED[turn % len(_RAGGED)]]
        if piece.shape[1] == 0:
            return True
        y = call(plugin, piece, sample_rate, LARGEST, False)
        if y.shape != piece.shape or not _same(y, whole[:, i : i + y.shape[1]]):
            return False
        i += y.shape[1]
    return True


def prime(plugin: Any, channels: int, sample_rate: float, size: int) -> None:
    """Lets the plugin prepare for calls of up to `size` frames, then starts it from silence.

    Its own `reset()` would undo that: pedalboard then forgets size and channels, and takes one frame of two
    channels for two frames of one. A call with nothing and reset=True forgets the sound only.
    """
    call(plugin, np.zeros((channels, size), np.float32), sample_rate, size, False)
    call(plugin, np.zeros((channels, 0), np.float32), sample_rate, size, True)


def _same(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    error = float(np.square(a - b, dtype=np.float64).sum())
    return error <= 10 ** (_FLOOR_DB / 10) * float(np.square(b, dtype=np.float64).sum()) + 1e-12


__all__ = ["HOP", "LARGEST", "Way", "call", "forget", "prime", "way_of"]
