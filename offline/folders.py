"""The files under a folder: links followed once, and what cannot be read named instead of passed over."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..plugins._errors import FileError


@dataclass
class Found:
    """What there is under a folder."""

    #: In order of their paths.
    files: list[Path] = field(default_factory=list)
    #: Folders and files that are there, or may be, but could not be looked into this time, and why.
    unread: dict[Path, str] = field(default_factory=dict)
    #: Linked folders that lead to one that is read anyway, and what they lead to.
    passed: dict[Path, str] = field(default_factory=dict)

    def may_hold(self, path: Path) -> bool:
        """Whether `path` lies in, or is, what could not be read: it may be there."""
        return any(p in self.unread for p in (path, *path.parents))


def files_under(root: Path, wanted: Callable[[str], bool]) -> Found:
    """All files under `root` whose name is `wanted`; names that begin with a dot are left out.

    A link to a folder is followed where it leads to one that is not read already; links that lead to
    each other, or to a folder above, end there. Raises FileError where `root` itself cannot be read.
    """
    found = Found()
    walk = _Walk(found, wanted, os.path.realpath(root))
    walk.folder(root)
    if root in found.unread:
        raise FileError(f"{root}: cannot be read: {found.unread[root]}")
    walk.links_too()
    found.files.sort()
    return found


class _Walk:
    def __init__(self, found: Found, wanted: Callable[[str], bool], top: str):
        self._found, self._wanted, self._top = found, wanted, top
        self._seen: dict[tuple[int, int], Path] = {}
        self._links: list[Path] = []

    def folder(self, first: Path) -> None:
        """A folder and those in it, without those that are links."""
        waiting = [first]
        while waiting:
            folder = waiting.pop()
            try:
                status = os.stat(folder)
                self._seen.setdefault((status.st_dev, status.st_ino), folder)
                with os.scandir(folder) as entries:
                    names = sorted(e.name for e in entries if not e.name.startswith("."))
            except OSError as e:
                self._found.unread[folder] = e.strerror or str(e)
                continue
            waiting += reversed([p for p in (folder / n for n in names) if self._is_folder(p)])

    def _is_folder(self, path: Path) -> bool:
        """Whether `path` is a folder to go into now; a file and a link are put where they belong."""
        try:
            is_link = stat.S_ISLNK(os.lstat(path).st_mode)
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            if os.path.islink(path):
                # What it leads to may be a disk that is not there today.
                self._found.unread[path] = f"is a link that leads nowhere ({os.readlink(path)})"
            elif self._wanted(path.name):
                self._found.unread[path] = "went away while the folder was read"
            return False
        except OSError as e:
            self._found.unread[path] = e.strerror or str(e)
            return False
        if stat.S_ISDIR(mode):
            if is_link:
                self._links.append(path)
            return not is_link
        if self._wanted(path.name):
            if stat.S_ISREG(mode):
                self._found.files.append(path)
            else:
                self._found.unread[path] = "is a pipe, a socket or a device, not a file"
        return False

    def links_too(self) -> None:
        """The linked folders, after all that lies in the folder itself."""
        while self._links:
            link = self._links.pop(0)
            real = os.path.realpath(link)
            try:
                status = os.stat(real)
            except OSError as e:
                self._found.unread[link] = e.strerror or str(e)
                continue
            before = self._seen.get((status.st_dev, status.st_ino))
            if before is not None:
                self._found.passed[link] = f"is a link to {before}, which is read already"
            elif self._top == real or self._top.startswith(real.rstrip(os.sep) + os.sep):
                self._found.passed[link] = f"is a link to {real}, above the folder that is read"
            else:
                self.folder(link)
