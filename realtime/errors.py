"""Errors of the running host. All derive from CspaceError: one line for the user, no traceback."""

from __future__ import annotations

from ..plugins._errors import (
    AudioError,
    CspaceError,
    CspaceWarning,
    FileError,
    MissingExtraError,
    ParameterError,
    near,
    refused,
)

__all__ = [
    "AudioError",
    "ChainFileError",
    "CspaceError",
    "CspaceWarning",
    "DeviceError",
    "DeviceLost",
    "FileError",
    "MissingExtraError",
    "ParameterError",
    "RateRefused",
    "StreamError",
    "near",
    "refused",
]


class ChainFileError(CspaceError, ValueError):
    """A chain file or preset is wrong; the message names file, line or key, and what is allowed."""


class DeviceError(CspaceError, OSError):
    """A device is missing or refuses the settings; the message names it and what there is."""

    def __str__(self) -> str:  # OSError would print its arguments as a tuple
        return str(self.args[0]) if self.args else ""


class DeviceLost(DeviceError):  # noqa: N818  (an event first, an error second)
    """A device went away while it played."""

    exit_code = 1


class RateRefused(DeviceError):  # noqa: N818  (the name says what was refused)
    """A device runs at another sample rate than the stream.

    `device_rate`: the rate in Hz that the device states as its own.
    """

    device_rate = 0.0


class StreamError(CspaceError):
    """A stream ended by something nobody asked for; the message names what, and its cause is kept."""

    exit_code = 1
