"""The Kuramoto synth against a NumPy mean field and SuperCollider's uncoupled oscillators."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cspace import _native

from . import scsynth
from .common import Row, best_of, race

RATE = 48_000
TARGET_NS = 1.3


def ours(oscillators: int, **params: float) -> _native.Processor:
    p = _native.Processor("kuramoto")
    for name, value in {"oscillators": oscillators, "coupling_hz": 2.0, **params}.items():
        p.set(name, value)
    p.prepare(RATE, 512, 1)
    return p


def numpy_mean_field(freqs_hz: np.ndarray, coupling_hz: float, samples: int) -> np.ndarray:
    """The same model, one sample at a time over whole arrays, float64."""
    phase = np.linspace(0, 1, len(freqs_hz))
    step, pull = 2 * np.pi * freqs_hz / RATE, 2 * np.pi * coupling_hz / RATE
    out = np.empty(samples)
    for t in range(samples):
        z = np.exp(1j * phase)
        field = z.mean()
        phase += step + pull * (field * z.conj()).imag
        out[t] = z.imag.sum()
    return out


def run(quick: bool) -> Iterator[Row]:
    rounds = 3 if quick else 7
    seconds = 1 if quick else 4
    silence = np.zeros((1, seconds * RATE), np.float32)
    for n in (64, 256, 1024, 4096):
        p = ours(n)
        freqs = np.geomspace(55, 7040, n)
        steps = 1000 if n < 1024 else 300
        work = float(silence.shape[1] * n)
        r = race(
            lambda p=p: p.process(silence),
            lambda f=freqs, s=steps: numpy_mean_field(f, 2.0, s),
            work=(work, float(steps * n)),
            rounds=rounds,
        )
        yield Row(
            bench="kuramoto",
            what=f"coupled, N = {n}",
            unit="ns/osc-sample",
            ours=r.ours,
            rival_name="NumPy mean field",
            rival=r.rival,
            ratio=r.ratio,
            spread=r.spread,
            how=r.how,
        )
        if scsynth.available() and n <= 1024:
            score_s = scsynth.long_enough(n)
            bank = scsynth.Bank(scsynth.sines(freqs), score_s, RATE)
            theirs = score_s * RATE * n
            r = race(lambda p=p: p.process(silence), bank.seconds, work=(work, theirs), rounds=rounds)
            yield Row(
                bench="kuramoto",
                what=f"coupled, N = {n}",
                unit="ns/osc-sample",
                ours=r.ours,
                rival_name="scsynth SinOsc, uncoupled",
                rival=r.rival,
                ratio=r.ratio,
                spread=r.spread,
                target=f"<= scsynth, or {TARGET_NS} ns",
                met=r.ours <= max(r.rival, TARGET_NS),
                how=f"{r.how}; empty score subtracted; peak {bank.peak():.0f}",
            )
    for what, params in {"4 harmonics": {"harmonics": 4}, "entrained": {"mode": 1}}.items():
        p = ours(256, **params)
        ns = best_of(lambda p=p: p.process(silence), work=float(silence.shape[1] * 256), rounds=rounds)
        yield Row(bench="kuramoto", what=f"coupled, N = 256, {what}", unit="ns/osc-sample", ours=ns)
