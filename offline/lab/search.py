"""Per-sample search: the nearest row of a whole sound to rows of a changed copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio import F32
from ..config import LabConfig
from .descriptors import F64, I64, Descriptor
from .perturb import Copy, active_samples

_BIN = 32  # samples whose best distance is kept, to find the next-best place
# Share of |S|² + |q|² that a sum of up to 2000 float32 products may be off by: four times √2000 roundings of 2⁻²⁴.
_LOST = 1e-5
_SLICE = 1024  # rows measured again at once
_TOGETHER = 512  # queries compared at once
_SPARE = 6  # bins kept besides those that `guard` may take away

Advance = Callable[[int], None]


@dataclass
class Found:
    """What a search found for each query [shape=(queries,)]."""

    match: I64
    distance: F64
    #: Smallest distance at least `guard` samples away from the match, to within bins of 32 samples
    #: [shape=(rivals,)]; inf where nothing is so far away.
    next_best: F64


def nearest(
    descriptor: Descriptor,
    x: F32,
    queries: F32,
    *,
    guard: int = 32,
    rivals: int | None = None,
    exclude: NDArray[np.int64] | None = None,
    advance: Advance | None = None,
) -> Found:
    """The nearest of all samples of `x` to each query, by Euclidean distance of rows.

    Blocks of rows are compared with all queries at once (|S|² + |q|² − 2 S·q about the queries' mean, by
    BLAS, float32); the candidates that this leaves, for the match and for the next best, are measured
    again as |S − q|, in float64, so that cancellation decides nothing. Memory: a block of rows and its
    distances from 512 queries, some 150 MB whatever the length of `x`.

    Parameters
    ----------
    queries : rows of `descriptor.at` on the changed copy [shape=(queries, dims)]
    guard : samples either side of the match that are no rival to it
    rivals : of how many queries the next best is wanted, from the first; None for all
    exclude : first and one past the last sample each query must not match [shape=(queries, 2)]
    advance : told the number of samples done, block by block
    """
    count = len(queries)
    wide = queries.astype(np.float64)
    # What all rows share, such as a constant, cancels in the products too: it is taken out before.
    middle = wide.mean(axis=0).astype(np.float32) if count else np.zeros(descriptor.dims, np.float32)
    asked = queries - middle
    q2 = np.einsum("ij,ij->i", asked, asked, dtype=np.float64)
    match = np.full(count, -1, np.int64)
    best = np.full(count, np.inf)  # squared
    wanted = count if rivals is None else min(rivals, count)
    near = _Nearest(wide[:wanted], guard)
    first = 0
    for rows in descriptor.blocks(x):
        about = rows - middle
        s2 = np.einsum("ij,ij->i", about, about)
        for some in (slice(k, min(k + _TOGETHER, count)) for k in range(0, count, _TOGETHER)):
            d2 = about @ asked[some].T
            d2 *= -2.0
            d2 += s2[:, None]
            d2 += q2[some].astype(np.float32)
            if exclude is not None:
                for k, (low, high) in enumerate(exclude[some].tolist()):
                    d2[max(0, low - first) : max(0, high - first), k] = np.inf
            _keep_nearest(rows, s2, d2, first, wide[some], q2[some], match[some], best[some])
            near.keep(rows, s2, d2[:, : max(0, wanted - some.start)], first, q2, some.start)
        first += len(rows)
        if advance is not None:
            advance(len(rows))
    return Found(match, np.sqrt(best), near.next_best(match))


def _keep_nearest(rows: F32, s2: F32, d2: F32, first: int, wide: F64, q2: F64, match: I64, best: F64) -> None:
    """Measures the candidates of one block again, and keeps in `match` and `best` what is nearer than so far."""
    lowest = d2.min(axis=0)
    in_doubt = lowest <= best + _LOST * (q2 + float(s2.max(initial=0.0)))
    for k in np.flatnonzero(in_doubt).tolist():
        lost = _LOST * (s2 + q2[k])
        bound = min(float(np.min(d2[:, k] + lost)), best[k])
        near = np.flatnonzero(d2[:, k] - lost <= bound)
        for part in np.split(near, range(_SLICE, len(near), _SLICE)):
            exact = np.sum((rows[part] - wide[k]) ** 2, axis=1)
            exact[np.isinf(d2[part, k])] = np.inf
            j = int(np.argmin(exact)) if len(part) else 0
            if len(part) and exact[j] < best[k]:
                best[k], match[k] = exact[j], first + part[j]


class _Nearest:
    """The bins of 32 samples that come nearest to each query, measured in float64."""

    def __init__(self, wide: F64, guard: int) -> None:
        self.wide, self.guard = wide, guard
        kept = 2 * guard // _BIN + 3 + _SPARE
        self.squares = np.full((len(wide), kept), np.inf)
        self.starts = np.zeros((len(wide), kept), np.int64)

    def keep(self, rows: F32, s2: F32, d2: F32, first: int, q2: F64, begin: int) -> None:
        """Takes in one block: `d2` from the queries `begin` … [shape=(rows, queries)]."""
        edges = np.unique(np.concatenate([[0], np.arange(-first % _BIN, len(d2), _BIN), [len(d2)]]))
        lowest = np.minimum.reduceat(d2, edges[:-1], axis=0) if d2.size else np.zeros((0, 0), np.float32)
        largest = float(s2.max(initial=0.0))
        for j in range(lowest.shape[1]):
            k, low = begin + j, lowest[:, j].astype(np.float64)
            lost, kept = _LOST * (largest + q2[k]), self.squares.shape[1]
            # No bin above the last of those kept so far or sure to be kept now.
            bound = np.partition(np.concatenate([self.squares[k], low + lost]), kept - 1)[kept - 1]
            maybe = np.flatnonzero((low - lost <= bound) & np.isfinite(low))
            if len(maybe) > 2 * kept:  # long silence: any of them is as near as the others
                maybe = maybe[np.argpartition(low[maybe], 2 * kept)[: 2 * kept]]
            squares, starts = [*self.squares[k]], [*self.starts[k]]
            for part in (slice(edges[i], edges[i + 1]) for i in maybe):
                exact = np.sum((rows[part] - self.wide[k]) ** 2, axis=1)
                squares.append(float(np.min(exact[np.isfinite(d2[part, j])])))
                starts.append(first + part.start)
            order = np.argsort(squares, kind="stable")[:kept]
            self.squares[k], self.starts[k] = np.array(squares)[order], np.array(starts)[order]

    def next_best(self, match: I64) -> F64:
        """The smallest distance to each query outside the bins that lie within `guard` samples of its match."""
        m = match[: len(self.wide), None]
        bins = self.starts // _BIN
        away = (bins < np.maximum(0, m - self.guard) // _BIN) | (bins > (m + self.guard) // _BIN)
        found: F64 = np.sqrt(np.min(np.where(away, self.squares, np.inf), axis=1, initial=np.inf))
        return found


@dataclass
class Curve:
    """Distance of one query from every sample [shape=(samples,), float32], whole and by halves."""

    total: F32
    #: None where the descriptor has no two halves.
    forward: F32 | None
    match: int

    def backward(self, part: slice) -> F32 | None:
        """Distance in the half that looks ahead: d² = d_fwd² + d_bwd²."""
        if self.forward is None:
            return None
        return np.asarray(np.sqrt(np.maximum(self.total[part] ** 2 - self.forward[part] ** 2, 0.0)), np.float32)


def distance_curve(
    descriptor: Descriptor,
    x: F32,
    query: F32,
    *,
    exclude: tuple[int, int] | None = None,
    advance: Advance | None = None,
) -> Curve:
    """Distances of one query [shape=(dims,)] from all samples; 4 or 8 bytes per sample are kept."""
    split = descriptor.forward_dims
    halves = 0 < split < descriptor.dims
    total = np.empty(len(x), np.float32)
    forward = np.empty(len(x), np.float32) if halves else None
    first = 0
    for rows in descriptor.blocks(x):
        difference = rows - query
        np.square(difference, out=difference)
        part = slice(first, first + len(rows))
        total[part] = np.sqrt(difference.sum(axis=1))
        if forward is not None:
            forward[part] = np.sqrt(difference[:, :split].sum(axis=1))
        first += len(rows)
        if advance is not None:
            advance(len(rows))
    if exclude is None:
        return Curve(total, forward, int(np.argmin(total)))
    low, high = max(0, exclude[0]), min(len(x), exclude[1])
    left = int(np.argmin(total[:low])) if low > 0 else -1
    right = high + int(np.argmin(total[high:])) if high < len(x) else -1
    ends = [i for i in (left, right) if i >= 0]
    return Curve(total, forward, min(ends, key=lambda i: total[i]) if ends else -1)


def choose_places(
    x: F32, sample_rate: int, count: int, rng: np.random.Generator, *, active: bool = True, margin: int = 0
) -> I64:
    """Samples drawn without repetition, `margin` from either end, rising; `active`: only where the sound is active."""
    allowed = active_samples(x, sample_rate) if active else np.ones(len(x), bool)
    allowed[:margin] = False
    allowed[len(x) - margin :] = False
    # Ranks among the allowed samples, then the samples: a list of all of them would take 8 bytes each.
    rank = np.cumsum(allowed, dtype=np.int32)
    total = int(rank[-1]) if len(x) else 0
    drawn = rng.choice(total, min(count, total), replace=False)
    return np.sort(np.searchsorted(rank, drawn + 1)).astype(np.int64)


def places_asked(x: F32, copy: Copy, config: LabConfig, index: int, queries: int) -> tuple[I64, F64]:
    """Samples of the copy to ask with, and where in the original each lies: that of `index`, then of active places.

    The places are drawn by the settings' seed; there are fewer than `queries` in a short or mostly silent sound.
    """
    rng = np.random.default_rng(config.seed)
    places = choose_places(x, config.sample_rate, queries, rng, margin=min(2400, len(x) // 8))
    asked = np.array([round(copy.to_copy(i)) for i in [index, *places.tolist()]], np.int64)
    asked = np.clip(asked, 0, len(copy.samples) - 1)
    return asked, np.array([copy.to_original(i) for i in asked.tolist()])
