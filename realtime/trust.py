"""What a preset may bring into the process when a remote control asks for it. Thread: control.

A chain file can name files to load: plugins, which are code, and models. Who opens a chain file by
hand, from the command line or Python, has chosen it. Over OSC only a name arrives, from
anyone who reaches the port, and the file under it may have come from elsewhere: it is data.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .chaininputs import MAX_FILES, all_in, files_of

if TYPE_CHECKING:
    from .chain import Chain

LOADERS = ("VST3Plugin", "AudioUnitPlugin", "ExternalPlugin")  # classes of pedalboard that load a plugin's code

_Identity = tuple[tuple[str, int, int, int, int], ...]  # of every file: name, device, inode, time, size


class Trust:
    """Which files presets may name.

    Models inside the preset folder, and whatever the local user has loaded into the chain himself, as
    long as it is the same file, or a folder of the same files: so a chain that was started with a
    plugin or a model from elsewhere can be saved and loaded again.

    Parameters
    ----------
    folder : the preset folder
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._known: dict[Path, _Identity | None] = {}

    def learn(self, chain: Chain) -> None:
        """Notes the files of what is in the chain now."""
        for slot in chain.slots:
            for path in files_of(slot.plugin):
                real = _real(path)
                if not _inside(real, self._folder):  # what is inside is looked at each time
                    self._known.setdefault(real, _identity(real))

    def why_not(self, path: Path, *, code: bool) -> str:
        """Why a preset may not name this file; empty if it may. `code`: loading it runs it."""
        real = _real(path)
        if real in self._known:
            was = self._known[real]
            if was is None:
                return f"its files could not be told when it was loaded here, or are more than {MAX_FILES}"
            return "" if was == _identity(real) else "it has changed since it was loaded here"
        if code:
            return "a plugin is code, and a remote control can only load what was loaded here by hand before"
        if not _inside(real, self._folder):
            return "it lies outside the preset folder, and was not loaded here by hand before"
        return _unfit(real, self._folder)


def named_files(table: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """What a table of a plugin from elsewhere may mean as a file: key, text, and whether it is code.

    Tables within it too: a container of pedalboard holds plugins.
    """
    code = table.get("type") == "vst3" or table.get("class") in LOADERS
    found: list[tuple[str, str, bool]] = []
    for key, value in table.items():
        if isinstance(value, str):
            if (code and key in ("path", "class")) or (not code and _is_path(key, value)):
                found.append((key, value, code))
        elif not code:  # the parameters of a plugin with code are its own business
            tables = value if isinstance(value, list) else [value]
            found += [f for t in tables if isinstance(t, dict) for f in named_files(t)]
    return found


def _is_path(key: str, value: str) -> bool:
    """Whether a setting of an effect of pedalboard may be meant as a path."""
    words = ("path", "file", "folder", "impulse")
    return any(w in key.lower() for w in words) or any(c in value for c in "/\\~") or bool(Path(value).suffix)


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path in a folder leads out of it by a link."""
    return not _inside(_real(path), folder)


def _inside(real: Path, folder: Path) -> bool:
    return real.is_relative_to(_real(folder))


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a link to itself
        return Path(os.path.abspath(path))


def _identity(path: Path) -> _Identity | None:
    """What tells a file, or the files of a folder, from others; None where that cannot be found out."""
    found = list(itertools.islice(all_in(path), MAX_FILES + 2))
    if len(found) > MAX_FILES + 1:  # a link in a circle, too
        return None
    try:
        stats = [(os.fspath(p), p.stat()) for p in found]
    except OSError:
        return None
    return tuple(sorted((name, s.st_dev, s.st_ino, s.st_mtime_ns, s.st_size) for name, s in stats))


def _unfit(real: Path, folder: Path) -> str:
    """Why a file or package in the preset folder is not to be read; empty if it is, or is not there."""
    seen = 0
    for at, folders, files in os.walk(real):
        for name in [*folders, *files]:
            path = Path(at, name)
            seen += 1
            if seen > MAX_FILES:
                return f"it holds more than {MAX_FILES} files"
            if leads_out(path, folder):
                return f"{name} in it leads out of the preset folder"
            if not path.is_file() and not path.is_dir():
                return f"{name} in it is not a regular file"
    if real.exists() and not real.is_dir() and not real.is_file():
        return "it is not a regular file"
    return ""
