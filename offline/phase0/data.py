"""Which utterances there are, and who speaks them: step `prepare`."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...audiofile import Reader
from ...plugins._errors import AudioError, FileError
from ...textfile import read_text
from ...wholefile import whole
from ..audio import audio_files
from .config import Phase0Config

UTTERANCES = "utterances.parquet"


@dataclass(frozen=True)
class Utterance:
    """A recording of one speaker. A synthetic one has no path."""

    utterance_id: str
    speaker_id: str
    audio_path: str
    duration_sec: float


@dataclass(frozen=True)
class Prepared:
    """What was found, and what was left out, in words."""

    utterances: list[Utterance]
    left_out: list[str]


def prepare(config: Phase0Config) -> Prepared:
    """Lists the utterances of a data set, in the order of their ids.

    Raises FileError or AudioError for data that cannot be used: unreadable files, no speakers, ids that occur twice.
    """
    kind: str = config.data.kind
    if kind == "synthetic":
        return Prepared(_synthetic(config), [])
    if kind == "auto":
        kind = _looks_like(config.data.path)
    found = {"librispeech": _librispeech, "folder": _folder, "csv": _csv}[kind](config.data.path)
    twice = [name for name, count in Counter(f[0] for f in found).items() if count > 1]
    if twice:
        raise FileError(f"{config.data.path}: utterance {twice[0]!r} occurs twice; ids must differ")
    utterances, short, empty, faulty = [], 0, [], []
    for name, speaker, path in found:
        with Reader(path) as file:
            seconds = file.length() / file.sample_rate
            faulty += [f"{name} {words}" for words in file.warnings[:1]]
        if not seconds:
            empty.append(name)
        elif seconds < config.data.min_seconds:
            short += 1
        else:
            utterances.append(Utterance(name, speaker, str(path), seconds))
    left_out = []
    if short:
        left_out.append(f"{short} of {len(found)} utterances are shorter than {config.data.min_seconds:g} s")
    if empty:
        left_out.append(f"{len(empty)} utterances have no samples, such as {empty[0]}")
    if faulty:
        left_out.append(f"{len(faulty)} recordings are used as far as they go, such as {faulty[0]}")
    utterances = _at_most(utterances, config.data.max_utterances_per_speaker, config.seed)
    if not utterances:
        raise AudioError(f"{config.data.path}: no utterance is left ({'; '.join(left_out)})")
    return Prepared(sorted(utterances, key=lambda u: u.utterance_id), left_out)


def _looks_like(path: Path) -> str:
    if path.suffix.lower() == ".csv":
        return "csv"
    if not path.is_dir():
        raise FileError(
            f"{path}: is neither a folder of recordings nor a .csv; `make recordings` makes the default one"
        )
    first = audio_files(path)[0]
    speaker, _, rest = first.stem.partition("-")
    return "librispeech" if rest and first.suffix == ".flac" and first.parent.parent.name == speaker else "folder"


def _librispeech(root: Path) -> list[tuple[str, str, Path]]:
    files = [p for p in audio_files(root) if p.suffix.lower() == ".flac"]
    out = []
    for path in files:
        speaker, _, rest = path.stem.partition("-")
        if not rest or path.parent.parent.name != speaker:
            raise FileError(f"{path}: is not LibriSpeech's layout, speaker/chapter/speaker-chapter-number.flac")
        out.append((path.stem, speaker, path))
    if not out:
        raise FileError(f"{root}: has no .flac files in LibriSpeech's layout")
    return out


def _folder(root: Path) -> list[tuple[str, str, Path]]:
    if not root.is_dir():
        raise FileError(f"{root}: is not a folder; data.path is one with a sub-folder for each speaker")
    out = []
    for path in audio_files(root):
        parts = path.relative_to(root).with_suffix("").parts
        if len(parts) < 2:
            raise FileError(
                f"{path}: lies beside the speakers' folders; each recording belongs into its speaker's folder"
            )
        out.append(("/".join(parts), parts[0], path))
    return out


def _csv(path: Path) -> list[tuple[str, str, Path]]:
    out = []
    try:
        with io.StringIO(read_text(path), newline="") as file:
            rows = csv.DictReader(file)
            missing = {"audio_path", "speaker_id"} - set(rows.fieldnames or ())
            if missing:
                raise FileError(f"{path}: has no column {' and '.join(sorted(missing))}; it has {rows.fieldnames}")
            for row in rows:
                if not row["audio_path"] or not row["speaker_id"]:
                    raise FileError(f"{path}: line {rows.line_num} has no audio_path or no speaker_id")
                name = row.get("utterance_id") or "/".join(
                    part for part in Path(row["audio_path"]).with_suffix("").parts if part not in ("..", "/")
                )
                out.append((name, row["speaker_id"], path.parent / row["audio_path"]))
    except FileError:
        raise
    except csv.Error as e:
        raise FileError(f"{path}: cannot be read as CSV: {e}") from None
    if not out:
        raise FileError(f"{path}: lists no utterances")
    return out


def _synthetic(config: Phase0Config) -> list[Utterance]:
    s = config.encoder.synthetic
    seconds = s.frames / s.frame_rate_hz
    return [
        Utterance(f"speaker{k:04d}-{i:05d}", f"speaker{k:04d}", "", seconds)
        for k in range(s.speakers)
        for i in range(s.utterances_per_speaker)
    ]


def _at_most(utterances: list[Utterance], most: int | None, seed: int) -> list[Utterance]:
    if most is None:
        return utterances
    by_speaker: dict[str, list[Utterance]] = {}
    for u in sorted(utterances, key=lambda u: u.utterance_id):
        by_speaker.setdefault(u.speaker_id, []).append(u)
    rng = np.random.default_rng(seed)
    return [
        spoken[i]
        for _, spoken in sorted(by_speaker.items())
        for i in sorted(rng.permutation(len(spoken))[:most].tolist())
    ]


def write_utterances(folder: Path, utterances: list[Utterance]) -> None:
    """Writes the list, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema: Any = pa.schema(
        [
            ("utterance_id", pa.string()),
            ("speaker_id", pa.string()),
            ("audio_path", pa.string()),
            ("duration_sec", pa.float64()),
        ]
    )
    with whole(folder / UTTERANCES) as part:
        pq.write_table(pa.Table.from_pylist([asdict(u) for u in utterances], schema=schema), part)


def read_utterances(folder: Path) -> list[Utterance]:
    """The list that `prepare` wrote. Raises FileError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / UTTERANCES
    if not path.is_file():
        raise FileError(f"{path}: is not there; run `cspace phase0 prepare` first")
    try:
        return [Utterance(**row) for row in pq.read_table(path).to_pylist()]
    except (OSError, TypeError, pa.ArrowException) as e:
        raise FileError(f"{path}: is not a list of utterances: {e}") from None
