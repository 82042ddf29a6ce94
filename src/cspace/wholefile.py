"""Files that appear whole or not at all: written beside the target, flushed, renamed."""

from __future__ import annotations

import contextlib
import json
import math
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
