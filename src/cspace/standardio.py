"""Standard input as a file: `-` on the command line. What a pipe gives is kept, so that it can be read at any place.

Thread: control.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
import tempfile
import threading
from typing import IO, BinaryIO

from .plugins._errors import FileError
from .regularfile import open_regular

#: What stands for standard input, and for standard output, where a command takes a file. A file of
#: that name is `./-`.
STANDARD = "-"
NAME = "standard input"

_CHUNK = 1 << 20
_lock = threading.Lock()
_kept: IO[bytes] | None = None  # what came, for as long as the process lives
_kind = ""


def standard_input(kind: str) -> tuple[int, int, int]:
    """A file descriptor with the bytes of standard input, where they begin in it, and where they end.

    A file is taken as it is; a pipe is read to its end into a temporary file the first time. The
    descriptor is shared: read it with `os.pread`, and leave it open.

    Parameters
    ----------
    kind : what is read, in words such as "sound": one run can read one thing from standard input

    Raises FileError for a terminal, for no standard input, for a second kind, and for a full disk.
    """
    global _kept, _kind
    with _lock:
        if _kind not in ("", kind):
            raise FileError(f"{NAME}: holds one file; - cannot stand for the {_kind} and the {kind} at once")
        if _kept is None:
            _kept = _take()
            _kind = kind
        fd = _kept.fileno()
        begin = _begin(fd)
        return fd, begin, os.fstat(fd).st_size


def _begin(fd: int) -> int:
    """Where a file stands: the shell may have read the first lines of it."""
    return os.lseek(fd, 0, os.SEEK_CUR)


def _take() -> IO[bytes]:
    stream = sys.stdin
    try:
        fd = -1 if stream is None else stream.fileno()
        mode = os.fstat(fd).st_mode
    except (OSError, ValueError):
        raise FileError(f"{NAME}: is closed; pipe something into it, or name a file") from None
    if os.isatty(fd):
        raise FileError(f"{NAME}: is a terminal; pipe a file into it, as in `cspace … - < file`, or name a file")
    if stat.S_ISREG(mode):
        return os.fdopen(os.dup(fd), "rb", buffering=0)
    kept = tempfile.TemporaryFile(prefix="cspace-")  # noqa: SIM115 - kept for as long as the process lives
    try:
        while chunk := _read(fd):
            kept.write(chunk)
        kept.seek(0)
    except OSError as e:
        with contextlib.suppress(OSError):
            kept.close()
        raise FileError(f"{NAME}: cannot be kept in {tempfile.gettempdir()}: {e.strerror or e}") from None
    except BaseException:
        kept.close()
        raise
    return kept


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except BlockingIOError:  # whoever started this left the pipe non-blocking
        os.set_blocking(fd, True)
        return os.read(fd, _CHUNK)


class StandardInput(io.RawIOBase):
    """Standard input as a binary file that can be read at any place. Raises FileError as `standard_input` does."""

    def __init__(self, kind: str):
        self._fd, self._begin, self._end = standard_input(kind)
        self._at = self._begin

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a place in bytes."""
        base = (self._begin, self._at, self._end)[whence]
        self._at = max(self._begin, base + offset)
        return self._at - self._begin

    def readinto(self, buffer: object) -> int:
        """The next bytes."""
        into = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = os.pread(self._fd, min(len(into), max(0, self._end - self._at)), self._at)
        into[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_input(path: str | os.PathLike[str], kind: str) -> BinaryIO:
    """A regular file to read, or, for `-`, standard input; `kind` as in `standard_input`. Raises FileError."""
    if os.fspath(path) == STANDARD:
        return io.BufferedReader(StandardInput(kind))
    return open(open_regular(path), "rb")


def read_standard_text(most_bytes: int) -> bytes:
    """All of standard input. Raises FileError, also where that is more than `most_bytes`."""
    fd, begin, end = standard_input("text")
    if end - begin > most_bytes:
        raise FileError(f"{NAME}: is too large (at most {most_bytes / 1e6:.3g} MB are read)")
    return os.pread(fd, end - begin, begin)


def forget_standard_input() -> None:
    """Lets go of what was kept; the next reader asks standard input anew. For tests."""
    global _kept, _kind
    with _lock:
        if _kept is not None:
            _kept.close()
        _kept, _kind = None, ""
