"""Files that appear whole or not at all: written beside the target, flushed, renamed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .outputs import new_part, put, settled, why_not
from .plugins._errors import CspaceError, FileError


@contextlib.contextmanager
def whole(path: str | os.PathLike[str], *, inputs: Iterable[str | os.PathLike[str] | None] = ()) -> Iterator[Path]:
    """A hidden name beside `path` to write to; it becomes `path` on a clean exit and is removed on any other.

    The hidden name keeps the suffix, since many writers choose the format by it. Folders above are
    made. A link stays, and the file it leads to is replaced; that file's mode is kept. `path` may be
    none of `inputs`. Raises FileError naming the file for what the system refuses.

    >>> with whole("results/figure.png") as part:
    ...     figure.savefig(part)
    """
    target = settled(path, inputs=inputs, makes_folders=True)
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = new_part(target, target.suffix)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.close(handle)
        yield part
        with open(os.open(part, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as done:
            os.fsync(done.fileno())
        os.chmod(part, mode)  # some writers make the file anew, readable by its owner alone
        put(part, target)
    except OSError as e:
        if isinstance(e, CspaceError):
            raise
        raise FileError(f"{path}: {why_not(e, Path(path))}") from e
    finally:
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file, whole or not at all. A name of bytes that are no UTF-8 in it is written escaped."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Writes JSON that any reader takes, in the order given: see `plain`. Raises TypeError for what does not go in."""
    write_text(path, json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """The same as JSON can hold it: NumPy's values as Python's, NaN and Inf as None, a path by its name."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):  # scalars and arrays, without importing NumPy here
        return plain(value.tolist())
    if isinstance(value, Path):
        return value.name
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
