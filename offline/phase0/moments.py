"""Sums of z-scored steps by group, from which every figure follows. All of them add up over blocks and dimensions.

A labelling gives each row of a split a group or −1. For each group: how many rows, Σ z per dimension, Σ |z|² and,
where spreads are wanted, Σ z² per dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import fits
from .frames import Block
from .kmeans import group_sums
from .work import Workers

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

#: Bytes of sums that are held; more groups than fit are summed over a part of the dimensions at a time.
SUMS_BYTES = 512 << 20
#: Variances are at least this, in z-scored units.
VARIANCE_FLOOR = 1e-10


@dataclass(frozen=True)
class Labels:
    """A labelling of a split's rows [shape=(rows,)] with groups 0 … groups − 1, or −1 for rows that do not count."""

    groups: I32
    count: int
    spreads: bool


@dataclass
class Sums:
    """Of each group: rows, Σ |z|² [shape=(groups,)], Σ z and Σ z² [shape=(groups, dimensions)]."""

    n: F64
    square: F64
    sums: F64
    squares: F64 | None

    @classmethod
    def zeros(cls, labels: Labels, dims: int) -> Sums:
        """Nothing yet."""
        g = labels.count
        return cls(np.zeros(g), np.zeros(g), np.zeros((g, dims)), np.zeros((g, dims)) if labels.spreads else None)

    def add(self, groups: I64, part: Sums) -> None:
        """Adds the sums of some groups."""
        self.n[groups] += part.n
        self.square[groups] += part.square
        self.sums[groups] += part.sums
        if self.squares is not None and part.squares is not None:
            self.squares[groups] += part.squares

    def gathered(self, groups: list[I64]) -> Sums:
        """Sums of groups of groups: entry k of the answer is the sum over the k-th of each list."""
        return Sums(
            np.sum([self.n[g] for g in groups], axis=0),
            np.sum([self.square[g] for g in groups], axis=0),
            np.sum([self.sums[g] for g in groups], axis=0),
            None if self.squares is None else np.sum([self.squares[g] for g in groups], axis=0),
        )


