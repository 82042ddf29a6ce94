"""Files opened for reading: regular ones only, so that nobody waits for a pipe or reads a device for ever.

Thread: control.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from .plugins._errors import FileError, near

_KINDS = (
    (stat.S_ISDIR, "is a folder, not a file"),
    (stat.S_ISFIFO, "is a pipe, not a file; save what comes out of it to a file first"),
    (stat.S_ISSOCK, "is a socket, not a file"),
    (stat.S_ISCHR, "is a device, not a file"),
    (stat.S_ISBLK, "is a device, not a file"),
)


def open_regular(path: str | os.PathLike[str]) -> int:
    """A file descriptor to read a regular file, or what a link leads to; the caller closes it.

    Raises FileError for a pipe, a device, a socket, a folder, and for what is missing or refused. It
    never waits: opening a pipe would, until somebody writes to it.
    """
    name = os.fspath(path)
    try:
        mode = os.stat(name).st_mode  # looked at first: only to open some devices has effects
        if stat.S_ISREG(mode):
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            mode = os.fstat(fd).st_mode  # it may be another file by now
            if stat.S_ISREG(mode):
                return fd
            os.close(fd)
    except FileNotFoundError:
        raise FileError(f"{name}: there is no such file{_like(Path(name))}") from None
    except OSError as e:
        raise FileError(f"{name}: cannot be read: {e.strerror or e}") from None
    except ValueError:  # a zero byte within the name
        raise FileError(f"{name!r}: is not a file name") from None
    for kind, words in _KINDS:
        if kind(mode):
            raise FileError(f"{name}: {words}")
    raise FileError(f"{name}: is not a regular file")


def read_bytes(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """A whole regular file. Raises FileError, also for one of more than `most_bytes`."""
    name = os.fspath(path)
    fd = open_regular(name)
    with open(fd, "rb") as file:
        try:
            size = os.fstat(fd).st_size
            data = b"" if size > most_bytes else file.read(most_bytes + 1)
        except OSError as e:
            raise FileError(f"{name}: cannot be read: {e.strerror or e}") from None
    if size > most_bytes or len(data) > most_bytes:
        large = max(size, len(data)) / 1e6
        raise FileError(f"{name}: is too large ({large:.3g} MB; at most {most_bytes / 1e6:.3g} MB are read)")
    return data


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raises FileError unless `path` is a regular file that can be read: for libraries that open files themselves."""
    os.close(open_regular(path))


def _like(path: Path) -> str:
    """Names near to that of a missing file."""
    with contextlib.suppress(OSError):
        return near(path.name, os.listdir(path.parent))
    return ""
