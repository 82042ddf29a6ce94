"""What the commands share: output, and errors of one line without a traceback.

Exit codes: 0 done, 1 it failed while running, 2 something asked for is wrong.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from .clioutputs import OutputFile, OutputFolder, check_standard_output, checked, declared, with_force
from .plugins._errors import CspaceWarning
from .standardout import NAME as STANDARD_OUTPUT
from .standardout import is_standard, to_nowhere, to_standard_output
from .terminal import clean, forget_odd_sizes, json_text


class _Plain(Console):
    """A console on which text is text: no markup, no emoji by name, no control characters."""

    def __init__(self, *, stderr: bool = False):
        forget_odd_sizes()  # a console keeps the width that it finds
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's; a full disk behind standard output is told in words that say so."""
        with _told(not self.stderr):
            super().print(*objects, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Also the cells of tables come by here."""
        return super().render_str(clean(text, lines=True), **options)


@contextlib.contextmanager
def _told(is_output: bool = True) -> Iterator[None]:
    """Leaves with one line where standard output cannot be written. Whether it was that shows nowhere but here."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as e:
        if not is_output:
            raise
        to_nowhere()
        fail(f"{STANDARD_OUTPUT} cannot be written: {e.strerror or e}", 1)


#: The file that goes to standard output, which messages call so.
_shown_as = ""

out = _Plain()
err = _Plain(stderr=True)


def complain(message: str) -> None:
    """Prints one red line on standard error."""
    err.print(f"cspace: {clean(_named(message))}", style="red", soft_wrap=True)


def fail(message: str, code: int) -> NoReturn:
    """Prints one red line on standard error and leaves with `code`."""
    complain(message)
    raise typer.Exit(code)


def say(line: str) -> None:
    """Prints one line; what a name in it holds is shown, not done."""
    out.print(clean(_named(line)), soft_wrap=True)


def _named(line: str) -> str:
    return line.replace(_shown_as, STANDARD_OUTPUT) if _shown_as else line


def say_text(text: str) -> None:
    """Prints text of several lines."""
    out.print(clean(text, lines=True), soft_wrap=True)


def say_json(data: Any) -> None:
    """Prints JSON, and nothing but JSON."""
    with _told():
        print(json_text(data), flush=True)


def note(line: str) -> None:
    """Prints a yellow line on standard error: good to know, not wrong."""
    err.print(clean(_named(line)), style="yellow", soft_wrap=True)


@contextlib.contextmanager
def shows_warnings() -> Iterator[None]:
    """Inside, a CspaceWarning is one yellow line. Of other threads none is: what OSC loads prints nothing."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, CspaceWarning):
            usual(message, category, *place, **more)
        elif threading.current_thread() is threading.main_thread():
            note(str(message))

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = usual


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


class _Progress(Progress):
    """Bars whose descriptions are names as they are."""

    def add_task(self, description: str, *args: Any, **options: Any) -> TaskID:
        """As rich's."""
        return super().add_task(clean(description), *args, **options)

    def update(self, task_id: TaskID, **options: Any) -> None:
        """As rich's."""
        if isinstance(options.get("description"), str):
            options["description"] = clean(options["description"])
        super().update(task_id, **options)


def progress(*columns: Any) -> Progress:
    """A progress bar on standard error that leaves nothing behind; silent where that is not a terminal."""
    shown = columns or (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    for column in shown:
        if isinstance(column, TextColumn):
            column.markup = False
    return _Progress(*shown, console=err, transient=True, disable=not err.is_terminal)


def crash(error: BaseException) -> NoReturn:
    """One line for what nobody foresaw, and code 1. CSPACE_TRACEBACK=1 shows where it happened."""
    if os.environ.get("CSPACE_TRACEBACK"):
        raise error
    if isinstance(error, MemoryError):
        what = "there is not enough memory"
    elif isinstance(error, RecursionError):
        what = "the input is nested too deeply"
    elif isinstance(error, OSError) and error.strerror:
        name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        what = f"{name}{error.strerror}"
    else:
        first = (str(error).strip().splitlines() or [""])[0]
        what = f"unexpected {type(error).__name__}{': ' if first else ''}{first}"
    fail(f"{what} (CSPACE_TRACEBACK=1 shows where)", 1)


def clear_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """One line instead of a traceback; and what the command writes is checked by the rule of `clioutputs`."""
    outputs = declared(command)
    signature = with_force(command) if outputs else None
    adds_force = "force" not in inspect.signature(command).parameters

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        from .plugins._errors import CspaceError

        try:
            if signature is None:
                return command(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            force = bool(bound.arguments.get("force", False))
            if adds_force:
                kwargs.pop("force", None)
            values = dict(bound.arguments)
            with _through_standard_output(outputs, values) as given, checked(outputs, values | given, force):
                return command(*args, **(kwargs | given))
        except ModuleNotFoundError as e:
            fail(missing_extra(e), 2)
        except CspaceError as e:
            fail(str(e), e.exit_code)
        except KeyboardInterrupt:
            fail("stopped", 1)
        except BrokenPipeError:  # `cspace plugins | head`
            to_nowhere()
            raise typer.Exit(1) from None
        except Exception as e:
            if isinstance(e, (typer.Exit, typer.Abort)) or hasattr(e, "format_message"):
                raise  # typer's own
            crash(e)

    if signature is not None:
        guarded.__signature__ = signature  # type: ignore[attr-defined]
    return guarded


@contextlib.contextmanager
def _through_standard_output(
    outputs: dict[str, OutputFile | OutputFolder], values: dict[str, Any]
) -> Iterator[dict[str, Path]]:
    """For an output called `-`, the file to write in its place; it goes to standard output at the end."""
    global _shown_as
    from .plugins._errors import ParameterError

    asked = [name for name in outputs if is_standard(values.get(name))]
    if not asked:
        yield {}
        return
    kind = outputs[asked[0]]
    if len(asked) > 1:
        raise ParameterError(f"- can stand for one output, not for {' and '.join(asked)}")
    if isinstance(kind, OutputFolder) or kind.port:
        what = "a folder is written here" if isinstance(kind, OutputFolder) else "this plays in real time"
        raise ParameterError(f"{asked[0]} cannot be standard output (-): {what}; give a name")
    check_standard_output(outputs, values)
    with to_standard_output(kind.suffixes[0] if kind.suffixes else ".wav") as path:
        _shown_as = str(path)
        try:
            yield {asked[0]: path}
        finally:
            _shown_as = ""
