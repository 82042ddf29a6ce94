"""What the commands share: output, and errors of one line without a traceback.

Exit codes: 0 done, 1 it failed while running, 2 something asked for is wrong.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

out = Console()
err = Console(stderr=True)


def fail(message: str, code: int) -> NoReturn:
    """Prints one red line on standard error and leaves with `code`."""
    err.print(f"cspace: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def say(line: str) -> None:
    """Prints a line as it is."""
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def note(line: str) -> None:
    """Prints a yellow line on standard error: good to know, not wrong."""
    err.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)


# Packages that only some commands need, and the extra each belongs to.
_EXTRAS = {
    "lab": ("librosa", "pydantic", "scipy", "minisom"),
    "codec": ("constriction", "safetensors"),
    "train": ("torch", "lightning", "lightning_fabric", "safetensors", "tensorboard", "onnx", "onnxscript"),
    "pedalboard": ("pedalboard",),
    "neural": ("onnxruntime",),
    "phase0": ("zarr", "pyarrow", "dask", "distributed", "yaml"),
    "mimi": ("moshi", "huggingface_hub"),
    "encodec": ("transformers",),
}


def missing_extra(error: ModuleNotFoundError) -> str:
    """What to install for an optional package that is not there; any other missing module is raised again."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in _EXTRAS.items():
        if package in packages:
            return f"this needs {package}, which is not installed; say pip install 'cspace[{extra}]'"
    raise error


def progress(*columns: Any) -> Progress:
    """A progress bar on standard error that leaves nothing behind; silent where that is not a terminal."""
    shown = columns or (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*shown, console=err, transient=True, disable=not err.is_terminal)


def clear_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """One line instead of a traceback for errors the user can mend."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        from .plugins._errors import CspaceError

        try:
            return command(*args, **kwargs)
        except ModuleNotFoundError as e:
            fail(missing_extra(e), 2)
        except CspaceError as e:
            fail(str(e), e.exit_code)
        except KeyboardInterrupt:
            fail("stopped", 1)
        except BrokenPipeError:  # `cspace plugins | head`
            sys.stderr.close()
            raise typer.Exit(1) from None

    return guarded
