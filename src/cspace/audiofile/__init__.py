"""Audio files: opened with clear errors, written so that no half file carries the final name.

Thread: control.
"""

from __future__ import annotations

from ..plugins._errors import FileError
from .about import About, places
from .formats import FORMATS, choose_format, reason
from .reader import Reader
from .take import Take, TakeError
from .writer import Writer

__all__ = [
    "FORMATS",
    "About",
    "FileError",
    "Reader",
    "Take",
    "TakeError",
    "Writer",
    "choose_format",
    "places",
    "reason",
]
