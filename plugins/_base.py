"""The Python face of a native processor, in pedalboard's manner.

A plugin class is a few lines: its docs, its annotations for editors, and what is handy to have in
Python. Parameters, arrays, ranges and taps come from the registry of the core, so they are declared
once, in Rust. Thread: control, for everything here.
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ._audio import as_audio, check_buffer, check_rate
from ._errors import CspaceError, ParameterError, near
from ._params import ArrayProperty, ParamProperty, Value, to_array, to_native, to_python

__all__ = ["NativePlugin"]

_REGISTRY: dict[str, _native.ProcessorInfo] = {p["name"]: p for p in _native.processors()}
_PREPARED_BLOCK = 1024  # largest piece the core works on at once; outputs do not depend on it
_STATE = struct.Struct("<4s16sdH")  # magic, processor, sample rate, channels


class OfflineStage(Protocol):
    """A processor in Python that gives back as many samples as it gets, without delay."""

    @property
    def tail_samples(self) -> int:
        """How long sound goes on after the input ends."""
        ...

    def process(self, x: NDArray[np.float32], /) -> NDArray[np.float32]:
        """(channels, n) in and out, for any n."""
        ...

    def reset(self) -> None:
        """Starts from silence."""
        ...


class NativePlugin:
    """Base of all native plugins: `class Gain(NativePlugin, native="gain")`.

    Parameters are keyword arguments and properties of the same name: numbers, bools for switches,
    strings for choices. Arrays (weights, per-band gains) are properties too, None where unset.
    A value outside its range raises ValueError and changes nothing.

    Alone, `plugin(audio, sample_rate)` processes float32 [shape=(channels, frames)] or (frames,)
    and returns the same shape, late by `latency_samples`. In a `Chain` that plays live, setting a
    property moves the sound at once.
    """

    native_name: ClassVar[str] = ""
    slot_name: ClassVar[str] = ""  # its name in a chain, if that is not the native one
    staged: ClassVar[bool] = False  # offline it is more than its processor; see `offline_stage`
    info: ClassVar[_native.ProcessorInfo]
    _params: ClassVar[dict[str, _native.ParamInfo]] = {}
    _array_infos: ClassVar[dict[str, _native.ArrayInfo]] = {}

    # ---- spec --------------------------------------------------------------------------------

    def __init_subclass__(cls, native: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if native is None:
            return  # a subclass of a plugin keeps its parent's processor
        if native not in _REGISTRY:
            raise LookupError(f"the compiled core has no processor {native!r}; rebuild it with `make build`")
        cls._declare(_REGISTRY[native])

    @classmethod
    def _declare(cls, info: _native.ProcessorInfo) -> None:
        """Makes the class what `info` says: parameters and arrays become properties."""
        native = info["name"]
        cls.native_name = native
        cls.info = info
        cls._params = {p["name"]: p for p in cls.info["params"]}
        cls._array_infos = {a["name"]: a for a in cls.info["arrays"]}
        for name in [*cls._params, *cls._array_infos]:
            if hasattr(NativePlugin, name) or name in cls.__dict__:
                raise TypeError(f"{native}.{name} hides an attribute of {cls.__name__}; rename one of them")
        for p in cls.info["params"]:
            setattr(cls, p["name"], ParamProperty(p))
        for a in cls.info["arrays"]:
            setattr(cls, a["name"], ArrayProperty(a["name"], a["doc"]))

    @staticmethod
    def registry() -> dict[str, _native.ProcessorInfo]:
        """What the compiled core has, by name."""
        return dict(_REGISTRY)

    def __init__(self, **settings: Any) -> None:
        if not self.native_name:
            raise TypeError("NativePlugin is a base class; make one of its subclasses")
        self._values: dict[str, float] = {n: p["default"] for n, p in self._params.items()}
        self._arrays: dict[str, NDArray[np.float32]] = {}
        self._bindings: list[tuple[_native.Engine, int]] = []
        self._core: _native.Processor | None = None
        self._core_spec: tuple[float, int] | None = None  # sample rate, channels
        self.update(**settings)

    # ---- control: parameters and arrays ------------------------------------------------------

    def update(self, **settings: Any) -> None:
        """Sets several parameters and arrays at once, or none of them if one is wrong.

        In a live chain, set-up parameters given together cost one rebuild, not one each.
        """
        values, arrays = {}, {}
        for name, value in settings.items():
            if name in self._array_infos:
                if value is not None:
                    arrays[name] = to_array(self.native_name, name, value)
            else:
                values[name] = to_native(self.native_name, self._param(name), value)
        rebuild = any(self._params[n]["setup"] and v != self._values[n] for n, v in values.items())
        rebuild |= any(not self._array_infos[n]["live"] for n in arrays)
        before = dict(self._values), dict(self._arrays)
        self._values.update(values)
        self._arrays.update(arrays)
        try:
            if rebuild:
                self._rebuild()
            else:
                self._forward(values, arrays)
        except (ValueError, RuntimeError) as e:
            self._values, self._arrays = before
            self._core = None
            raise ParameterError(f"{self.native_name}: {e}") from None

    def take(self, other: NativePlugin) -> None:
        """Takes over all settings of another plugin of the same kind; only what differs is sent on."""
        if other.native_name != self.native_name:
            raise ParameterError(f"a {self.native_name} cannot take the settings of a {other.native_name}")
        params = {n: other.get_param(n) for n, v in self._values.items() if v != other._values[n]}
        mine = self._arrays
        arrays = {n: a for n, a in other._arrays.items() if n not in mine or not np.array_equal(a, mine[n])}
        if mine.keys() - other._arrays.keys():  # an array cannot be unset in a running processor
            self._arrays = dict(other._arrays)
            self._values = dict(other._values)
            self._rebuild()
        else:
            self.update(**params, **arrays)

    def _rebuild(self) -> None:
        self._core = None
        for engine, slot in self._bindings:
            engine.replace(slot, self._build())

    def set_param(self, name: str, value: Any, *, time: int | None = None) -> None:
        """Sets one parameter; `time` is the sample of a live engine's clock at which it moves.

        Raises ParameterError (a ValueError) naming the parameter, the value and the range.
        """
        info = self._param(name)
        if info["setup"]:
            if time is not None:
                raise ParameterError(f"{self.native_name}.{name} rebuilds the processor, so it cannot be timed")
            self.update(**{name: value})
            return
        x = to_native(self.native_name, info, value)
        self._values[name] = x
        if self._core is not None:
            self._core.set(name, x)
        for engine, slot in self._bindings:
            engine.set(slot, name, x, time)

    def get_param(self, name: str) -> Value:
        """The value of a parameter, as it was set."""
        return to_python(self._param(name), self._values[name])

    def set_array(self, name: str, data: Any) -> None:
        """Sets an array, copied as float32. Raises ParameterError."""
        self._array_info(name)
        self.update(**{name: data})

    def get_array(self, name: str) -> NDArray[np.float32] | None:
        """The array as it was set (read-only), or None."""
        self._array_info(name)
        return self._arrays.get(name)

    def _forward(self, values: dict[str, float], arrays: dict[str, NDArray[np.float32]]) -> None:
        for name, data in arrays.items():
            if self._core is not None:
                self._core.set_array(name, data)
            for engine, slot in self._bindings:
                engine.set_array(slot, name, data)
        for name, x in values.items():
            if not self._params[name]["setup"]:
                self.set_param(name, x)

    def _param(self, name: str) -> _native.ParamInfo:
        if name not in self._params:
            known = [*self._params, *self._array_infos]
            raise ParameterError(
                f"{self.native_name} has no parameter {name!r}{near(name, known) or '; it has ' + ', '.join(known)}"
            )
        return self._params[name]

    def _array_info(self, name: str) -> _native.ArrayInfo:
        if name not in self._array_infos:
            hint = near(name, self._array_infos)
            raise ParameterError(f"{self.native_name} has no array {name!r}{hint}")
        return self._array_infos[name]

    def __setattr__(self, name: str, value: Any) -> None:
        # A mistyped parameter must not become a new attribute that nothing reads.
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} has no parameter {name!r}{near(name, self._params)}")
        super().__setattr__(name, value)

    def check(self, name: str, value: Any) -> None:
        """Raises ParameterError where `set_param` would, and changes nothing."""
        to_native(self.native_name, self._param(name), value)

    # ---- control: life with an engine --------------------------------------------------------

    def offline_stage(self, sample_rate: float, channels: int) -> OfflineStage | None:
        """What takes its place in an engine that no device drives, if it is more than its processor."""
        return None

    def _build(self) -> _native.Processor:
        """A new native processor with these settings, not prepared."""
        core = _native.Processor(self.native_name)
        for name, x in self._values.items():
            core.set(name, x)
        for name, data in self._arrays.items():
            core.set_array(name, data)
        return core

    def _bind(self, engine: _native.Engine, slot: int) -> None:
        """From now on changes go to this slot of the engine too."""
        self._bindings.append((engine, slot))

    def _unbind(self, engine: _native.Engine) -> None:
        self._bindings = [b for b in self._bindings if b[0] is not engine]

    # ---- audio -------------------------------------------------------------------------------

    def _prepared(self, sample_rate: float, channels: int) -> _native.Processor:
        spec = (check_rate(sample_rate), channels)
        if self._core is None or self._core_spec != spec:
            core = self._build()
            try:
                core.prepare(spec[0], _PREPARED_BLOCK, channels)
            except ValueError as e:
                raise ParameterError(f"{self.native_name}: {e}") from None
            self._core, self._core_spec = core, spec
        return self._core

    def process(
        self, audio: Any, sample_rate: float, buffer_size: int = 8192, reset: bool = True
    ) -> NDArray[np.float32]:
        """Runs audio through the plugin.

        Parameters
        ----------
        audio : floating point [shape=(channels, frames) or (frames,)]
        sample_rate : 8,000 to 192,000 Hz
        buffer_size : frames handed to the core at once; the samples do not depend on it
        reset : start from silence. False goes on where the last call ended, for streams in pieces;
            another sample rate or number of channels starts from silence in any case.

        Returns
        -------
        float32, same shape; delayed by `latency_samples` (files rendered by `cspace.realtime.render`
        are moved back by that).
        """
        x, mono = as_audio(audio)
        size = check_buffer(buffer_size)
        core = self._prepared(sample_rate, x.shape[0])
        if reset:
            core.reset()
        pieces = [core.process(np.ascontiguousarray(x[:, i : i + size])) for i in range(0, x.shape[1], size)]
        y = pieces[0] if len(pieces) == 1 else np.concatenate([x[:, :0], *pieces], axis=1)
        return y[0] if mono else y

    def __call__(
        self, audio: Any, sample_rate: float, buffer_size: int = 8192, reset: bool = True
    ) -> NDArray[np.float32]:
        """Same as `process`."""
        return self.process(audio, sample_rate, buffer_size, reset)

    def reset(self) -> None:
        """Forgets all sound; parameters stay. For the plugin used alone: an engine has its own copy."""
        if self._core is not None:
            self._core.reset()

    @property
    def latency_samples(self) -> int:
        """Delay from input to output at the last rate used (48 kHz if none was), exact."""
        return self._prepared(*(self._core_spec or (48_000.0, 2))).latency_samples

    @property
    def tail_samples(self) -> int:
        """How long sound goes on after the input ends, at the last rate used; huge if it never ends."""
        return self._prepared(*(self._core_spec or (48_000.0, 2))).tail_samples

    def tap(self, name: str) -> NDArray[np.float32]:
        """A named array of the plugin's inside after the last sample processed, float32 [shape=(n,)].

        Live, subscribe to the engine's tap instead: that one carries exact times.
        """
        names = [t["name"] for t in self.info["taps"]]
        if name not in names:
            raise ParameterError(f"{self.native_name} has no tap {name!r}{near(name, names)}")
        if self._core is None:
            raise CspaceError(f"{self.native_name} has no tap values yet: process some audio first")
        return self._core.tap(name)

    # ---- state and identity ------------------------------------------------------------------

    def save_state(self) -> bytes:
        """The running state (filters, phases, ramps), to go on later from exactly here."""
        if self._core is None or self._core_spec is None:
            raise CspaceError(f"{self.native_name} has no state yet: process some audio first")
        head = _STATE.pack(b"CSP1", self.native_name.encode(), self._core_spec[0], self._core_spec[1])
        return head + self._core.save_state()

    def load_state(self, state: bytes) -> None:
        """Goes on from a saved state. Raises ParameterError if other settings made it."""
        if len(state) < _STATE.size or state[:4] != b"CSP1":
            raise ParameterError("these bytes are not a saved plugin state")
        _, name, rate, channels = _STATE.unpack_from(state)
        if name.rstrip(b"\0").decode("ascii", "replace") != self.native_name:
            raise ParameterError(f"this state belongs to {name.rstrip(bytes(1))!r}, not to {self.native_name!r}")
        try:
            self._prepared(rate, channels).load_state(state[_STATE.size :])
        except ValueError as e:
            raise ParameterError(f"{self.native_name}: {e}") from None

    def to_dict(self) -> dict[str, Any]:
        """All settings, `type` first; arrays as float32 arrays. `Plugin(**d)` without `type` makes a twin."""
        params = {n: self.get_param(n) for n in self._params}
        return {"type": self.native_name, **params, **self._arrays}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NativePlugin):
            return NotImplemented
        same = self.native_name == other.native_name and self._values == other._values
        return (
            same
            and self._arrays.keys() == other._arrays.keys()
            and all(np.array_equal(a, other._arrays[n]) for n, a in self._arrays.items())
        )

    __hash__ = None  # type: ignore[assignment]  # settings change, so equal today is not equal tomorrow

    def __copy__(self) -> NativePlugin:
        return self._twin()

    def __deepcopy__(self, memo: dict[int, Any]) -> NativePlugin:
        return self._twin()

    def _twin(self) -> NativePlugin:
        """Same settings, no sound, bound to nothing."""
        twin = type(self).__new__(type(self))
        NativePlugin.__init__(twin)
        twin._values, twin._arrays = dict(self._values), dict(self._arrays)
        return twin

    def __repr__(self) -> str:
        changed = []
        for n, p in self._params.items():
            if self._values[n] != p["default"]:
                v = self.get_param(n)
                changed.append(f"{n}={v:.7g}" if isinstance(v, float) else f"{n}={v!r}")
        changed += [f"{n}=<{'×'.join(map(str, a.shape))}>" for n, a in self._arrays.items()]
        return f"{type(self).__name__}({', '.join(changed)})"
