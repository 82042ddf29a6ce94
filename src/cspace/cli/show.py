"""`cspace devices`, `plugins` and `bench`: what there is, and how fast it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from ..clitools import clear_errors, out, say
from ..terminal import clean
from .common import chain_of


@clear_errors
def devices() -> None:
    """Lists sound devices."""
    from ..realtime.portaudio import devices as listed

    found = listed()
    if not found:
        say("This machine has no sound hardware; `cspace live` plays through the file device.")
        return
    table = Table("no", "name", "API", "in", "out", "Hz", "default", box=None)
    for d in found:
        default = " ".join(w for w, on in (("input", d.default_input), ("output", d.default_output)) if on)
        table.add_row(
            str(d.index), clean(d.name), clean(d.host_api), str(d.inputs), str(d.outputs), f"{d.sample_rate:g}", default
        )
    out.print(table)


@clear_errors
def plugins(
    name: Annotated[str | None, typer.Argument(help="One processor, with all it says about itself.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,
) -> None:
    """Shows the processors and their parameters.

    Examples
    --------
        cspace plugins

        cspace plugins eq
    """
    from .. import _native
    from ..plugins import composed_by_name, hosted_by_name
    from ..realtime.errors import ParameterError, near

    python_side = [*composed_by_name().values(), *hosted_by_name().values()]
    listed = {p["name"]: p for p in [*_native.processors(), *(c.info for c in python_side)]}
    if name is not None and name not in listed:
        raise ParameterError(
            f"there is no processor {name!r}{near(name, listed) or '; there are ' + ', '.join(listed)}"
        )
    chosen = [listed[name]] if name else list(listed.values())
    if markdown:
        typer.echo("\n".join(_markdown(chosen)))
        return
    for p in chosen:
        out.print(Text.assemble((p["name"], "bold"), f"  {p['doc']}"))
        table = Table("parameter", "allowed", "default", *(["what it does"] if name else []), box=None, padding=(0, 2))
        for q in p["params"]:
            table.add_row(q["name"], *_range_and_default(q), *([q["doc"]] if name else []))
        if p["params"]:
            out.print(table)
        for kind in ("taps", "arrays") if name else ():
            for a in p[kind]:
                out.print(Text.assemble(f"  {kind[:-1]} ", (a["name"], "bold"), f": {a['doc']}"))
        out.print()


def _range_and_default(q: Any) -> tuple[str, str]:
    from ..plugins._params import allowed, number, to_python

    value = to_python(q, q["default"])
    text = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else number(value)
    return allowed(q) + (" (set-up)" if q["setup"] else ""), text


def _markdown(chosen: list[Any]) -> Iterator[str]:
    yield "| processor | parameter | allowed | default | what it does |"
    yield "|---|---|---|---|---|"
    for p in chosen:
        for q in p["params"] or [None]:
            cells = [q["name"], *_range_and_default(q), q["doc"]] if q else ["", "", "", p["doc"]]
            yield f"| `{p['name']}` | " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


@clear_errors
def bench(
    chain: Annotated[
        Path | None, typer.Argument(help="A chain file to time; without one, the project's benchmarks.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Seconds of sound to time a chain with.")] = 10.0,
    block: Annotated[int, typer.Option(help="Frames per block.")] = 64,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds.")] = False,
) -> None:
    """Times a chain block by block, or runs the project's benchmarks from a checkout.

    Examples
    --------
        cspace bench chain.toml --block 128

        cspace bench --quick
    """
    from ..realtime.demo import latency_rows, timed_run

    root = Path(__file__).resolve().parents[3]
    if chain is None and (root / "bench" / "__main__.py").is_file():
        command = [sys.executable, "-m", "bench", *(["--quick"] if quick else [])]
        raise typer.Exit(subprocess.run(command, cwd=root, check=False).returncode)
    stats, rate = timed_run(chain_of(chain), seconds, block)
    table = Table("", "p50 µs", "p99 µs", "p99.9 µs", "max µs", "p99 of deadline", box=None)
    for row in latency_rows(stats, block, rate):
        table.add_row(*row)
    out.print(table)
