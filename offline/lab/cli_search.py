"""`cspace lab search`, `robustness`, `quantize` and `recall`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ...clioutputs import SECTION
from ...clitools import clear_errors, note, progress, say, say_text
from .cli import Config, Results, app, reserve, settings, written

if TYPE_CHECKING:
    from ..audio import Clip
    from ..config import LabConfig
    from .perturb import Change

Kind = Literal["best", "bank", "legacy", "waveform", "logmel", "stft", "esn"]
Recording = Annotated[Path, typer.Argument(help="A recording, of any rate and number of channels.")]
NoiseDb = Annotated[float | None, typer.Option("--noise-db", help="Signal to noise over the active part, dB.")]
NoiseColor = Annotated[Literal["white", "pink"], typer.Option("--noise-color", help="Colour of the noise.")]
GainDb = Annotated[float, typer.Option("--gain-db", help="Level of the copy over the original, dB.")]
ResamplePpm = Annotated[float, typer.Option("--resample-ppm", help="The copy is longer by so many parts in a million.")]
Codec = Annotated[
    Literal["mp3", "gsm"] | None, typer.Option("--codec", help="Through a codec and back (pedalboard), delay undone.")
]
Mp3Kbps = Annotated[int, typer.Option("--mp3-kbps", help="Constant bit rate of --codec mp3.")]
Seconds = Annotated[float | None, typer.Option("--seconds", help="Only the first so many seconds.", min=0.1)]
Seed = Annotated[int | None, typer.Option("--seed", help="Of noise and places, over the settings'.", min=0)]
DescriptorName = Annotated[Kind, typer.Option("--descriptor", "-d", help="What stands for a sample.")]
WeightingName = Annotated[
    Literal["none", "diagonal", "white"], typer.Option("--weighting", help="Of the bank's states (best, bank).")
]
HalvesName = Annotated[
    Literal["both", "forward", "backward"], typer.Option("--halves", help="Which halves of the bank.")
]
Cosine = Annotated[bool, typer.Option("--cosine", help="Rows of length one: a change of level changes nothing.")]
Length = Annotated[int, typer.Option("--length", help="Samples of the waveform window (odd).", min=1)]
Markdown = Annotated[Path | None, typer.Option("--markdown", help="Also write the tables into this page."), SECTION]


def _asked(config: LabConfig, seed: int | None, **what: Any) -> Change:
    from ..config import parse
    from .perturb import Change

    return parse(Change, {**what, "seed": config.seed if seed is None else seed}, "options")


def _load(path: Path, config: LabConfig, seconds: float | None) -> Clip:
    from ..audio import load_mono

    clip = load_mono(path, config.sample_rate, seconds=seconds)
    for line in clip.conversions:
        note(f"{path}: {line}")
    return clip


def _into_page(page: Path | None, section: str, text: str) -> None:
    """Puts a result into its section of a page, where one was asked for."""
    from .markdown import put_section

    if page is not None:
        put_section(page, section, text)
        say(f"written: {page}")


def _only(only: str | None, names: list[str]) -> list[str]:
    """Those names that hold one of the words of --only."""
    from ...plugins._errors import ParameterError

    if only is None:
        return names
    words = [w.strip() for w in only.split(",") if w.strip()]
    found = [n for n in names if any(w in n for w in words)]
    if not found:
        raise ParameterError(f"--only {only!r} names none of these: {'; '.join(names)}")
    return found


@app.command()
@clear_errors
def search(
    query: Recording,
    target_or_index: Annotated[str, typer.Argument(metavar="[TARGET] INDEX", help="Another recording to search in.")],
    index: Annotated[int | None, typer.Argument(metavar="", help="The sample, at the settings' rate.")] = None,
    noise_db: NoiseDb = None,
    noise_color: NoiseColor = "white",
    gain_db: GainDb = 0.0,
    resample_ppm: ResamplePpm = 0.0,
    codec: Codec = None,
    mp3_kbps: Mp3Kbps = 64,
    descriptor: DescriptorName = "bank",
    weighting: WeightingName = "white",
    halves: HalvesName = "both",
    cosine: Cosine = False,
    length: Length = 257,
    exclude_ms: Annotated[
        float | None, typer.Option("--exclude-ms", help="Places so near to the sample itself do not count.", min=0.0)
    ] = None,
    circular: Annotated[
        bool, typer.Option("--circular", help="Allow the same samples as query and database; it says nothing.")
    ] = False,
    seconds: Seconds = None,
    seed: Seed = None,
    config: Config = None,
    results: Results = None,
) -> None:
    """Finds a sample of a changed copy, or of another take, among all samples of a recording.

    INDEX is a sample of QUERY at the settings' sample rate. Without TARGET, QUERY is searched for a
    sample of its own changed copy, and the error is known.

    Examples
    --------
        cspace lab search voice.flac 48000 --noise-db 20

        cspace lab search voice.flac 48000 --codec mp3 --descriptor waveform

        cspace lab search take1.wav take2.wav 48000 --descriptor best --cosine
    """
    from ...plugins._errors import ParameterError
    from . import report
    from .choose import make
    from .search_study import picture, search_study
    from .search_study import results as figures

    try:
        place = int(target_or_index) if index is None else index
    except ValueError:
        raise ParameterError(f"INDEX is {target_or_index!r}; give a sample number, such as 48000") from None
    loaded = settings(config, results)
    name = reserve(loaded, f"search_{query.stem}_q{place}")
    change = _asked(
        loaded, seed, noise_db=noise_db, noise_color=noise_color, gain_db=gain_db, resample_ppm=resample_ppm,
        codec=codec, mp3_kbps=mp3_kbps,
    )  # fmt: skip
    what = make(descriptor, loaded, weighting=weighting, halves=halves, cosine=cosine, length=length)
    clip = _load(query, loaded, seconds)
    target = None if index is None else _load(Path(target_or_index), loaded, seconds)
    with progress() as bar:
        task = bar.add_task("searching", total=len((target or clip).samples))
        study = search_study(
            clip, target, place, change, what, exclude_ms=exclude_ms, circular=circular,
            advance=lambda n: bar.advance(task, n),
        )  # fmt: skip
    o = study.outcome
    for line in study.notes[len(clip.conversions) :]:
        note(line)
    if o.circular:
        note("circular: the query is one of the samples searched; distance 0 at it is certain and says nothing")
    error = "" if o.error_samples is None else f", error {o.error_samples:+.2f} samples"
    say(f"match: sample {o.match} ({o.match_s:.4f} s){error}; distance {o.distance:.4g}")
    say(
        f"one sample beside: {o.beside_distance:.4g}; next best, more than 1 ms away: {o.next_best_distance:.4g}; "
        f"median: {o.median_distance:.4g}"
    )
    asked = {
        "query": query, "target": study.names[1], "index": place, "change": change.model_dump(),
        "exclude_ms": exclude_ms,
        "descriptor": what.name, "weighting": weighting, "halves": halves, "cosine": cosine,
    }  # fmt: skip
    written(report.save(loaded, name, figures(study), picture(study, loaded), settings=asked, notes=study.notes))


@app.command()
@clear_errors
def robustness(
    clip: Recording,
    index: Annotated[int, typer.Argument(help="The sample, at the settings' rate.")],
    noise_db: NoiseDb = None,
    noise_color: NoiseColor = "white",
    gain_db: GainDb = 0.0,
    resample_ppm: ResamplePpm = 0.0,
    codec: Codec = None,
    mp3_kbps: Mp3Kbps = 64,
    queries: Annotated[int, typer.Option("--queries", help="Active places besides INDEX.", min=1, max=2000)] = 40,
    only: Annotated[
        str | None, typer.Option("--only", help="Only rows whose suite or name holds one of these, split by commas.")
    ] = None,
    seconds: Seconds = 30.0,
    seed: Seed = None,
    markdown: Markdown = None,
    config: Config = None,
    results: Results = None,
) -> None:
    """Every row of the original's two suites on a changed copy (noise of 20 dB if nothing is said), and the baselines.

    Examples
    --------
        cspace lab robustness voice.flac 48000

        cspace lab robustness voice.flac 48000 --codec mp3 --queries 100
    """
    from . import markdown as md
    from . import report
    from . import robustness as study

    loaded = settings(config, results)
    name = reserve(loaded, f"robustness_{clip.stem}_q{index}")
    change = _asked(
        loaded, seed, noise_db=noise_db, noise_color=noise_color, gain_db=gain_db, resample_ppm=resample_ppm,
        codec=codec, mp3_kbps=mp3_kbps,
    )  # fmt: skip
    if change.nothing:
        change = change.model_copy(update={"noise_db": 20.0})
    chosen = study.configurations(loaded)
    wanted = set(_only(only, [f"{suite}: {d.name}" for suite, d in chosen]))
    chosen = [(suite, d) for suite, d in chosen if f"{suite}: {d.name}" in wanted]
    sound = _load(clip, loaded, seconds)
    with progress() as bar:
        task = bar.add_task("rows", total=len(chosen))
        rows, notes = study.robustness(
            sound.samples, index, change, loaded, chosen, name=str(clip), queries=queries,
            advance=lambda: bar.advance(task),
        )  # fmt: skip
    for line in notes:
        note(line)
    lines = study.table(rows)
    say_text(md.plain(lines))
    title = f"{clip.name} · {change.words()} · {rows[0].queries} active places and sample {index}"
    _into_page(markdown, "robustness", f"{title}\n\n{md.table(lines)}")
    asked = {"clip": clip, "index": index, "change": change.model_dump(), "seconds": seconds, "queries": queries}
    written(
        report.save(
            loaded,
            name,
            {"rows": study.results(rows)},
            study.picture(rows, title),
            settings=asked,
            notes=[*sound.conversions, *notes],
        )
    )


@app.command()
@clear_errors
def quantize(
    clip: Recording,
    index: Annotated[int, typer.Argument(help="The sample whose landscape is drawn.")],
    noise_db: NoiseDb = None,
    noise_color: NoiseColor = "white",
    gain_db: GainDb = 0.0,
    resample_ppm: ResamplePpm = 0.0,
    codec: Codec = None,
    mp3_kbps: Mp3Kbps = 64,
    descriptor: DescriptorName = "bank",
    weighting: WeightingName = "white",
    halves: HalvesName = "both",
    cosine: Cosine = False,
    length: Length = 257,
    queries: Annotated[int, typer.Option("--queries", help="Active places besides INDEX.", min=1, max=5000)] = 200,
    seconds: Seconds = 30.0,
    seed: Seed = None,
    markdown: Markdown = None,
    config: Config = None,
    results: Results = None,
) -> None:
    """Float16 and int8 databases against float32, asked by float32 rows of a changed copy (noise 20 dB if unsaid).

    Examples
    --------
        cspace lab quantize voice.flac 48000

        cspace lab quantize voice.flac 48000 --descriptor best --cosine --noise-db 10
    """
    from . import markdown as md
    from . import quantise_study as study
    from . import report
    from .choose import make
    from .quantise import FORMS

    loaded = settings(config, results)
    name = reserve(loaded, f"quantize_{clip.stem}_q{index}")
    change = _asked(
        loaded, seed, noise_db=noise_db, noise_color=noise_color, gain_db=gain_db, resample_ppm=resample_ppm,
        codec=codec, mp3_kbps=mp3_kbps,
    )  # fmt: skip
    if change.nothing:
        change = change.model_copy(update={"noise_db": 20.0})
    what = make(descriptor, loaded, weighting=weighting, halves=halves, cosine=cosine, length=length)
    sound = _load(clip, loaded, seconds)
    with progress() as bar:
        task = bar.add_task("databases", total=len(FORMS))
        rows, notes = study.quantise(
            sound.samples, index, change, what, loaded, name=str(clip), queries=queries,
            advance=lambda: bar.advance(task),
        )  # fmt: skip
    for line in notes:
        note(line)
    lines = study.table(rows)
    say_text(md.plain(lines))
    title = f"{clip.name} · {what.name} · query: float32, {change.words()} · sample {index}"
    _into_page(markdown, f"quantize-{descriptor}", f"{title}\n\n{md.table(lines)}")
    asked = {
        "clip": clip, "index": index, "change": change.model_dump(), "descriptor": what.name, "weighting": weighting,
        "halves": halves, "cosine": cosine, "seconds": seconds, "queries": queries,
    }  # fmt: skip
    written(
        report.save(
            loaded,
            name,
            {"forms": study.results(rows)},
            study.picture(rows, title),
            settings=asked,
            notes=[*sound.conversions, *notes],
        )
    )


@app.command()
@clear_errors
def recall(
    folder: Annotated[Path, typer.Argument(help="Recordings; `make recordings` fills the default.")] = Path(
        "data/recordings"
    ),
    which: Annotated[
        Literal["report", "tuning", "all"],
        typer.Option("--set", help="The groups reported on, those the settings were found on, or all files as one."),
    ] = "report",
    per_group: Annotated[int, typer.Option("--per-group", help="Recordings of each group.", min=1)] = 6,
    piece_s: Annotated[float, typer.Option("--piece-s", help="Seconds taken of each.", min=1.0, max=600.0)] = 6.0,
    active: Annotated[int, typer.Option("--active", help="Queries at active places of each.", min=1)] = 8,
    anywhere: Annotated[int, typer.Option("--anywhere", help="Queries at any places of each.", min=0)] = 7,
    only: Annotated[
        str | None, typer.Option("--only", help="Only descriptors whose name holds one of these, split by commas.")
    ] = None,
    grid: Annotated[
        bool, typer.Option("--grid", help="Not the study but the settings tried, ranked; for --set tuning.")
    ] = False,
    seed: Seed = None,
    markdown: Markdown = None,
    config: Config = None,
    results: Results = None,
) -> None:
    """Recall at 1 on changed copies of real recordings: CSpace against every baseline, won, level or lost.

    Takes about half an hour with its defaults on two slow cores.

    Examples
    --------
        cspace lab recall --markdown docs/lab-search.md

        cspace lab recall --set tuning --grid --per-group 8 --anywhere 0

        cspace lab recall my/recordings --set all --per-group 20 --only "CSpace best,waveform 257"
    """
    from . import recall as study
    from . import recall_report as shown
    from . import report

    loaded = settings(config, results)
    name = reserve(loaded, f"recall_{which}{'_grid' * grid}")
    used = loaded.seed if seed is None else seed
    chosen = shown.grid(loaded) if grid else shown.descriptors(loaded)
    wanted = set(_only(only, [d.name for d in chosen]))
    chosen = [d for d in chosen if d.name in wanted]
    groups = {"report": study.REPORT, "tuning": study.TUNING, "all": ()}[which]
    pieces = study.gather(folder, groups, loaded.sample_rate, per_group=per_group, seconds=piece_s, seed=used)
    with progress() as bar:
        task = bar.add_task("recordings × descriptors", total=len(pieces) * len(chosen))
        done = study.run(
            pieces, chosen, loaded.sample_rate, active=active, anywhere=anywhere, seed=used,
            advance=lambda: bar.advance(task),
        )  # fmt: skip
    text = shown.ranked_page(done, which, piece_s) if grid else shown.page(done, which, piece_s)
    say_text(text)
    _into_page(markdown, f"recall-{which}{'-grid' * grid}", text)
    asked = {
        "folder": folder, "set": which, "per_group": per_group, "piece_s": piece_s, "active": active,
        "anywhere": anywhere, "seed": used,
    }  # fmt: skip
    found = {
        "pieces": [{"name": p.name, "group": p.group, "start_s": p.start_s} for p in pieces],
        "piece_of": done.piece_of,
        "rows": list(study.figures(done)),
    }
    title = f"Recall at 1 at active places, {len(pieces)} recordings ({which} set), {piece_s:g} s of each searched"
    written(
        report.save(
            loaded,
            name,
            found,
            shown.picture(done, "active", title),
            settings=asked,
            notes=done.notes,
        )
    )
