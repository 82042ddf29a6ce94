"""What there is to take into an index, and what the index keeps because it could not be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ...plugins._errors import FileError
from ...regularfile import open_regular
from ...textfile import shown
from ..audio import audio_files, find_audio
from ..folders import Found
from .store import Skipped, Source, as_text


@dataclass
class BuildReport:
    """What a build did."""

    added: int = 0
    unchanged: int = 0
    #: In the index before, now gone from the folder.
    removed: int = 0
    #: In the index before, and left in it as they were, since they could not be looked at this time.
    kept: int = 0
    #: Files and folders that could not be read.
    skipped: list[Skipped] = field(default_factory=list)
    #: Taken in as far as they go: files that are cut off or damaged; links that lead nowhere new.
    notes: list[str] = field(default_factory=list)
    #: Sound taken in by this build.
    seconds: float = 0.0


class Holder(Protocol):
    """What is in the index."""

    @property
    def sources(self) -> Mapping[str, Source]:
        """The recordings by name."""

    def is_current(self, name: str, path: Path) -> bool:
        """Whether a recording is in it as it is now."""


def look_into(root: Path, report: BuildReport) -> tuple[Found, dict[str, Path]]:
    """What is under a folder, and the files to take in by their names in the index.

    Raises AudioError for a folder without audio files, FileError for one that cannot be read.
    """
    look = find_audio(root)
    if not look.files and not look.unread:
        audio_files(root)  # says that there are none
    report.notes += [f"{shown(p.relative_to(root))}: {why}" for p, why in look.passed.items()]
    found: dict[str, Path] = {}
    for path in look.files:
        name, _ = as_text(path.relative_to(root).as_posix())
        if name in found:
            report.skipped.append(Skipped(path=name, why="two files have names that read so"))
            continue
        found[name] = path
    return look, found


def keep(root: Path, look: Found, found: dict[str, Path], writer: Holder, report: BuildReport) -> set[str]:
    """The recordings that stay in the index as they are, since they cannot be looked at; fills the report.

    Of `found` it takes what cannot be opened.
    """
    unread = dict(look.unread)
    for name, path in list(found.items()):
        if not writer.is_current(name, path) and (why := _refused(path)):
            unread[path] = why
            del found[name]
    kept: set[str] = set()
    for path, why in unread.items():
        mine = {n for n, s in writer.sources.items() if (at := root / s.file) == path or path in at.parents}
        mine -= found.keys()
        kept |= mine
        stays = "" if not mine else f"; the index keeps the {len(mine)} recordings it has of it"
        if len(mine) == 1:
            stays = "; the index keeps the recording it has of it"
        report.skipped.append(Skipped(path=shown(path.relative_to(root)), why=why + stays))
    report.kept = len(kept)
    return kept


def _refused(path: Path) -> str:
    """Why the system does not let a file be read; empty if it does."""
    try:
        with open(open_regular(path), "rb", buffering=0) as file:
            file.read(1)
    except OSError as e:
        return reason_alone(e, path) if isinstance(e, FileError) else e.strerror or str(e)
    return ""


def reason_alone(e: BaseException, path: Path) -> str:
    """Why a file was refused; the report names the file beside it."""
    return shown(str(e).removeprefix(f"{path}: ")) or type(e).__name__
