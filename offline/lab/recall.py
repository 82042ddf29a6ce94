"""Recall at 1 of per-sample search on changed copies of recordings: CSpace against every baseline.

For each recording and each change, rows at the same places of the copy are searched among the rows of
all samples of the original. A hit is exact when the match is the sample nearest to the true place,
and near when it lies within ± 2 samples of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...audiofile import Reader
from ...plugins._errors import AudioError
from ..audio import F32, audio_files, load_mono, normalise_peak
from .descriptors import I64, Descriptor
from .perturb import Change, active_power, change
from .search import choose_places, nearest

Bools = NDArray[np.bool_]

#: Settings were found on these …
TUNING = ("speech/en", "music/wesnoth")
#: … and are reported on these, which took no part in that.
REPORT = ("speech/es", "speech/fr", "speech/it", "speech/ru", "music/planetblupi")

CONDITIONS: dict[str, Change] = {
    "noise 40 dB": Change(noise_db=40.0),
    "noise 20 dB": Change(noise_db=20.0),
    "noise 10 dB": Change(noise_db=10.0),
    "noise 0 dB": Change(noise_db=0.0),
    "gain +6 dB": Change(gain_db=6.0),
    "100 ppm": Change(resample_ppm=100.0),
    "MP3 64 kbit/s": Change(codec="mp3"),
    "GSM": Change(codec="gsm"),
}
NEAR = 2
_EDGE_S = 0.1


@dataclass
class Piece:
    """Some seconds of a recording, peak-normalised."""

    samples: F32
    name: str
    group: str
    start_s: float


def gather(
    folder: Path, groups: tuple[str, ...], sample_rate: int, *, per_group: int, seconds: float, seed: int
) -> list[Piece]:
    """`per_group` pieces of `seconds` from recordings of each group (a folder below `folder`), drawn by `seed`.

    Recordings shorter than that, and pieces of which less than a third is active, are passed over.
    Groups: `()` takes all files as one group. Raises AudioError where a group has no such recording.
    """
    rng = np.random.default_rng(seed)
    pieces: list[Piece] = []
    for group in groups or ("",):
        files = audio_files(folder / group)
        found = 0
        for k in rng.permutation(len(files)).tolist():
            if found == per_group:
                break
            piece = _cut(files[k], group, sample_rate, seconds, rng)
            if piece is not None:
                pieces.append(piece)
                found += 1
        if not found:
            raise AudioError(f"{folder / group}: no recording of at least {seconds:g} s with sound in it")
    return pieces


def _cut(path: Path, group: str, sample_rate: int, seconds: float, rng: np.random.Generator) -> Piece | None:
    from .perturb import active_samples

    with Reader(path) as file:
        length_s = file.length() / file.sample_rate
    if length_s < seconds:
        return None
    # Of long music at most the first five minutes are decoded.
    room = min(length_s, 300.0) - seconds
    start_s = float(rng.uniform(0.0, room)) if room > 0 else 0.0
    clip = load_mono(path, sample_rate, seconds=min(length_s, start_s + seconds + 0.1))
    first = round(start_s * sample_rate)
    x = clip.samples[first : first + round(seconds * sample_rate)]
    if len(x) < seconds * sample_rate - 2 or not np.max(np.abs(x)) > 1e-3:
        return None
    x = normalise_peak(x)
    if active_samples(x, sample_rate).mean() < 1 / 3:
        return None
    return Piece(np.ascontiguousarray(x), path.name, group, start_s)


@dataclass
class Cell:
    """Match minus truth of one descriptor under one change, in samples, query by query."""

    errors: list[float] = field(default_factory=list)


@dataclass
class Study:
    """All hits: `cells[places][descriptor][condition]`; `piece_of[places]` says which piece a query is from."""

    conditions: list[str]
    dims: dict[str, int]
    cells: dict[str, dict[str, dict[str, Cell]]]
    piece_of: dict[str, list[int]]
    pieces: list[Piece]
    notes: list[str]

    def hits(self, places: str, descriptor: str, condition: str, kind: str) -> Bools:
        """One bool per query, `kind` exact or near."""
        errors = np.abs(self.cells[places][descriptor][condition].errors)
        return np.asarray(errors <= (0.5 if kind == "exact" else NEAR + 0.5), bool)


def run(
    pieces: list[Piece],
    descriptors: list[Descriptor],
    sample_rate: int,
    *,
    conditions: dict[str, Change] | None = None,
    active: int = 8,
    anywhere: int = 6,
    seed: int = 42,
    advance: Callable[[], None] | None = None,
) -> Study:
    """Searches `active` active and `anywhere` arbitrary places of each piece under each change.

    advance : called after each piece and descriptor
    """
    changes = CONDITIONS if conditions is None else conditions
    kinds = {"active": active, "anywhere": anywhere}
    study = Study(
        list(changes),
        {d.name: d.dims for d in descriptors},
        {p: {d.name: {c: Cell() for c in changes} for d in descriptors} for p in kinds},
        {p: [] for p in kinds},
        pieces,
        [],
    )
    for k, piece in enumerate(pieces):
        rng = np.random.default_rng([seed, k])
        margin = min(round(_EDGE_S * sample_rate), len(piece.samples) // 8)
        chosen = {
            p: choose_places(piece.samples, sample_rate, n, rng, active=p == "active", margin=margin)
            for p, n in kinds.items()
        }
        for p, places in chosen.items():
            study.piece_of[p] += [k] * len(places)
        # Each change has its own noise in each piece, the same for all descriptors.
        asked = [
            _Asked(piece, w.model_copy(update={"seed": seed * 1000 + k}), sample_rate, chosen, study.notes)
            for w in changes.values()
        ]
        for d in descriptors:
            queries = np.concatenate([d.at(a.samples, a.places) for a in asked])
            match = nearest(d, piece.samples, queries, rivals=0).match
            at = 0
            for name, a in zip(changes, asked, strict=True):
                for p, places in chosen.items():
                    study.cells[p][d.name][name].errors += (match[at : at + len(places)] - a.truth[p]).tolist()
                    at += len(places)
            if advance is not None:
                advance()
    return study


class _Asked:
    """The places asked for in one changed copy, and where they truly lie in the original."""

    def __init__(self, piece: Piece, what: Change, sample_rate: int, chosen: dict[str, I64], notes: list[str]) -> None:
        copy = change(piece.samples, sample_rate, what)
        self.samples = copy.samples
        notes += [f"{piece.name}: {n}" for n in copy.notes]
        wanted = {p: np.array([round(copy.to_copy(i)) for i in v.tolist()], np.int64) for p, v in chosen.items()}
        self.truth = {p: np.array([copy.to_original(i) for i in v.tolist()]) for p, v in wanted.items()}
        self.places = np.concatenate(list(wanted.values()))


# ---- figures ---------------------------------------------------------------------------------


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share [1]_.

    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
       J. Am. Stat. Assoc. 22 (1927), p. 209.
    """
    if count == 0:
        return 0.0, 1.0
    p = hits / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def difference(a: Bools, b: Bools, piece_of: list[int], *, seed: int = 1, rounds: int = 4000) -> tuple[float, float]:
    """95 % interval of the mean of a − b over the same queries, by drawing whole pieces with repetition.

    Queries of one recording are alike; drawing recordings, not queries, keeps the interval honest.
    """
    which = np.asarray(piece_of)
    names = np.unique(which)
    d = a.astype(float) - b.astype(float)
    sums = np.array([d[which == n].sum() for n in names])
    counts = np.array([(which == n).sum() for n in names])
    drawn = np.random.default_rng(seed).integers(0, len(names), (rounds, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def verdict(a: Bools, b: Bools, piece_of: list[int]) -> str:
    """`won`, `lost` or `level`: whether the 95 % interval of a − b lies above 0, below it, or holds it."""
    low, high = difference(a, b, piece_of)
    return "won" if low > 0.0 else "lost" if high < 0.0 else "level"


def figures(study: Study) -> Iterator[dict[str, object]]:
    """One row per kind of places, descriptor and change: shares in percent with their intervals."""
    for p, table in study.cells.items():
        for name, cells in table.items():
            for condition in cells:
                row: dict[str, object] = {
                    "places": p,
                    "descriptor": name,
                    "dims": study.dims[name],
                    "condition": condition,
                }
                for kind in ("exact", "near"):
                    hits = study.hits(p, name, condition, kind)
                    low, high = wilson(int(hits.sum()), len(hits))
                    row |= {
                        "queries": len(hits),
                        f"{kind}_percent": 100.0 * float(hits.mean()) if len(hits) else None,
                        f"{kind}_low": 100.0 * low,
                        f"{kind}_high": 100.0 * high,
                    }
                row["errors_samples"] = [round(e, 3) for e in cells[condition].errors]
                yield row


def active_level_db(piece: Piece, sample_rate: int) -> float:
    """Level of the active part, dB full scale."""
    return 10.0 * float(np.log10(max(active_power(piece.samples, sample_rate), 1e-12)))
