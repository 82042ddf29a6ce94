"""`cspace eq`: files heard, told and filtered by words. Each command loads what it needs when it runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...clioutputs import FOLDER, JSON, PICTURE, claim
from ...clitools import clear_errors, note, out, progress, say

if TYPE_CHECKING:
    from ...plugins._adaptive.brain import Decision
    from ...plugins._adaptive.model import Model

app = typer.Typer(
    name="eq",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The adaptive EQ on files: what words a sound has, and the way to more of one.",
)

Files = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Audio files, or folders of them.")]
Word = Annotated[str, typer.Option("--word", "-w", help="A word or a blend: warm, or 'warm:0.6 + bright:0.4'.")]
Intensity = Annotated[
    float | None, typer.Option("--intensity", "-i", help="-1 to 1; without it, as the sound suggests.")
]
Mode = Annotated[str, typer.Option(help="gated, residual or static.")]
Reference = Annotated[Path | None, typer.Option(help="The same sound dry, for residual (one file only).")]
ModelFolder = Annotated[
    Path | None, typer.Option("--model", help="A model package; by default the one that comes along.")
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the figures here, too."), JSON]


def _model(folder: Path | None) -> Model:
    from ...plugins._adaptive.model import default, load

    return default() if folder is None else load(folder)


def _all_files(paths: list[Path], reference: Path | None = None) -> tuple[list[Path], list[str]]:
    """The audio files of files and folders, and what could not be read there."""
    from ...plugins._errors import ParameterError
    from ..audio import audio_files

    unread: list[str] = []
    files = [f for p in paths for f in (audio_files(p, unread=unread) if p.is_dir() else [p])]
    if reference is not None and len(files) != 1:
        raise ParameterError(f"--reference goes with one file, not {len(files)}")
    return files, unread


def _each(paths: list[Path], what: str, reference: Path | None = None) -> Iterator[tuple[Path, Any]]:
    """Every audio file of files and folders, with a progress callback for it."""
    files, unread = _all_files(paths, reference)
    for line in unread:
        note(line)
    with progress() as bar:
        whole = bar.add_task(what, total=len(files))
        for file in files:
            task = bar.add_task(file.name, total=None)
            yield file, lambda i, n, t=task: bar.update(t, completed=i, total=n)
            bar.remove_task(task)
            bar.update(whole, advance=1)


def _write(json: Path | None, rows: Any) -> None:
    from ...wholefile import write_json

    if json is not None:
        write_json(json, rows)
        say(f"written: {json}")


@app.command("analyze")
@clear_errors
def analyze(
    files: Files,
    window: Annotated[float | None, typer.Option(help="Seconds of a window, to analyse over time, too.")] = None,
    hop: Annotated[float, typer.Option(help="Seconds from window to window.")] = 1.0,
    top: Annotated[int, typer.Option(min=1, help="Words shown.")] = 8,
    model: ModelFolder = None,
    json: Json = None,
) -> None:
    """Tells what words a sound has, against average music, and whether its setting can be told.

    Examples
    --------
        cspace eq analyze song.ogg

        cspace eq analyze album/ --window 3 --json album.json
    """
    from .study import analysis, listen

    known = _model(model)
    rows = []
    for file, shown in _each(files, "files"):
        found = analysis(listen(file, known.bands, shown), known, window_s=window, hop_s=hop)
        rows.append(found)
        words = ", ".join(f"{w} {v:+.1f}" for w, v in list(found["profile"].items())[:top])
        say(f"{file}: tilt {found['tilt_db_per_octave']:+.1f} dB/octave; {words}")
        _notes(found["notes"])
        if found["confidence"] < 0.5:
            say(f"  which setting it carries cannot be told (expected error {found['expected_error_db']:.1f} dB)")
        else:
            numbers = ", ".join(f"{k} {v:.3g}" for k, v in found["carried_setting"].items())
            say(f"  it carries {numbers} (expected error {found['expected_error_db']:.1f} dB)")
    _write(json, rows)


def _notes(notes: list[str]) -> None:
    for line in notes:
        note(f"  {line}")


@app.command("profile")
@clear_errors
def profile(
    files: Files,
    picture: Annotated[Path, typer.Option("--picture", "-o", help="The picture to write."), PICTURE] = Path(
        "profile.png"
    ),
    window: Annotated[float | None, typer.Option(help="Seconds of a window: likeness over time, of one file.")] = None,
    hop: Annotated[float, typer.Option(help="Seconds from window to window.")] = 1.0,
    word: Annotated[list[str] | None, typer.Option(help="Words of the picture over time.")] = None,
    model: ModelFolder = None,
    json: Json = None,
) -> None:
    """Draws how much of each word a sound has: bars per file, or lines over time.

    Examples
    --------
        cspace eq profile song.ogg other.ogg

        cspace eq profile song.ogg --window 4 --word warm --word bright
    """
    from ...plugins._errors import ParameterError
    from ...wholefile import whole
    from . import plots
    from .study import analysis, listen

    known = _model(model)
    chosen = [known.word(w).name for w in word or ["warm", "bright", "muddy", "airy"] if word or w in known.words]
    found = [
        analysis(listen(file, known.bands, shown), known, window_s=window, hop_s=hop)
        for file, shown in _each(files, "files")
    ]
    if window is not None:
        if len(found) != 1:
            raise ParameterError(f"a picture over time takes one file, not {len(found)}")
        figure = plots.timeline(found[0]["over_time"], chosen, f"{found[0]['file']}, windows of {window:g} s")
    else:
        if len(found) > 6:
            note(f"the picture shows the first 6 of {len(found)} files")
        figure = plots.profiles([(f["file"], f["profile"]) for f in found[:6]])
    with whole(picture) as part:
        figure.savefig(part, dpi=130)
    say(f"written: {picture}")
    _write(json, found)


@app.command("apply")
@clear_errors
def apply(
    files: Files,
    word: Word,
    intensity: Intensity = None,
    mode: Mode = "gated",
    reference: Reference = None,
    match_loudness: Annotated[bool, typer.Option("--match-loudness", help="Keep the loudness.")] = False,
    target: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results."), FOLDER] = Path("processed"),
    model: ModelFolder = None,
    json: Json = None,
) -> None:
    """Filters files towards a word (below 0: away from it). Levels are not touched unless asked for.

    Examples
    --------
        cspace eq apply song.ogg --word warm --intensity 0.7

        cspace eq apply album/ --word "warm:0.6 + bright:0.4" --match-loudness --out warmer/
    """
    from .study import render

    known = _model(model)
    made = _decided(known, files, target, word, intensity, mode, reference, match_loudness, (".wav",))
    rows = []
    with progress() as bar:
        for file, goal, (decision, amount, notes) in made:
            task = bar.add_task(goal.name, total=None)
            peak = render(
                file,
                goal,
                decision.setting,
                decision.output_gain_db,
                lambda i, n, t=task: bar.update(t, completed=i, total=n),  # type: ignore[misc]
                notes,
            )
            bar.remove_task(task)
            _say(goal, decision, amount, notes, peak)
            rows.append({"input": file.name, "output": goal.name, "peak": peak, **_row(decision, word, amount, notes)})
    _write(json, rows)


def _decided(
    known: Model,
    files: list[Path],
    target: Path,
    word: str,
    intensity: float | None,
    mode: str,
    reference: Path | None,
    match_loudness: bool,
    suffixes: tuple[str, ...],
) -> list[tuple[Path, Path, tuple[Decision, float, list[str]]]]:
    """What to do with each file and where it goes; all names are claimed before any is written."""
    from .study import output_name

    def named(file: Path, amount: float) -> Path:
        return target / output_name(file, word, amount)

    def claim_all(goals: list[tuple[Path, Path]]) -> None:
        claim(*(g.with_suffix(s) for _, g in goals for s in suffixes), inputs=[f for f, _ in goals])

    if intensity is not None:
        claim_all([(f, named(f, intensity)) for f in _all_files(files, reference)[0]])
    judged = [
        (file, _judged(known, file, shown, word, intensity, mode, reference, match_loudness))
        for file, shown in _each(files, "files", reference)
    ]
    found = [(file, named(file, d[1]), d) for file, d in judged]
    if intensity is None:
        claim_all([(f, g) for f, g, _ in found])
    return found


def _judged(
    model: Model,
    file: Path,
    shown: Any,
    word: str,
    intensity: float | None,
    mode: str,
    reference: Path | None,
    match_loudness: bool,
) -> tuple[Decision, float, list[str]]:
    from .study import judge, listen

    heard = listen(file, model.bands, shown)
    dry = listen(reference, model.bands) if reference is not None else None
    return judge(heard, model, word, intensity, mode, reference=dry, match_loudness=match_loudness)


def _say(
    goal: Path, made: Decision, amount: float, notes: list[str], peak: float, gain_db: float | None = None
) -> None:
    gain = made.output_gain_db if gain_db is None else gain_db
    gate = f", gate {made.gate:.2f}" if made.mode == "gated" else ""
    say(f"{goal}: {made.mode}, intensity {amount:+.2f}{gate}, gain {gain:+.1f} dB, peak {peak:.3f}")
    _notes(notes + ([f"peak {peak:.2f} is above full scale; players may clip it"] if peak > 1.0 else []))


def _row(made: Decision, word: str, amount: float, notes: list[str]) -> dict[str, Any]:
    from ...plugins._adaptive.curve import NAMES

    return {
        "word": word,
        "intensity": amount,
        "mode": made.mode,
        "gate": made.gate,
        "likeness": made.likeness,
        "confidence": made.confidence,
        "setting": dict(zip(NAMES, made.setting.tolist(), strict=True)),
        "output_gain_db": made.output_gain_db,
        "fit_rms_db": made.fit_rms_db,
        "notes": notes,
    }


@app.command("compare")
@clear_errors
def compare(
    files: Files,
    word: Word,
    intensity: Intensity = None,
    mode: Mode = "gated",
    reference: Reference = None,
    target: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results."), FOLDER] = Path("compared"),
    model: ModelFolder = None,
) -> None:
    """Before and after at the same loudness: two files to listen to, a picture of spectra and filter, a JSON.

    Examples
    --------
        cspace eq compare song.ogg --word bright --intensity 0.7
    """
    import numpy as np

    from ...plugins._adaptive.curve import FLAT
    from ...wholefile import whole
    from . import plots
    from .study import file_loudness, listen, render

    known = _model(model)
    suffixes = (".A.wav", ".B.wav", ".png", ".json")
    for file, goal, (made, amount, notes) in _decided(
        known, files, target, word, intensity, mode, reference, True, suffixes
    ):
        before, after = goal.with_suffix(".A.wav"), goal.with_suffix(".B.wav")
        render(file, before, FLAT, 0.0)
        peak, gain = render(file, after, made.setting, made.output_gain_db, None, notes), made.output_gain_db
        loud = [file_loudness(before), file_loudness(after)]
        if np.isfinite(loud).all() and abs(loud[0] - loud[1]) > 0.05:  # measured, not predicted
            gain = float(np.clip(gain + loud[0] - loud[1], -24.0, 24.0))
            peak = render(file, after, made.setting, gain)
            loud[1] = file_loudness(after)
        a, b = listen(before, known.bands), listen(after, known.bands)
        _say(after, made, amount, notes, peak, gain)
        say(f"  loudness {_lufs(loud[0])} before, {_lufs(loud[1])} after")
        heard = (a.sound(), b.sound())
        rows = {
            "input": file.name, **_row(made, word, amount, notes), "output_gain_db": gain, "peak": peak, "lufs": loud,
        }  # fmt: skip
        if heard[0] is not None and heard[1] is not None:
            rows["tilt_db_per_octave"] = [s.tilt_db_per_octave() for s in heard if s is not None]
            title = f"{file.name}: {word}, {amount:+.2f} ({made.mode})"
            figure = plots.before_after([(title, heard[0], heard[1], made.setting, a.sample_rate)])
            with whole(goal.with_suffix(".png")) as part:
                figure.savefig(part, dpi=130)
        _write(goal.with_suffix(".json"), rows)


def _lufs(loudness: float) -> str:
    """Loudness in words: a file that is silent or shorter than 0.4 s has none."""
    return f"{loudness:.1f} LUFS" if math.isfinite(loudness) else "too quiet or short to measure"


@app.command("words")
@clear_errors
def words(model: ModelFolder = None) -> None:
    """Lists the words, how many settings they were learnt from, and how far people agree."""
    from rich.table import Table

    known = _model(model)
    table = Table("word", "settings", "agreement", "family", "", box=None)
    for w in known.words.values():
        lean = f"leans on its family by {100 * 4 / (w.count + 4):.0f} %" if w.is_rare else ""
        table.add_row(w.name, str(w.count), f"{w.agreement:.2f}", w.family, lean)
    out.print(table)


@app.command("evaluate")
@clear_errors
def evaluate(
    music: Annotated[Path, typer.Argument(help="A folder of music; pieces the model knows are left out.")],
    data: Annotated[str, typer.Option(help="The table of settings the model was trained with, or synthetic.")],
    excerpts: Annotated[int, typer.Option(min=3, help="Excerpts at most.")] = 60,
    each: Annotated[int, typer.Option(min=1, help="Excerpts of a piece.")] = 2,
    seconds: Annotated[float, typer.Option(min=2.0, help="Length of an excerpt.")] = 10.0,
    model: ModelFolder = None,
    json: Json = None,
) -> None:
    """Tests the model on real music: whether it moves the right way, and what it can hear there.

    Examples
    --------
        cspace eq evaluate data/recordings/music --data safe_eq.csv --json eq_music.json
    """
    from .musictest import run

    with progress() as bar:
        task = bar.add_task("pieces", total=None)
        found = run(
            _model(model), data, music, excerpts, seconds, each, lambda i, n: bar.update(task, completed=i, total=n)
        )
    for line in found["lines"]:
        say(line)
    _write(json, found)


@app.command("pictures")
@clear_errors
def pictures(
    data: Annotated[str, typer.Option(help="The table of settings the model was trained with, or synthetic.")],
    music: Annotated[list[Path], typer.Option("--music", help="A piece for before and after; once per piece.")],
    target: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures."), FOLDER] = Path("pictures"),
    model: ModelFolder = None,
) -> None:
    """Draws the words as curves, the latent map, and spectra before and after of some pieces.

    Examples
    --------
        cspace eq pictures --data safe_eq.csv --music a.ogg --music b.ogg --music c.ogg --out docs/images
    """
    from ...wholefile import whole
    from .picturepage import NAMES, draw

    claim(*(target / f"{name}.png" for name in NAMES))
    with progress() as bar:
        task = bar.add_task("pictures", total=None)
        made = draw(_model(model), data, music, lambda i, n: bar.update(task, completed=i, total=n))
    for name, figure in made.items():
        with whole(target / f"{name}.png") as part:
            figure.savefig(part, dpi=110)
        say(f"written: {target / name}.png")
