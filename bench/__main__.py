"""`make bench`: runs the benchmarks, prints one table, writes bench/out/bench.json."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cspace import _native

from .common import Row

BENCHES = {
    "esn": ".esn",
    "cspace": ".cspace_bank",
    "kuramoto": ".kuramoto",
    "ksom": ".ksom",
    "chain": ".chain",
    "neural": ".neural",
    "adaptive_eq": ".adaptive_eq",
    "jack": ".jack_gil",
    "osc_attack": ".osc_attack",
    "index": ".index",
    "manifold": ".manifold",
    "heal": ".heal",
    "instructions": ".instructions",
}
OUT = Path(__file__).parent / "out"
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown CPU"


def table(rows: list[Row]) -> Table:
    t = Table(title=None, show_edge=False)
    for heading, justify in [
        ("bench", "left"),
        ("what", "left"),
        ("ours", "right"),
        ("rival", "right"),
        ("", "left"),
        ("ratio", "right"),
        ("spread", "right"),
        ("target", "left"),
        ("more", "left"),
    ]:
        t.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for r in rows:
        verdict = "" if r.met is None else (" met" if r.met else " NOT MET")
        more = r.how + "".join(f"; {k} {v:.3g}" for k, v in r.extra.items())
        t.add_row(
            r.bench,
            r.what,
            f"{r.ours:.3g} {r.unit}",
            "" if r.rival is None else f"{r.rival:.3g}",
            r.rival_name,
            "" if r.ratio is None else f"{r.ratio:.3g}x",
            "" if r.spread is None else "{:.3g}-{:.3g}".format(*r.spread),
            r.target + verdict,
            more.lstrip("; "),
        )
    return t


def markdown(rows: list[Row], machine: str) -> str:
    """The table as a page for docs/."""
    lines = [
        "# Benchmarks",
        "",
        f"One run of `make bench ARGS=--markdown` on: {machine}. How the figures are taken: "
        "[bench/README.md](../bench/README.md).",
        "",
        "| bench | what | ours | rival | ratio (spread) | target | how |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        rival = r.rival_name if r.rival is None else f"{r.rival_name}: {r.rival:.3g}"
        ratio = "" if r.ratio is None else f"{r.ratio:.3g}×"
        spread = "" if r.spread is None else " ({:.3g} to {:.3g})".format(*r.spread)
        verdict = "" if r.met is None else (", met" if r.met else ", **not met**")
        more = "; ".join(filter(None, [r.how, *(f"{k} {v:.3g}" for k, v in r.extra.items())]))
        target = r.target.replace(">=", "≥").replace("<=", "≤") + verdict
        cells = [r.bench, r.what, f"{r.ours:.3g} {r.unit}", rival, ratio + spread, target, more]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(BENCHES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter audio")
    parser.add_argument("--markdown", action="store_true", help="write docs/benchmarks.md too")
    args = parser.parse_args()
    unknown = [n for n in args.names if n not in BENCHES]
    if unknown:
        parser.error(f"no benchmark called {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    console = Console(width=None if sys.stdout.isatty() else 200)
    machine = f"{cpu()}, {os.cpu_count()} cores, SIMD {_native.detected_simd()}, Python {platform.python_version()}"
    console.print(machine)
    rows: list[Row] = []
    for name in args.names or BENCHES:
        console.print(f"… {name}", style="dim")
        try:
            module = importlib.import_module(BENCHES[name], __package__)
            rows.extend(module.run(args.quick))
        except ImportError as e:
            console.print(f"{name}: left out, {e} (pip install 'cspace[bench]')", style="yellow")
    console.print(table(rows))
    OUT.mkdir(exist_ok=True)
    part = OUT / "bench.json.part"
    part.write_text(json.dumps({"cpu": cpu(), "rows": [r.to_json() for r in rows]}, indent=1))
    part.replace(OUT / "bench.json")
    if args.markdown:
        PAGE.write_text(markdown(rows, machine), encoding="utf-8")
        console.print(f"page written to {PAGE}")
    console.print(f"rows written to {OUT / 'bench.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
