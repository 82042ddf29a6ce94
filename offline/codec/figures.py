"""The figures of the results page: every piece through real files, worst first, and the curve of rates with rivals."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...audiofile import Reader
from ...plugins._errors import AudioError
from ..audio import audio_files
from .codec import load, rate_of
from .data import QUIET, read_crop
from .evaluate import sound_rows, through_files
from .fidelity import si_snr_db, state_error_db

if TYPE_CHECKING:
    from matplotlib.figure import Figure

F32 = NDArray[np.float32]
Tell = Callable[[str, float], None]

#: Rates of the curve [kbit/s], and the shipped models that serve them.
CURVE = (6.0, 8.0, 12.0, 16.0, 24.0, 32.0)
CURVE_MODEL = "rate24"
#: Presets of the table of pieces, each at its own rate unless another is given.
PIECES = (("phase96", None), ("phase144", None), ("rate24", None))


@dataclass
class Piece:
    """One sound through one model."""

    set: str
    name: str
    preset: str
    seconds: float
    si_snr_db: float
    cspace_nsr_db: float
    kbps: float


def middle(path: Path, sample_rate: int, seconds: float) -> F32:
    """The middle `seconds` of a file as mono, at most; shorter files whole. Raises AudioError for silence."""
    with Reader(path) as file:
        length = file.length() / file.sample_rate
    x = read_crop(path, sample_rate, round(min(seconds, length) * sample_rate), 0.5)
    if float(np.sqrt(np.mean(np.square(x)))) < QUIET:
        raise AudioError(f"{path}: the part looked at is silent")
    return x


def measure(
    sets: Sequence[tuple[str, Sequence[Path]]],
    seconds: float,
    presets: Sequence[tuple[str, float | None]] = PIECES,
    tell: Tell | None = None,
) -> list[Piece]:
    """Every file of every set through every preset, encoded to a real `.csc` file and decoded from it."""
    found: list[Piece] = []
    total = sum(len(files) for _, files in sets) * len(presets)
    codecs = [(preset, load(preset), kbps) for preset, kbps in presets]
    for name, files in sets:
        for path in files:
            sounds: dict[int, F32] = {}
            for preset, codec, kbps in codecs:
                if tell is not None:
                    tell(f"{preset}: {path.name}", len(found) / max(1, total))
                rate = codec.spec.sample_rate
                if rate not in sounds:
                    sounds[rate] = middle(path, rate, seconds)
                x = sounds[rate]
                y, size = through_files(codec, x, rate_of(preset, codec) if kbps is None else kbps)
                found.append(
                    Piece(
                        name,
                        f"{path.parent.name}/{path.name}",
                        preset,
                        round(len(x) / rate, 2),
                        si_snr_db(y, x),
                        state_error_db(x, y, rate),
                        size * 8e-3 / (len(x) / rate),
                    )
                )
    return found


def curve(
    files: Sequence[Path], seconds: float, rates: Sequence[float] = CURVE, tell: Tell | None = None
) -> list[dict[str, Any]]:
    """Means over files at every rate, for the codec and for each rival at the codec's number of bytes."""
    codec = load(CURVE_MODEL)
    out: list[dict[str, Any]] = []
    sounds = [middle(f, codec.spec.sample_rate, seconds) for f in files]
    for i, kbps in enumerate(rates):
        rows: dict[str, list[tuple[float, float, float, float]]] = {}
        for j, x in enumerate(sounds):
            if tell is not None:
                tell(f"{kbps:g} kbit/s: {files[j].name}", (i + j / len(sounds)) / len(rates))
            for name, spent, f, _ in sound_rows(codec, x, kbps):
                rows.setdefault(name, []).append((spent or 0.0, f.si_snr_db, f.stft_convergence, f.stft_log_db))
        for name, values in rows.items():
            spent, si_snr, convergence, log_db = np.mean(values, axis=0)
            out.append(
                {
                    "asked_kbps": kbps,
                    "name": name,
                    "kbps": float(spent),
                    "si_snr_db": float(si_snr),
                    "stft_convergence": float(convergence),
                    "stft_log_db": float(log_db),
                    "sounds": len(values),
                }
            )
    return out


