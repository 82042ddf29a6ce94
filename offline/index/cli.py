"""`cspace index`: build, query, info."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from ...clioutputs import GROWS
from ...clitools import clear_errors, complain, fail, note, out, progress, say, say_json
from ...terminal import clean
from ...textfile import shown

if TYPE_CHECKING:
    from .search import Answer, Searcher
    from .spec import IndexSpec
    from .store import Index

app = typer.Typer(
    name="index",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Finds clips in a folder of recordings: which file, which sample, how near.",
)

IndexFolder = Annotated[Path, typer.Argument(metavar="INDEX", help="The index's folder.")]
Root = Annotated[Path | None, typer.Option(help="Where the recordings are now, if they were moved.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
@clear_errors
def build(
    folder: Annotated[Path, typer.Argument(help="The recordings: all audio files under it.")],
    index: Annotated[
        Path, typer.Argument(metavar="INDEX", help="The index's folder, new or of an earlier build."), GROWS
    ],
    sample_rate: Annotated[int | None, typer.Option(help="Hz; by default 24000, or what the index has.")] = None,
    hop_ms: Annotated[float | None, typer.Option(help="Milliseconds between frames; by default 20.")] = None,
    float32: Annotated[bool, typer.Option("--float32", help="Store float32, four times as large as int8.")] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", help="Files at a time; by default one per core.")] = None,
) -> None:
    """Makes an index of a folder, or brings it up to date: new and changed files are added, lost ones dropped.

    A build that was stopped goes on where it was. Leaves with 1 if files or folders could not be read; the
    index keeps what it has of those. Linked folders are followed, each once.

    Examples
    --------
        cspace index build recordings/ recordings.index
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from .build import build as run
    from .store import Index

    asked = {"sample_rate": sample_rate, "hop_ms": hop_ms, "dtype": "float32" if float32 else None}
    spec = _spec(index, {k: v for k, v in asked.items() if v is not None})
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress(*columns) as bar:
        task = bar.add_task(folder.name, total=None)

        def step(done: int, total: int, seconds: float) -> None:
            bar.update(task, completed=done, total=total, description=f"{folder.name}, {seconds / 60:.0f} min")

        try:
            report = run(folder, index, spec, jobs=jobs, progress=step)
        except KeyboardInterrupt:
            fail(f"stopped; {index} holds what was done, say the same again to go on", 1)
    made = Index(index)
    for line in report.notes:
        note(line)
    for s in report.skipped:
        note(f"{s.path}: left out: {s.why}")
    kept = f", {report.kept} kept unread" if report.kept else ""
    say(
        f"{index}: {len(made.sources)} recordings, {_length(made.seconds)}, {made.bytes / 1e6:.1f} MB; "
        f"{report.added} added, {report.unchanged} unchanged, {report.removed} removed{kept}, "
        f"{len(report.skipped)} left out"
    )
    if report.skipped:
        raise typer.Exit(1)


def _spec(index: Path, asked: dict[str, Any]) -> IndexSpec | None:
    """The settings asked for, over those of the index if there is one; None to take it as it is."""
    from ..config import parse
    from .spec import IndexSpec
    from .store import MANIFEST, read_manifest

    if not asked:
        return None
    old = read_manifest(index).spec.model_dump() if os.path.exists(index / MANIFEST) else {}
    return parse(IndexSpec, {**old, **asked}, "cspace index build")


