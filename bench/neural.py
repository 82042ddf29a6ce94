"""Hosted models live: time of the worker per hop, and hops that were late, at real-time pace."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cspace.export.package import Package, read
from cspace.export.runner import Runner
from cspace.models import CODEC
from cspace.plugins import OnnxStream
from cspace.plugins.codec import shipped_models
from cspace.realtime import Chain, Stream

from .common import Row, race

BLOCK = 64


def live(package: Package, seconds: float) -> Row:
    """One model on the null device, which keeps real-time pace, in mono."""
    m = package.manifest
    chain = Chain([OnnxStream(package.folder)])
    with Stream(chain, input="null", block=BLOCK, channels=1, sample_rate=m.sample_rate) as stream:
        time.sleep(0.5)  # threads have started
        begun = stream.engine.stats()["slots"][0]
        time.sleep(seconds)
        slot = stream.engine.stats()["slots"][0]
        latency = stream.engine.latency_samples
    budget_us = m.hop / m.sample_rate * 1e6
    late = slot["late_hops"] - begun["late_hops"]
    t = slot["hop_time"]
    return Row(
        bench="neural",
        what=f"{m.name} live, hop {m.hop}, blocks of {BLOCK}",
        unit="us/hop",
        ours=t["p50_us"],
        rival_name="time of a hop",
        rival=budget_us,
        ratio=budget_us / t["p50_us"],
        target=f"no late hop in {seconds:g} s",
        met=late == 0,
        how=f"{slot['hops'] - begun['hops']} hops, {late} late, latency {latency} samples",
        extra={"p99_us": t["p99_us"], "max_us": t["max_us"], "share_p99": t["p99_us"] / budget_us},
    )


def offline(package: Package, rounds: int) -> Row:
    """The same session from Rust and from Python, hop after hop without a pause."""
    m, hops = package.manifest, 200
    x = np.random.default_rng(0).uniform(-0.3, 0.3, (1, hops * m.hop)).astype(np.float32)
    plugin, runner = OnnxStream(package.folder), Runner(package)
    r = race(lambda: plugin(x, m.sample_rate), lambda: runner.run(x), work=(hops, hops), rounds=rounds)
    return Row(
        bench="neural",
        what=f"{m.name} offline, hop {m.hop}",
        unit="us/hop",
        ours=r.ours * 1e-3,
        rival_name="Python's onnxruntime",
        rival=r.rival * 1e-3,
        ratio=r.ratio,
        spread=r.spread,
        how=r.how,
    )


def run(quick: bool) -> Iterator[Row]:
    from tests.export import models

    with tempfile.TemporaryDirectory(prefix="cspace-bench-") as folder:
        made = [models.fir([0.5, -0.25, 0.125], 64), models.dense(64, 512), models.dense(480, 1024)]
        for i, model in enumerate(made):
            package = models.package(Path(folder) / str(i), model, goldens=())
            yield offline(package, 5 if quick else 15)
            yield live(package, 5.0 if quick else 60.0)
    for name in shipped_models():  # the codec, at 24 kHz
        package = read(CODEC / name / "live")
        yield offline(package, 5 if quick else 15)
        yield live(package, 5.0 if quick else 60.0)
