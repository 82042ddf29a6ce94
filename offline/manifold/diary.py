"""An experiment diary written from the logs: what was tried, its figures, and whether the targets were met."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import checkpoint
from .checkpoint import Run
from .spec import RunSpec

#: What a run is held to: figure in the log, what it must be, in words. Those that a run has no figure for are left out.
TARGETS: tuple[tuple[str, float, float, str], ...] = (
    ("held_out_energy_weighted", 0.0, 0.03, "energy-weighted loss at most 0.03"),
    ("oracle_rmse", 0.0, 0.03, "oracle distance at most 0.03"),
    ("oracle_rmse_settled", 0.0, 0.015, "oracle distance after 16 frames at most 0.015"),
    ("gap_16_snr_db", 33.0, 1e9, "gap of 16 at least 33 dB"),
    ("gap_16_amplitude", 0.98, 1.02, "amplitude in the gap 0.98 to 1.02"),
)


def changes(spec: RunSpec) -> list[str]:
    """Settings that are not the defaults, as `part.key value`."""
    mine, default = spec.model_dump(mode="json"), RunSpec().model_dump(mode="json")
    return [
        f"{part}.{key} {_short(value)}"
        for part, table in mine.items()
        for key, value in table.items()
        if value != default[part][key]
    ]


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def entry(name: str, run: Run) -> list[str]:
    """One run as Markdown: settings, the log epoch by epoch, the verdict."""
    said = changes(run.spec)
    out = [f"## {name}", "", f"{run.step} steps; {', '.join(said) if said else 'the defaults'}.", ""]
    if not run.history:
        return [*out, "Stopped before the end of its first epoch.", ""]
    out += ["| epoch | loss | energy-weighted | original's loss | MSE | oracle after 16 | gap of 16, dB | CPU s |"]
    out += ["|---|---|---|---|---|---|---|---|"]
    for index, row in enumerate(run.history, 1):
        cells = [
            f"{row[key]:.{digits}f}" if key in row else ""
            for key, digits in (
                ("loss", 3),
                ("held_out_energy_weighted", 4),
                ("held_out_original", 3),
                ("held_out_mse", 5),
                ("oracle_rmse_settled", 4),
                ("gap_16_snr_db", 1),
                ("cpu_seconds", 0),
            )
        ]
        out.append(f"| {index} | " + " | ".join(cells) + " |")
    last = run.history[-1]
    held = [(words, low <= last[key] <= high) for key, low, high, words in TARGETS if key in last]
    met, missed = [w for w, ok in held if ok], [w for w, ok in held if not ok]
    verdict = [f"Met: {'; '.join(met)}."] if met else []
    verdict += [f"Missed: {'; '.join(missed)}."] if missed else []
    return [*out, "", " ".join(verdict), ""]


def diary(folders: list[Path]) -> str:
    """All runs, in the order given. Raises FileError for a folder without a run."""
    lines = ["# Diary of the manifold", "", "Written by `cspace manifold diary` from the logs of the runs.", ""]
    for folder in folders:
        lines += entry(folder.name, checkpoint.load(folder))
    return "\n".join(lines).rstrip() + "\n"
