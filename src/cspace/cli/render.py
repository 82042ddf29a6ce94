"""`cspace render`: a file through a chain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..clioutputs import AUDIO
from ..clitools import clear_errors, note, progress, say


@clear_errors
def render(
    chain: Annotated[Path, typer.Argument(help="A chain file; - for standard input.")],
    source: Annotated[Path, typer.Argument(metavar="IN", help="An audio file; - for standard input.")],
    target: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="The file to write, in the format of its suffix; - for WAV to standard output."
        ),
        AUDIO,
    ],
    sample_rate: Annotated[float | None, typer.Option(help="Hz the chain runs at.")] = None,
    subtype: Annotated[str | None, typer.Option(help="Sample format such as PCM_16; by default float32.")] = None,
    tail: Annotated[str, typer.Option(help="Seconds to go on after the end, or auto.")] = "0",
) -> None:
    """Renders a file through a chain, the same samples as live.

    Examples
    --------
        cspace render chain.toml in.wav out.wav

        cspace render chain.toml in.wav out.flac --tail auto

        ffmpeg -i film.mkv -f wav - | cspace render chain.toml - - | aplay
    """
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    from ..realtime.chainfile import load
    from ..realtime.errors import CspaceError
    from ..realtime.render import render as run

    try:
        seconds: float | str = tail if tail == "auto" else float(tail)
    except ValueError:
        raise CspaceError(f"--tail {tail!r} is not allowed, use seconds or auto") from None
    plays = load(chain)
    percent = TextColumn("{task.percentage:3.0f} %")
    with progress(TextColumn("{task.description}"), BarColumn(), percent, TimeRemainingColumn()) as bar:
        task = bar.add_task(source.name, total=None)
        report = run(
            plays,
            source,
            target,
            sample_rate=sample_rate,
            subtype=subtype,
            tail=seconds,
            progress=lambda done, expected: bar.update(task, completed=done, total=expected or None),
        )
    for warning in report.warnings:
        note(warning)
    say(
        f"{target}: {report.frames / report.sample_rate:.2f} s at {report.sample_rate} Hz, peak {report.peak:.3f}, "
        f"{report.times_realtime:.0f} × real time"
    )
