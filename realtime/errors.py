"""Errors of the running host. All derive from CspaceError: one line for the user, no traceback."""

from __future__ import annotations

from ..plugins._errors import AudioError, CspaceError, MissingExtraError, ParameterError, near

__all__ = [
    "AudioError",
    "ChainFileError",
    "CspaceError",
    "FileError",
    "MissingExtraError",
    "ParameterError",
    "near",
]


class ChainFileError(CspaceError, ValueError):
    """A chain file or preset is wrong; the message names file, line or key, and what is allowed."""


class FileError(CspaceError, OSError):
    """An audio file cannot be read or written; the message names the file and the reason."""

    def __str__(self) -> str:  # OSError would print its arguments as a tuple
        return str(self.args[0]) if self.args else ""
