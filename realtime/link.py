"""A chain mirrored in an engine: every edit of the list becomes a cross-faded edit there.

Neighbouring plugins from elsewhere share one place in the engine: one stage, one worker thread, one
delay. Thread: control.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from .. import _native
from ..plugins._base import OfflineStage
from ..plugins.externalstage import TAIL_S, External, Member, check_free, claim, offline_latency, unclaim
from ..plugins.externalways import Way, way_of
from ..plugins.externalworker import WorkerThread
from .errors import CspaceError, ParameterError
from .slot import Slot

T = TypeVar("T")


@dataclass
class _Run:
    """Neighbouring plugins from elsewhere in one place of the engine."""

    id: int
    slots: list[Slot]
    stage: External
    worker: WorkerThread | None


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
        self._switch = threading.RLock()  # held for a switch, and while a slot comes or goes; never while one is built
        engine.live = live  # models get workers
        self._order: list[Slot] = []
        self._ids: dict[Slot, int] = {}  # of native slots
        self._members: dict[Slot, Member] = {}  # of the others
        self._runs: list[_Run] = []
        try:
            for i, slot in enumerate(slots):
                self.insert(i, slot)
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> list[Slot]:
        """The slots here, in order."""
        return list(self._order)

    @property
    def ids(self) -> dict[Slot, int]:
        """The engine's id of each slot that is in it now; neighbouring plugins from elsewhere have one in common."""
        found = {}
        for slot in list(self._order):
            with contextlib.suppress(KeyError):  # it leaves or arrives at this moment
                found[slot] = self.id_of(slot)
        return found

    def id_of(self, slot: Slot) -> int:
        """The engine's id of a slot; neighbouring plugins from elsewhere have one in common."""
        run = self._run_of(slot)
        return self._ids[slot] if run is None else run.id

    def reset_stages(self) -> None:
        """Plugins from elsewhere forget their sound; the engine itself resets native ones. Never waits for a worker."""
        for run in list(self._runs):
            if run.worker is not None:
                run.stage.forget()  # before its next hop; the engine throws away what is under way
                continue
            with contextlib.suppress(Exception):  # one that fails is told of when it plays; the others come after it
                run.stage.reset()

    def forget_timed(self) -> None:
        """Native plugins forget what the engine held for later, after a panic that cancelled it there."""
        for slot in list(self._ids):
            if slot.native is not None:
                slot.native._forget_timed(self.engine)

    @property
    def has_workers(self) -> bool:
        """Whether plugins from elsewhere play here on threads of their own."""
        return any(run.worker is not None for run in self._runs)

    def external_of(self, slot: Slot) -> External | None:
        """The stage that runs a plugin from elsewhere here, None for native ones."""
        run = self._run_of(slot)
        return None if run is None else run.stage

    def _run_of(self, slot: Slot) -> _Run | None:
        return next((run for run in self._runs if slot in run.slots), None)

    def _place(self, index: int) -> int:
        """The place in the engine of what stands at `index` of the chain's order, its neighbours in one."""
        before = self._order[:index]
        firsts = sum(1 for i, s in enumerate(before) if s.native is not None or i == 0 or before[i - 1].native)
        return self.offset + firsts

    # ---- edits -------------------------------------------------------------------------------

    def insert(self, index: int, slot: Slot) -> None:
        """Adds a slot; in the engine it fades in."""
        order = [*self._order[:index], slot, *self._order[index:]]
        if slot.native is None:
            (claim if self.live else check_free)(slot.plugin, self)
            try:
                off = slot.bypass or self._all_bypassed
                self._members[slot] = Member(slot.plugin, self.engine.sample_rate, self.engine.channels, off)
                self._arrange(order)
                with self._switch:  # it may have been switched meanwhile
                    self._members[slot].bypass = slot.bypass or self._all_bypassed
            except BaseException:
                self._members.pop(slot, None)
                unclaim(slot.plugin, self)
                raise
            return
        at = self._place(index)
        between = 0 < index < len(self._order) and not (self._order[index - 1].native or self._order[index].native)
        self._ids[slot] = self._insert_native(at, slot)
        try:
            if between:  # it parts a run in two
                self._arrange(order)
            with self._switch:
                self._order = order
                if slot.bypass or self._all_bypassed:
                    self._call(slot, lambda: self.engine.bypass(self._ids[slot], True))
        except BaseException:
            self._order = [s for s in order if s is not slot]
            self._take_out(slot)
            raise

    def _insert_native(self, at: int, slot: Slot) -> int:
        native = slot.native
        assert native is not None
        stage = None if self.live else native.offline_stage(self.engine.sample_rate, self.engine.channels)
        if stage is not None:
            return self._insert_stage(at, slot, stage)
        core = native._build()
        engine_id = self._call(slot, lambda: self.engine.insert(at, core))
        if self._bind:
            native._bind(self.engine, engine_id)
        return engine_id

    def _insert_stage(self, at: int, slot: Slot, stage: OfflineStage) -> int:
        tail = stage.tail_samples
        return self._call(
            slot,
            lambda: self.engine.insert_inline(
                at, stage.process, 0, tail, slot.name, stage.reset, (stage.keep, stage.put_back)
            ),
        )

    def remove(self, slot: Slot) -> None:
        """Takes a slot out; in the engine it fades out."""
        order = [s for s in self._order if s is not slot]
        if slot.native is None:
            self._arrange(order)
            del self._members[slot]
            unclaim(slot.plugin, self)
        else:
            self._take_out(slot)
            self._arrange(order)

    def move(self, slot: Slot, index: int) -> None:
        """Gives a slot another place."""
        order = [s for s in self._order if s is not slot]
        self._arrange([*order[:index], slot, *order[index:]])

    def bypass(self, slot: Slot, on: bool) -> None:
        """Lets sound pass by a slot, delayed alike. One that is not here now is switched as it comes."""
        with self._switch:
            off = on or self._all_bypassed
            if slot in self._members:
                self._members[slot].bypass = off
            elif slot in self._ids:
                self._call(slot, lambda: self.engine.bypass(self._ids[slot], off))

    def bypass_all(self, on: bool) -> None:
        """Lets sound pass by all slots, those to come too; off again, each one's own switch holds."""
        with self._switch:
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
        with self._switch:
            timed = a._take_timed(self.engine) if self._bind else []  # the engine holds it for the place
            self._forget(old)
            self._ids[new] = engine_id
            self._order[self._order.index(old)] = new
            if self._bind:
                b._bind(self.engine, engine_id)
                b._expect(timed)
            if old.bypass != new.bypass:
                self.bypass(new, new.bypass)

    def bind(self) -> None:
        """From now on changes of plugin parameters reach this engine."""
        if not self._bind:
            self._bind = True
            for slot, engine_id in self._ids.items():
                if slot.native is not None and not slot.native.staged:
                    slot.native._bind(self.engine, engine_id)

    def close(self) -> None:
        """Stops workers and lets go of the plugins; the engine itself is left as it is."""
        for run in self._runs:
            self._end(run)
        for slot in [*self._ids]:
            self._forget(slot)
        for slot in self._members:
            unclaim(slot.plugin, self)
        self._order, self._runs, self._members = [], [], {}

    # ---- inside: runs of plugins from elsewhere ----------------------------------------------

    def _arrange(self, order: list[Slot]) -> None:
        """Brings runs and places in the engine in line with `order`; if that fails, back to what was."""
        before = self._order
        try:
            self._set_runs(order)
        except BaseException:
            self._set_runs(before)
            raise
        self._order = order

    def _set_runs(self, order: list[Slot]) -> None:
        wanted = _runs(order)
        free = list(self._runs)
        kept: list[tuple[list[Slot], _Run | None]] = []
        for slots in wanted:
            members = [self._members[s] for s in slots]
            near = max(free, key=lambda run: len(set(run.slots) & set(slots)), default=None)
            if near is not None and (not set(near.slots) & set(slots) or not near.stage.takes(members)):
                near = None
            if near is not None:
                free.remove(near)
            kept.append((slots, near))
        # A plugin leaves one stage before it plays in another: there is one of it.
        for slots, run in kept:
            if run is not None:
                self._edit(run, [s for s in run.slots if s in slots])
        for run in free:
            run.stage.edit([])
        for slots, run in kept:
            if run is None:
                self._runs.append(self._insert_run(self._places(order).index(slots[0]), slots))
            else:
                self._edit(run, slots)
        for run in free:
            self._call(run.slots[0], partial(self.engine.remove, run.id))
            self._runs.remove(run)
            self._end(run)
        for i, slot in enumerate(self._places(order)):
            engine_id = self.id_of(slot)
            if self.engine.slots()[self.offset + i] != engine_id:
                self._call(slot, partial(self.engine.move, engine_id, self.offset + i))

    def _places(self, order: list[Slot]) -> list[Slot]:
        """What has a place of its own in the engine: native slots, and the first of each run."""
        return [s for i, s in enumerate(order) if s.native is not None or i == 0 or order[i - 1].native is not None]

    def _edit(self, run: _Run, slots: list[Slot]) -> None:
        if slots != run.slots:
            run.stage.edit([self._members[s] for s in slots])
            run.slots = slots

    def _insert_run(self, place: int, slots: list[Slot]) -> _Run:
        stage = External([self._members[s] for s in slots])
        name = "+".join(s.name for s in slots)
        at = min(self.offset + place, len(self.engine.slots()))
        if not self.live:
            engine_id = self._call(
                slots[0],
                lambda: self.engine.insert_inline(
                    at, stage.process, stage.latency_samples, stage.tail_samples, name, stage.reset
                ),
            )
            return _Run(engine_id, slots, stage, None)
        total = stage.live_latency(self.engine.max_block)
        worker = self._call(slots[0], lambda: self.engine.insert_worker(at, stage.hop, total, stage.tail_samples, name))
        return _Run(worker.slot, slots, stage, WorkerThread(worker, stage))

    def _end(self, run: _Run) -> None:
        if run.worker is not None:
            run.worker.stop()

    # ---- inside ------------------------------------------------------------------------------

    def _take_out(self, slot: Slot) -> None:
        with self._switch:
            self._call(slot, lambda: self.engine.remove(self._ids[slot]))
            self._forget(slot)

    def _forget(self, slot: Slot) -> None:
        del self._ids[slot]
        native = slot.native
        if native is not None and self._bind:
            native._unbind(self.engine)

    def _call(self, slot: Slot, edit: Callable[[], T]) -> T:
        try:
            return edit()
        except ValueError as e:  # a processor that cannot be prepared with these settings
            raise ParameterError(f"{slot.name}: {e}") from None
        except RuntimeError as e:
            raise CspaceError(f"{slot.name}: {e}") from None


