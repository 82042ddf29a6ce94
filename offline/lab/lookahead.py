"""How much of the backward half a live look-ahead misses, against theory.

The part not seen at sample n is λ^W B[n + W]: with B steady, oscillator k's error lies
20 log10(e) decay_k W below its state. A clip is not steady, so the measured level differs from the
line by how much louder or softer the sound gets over W samples. Below about −130 dB the rounding of
float32 states takes over, which the theory leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..bank import BankSpec
from ..config import LabConfig
from ..transform import StreamingCSpace
from .tables import markdown
from .transform_sounds import Sound, both_laws, label, recordings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

WINDOWS_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
#: A narrow bank, which rings long, beside the two defaults.
NARROW_Q = 32.0
#: What the reference leaves out: below anything float32 resolves.
REFERENCE_DB = 200.0
_CHUNK = 16_384


def backward(x: F32, spec: BankSpec, sample_rate: float) -> Iterator[tuple[int, F32]]:
    """The whole backward half chunk by chunk [shape=(chunk, 2 N)], run back from `REFERENCE_DB` of ringing later."""
    margin = spec.ring_samples(sample_rate, REFERENCE_DB)
    span = max(_CHUNK, margin)  # half the work is the margin, at most
    for at in range(0, len(x), span):
        bank = spec.bank(sample_rate)
        rest = x[at + span : at + span + margin][::-1]
        for i in range(0, len(rest), _CHUNK):
            bank.process(np.ascontiguousarray(rest[i : i + _CHUNK]))
        own = x[at : at + span]
        edges = list(range(0, len(own), _CHUNK))
        for i in reversed(edges):
            yield at + i, bank.process(np.ascontiguousarray(own[i : i + _CHUNK][::-1]))[::-1]


def energies(z: F32) -> F64:
    """|z|² per oscillator, summed over time [shape=(N,)]."""
    n = z.shape[1] // 2
    power = np.square(z, dtype=np.float64).sum(0)
    total: F64 = power[:n] + power[n:]
    return total


def missed(
    x: F32, windows: Sequence[StreamingCSpace], advance: Callable[[float], None] = lambda part: None
) -> tuple[F64, F64]:
    """Energy of each window's error [shape=(windows, N)], and of the backward half itself [shape=(N,)]."""
    spec, sample_rate = windows[0].spec, windows[0].sample_rate
    n = spec.oscillators
    error, energy = np.zeros((len(windows), n)), np.zeros(n)
    for at, whole in backward(x, spec, sample_rate):
        energy += energies(whole)
        for live, sum_ in zip(windows, error, strict=True):
            # Rows depend on their window alone in this half: it is enough to start where the chunk does.
            own = np.zeros(len(whole) + live.latency_samples, np.float32)
            part = x[at : at + len(own)]
            own[: len(part)] = part
            live.reset()
            sum_ += energies(live.process(own)[:, 2 * n :] - whole)
        advance(len(whole) / len(x))
    return error, energy


def measure(
    sound: Sound, spec: BankSpec, sample_rate: int, advance: Callable[[float], None] = lambda part: None
) -> list[dict[str, float]]:
    """For each window: measured and predicted error in dB of the backward half and of all states."""
    ahead = np.zeros(spec.oscillators)
    bank = spec.bank(sample_rate)
    for at in range(0, len(sound.samples), _CHUNK):
        ahead += energies(bank.process(np.ascontiguousarray(sound.samples[at : at + _CHUNK])))
    windows = [StreamingCSpace(spec, sample_rate, lookahead_ms=ms) for ms in WINDOWS_MS]
    errors, energy = missed(sound.samples, windows, advance)
    slowest = int(np.argmin(spec.poles(sample_rate)[0]))
    return [
        {
            "window_ms": ms,
            "latency_samples": live.latency_samples,
            "backward_db": _db(error.sum() / energy.sum()),
            "theory_db": _db((energy * 10.0 ** (live.truncation_db / 10.0)).sum() / energy.sum()),
            "all_states_db": _db(error.sum() / (energy.sum() + ahead.sum())),
            "slowest_db": _db(error[slowest] / energy[slowest]),
            "slowest_theory_db": float(live.truncation_db.max()),
        }
        for ms, live, error in zip(WINDOWS_MS, windows, errors, strict=True)
    ]


def _db(ratio: float) -> float:
    return float(10.0 * np.log10(max(ratio, 1e-30)))


def banks(config: LabConfig) -> dict[str, BankSpec]:
    """Both laws, and a narrow bank."""
    narrow = BankSpec(q=NARROW_Q)
    return both_laws(config) | {label(narrow): narrow}


def study(
    paths: Sequence[Path], config: LabConfig, seconds: float, advance: Callable[[float], None]
) -> tuple[dict[str, Any], Figure, str, list[str]]:
    """Results, picture, table and notes; `advance` is called with parts that sum to 1 per sound and bank."""
    notes: list[str] = []
    sounds = recordings(paths, config, seconds, notes)
    rows = []
    for bank, spec in banks(config).items():
        for sound in sounds:
            windows = measure(sound, spec, config.sample_rate, advance)
            rows.append({"bank": bank, "sound": sound.name, "windows": windows})
    return {"rows": rows}, _draw(rows), _table(rows), notes


def _table(rows: list[dict[str, Any]]) -> str:
    """A line for each window, a column for each bank and sound: measured (theory) in dB of the backward half."""
    head = ["look-ahead (ms)", *(f"{r['bank']}: {r['sound']}" for r in rows)]
    lines = [
        [f"{ms:g}", *(f"{r['windows'][i]['backward_db']:.1f} ({r['windows'][i]['theory_db']:.1f})" for r in rows)]
        for i, ms in enumerate(WINDOWS_MS)
    ]
    return markdown(head, lines)


def _draw(rows: list[dict[str, Any]]) -> Figure:
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(r["bank"] for r in rows))
    figure = Figure(figsize=(4.2 * len(names), 4.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(names), sharey=True))
    for axis, bank in zip(axes, names, strict=True):
        for i, row in enumerate(r for r in rows if r["bank"] == bank):
            ms = [w["window_ms"] for w in row["windows"]]
            color = f"C{i % 10}"
            axis.plot(ms, [w["backward_db"] for w in row["windows"]], "o", color=color, label=row["sound"])
            axis.plot(ms, [w["theory_db"] for w in row["windows"]], "-", color=color, linewidth=1)
        first = next(r for r in rows if r["bank"] == bank)
        slowest = [w["slowest_theory_db"] for w in first["windows"]]
        axis.plot(WINDOWS_MS, slowest, ":", color="black", linewidth=1, label="slowest oscillator, theory")
        axis.set_xscale("log")
        axis.set_ylim(-160, 5)
        axis.set_title(f"{bank} oscillators")
        axis.set_xlabel("look-ahead (ms)")
        axis.grid(alpha=0.3)
        axis.axhspan(-160, -130, color="black", alpha=0.06, linewidth=0, label="float32 rounding takes over")
        axis.legend(fontsize=7, loc="lower left")
    axes[0].set_ylabel("error / backward half (dB); dots measured, lines theory")
    return figure
