"""What OSC and the panel may do to a running chain, by name, checked. Thread: control.

Presets are chain files in one folder; a preset is named by a word, never by a path.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from .chain import Chain
from .errors import ChainFileError, ParameterError, near
from .presets import Presets, apply

if TYPE_CHECKING:
    from .._native import Engine, EngineStats
    from .slot import Slot

MAX_PRESETS = 1000
Value = float | int | bool | str


class Knob(TypedDict):
    """A parameter as remote controls see it."""

    name: str
    scale: str  # "linear" | "log" | "int" | "toggle" | "choice" | "text"
    min: float | None  # None where the range is unknown (plugins from elsewhere)
    max: float | None
    choices: list[str]
    unit: str
    setup: bool
    doc: str


class Control:
    """The named controls of a chain.

    Parameters
    ----------
    chain : what is controlled
    engine : gives the engine that plays now; raises CspaceError if none does
    presets : the folder; None switches presets off
    lock : held while the chain is edited
    """

    def __init__(
        self,
        chain: Chain,
        engine: Callable[[], Engine],
        *,
        presets: Path | None = None,
        lock: threading.RLock | None = None,
    ):
        self.chain = chain
        self.presets = Presets(presets) if presets is not None else None
        self.lock = lock or threading.RLock()
        self._engine = engine
        self._before_bypass: dict[Slot, bool] | None = None

    @property
    def engine(self) -> Engine:
        """The engine that plays now."""
        return self._engine()

    # ---- parameters --------------------------------------------------------------------------

    def knobs(self, processor: str) -> list[Knob]:
        """The parameters of a processor. Raises ParameterError for an unknown name."""
        slot = self.chain.slot(processor)
        return [self._knob(slot, name) for name in slot.params()]

    def knob(self, processor: str, name: str) -> Knob:
        """One parameter. Raises ParameterError, with near names, for an unknown one."""
        slot = self.chain.slot(processor)
        if name not in slot.params():
            raise ParameterError(f"{processor} has no parameter {name!r}{near(name, [*slot.params(), 'bypass'])}")
        return self._knob(slot, name)

    def _knob(self, slot: Slot, name: str) -> Knob:
        native = slot.native
        if native is not None:
            p = native._param(name)
            return Knob(
                name=name,
                scale=p["scale"],
                min=p["min"],
                max=p["max"],
                choices=p["choices"],
                unit=p["unit"],
                setup=p["setup"],
                doc=p["doc"],
            )
        value = slot.get(name)
        scale = "toggle" if isinstance(value, bool) else "text" if isinstance(value, str) else "linear"
        return Knob(name=name, scale=scale, min=None, max=None, choices=[], unit="", setup=False, doc="")

    def get(self, processor: str, name: str) -> Value:
        """The value as it was set."""
        return self.chain.slot(processor).get(name)

    def check(self, processor: str, name: str, value: Value) -> None:
        """Raises ParameterError where `set` would, and changes nothing."""
        slot = self.chain.slot(processor)
        self.knob(processor, name)
        native = slot.native
        if native is not None:
            native.check(name, value)

    def set(self, processor: str, name: str, value: Value, *, time: int | None = None) -> None:
        """Sets a parameter, at sample `time` of the engine's clock where that is possible."""
        with self.lock:
            slot = self.chain.slot(processor)
            native = slot.native
            if native is None or native._param(name)["setup"]:
                time = None
            slot.set(name, value, time=time)

    # ---- switches ----------------------------------------------------------------------------

    def bypass(self, processor: str, on: bool) -> None:
        """Lets sound pass by one processor."""
        with self.lock:
            self.chain.bypass(processor, on)

    def bypass_all(self, on: bool) -> None:
        """Lets sound pass by all of them; off again restores what was bypassed before."""
        with self.lock:
            if on and self._before_bypass is None:
                self._before_bypass = {s: s.bypass for s in self.chain.slots}
                for name in self.chain.names:
                    self.chain.bypass(name, True)
            elif not on and self._before_bypass is not None:
                before, self._before_bypass = self._before_bypass, None
                for slot in self.chain.slots:
                    self.chain.bypass(slot.name, before.get(slot, False))

    @property
    def all_bypassed(self) -> bool:
        """Whether `bypass_all` is on."""
        return self._before_bypass is not None

    def panic(self) -> None:
        """Fades out, forgets all sound, fades in."""
        self.engine.panic()

    def stats(self) -> EngineStats:
        """The engine's counters."""
        return self.engine.stats()

    # ---- presets -----------------------------------------------------------------------------

    def preset_names(self) -> list[str]:
        """Presets that can be loaded, sorted."""
        return self.presets.names() if self.presets is not None else []

    def load_preset(self, name: str) -> None:
        """Moves to a preset: its values where the processors are the same, else cross-faded edits."""
        wanted = self._presets().load(name)
        with self.lock:
            self._before_bypass = None
            apply(wanted, self.chain)

    def save_preset(self, name: str) -> None:
        """Writes the chain as it is under this name, over an older one."""
        presets = self._presets()
        if not presets.path(name).exists() and len(presets.names()) >= MAX_PRESETS:
            raise ChainFileError(f"there are {MAX_PRESETS} presets already; delete some")
        with self.lock:
            presets.save(name, self.chain)

    def _presets(self) -> Presets:
        if self.presets is None:
            raise ChainFileError("presets are switched off: no preset folder was given")
        return self.presets
