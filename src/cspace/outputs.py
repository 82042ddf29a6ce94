"""Where a file may be written: what stands there, whether it is an input, and how one file takes the place of another.

The commands ask before their work (`clioutputs`); `Writer` and `whole` ask again, for whoever calls them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .plugins._errors import FileError
from .standardio import STANDARD

PathLike = str | os.PathLike[str]

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
#: Left of a name by the hidden one beside it: a dot, 8 digits, `.part` and a suffix go with it.
_STEM_BYTES = 180
_SUFFIX_BYTES = 16


def same(a: PathLike, b: PathLike) -> bool:
    """Whether two paths are one file: by name, link, hard link, another spelling, or a folder mounted twice."""
    return bool(_files(a) & _files(b))


def is_read(path: PathLike | int, source: PathLike) -> bool:
    """Whether writing to a path or descriptor would write to an input; `-` is what standard input comes from."""
    standard = _files(number_of(sys.stdin)) if os.fspath(source) == STANDARD else frozenset()
    return bool(_files(path) & (_files(source) | standard))


def number_of(stream: Any) -> int:
    """The file descriptor of a standard stream; -1 where it has none."""
    try:
        return int(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return -1


def _files(path: PathLike | int) -> frozenset[tuple[int, int]]:
    """Device and number of what a path or descriptor leads to; nothing for pipes, terminals and the like."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return frozenset()
    kept = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
    return frozenset({(found.st_dev, found.st_ino)} if kept else ())


def settled(path: PathLike, *, inputs: Iterable[PathLike | None] = (), makes_folders: bool = False) -> Path:
    """The file that writing to `path` makes or replaces: links are followed, so that they stay.

    Parameters
    ----------
    path : as the user named it
    inputs : files that are read for it; it may be none of them
    makes_folders : folders above that are missing will be made

    Raises FileError for an input, a folder, a pipe or device, a place under a file or in no folder, a
    link that leads to itself, and a name that the file system does not take.
    """
    path = Path(path)
    for source in inputs:
        if source is not None and is_read(path, source):
            name = os.fspath(source)
            other = "" if name == os.fspath(path) else f" {'standard input' if name == STANDARD else name}"
            raise FileError(f"{path}: is the input{other} itself, which would be lost; give the result another name")
    kind = _mode(path)
    if kind is not None:
        if stat.S_ISDIR(kind):
            raise FileError(f"{path}: is a folder; name a file")
        for is_kind, words in _KINDS:
            if is_kind(kind):
                raise FileError(f"{path}: is {words}, not a file; name a file")
    real = Path(os.path.realpath(path))
    _check_folder(path, real.parent, makes_folders)
    return real


def settled_folder(path: PathLike) -> Path:
    """The same for a folder that results go into: it is there, or can be made. Raises FileError."""
    path = Path(path)
    kind = _mode(path)
    if kind is not None and not stat.S_ISDIR(kind):
        raise FileError(f"{path}: is a file; name a folder")
    real = Path(os.path.realpath(path))
    _check_folder(path, real, True)
    return real


