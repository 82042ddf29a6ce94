"""The `cspace` command. Errors a user can mend are one line, without a traceback.

Exit codes: 0 done, 1 it failed while running, 2 something asked for is wrong, 128 + n stopped by signal n.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, NoReturn

import typer

from .. import __version__
from ..clitools import complain, crash, fail, note, shows_warnings
from ..export.cli import app as export_app
from ..offline.codec.cli import app as codec_app
from ..offline.eq.cli import app as eq_app
from ..offline.index.cli import app as index_app
from ..offline.ksom.cli import app as ksom_app
from ..offline.lab.cli import app as lab_app
from ..offline.manifold.cli import app as manifold_app
from ..offline.phase0.cli import app as phase0_app
from ..offline.train_cli import app as train_app
from ..standardout import to_nowhere
from ..terminal import prepare_streams
from .live import live
from .recover import recover
from .render import render
from .show import bench, devices, plugins
from .signals import listening

app = typer.Typer(
    name="cspace",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Real-time host for physically grounded and neural audio.",
)

for _command in (live, render, recover, devices, plugins, bench):
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


def main() -> NoReturn:
    """Run the command line, and leave with its code. No traceback is shown, whatever happens."""
    prepare_streams()
    with listening(), shows_warnings():
        code = _run()
    sys.exit(code)


def _run() -> int:
    try:
        try:
            result = app(prog_name="cspace", standalone_mode=False)
            sys.stdout.flush()  # a full disk is told here, not by the interpreter's end
        except typer.Abort:
            fail("stopped", 1)
        except BrokenPipeError:
            to_nowhere()
            return 1
        except KeyboardInterrupt:
            fail("stopped", 1)
        except Exception as e:
            if isinstance(e, typer.Exit):
                raise
            if hasattr(e, "format_message"):
                return _usage(e)
            if isinstance(e, OSError) and e.filename is None:
                to_nowhere()
                fail(f"standard output cannot be written: {e.strerror or e}", 1)
            crash(e)
    except typer.Exit as e:
        return e.exit_code
    return result if isinstance(result, int) else 0


def _usage(error: Any) -> int:
    """What was typed wrongly, in one line, and how the command goes."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        shown = error.ctx.get_help()  # prints it by itself where rich is at hand
        if shown:
            typer.echo(shown)
        return int(error.exit_code)
    complain(error.format_message())
    if context is not None:
        usage = " ".join(context.get_usage().split())
        note(f"{usage}; {context.command_path} --help tells more")
    return int(error.exit_code)
