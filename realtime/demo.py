"""The demo: twenty seconds of the bundled clip through the four processors, moved by OSC.

    python -m cspace.realtime.demo --out demo --seconds 20

Everything is the real thing: the file device plays at real-time pace, and a client moves parameters
over a UDP socket with time-tagged bundles. It leaves `out.wav`, `picture.png` and `latency.md`.
Thread: control.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from .. import _native
from ..audiofile import Reader, Writer
from ..plugins import CSpace, Eq, Esn, Kuramoto, Limiter
from ..terminal import prepare_streams
from ..wholefile import write_text
from .chain import Chain
from .clip import clip
from .clock import Clock
from .control import Control
from .errors import CspaceError, refused
from .osc import OscHandler, OscServer
from .stream import Stream

if TYPE_CHECKING:
    from .._native import EngineStats, Tap

RATE, BLOCK, CHANNELS = 48_000, 64, 2
TAP_HZ = 50
LENGTH_S = 20.0


def demo_chain() -> Chain:
    """ESN → CSpace → EQ → Kuramoto → limiter, all but the limiter at rest."""
    return Chain(
        [
            Esn(nodes=128, topology="blocks", mode="texture", wet=0.0),
            CSpace(oscillators=96, low_hz=40.0, high_hz=16_000.0, q=9.0),
            Eq(),
            Kuramoto(
                oscillators=97,
                spread="log",
                base_hz=110.0,
                span_octaves=4.0,
                tilt_db=-4.0,
                mode="entrained",
                entrain_hz=20.0,
                follow=1.0,
                harmonics=2,
                width=0.8,
                level_db=-120.0,
            ),
            Limiter(ceiling_db=-1.5),
        ],
        title="Demo",
        sample_rate=RATE,
        block=BLOCK,
    )


# ---- the moves -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Move:
    """One OSC message at a time of the piece, in shares of its length."""

    at: float
    address: str
    value: float


@dataclass(frozen=True)
class Gesture:
    """What a listener hears happen, for the picture."""

    begin: float
    end: float
    label: str
    moves: tuple[Move, ...]


def _sweep(t0: float, t1: float, address: str, a: float, b: float, *, log: bool = False, n: int = 40) -> list[Move]:
    """Even steps from a to b, or even ratios."""
    u = np.linspace(0.0, 1.0, n)
    values = a * (b / a) ** u if log else a + (b - a) * u
    return [Move(t0 + (t1 - t0) * float(x), address, float(v)) for x, v in zip(u, values, strict=True)]


def gestures() -> list[Gesture]:
    """The script of the demo; times as shares of its length."""
    kura, cspace, eq = "/chain/kuramoto/", "/chain/cspace/", "/chain/eq/"

    def g(begin: float, end: float, label: str, *moves: Move | list[Move]) -> Gesture:
        flat = [m for part in moves for m in (part if isinstance(part, list) else [part])]
        return Gesture(begin, end, label, tuple(flat))

    return [
        g(
            0.10,
            0.28,
            "Kuramoto locks onto the clip",
            Move(0.10, kura + "level_db", -20.0),
            _sweep(0.11, 0.20, kura + "level_db", -20.0, -11.0, n=20),
            Move(0.28, kura + "level_db", -22.0),
        ),
        g(
            0.30,
            0.42,
            "CSpace blurs",
            _sweep(0.30, 0.37, cspace + "blur", 1.0, 12.0, log=True),
            _sweep(0.40, 0.42, cspace + "blur", 12.0, 1.0, log=True, n=10),
        ),
        g(
            0.43,
            0.54,
            "CSpace freezes",
            Move(0.43, cspace + "resynthesis", 1.0),
            Move(0.45, cspace + "freeze", 1.0),
            _sweep(0.455, 0.475, kura + "level_db", -22.0, -4.0, n=10),  # what is held, held louder
            Move(0.525, kura + "level_db", -22.0),
            Move(0.53, cspace + "freeze", 0.0),
            Move(0.54, cspace + "resynthesis", 0.0),
        ),
        g(
            0.57,
            0.70,
            "EQ sweeps a bell",
            Move(0.565, eq + "band2_q", 2.5),
            Move(0.565, eq + "band2_center_hz", 300.0),
            Move(0.57, eq + "band2_gain_db", 12.0),
            _sweep(0.58, 0.68, eq + "band2_center_hz", 300.0, 5000.0, log=True, n=60),
            Move(0.70, eq + "band2_gain_db", 0.0),
        ),
        g(
            0.72,
            0.82,
            "ESN texture",
            _sweep(0.72, 0.75, "/chain/esn/wet", 0.0, 0.3, n=12),
            _sweep(0.79, 0.82, "/chain/esn/wet", 0.3, 0.0, n=12),
        ),
        g(
            0.84,
            0.95,
            "Kuramoto synchronises",
            Move(0.835, kura + "level_db", -20.0),
            Move(0.84, kura + "entrain_hz", 2.0),
            _sweep(0.84, 0.91, kura + "coupling_hz", 2.0, 1600.0, log=True, n=50),
            Move(0.945, kura + "coupling_hz", 2.0),
            Move(0.945, kura + "entrain_hz", 20.0),
            Move(0.97, kura + "level_db", -40.0),
        ),
    ]


def play_script(port: int, start: float, seconds: float, stop: threading.Event) -> list[tuple[float, str, float]]:
    """Sends the moves from an OSC client as bundles tagged with their time; returns what was sent when."""
    moves = sorted((m for g in gestures() for m in g.moves), key=lambda m: m.at)
    sent = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for m in moves:
            due = start + m.at * seconds
            # Half a second ahead, as a sequencer would: the time tag, not the packet, says when.
            if stop.wait(max(0.0, due - 0.5 - time.time())):
                break
            tag: Any = due  # annotated as int, but fractions of a second are the point
            bundle = OscBundleBuilder(tag)
            message = OscMessageBuilder(address=m.address)
            message.add_arg(m.value)
            bundle.add_content(message.build())
            udp.sendto(bundle.build().dgram, ("127.0.0.1", port))
            sent.append((m.at * seconds, m.address, m.value))
    return sent


# ---- the run ---------------------------------------------------------------------------------


@dataclass
class Result:
    """What the demo saw."""

    seconds: float
    rate: int
    dry: NDArray[np.float32]  # (channels, frames)
    wet: NDArray[np.float32]
    stats: EngineStats
    latencies: list[tuple[str, int]]
    moves: list[tuple[float, str, float]]
    osc_errors: int
    late_starts: int
    centers_hz: NDArray[np.float32]
    bands: tuple[NDArray[np.float64], NDArray[np.float32]] = field(repr=False)  # seconds, dB (n, oscillators)
    order: tuple[NDArray[np.float64], NDArray[np.float32]] = field(repr=False)  # seconds, r (n, 1)


class _Collector:
    """Empties a tap from time to time."""

    def __init__(self, tap: Tap):
        self._tap = tap
        self._times: list[NDArray[np.uint64]] = []
        self._values: list[NDArray[np.float32]] = []

    def read(self) -> None:
        times, values = self._tap.read()
        self._times.append(times)
        self._values.append(values)

    def all(self, rate: float) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        self.read()
        return np.concatenate(self._times) / rate, np.concatenate(self._values)


def run(out: Path, seconds: float = LENGTH_S, say: Callable[[str], Any] = print) -> Result:
    """Plays the demo in real time; `out/out.wav` is complete at the end."""
    out.mkdir(parents=True, exist_ok=True)
    source, target = out / "in.wav", out / "out.wav"
    dry = clip(seconds, RATE)
    with Writer(source, RATE, CHANNELS, frames=dry.shape[1]) as writer:
        writer.write(np.ascontiguousarray(dry.T))
    chain, stop = demo_chain(), threading.Event()
    stream = Stream(chain, input=source, output=target, channels=CHANNELS)
    with stream:
        engine = stream.engine
        hop = RATE // TAP_HZ
        bands = _Collector(engine.subscribe(stream.link.id_of(chain.slot("cspace")), "magnitude_db", hop))
        order = _Collector(engine.subscribe(stream.link.id_of(chain.slot("kuramoto")), "r", hop))
        clock = Clock(lambda: engine.sample_time, RATE, stream.block)
        handler = OscHandler(Control(chain, lambda: engine, lock=stream.lock), clock)
        with OscServer(handler, port=0) as server:
            say(f"playing {seconds:g} s in real time, moved by OSC on port {server.port} …")
            start = time.time() - engine.sample_time / RATE
            moves: list[tuple[float, str, float]] = []
            client = threading.Thread(target=lambda: moves.extend(play_script(server.port, start, seconds, stop)))
            client.start()
            try:
                while not stream.wait(0.1):
                    bands.read()
                    order.read()
            finally:
                stop.set()
                client.join()
        stats = stream.stats()
        result = Result(
            seconds=seconds,
            rate=RATE,
            dry=dry,
            wet=dry,
            stats=stats["engine"],
            latencies=_latencies(chain),
            moves=moves,
            osc_errors=handler.errors,
            late_starts=stats["late_starts"],
            centers_hz=_centers(chain),
            bands=bands.all(RATE),
            order=order.all(RATE),
        )
    with Reader(target) as reader:
        result.wet = np.concatenate(list(reader.blocks(65_536))).T
    return result


def _latencies(chain: Chain) -> list[tuple[str, int]]:
    """Exact latency of each processor in samples, at the demo's rate."""
    found = []
    for slot in chain.slots:
        if slot.native is not None:
            core = slot.native._build()
            core.prepare(RATE, BLOCK, CHANNELS)
            found.append((slot.name, core.latency_samples))
    return found


