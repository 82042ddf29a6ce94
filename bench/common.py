"""Timing in turns, rows with targets, and how they are printed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field


@dataclass
class Row:
    """One figure of ours beside one rival's."""

    bench: str
    what: str
    unit: str
    ours: float
    rival_name: str = ""
    rival: float | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    target: str = ""
    met: bool | None = None
    how: str = ""
    extra: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call, unless it returns a float: then the seconds it says it took itself."""
    start = time.perf_counter()
    own = call()
    return own if isinstance(own, float) else time.perf_counter() - start


@dataclass
class Race:
    """Medians over rounds in which both sides took a turn."""

    ours: float
    rival: float
    ratio: float
    spread: tuple[float, float]
    how: str


def race(ours: Callable[[], object], rival: Callable[[], object], *, work: tuple[float, float], rounds: int) -> Race:
    """Lets `ours` and `rival` take turns; `work` is the units each call does. Times are in ns per unit."""
    ours()
    rival()
    pairs = [(seconds(ours) * 1e9 / work[0], seconds(rival) * 1e9 / work[1]) for _ in range(rounds)]
    ratios = [r / o for o, r in pairs]
    return Race(
        ours=statistics.median(o for o, _ in pairs),
        rival=statistics.median(r for _, r in pairs),
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        how=f"median of {rounds} rounds in turns",
    )


def best_of(call: Callable[[], object], *, work: float, rounds: int) -> float:
    """Median ns per unit of `rounds` calls after a first unmeasured one."""
    call()
    return statistics.median(seconds(call) * 1e9 / work for _ in range(rounds))
