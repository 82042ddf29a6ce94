"""The `cspace` command. Errors a user can mend are one line, without a traceback.

Exit codes: 0 done, 1 it failed while running, 2 something asked for is wrong.
"""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from ..export.cli import app as export_app
from ..offline.codec.cli import app as codec_app
from ..offline.eq.cli import app as eq_app
from ..offline.index.cli import app as index_app
from ..offline.ksom.cli import app as ksom_app
from ..offline.lab.cli import app as lab_app
from ..offline.manifold.cli import app as manifold_app
from ..offline.phase0.cli import app as phase0_app
from ..offline.train_cli import app as train_app
from .live import live
from .render import render
from .show import bench, devices, plugins

app = typer.Typer(
    name="cspace",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Real-time host for physically grounded and neural audio.",
)

for _command in (live, render, devices, plugins, bench):
    app.command()(_command)

app.add_typer(lab_app)
app.add_typer(export_app)
app.add_typer(eq_app)
app.add_typer(ksom_app)
app.add_typer(index_app)
app.add_typer(train_app)
app.add_typer(codec_app)
app.add_typer(manifold_app)
app.add_typer(phase0_app)


# ---- root ------------------------------------------------------------------------------------


def _show_version(on: bool) -> None:
    if on:
        typer.echo(f"cspace {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Real-time host for physically grounded and neural audio."""


def main() -> None:
    """Run the command line."""
    app(prog_name="cspace")