def _centers(chain: Chain) -> NDArray[np.float32]:
    core = chain["cspace"]._build()
    core.prepare(RATE, BLOCK, CHANNELS)
    core.process(np.zeros((CHANNELS, BLOCK), np.float32))
    centers: NDArray[np.float32] = core.tap("center_hz")
    return centers


def timed_run(chain: Chain, seconds: float, block: int) -> tuple[EngineStats, float]:
    """Runs a chain over the bundled clip as fast as it goes; times of each block."""
    if not 0.1 <= seconds <= 3600:
        raise CspaceError(f"seconds = {refused(seconds, 0.1, 3600.0)} is not allowed, use 0.1 to 3600")
    if not 1 <= block <= 8192:
        raise CspaceError(f"block = {block} is not allowed, use 1 to 8192")
    rate = chain.sample_rate or RATE
    engine = _native.Engine(rate, CHANNELS, block)
    chain.attach(engine, live=False)
    x = clip(min(seconds, LENGTH_S), round(rate))
    engine.process(np.ascontiguousarray(x[:, : round(rate * 0.5)]))  # the first touch of memory is no part of it
    engine.reset_stats()
    left = round(seconds * rate)
    while left > 0:
        engine.process(np.ascontiguousarray(x[:, :left]))
        left -= x.shape[1]
    stats = engine.stats()
    chain.detach(engine)
    return stats, rate


