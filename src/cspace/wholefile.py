"""Files that appear whole or not at all: written beside the target, flushed, renamed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .plugins._errors import FileError


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A hidden name beside `path` to write to; it becomes `path` on a clean exit and is removed on any other.

    The hidden name keeps the suffix, since many writers choose the format by it. Folders above are
    made. Raises FileError naming the file for what the system refuses.

    >>> with whole("results/figure.png") as part:
    ...     figure.savefig(part)
    """
    target = Path(path)
    part = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with open(part, "rb") as done:
            os.fsync(done.fileno())
        os.replace(part, target)
    except OSError as e:
        if isinstance(e, FileError):
            raise
        raise FileError(f"{target}: cannot be written: {e.strerror or e}") from e
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file, whole or not at all."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Writes JSON that any reader takes: sorted as given, no NaN (a ValueError names none; give None instead)."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    if hasattr(value, "tolist"):  # NumPy's scalars and arrays
        return value.tolist()
    raise TypeError(f"{type(value).__name__} does not go into JSON")
