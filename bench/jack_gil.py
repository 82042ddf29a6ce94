"""Blocks served to JACK while Python computes in C code without giving up the GIL.

The engine's native callback against a plain Python callback (sounddevice), one after the other in
one process on one JACK server with the dummy driver, full duplex. Blocks asked for are counted by
wall time: rate × seconds / period, which also charges what the server itself skipped.

Run alone, `python -m bench.jack_gil --period 64 --seconds 20` prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from .common import Row
from .jackd import available, server

RATE = 48_000


def hold_gil(seconds: float) -> float:
    """Computes in long C calls, each of which keeps the GIL from its first to its last instruction.

    Returns the longest call in seconds.
    """
    end = time.monotonic() + seconds
    longest = 0.0
    while (began := time.monotonic()) < end:
        sum(range(20_000_000))  # one call into C
        longest = max(longest, time.monotonic() - began)
    return longest


def served(count: Callable[[], int], seconds: float, period: int) -> dict[str, float]:
    """How many blocks were served while the GIL was held, of how many."""
    time.sleep(1.0)  # the start is no part of it
    t0, n0 = time.monotonic(), count()
    longest = hold_gil(seconds)
    t1, n1 = time.monotonic(), count()
    asked = (t1 - t0) * RATE / period
    return {"asked": asked, "served": float(n1 - n0), "share": (n1 - n0) / asked, "longest_call_s": longest}


def native(period: int, seconds: float) -> dict[str, float]:
    from cspace.plugins import Eq, Gain
    from cspace.realtime import Chain, Stream

    chain = Chain([Eq(low_gain_db=3.0, band2_gain_db=-2.0), Gain(gain_db=-3.0)])
    with Stream(chain, input="system", output="system", block=period, sample_rate=RATE) as stream:
        result = served(lambda: stream.engine.sample_time // period, seconds, period)
        stats = stream.stats()["engine"]
        result |= {"p99_us": stats["time"]["p99_us"], "max_us": stats["time"]["max_us"]}
        result |= {"deadline_misses": stats["deadline_misses"]}
    return result


def python_callback(period: int, seconds: float) -> dict[str, float]:
    import sounddevice as sd

    blocks = 0

    def callback(indata: Any, outdata: Any, frames: int, when: Any, status: Any) -> None:
        nonlocal blocks
        blocks += 1
        outdata[:] = indata

    with sd.Stream(
        samplerate=RATE,
        blocksize=period,
        device="system",
        channels=2,
        dtype="float32",
        latency="low",
        callback=callback,
    ):
        return served(lambda: blocks, seconds, period)


def measure(period: int, seconds: float, python_seconds: float) -> dict[str, Any]:
    """Both callbacks on a server of their own. Thread: main."""
    with server("gil", period) as jack:
        return {
            "period": period,
            "realtime": jack.realtime,
            "seconds": seconds,
            "native": native(period, seconds),
            "python": python_callback(period, python_seconds),
        }


def in_subprocess(period: int, seconds: float, python_seconds: float) -> dict[str, Any]:
    """The same in a process of its own, so that a hang of PortAudio can only cost a time-out."""
    command = [sys.executable, "-m", "bench.jack_gil", "--period", str(period)]
    command += ["--seconds", str(seconds), "--python-seconds", str(python_seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + python_seconds + 60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the JACK benchmark failed ({done.returncode}): {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run(quick: bool) -> Iterator[Row]:
    if not available():
        return
    for period in (64, 128):
        r = in_subprocess(period, 5.0 if quick else 20.0, 5.0)
        ours, rival = r["native"], r["python"]
        priority = "real-time" if r["realtime"] else "ordinary"
        yield Row(
            bench="jack",
            what=f"blocks served while the GIL is held, {period} frames at 48 kHz",
            unit="%",
            ours=100 * ours["share"],
            rival_name="Python callback",
            rival=100 * rival["share"],
            ratio=ours["share"] / max(rival["share"], 1e-9),
            target=">= 98 %",
            met=ours["share"] >= 0.98,
            how=f"{priority} priority; {ours['served']:.0f} of {ours['asked']:.0f} blocks, "
            f"Python {rival['served']:.0f} of {rival['asked']:.0f}",
            extra={"p99_us": ours["p99_us"], "longest_c_call_s": ours["longest_call_s"]},
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--period", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--python-seconds", type=float, default=5.0)
    args = parser.parse_args()
    # Nothing else may stand on stdout: PortAudio and JACK print there too.
    out = os.dup(1)
    os.dup2(2, 1)
    result = measure(args.period, args.seconds, args.python_seconds)
    os.write(out, json.dumps(result).encode() + b"\n")
    sys.stdout.flush()
    os._exit(0)  # the server is gone; PortAudio would abort in its own exit


if __name__ == "__main__":
    main()
