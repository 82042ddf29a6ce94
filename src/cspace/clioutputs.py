"""The one rule for what commands write, checked before any of their work.

1. The suffix is one that the command writes.
2. A file that is there is kept, unless `--force` is given or the user says yes at a terminal.
3. An output is never one of the inputs, whatever they are called, also with `--force`.
4. A write-protected file stays, also with `--force`.
5. Links are followed and stay; a folder, pipe or device is no file; what cannot be written is told at once.

A command declares its outputs beside their options, `Annotated[Path, typer.Option(...), JSON]`; then
`clear_errors` gives it `--force` and checks them. Names that it makes up itself it hands to `claim`.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from .outputs import is_read, number_of, probe, protected, same, settled, settled_folder
from .plugins._errors import CspaceError, FileError
from .terminal import clean


@dataclass(frozen=True)
class OutputFile:
    """A file that a command writes.

    Parameters
    ----------
    what : what it holds, in a word
    suffixes : those that go with it; none: those of audio files
    updates : of a page that is there only the command's own section is replaced
    bare : a name without a suffix goes too: the suffix chooses nothing
    port : the value may also be a device or null, as with `cspace live`
    """

    what: str
    suffixes: tuple[str, ...] = ()
    updates: bool = False
    bare: bool = False
    port: bool = False

    def check(self, path: Path) -> None:
        """Raises FileError for another suffix."""
        known = self.suffixes
        if not known:
            from .audiofile.formats import choose_format

            choose_format(path, None)
        elif path.suffix.lower() not in known and not (self.bare and not path.suffix):
            names = " ".join(known) if len(known) > 3 else " or ".join(known)
            example = path.with_suffix(known[0]) if path.name else f"NAME{known[0]}"
            raise FileError(f"{path}: {self.what} is written here, so its name ends in {names}, such as {example}")


@dataclass(frozen=True)
class OutputFolder:
    """A folder that a command writes into; it is made where it is missing.

    Parameters
    ----------
    whole : the folder is written as one, so that none is there before; else the files in it are claimed
    own : the command goes on with a folder of its own making and never replaces another, so it needs no `--force`
    """

    whole: bool = False
    own: bool = False


AUDIO = OutputFile("sound")
PORT = OutputFile("sound", port=True)
CODED = OutputFile("an encoded file", (".csc",))
JSON = OutputFile("JSON", (".json",), bare=True)
CSV = OutputFile("CSV", (".csv",), bare=True)
TEXT = OutputFile("text", (".txt",), bare=True)
PAGE = OutputFile("a Markdown page", (".md",), bare=True)
SECTION = OutputFile("a Markdown page", (".md",), updates=True, bare=True)
PICTURE = OutputFile("a picture", (".png", ".svg", ".pdf"))
PNG = OutputFile("a picture", (".png",))
FOLDER = OutputFolder()
PACKAGE = OutputFolder(whole=True)
GROWS = OutputFolder(own=True)

Force = Annotated[
    bool,
    typer.Option("--force", help="Replace files that are there (never an input, nor one that is write-protected)."),
]


def _audio_suffixes() -> tuple[str, ...]:
    from .audiofile.formats import FORMATS

    return tuple(FORMATS)


# ---- what a command was asked for ------------------------------------------------------------


@dataclass
class _Asked:
    force: bool = False
    inputs: list[Path] = field(default_factory=list)
    claimed: dict[Path, Path] = field(default_factory=dict)


_asked: ContextVar[_Asked | None] = ContextVar("cspace_asked", default=None)


def declared(command: Callable[..., Any]) -> dict[str, OutputFile | OutputFolder]:
    """The outputs among a command's parameters."""
    found = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        if get_origin(parameter.annotation) is Annotated:
            for word in get_args(parameter.annotation)[1:]:
                if isinstance(word, (OutputFile, OutputFolder)):
                    found[name] = word
    return found


def with_force(command: Callable[..., Any]) -> inspect.Signature:
    """The command's signature with `--force`, where it needs one and has none of its own."""
    signature = inspect.signature(command, eval_str=True)
    if "force" in signature.parameters or all(getattr(o, "own", False) for o in declared(command).values()):
        return signature
    added = inspect.Parameter("force", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Force)
    return signature.replace(parameters=[*signature.parameters.values(), added])


@contextlib.contextmanager
def checked(outputs: dict[str, OutputFile | OutputFolder], values: dict[str, Any], force: bool) -> Iterator[None]:
    """Checks the declared outputs; inside, `claim` knows the command's inputs and whether it may replace files."""
    asked = _Asked(force, list(_paths(v for k, v in values.items() if k not in outputs)))
    token = _asked.set(asked)
    try:
        files: list[tuple[Path, OutputFile]] = []
        for name, kind in outputs.items():
            value = values.get(name)
            if value is None:
                continue
            if isinstance(kind, OutputFolder):
                _check_folder(Path(value), kind, asked)
            elif not kind.port or _is_file(value):
                files.append((Path(value), kind))
        for path, kind in files:
            kind.check(path)
        _claim([(path, kind.updates) for path, kind in files], asked, (), False)
        yield
    finally:
        _asked.reset(token)


