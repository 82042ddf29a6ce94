"""The ``cspace`` command."""

from typing import Annotated

import typer

from . import __version__

app = typer.Typer(name="cspace", no_args_is_help=True, help="Real-time host for physically grounded and neural audio.")


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
