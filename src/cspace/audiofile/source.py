"""The bytes of an audio file, opened once: a regular file, or what standard input gave.

Thread: control.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from ..plugins._errors import FileError
from ..regularfile import open_regular
from ..standardio import NAME, STANDARD, standard_input
from .formats import reason


class Source:
    """An audio file's bytes, read at any place.

    Parameters
    ----------
    path : a file, or `-` for standard input

    Raises FileError for what is missing, refused, or no regular file.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.name = os.fspath(path)
        self.whole_file = self.name != STANDARD  # the descriptor is this reader's own, and begins with the file
        if self.whole_file:
            self.fd, self.begin = open_regular(path), 0
            self.end = os.fstat(self.fd).st_size
        else:
            self.name = NAME
            self.fd, self.begin, self.end = standard_input("sound")
        #: Why a read through a view failed; libsndfile takes that for the end.
        self.failed = ""

    @property
    def size(self) -> int:
        """Bytes."""
        return max(0, self.end - self.begin)

    def at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from `offset` on; fewer at the end. Raises FileError."""
        count = min(count, self.size - offset)
        if offset < 0 or count <= 0:
            return b""
        try:
            return os.pread(self.fd, count, self.begin + offset)
        except OSError as e:
            raise FileError(f"{self.name}: cannot be read: {reason(e)}") from None

    def close(self) -> None:
        """Closes a file; standard input stays."""
        if self.whole_file and self.fd >= 0:
            os.close(self.fd)
        self.fd = -1

    @property
    def path(self) -> Path:
        """Its name, as a path to show."""
        return Path(self.name)


class View(io.RawIOBase):
    """A part of a source as a file of its own, under another beginning if need be: what libsndfile sees.

    Parameters
    ----------
    begin, end : the part, in bytes from the start of the source
    head : bytes that stand before it
    """

    def __init__(self, source: Source, begin: int, end: int, head: bytes = b""):
        self._source, self._begin, self._head = source, begin, head
        self._size = len(head) + max(0, end - begin)
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a place in bytes."""
        self._at = offset + (0 if whence == os.SEEK_SET else self._at if whence == os.SEEK_CUR else self._size)
        self._at = max(0, self._at)
        return self._at

    def tell(self) -> int:
        """The place in bytes."""
        return self._at

    def readinto(self, buffer: object) -> int:
        """The next bytes; raises nothing, see `Source.failed`."""
        into = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        data = self._head[self._at : self._at + len(into)]
        wanted = min(len(into), self._size - self._at) - len(data)
        if wanted > 0:
            try:
                data += self._source.at(self._begin + self._at + len(data) - len(self._head), wanted)
            except FileError as e:  # nothing may be raised through libsndfile
                self._source.failed = str(e)
        into[: len(data)] = data
        self._at += len(data)
        return len(data)
