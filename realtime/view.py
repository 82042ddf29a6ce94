"""The terminal view of a running stream: meters, order parameter, times, counters. Thread: control."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..terminal import clean
from .errors import CspaceError

if TYPE_CHECKING:
    from .._native import Tap
    from .osc import OscHandler
    from .stream import Stream, StreamStats

FLOOR_DB = -60.0
_WIDTH = 36


class OrderParameter:
    """The newest order parameter r of the first kuramoto in the chain; None where there is none."""

    def __init__(self, stream: Stream):
        self._stream = stream
        self._tap: Tap | None = None
        self._of: tuple[int, int] | None = None
        self._r: float | None = None

    def read(self) -> float | None:
        """0 to 1, or None."""
        slot = next((s for s in self._stream.chain.slots if s.type_name == "kuramoto"), None)
        if slot is None:
            self._tap = self._of = self._r = None
            return None
        try:
            at = (id(self._stream.engine), self._stream.link.id_of(slot))
            if self._tap is None or at != self._of:
                self._tap = self._stream.engine.subscribe(at[1], "r", max(1, round(self._stream.sample_rate / 20)))
                self._of = at
            _, values = self._tap.read()
            if len(values):
                self._r = float(np.clip(values[-1, 0], 0.0, 1.0))
        except (CspaceError, KeyError, ValueError, RuntimeError):  # the chain changes under our feet
            self._tap = None
        return self._r


def bar(share: float, width: int = _WIDTH, *, warn: float = 2.0) -> Text:
    """A bar filled to `share` (0 to 1), red from `warn` on."""
    share = min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    full = round(share * width * 8)
    text = "█" * (full // 8) + ("▏▎▍▌▋▊▉"[full % 8 - 1] if full % 8 else "")
    return Text(text.ljust(width), style="red" if share >= warn else "green", no_wrap=True)


def decibels(level: float) -> float:
    """Linear level to dB, not below the floor."""
    return max(20.0 * math.log10(level), FLOOR_DB) if level > 0 else FLOOR_DB


def render_view(
    stream: Stream, stats: StreamStats, order: float | None, osc: OscHandler | None, address: str
) -> RenderableType:
    """One picture of the stream."""
    engine, deadline_us = stats["engine"], stream.block / stream.sample_rate * 1e6
    meters = Table.grid(padding=(0, 1))
    for kind, levels in (("in", engine["input_peak"]), ("out", engine["output_peak"])):
        for c, level in enumerate(levels[:8]):
            db = decibels(level)
            meters.add_row(f"{kind} {c + 1}", bar(1 - db / FLOOR_DB, warn=1.0), f"{db:6.1f} dB")
    if order is not None:
        meters.add_row("order r", bar(order), f"{order:6.3f}")
    meters.add_row("load", bar(engine["load"], warn=0.8), f"{100 * engine['load']:6.1f} %")

    time = engine["time"]
    facts = Table.grid(padding=(0, 2))
    facts.add_row(
        f"block p50 {time['p50_us']:.0f} · p99 {time['p99_us']:.0f} · max {time['max_us']:.0f} µs of {deadline_us:.0f}",
        f"latency {stats['latency_samples']} samples ({1e3 * stats['latency_samples'] / stream.sample_rate:.1f} ms)",
    )
    facts.add_row(
        f"missed deadlines {engine['deadline_misses']} · xruns {engine['input_xruns'] + engine['output_xruns']}"
        f" · late starts {stats['late_starts']} · stalls {stats['stalls']}",
        f"late model blocks {stats['late_blocks']}" + _gaps(stats),
    )
    parts: list[RenderableType] = [meters, Text(), facts, Text(), _slots(stream, stats)]
    if osc is not None:
        line = f"OSC {address}: {osc.counts['messages']} messages, {osc.errors} errors"
        line += f", {osc.counts['dropped_by_system']} lost" if osc.counts["dropped_by_system"] else ""
        parts.append(Text(f"{line}, last: {clean(osc.last_error[:90])}" if osc.last_error else line))
    seconds = engine["sample_time"] / stream.sample_rate
    title = f"{stats['name']} · {stream.sample_rate:g} Hz · {stream.block} frames · {seconds:.1f} s"
    return Panel(
        Group(*parts), title=Text(clean(title)), subtitle="Ctrl-C stops", border_style="red" if stream.lost else "cyan"
    )


def _slots(stream: Stream, stats: StreamStats) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for heading in ("processor", "p50 µs", "p99 µs", "late", "faults", ""):
        table.add_column(heading, justify="left" if heading in ("processor", "") else "right")
    by_id = {s["slot"]: s for s in stats["engine"]["slots"]}
    for slot in stream.chain.slots:
        s = None
        with contextlib.suppress(CspaceError, KeyError):
            s = by_id.get(stream.link.id_of(slot))
        if s is None:
            continue
        note = "out of use" if s["out_of_use"] else "bypassed" if slot.bypass or stream.chain.all_bypassed else ""
        time = s["time"]
        table.add_row(
            slot.name, f"{time['p50_us']:.1f}", f"{time['p99_us']:.1f}", str(s["late_blocks"]), str(s["faults"]), note
        )
    return table


def _gaps(stats: StreamStats) -> str:
    return f", gaps in the file {stats['file_gaps']}" if stats["file_gaps"] else ""


def summary(stream: Stream, stats: StreamStats, osc: OscHandler | None) -> str:
    """The stream in one line, for the end and for logs."""
    engine = stats["engine"]
    deadline_us = stream.block / stream.sample_rate * 1e6
    p99 = engine["time"]["p99_us"]
    line = (
        f"{engine['sample_time'] / stream.sample_rate:.1f} s played, load {100 * engine['load']:.1f} %, block p99 "
        f"{p99:.0f} µs of {deadline_us:.0f}, missed {engine['deadline_misses']}, "
        f"xruns {engine['input_xruns'] + engine['output_xruns']}, late model blocks {stats['late_blocks']}"
        + _gaps(stats)
    )
    return line + (f", OSC {osc.counts['messages']} messages, {osc.errors} errors" if osc else "")
