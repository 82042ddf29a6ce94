"""Standard output as a file: `-` where a command takes the name of a file to write.

The file is made whole in a temporary folder, since most formats go back to their header, and then
copied out. Nothing else goes to standard output meanwhile. Thread: control.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .plugins._errors import FileError
from .standardio import STANDARD

NAME = "standard output"
#: Suffixes of what a person can read at a terminal.
_READABLE = (".json", ".csv", ".txt", ".md")


def is_standard(value: object) -> bool:
    """Whether a name given for a file is that of standard output."""
    return value is not None and str(value) == STANDARD


@contextlib.contextmanager
def to_standard_output(suffix: str) -> Iterator[Path]:
    """A file to write; on a clean exit it goes to standard output. What is printed inside goes to standard error.

    Raises FileError for a terminal, unless the file is text, and for no standard output or a full one;
    BrokenPipeError where the reader has left.
    """
    out = sys.stdout
    binary = getattr(out, "buffer", None)
    if binary is None:
        raise FileError(f"{NAME}: is closed; name a file")
    if suffix not in _READABLE and out.isatty():
        raise FileError(f"{NAME}: is a terminal; pipe it into a program or a file, as in `cspace … - > file{suffix}`")
    with tempfile.TemporaryDirectory(prefix="cspace-") as folder:
        path = Path(folder, f"out{suffix}")
        with contextlib.redirect_stdout(sys.stderr):
            yield path
        if path.is_file():
            try:
                with path.open("rb") as file:
                    shutil.copyfileobj(file, binary)
                binary.flush()
            except BrokenPipeError:
                raise
            except OSError as e:
                to_nowhere()
                raise FileError(f"{NAME} cannot be written: {e.strerror or e}") from None


def to_nowhere() -> None:
    """Standard output goes nowhere from here on: whoever read it has left."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
