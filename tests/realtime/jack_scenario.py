"""What the JACK tests run in a process of their own; prints one JSON object on stdout.

python -m tests.realtime.jack_scenario loop --period 64 --seconds 20 --out FOLDER
python -m tests.realtime.jack_scenario play --seconds 8 --out FOLDER
python -m tests.realtime.jack_scenario model --seconds 8 --out FOLDER
python -m tests.realtime.jack_scenario codec --seconds 4 --out FOLDER
python -m tests.realtime.jack_scenario record --seconds 3 --out FOLDER
python -m tests.realtime.jack_scenario vanish
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.jack_gil import hold_gil, python_callback
from bench.jackd import Server, server
from cspace.audiofile import Writer
from cspace.plugins import CSpace, Eq, Esn, Gain, Kuramoto, Limiter
from cspace.realtime import Chain, DeviceError, DeviceLost, Stream
from tests.realtime.jack_peer import signal

SPARE_MS = 20.0  # of the hosted model: the machine may be busy with anything


def chain() -> Chain:
    """All that the main job has, none of it neutral."""
    return Chain(
        [
            Esn(nodes=64, mode="texture", wet=0.2),
            CSpace(resynthesis=0.3),
            Eq(low_gain_db=3.0, band2_gain_db=-2.0),
            Kuramoto(mode="entrained"),
            Limiter(),
        ]
    )


def loop(period: int, seconds: float, out: Path) -> dict[str, Any]:
    """Full duplex against a peer while the GIL is held, then a Python callback."""
    with server("loop", period) as jack:
        live = chain()
        with Stream(live, input="system", output="system", block=period, sample_rate=48_000) as stream:
            time.sleep(0.3)
            tap = stream.engine.subscribe(stream.link.id_of(live.slot("esn")), "state", period)
            peer = subprocess.Popen(
                [sys.executable, "-m", "tests.realtime.jack_peer", "--seconds", f"{seconds + 3}", "--out", str(out)],
                stdout=sys.stderr,
            )
            start = None
            for _ in range(200):  # the block in which the signal arrives, in the engine's own time
                time.sleep(0.02)
                times, states = tap.read()
                heard = np.flatnonzero(np.abs(states).max(axis=1, initial=0.0) > 0)
                if len(heard):
                    start = int(times[heard[0]]) - period
                    break
            t0, n0 = time.monotonic(), stream.engine.sample_time
            longest = hold_gil(seconds)
            t1, n1 = time.monotonic(), stream.engine.sample_time
            peer.wait(timeout=60)
            stats = stream.stats()["engine"]
        asked = (t1 - t0) * 48_000 / period
        return {
            "realtime": jack.realtime,
            "start": start,
            "share": (n1 - n0) / period / asked,
            "asked": asked,
            "longest_c_call_s": longest,
            "panics": stats["panics"],
            "xruns": stats["input_xruns"] + stats["output_xruns"],
            "p99_us": stats["time"]["p99_us"],
            "python": python_callback(period, 5.0),
        }


def vanish() -> dict[str, Any]:
    """The server is killed while it plays, and comes back."""
    result: dict[str, Any] = {}
    jack = Server("vanish", 128)
    jack.start()
    lost = threading.Event()
    stream = Stream(Chain([Gain()]), input="system", output="system", block=128, on_lost=lambda e: lost.set())
    with stream:
        time.sleep(0.5)
        result["played"] = stream.engine.sample_time
        jack.kill()
        began = time.monotonic()
        result["reported"] = lost.wait(10)
        result["after_s"] = time.monotonic() - began
        try:
            stream.wait(5)
        except DeviceLost as e:
            result["lost"] = str(e)
        try:
            stream.reopen()
        except DeviceError as e:
            result["while_away"] = str(e)
        result["again"] = []
        for _ in range(2):
            jack.start()
            stream.chain["gain"].gain_db = -6.0  # edits while it is closed count too
            stream.reopen()
            time.sleep(1.0)
            result["again"].append(stream.engine.sample_time)
            lost.clear()
            jack.kill()
            lost.wait(10)
    jack.start()
    jack.stop()  # so that JACK forgets the name
    return result


def model_chain(out: Path) -> Chain:
    """A hosted model that remembers, and a filter behind it."""
    from cspace.plugins import OnnxStream
    from tests.export import models

    if not (out / "fir").exists():
        models.package(out / "fir", models.fir([0.5, -0.25, 0.125], 64))
    return Chain([OnnxStream(out / "fir", spare_ms=SPARE_MS), Eq(low_gain_db=3.0)])


def codec_chain() -> Chain:
    """The codec, which wants 24 kHz."""
    from cspace.plugins import Codec

    return Chain([Codec("phase96", quality=64.0, spare_ms=SPARE_MS)])


def play(period: int, seconds: float, out: Path, *, live: Chain | None = None, rate: int = 48_000) -> dict[str, Any]:
    """A file to the device; a peer hears the middle of it. At another rate the same samples take longer or shorter."""
    with server("play" if live is None else "model", period, rate):
        Path(out).mkdir(exist_ok=True)
        write_signal(out / "in.wav", seconds, rate)
        live = chain() if live is None else live
        with Stream(live, input=out / "in.wav", output="system", block=period, tail_s=0.2) as stream:
            peer = start_peer(out / "peer.npz", 2.0)
            done = stream.wait(seconds * 48_000 / rate + 20)
            stats, finished, running = stream.stats(), stream.finished, stream.running
            slot = next(s for s in stats["engine"]["slots"] if s["slot"] == stream.link.id_of(live.slots[0]))
            first = stream.engine.slots()[1] == stream.link.id_of(live.slots[0])
            peer.wait(timeout=60)
        return {
            "done": done,
            "finished": finished,
            "running": running,
            "first": first,
            "gaps": stats["file_gaps"],
            "name": stats["name"],
            "sample_time": stats["engine"]["sample_time"],
            "input_peak": max(stats["engine"]["input_peak"]),
            "latency": stats["latency_samples"],
            "hops": slot["hops"],
            "late_hops": slot["late_hops"],
            "hop_p99_us": slot["hop_time"]["p99_us"],
        }


def model(period: int, seconds: float, out: Path) -> dict[str, Any]:
    """As `play`, through a hosted model."""
    Path(out).mkdir(exist_ok=True)
    return play(period, seconds, out, live=model_chain(out))


def codec(period: int, seconds: float, out: Path) -> dict[str, Any]:
    """As `play`, through the codec on a server at its rate."""
    return play(period, seconds, out, live=codec_chain(), rate=24_000)


def record(period: int, seconds: float, out: Path) -> dict[str, Any]:
    """The device, which a peer plays to, into a file."""
    with server("record", period):
        Path(out).mkdir(exist_ok=True)
        live = Chain([Gain(gain_db=-6.0)])
        with Stream(live, input="system", output=out / "take.wav", block=period) as stream:
            peer = start_peer(out / "peer.npz", seconds)
            peer.wait(timeout=60)
            stats = stream.stats()
            last = stream.engine.slots()[0] == stream.link.id_of(live.slots[0])
        return {
            "gaps": stats["file_gaps"],
            "last": last,
            "name": stats["name"],
            "sample_time": stats["engine"]["sample_time"],
        }


def write_signal(path: Path, seconds: float, rate: int = 48_000) -> None:
    """The peer's signal as a file."""
    with Writer(path, rate, 2) as writer:
        writer.write(np.ascontiguousarray(signal(seconds).T))


def start_peer(out: Path, seconds: float) -> subprocess.Popen[bytes]:
    """A JACK client that plays to the host, records from it, or both."""
    command = [sys.executable, "-m", "tests.realtime.jack_peer", "--seconds", f"{seconds}", "--out", str(out)]
    return subprocess.Popen(command, stdout=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["loop", "play", "model", "codec", "record", "vanish"])
    parser.add_argument("--period", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=Path())
    args = parser.parse_args()
    out = os.dup(1)
    os.dup2(2, 1)  # JACK prints there too
    scenarios = {"loop": loop, "play": play, "model": model, "codec": codec, "record": record}
    result = vanish() if args.what == "vanish" else scenarios[args.what](args.period, args.seconds, args.out)
    os.write(out, json.dumps(result).encode() + b"\n")


if __name__ == "__main__":
    main()