def _mode(path: Path) -> int | None:
    """What stands there, links followed; None for nothing. Raises FileError for a path that leads nowhere."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        raise FileError(f"{path}: {why_not(e, path)}") from None


def why_not(e: OSError | ValueError, path: Path) -> str:
    """Why the system does not take a path, in words of a user."""
    code = getattr(e, "errno", None)
    if code == errno.ENOTDIR:
        file = next((p for p in path.parents if p.exists() and not p.is_dir()), path.parent)
        return f"cannot be written: {file} is a file, not a folder"
    if code == errno.ELOOP:
        return "is a link that leads back to itself"
    if code == errno.ENAMETOOLONG:
        return "cannot be written: the name is too long for the file system"
    if isinstance(e, ValueError):
        return "cannot be written: the name holds a character that no file name may hold"
    return f"cannot be written: {e.strerror or e}"


def _check_folder(path: Path, folder: Path, makes_folders: bool) -> None:
    """The folder a file goes into; with `makes_folders` the nearest one above that is there."""
    there = folder
    while makes_folders and not os.path.lexists(there) and there != there.parent:
        there = there.parent
    try:
        kind = os.stat(there).st_mode
    except FileNotFoundError:
        raise FileError(f"{path}: the folder {folder} does not exist; make it first") from None
    except (OSError, ValueError) as e:
        raise FileError(f"{path}: {why_not(e, path)}") from None
    if not stat.S_ISDIR(kind):
        raise FileError(f"{path}: cannot be written: {there} is a file, not a folder")


def protected(path: PathLike) -> str | None:
    """Why an existing file should stay as it is: it is write-protected; None where it is not.

    A file whose mode allows nobody to write counts also for root, whom the system would let.
    """
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None
    if mode & 0o222 and os.access(path, os.W_OK):
        return None
    mend = f"say chmod u+w {os.fspath(path)} first" if not mode & 0o222 else "it may not be written by this user"
    return f"{os.fspath(path)}: is write-protected (mode {mode:04o}) and stays as it is; {mend}, or give another name"


def probe(path: Path, *, makes_folders: bool = False) -> None:
    """Tries to make a file beside `path`, the only sure way to know. Raises FileError with the reason."""
    real = Path(os.path.realpath(path))
    folder = real.parent
    while makes_folders and not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        handle, part = new_part(folder / real.name)
        try:
            # A full disk still takes an empty file; one page shows it.
            os.write(handle, b"\0" * 4096)
            with contextlib.suppress(FileNotFoundError):
                os.lstat(real)  # a name too long is told here
        finally:
            os.close(handle)
            part.unlink()
    except OSError as e:
        if isinstance(e, FileError):
            raise
        what = f"the folder {folder} does not take a file" if e.errno in (errno.EACCES, errno.EPERM) else ""
        raise FileError(f"{path}: {what + ': ' + (e.strerror or '') if what else why_not(e, path)}") from None


def new_part(target: Path, suffix: str = "") -> tuple[int, Path]:
    """Makes the hidden file `.NAME.XXXXXXXX.part` beside a target that is no link: its descriptor and its path.

    The name is never known before and the file never there before, so nothing is written through a link.
    """
    stem = part_stem(target.name)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    while True:
        part = target.with_name(f".{stem}.{secrets.token_hex(4)}.part{suffix}")
        with contextlib.suppress(FileExistsError):
            return os.open(part, flags, 0o666), part


def part_stem(name: str) -> str:
    """A file's name as its hidden file has it: a long one is cut before its suffix, so that there is room for more."""
    whole = os.fsencode(name)
    if len(whole) <= _STEM_BYTES:
        return name
    suffix = os.fsencode(os.path.splitext(name)[1])[:_SUFFIX_BYTES]
    return whole[: _STEM_BYTES - len(suffix)].decode(errors="ignore") + os.fsdecode(suffix)


def put(part: Path, target: Path) -> None:
    """Gives a finished hidden file its name.

    What it replaces hands on its mode and, where allowed, owner and attributes. A hard link's other
    names keep the old content. Raises OSError; then `target` is as it was.
    """
    with contextlib.suppress(FileNotFoundError):
        old = os.stat(target, follow_symlinks=False)
        if stat.S_ISREG(old.st_mode):
            _hand_on(target, old, part)
    os.replace(part, target)
    with contextlib.suppress(OSError):  # the name, too, should outlive a power cut
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _hand_on(target: Path, old: os.stat_result, part: Path) -> None:
    new = os.stat(part)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid) and hasattr(os, "chown"):
        with contextlib.suppress(OSError):
            os.chown(part, -1, old.st_gid)
        with contextlib.suppress(OSError):  # only root may
            os.chown(part, old.st_uid, -1)
    if hasattr(os, "listxattr"):  # access lists are among them
        with contextlib.suppress(OSError):
            for name in os.listxattr(target):
                with contextlib.suppress(OSError):
                    os.setxattr(part, name, os.getxattr(target, name))
    os.chmod(part, stat.S_IMODE(old.st_mode))
