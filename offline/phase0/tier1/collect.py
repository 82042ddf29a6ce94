"""The results of many runs in one table: CSV and Markdown."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from ....plugins._errors import FileError
from ....textfile import read_text
from ....wholefile import write_text
from ...lab.markdown import table
from .runfolder import METRICS, TABLES, write_csv


def collect(out: Path) -> list[dict[str, Any]]:
    """All rows of the tables of finished runs below `out`, with run and experiment before them.

    Raises FileError where there are none, or for a table that cannot be read.
    """
    rows: list[dict[str, Any]] = []
    for metrics in sorted(out.glob(f"*/**/{METRICS}")):
        folder = metrics.parent
        run, *experiment = folder.relative_to(out).parts
        try:
            with io.StringIO(read_text(folder / TABLES), newline="") as file:
                before = {"run": run, "experiment": "/".join(experiment)}
                rows += [before | row for row in csv.DictReader(file)]
        except csv.Error as e:
            raise FileError(f"{folder / TABLES}: cannot be read: {e}") from None
    if not rows:
        raise FileError(f"{out}: has no finished run of cspace phase0 tier1")
    return rows


def write(out: Path, rows: list[dict[str, Any]]) -> list[Path]:
    """Writes results.csv and results.md; in the second, a table for each experiment with the columns it has."""
    write_csv(out / "results.csv", rows)
    parts = []
    for kind in dict.fromkeys(r["experiment"] for r in rows):
        mine = [r for r in rows if r["experiment"] == kind]
        keys = [k for k in dict.fromkeys(k for r in mine for k in r) if k != "experiment"]
        parts.append(f"## {kind}\n\n{table([keys, *[[_cell(r.get(k, '')) for k in keys] for r in mine]])}")
    write_text(out / "results.md", "\n\n".join(parts) + "\n")
    return [out / "results.csv", out / "results.md"]


def _cell(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text
