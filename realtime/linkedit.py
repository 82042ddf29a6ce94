"""From one list of slots to another in an engine, by the edits that an engine has.

Thread: control.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

from .errors import CspaceError
from .slot import Slot

PLACES = 32  # of an engine, those on their way out included
_FULL = f"holds {PLACES} processors at most"


class Editable(Protocol):
    """The part of `Link` that edits go through."""

    def insert(self, index: int, slot: Slot) -> None:
        """Adds a slot."""
        ...

    def remove(self, slot: Slot) -> None:
        """Takes a slot out."""
        ...

    def move(self, slot: Slot, index: int) -> None:
        """Gives a slot the place it has afterwards."""
        ...

    def replace(self, old: Slot, new: Slot, index: int) -> None:
        """Puts `new` where `old` is."""
        ...


def edit(link: Editable, now: Sequence[Slot], wanted: Sequence[Slot]) -> None:
    """Makes the engine hold `wanted` where it holds `now`; if an edit is refused, `now` again. Raises CspaceError."""
    order = list(now)
    try:
        _edit(link, order, wanted)
    except CspaceError as e:
        with contextlib.suppress(CspaceError):  # the refusal itself is what is told
            _edit(link, order, now)
        coming = len(set(wanted) - set(now))
        if _FULL in str(e) and len(wanted) <= PLACES:  # the engine's words are true of the engine, not of the list
            raise CspaceError(
                f"{len(now)} processors play and {coming} come: an engine has {PLACES} places, and those that leave "
                "keep theirs until the others are in; take some out first"
            ) from None
        raise


def edit_all(links: Sequence[Editable], now: Sequence[Slot], wanted: Sequence[Slot]) -> None:
    """`edit` of several engines: all of them, or none."""
    done: list[Editable] = []
    try:
        for link in links:
            edit(link, now, wanted)
            done.append(link)
    except CspaceError:
        for link in done:
            with contextlib.suppress(CspaceError):
                edit(link, wanted, now)
        raise


def _edit(link: Editable, order: list[Slot], wanted: Sequence[Slot]) -> None:
    """What may be refused comes first: exchanges and newcomers, then those that leave, then moves."""
    keep, there = set(wanted), set(order)
    if len(order) == len(wanted):
        for i, (old, new) in enumerate(zip(order, wanted, strict=True)):
            if old not in keep and new not in there:
                link.replace(old, new, i)
                order[i] = new
    before: Slot | None = None
    for slot in wanted:
        if slot not in order:
            at = 0 if before is None else order.index(before) + 1
            link.insert(at, slot)
            order.insert(at, slot)
        before = slot
    for slot in [s for s in order if s not in keep]:
        link.remove(slot)
        order.remove(slot)
    for i, slot in enumerate(wanted):
        if order[i] is not slot:
            link.move(slot, i)
            order.remove(slot)
            order.insert(i, slot)


__all__ = ["PLACES", "Editable", "edit", "edit_all"]
