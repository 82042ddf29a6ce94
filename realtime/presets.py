"""Presets: chain files in one folder, loaded into a chain that may be playing.

Messages from outside (OSC) name a preset, never a path. Thread: control.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from ..outputs import protected
from . import chainfile
from .chain import Chain
from .errors import ChainFileError, near
from .slot import Moving, Slot
from .trust import Trust, leads_out

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")


class Presets:
    """The preset folder.

    A name is up to 64 letters, digits, spaces and `._-`, so it cannot leave the folder; a link in
    the folder that leads out of it is neither read nor written through. Only regular files count.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder).absolute()  # `~` in a name within it stays a name
        self.trust = Trust(self.folder)

    def names(self) -> list[str]:
        """The presets there are, sorted."""
        try:
            with os.scandir(self.folder) as entries:
                found = [e.name[:-5] for e in entries if e.name.endswith(".toml") and self._usable(e)]
        except OSError:
            return []
        return sorted(n for n in found if _NAME.fullmatch(n))

    def _usable(self, entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_file() and not (entry.is_symlink() and leads_out(Path(entry.path), self.folder))
        except OSError:
            return False

    @staticmethod
    def check(name: str) -> None:
        """Raises ChainFileError for a name that no preset can have."""
        if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name:
            raise ChainFileError(
                f"preset name {str(name)[:80]!r} is not allowed, use up to 64 letters, digits, spaces and . _ -"
            )

    def path(self, name: str) -> Path:
        """The file of a preset, there or not yet. Raises ChainFileError for a name that is not allowed."""
        self.check(name)
        path = self.folder / f"{name}.toml"
        if leads_out(path, self.folder):
            raise ChainFileError(f"preset {name!r} leads out of the preset folder")
        if path.exists() and not path.is_file():
            what = "is a folder" if path.is_dir() else "is no regular file"
            raise ChainFileError(f"preset {name!r}: {path} {what}; remove it, or use another name")
        return path

    def load(self, name: str) -> Chain:
        """The chain of a preset, which may name only what `trust` allows. Raises ChainFileError."""
        path = self.path(name)
        if not path.is_file():
            known = self.names()
            hint = near(name, known) or (f"; there are {', '.join(known[:20])}" if known else "; there are none")
            raise ChainFileError(f"there is no preset {name!r}{hint}")
        return chainfile.load(path, trust=self.trust)

    def save(self, name: str, chain: Chain, moving: Mapping[Slot, Moving] | None = None) -> Path:
        """Writes a chain as a preset, over an older one of that name that is not write-protected.

        `moving` is as in `chainfile.save`.
        """
        path = self.path(name)
        locked = protected(path)
        if locked:
            raise ChainFileError(locked)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ChainFileError(f"{self.folder}: cannot be made: {e.strerror or e}") from None
        try:
            arrays = list(self.folder.glob(f"{name}.*.npy"))  # its arrays, which are written too
        except OSError as e:  # as many files are open as may be
            raise ChainFileError(f"{self.folder}: cannot be read: {e.strerror or e}") from None
        for array in arrays:
            if leads_out(array, self.folder):
                raise ChainFileError(f"{array} leads out of the preset folder; remove it")
        chainfile.save(chain, path, moving)
        return path


def apply(preset: Chain, chain: Chain) -> None:
    """Makes `chain` sound like `preset`.

    Where both hold the same native processors under the same names, only parameters move, without
    a break in the sound; else the chain is replaced, cross-faded. A preset that cannot play here
    raises CspaceError and changes nothing.
    """
    chain.check(preset)
    take_over(preset, chain)


def take_over(preset: Chain, chain: Chain) -> None:
    """As `apply`, for a preset that was found able to play here."""
    mine, theirs = chain.slots, preset.slots
    same = len(mine) == len(theirs) and all(
        a.name == b.name and a.native is not None and b.native is not None and a.type_name == b.type_name
        for a, b in zip(mine, theirs, strict=True)
    )
    if same:
        for a, b in zip(mine, theirs, strict=True):
            if a.native is not None and b.native is not None:
                a.native.take(b.native)
            if a.bypass != b.bypass:
                chain.bypass(a.name, b.bypass)
    else:
        chain.become(preset)
    chain.title = preset.title
