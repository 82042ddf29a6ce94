"""Unfinished audio files: which there are, whether anybody still writes them, and how they are recovered.

A `Writer` writes to a hidden `.NAME.XXXXXXXX.part` beside its target and holds a lock on it. The system
lets go of the lock when the process ends, however it ends; so an unlocked part was left by one that was
killed, and what is in it is all there is of that sound. Thread: control.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile as sf

from ..outputs import part_stem
from ..plugins._errors import FileError
from .formats import FORMATS, reason
from .mend import mend

fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

_PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.part", re.DOTALL)
_QUIET_S = 60.0  # where no lock can be had: a part nobody has written to for this long is left over


@dataclass
class Recovered:
    """What became of one part."""

    part: Path
    saved: Path | None = None  # where its sound is now; None where there is none
    frames: int = 0
    sample_rate: int = 0
    why_not: str = ""  # nothing was saved, and the part is as it was

    @property
    def seconds(self) -> float:
        """Length of what was saved."""
        return self.frames / self.sample_rate if self.sample_rate else 0.0


def claim(fd: int) -> None:
    """Marks an open part as in use, as long as this process lives and has it open."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(fd, fcntl.LOCK_EX)  # `in_use` of another process holds it for a moment at most


def in_use(part: Path) -> bool:
    """Whether a living process writes it."""
    fd = os.open(part, os.O_RDONLY)
    try:
        if fcntl is None:
            return time.time() - os.fstat(fd).st_mtime < _QUIET_S
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        if e.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        return time.time() - os.fstat(fd).st_mtime < _QUIET_S
    finally:
        os.close(fd)
    return False


def parts_in(folder: Path, name: str | None = None) -> list[Path]:
    """The parts of audio files in a folder, in order of their names; with `name`, those of that file.

    Raises FileError if the folder cannot be read.
    """
    try:
        listed = sorted(p for p in folder.iterdir() if p.is_file() and not p.is_symlink())
    except OSError as e:
        raise FileError(f"{folder}: cannot be read: {reason(e)}") from None
    found = [(p, target_of(p)) for p in listed]
    wanted = None if name is None else part_stem(name)
    return [p for p, target in found if target is not None and wanted in (None, target.name)]


def target_of(part: Path) -> Path | None:
    """The file that a part was to become, a long name cut; None where it is no part of an audio file."""
    match = _PART.fullmatch(part.name)
    if match is None:
        return None
    target = part.with_name(match["name"])
    return target if target.suffix.lower() in FORMATS else None


def left_over(target: str | os.PathLike[str]) -> str:
    """One line that names the parts a killed process left of this file; empty if there are none."""
    path = Path(os.path.realpath(target))
    try:
        parts = [p for p in parts_in(path.parent, path.name) if not in_use(p)]
    except (FileError, OSError):
        return ""
    if not parts:
        return ""
    named = ", ".join(p.name for p in parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")
    return (
        f"{os.fspath(target)}: an earlier recording or render of this name was cut off ({named}); "
        f"`cspace recover {os.fspath(Path(target).parent)}` saves what is in it"
    )


def recover(part: Path) -> Recovered:
    """Mends a part and gives it a name that is free: that of its target, or one like `take (recovered).wav`.

    Nothing is ever overwritten. A part in use and one without sound stay as they are, with the reason.
    """
    done = Recovered(part)
    target = target_of(part)
    if target is None:
        done.why_not = "is not an unfinished audio file (.NAME.XXXXXXXX.part)"
        return done
    try:
        if part.is_symlink():
            done.why_not = "is a link; what it leads to is not ours to mend"
            return done
        if in_use(part):
            done.why_not = "is being written by a running process"
            return done
        readable = mend(part)
        if readable:
            done.frames, done.sample_rate = _measured(part)
        if done.frames == 0:
            done.why_not = "holds no sound; remove it by hand"
            return done
        done.saved = put_free(part, target)
    except (OSError, sf.LibsndfileError) as e:
        done.why_not = f"cannot be recovered: {reason(e)}"
    return done


def _measured(path: Path) -> tuple[int, int]:
    """Frames that can be read, and their rate."""
    with sf.SoundFile(os.fspath(path)) as file:
        frames = 0
        with contextlib.suppress(sf.LibsndfileError):  # a packed file may end in the middle of a packet
            while read := len(file.read(65_536, dtype="float32", always_2d=True)):
                frames += read
        return frames, int(file.samplerate)


def put_free(part: Path, target: Path) -> Path:
    """Renames without overwriting; returns the name it found."""
    for name in _names(target):
        try:
            os.link(part, name)  # fails where the name is taken, unlike a rename
        except FileExistsError:
            continue
        except FileNotFoundError:
            raise  # somebody else has recovered it
        except OSError:  # a file system without links
            try:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            except FileExistsError:
                continue
            os.replace(part, name)
            return name
        os.unlink(part)
        return name
    raise AssertionError  # there is always a name


def _names(target: Path) -> Iterable[Path]:
    yield target
    yield target.with_name(f"{target.stem} (recovered){target.suffix}")
    number = 2
    while True:
        yield target.with_name(f"{target.stem} (recovered {number}){target.suffix}")
        number += 1