def check_standard_output(outputs: dict[str, OutputFile | OutputFolder], values: dict[str, Any]) -> None:
    """Raises FileError where standard output goes into a file that the command reads: `render c.toml a - >> a`."""
    for source in _paths(v for k, v in values.items() if k not in outputs):
        if is_read(number_of(sys.stdout), source):
            raise FileError(
                f"standard output: goes into the input {source} itself, which would be lost; name another file"
            )


def claim(*paths: Path, inputs: Iterable[Path] = ()) -> None:
    """The same for files whose names a command makes up; folders above are made when it writes.

    `inputs` are files that are read beside those the command names. Call it before the work, and with
    all names at once, so that nothing is done if one of them cannot be written.
    """
    _claim([(p, False) for p in paths], _asked.get() or _Asked(force=True), inputs, True)


def claim_folder(path: Path, marks: Iterable[str], what: str, *, again: bool = False, empties: bool = False) -> None:
    """A folder with work to go on with, known by one of the files `marks`, or an empty or new one.

    Another one is kept unless `--force` is given, and always where that `empties` folders in it; so is
    such work if it is to be done `again`.
    """
    asked = _asked.get() or _Asked(force=True)
    settled_folder(path)
    if not path.is_dir():
        return
    if asked.force:
        if empties and not any((path / m).exists() for m in marks) and any(path.iterdir()):
            raise FileError(f"{path}: is not empty and holds no {what}; --force empties such a run only")
        return
    if any((path / m).exists() for m in marks):
        if again:
            raise FileError(f"{path}: holds {what} that would be lost; --force begins again, or name another folder")
    elif any(path.iterdir()):
        raise FileError(f"{path}: is not empty and holds no {what}; name a new folder, or say --force")


def _is_file(value: Any) -> bool:
    from .realtime.stream import is_file

    return is_file(value)


def _paths(values: Iterable[Any]) -> Iterator[Path]:
    """Everything that was given and names something: a file that is read may come as any text."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _paths(value)
        elif isinstance(value, (str, os.PathLike)) and os.fspath(value):
            yield Path(value)


# ---- the rule --------------------------------------------------------------------------------


def _claim(paths: list[tuple[Path, bool]], asked: _Asked, inputs: Iterable[Path], makes_folders: bool) -> None:
    there = []
    sources = [*asked.inputs, *inputs]
    for path, updates in paths:
        real = settled(path, inputs=[s for s in sources if not s.is_dir()], makes_folders=makes_folders)
        _check_within(path, real, sources)
        first = asked.claimed.setdefault(real, path)
        if first is not path:
            raise FileError(f"{path}: two results would be written to it; give them different names")
        locked = protected(real)
        if locked:
            raise FileError(locked)
        probe(path, makes_folders=makes_folders)
        if real.exists() and not updates:
            there.append(path)
    if there and not asked.force:
        _ask(there)


def _check_within(path: Path, real: Path, sources: list[Path]) -> None:
    """A sound file in a folder whose sound files are read is one of the inputs."""
    if not real.is_file() or real.suffix.lower() not in _audio_suffixes():
        return
    for source in sources:
        if source.is_dir() and any(same(source, above) for above in real.parents):
            raise FileError(f"{path}: is one of the files in {source}, which are read; give the result another name")


def _check_folder(path: Path, kind: OutputFolder, asked: _Asked) -> None:
    real = settled_folder(path)
    if kind.whole:
        for source in asked.inputs:
            inside = Path(os.path.realpath(source))
            if same(path, source) or real in inside.parents:
                raise FileError(f"{path}: holds the input {source}; give the result another name")
        if path.is_dir() and any(path.iterdir()) and not asked.force:
            _ask([path])
    if real.is_dir():
        probe(path / "x")
    else:
        probe(path, makes_folders=True)


def _ask(there: list[Path]) -> None:
    """Asks whether these may be replaced; without a terminal that is no."""
    names = " and ".join(clean(str(p)) for p in there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
    exist = "exists" if len(there) == 1 else "exist"
    if not _at_terminal():
        kept = "is kept" if len(there) == 1 else "are kept"
        raise FileError(f"{names} {exist} and {kept}; --force replaces {'it' if len(there) == 1 else 'them'}")
    if not typer.confirm(f"{names} {exist}; replace {'it' if len(there) == 1 else 'them'}?", default=False, err=True):
        raise KeptError("nothing is replaced, nothing is written")


def _at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


class KeptError(CspaceError):
    """The user said no."""

    exit_code = 1
