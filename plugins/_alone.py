"""A plugin without a chain: audio in, audio out, call by call; its running state; copies and pickles of it.

Thread: control. Several threads may call one plugin: calls are made one after the other.
"""

from __future__ import annotations

import copy
import struct
import threading
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ._audio import as_audio, check_buffer, check_rate, tell, without_bad
from ._calls import Alone, Calls, Sounding
from ._errors import CspaceError, ParameterError, near

if TYPE_CHECKING:
    from ._base import NativePlugin


class Timed(NamedTuple):
    """A value that a live engine has, and sets at a sample of its clock."""

    engine: _native.Engine
    sample: int
    name: str
    value: float


Self = TypeVar("Self", bound="PlayedAlone")

_PREPARED_BLOCK = 1024  # largest piece the core works on at once; outputs do not depend on it
_STATE = struct.Struct("<4s16sdH")  # magic, processor, sample rate, channels
_ALIGNED = 0x8000  # in the channels: the stream is moved back by its latency


class PlayedAlone:
    """What `NativePlugin` does with audio that is handed to it."""

    native_name: ClassVar[str]
    info: ClassVar[_native.ProcessorInfo]
    #: Attributes of a running plugin, which neither copies nor pickles have.
    _running: ClassVar[frozenset[str]] = frozenset(
        {"_bindings", "_calls", "_core", "_core_spec", "_core_made_of", "_made_of", "_stale", "_timed", "_timed_lock"}
    )
    _values: dict[str, float]
    _arrays: dict[str, NDArray[np.float32]]

    def _start_alone(self) -> None:
        """Nothing was heard yet."""
        self._calls = Calls()
        self._core: _native.Processor | None = None
        self._core_spec: tuple[float, int] | None = None  # sample rate, channels
        self._made_of = object()  # another object whenever the processor must be built anew
        self._core_made_of = self._made_of
        self._stale: dict[str, float] = {}  # parameters that the core has not got yet
        self._timed: list[Timed] = []  # values that a live engine holds for later
        self._timed_lock = threading.RLock()

    # ---- the processor -----------------------------------------------------------------------

    def _settled(self) -> dict[str, float]:
        raise NotImplementedError

    def _build(self) -> _native.Processor:
        raise NotImplementedError

    def _prepared(self, sample_rate: Any, channels: int) -> _native.Processor:
        """The processor with all settings. Call it with `_calls.lock` held if others may call too."""
        spec = (check_rate(sample_rate), channels)
        self._settled()
        made_of = self._made_of
        if self._core is None or self._core_spec != spec or self._core_made_of is not made_of:
            self._stale.clear()
            try:
                core = self._build()
                core.prepare(spec[0], _PREPARED_BLOCK, channels)
            except ValueError as e:
                raise ParameterError(f"{self.native_name}: {e}") from None
            self._core, self._core_spec, self._core_made_of = core, spec, made_of
        for name in list(self._stale):
            self._core.set(name, self._stale.pop(name))
        return self._core

    def _sounding(self, sample_rate: float, channels: int) -> tuple[Sounding, _native.Processor]:
        """What makes the sound of a call, and the core that counts its faults."""
        core = self._prepared(sample_rate, channels)
        return Alone(core, channels), core

    # ---- audio -------------------------------------------------------------------------------

    def process(
        self,
        audio: Any,
        sample_rate: float,
        buffer_size: int = 8192,
        reset: bool = True,
        compensate: bool | None = None,
    ) -> NDArray[np.float32]:
        """Runs audio through the plugin.

        Parameters
        ----------
        audio : floating point [shape=(channels, frames) or (frames,)]
        sample_rate : 8,000 to 192,000 Hz
        buffer_size : frames handed to the core at once; the samples do not depend on it
        reset : start from silence. False goes on where the last call ended, for streams in pieces;
            another sample rate or number of channels starts from silence in any case.
        compensate : True moves the output back by `latency_samples`, so that sound is where it was
            in the input; its last `latency_samples` are made as if silence followed. False is the
            stream as it comes, late by that, the same samples however it is cut. None is True for
            `reset=True`, and for `reset=False` what the call before had (False if there was none).

        Returns
        -------
        float32, same shape. A stream begun with `reset=True` stays aligned piece by piece; what
        looks ahead (a limiter that is at work, a model) then differs near the end of each piece from
        one whole call, since it cannot hear the next piece. For a stream without such seams begin
        with `reset=False` after `reset()`, or say `compensate=False`.

        NaN and Inf in the input are played as 0, and if the plugin makes some it is muted and reset;
        a CspaceWarning says how often. Threads that call at the same time wait for each other; a
        stream in pieces should belong to one of them.
        """
        x, mono = as_audio(audio)
        size = check_buffer(buffer_size)
        rate = check_rate(sample_rate)
        x, bad = without_bad(x)
        with self._calls.lock:
            sound, core = self._sounding(rate, x.shape[0])
            if reset:
                self._silence()
            self._calls.begin(reset, compensate)
            before = core.faults
            y = self._calls.run(sound, x, size)
            faults = core.faults - before
        tell(self.native_name, bad, {"it": faults} if faults else {})
        return y[0] if mono else y

    def __call__(
        self,
        audio: Any,
        sample_rate: float,
        buffer_size: int = 8192,
        reset: bool = True,
        compensate: bool | None = None,
    ) -> NDArray[np.float32]:
        """Same as `process`."""
        return self.process(audio, sample_rate, buffer_size, reset, compensate)

    def _silence(self) -> None:
        if self._core is not None:
            self._core.reset()

    def reset(self) -> None:
        """Forgets all sound; parameters stay. For the plugin used alone: an engine has its own copy."""
        with self._calls.lock:
            self._silence()
            self._calls.aligned = False

    @property
    def latency_samples(self) -> int:
        """Delay from input to output at the last rate used (48 kHz if none was), exact."""
        with self._calls.lock:
            return self._prepared(*(self._core_spec or (48_000.0, 2))).latency_samples

    @property
    def tail_samples(self) -> int:
        """How long sound goes on after the input ends, at the last rate used; huge if it never ends."""
        with self._calls.lock:
            return self._prepared(*(self._core_spec or (48_000.0, 2))).tail_samples

    def tap(self, name: str) -> NDArray[np.float32]:
        """A named array of the plugin's inside after the last sample processed, float32 [shape=(n,)].

        Live, subscribe to the engine's tap instead: that one carries exact times.
        """
        names = [t["name"] for t in self.info["taps"]]
        if name not in names:
            raise ParameterError(f"{self.native_name} has no tap {name!r}{near(name, names)}")
        with self._calls.lock:
            if self._core is None or self._core_made_of is not self._made_of:
                raise CspaceError(f"{self.native_name} has no tap values yet: process some audio first")
            return self._core.tap(name)

    # ---- state -------------------------------------------------------------------------------

    def save_state(self) -> bytes:
        """The running state (filters, phases, ramps), to go on later from exactly here."""
        with self._calls.lock:
            if self._core is None or self._core_spec is None or self._core_made_of is not self._made_of:
                raise CspaceError(f"{self.native_name} has no state yet: process some audio first")
            rate, channels = self._core_spec
            core = self._prepared(rate, channels)
            channels |= _ALIGNED if self._calls.aligned else 0
            return _STATE.pack(b"CSP1", self.native_name.encode(), rate, channels) + core.save_state()

    def load_state(self, state: bytes) -> None:
        """Goes on from a saved state. Raises ParameterError if other settings made it."""
        if len(state) < _STATE.size or state[:4] != b"CSP1":
            raise ParameterError("these bytes are not a saved plugin state")
        _, name, rate, channels = _STATE.unpack_from(state)
        if name.rstrip(b"\0").decode("ascii", "replace") != self.native_name:
            raise ParameterError(f"this state belongs to {name.rstrip(bytes(1))!r}, not to {self.native_name!r}")
        with self._calls.lock:
            try:
                self._prepared(rate, channels & ~_ALIGNED).load_state(state[_STATE.size :])
            except ValueError as e:
                raise ParameterError(f"{self.native_name}: {e}") from None
            self._calls.aligned = bool(channels & _ALIGNED)

    # ---- copies and pickles ------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """Settings and attributes of the user's own. The sound under way stays here: see `save_state`."""
        kept = {n: v for n, v in self.__dict__.items() if n not in self._running}
        return kept | {"_values": dict(self._settled()), "_arrays": dict(self._arrays)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for array in self._arrays.values():
            array.flags.writeable = False  # pickles forget it
        self._bindings: list[tuple[_native.Engine, int]] = []
        self._start_alone()

    def _twin(self: Self) -> Self:
        """Same settings, no sound, bound to nothing."""
        twin = type(self).__new__(type(self))
        twin.__setstate__(PlayedAlone.__getstate__(self))
        return twin

    def __copy__(self: Self) -> Self:
        return self._twin()

    def __deepcopy__(self: Self, memo: dict[int, Any]) -> Self:
        twin = self._twin()
        memo[id(self)] = twin
        for name, value in twin.__dict__.items():
            if name not in self._running and name not in self._shared:
                twin.__dict__[name] = copy.deepcopy(value, memo)
        return twin

    #: Attributes that never change, which copies may have in common.
    _shared: ClassVar[frozenset[str]] = frozenset({"_arrays"})


def settings_of(plugin: NativePlugin) -> tuple[dict[str, float], dict[str, NDArray[np.float32]]]:
    """Parameters and arrays of a plugin as they are now; arrays are never changed in place."""
    return dict(plugin._settled()), dict(plugin._arrays)