def dimension_parts(dims: int, labels: list[Labels]) -> list[slice]:
    """Parts of the dimensions whose sums fit into SUMS_BYTES."""
    each = sum(lab.count * 8 * (2 if lab.spreads else 1) for lab in labels) * 2  # and those of the speaker in hand
    size = max(1, min(dims, SUMS_BYTES // max(1, each)))
    return [slice(i, min(i + size, dims)) for i in range(0, dims, size)]


def sum_by_group(
    workers: Workers,
    blocks: list[Block],
    folder: str,
    norm: tuple[F64, F64],
    labels: list[Labels],
    part: slice,
    speaker_done: Callable[[int, Sums], None],
) -> list[Sums]:
    """Sums of each labelling over some dimensions. `speaker_done` gets each speaker's sums of the first labelling."""
    dims = part.stop - part.start
    totals = [Sums.zeros(lab, dims) for lab in labels]
    mine, speaker = Sums.zeros(labels[0], dims), -1

    def close() -> None:
        if speaker >= 0:
            speaker_done(speaker, mine)
            totals[0].add(np.arange(labels[0].count), mine)

    pieces = _with_labels(blocks, labels)
    wanted = [lab.spreads for lab in labels]
    for block, found in zip(blocks, workers.map(_sums, pieces, folder, norm, part, wanted), strict=True):
        if block.speaker != speaker:
            close()
            mine, speaker = Sums.zeros(labels[0], dims), block.speaker
        for i, (groups, sums) in enumerate(found):
            (mine if i == 0 else totals[i]).add(groups, sums)
    close()
    return totals


def _with_labels(blocks: list[Block], labels: list[Labels]) -> Iterator[tuple[Block, list[I32]]]:
    for block in blocks:
        yield block, [lab.groups[block.first : block.first + block.rows] for lab in labels]


def _sums(
    piece: tuple[Block, list[I32]], folder: str, norm: tuple[F64, F64], part: slice, spreads: list[bool]
) -> list[tuple[I64, Sums]]:
    block, labellings = piece
    dx, _ = fits.steps(block, folder)
    z = (dx[:, part].astype(np.float64) - norm[0][part]) / norm[1][part]
    square = np.einsum("ij,ij->i", z, z)
    out: list[tuple[I64, Sums]] = []
    wide = z * z if any(spreads) else z
    for groups, spread in zip(labellings, spreads, strict=True):
        present, place = np.unique(groups, return_inverse=True)
        if len(present) and present[0] < 0:
            present, place = present[1:], place - 1
        count = len(present)
        inside = place >= 0
        sums = Sums(
            np.bincount(place[inside], minlength=count).astype(np.float64),
            np.bincount(place[inside], square[inside], minlength=count).astype(np.float64),
            group_sums(z, place, count),
            group_sums(wide, place, count) if spread else None,
        )
        out.append((present.astype(np.int64), sums))
    return out


# ---- figures of sums -------------------------------------------------------------------------


@dataclass
class Spread:
    """Sums of squares of a selection of rows; they add up over dimensions, so `+` joins two parts of them.

    within, total : about the groups' own means, and about their common mean
    transfer_within, transfer_total : about the training groups' means, and about the training mean
    entropy, conditional : ½ Σ ln var over dimensions, of all rows, and weighted over groups [nats]
    """

    n: int = 0
    groups: int = 0
    dims: int = 0
    within: float = 0.0
    total: float = 0.0
    transfer_within: float = 0.0
    transfer_total: float = 0.0
    entropy: float = 0.0
    conditional: float = 0.0

    def __add__(self, other: Spread) -> Spread:
        return Spread(
            other.n,
            other.groups,
            self.dims + other.dims,
            self.within + other.within,
            self.total + other.total,
            self.transfer_within + other.transfer_within,
            self.transfer_total + other.transfer_total,
            self.entropy + other.entropy,
            self.conditional + other.conditional,
        )

    @property
    def vr(self) -> float:
        """Variance ratio: what the groups leave of the variance, their means being estimated on these rows."""
        return self.within / self.total if self.total > 0 else float("nan")

    @property
    def expected(self) -> float:
        """Mean of `vr` where the ids mean nothing: 1 − (K − 1)/(N − 1)."""
        return 1 - (self.groups - 1) / (self.n - 1) if self.n > 1 else float("nan")

    @property
    def expected_sd(self) -> float:
        """Standard deviation of `vr` where the ids mean nothing and all dimensions are one; less if they are not."""
        n, k = self.n, self.groups
        return float(np.sqrt(2 * (k - 1) * max(n - k, 0) / ((n - 1) ** 2 * (n + 1)))) if n > 1 else float("nan")

    @property
    def vr_debiased(self) -> float:
        """`vr` · (N − 1)/(N − K): its mean is 1 where the ids mean nothing."""
        return self.vr * (self.n - 1) / (self.n - self.groups) if self.n > self.groups else float("nan")

    @property
    def transfer_vr(self) -> float:
        """What the training groups' means leave of the squares about the training mean."""
        return self.transfer_within / self.transfer_total if self.transfer_total > 0 else float("nan")

    @property
    def nats(self) -> float:
        """Reduction of the diagonal Gaussian entropy by the ids [nats per dimension]."""
        return (self.entropy - self.conditional) / self.dims if self.dims and self.n else float("nan")


def spread(sums: Sums, centroids: tuple[F64, F64] | None = None) -> Spread:
    """The figures of some groups; `centroids` are the training groups' means [shape=(groups, D)] and mean [D]."""
    some = sums.n > 0
    n, k, dims = float(sums.n.sum()), int(some.sum()), sums.sums.shape[1]
    if not n:
        return Spread(dims=dims)
    each, own = sums.n[some], sums.sums[some]
    total = own.sum(axis=0)
    square = float(sums.square.sum())
    out = Spread(
        int(n),
        k,
        dims,
        within=square - float(np.sum(np.einsum("ij,ij->i", own, own) / each)),
        total=square - float(total @ total) / n,
    )
    if centroids is not None:
        m, middle = centroids[0][some], centroids[1]
        crossed = float(np.einsum("ij,ij->", m, own))
        out.transfer_within = square - 2 * crossed + float(each @ np.einsum("ij,ij->i", m, m))
        out.transfer_total = square - 2 * float(middle @ total) + n * float(middle @ middle)
    if sums.squares is not None:
        rows = sums.squares[some]
        all_rows = np.maximum(rows.sum(axis=0) / n - (total / n) ** 2, VARIANCE_FLOOR)
        own_rows = np.maximum(rows / each[:, None] - (own / each[:, None]) ** 2, VARIANCE_FLOOR)
        out.entropy = float(0.5 * np.log(all_rows).sum())
        out.conditional = float(each @ (0.5 * np.log(own_rows).sum(axis=1)) / n)
    return out
