"""Whether torch, the Rust recursion and float64 direct convolution give the same states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import signal

from ..bank import BankSpec, bidirectional_states
from ..config import LabConfig
from ..transform import CSpace
from .tables import markdown
from .transform_sounds import both_laws, counted, listen, made, names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

F32 = NDArray[np.float32]
C128 = NDArray[np.complex128]

TARGET = 1e-4
#: An oscillator this far below the loudest is not asked for its own relative error: it holds rounding only.
QUIET_DB = -60.0
REFERENCE = "float64"
WAYS = ("fft", "recursion", "rust")
PAIRS = [(way, REFERENCE) for way in WAYS] + [("fft", "rust"), ("recursion", "rust")]
#: Three sets of states of a piece are in memory at once: 80 MB for 1 s of the default bank at 24 kHz.
PIECE_S = 1.0


def ways(spec: BankSpec, sample_rate: int) -> Callable[[F32], dict[str, F32]]:
    """What gives Re F, Im F, Re B, Im B of a sound by each implementation [shape=(4 N, T)], float32."""
    torches = {path: CSpace(spec, sample_rate, path=path) for path in ("fft", "recursion")}

    def states(x: F32) -> dict[str, F32]:
        with torch.inference_mode():
            out = {path: module(torch.from_numpy(x)[None])[0].numpy() for path, module in torches.items()}
        return out | {"rust": bidirectional_states(x, spec, sample_rate).T}

    return states


def direct(x: F32, spec: BankSpec, sample_rate: int) -> Iterator[tuple[C128, C128]]:
    """Each oscillator's forward and backward states in float64, by convolution with its whole kernel."""
    decay, angle = spec.poles(sample_rate)
    n, wide = np.arange(len(x)), x.astype(np.float64)
    for k, drive in enumerate(spec.drive(sample_rate)):
        kernel = drive * np.exp((-decay[k] + 1j * angle[k]) * n)
        # By FFT in float64: exact to 1e-15 of the largest, and done in seconds.
        yield (
            signal.fftconvolve(wide, kernel)[: len(x)],
            signal.fftconvolve(wide[::-1], kernel)[: len(x)][::-1],
        )


def compare(pieces: Iterable[F32], spec: BankSpec, sample_rate: int) -> dict[str, dict[str, float]]:
    """Pair of ways -> largest difference in each half over its largest state, and the worst oscillator's over its own.

    Every piece starts from rest, and the largest are those of all pieces. The worst oscillator is sought among those
    whose largest state lies above −60 dB of the loudest.
    """
    n = spec.oscillators
    largest = np.zeros((2, n))
    differences = {pair: np.zeros((2, n)) for pair in PAIRS}
    states_of = ways(spec, sample_rate)
    for x in pieces:
        found = states_of(x)
        for k, halves in enumerate(direct(x, spec, sample_rate)):
            for half, exact in enumerate(halves):
                at = 2 * half * n + k
                states = {REFERENCE: exact} | {name: z[at] + 1j * z[at + n] for name, z in found.items()}
                # np.maximum, which hands a NaN on
                largest[half, k] = np.maximum(largest[half, k], np.abs(exact).max())
                for a, b in PAIRS:
                    difference = np.abs(states[a] - states[b]).max()
                    differences[a, b][half, k] = np.maximum(differences[a, b][half, k], difference)
        del found, states  # before the next piece makes its own
    loud = largest > largest.max(1, keepdims=True) * 10 ** (QUIET_DB / 20)
    return {
        f"{a} - {b}": {
            "forward": float(d[0].max() / largest[0].max()),
            "backward": float(d[1].max() / largest[1].max()),
            "worst_oscillator": float((d[loud] / largest[loud]).max()),
        }
        for (a, b), d in differences.items()
    }


def study(
    paths: Sequence[Path], config: LabConfig, seconds: float, advance: Callable[[float], None]
) -> tuple[dict[str, Any], Figure, str, list[str]]:
    """Results, picture, table and notes; `advance` is called with parts that sum to 1 per sound and bank.

    A recording may be of any length: it goes through in pieces, read again for each bank.
    """
    rate = config.sample_rate
    found = [listen(path, rate, seconds) for path in paths]
    notes = [f"{r.path.name}: {c}" for r in found for c in r.conversions]
    sounds = made(config, min(seconds, 1.0))
    rows: list[dict[str, Any]] = []
    for bank, spec in both_laws(config).items():
        for name, recording in zip(names(paths), found, strict=True):
            count = -(-recording.frames // round(PIECE_S * rate))
            size = recording.frames // count  # pieces of one length; at most count − 1 samples are left over
            pairs = compare(counted(recording.windows(size, 0), count, advance), spec, rate)
            rows.append({"bank": bank, "sound": name, "samples": count * size, "pieces": count, "pairs": pairs})
        for sound in sounds:
            pairs = compare([sound.samples], spec, rate)
            rows.append({"bank": bank, "sound": sound.name, "samples": len(sound.samples), "pieces": 1, "pairs": pairs})
            advance(1.0)
    worst = float(np.max([worse_half(r, p) for r in rows for p in r["pairs"]]))
    results = {"target": TARGET, "worst": worst, "reached": worst <= TARGET, "rows": rows}
    return results, _draw(rows), _table(rows), notes


def worse_half(row: dict[str, Any], pair: str) -> float:
    """The larger of a pair's two differences."""
    return float(np.maximum(row["pairs"][pair]["forward"], row["pairs"][pair]["backward"]))


def _table(rows: list[dict[str, Any]]) -> str:
    """Largest differences, forward / backward, over the largest state of that half."""
    pairs = list(rows[0]["pairs"])
    lines = []
    for r in rows:
        alone = max(r["pairs"][p]["worst_oscillator"] for p in pairs)
        halves = [f"{r['pairs'][p]['forward']:.1e} / {r['pairs'][p]['backward']:.1e}" for p in pairs]
        lines.append([f"{r['sound']} ({r['bank']})", *halves, f"{alone:.1e}"])
    return markdown(["sound (bank, oscillators)", *pairs, "worst oscillator"], lines)


def _draw(rows: list[dict[str, Any]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.32 * len(rows) + 2.2), layout="constrained")
    axis = figure.subplots()
    y = np.arange(len(rows))
    for name, marker in zip(rows[0]["pairs"], "os^vD", strict=True):
        errors = [worse_half(r, name) for r in rows]
        axis.plot(errors, y, marker, markersize=5, alpha=0.8, label=name)
    axis.axvline(TARGET, color="black", linestyle="--", linewidth=1, label="target")
    axis.set_xscale("log")
    axis.set_yticks(y, [f"{r['sound']} ({r['bank']})" for r in rows])
    axis.invert_yaxis()
    axis.set_xlabel("largest difference / largest state, the worse half")
    axis.set_title("Agreement of the implementations, float32")
    axis.grid(axis="x", alpha=0.3)
    axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)
    return figure
