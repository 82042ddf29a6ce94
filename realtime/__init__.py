"""The running host: chain, parameters, devices, OSC, web panel, statistics, offline render."""

from .chain import Chain
from .errors import CspaceError
from .render import render

__all__ = ["Chain", "CspaceError", "render"]
