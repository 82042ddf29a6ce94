"""The running host: chain, parameters, devices, OSC, OSCQuery, recording, statistics, offline render."""

from .chain import Chain
from .errors import CspaceError, CspaceWarning
from .portaudio import DeviceError, DeviceLost
from .render import render
from .stream import Stream

__all__ = ["Chain", "CspaceError", "CspaceWarning", "DeviceError", "DeviceLost", "Stream", "render"]
