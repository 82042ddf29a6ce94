"""Files of packages: read whole, no larger than allowed, and with the hash that the manifest has for them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .modelmanifest import PackageError


def load(file: Path, most_bytes: int) -> bytes:
    """A file of a package. Raises PackageError naming it."""
    try:
        if file.stat().st_size > most_bytes:
            raise PackageError(f"{file}: is larger than {most_bytes >> 20} MiB")
        return file.read_bytes()
    except FileNotFoundError:
        raise PackageError(f"{file.parent}: {file.name} is missing") from None
    except OSError as e:
        if isinstance(e, PackageError):
            raise
        raise PackageError(f"{file}: cannot be read: {e.strerror or e}") from None


def load_text(file: Path, most_bytes: int) -> str:
    """A text in UTF-8. Raises PackageError."""
    try:
        return load(file, most_bytes).decode("utf-8")
    except UnicodeDecodeError:
        raise PackageError(f"{file}: is not a text in UTF-8") from None


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
