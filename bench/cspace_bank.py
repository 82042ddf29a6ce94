"""The CSpace bank against scipy, Faust and SuperCollider, in ns per oscillator-sample."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cspace import _native

from . import scsynth
from .common import Row, race

RATE = 48_000
LOW_HZ, HIGH_HZ, Q = 40.0, 16_000.0, 8.0


def ours(oscillators: int, **params: float) -> _native.Processor:
    p = _native.Processor("cspace")
    for name, value in {"oscillators": oscillators, "low_hz": LOW_HZ, "high_hz": HIGH_HZ, "q": Q, **params}.items():
        p.set(name, value)
    p.prepare(RATE, 512, 1)
    return p


def scipy_bank(x: np.ndarray, freqs: np.ndarray) -> None:
    """Complex one-pole filters, one call each, complex64: what a careful SciPy user would write."""
    from scipy.signal import lfilter

    for f in freqs:
        pole = np.exp((-np.pi * f / Q + 2j * np.pi * f) / RATE)
        lfilter(np.array([1 - abs(pole)], np.complex64), np.array([1, -pole], np.complex64), x)


def faust_bank(freqs: np.ndarray, x: np.ndarray):
    """Real two-pole resonators in parallel, compiled by Faust's LLVM back end."""
    import dawdreamer

    engine = dawdreamer.RenderEngine(RATE, 512)
    source = engine.make_playback_processor("in", x[None].astype(np.float32))
    faust = engine.make_faust_processor("bank")
    hz = ", ".join(f"{f:.4f}" for f in freqs)
    faust.set_dsp_string(
        f'import("stdfaust.lib"); f(i) = ba.take(i + 1, ({hz}));'
        f"process = _ <: par(i, {len(freqs)}, fi.resonbp(f(i), {Q}, 1)) :> _;"
    )
    faust.compile()
    engine.load_graph([(source, []), (faust, ["in"])])
    seconds = len(x) / RATE

    def render() -> None:
        engine.render(seconds)

    return render


def run(quick: bool) -> Iterator[Row]:
    rounds = 3 if quick else 7
    seconds = 2 if quick else 10
    x = np.random.default_rng(0).uniform(-0.5, 0.5, seconds * RATE).astype(np.float32)
    for n in (64, 256, 1024):
        freqs = np.geomspace(LOW_HZ, HIGH_HZ, n)
        p = ours(n)
        work = float(len(x) * n)
        part = x[: RATE // 2] if n == 1024 else x[: 2 * RATE]
        r = race(
            lambda p=p: p.process(x[None]),
            lambda part=part, freqs=freqs: scipy_bank(part, freqs),
            work=(work, float(len(part) * n)),
            rounds=min(rounds, 3),
        )
        yield Row(
            bench="cspace",
            what=f"bank states, N = {n}",
            unit="ns/osc-sample",
            ours=r.ours,
            rival_name="scipy lfilter",
            rival=r.rival,
            ratio=r.ratio,
            spread=r.spread,
            target="<= 0.25 ns",
            met=r.ours <= 0.25,
            how=r.how,
        )
    n = 64
    freqs = np.geomspace(LOW_HZ, HIGH_HZ, n)
    work = float(len(x) * n)
    synth = ours(n, resynthesis=1.0)
    try:
        render = faust_bank(freqs, x)
    except ImportError:
        render = None
    for what, p in ((f"bank states, N = {n}", ours(n)), (f"states and resynthesis, N = {n}", synth)):
        if render is None:
            yield Row(
                bench="cspace",
                what=what,
                unit="ns/osc-sample",
                ours=0,
                rival_name="Faust",
                how="pip install dawdreamer",
            )
            continue
        r = race(lambda p=p: p.process(x[None]), render, work=(work, work), rounds=rounds)
        yield Row(
            bench="cspace",
            what=what,
            unit="ns/osc-sample",
            ours=r.ours,
            rival_name="Faust resonbp (LLVM)",
            rival=r.rival,
            ratio=r.ratio,
            spread=r.spread,
            target=">= 5x",
            met=r.ratio >= 5,
            how=r.how,
        )
    if scsynth.available():
        score_s = scsynth.long_enough(n)
        bank = scsynth.Bank(scsynth.ringz(freqs, 2.2 * Q / freqs), score_s, RATE)
        theirs = score_s * RATE * n
        r = race(lambda: synth.process(x[None]), bank.seconds, work=(work, theirs), rounds=rounds)
        yield Row(
            bench="cspace",
            what=f"states and resynthesis, N = {n}",
            unit="ns/osc-sample",
            ours=r.ours,
            rival_name="scsynth Ringz (offline)",
            rival=r.rival,
            ratio=r.ratio,
            spread=r.spread,
            how=f"{r.how}; empty score subtracted; peak {bank.peak():.2f}",
        )
