"""Time until /ping is answered while OSC and HTTP are attacked, by the packets of the fuzzer in tests/."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.realtime import oscfuzz
from tests.realtime.osctools import Client, Live

from .common import Row

TARGET_MS = 50.0


def run(quick: bool) -> Iterator[Row]:
    packets, requests = (10_000, 1_000) if quick else (100_000, 10_000)
    with (
        tempfile.TemporaryDirectory(prefix="cspace-") as folder,
        contextlib.closing(Live(Path(folder), oscfuzz.CHAIN, "--presets", "presets")) as live,
        contextlib.closing(Client(live.osc)) as client,
    ):
        nodes = oscfuzz.leaves(live.http)
        paths = [str(n["FULL_PATH"]) for n in nodes]
        quiet = []
        for _ in range(500):
            quiet.append(oscfuzz.ping(client))
            time.sleep(0.004)
        began = time.perf_counter()
        times = oscfuzz.attack_osc(live.osc, nodes, packets, seed=1)
        yield _row(f"{packets} packets in bursts of 40", times, quiet, packets / (time.perf_counter() - began))

        attacker = threading.Thread(target=oscfuzz.attack_http, args=(live.http, paths, requests, 1))
        began = time.perf_counter()
        attacker.start()
        times = []
        while attacker.is_alive():
            times.append(oscfuzz.ping(client))
            time.sleep(0.004)
        yield _row(f"{requests} HTTP requests", times, quiet, requests / (time.perf_counter() - began))
        live.stop()


def _row(attack: str, times: list[float], quiet: list[float], per_s: float) -> Row:
    p99, p50, worst = (1e3 * float(np.percentile(times, q)) for q in (99, 50, 100))
    rest = 1e3 * float(np.percentile(quiet, 99))
    return Row(
        bench="osc_attack",
        what=f"/ping answered, p99, under {attack}",
        unit="ms",
        ours=p99,
        rival_name="in peace",
        rival=rest,
        ratio=rest / p99,
        target=f"<= {TARGET_MS:g} ms",
        met=p99 <= TARGET_MS,
        how=f"{len(times)} pings, in peace {len(quiet)}",
        extra={"p50_ms": p50, "max_ms": worst, "attack_per_s": per_s},
    )
