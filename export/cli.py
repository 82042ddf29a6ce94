"""`cspace export`: the commands. Each loads what it needs when it runs; this file stays light."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..clitools import clear_errors, out, say

if TYPE_CHECKING:
    from ..modelpackage import Manifest

app = typer.Typer(
    name="export",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Model packages: streaming ONNX with its manifest and goldens.",
)

Folder = Annotated[Path, typer.Argument(metavar="PACKAGE", help="A model package: a folder with model.json.")]


@app.command("show")
@clear_errors
def show(package: Folder) -> None:
    """Verifies a package and says what it is.

    Examples
    --------
        cspace export show models/phase96
    """
    from ..modelpackage import read

    found = read(package)
    for line in describe(found.manifest, len(found.model)):
        say(line)


def describe(m: Manifest, size: int) -> list[str]:
    """What a manifest says, in lines for people."""
    lines = [
        f"{m.name}: {m.description or 'a streaming model'}",
        f"  {m.sample_rate} Hz, {m.channels} channel{'s' * (m.channels > 1)}, hop {m.hop} "
        f"({1000 * m.hop / m.sample_rate:.2f} ms), latency {m.latency_samples} + {m.hop} samples "
        f"({1000 * (m.latency_samples + m.hop) / m.sample_rate:.2f} ms) before buffering",
        f"  {size / 1e6:.2f} MB, {len(m.states)} state{'s' * (len(m.states) != 1)}, licence {m.licence}",
    ]
    lines += [
        f"  parameter {p.name}: {p.min:g} to {p.max:g} {p.unit}".rstrip() + f", default {p.default:g}. {p.doc}"
        for p in m.parameters
    ]
    return lines


@app.command("check")
@clear_errors
def check(package: Folder) -> None:
    """Runs a package's goldens through every runtime, hop by hop, and compares.

    Leaves with 1 if any sample differs by more than the golden allows.

    Examples
    --------
        cspace export check models/phase96
    """
    from rich.table import Table

    from ..clitools import fail
    from ..modelpackage import read
    from . import parity

    found = read(package)
    if not found.manifest.goldens:
        fail(f"{package}: has no goldens to check against", 1)
    rows = parity.check(found)
    table = Table("runtime", "golden", "hops", "largest difference", "in hop", "allowed", "", box=None)
    for r in rows:
        where = "" if r.worst_hop < 0 else str(r.worst_hop)
        table.add_row(
            r.runtime, r.golden, str(r.hops), f"{r.worst:.3g}", where, f"{r.tolerance:g}", "ok" if r.ok else "DIFFERS"
        )
    out.print(table)
    bad = sum(not r.ok for r in rows)
    if bad:
        fail(f"{package}: {bad} of {len(rows)} runs differ from the golden by more than it allows", 1)
