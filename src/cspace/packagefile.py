"""Files of packages: read whole, no larger than allowed, and with the hash that the manifest has for them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .modelmanifest import PackageError
from .plugins._errors import FileError
from .regularfile import read_bytes
from .textfile import decode


def load(file: Path, most_bytes: int) -> bytes:
    """A file of a package. Raises PackageError naming it."""
    if not os.path.lexists(file):
        raise PackageError(f"{file.parent}: {file.name} is missing")
    try:
        return read_bytes(file, most_bytes)
    except FileError as e:
        raise PackageError(str(e)) from None


def load_text(file: Path, most_bytes: int) -> str:
    """A text in UTF-8. Raises PackageError."""
    try:
        return decode(load(file, most_bytes), str(file))
    except PackageError:
        raise
    except FileError as e:
        raise PackageError(str(e)) from None


def verified(file: Path, sha256: str, manifest: str, most_bytes: int) -> bytes:
    """A file that is the one its manifest was written for. Raises PackageError."""
    data = load(file, most_bytes)
    got = hashlib.sha256(data).hexdigest()
    if got != sha256:
        raise PackageError(
            f"{file.parent}: {file.name} is not the file {manifest} was written for (sha256 {got[:12]}…, not "
            f"{sha256[:12]}…); get the package again"
        )
    return data
