"""Arrays of NumPy's `.npy` format, read only where the file holds what its header claims.

A header of 100 bytes can claim any size; NumPy reserves that much before it reads. Nothing is
unpickled. Thread: control.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import warnings
from collections.abc import Iterator
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .plugins._errors import FileError
from .regularfile import open_regular

_LONGEST_HEADER = 65_536
_FORMATS = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """NumPy warns, with a line of its source, of headers that are about to be refused or do no harm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_npy(path: str | os.PathLike[str], *, mmap_mode: Literal["r"] | None = None) -> NDArray[Any]:
    """The array in a `.npy` file, in memory, or mapped with `mmap_mode="r"`.

    Raises FileError naming the file for what is missing, no regular file, damaged, of Python
    objects, or shorter than its header claims.
    """
    name = os.fspath(path)
    with open(open_regular(name), "rb") as file:
        check_npy(file, os.fstat(file.fileno()).st_size, name)
        file.seek(0)
        try:
            with _quiet():
                if mmap_mode is None:
                    return np.lib.format.read_array(file, allow_pickle=False)
                return np.load(name, mmap_mode=mmap_mode, allow_pickle=False)  # type: ignore[no-any-return]
        except (OSError, ValueError, EOFError, MemoryError) as e:
            raise FileError(f"{name}: cannot be read: {getattr(e, 'strerror', None) or e}") from None


def parse_npy(data: bytes, name: str) -> NDArray[Any]:
    """The array in the bytes of a `.npy` file; `name` stands for the file in errors. Raises FileError."""
    check_npy(io.BytesIO(data), len(data), name)
    try:
        with _quiet():
            return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as e:
        raise FileError(f"{name}: cannot be read: {e}") from None


def check_npy(file: IO[bytes], size: int, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array, if a file of `size` bytes, read from its start, can hold it. Raises FileError."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in _FORMATS:
            raise ValueError(f"version {version[0]}.{version[1]} of the format is not known")
        at = file.tell()
        length = int.from_bytes(file.read(2 if version[0] == 1 else 4), "little")
        if length > min(size, _LONGEST_HEADER):
            raise ValueError(f"its header claims to be {length} bytes long")
        file.seek(at)
        with _quiet():
            shape, _, dtype = getattr(np.lib.format, _FORMATS[version])(file)
    except Exception as e:  # NumPy raises many kinds for a header that is none
        raise FileError(f"{name}: is not a .npy file: {getattr(e, 'strerror', None) or e}") from None
    if dtype.hasobject:
        raise FileError(f"{name}: holds Python objects, which could run code; save numbers")
    if any(n < 0 for n in shape):
        raise FileError(f"{name}: is damaged: its header claims the shape {shape}")
    claimed, there = math.prod(shape) * dtype.itemsize, size - file.tell()
    if claimed > there:
        raise FileError(
            f"{name}: is cut off or damaged: its header claims {claimed} bytes of numbers "
            f"({dtype}, shape {shape}), the file holds {there}"
        )
    return shape, dtype
