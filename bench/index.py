"""The search index on an hour of real recordings: size, building, asking, and what it finds, beside rivals.

Machines are shared, so times are CPU seconds of this process (`time.process_time`), BLAS held to one
thread; wall seconds are beside them. Queries are 1 s out of changed copies, never the indexed samples.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from threadpoolctl import threadpool_limits

from cspace.audiofile import Reader
from cspace.offline.audio import audio_files, stream_mono
from cspace.offline.index.build import build
from cspace.offline.index.quantise import Quantiser
from cspace.offline.index.search import MATCH_DISTANCE, Searcher
from cspace.offline.index.spec import IndexSpec
from cspace.offline.index.store import Index, write_rows
from cspace.offline.lab.recall import wilson

from .common import Row
from .index_queries import CHANGES, LENGTH, Query, changed_copies, strangers
from .index_rivals import LogMel, Waveform

RECORDINGS = Path(__file__).parent.parent / "data" / "recordings"
#: Aimed at, in all; the last file of each speaker and game goes beyond.
LONG_S, QUICK_S = 2400.0, 300.0
#: A match is right within so many samples; at 100 ppm a second is 2.4 samples longer.
NEAR = 2
#: What only looks at frames is right within this many samples: 20 ms.
FRAME_NEAR = 480


@dataclass
class Asked:
    """One way of finding: cost of each query, and whether it was right, by change."""

    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    right: dict[str, list[bool]] = field(default_factory=dict)
    #: Samples from the truth; infinite in another file.
    off: dict[str, list[float]] = field(default_factory=dict)
    distance: list[float] = field(default_factory=list)

    def ask(self, query: Query, find: Callable[[], tuple[str, float, float]], near: int) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        path, place, distance = find()
        self.cpu_s.append(time.process_time() - cpu)
        self.wall_s.append(time.perf_counter() - wall)
        off = abs(place - query.place) if path == query.path else np.inf
        self.off.setdefault(query.change, []).append(off)
        self.right.setdefault(query.change, []).append(off <= near + 0.5)
        self.distance.append(distance)

    def share(self, change: str | None = None) -> tuple[int, int]:
        """Right ones, and all."""
        some = self.right[change] if change else [r for rs in self.right.values() for r in rs]
        return sum(some), len(some)


def run(quick: bool) -> list[Row]:
    if not RECORDINGS.exists():
        raise ImportError("there are no recordings; make recordings fetches them")
    with threadpool_limits(1), tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        inside, outside = choose(QUICK_S if quick else LONG_S)
        sounds = folder / "sounds"
        for path in inside:
            link = sounds / path.relative_to(RECORDINGS)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
        rows = building(sounds, folder)
        small, large = Index(folder / "int8"), Index(folder / "float32")
        return rows + asking(small, large, sounds, outside, 6 if quick else 34)


def choose(seconds: float) -> tuple[list[Path], list[Path]]:
    """Files of about equal length from each speaker and each game, `seconds` in all or more, and the others."""
    inside: list[Path] = []
    outside: list[Path] = []
    groups = sorted({p.parent for p in audio_files(RECORDINGS)})
    for group in groups:
        got = 0.0
        for path in audio_files(group):
            if got >= seconds / len(groups):
                outside.append(path)
                continue
            inside.append(path)
            with Reader(path) as file:
                got += file.length() / file.sample_rate
    return inside, outside


# ---- building ---------------------------------------------------------------------------------


def building(sounds: Path, folder: Path) -> list[Row]:
    """Builds both forms with one worker, and takes the same work apart."""
    took: dict[str, tuple[float, float]] = {}
    for dtype in ("int8", "float32"):
        cpu, wall = time.process_time(), time.perf_counter()
        report = build(sounds, folder / dtype, IndexSpec(dtype=dtype), jobs=1)  # type: ignore[arg-type]
        took[dtype] = time.process_time() - cpu, time.perf_counter() - wall
    length = report.seconds
    small, large = Index(folder / "int8"), Index(folder / "float32")
    head = 128  # bytes of a .npy header
    sizes = [i.bytes - head * len(i.manifest.shards) for i in (small, large)]
    cpu = time.process_time()
    LogMel(small, sounds)
    mel_s = time.process_time() - cpu
    cpu_s, wall_s = took["int8"]
    rows = [
        Row(
            bench="index",
            what=f"build of {length / 3600:.2f} h, {len(small.sources)} files, one worker",
            unit="x real time per core",
            ours=length / cpu_s,
            rival_name="librosa log-mel, same decoding",
            rival=length / mel_s,
            ratio=mel_s / cpu_s,
            target=">= 200",
            met=length / cpu_s >= 200,
            how="CPU time",
            extra={"wall, x real time": length / wall_s},
        ),
        Row(
            bench="index",
            what="size, float32 over int8",
            unit="x",
            ours=sizes[1] / sizes[0],
            target="4",
            met=sizes[1] == 4 * sizes[0],
            how="bytes of rows",
            extra={"int8 MB/h": sizes[0] / length * 3600e-6, "float32 MB/h": sizes[1] / length * 3600e-6},
        ),
    ]
    kinds = {"FLAC, 16 kHz, mono": "speech", "Ogg Vorbis, 44.1 kHz, stereo": "music"}
    return rows + [parts_row(name, sounds / kind, folder) for name, kind in kinds.items()]


def parts_row(name: str, sounds: Path, folder: Path) -> Row:
    """Seconds of sound per CPU second of each part of a build, over at most 5 minutes."""
    spec = IndexSpec()
    spent = dict.fromkeys(("decode", "resample and mix", "bank", "codes and writing"), 0.0)
    length, rows = 0.0, []
    for path in audio_files(sounds):
        if length > 300.0:
            break
        t0 = time.process_time()
        with Reader(path) as file:
            for _ in file.blocks(65536):
                pass
        t1 = time.process_time()
        blocks = list(stream_mono(path, spec.sample_rate))
        t2 = time.process_time()
        bank = spec.bank.bank(spec.sample_rate, spec.hop)
        rows += [spec.compress(bank.energies(x)) for x in blocks]
        spent["decode"] += t1 - t0
        spent["resample and mix"] += max(0.0, (t2 - t1) - (t1 - t0))
        spent["bank"] += time.process_time() - t2
        length += sum(map(len, blocks)) / spec.sample_rate
    t0 = time.process_time()
    values = np.concatenate(rows)
    write_rows(folder, "rows-part.npy", Quantiser.fit(values).quantise(values))
    spent["codes and writing"] += time.process_time() - t0
    return Row(
        bench="index",
        what=f"parts of the build, {name}",
        unit="x real time per core",
        ours=length / sum(spent.values()),
        how=f"CPU time; bound by: {max(spent, key=lambda k: spent[k])}",
        extra={part: length / s for part, s in spent.items()},
    )


# ---- asking -----------------------------------------------------------------------------------

_EVERY = 17  # every 17th query is timed; it has no factor in common with the number of changes


def asking(small: Index, large: Index, sounds: Path, outside: list[Path], places: int) -> list[Row]:
    queries = changed_copies(small, sounds, places)
    mel, waveform = LogMel(small, sounds), Waveform(small, sounds)
    searcher = Searcher(small, window_s=LENGTH)
    searcher.query(queries[0].clip)  # maps the files
    timed = {"int8": Asked(), "log-mel": Asked(), "waveform": Asked()}
    for q in track(queries[::_EVERY], "timed queries, in turns", transient=True):
        timed["int8"].ask(q, partial(exact, searcher, q), NEAR)
        timed["log-mel"].ask(q, partial(mel.find, q.clip), FRAME_NEAR)
        timed["waveform"].ask(q, partial(waveform.find, q.clip), NEAR)
    del waveform
    hours = small.seconds / 3600
    rows = [speed_row(hours, timed["int8"], timed[name], what) for name, what in RIVALS.items()]
    rows.append(recall_row("of the timed ones", timed["int8"], timed["waveform"], "waveform"))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(ask_all, i.folder, i.root, queries) for i in (small, large)]
        by_mel = Asked()
        for q in track(queries, "queries", transient=True):
            by_mel.ask(q, partial(mel.find, q.clip), FRAME_NEAR)
        (int8, int8_coarse), (float32, float32_coarse) = (job.result() for job in jobs)
    (right, count), (other, _) = int8.share(), float32.share()
    rows.append(recall_row("all changes", int8, float32, "float32 index"))
    rows[-1].target, rows[-1].met = "within 1 point", abs(right - other) <= 0.01 * count
    rows.append(recall_row("by features alone, within 20 ms", int8_coarse, float32_coarse, "float32 index"))
    rows.append(recall_row("by features alone, within 20 ms", int8_coarse, by_mel, "log-mel"))
    rows += [recall_row(c, int8, by_mel, "log-mel, within 20 ms", c) for c in CHANGES]
    rows.append(unknown_row(searcher, int8, strangers(outside, 2 * places)))
    return rows


RIVALS = {"log-mel": "log-mel, brute force", "waveform": "waveform, brute force by FFT"}


def ask_all(folder: Path, root: Path, queries: list[Query]) -> tuple[Asked, Asked]:
    """All queries in a process of its own: the answers, and what the features alone would say."""
    searcher = Searcher(Index(folder, root=root), window_s=LENGTH)
    whole, by_features = Asked(), Asked()
    with threadpool_limits(1):
        for q in queries:
            whole.ask(q, partial(exact, searcher, q), NEAR)
            by_features.ask(q, partial(coarse, searcher, q), FRAME_NEAR)
    return whole, by_features


def exact(searcher: Searcher, q: Query) -> tuple[str, float, float]:
    best = searcher.query(q.clip, top=2).matches[0]
    return best.path, best.index_sample, 1.0 if best.distance is None else best.distance


def coarse(searcher: Searcher, q: Query) -> tuple[str, float, float]:
    best = searcher.candidates(q.clip, 1)[0]
    return best.path, float(best.frame * searcher.index.spec.hop), 1.0 - best.similarity


def speed_row(hours: float, ours: Asked, rival: Asked, name: str) -> Row:
    mine, theirs = statistics.median(ours.cpu_s), statistics.median(rival.cpu_s)
    return Row(
        bench="index",
        what=f"a {LENGTH:g} s clip in {hours:.2f} h, int8, to the sample",
        unit="s CPU",
        ours=mine,
        rival_name=name,
        rival=theirs,
        ratio=theirs / mine,
        target="< 1 s",
        met=mine < 1.0,
        how=f"median of {len(ours.cpu_s)}, rival {len(rival.cpu_s)}",
        extra={
            "p95 CPU s": float(np.quantile(ours.cpu_s, 0.95)),
            "median wall s": statistics.median(ours.wall_s),
            "rival median wall s": statistics.median(rival.wall_s),
            "load": os.getloadavg()[0],
        },
    )


def recall_row(what: str, ours: Asked, rival: Asked, name: str, change: str | None = None) -> Row:
    off = np.array(ours.off[change] if change else [o for some in ours.off.values() for o in some])
    (right, count), (other, others) = ours.share(change), rival.share(change)
    low, high = wilson(right, count)
    return Row(
        bench="index",
        what=f"found first, {what}",
        unit="%",
        ours=100 * right / count,
        rival_name=name,
        rival=100 * other / others,
        how=f"{count} queries",
        extra={
            "95 % from": 100 * low,
            "to": 100 * high,
            "within 20 ms %": 100 * float(np.mean(off <= FRAME_NEAR)),
            "median off, samples": float(np.median(off)),
        },
    )


def unknown_row(searcher: Searcher, asked: Asked, clips: list[NDArray[np.float32]]) -> Row:
    """How often something not in the index is taken for found, and something in it is not."""
    answers = [searcher.query(clip, top=2) for clip in track(clips, "clips not in the index", transient=True)]
    distances = [a.matches[0].distance or 0.0 for a in answers]
    return Row(
        bench="index",
        what=f"clips not in the index that pass as found (distance <= {MATCH_DISTANCE:g})",
        unit="%",
        ours=100 * sum(a.found for a in answers) / len(answers),
        how=f"{len(clips)} clips",
        extra={
            "smallest distance": min(distances),
            "5 % quantile": float(np.quantile(distances, 0.05)),
            "in the index, 95 % quantile": float(np.quantile(asked.distance, 0.95)),
            "in the index, not passed %": 100 * float(np.mean(np.array(asked.distance) > MATCH_DISTANCE)),
        },
    )