@app.command()
@clear_errors
def query(
    index: IndexFolder,
    clips: Annotated[list[Path], typer.Argument(metavar="CLIP...", help="Audio files to look for.")],
    start: Annotated[float, typer.Option(help="Seconds into the clip to begin at.", min=0.0)] = 0.0,
    seconds: Annotated[float | None, typer.Option(help="Seconds of the clip to take; by default all.", min=0.0)] = None,
    top: Annotated[int, typer.Option("--top", "-k", help="Matches to show.", min=1)] = 5,
    window: Annotated[float, typer.Option(help="Seconds compared: the clip's loudest part of this length.")] = 2.0,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Finds where clips come from: file, sample, distance from 0 (the same sound) to 1 (nothing in common).

    Clips may have any sample rate, level and offset, noise, or be MP3.

    Examples
    --------
        cspace index query recordings.index clip.wav

        cspace index query recordings.index song.mp3 --start 60 --seconds 2 --json
    """
    from ...plugins._errors import CspaceError
    from .clips import load_clip
    from .search import Searcher
    from .store import Index, IndexFormatError

    searcher = Searcher(Index(index, root=root), window_s=window)
    answers: list[dict[str, Any]] = []
    wrong = 0
    for path in clips:
        try:
            sound, conversions = load_clip(path, searcher.index.spec.sample_rate, start, seconds)
            answer = searcher.query(sound, str(path), top=top)
        except IndexFormatError:
            raise
        except CspaceError as e:
            if len(clips) == 1:
                raise
            wrong += 1
            complain(str(e))
            answers.append({"clip": shown(path), "error": shown(str(e))})
            continue
        answers.append({"clip": shown(path), "start_s": start, "conversions": conversions, **answer.as_dict()})
        if not as_json:
            for line in conversions:
                note(f"{path}: {line}")
            _show(path, answer, searcher)
    if as_json:
        say_json({"index": shown(index), "clips": answers})
    if wrong:
        raise typer.Exit(2)


def _show(path: Path, answer: Answer, searcher: Searcher) -> None:
    from .search import MATCH_DISTANCE

    for line in answer.notes:
        note(line)
    if not answer.matches:
        say(f"{path}: nothing to compare it with; no recording in the index is {answer.window_s:.2f} s long")
        return
    if answer.found:
        best, margin = answer.matches[0], answer.margin
        second = "" if margin is None else f", {100 * margin:.0f} % nearer than the second"
        say(f"{path}: {best.path}, sample {best.sample} ({_clock(best.seconds)}){second}")
    elif answer.matches[0].distance is None:
        say(f"{path}: the recordings could not be read again; the list shows what looks like it")
    else:
        say(
            f"{path}: nothing in the index matches well: the nearest is at distance "
            f"{answer.matches[0].distance:.3f}, matches lie below {MATCH_DISTANCE}"
        )
    table = Table(
        Column("file", overflow="fold"), "sample", "time", "distance", "similarity", "level dB", "remarks", box=None
    )
    for m in answer.matches:
        remarks = ["sign turned"] if m.inverted else []
        if m.rate_ppm is not None:
            remarks.append(f"runs {m.rate_ppm:+.0f} ppm")
        table.add_row(
            clean(m.path),
            str(m.sample),
            _clock(m.seconds),
            "?" if m.distance is None else f"{m.distance:.4f}",
            f"{m.similarity:.3f}",
            "" if m.gain_db is None else f"{m.gain_db:+.1f}",
            ", ".join(remarks),
        )
    out.print(table)


@app.command()
@clear_errors
def info(
    index: IndexFolder,
    check: Annotated[bool, typer.Option("--check", help="Read everything and verify the checksums.")] = False,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Shows what an index holds, and whether its recordings are still there."""
    from .search import changed
    from .store import Index

    opened = Index(index, root=root)
    if check:
        for shard in opened.manifest.shards:
            opened.rows(shard)
    stale = [why for path in opened.sources if (why := changed(opened, path))]
    facts = _facts(opened, stale)
    if as_json:
        say_json(facts)
        return
    for name, value in facts.items():
        if name not in ("stale", "skipped"):
            say(f"{name.replace('_', ' '):18} {value}")
    for why in stale[:10]:
        note(why)
    if len(stale) > 10:
        note(f"and {len(stale) - 10} more")
    for s in opened.manifest.skipped:
        note(f"{s.path}: left out: {s.why}")
    if check:
        say("all checksums are right")


def _facts(index: Index, stale: list[str]) -> dict[str, Any]:
    spec = index.spec
    return {
        "recordings": len(index.sources),
        "length": _length(index.seconds),
        "seconds": round(index.seconds, 3),
        "size_bytes": index.bytes,
        "shards": len(index.manifest.shards),
        "stored_as": spec.dtype,
        "sample_rate_hz": spec.sample_rate,
        "hop_samples": spec.hop,
        "features": spec.channels,
        "recordings_folder": shown(index.root),
        "written_by": f"cspace {index.manifest.written_by}, schema {index.manifest.schema_version}",
        "changed_or_missing": len(stale),
        "left_out": len(index.manifest.skipped),
        "stale": stale,
        "skipped": [s.model_dump() for s in index.manifest.skipped],
    }


def _length(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.1f} min" if minutes >= 1.5 else f"{seconds:.1f} s"


def _clock(seconds: float) -> str:
    sign, s = ("-" if seconds < 0 else ""), abs(seconds)
    return f"{sign}{int(s // 3600)}:{int(s % 3600 // 60):02d}:{s % 60:06.3f}"
