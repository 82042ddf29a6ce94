"""Errors of the running host. All derive from CspaceError: one line for the user, no traceback."""

from __future__ import annotations

from ..plugins._errors import AudioError, CspaceError, FileError, MissingExtraError, ParameterError, near, refused

__all__ = [
    "AudioError",
    "ChainFileError",
    "CspaceError",
    "FileError",
    "MissingExtraError",
    "ParameterError",
    "near",
    "refused",
]


class ChainFileError(CspaceError, ValueError):
    """A chain file or preset is wrong; the message names file, line or key, and what is allowed."""