# ---- the table -------------------------------------------------------------------------------


def latency_rows(stats: EngineStats, block: int, rate: float) -> list[tuple[str, ...]]:
    """Name, p50, p99, p99.9, max in µs, and p99 as share of the deadline; the whole block last."""
    deadline = block / rate * 1e6
    listed = [*((s["name"], s["time"]) for s in stats["slots"]), ("whole block", stats["time"])]
    return [
        (
            name,
            *(f"{us:.1f}" for us in (t["p50_us"], t["p99_us"], t["p999_us"], t["max_us"])),
            f"{100 * t['p99_us'] / deadline:.2f} %",
        )
        for name, t in listed
    ]


def latency_table(result: Result, block: int = BLOCK) -> str:
    """The table as Markdown."""
    known = dict(result.latencies)
    deadline = block / result.rate * 1e6
    lines = [
        f"# Latency of the demo: {block} frames at {result.rate} Hz, deadline {deadline:.0f} µs",
        "",
        f"{result.stats['blocks']} blocks, {result.stats['deadline_misses']} missed deadlines, mean load "
        f"{100 * result.stats['load']:.1f} %.",
        "",
        "| processor | p50 µs | p99 µs | p99.9 µs | max µs | p99 of deadline | latency, samples |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    total = sum(known.values())
    for row in latency_rows(result.stats, block, result.rate):
        samples = total if row[0] == "whole block" else known.get(row[0], 0)
        lines.append("| " + " | ".join((*row, str(samples))) + " |")
    lines += ["", f"Through the whole chain: {total} samples, {1e3 * total / result.rate:.2f} ms, plus the device's."]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Plays the demo and says where its files are."""
    parser = argparse.ArgumentParser(prog="python -m cspace.realtime.demo", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for what it leaves (default: demo)")
    parser.add_argument("--seconds", type=float, default=LENGTH_S, help="2 to 60 (default: 20)")
    args = parser.parse_args(argv)
    prepare_streams()
    if not 2.0 <= args.seconds <= 60.0:
        parser.error("--seconds takes 2 to 60")
    from .demoplot import save_picture

    try:
        result = run(args.out, args.seconds)
    except (CspaceError, OSError) as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1
    table = latency_table(result)
    write_text(args.out / "latency.md", table)
    save_picture(result, gestures(), args.out / "picture.png")
    print(table)
    print(f"{len(result.moves)} OSC moves, {result.osc_errors} errors, peak {np.abs(result.wet).max():.3f}")
    print(f"sound   {args.out / 'out.wav'}\npicture {args.out / 'picture.png'}\ntimes   {args.out / 'latency.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
