"""k-means: starts on a sample, then passes over everything, in bounded memory.

k-means++ (Arthur and Vassilvitskii, SODA 2007) and Lloyd's iterations. The nearest centre is found from
|x|² + |c|² − 2 x·c, a matrix product, never from a table of all differences.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frames import FramesError
from .work import Workers

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

#: Numbers in the table of distances that is made at once.
TABLE = 1 << 21
#: Share of the sum of squares an iteration must gain for another one.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class KMeans:
    """Centres, and how they came about. Inertia is the mean squared distance to the own centre."""

    centres: F32
    inertia: float
    best_start: int
    iterations: int
    full_passes: int


def nearest(x: F32, centres: F32) -> tuple[I32, F32]:
    """Own centre and squared distance to it [shape=(n,) each]; of centres equally near, the first."""
    shift = centres.mean(axis=0)  # far from 0 the difference of large squares would lose its digits
    c = centres - shift
    half = np.einsum("ij,ij->i", c, c) / 2
    ids = np.empty(len(x), np.int32)
    distance = np.empty(len(x), np.float32)
    step = max(1, TABLE // len(c))
    for i in range(0, len(x), step):
        y = x[i : i + step] - shift
        score = half - y @ c.T
        best = np.argmin(score, axis=1)
        ids[i : i + step] = best
        square = np.einsum("ij,ij->i", y, y) + 2 * score[np.arange(len(y)), best]
        distance[i : i + step] = np.maximum(square, 0)
    return ids, distance


def group_sums(x: NDArray[Any], ids: NDArray[Any], count: int) -> F64:
    """Sums of rows by id [shape=(count, D)], in double precision; ids below 0 are left out."""
    from scipy import sparse

    rows = np.flatnonzero(ids >= 0)
    one = sparse.csr_matrix((np.ones(len(rows)), (ids[rows], rows)), shape=(count, len(x)))
    sums: F64 = np.asarray(one @ x.astype(np.float64, copy=False))
    return sums


def plus_plus(x: F32, k: int, rng: np.random.Generator) -> F32:
    """Picks k rows of x, each drawn with the square of its distance to those before."""
    square = np.einsum("ij,ij->i", x, x)
    chosen = [int(rng.integers(len(x)))]
    near: F64 = np.full(len(x), np.inf)
    for _ in range(1, k):
        c = x[chosen[-1]]
        near = np.minimum(near, np.maximum(square + c @ c - 2 * (x @ c), 0.0))
        total = near.sum()
        if total <= 0.0:
            raise FramesError(f"{len(x)} windows have fewer than {k} different contexts; ask for fewer clusters")
        chosen.append(int(np.searchsorted(np.cumsum(near), rng.uniform() * total).clip(0, len(x) - 1)))
    return x[chosen].copy()


def lloyd(x: F32, centres: F32, iterations: int) -> tuple[F32, float, int]:
    """Iterations until the sum of squares stands still; a centre that lost all its rows goes to the farthest row."""
    before = np.inf
    inertia, done = 0.0, 0
    while done < iterations:
        done += 1
        ids, distance = nearest(x, centres)
        inertia = float(distance.mean(dtype=np.float64))
        if before - inertia <= TOLERANCE * inertia:
            break
        before = inertia
        counts = np.bincount(ids, minlength=len(centres))
        sums = group_sums(x, ids, len(centres))
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres).astype(np.float32)
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            centres[empty] = x[np.argsort(-distance, kind="stable")[: len(empty)]]
    return centres, inertia, done


def _start(number: int, x: F32, k: int, iterations: int, seed: int) -> tuple[F32, float, int]:
    mean = x.mean(axis=0)
    y = x - mean
    centres, inertia, done = lloyd(y, plus_plus(y, k, np.random.default_rng([seed, number])), iterations)
    return centres + mean, inertia, done


def fit_sample(x: F32, k: int, *, starts: int, iterations: int, seed: int, threads: int) -> KMeans:
    """The best of some starts on rows in memory [shape=(n, D)]. Raises FramesError for fewer rows than clusters."""
    if len(x) < k:
        raise FramesError(f"{len(x)} windows are too few for {k} clusters")
    best: KMeans | None = None
    with Workers(threads) as workers:
        for number, (centres, inertia, done) in enumerate(workers.map(_start, range(starts), x, k, iterations, seed)):
            if best is None or inertia < best.inertia:
                best = KMeans(centres, inertia, number, done, 0)
    assert best is not None
    return best


def refine(found: KMeans, sums_of: Any, most: int) -> KMeans:
    """Lloyd's iterations over everything: `sums_of(centres)` gives blocks of (sums, counts, sum of squares)."""
    centres, inertia, done = found.centres, found.inertia, 0
    before = np.inf
    while done < most:
        done += 1
        sums, counts, square = np.zeros(centres.shape), np.zeros(len(centres)), 0.0
        blocks: Iterator[tuple[F64, F64, float]] = sums_of(centres)
        for part, count, part_square in blocks:
            sums, counts, square = sums + part, counts + count, square + part_square
        inertia = square / counts.sum()
        if before - inertia <= TOLERANCE * inertia:
            break
        before = inertia
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres).astype(np.float32)
    return KMeans(centres, inertia, found.best_start, found.iterations, done)
