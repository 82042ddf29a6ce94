"""The Python face of a native processor, in pedalboard's manner.

A plugin class is a few lines: its docs, its annotations for editors, and what is handy to have in
Python. Parameters, arrays, ranges and taps come from the registry of the core, so they are declared
once, in Rust. Thread: control, for everything here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ._alone import PlayedAlone, Timed
from ._errors import ParameterError, near
from ._params import ArrayProperty, ParamProperty, Value, to_array, to_native, to_python

__all__ = ["NativePlugin"]

_REGISTRY: dict[str, _native.ProcessorInfo] = {p["name"]: p for p in _native.processors()}


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

    def keep(self) -> None:
        """Keeps the sound as it is for `put_back`; until then nothing is heard."""
        ...

    def put_back(self) -> None:
        """Makes the sound what it was at `keep`."""
        ...


class NativePlugin(PlayedAlone):
    """Base of all native plugins: `class Gain(NativePlugin, native="gain")`.

    Parameters are keyword arguments and properties of the same name: numbers, bools for switches,
    strings for choices. Arrays (weights, per-band gains) are properties too, None where unset.
    Setting an array to None unsets it. A value outside its range raises ValueError and changes nothing.

    Alone, `plugin(audio, sample_rate)` processes float32 [shape=(channels, frames)] or (frames,)
    and returns the same shape, every sound where it was; `process` has the words for streams. In a
    `Chain` that plays live, setting a property moves the sound at once. `copy.copy`, `copy.deepcopy`
    and pickles take the settings along, not the sound under way.
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
        self._start_alone()
        self.update(**settings)

    # ---- control: parameters and arrays ------------------------------------------------------

    def update(self, **settings: Any) -> None:
        """Sets several parameters and arrays at once, or none of them if one is wrong.

        In a live chain, set-up parameters given together cost one rebuild, not one each.
        """
        now = self._settled()
        values: dict[str, float] = {}
        arrays: dict[str, NDArray[np.float32] | None] = {}
        for name, value in settings.items():
            if name in self._array_infos:
                arrays[name] = None if value is None else to_array(self.native_name, name, value)
            else:
                values[name] = to_native(self.native_name, self._param(name), value)
        unset = [n for n, data in arrays.items() if data is None and n in self._arrays]
        there = {n: data for n, data in arrays.items() if data is not None}
        rebuild = bool(unset)  # an array cannot be unset in a running processor
        rebuild |= any(self._params[n]["setup"] and v != now[n] for n, v in values.items())
        rebuild |= any(not self._array_infos[n]["live"] for n in there)
        values_before = {n: now[n] for n in values}
        arrays_before = {n: self._arrays[n] for n in arrays if n in self._arrays}
        self._values.update(values)
        self._arrays.update(there)
        for name in unset:
            del self._arrays[name]
        made_of, taken = self._made_of, list[tuple[_native.Engine, int]]()
        try:
            if rebuild:
                self._rebuild(taken)
            else:
                self._forward(values, there, taken)
        except (ValueError, RuntimeError) as e:
            self._values.update(values_before)
            for name in there.keys() - arrays_before.keys():
                del self._arrays[name]
            self._arrays.update(arrays_before)
            self._made_of = made_of
            self._put_back(taken, rebuild, values_before, arrays_before)
            raise ParameterError(f"{self.native_name}: {e}") from None

    def _put_back(
        self,
        taken: list[tuple[_native.Engine, int]],
        rebuilt: bool,
        values: dict[str, float],
        arrays: dict[str, NDArray[np.float32]],
    ) -> None:
        """Engines that had taken a change which another refused get what they had before."""
        for engine, slot in taken:
            with contextlib.suppress(ValueError, RuntimeError, KeyError):  # the refused change is what is told
                if rebuilt:
                    engine.replace(slot, self._build())
                for name, data in arrays.items() if not rebuilt else ():
                    engine.set_array(slot, name, data)
        for name, x in values.items():
            if not self._params[name]["setup"]:
                self._stale[name] = x
                for engine, slot in self._bindings:
                    with contextlib.suppress(ValueError, RuntimeError, KeyError):
                        engine.set(slot, name, x)

    def take(self, other: NativePlugin) -> None:
        """Takes over all settings of another plugin of the same kind; only what differs is sent on."""
        if other.native_name != self.native_name:
            raise ParameterError(f"a {self.native_name} cannot take the settings of a {other.native_name}")
        wanted = other._settled()
        params = {n: to_python(self._param(n), wanted[n]) for n, v in self._settled().items() if v != wanted[n]}
        mine, theirs = self._arrays, other._arrays
        arrays: dict[str, Any] = {n: a for n, a in theirs.items() if n not in mine or not np.array_equal(a, mine[n])}
        self.update(**params, **arrays, **dict.fromkeys(mine.keys() - theirs.keys()))

    def _rebuild(self, taken: list[tuple[_native.Engine, int]] | None = None) -> None:
        """Builds the processor anew wherever it plays; `taken` gets the engines that it was told to."""
        self._made_of = object()
        for engine, slot in self._bindings:
            with contextlib.suppress(KeyError):  # its slot leaves that engine at this moment
                engine.replace(slot, self._build())
                if taken is not None:
                    taken.append((engine, slot))

    def set_param(self, name: str, value: Any, *, time: int | None = None) -> None:
        """Sets one parameter; `time` is the sample of a live engine's clock at which it moves, and not before.

        Raises ParameterError (a ValueError) naming the parameter, the value and the range.
        """
        info = self._param(name)
        if info["setup"]:
            if time is not None:
                raise ParameterError(f"{self.native_name}.{name} rebuilds the processor, so it cannot be timed")
            self.update(**{name: value})
            return
        x = to_native(self.native_name, info, value)
        with self._timed_lock:
            self._settled()  # what was due before this came before it
            waits = False
            for engine, slot in self._bindings:
                with contextlib.suppress(KeyError):  # its slot leaves that engine at this moment
                    # An offline engine has another clock: what it plays next has the value.
                    at = time if engine.live else None
                    engine.set(slot, name, x, at)
                    if at is not None and at > engine.sample_time:
                        self._timed.append(Timed(engine, at, name, x))
                        waits = True
            if not waits:
                self._note(name, x)

    def _note(self, name: str, x: float) -> None:
        self._values[name] = x
        self._stale[name] = x  # the core has it from its next call on

    def _settled(self) -> dict[str, float]:
        """The parameters as they sound now: with the timed values that engines have reached."""
        if self._timed:
            with self._timed_lock:
                engines = {id(t.engine): t.engine for t in self._timed}
                now = {key: engine.sample_time for key, engine in engines.items()}
                self._settle([t for t in self._timed if t.sample < now[id(t.engine)]])
        return self._values

    def _settle(self, due: list[Timed]) -> None:
        """Makes timed values the values, in the order of the engine: by sample, those of one sample as they came."""
        for t in sorted(due, key=lambda t: t.sample):
            if t.name in self._values:  # another model may have other parameters
                self._note(t.name, t.value)
        settled = {id(t) for t in due}
        self._timed = [t for t in self._timed if id(t) not in settled]

    def _take_timed(self, engine: _native.Engine) -> list[Timed]:
        """Gives away what an engine holds for later: a panic cancels it, or another plugin takes this one's place."""
        with self._timed_lock:
            self._settled()
            taken = [t for t in self._timed if t.engine is engine]
            self._timed = [t for t in self._timed if t.engine is not engine]
        return taken

    def _forget_timed(self, engine: _native.Engine) -> None:
        """After a panic of this engine, which cancelled what it held for later."""
        with self._timed_lock:
            names = {t.name for t in self._take_timed(engine)}
            for slot in [slot for e, slot in self._bindings if e is engine]:
                for name in names & self._values.keys():
                    with contextlib.suppress(ValueError, RuntimeError, KeyError):
                        # One that was due in the block under way was set before the panic was heard of.
                        engine.set(slot, name, self._values[name])

    def get_param(self, name: str) -> Value:
        """The value of a parameter, as it was set."""
        return to_python(self._param(name), self._settled()[name])

    def set_array(self, name: str, data: Any) -> None:
        """Sets an array, copied as float32; None unsets it. Raises ParameterError."""
        self._array_info(name)
        self.update(**{name: data})

    def get_array(self, name: str) -> NDArray[np.float32] | None:
        """The array as it was set (read-only), or None."""
        self._array_info(name)
        return self._arrays.get(name)

    def _forward(
        self,
        values: dict[str, float],
        arrays: dict[str, NDArray[np.float32]],
        taken: list[tuple[_native.Engine, int]],
    ) -> None:
        for name, data in arrays.items():
            for engine, slot in self._bindings:
                with contextlib.suppress(KeyError):  # its slot leaves that engine at this moment
                    engine.set_array(slot, name, data)
                    taken.append((engine, slot))
            with self._calls.lock:
                if self._core is not None and self._core_made_of is self._made_of:
                    self._core.set_array(name, data)
        for name, x in values.items():
            if not self._params[name]["setup"]:
                self.set_param(name, x)

    def _param(self, name: str) -> _native.ParamInfo:
        if name not in self._params:
            if name in self._array_infos:
                raise ParameterError(
                    f"{self.native_name}.{name} is an array, not a number: set the property, or set_array"
                )
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
            known = [*self._params, *self._array_infos]
            raise AttributeError(f"{type(self).__name__} has no parameter {name!r}{near(name, known)}")
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
        for name, x in self._settled().items():
            core.set(name, x)
        for name, data in self._arrays.items():
            core.set_array(name, data)
        return core

    def _bind(self, engine: _native.Engine, slot: int) -> None:
        """From now on changes go to this slot of the engine too."""
        self._bindings.append((engine, slot))

    def _expect(self, timed: Sequence[Timed]) -> None:
        """Engines hold these for the place that it has taken."""
        with self._timed_lock:
            self._timed = [*self._timed, *timed]

    def _unbind(self, engine: _native.Engine) -> None:
        """Changes no longer go to this engine. What it held for later is set now.

        A lost device's engine stands still, and the next one starts from the values.
        """
        with self._timed_lock:
            self._settle([t for t in self._timed if t.engine is engine])
            self._bindings = [b for b in self._bindings if b[0] is not engine]

    # ---- identity ----------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """All settings, `type` first; arrays as float32 arrays. `Plugin(**d)` without `type` makes a twin."""
        params = {n: self.get_param(n) for n in self._params}
        return {"type": self.native_name, **params, **self._arrays}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NativePlugin):
            return NotImplemented
        same = self.native_name == other.native_name and self._settled() == other._settled()
        return (
            same
            and self._arrays.keys() == other._arrays.keys()
            and all(np.array_equal(a, other._arrays[n]) for n, a in self._arrays.items())
        )

    __hash__ = None  # type: ignore[assignment]  # settings change, so equal today is not equal tomorrow

    def __repr__(self) -> str:
        changed = []
        now = self._settled()
        for n, p in self._params.items():
            if now[n] != p["default"]:
                v = self.get_param(n)
                changed.append(f"{n}={v:.7g}" if isinstance(v, float) else f"{n}={v!r}")
        changed += [f"{n}=<{'×'.join(map(str, a.shape))}>" for n, a in self._arrays.items()]
        return f"{type(self).__name__}({', '.join(changed)})"
