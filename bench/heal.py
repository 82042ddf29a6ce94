"""Healing of losses, block by block: while sound comes, in the first block of a loss, and in those after it."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter_ns

import numpy as np

from cspace import _native

from .common import Row

RATE, BLOCK, CHANNELS = 48_000, 64, 2
#: Every so many blocks, so many are lost: 10.7 ms of 107 ms.
EVERY, LOST = 80, 8
METHODS = ("blend", "short", "long", "repeat", "zero")


def times(method: int, seconds: int) -> dict[str, np.ndarray]:
    """Nanoseconds per block of stereo noise, by where in a loss it lies. The call from Python is part of it."""
    p = _native.Processor("heal")
    p.set("method", method)
    p.prepare(float(RATE), BLOCK, CHANNELS)
    noise = (0.1 * np.random.default_rng(0).standard_normal((CHANNELS, RATE))).astype(np.float32)
    out: dict[str, list[int]] = {"sound": [], "first block of a loss": [], "rest of a loss": []}
    blocks = [np.ascontiguousarray(noise[:, i : i + BLOCK]) for i in range(0, RATE - BLOCK, BLOCK)]
    for i in range(seconds * RATE // BLOCK):
        place = i % EVERY - (EVERY - LOST)
        p.set("lost", float(place >= 0))
        block = blocks[i % len(blocks)]
        start = perf_counter_ns()
        p.process(block)
        took = perf_counter_ns() - start
        out["sound" if place < 0 else "first block of a loss" if place == 0 else "rest of a loss"].append(took)
    return {k: np.array(v) for k, v in out.items()}


def burst_ns() -> float:
    """The same long fit all at once, by librosa (numba): what the block in which a loss begins would pay."""
    import librosa

    x = np.random.default_rng(0).standard_normal((CHANNELS, 2400)).astype(np.float32)
    librosa.lpc(x, order=768)
    start = perf_counter_ns()
    for _ in range(5):
        librosa.lpc(x, order=768)
    return (perf_counter_ns() - start) / 5


def run(quick: bool) -> Iterator[Row]:
    deadline_us = BLOCK / RATE * 1e6
    rival = burst_ns() * 1e-3
    for index, method in enumerate(METHODS):
        for where, ns in times(index, 4 if quick else 20).items():
            us = ns * 1e-3
            p50 = float(np.median(us))
            yield Row(
                bench="heal",
                what=f"{method}, {where}, {BLOCK} frames stereo",
                unit="us/block",
                ours=p50,
                rival_name="librosa's fit of the long memory in one go" if method == "blend" else "",
                rival=rival if method == "blend" else None,
                ratio=rival / p50 if method == "blend" else None,
                how=f"{len(us)} blocks, deadline {deadline_us:.0f} us",
                extra={
                    "p99_us": float(np.percentile(us, 99)),
                    "max_us": float(us.max()),
                    "share_p50": p50 / deadline_us,
                },
            )
