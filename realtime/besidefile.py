"""The `.npy` files beside a chain file. Thread: control.

The name of an array ends in what it holds and whose it is: 4 hex digits of the chain file's name and 12 of the
content. So a save never touches the arrays of the file that is still there, nor those of another.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arrayfile import read_npy
from ..outputs import protected
from ..regularfile import read_bytes
from ..textfile import MOST_SETTINGS_BYTES
from ..wholefile import whole
from .errors import FileError
from .tomltext import dump_value

_STEM_BYTES = 180  # of a name; the hash, `.npy` and what hidden files add go with it


class Beside:
    """The arrays of one chain file that is about to be written.

    Parameters
    ----------
    file : the chain file
    """

    def __init__(self, file: Path):
        self._file = file
        self._arrays: dict[str, NDArray[Any]] = {}
        self._owner = hashlib.sha256(os.fsencode(file.name)).hexdigest()[:4]
        # Bytes of the name that are no text would make the chain file one that nobody can read.
        self._stem = os.fsencode(file.stem).decode("utf-8", "replace")

    def put(self, words: str, data: NDArray[Any]) -> str:
        """The file name for an array; `words` say what it is, as in `esn.w`."""
        content = hashlib.sha256(f"{data.dtype.str} {data.shape} ".encode())
        content.update(np.ascontiguousarray(data).tobytes())
        start = f"{self._stem}.{words}".encode()[:_STEM_BYTES].decode(errors="ignore")
        name = f"{start}.{self._owner}{content.hexdigest()[:12]}.npy"
        self._arrays[name] = data
        return name

    def write(self) -> None:
        """Writes the arrays that are not there yet. Raises FileError; the files of earlier saves are as they were."""
        for name, data in self._arrays.items():
            file = self._file.with_name(name)
            if not _holds(file, data):
                with whole(file) as part, open(part, "wb") as f:
                    np.save(f, data, allow_pickle=False)

    def named_before(self) -> set[str]:
        """The arrays of this chain file that it names as it stands now."""
        try:
            text = read_bytes(self._file, MOST_SETTINGS_BYTES).decode("utf-8", "replace")
        except FileError:
            return set()
        mine = re.compile(rf'"([^"\n/]*\.{self._owner}[0-9a-f]{{12}}\.npy)"')
        start = self._stem.encode()[:_STEM_BYTES].decode(errors="ignore")
        return {name for name in mine.findall(text) if name.startswith(start)}

    def tidy(self, before: Iterable[str]) -> None:
        """Removes those of `before`, and of what was written, that no chain file of the folder names any more.

        After a save that failed these are what it wrote, after another one what it replaced. Where a
        chain file cannot be read, all stay.
        """
        folder = self._file.parent
        spare = {*before, *self._arrays}
        with contextlib.suppress(FileError, OSError):
            for file in {self._file, *folder.glob("*.toml")}:
                if spare and file.is_file():
                    text = read_bytes(file, MOST_SETTINGS_BYTES)
                    spare = {n for n in spare if dump_value(n).encode() not in text and n.encode() not in text}
            for name in spare:
                array = folder / name
                if not array.is_symlink() and protected(array) is None:
                    with contextlib.suppress(FileNotFoundError):
                        array.unlink()


def _holds(file: Path, data: NDArray[Any]) -> bool:
    """Whether a file holds this array, undamaged."""
    if not file.is_file():
        return False
    with contextlib.suppress(FileError):
        found = read_npy(file)
        return found.dtype == data.dtype and np.array_equal(found, data)
    return False
