"""A chain mirrored in an engine: every edit of the list becomes a cross-faded edit there.

Thread: control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from .. import _native
from ..plugins._base import OfflineStage
from ..plugins.externalstage import External, WorkerThread
from .errors import CspaceError, ParameterError
from .slot import Slot

T = TypeVar("T")


class Link:
    """One engine that follows a chain.

    Parameters
    ----------
    engine : the engine, still empty
    slots : what to fill it with
    live : a device or a paced stream will drive it, so plugins from elsewhere get a worker thread
        instead of running in the block loop
    bind : whether later changes of plugin parameters reach this engine

    `offset` counts the engine's slots in front of the chain that are not of it, such as a player of
    files. Slots behind the chain need no count: a slot goes in front of another, or to the end only
    if there is none.
    """

    def __init__(self, engine: _native.Engine, slots: Sequence[Slot], *, live: bool, bind: bool = True):
        self.engine = engine
        self.live = live
        self.offset = 0
        self._bind = bind
        self._all_bypassed = False
        engine.live = live  # models get workers
        self._ids: dict[Slot, int] = {}
        self._workers: dict[Slot, WorkerThread] = {}
        self._externals: dict[Slot, External] = {}
        try:
            for i, slot in enumerate(slots):
                self.insert(i, slot)
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> list[Slot]:
        """The slots here, in no order."""
        return list(self._ids)

    @property
    def ids(self) -> dict[Slot, int]:
        """The engine's id of each slot."""
        return dict(self._ids)

    def id_of(self, slot: Slot) -> int:
        """The engine's id of a slot."""
        return self._ids[slot]

    @property
    def has_workers(self) -> bool:
        """Whether plugins from elsewhere play here on threads of their own."""
        return bool(self._workers)

    def external_of(self, slot: Slot) -> External | None:
        """The stage that runs a plugin from elsewhere here, None for native ones."""
        return self._externals.get(slot)

    # ---- edits -------------------------------------------------------------------------------

    def insert(self, index: int, slot: Slot) -> None:
        """Adds a slot; in the engine it fades in."""
        native = slot.native
        stage = None
        if native is not None and not self.live:
            stage = native.offline_stage(self.engine.sample_rate, self.engine.channels)
        if stage is not None:
            engine_id = self._insert_stage(index, slot, stage)
        elif native is not None:
            core = native._build()
            engine_id = self._call(slot, lambda: self.engine.insert(self.offset + index, core))
            if self._bind:
                native._bind(self.engine, engine_id)
        else:
            engine_id = self._insert_external(index, slot)
        self._ids[slot] = engine_id
        if slot.bypass or self._all_bypassed:
            self._call(slot, lambda: self.engine.bypass(engine_id, True))

    def _insert_stage(self, index: int, slot: Slot, stage: OfflineStage) -> int:
        tail = stage.tail_samples
        return self._call(
            slot,
            lambda: self.engine.insert_inline(self.offset + index, stage.process, 0, tail, slot.name, stage.reset),
        )

    def _insert_external(self, index: int, slot: Slot) -> int:
        stage = slot.external(self.engine.sample_rate, self.engine.channels)
        latency, tail = stage.latency_samples, stage.tail_samples
        self._externals[slot] = stage
        if not self.live:
            return self._call(
                slot,
                lambda: self.engine.insert_inline(index, stage.process, latency, tail, slot.name, stage.reset),
            )
        index += self.offset
        total = stage.live_latency(self.engine.max_block)
        worker = self._call(slot, lambda: self.engine.insert_worker(index, stage.hop, total, tail, slot.name))
        self._workers[slot] = WorkerThread(worker, stage)
        return worker.slot

    def remove(self, slot: Slot) -> None:
        """Takes a slot out; in the engine it fades out."""
        self._call(slot, lambda: self.engine.remove(self._ids[slot]))
        del self._ids[slot]
        self._release(slot)

    def move(self, slot: Slot, index: int) -> None:
        """Gives a slot another place."""
        self._call(slot, lambda: self.engine.move(self._ids[slot], self.offset + index))

    def bypass(self, slot: Slot, on: bool) -> None:
        """Lets sound pass by a slot, delayed alike."""
        self._call(slot, lambda: self.engine.bypass(self._ids[slot], on or self._all_bypassed))

    def bypass_all(self, on: bool) -> None:
        """Lets sound pass by all slots, those to come too; off again, each one's own switch holds."""
        self._all_bypassed = on
        for slot in self.slots:
            self.bypass(slot, slot.bypass)

    def replace(self, old: Slot, new: Slot, index: int) -> None:
        """Puts `new` where `old` is; between native plugins of one type the slot keeps its taps."""
        a, b = old.native, new.native
        staged = not self.live and b is not None and b.staged
        if a is None or b is None or a.native_name != b.native_name or staged:
            self.insert(index, new)
            self.remove(old)
            return
        engine_id = self._ids[old]
        core = b._build()
        self._call(new, lambda: self.engine.replace(engine_id, core))
        del self._ids[old]
        self._ids[new] = engine_id
        self._release(old)
        if self._bind:
            b._bind(self.engine, engine_id)
        if old.bypass != new.bypass:
            self.bypass(new, new.bypass)

    def close(self) -> None:
        """Stops workers and lets go of the plugins; the engine itself is left as it is."""
        for slot in [*self._ids]:
            del self._ids[slot]
            self._release(slot)

    # ---- inside ------------------------------------------------------------------------------

    def _release(self, slot: Slot) -> None:
        native = slot.native
        if native is not None and self._bind:
            native._unbind(self.engine)
        worker = self._workers.pop(slot, None)
        if worker is not None:
            worker.stop()
        self._externals.pop(slot, None)

    def _call(self, slot: Slot, edit: Callable[[], T]) -> T:
        try:
            return edit()
        except ValueError as e:  # a processor that cannot be prepared with these settings
            raise ParameterError(f"{slot.name}: {e}") from None
        except RuntimeError as e:
            raise CspaceError(f"{slot.name}: {e}") from None
