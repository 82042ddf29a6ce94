"""`cspace lab agreement`, `lookahead` and `losses`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...clitools import clear_errors, note, progress, say, say_text
from .cli import Config, Results, app, reserve, settings, written

Recordings = Annotated[list[Path], typer.Argument(help="Recordings of any rate and number of channels.")]


@app.command()
@clear_errors
def agreement(
    recordings: Recordings,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of the start of each.")] = 2.0,
    config: Config = None,
    results: Results = None,
) -> None:
    """Whether torch (both paths), Rust and float64 convolution give the same states; noise and impulses are added.

    Recordings go through in pieces of 1 s, each from rest, so that any length can be asked for.
    Ends with code 1 if any difference is above 1e-4 of the largest state.

    Examples
    --------
        cspace lab agreement data/recordings/speech/en/vm-intro.flac data/recordings/music/wesnoth/battle.ogg
    """
    from . import report
    from .agreement import study

    loaded = settings(config, results)
    reserve(loaded, "agreement")
    with progress() as bar:
        task = bar.add_task("comparing", total=2 * (len(recordings) + 2))
        found, figure, table, notes = study(recordings, loaded, seconds, lambda part: bar.advance(task, part))
    for line in notes:
        note(line)
    say("largest difference over the largest state, forward / backward half")
    say_text(table)
    asked = {"recordings": recordings, "seconds": seconds}
    written(report.save(loaded, "agreement", found, figure, settings=asked, notes=notes))
    if not found["reached"]:
        say(f"worst difference {found['worst']:.1e}: above the target of {found['target']:.0e}")
        raise typer.Exit(1)


@app.command()
@clear_errors
def lookahead(
    recordings: Recordings,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of the start of each.")] = 10.0,
    config: Config = None,
    results: Results = None,
) -> None:
    """What the live backward half misses by look-ahead: error in dB, measured (and by theory), per bank.

    Examples
    --------
        cspace lab lookahead data/recordings/speech/en/vm-intro.flac data/recordings/music/wesnoth/battle.ogg
    """
    from . import report
    from .lookahead import banks, study

    loaded = settings(config, results)
    reserve(loaded, "lookahead")
    with progress() as bar:
        task = bar.add_task("streaming", total=len(banks(loaded)) * len(recordings))
        found, figure, table, notes = study(recordings, loaded, seconds, lambda part: bar.advance(task, part))
    for line in notes:
        note(line)
    say("error of the backward half in dB, measured (theory); per bank (law or Q, oscillators) and sound")
    say_text(table)
    asked = {"recordings": recordings, "seconds": seconds}
    written(report.save(loaded, "lookahead", found, figure, settings=asked, notes=notes))


@app.command()
@clear_errors
def losses(
    clip: Annotated[Path, typer.Argument(help="A recording, of any rate and number of channels.")],
    loss: Annotated[
        list[str] | None, typer.Option("--loss", "-l", help="A loss by name; may be repeated. Without it, all.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of the clip's start.")] = 5.0,
    noise_db: Annotated[float, typer.Option(min=-120, max=120, help="White noise, so far below the clip.")] = 20.0,
    gain_db: Annotated[float, typer.Option(min=-120, max=120, help="A change of level.")] = -6.0,
    delay_samples: Annotated[int, typer.Option(help="A shift in time.")] = 1,
    config: Config = None,
    results: Results = None,
) -> None:
    """Every loss and each of its terms, of a clip against copies with noise, another level and a delay.

    Examples
    --------
        cspace lab losses voice.flac --loss v1 --loss cspace --noise-db 10
    """
    from .. import losses as all_losses
    from . import report
    from .loss_terms import study

    loaded = settings(config, results)
    name = reserve(loaded, f"losses_{clip.stem}")
    names = loss or all_losses.names()
    for wanted in names:
        all_losses.describe(wanted)  # a wrong name is said before any work
    with progress() as bar:
        task = bar.add_task("comparing", total=3 * len(names))
        found, figure, table, notes = study(
            clip,
            loaded,
            names=names,
            seconds=seconds,
            noise_db=noise_db,
            gain_db=gain_db,
            delay_samples=delay_samples,
            advance=lambda part: bar.advance(task, part),
        )
    for line in notes:
        note(line)
    say_text(table)
    asked = {
        "clip": clip,
        "losses": names,
        "seconds": seconds,
        "noise_db": noise_db,
        "gain_db": gain_db,
        "delay_samples": delay_samples,
    }
    written(report.save(loaded, name, found, figure, settings=asked, notes=notes))
