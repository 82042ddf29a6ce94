"""The demo chain, block by block, against the deadline."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cspace import _native

from .common import Row

RATE, BLOCK, CHANNELS = 48_000, 64, 2


def build() -> _native.Engine:
    """ESN, CSpace, EQ and Kuramoto at work, none of them neutral."""
    engine = _native.Engine(RATE, CHANNELS, BLOCK)
    for name, params in DEMO.items():
        p = _native.Processor(name)
        info = {q["name"]: q for q in p.info["params"]}
        for key, value in params.items():
            p.set(key, info[key]["choices"].index(value) if isinstance(value, str) else value)
        engine.insert(len(engine.slots()), p)
    return engine


DEMO: dict[str, dict[str, float | str]] = {
    "esn": {"mode": "texture", "wet": 0.2},
    "cspace": {"resynthesis": 0.5, "focus_gain_db": 6.0},
    "eq": {"low_gain_db": 3.0, "band1_gain_db": -2.0, "band2_gain_db": 2.0, "band3_gain_db": 1.0, "high_gain_db": 2.0},
    "kuramoto": {"mode": "entrained"},
    "limiter": {},
}


def run(quick: bool) -> Iterator[Row]:
    engine = build()
    seconds = 5 if quick else 30
    x = (0.3 * np.random.default_rng(0).standard_normal((CHANNELS, RATE))).astype(np.float32)
    first = engine.process(x[:, :BLOCK])
    first_us = engine.stats()["time"]["max_us"]
    engine.process(x)
    engine.reset_stats()
    for _ in range(seconds):
        out = engine.process(x)
    assert np.isfinite(out).all()
    assert np.isfinite(first).all()
    stats = engine.stats()
    deadline_us = BLOCK / RATE * 1e6
    for name, t in [("whole chain", stats["time"]), *((s["name"], s["time"]) for s in stats["slots"])]:
        yield Row(
            bench="chain",
            what=f"{name}, {BLOCK} frames stereo",
            unit="us/block",
            ours=t["p50_us"],
            rival_name=f"deadline {deadline_us:.0f} us",
            rival=deadline_us,
            ratio=deadline_us / t["p50_us"],
            how=f"{t['count']} blocks; first block {first_us:.0f} us" if name == "whole chain" else "",
            extra={k: t[k] for k in ("p99_us", "p999_us", "max_us")} | {"share_p99": t["p99_us"] / deadline_us},
        )
