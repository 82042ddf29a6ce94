"""Finding a clip in an index: coarse by features at the hop, exact by states at every sample."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import CspaceError, ParameterError
from ..audio import require_sound
from .exact import Aligner, Alignment, read_passage
from .spec import FLATNESS, LONGEST_WINDOW_S, IndexSpec
from .store import Index, Shard, Source

F32 = NDArray[np.float32]

#: Seconds of a clip that are compared: enough to tell passages apart, short enough for clocks that
#: differ by 100 ppm.
WINDOW_S = 2.0
#: Shortest clip, in seconds.
SHORTEST_S = 0.2
#: Candidates of the coarse stage that are compared at all lags, and how many of these at least by their states.
CANDIDATES = 32
_REFINED = 3
#: A distance above this says that the clip is not in the index; measured in docs/lab-index.md.
MATCH_DISTANCE = 0.9
# Rows searched at a time: their products with the query stay in the second-level cache.
_BLOCK = 4096
# Frames around a candidate that are the same candidate.
_SAME = 2


@dataclass(frozen=True)
class Candidate:
    """A window of the index that the coarse stage found like the query's."""

    path: str
    frame: int
    #: Correlation of the features, −1 to 1.
    similarity: float


@dataclass(frozen=True)
class Match:
    """A passage of a recording that may be the clip."""

    #: Under the recordings' folder.
    path: str
    #: Where the clip's first sample lies, in samples of the recording's own rate (may be negative if
    #: the clip began before the recording), and in seconds.
    sample: int
    seconds: float
    #: The same in samples of the index's rate, with a fraction.
    index_sample: float
    #: 0 the same sound, 1 nothing in common; None if the recording could not be read again.
    distance: float | None
    similarity: float
    #: Level of the clip over the recording's; whether its sign is turned; how much faster it runs.
    gain_db: float | None = None
    inverted: bool = False
    rate_ppm: float | None = None


@dataclass(frozen=True)
class Answer:
    """What was found for one clip, best first."""

    matches: list[Match]
    #: The part of the clip that was compared, in seconds from its start.
    window_start_s: float
    window_s: float
    notes: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Whether the best match is near enough to be the clip's source."""
        best = self.matches[0].distance if self.matches else None
        return best is not None and best <= MATCH_DISTANCE

    @property
    def margin(self) -> float | None:
        """How much nearer the best match is than the second, 0 (as near) to 1; None with fewer than two."""
        near = [m.distance for m in self.matches if m.distance is not None]
        return 1.0 - near[0] / near[1] if len(near) > 1 and near[1] > 0.0 else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "found": self.found, "margin": self.margin}


