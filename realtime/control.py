"""What OSC may do to a running chain, by name, checked. Thread: control, several at once.

Presets are chain files in one folder; a preset is named by a word, never by a path, and may name only
what `trust.py` allows. Parameters, switches and reading never wait for a processor that is being built
or for a preset that is being loaded.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from ..plugins.external import check_external
from .chain import Chain
from .errors import ChainFileError, CspaceError, ParameterError, near
from .presets import Presets, take_over

if TYPE_CHECKING:
    from .._native import Engine, EngineStats, SlotStats
    from .slot import Moving, Slot

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
    lock : held while processors come and go
    format : gives the rate and the channels that the chain plays at once a device that went away is back
    """

    def __init__(
        self,
        chain: Chain,
        engine: Callable[[], Engine],
        *,
        presets: Path | None = None,
        lock: threading.RLock | None = None,
        format: Callable[[], tuple[float, int]] | None = None,
    ):
        self.chain = chain
        self.presets = Presets(presets) if presets is not None else None
        self.lock = lock or threading.RLock()
        self._engine = engine
        self._format = format
        self._shown: tuple[Slot, ...] | None = None  # while a preset takes over, the processors before it
        self._one_build = threading.Lock()
        self._values_lock = threading.Lock()  # held for one setting at a time, never while something is built
        self._building: dict[Slot, dict[str, tuple[Value, int | None]]] = {}  # what was set meanwhile
        if self.presets is not None:
            self.presets.trust.learn(chain)

    @property
    def engine(self) -> Engine:
        """The engine that plays now."""
        return self._engine()

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The processors in order; while a preset takes over, those that it finds."""
        return self._shown or self.chain.slots

    # ---- parameters --------------------------------------------------------------------------

    def knobs(self, processor: str) -> list[Knob]:
        """The parameters of a processor. Raises ParameterError for an unknown name."""
        return self.knobs_of(self.chain.slot(processor))

    def knobs_of(self, slot: Slot) -> list[Knob]:
        """The parameters of a processor, in the chain or not any more."""
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

    def is_timed(self, processor: str) -> bool:
        """Whether the engine sets its parameters to the sample; those from elsewhere are set when their time is."""
        return self.chain.slot(processor).native is not None

    def check(self, processor: str, name: str, value: Value) -> None:
        """Raises ParameterError where `set` would, and changes nothing."""
        slot = self.chain.slot(processor)
        self.knob(processor, name)
        native = slot.native
        if native is not None:
            native.check(name, value)
        else:
            check_external(slot.plugin, name, value)

    def set(self, processor: str, name: str, value: Value, *, time: int | None = None) -> None:
        """Sets a parameter, at sample `time` of the engine's clock where that is possible."""
        slot = self.chain.slot(processor)
        native = slot.native
        with _told(processor):
            if native is not None and native._param(name)["setup"]:
                self._build(slot, name, value)
                return
            with self._values_lock:
                slot.set(name, value, time=None if native is None else time)
                if slot in self._building:
                    self._building[slot][name] = (value, time)

    def _build(self, slot: Slot, name: str, value: Value) -> None:
        """Sets what builds a processor anew. What others set meanwhile went to the old one, so it is set again."""
        with self._one_build:
            self._building[slot] = {}
            try:
                slot.set(name, value)
            finally:
                with self._values_lock:
                    for n, (v, t) in self._building.pop(slot).items():
                        with contextlib.suppress(CspaceError, ValueError, RuntimeError):
                            slot.set(n, v, time=t)

    # ---- switches ----------------------------------------------------------------------------

    def bypass(self, processor: str, on: bool) -> None:
        """Lets sound pass by one processor."""
        with _told(processor):
            self.chain.bypass(processor, on)

    def bypassed(self, processor: str) -> bool:
        """Whether sound passes by one processor. Raises ParameterError for an unknown name."""
        return self.chain.slot(processor).bypass

    def bypass_all(self, on: bool) -> None:
        """Lets sound pass by all of them, whatever each one's own switch says; off again, those hold."""
        self.chain.bypass_all(on)

    @property
    def all_bypassed(self) -> bool:
        """Whether `bypass_all` is on."""
        return self.chain.all_bypassed

    def panic(self) -> None:
        """Fades out, forgets all sound, fades in. Nothing to do where no engine plays."""
        try:
            engine = self.engine
        except CspaceError:  # the device is away, and the next engine starts from silence
            return
        engine.panic()
        link = self.chain.link(engine)
        if link is not None:
            link.forget_timed()
            link.reset_stages()

    def stats(self) -> EngineStats:
        """The engine's counters."""
        return self.engine.stats()

    def slot_stats(self, stats: EngineStats) -> dict[str, SlotStats]:
        """The counters of each processor by its name, in order; a player of files before the chain is none."""
        link = self.chain.link(self.engine)
        by_id = {s["slot"]: s for s in stats["slots"]}
        found = ((slot.name, by_id.get(link.ids.get(slot, -1))) for slot in self.chain.slots) if link else ()
        return {name: s for name, s in found if s is not None}

    # ---- presets -----------------------------------------------------------------------------

    def preset_names(self) -> list[str]:
        """Presets that can be loaded, sorted."""
        return self.presets.names() if self.presets is not None else []

    def check_preset_name(self, name: str) -> None:
        """Raises ChainFileError for a name that no preset can have, and where presets are switched off."""
        self._presets().check(name)

    def load_preset(self, name: str) -> None:
        """Moves to a preset: its values where the processors are the same, else cross-faded edits."""
        presets = self._presets()
        presets.trust.learn(self.chain)
        wanted = presets.load(name)
        # This builds everything once, before anything changes and outside the lock.
        self.chain.check(wanted, None if self._format is None else self._format())
        with self.lock:
            self._shown = self.chain.slots
            try:
                take_over(wanted, self.chain)
            finally:
                self._shown = None

    def moving(self) -> dict[Slot, Moving]:
        """What can move in each processor, as it is now."""
        return {slot: slot.moving() for slot in self.slots}

    def save_preset(self, name: str, moving: Mapping[Slot, Moving] | None = None) -> None:
        """Writes the chain as it is under this name, over an older one; what can move as it was noted, if it was.

        Each processor's own switch is written, not whether all are bypassed for now.
        """
        presets = self._presets()
        if not presets.path(name).exists() and len(presets.names()) >= MAX_PRESETS:
            raise ChainFileError(f"there are {MAX_PRESETS} presets already; delete some")
        with self.lock:
            presets.save(name, self.chain, moving)

    def _presets(self) -> Presets:
        if self.presets is None:
            raise ChainFileError("presets are switched off: no preset folder was given")
        return self.presets


@contextlib.contextmanager
def _told(processor: str) -> Iterator[None]:
    """Errors of the engine in words: a processor may be gone by now, a queue full."""
    try:
        yield
    except CspaceError:
        raise
    except KeyError:
        raise CspaceError(f"{processor} has left the chain") from None
    except (ValueError, RuntimeError) as e:
        raise CspaceError(f"{processor}: {e}") from None