def _runs(order: Sequence[Slot]) -> list[list[Slot]]:
    """Neighbours that are not native, run by run."""
    runs: list[list[Slot]] = []
    for i, slot in enumerate(order):
        if slot.native is not None:
            continue
        if i and order[i - 1].native is None:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    return runs


def foreign_figures(slots: Sequence[Slot], sample_rate: float) -> dict[str, int]:
    """`latency_samples` and `tail_samples` of the plugins from elsewhere in an engine that no device drives.

    In stereo if they can. Those that cannot play in an engine have no latency: what they withhold is taken out.
    """
    late = tail = 0
    for run in _runs(slots):
        members = [m for m in (_member(s, sample_rate) for s in run) if m is not None]
        late += offline_latency(members)
        tail += int(TAIL_S * sample_rate) * len(run)
    return {"latency_samples": late, "tail_samples": tail}


def _member(slot: Slot, sample_rate: float) -> Member | None:
    try:
        return _member_for(slot, sample_rate, 2)
    except CspaceError:
        return _member_for(slot, sample_rate, 1)


def _member_for(slot: Slot, sample_rate: float, channels: int) -> Member | None:
    if way_of(slot.plugin, sample_rate, channels) is Way.WHOLE:
        return None
    return Member(slot.plugin, sample_rate, channels)