class Searcher:
    """Answers queries from an index; keeps nothing of a query.

    Parameters
    ----------
    window_s : seconds of a clip that are compared, 0.2 to 10; the loudest such part of a longer clip
    candidates : how many of the coarse stage's are compared exactly
    """

    def __init__(self, index: Index, *, window_s: float = WINDOW_S, candidates: int = CANDIDATES):
        if not SHORTEST_S <= window_s <= LONGEST_WINDOW_S:
            raise ParameterError(f"window_s is {window_s:g}; it is {SHORTEST_S:g} to {LONGEST_WINDOW_S:g} seconds")
        if candidates < 1:
            raise ParameterError(f"candidates is {candidates}; it is 1 or more")
        self.index, self.window_s, self.count = index, window_s, candidates

    def query(self, clip: F32, name: str = "clip", *, top: int = 5) -> Answer:
        """The best matches of a mono clip at the index's rate [shape=(samples,)], float32.

        Raises AudioError for a clip that is shorter than 0.2 s or silent, ParameterError for `top`
        below 1, IndexFormatError for an index that turns out damaged.
        """
        if top < 1:
            raise ParameterError(f"top is {top}; it is 1 or more")
        spec = self.index.spec
        clip = np.nan_to_num(np.ascontiguousarray(clip, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        require_sound(clip, name, at_least=int(np.ceil(SHORTEST_S * spec.sample_rate)))
        start, window = loudest(clip, round(self.window_s * spec.sample_rate))
        require_sound(window, name)
        notes: list[str] = []
        matches = self._exact(self.candidates(window, max(self.count, top)), window, start, top, notes)
        return Answer(matches, start / spec.sample_rate, len(window) / spec.sample_rate, notes)

    def candidates(self, window: F32, count: int) -> list[Candidate]:
        """The windows of the index whose features are most like those of this one, best first."""
        q = self.index.spec.features(window)
        found = [c for shard in self.index.manifest.shards for c in self._shard(shard, q, count)]
        found.sort(key=lambda c: -c.similarity)
        kept: list[Candidate] = []
        for c in found:
            if len(kept) == count:
                break
            if not any(c.path == k.path and abs(c.frame - k.frame) <= _SAME for k in kept):
                kept.append(c)
        return kept

    def _shard(self, shard: Shard, q: F32, count: int) -> list[Candidate]:
        """The best local maxima of one shard."""
        pieces = sorted((p for p in shard.pieces if p.path in self.index.sources), key=lambda p: p.row)
        starts = np.full(shard.rows + 1, -2.0, np.float32)
        scores = np.empty(shard.rows, np.float32)
        length = len(q)
        if not any(p.frames >= length for p in pieces) or shard.rows < length:
            return []
        for at, part in similarities(self.index.rows(shard), shard, q):
            scores[at : at + len(part)] = part
        for p in pieces:
            last = p.row + p.frames - length + 1
            starts[p.row : max(p.row, last)] = scores[p.row : max(p.row, last)]
        starts = starts[:-1]
        top = (starts > -1.5) & (starts >= np.append(-2.0, starts[:-1])) & (starts >= np.append(starts[1:], -2.0))
        rows = np.flatnonzero(top)
        # Neighbours of equal height and the overlap of pieces can put one place there twice.
        if len(rows) > 4 * count:
            rows = rows[np.argpartition(-starts[rows], 4 * count)[: 4 * count]]
        begins = np.array([p.row for p in pieces])
        out = []
        for row in rows:
            piece = pieces[int(np.searchsorted(begins, row, "right")) - 1]
            out.append(Candidate(piece.path, piece.first_frame + int(row) - piece.row, float(starts[row])))
        return out

    def _exact(self, candidates: list[Candidate], window: F32, start: int, top: int, notes: list[str]) -> list[Match]:
        aligner = Aligner(self.index.spec, window)
        seen: list[tuple[Candidate, F32 | None, int, float]] = []
        for c in candidates:
            passage = self._passage(c, aligner, notes)
            if passage is None:
                seen.append((c, None, 0, -1.0))
                continue
            lags = np.abs(aligner.lags(passage))
            best = int(np.argmax(lags))
            seen.append((c, passage, best, float(lags[best])))
        seen.sort(key=lambda s: -s[3])
        results: list[tuple[Candidate, Alignment | None]] = []
        for c, passage, best, height in seen:
            rough = Alignment(best, float(np.sqrt(max(0.0, 1 - height**2))), 0.0, False)
            results.append((c, None if passage is None else rough))
        # Whatever is told is computed from the states; the lags only say what is worth it.
        told: list[int] = []
        wanted, refined = set(range(min(max(_REFINED, top), len(seen)))), set[int]()
        while wanted - refined:
            for i in sorted(wanted - refined):
                c, passage, best, _ = seen[i]
                results[i] = (c, None if passage is None else aligner.align(passage, best))
            refined |= wanted
            told = self._told(results, aligner, start)[:top]
            wanted = set(told)
        if told:
            (c, alignment), passage = results[told[0]], seen[told[0]][1]
            if alignment is not None and passage is not None:
                results[told[0]] = (c, aligner.with_rate(passage, alignment))
        return [self._match(*results[i], aligner, start) for i in told]

    def _told(self, results: list[tuple[Candidate, Alignment | None]], aligner: Aligner, start: int) -> list[int]:
        """Which results to tell, nearest first; one place of a recording only once."""
        kept: list[tuple[int, Match]] = []
        for i in sorted(range(len(results)), key=lambda i: _distance(results[i][1])):
            match = self._match(*results[i], aligner, start)
            if not any(m.path == match.path and abs(m.index_sample - match.index_sample) < 2.0 for _, m in kept):
                kept.append((i, match))
        return [i for i, _ in kept]

    def _passage(self, c: Candidate, aligner: Aligner, notes: list[str]) -> F32 | None:
        """The sound around a candidate; None, with a note, if the recording is not what was indexed."""
        spec, path = self.index.spec, self.index.source_path(c.path)
        why = changed(self.index, c.path)
        if why is None:
            try:
                return read_passage(
                    path, spec.sample_rate, c.frame * spec.hop - aligner.reach, aligner.length + 2 * aligner.reach
                )
            except CspaceError as e:
                why = str(e)
        if why not in notes:
            notes.append(why)
        return None

    def _match(self, c: Candidate, found: Alignment | None, aligner: Aligner, start: int) -> Match:
        spec, source = self.index.spec, self.index.sources[c.path]
        at = float(c.frame * spec.hop)
        if found is not None:
            at += found.offset - aligner.reach
        at -= start * (1.0 + 1e-6 * (found.rate_ppm or 0.0 if found else 0.0))
        seconds = at / spec.sample_rate
        match = Match(c.path, round(seconds * source.source_rate), seconds, at, None, c.similarity)
        if found is None:
            return match
        return replace(
            match,
            distance=found.distance,
            gain_db=found.gain_db,
            inverted=found.inverted,
            rate_ppm=found.rate_ppm,
        )


def similarities(rows: NDArray[Any], shard: Shard, q: F32) -> Iterator[tuple[int, F32]]:
    """Correlation of the query with the window at every row, block by block: (first row, values).

    Float queries against stored values: a block is decoded, multiplied with all the query's frames,
    and the products are summed along the diagonals. Means over the window are taken out of each
    channel, which takes out steady noise as well; levels fall out by the norms.
    """
    length, channels = q.shape
    floor = length * channels * FLATNESS**2
    query = q - q.mean(axis=0)
    query /= np.sqrt(np.sum(query**2) + floor)
    turned = np.ascontiguousarray(query.T)
    quantiser = shard.quantiser()
    for at in range(0, len(rows) - length + 1, _BLOCK):
        part = rows[at : at + _BLOCK + length - 1]
        block = quantiser.dequantise(part) if quantiser is not None else np.asarray(part)
        count = len(block) - length + 1
        products = block @ turned
        down, across = products.strides
        dots = np.lib.stride_tricks.as_strided(products, (count, length), (down, down + across)).sum(axis=1)
        squares = _windows(np.einsum("ij,ij->i", block, block)[:, None], length)[:, 0]
        means = _windows(block, length)
        power = squares - np.einsum("ij,ij->i", means, means) / length
        yield at, (dots / np.sqrt(np.maximum(power, 0.0) + floor)).astype(np.float32)


def _windows(x: F32, length: int) -> NDArray[np.float64]:
    """Sums over all windows of `length` rows."""
    sums = np.zeros((len(x) + 1, x.shape[1]))
    np.cumsum(x, axis=0, out=sums[1:])
    return sums[length:] - sums[:-length]


def loudest(x: F32, length: int) -> tuple[int, F32]:
    """The loudest part of a clip of `length` samples, and where it starts; the whole of a shorter one."""
    if len(x) <= length:
        return 0, x
    step = max(1, length // 100)
    blocks = x[: len(x) // step * step].reshape(-1, step)
    power = np.concatenate([[0.0], np.cumsum(np.einsum("ij,ij->i", blocks, blocks), dtype=np.float64)])
    whole = length // step
    start = min(int(np.argmax(power[whole:] - power[:-whole])) * step, len(x) - length)
    return start, x[start : start + length]


def changed(index: Index, path: str) -> str | None:
    """Why a recording cannot be compared again, in words; None if it is as it was indexed."""
    source: Source = index.sources[path]
    with contextlib.suppress(OSError, ValueError):  # ValueError: a name no file can have
        status = index.source_path(path).stat()
        if (status.st_size, status.st_mtime_ns) == (source.bytes, source.mtime_ns):
            return None
        return f"{path}: has changed since it was indexed, so it is not compared exactly; build again"
    return f"{path}: is no longer in {index.root}, so it is not compared exactly; say --root if it was moved"


def _distance(found: Alignment | None) -> float:
    return 2.0 if found is None else found.distance


__all__ = ["MATCH_DISTANCE", "Answer", "Candidate", "IndexSpec", "Match", "Searcher"]