def pick(folder: Path, most: int | None) -> list[Path]:
    """All files of a folder, or `most` of them evenly spaced in their order."""
    files = audio_files(folder)
    if most is None or len(files) <= most:
        return files
    return [files[i * len(files) // most] for i in range(most)]


def page(pieces: Sequence[Piece], rates: Sequence[dict[str, Any]], command: str) -> str:
    """The page docs/codec-figures.md."""
    lines = [
        "# Figures of the codec",
        "",
        "Made by this command out of real `.csc` files; the rate counts all their bytes, header and checksums",
        "included. Nothing here was ever trained on. docs/codec.md says what the figures mean.",
        "",
        "```sh",
        command,
        "```",
        "",
        "## Summary",
        "",
        "| model | sounds | pieces | mean SI-SNR dB | worst | mean kbit/s | highest |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[Piece]] = {}
    for p in pieces:
        groups.setdefault((p.preset, p.set), []).append(p)
    groups = dict(sorted(groups.items(), key=lambda g: list(dict.fromkeys(p.preset for p in pieces)).index(g[0][0])))
    for (preset, name), group in groups.items():
        ratios, spent = [p.si_snr_db for p in group], [p.kbps for p in group]
        lines.append(
            f"| {preset} | {name} | {len(group)} | {np.mean(ratios):.2f} | {min(ratios):.2f} | {np.mean(spent):.2f} "
            f"| {max(spent):.2f} |"
        )
    if rates:
        lines += ["", "## Rates and rivals", "", f"Means over {rates[0]['sounds']} pieces of music, every rival at no"]
        lines += [
            "more bytes than the codec's file, if it goes so low. Opus and MP3 aim at the ear, not at the waveform:"
        ]
        lines += ["SI-SNR punishes them for what nobody hears, so the short-time spectra stand beside it.", ""]
        lines += [
            "| asked kbit/s | codec | kbit/s | SI-SNR dB | STFT convergence | STFT dB |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r['asked_kbps']:g} | {r['name']} | {r['kbps']:.1f} | {r['si_snr_db']:.2f} | "
            f"{r['stft_convergence']:.3f} | {r['stft_log_db']:.2f} |"
            for r in rates
        ]
    lines += ["", "## Every piece, worst first"]
    for (preset, name), group in groups.items():
        lines += ["", f"### {preset}, {name}", "", "| piece | SI-SNR dB | CSpace dB | kbit/s |", "|---|---|---|---|"]
        lines += [
            f"| {p.name} | {p.si_snr_db:.2f} | {p.cspace_nsr_db:.2f} | {p.kbps:.2f} |"
            for p in sorted(group, key=lambda p: p.si_snr_db)
        ]
    return "\n".join(lines) + "\n"


def picture(rates: Sequence[dict[str, Any]]) -> Figure:
    """SI-SNR and mean difference of spectral levels over kbit/s, for the codec and each rival."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = list(dict.fromkeys(r["name"] for r in rates))
    for name in names:
        rows = sorted((r for r in rates if r["name"] == name), key=lambda r: r["kbps"])
        ours = name == names[0]
        style: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 2.4 if ours else 1.2}
        x = [r["kbps"] for r in rows]
        left.plot(x, [r["si_snr_db"] for r in rows], label="this codec" if ours else name, **style)
        right.plot(x, [r["stft_log_db"] for r in rows], **style)
    left.set(xlabel="kbit/s, all bytes of the file", ylabel="SI-SNR [dB], more is nearer", title="Waveform")
    right.set(xlabel="kbit/s, all bytes of the file", ylabel="difference [dB], less is nearer", title="Spectral levels")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend(fontsize=8)
    return figure


def as_json(pieces: Sequence[Piece], rates: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The same for machines."""
    plain: dict[str, Any] = json.loads(json.dumps({"pieces": [asdict(p) for p in pieces], "rates": list(rates)}))
    return plain
