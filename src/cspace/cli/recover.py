"""`cspace recover`: what a killed process left of its recordings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..clitools import clear_errors, note, say


@clear_errors
def recover(
    places: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FOLDER|FILE]...",
            help="Folders to look in, unfinished files, or names of recordings; by default this folder.",
        ),
    ] = None,
    look: Annotated[bool, typer.Option("--list", help="Only list them.")] = False,
) -> None:
    """Saves recordings and renders that a killed process or a power cut left unfinished.

    Such a file lies hidden beside its target as .NAME.XXXXXXXX.part. Its header is mended, and it gets
    the name it was to have, or one like "take (recovered).wav" where that is taken: nothing is ever
    overwritten. One that a running process still writes is left alone.

    Examples
    --------
        cspace recover

        cspace recover recordings/ take.wav --list
    """
    from ..audiofile import FileError
    from ..audiofile.parts import in_use, recover, target_of

    parts = list(dict.fromkeys(part for place in places or [Path()] for part in _parts(place)))
    if not parts:
        say("There is nothing to recover.")
        return
    failed = False
    for part in parts:
        try:
            busy = in_use(part)
        except FileNotFoundError:
            continue  # its writer has finished it
        except OSError as e:
            note(f"{part}: cannot be recovered: {e.strerror}")
            failed = True
            continue
        if look or busy:
            state = "is being written by a running process" if busy else "left over"
            say(f"{part}: {part.stat().st_size / 1e6:.1f} MB of {(target_of(part) or part).name}, {state}")
            continue
        done = recover(part)
        if done.saved is None:
            note(f"{part}: {done.why_not}")
            failed = True
        else:
            say(f"{done.saved}: {done.seconds:.2f} s recovered from {part.name}")
    if failed:
        error = FileError("not everything was recovered; the files named above are as they were")
        error.exit_code = 1
        raise error


def _parts(place: Path) -> list[Path]:
    """The unfinished files meant by a folder, by one of themselves, or by the recording they were to become."""
    from ..audiofile import FileError
    from ..audiofile.parts import parts_in, target_of

    if place.is_dir():
        return parts_in(place)
    if target_of(place) is not None and place.is_file():
        if place.is_symlink():
            raise FileError(f"{place}: is a link; recover what it leads to, in {os.path.realpath(place)}")
        return [place]
    real = Path(os.path.realpath(place))  # the part of a link lies beside what the link leads to
    found = parts_in(real.parent, real.name) if real.parent.is_dir() else []
    if not found and not place.exists():
        raise FileError(f"{place}: there is no such folder or file, and nothing unfinished of that name")
    return found
