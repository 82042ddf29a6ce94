"""`cspace ksom`: the commands. Each loads what it needs when it runs; this file stays light."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...clioutputs import AUDIO, CSV, FOLDER, JSON, PICTURE, TEXT, claim
from ...clitools import clear_errors, note, progress, say

if TYPE_CHECKING:
    from .modelfile import Settings
    from .oscillators import Performance
    from .pipeline import Report

app = typer.Typer(
    name="ksom",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Reads music and makes new music from it, with a self-organising map and coupled oscillators.",
)

Sources = Annotated[list[Path], typer.Argument(metavar="SOURCE…", help="Audio files, or folders of them (an album).")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model file of analyse or grid.")]
SoundFile = Annotated[Path, typer.Option("--output", "-o", help="The sound file to write."), AUDIO]
JsonFile = Annotated[Path, typer.Option("--output", "-o", help="The file to write, .json."), JSON]
Seconds = Annotated[float, typer.Option(help="Length of the new piece.")]
Seed = Annotated[int, typer.Option(help="Same seed, same music.")]
Coupling = Annotated[float, typer.Option(help="In units of the locking border; 0 sets all oscillators free.")]
Perturb = Annotated[float, typer.Option(help="0 plays by the transition table, 1 wanders.")]
Harmonics = Annotated[int, typer.Option(help="Harmonics of each oscillator, 1 to 16.")]
Mode = Annotated[str, typer.Option(help="tonal, or bands (the original's five bands).")]
Rate = Annotated[int, typer.Option(help="Hz of the new piece.")]
Channels = Annotated[int, typer.Option(help="Channels of the new piece.")]
Grid = Annotated[str, typer.Option("--grid", help="Symbols of the map (som) or of the spectrogram's blocks (block).")]
Picture = Annotated[Path | None, typer.Option("--picture", help="Also write a picture (.png, .svg, .pdf)."), PICTURE]
Weights = Annotated[str, typer.Option(help="How much each track counts, such as 1,0.5; empty: all the same.")]
Subtype = Annotated[str | None, typer.Option(help="Sample format such as PCM_16; by default float32.")]


@app.command()
@clear_errors
def generate(
    sources: Sources,
    output: SoundFile,
    seconds: Seconds = 60.0,
    seed: Seed = 7,
    coupling: Coupling = 1.5,
    harmonics: Harmonics = 3,
    perturb: Perturb = 0.1,
    mode: Mode = "tonal",
    sample_rate: Rate = 48_000,
    channels: Channels = 2,
    grid: Grid = "som",
    weights: Weights = "",
    subtype: Subtype = None,
    model: Annotated[Path | None, typer.Option(help="Also write the model, for `cspace live --ksom`."), JSON] = None,
    plots: Annotated[Path | None, typer.Option(help="Also draw all pictures into this folder."), FOLDER] = None,
    no_compare: Annotated[bool, typer.Option("--no-compare", help="Leave the comparison with the source out.")] = False,
) -> None:
    """From recordings to a new piece: all steps in one. Beside OUT a report OUT.json is written.

    Examples
    --------
        cspace ksom generate song.ogg -o new.wav --seconds 60 --seed 7

        cspace ksom generate album/ -o new.flac --seconds 300 --perturb 0.3 --model album.json
    """
    from ...wholefile import write_text
    from . import compare as cmp
    from . import modelfile as mf
    from . import pipeline as pl

    settings, play = _settings(mode), _play(locals())
    kind = _grid(grid)
    files = _files(sources)
    report_path = output.with_name(output.name + ".json")
    drawn = [] if plots is None else [plots / f"{name}.png" for name in ("peaks", "grid", "states", "compare")]
    claim(report_path, *drawn, inputs=files)
    with _progress() as report:
        analysed, readings = pl.analyse(files, settings, report=report)
        if mode == "tonal":
            analysed = pl.train_map(analysed, seed, report=report)
        score = pl.compose(analysed, play)
        sound = pl.synthesise(score, output, subtype=subtype, report=report)
    symbols = pl.grid_of(analysed, kind)
    data = pl.report_of(analysed, score, sound, output, symbols)
    if not no_compare:
        data["comparison"] = [cmp.compare(f, output).to_json() for f in files]
    write_text(report_path, mf.pretty(data))
    if model is not None:
        mf.save_model(model, analysed)
    if plots is not None:
        from . import plots as draw

        draw.all_pictures(plots, analysed, readings, score, sound, files, output, symbols)
    for row in symbols:
        say(row)
    for c in data.get("comparison", []):
        _say_comparison(c)
    say(
        f"{output}: {data['seconds']:.2f} s, {play.channels} channels at {play.sample_rate} Hz, {data['oscillators']} "
        f"oscillators, {score.tempo_bpm:.1f} beats a minute; report in {report_path.name}"
    )


@app.command()
@clear_errors
def analyse(
    sources: Sources,
    output: JsonFile,
    mode: Mode = "tonal",
    notes: Annotated[int, typer.Option(help="Most notes the model may have.")] = 32,
    peaks: Annotated[Path | None, typer.Option(help="Also write all spectral peaks as CSV."), CSV] = None,
    picture: Picture = None,
) -> None:
    """Reads recordings: tempo, tuning, notes in every step. Writes a model file without a map.

    Examples
    --------
        cspace ksom analyse song.ogg -o song.json --peaks peaks.csv --picture peaks.png
    """
    from . import modelfile as mf
    from . import pipeline as pl

    settings = _settings(mode, notes=notes)
    files = _files(sources)
    with _progress() as report:
        model, readings = pl.analyse(files, settings, report=report)
    mf.save_model(output, model)
    if peaks is not None:
        from .peaks import write_csv

        write_csv(peaks, [(r.track.name, r.peaks) for r in readings], settings.hop / settings.sample_rate)
    if picture is not None:
        from . import plots as draw

        draw.save(draw.peaks_figure(files[0], readings[0], settings), picture)
    for t in model.tracks:
        for line in t.conversions:
            note(f"{t.name}: {line}")
        sure = "" if t.pulse >= 0.1 else " (a guess: there is hardly a pulse)"
        say(
            f"{t.name}: {t.seconds:.1f} s, {len(t.steps.time_s)} steps, {t.tempo_bpm:.1f} beats a minute{sure}, tuning "
            f"{t.tuning_cents:+.0f} cents, {t.peaks} peaks, {len(t.bands)} bands"
        )
    say(f"written: {output} ({len(model.notes)} notes: {' '.join(n.name for n in model.notes)})")


@app.command()
@clear_errors
def grid(
    model: ModelFile,
    output: JsonFile,
    seed: Seed = 7,
    kind: Grid = "som",
    text: Annotated[Path | None, typer.Option(help="Also write the symbols as text."), TEXT] = None,
    table: Annotated[Path | None, typer.Option(help="Also write the transition table as CSV."), CSV] = None,
    picture: Picture = None,
) -> None:
    """Trains the map of an analysed recording, and shows its symbols, bright sounds at the top.

    Examples
    --------
        cspace ksom grid song.json -o model.json --text grid.txt --picture grid.png

        cspace ksom grid song.json -o model.json --grid block
    """
    from ...wholefile import write_text
    from . import modelfile as mf
    from . import pipeline as pl
    from .walk import transitions

    chosen = _grid(kind)
    with _progress() as report:
        trained = pl.train_map(mf.load_model(model), seed, report=report)
    mf.save_model(output, trained)
    symbols = pl.grid_of(trained, chosen)
    if text is not None:
        write_text(text, "\n".join(symbols) + "\n")
    if table is not None:
        rows = [f"{a},{b},{n}" for a, b, n in transitions(trained)]
        write_text(table, "\n".join(["from_node,to_node,times", *rows]) + "\n")
    if picture is not None:
        from . import plots as draw

        draw.save(draw.grid_figure(trained, symbols, chosen), picture)
    for row in symbols:
        say(row)
    q = trained.require_map().quality
    say(
        f"quantisation error {q.quantisation_error:.3f} (untrained {q.untrained_quantisation_error:.3f}), topographic "
        f"error {q.topographic_error:.3f}, on {q.steps_tested} steps"
    )
    say(f"written: {output}")


@app.command()
@clear_errors
def evolve(
    model: ModelFile,
    output: JsonFile,
    seconds: Seconds = 60.0,
    seed: Seed = 7,
    coupling: Coupling = 1.5,
    harmonics: Harmonics = 3,
    perturb: Perturb = 0.1,
    mode: Mode = "tonal",
    sample_rate: Rate = 48_000,
    channels: Channels = 2,
    weights: Weights = "",
    states: Annotated[Path | None, typer.Option(help="Also write phases and order parameters as CSV."), CSV] = None,
    picture: Picture = None,
) -> None:
    """Walks the map and runs the oscillators: a score for `synthesise`, with the order parameters over time.

    Examples
    --------
        cspace ksom evolve model.json -o score.json --seconds 60 --seed 7 --states states.csv
    """
    from ...wholefile import write_text
    from . import modelfile as mf
    from . import pipeline as pl
    from .score import perform, save_score, states_csv

    play = _play(locals())
    score = pl.compose(mf.load_model(model), play)
    with _progress() as report:
        found = pl.trace(score, report=report).trace
    names = ("time_s", "r", "note_r", "locking")
    save_score(output, score.model_copy(update={"trace": {n: getattr(found, n) for n in names}}))
    if states is not None:
        write_text(states, states_csv(score, perform(score)[0], found))
    if picture is not None:
        from . import plots as draw

        draw.save(draw.states_figure(score, found), picture)
    say(f"written: {output} ({len(score.node)} steps, {len(set(score.node))} nodes of the map)")


@app.command()
@clear_errors
def synthesise(
    score: Annotated[Path, typer.Argument(metavar="SCORE", help="A score of evolve.")],
    output: SoundFile,
    subtype: Subtype = None,
) -> None:
    """Plays a score into an audio file.

    Examples
    --------
        cspace ksom synthesise score.json -o new.wav
    """
    from . import pipeline as pl
    from .score import load_score

    loaded = load_score(score)
    with _progress() as report:
        sound = pl.synthesise(loaded, output, subtype=subtype, report=report)
    seconds = sound.frames / loaded.play.sample_rate
    say(f"{output}: {seconds:.2f} s, {sound.rms_db:.1f} dB RMS, largest sample {sound.sample_peak_db:.1f} dB")


@app.command()
@clear_errors
def compare(
    source: Annotated[Path, typer.Argument(help="A recording.")],
    result: Annotated[Path, typer.Argument(help="What was made from it, or any other recording.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write the figures as JSON."), JSON] = None,
    picture: Picture = None,
) -> None:
    """Measures how two recordings are related: pitch classes, tempo, and whether one copies the other.

    Examples
    --------
        cspace ksom compare song.ogg new.wav -o compare.json --picture compare.png
    """
    from . import compare as cmp
    from . import modelfile as mf

    found = cmp.compare(source, result).to_json()
    if output is not None:
        from ...wholefile import write_text

        write_text(output, mf.pretty(found))
    if picture is not None:
        from . import plots as draw

        draw.save(draw.compare_figure(source, result, found), picture)
    _say_comparison(found)


# ---- what they share -------------------------------------------------------------------------


def _settings(mode: str, **more: Any) -> Settings:
    from ..config import parse
    from .modelfile import Settings

    return parse(Settings, {"mode": mode, **more}, "analysis")


def _play(options: dict[str, Any]) -> Performance:
    from ...plugins._errors import ParameterError
    from ..config import parse
    from .oscillators import Performance

    taken = {name: options[name] for name in Performance.model_fields if name in options}
    words = [w for w in options["weights"].split(",") if w.strip()]
    try:
        taken["track_weights"] = [float(w) for w in words]
    except ValueError:
        raise ParameterError(f"--weights {options['weights']!r} is not allowed, use numbers such as 1,0.5") from None
    return parse(Performance, taken, "performance")


def _grid(kind: str) -> str:
    from ...plugins._errors import ParameterError

    if kind not in ("som", "block"):
        raise ParameterError(f"--grid {kind!r} is not allowed, use som or block")
    return kind


def _files(sources: list[Path]) -> list[Path]:
    from ..audio import audio_files

    unread: list[str] = []
    files = [f for s in sources for f in (audio_files(s, unread=unread) if s.is_dir() else [s])]
    for line in unread:
        note(line)
    return files


def _say_comparison(c: dict[str, Any]) -> None:
    source, result = c["source"], c["result"]
    say(
        f"{source['name']}: pitch classes {c['pitch_class_correlation']:.2f}, tempo {source['tempo_bpm']:.1f} and "
        f"{result['tempo_bpm']:.1f} (ratio {c['tempo_ratio']:.3f}), waveform {c['waveform_correlation']:.2f}"
    )


@contextlib.contextmanager
def _progress() -> Iterator[Report]:
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    percent = TextColumn("{task.percentage:3.0f} %")
    with progress(TextColumn("{task.description}"), BarColumn(), percent, TimeRemainingColumn()) as bar:
        tasks: dict[str, Any] = {}

        def report(part: str, done: float, total: float | None) -> None:
            if part not in tasks:
                tasks[part] = bar.add_task(part, total=total)
            bar.update(tasks[part], completed=done, total=total)

        yield report
