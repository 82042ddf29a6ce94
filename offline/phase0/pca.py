"""Principal components of contexts that are never in memory together.

Subspace iteration (Halko, Martinsson and Tropp, SIAM Review 53, 2011, section 4.5): each pass over the windows gives
C Q for the covariance C and a basis Q of a few more columns than are wanted; C itself, (W · D)², is never made. Sums
of blocks go together in their order, so that the answer does not depend on who computed them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import windows
from .frames import Block, FramesError, opened
from .work import Workers

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

#: Columns beyond those that are wanted, which speed convergence up.
EXTRA = 16
#: Relative change of each variance in a pass at which it has converged.
TOLERANCE = 1e-4
#: Bytes of contexts that are made at once.
PIECE_BYTES = 16 << 20


@dataclass(frozen=True)
class Pca:
    """y = (x − mean) · axes, x a flattened context. `basis` is where the next lag starts."""

    mean: F32
    axes: F32
    variances: F64
    total_variance: float
    passes: int
    converged: bool
    windows: int
    speakers: list[str]
    basis: F32

    @property
    def explained(self) -> float:
        """Share of the variance that is kept."""
        return float(self.variances.sum() / self.total_variance) if self.total_variance else 0.0


def pieces(block: Block, folder: str, lag: int, window: int) -> Iterator[tuple[slice, F32, str]]:
    """Contexts of a block in pieces [shape=(n, W, D)] with their place in the block, and whose they are."""
    store = opened(folder)
    at = 0
    for name, times in block.parts:
        latents = store.read(name)
        step = max(16, PIECE_BYTES // (4 * window * latents.x.shape[1]))
        for i in range(0, len(times), step):
            t = times[i : i + step]
            yield slice(at, at + len(t)), windows.contexts(latents.x, t, lag, window), latents.speaker_id
            at += len(t)


def _mean(block: Block, folder: str, lag: int, window: int) -> tuple[int, F64, float, set[str]]:
    n, total, square, speakers = 0, np.zeros(0), 0.0, set()
    for _, found, who in pieces(block, folder, lag, window):
        flat = found.reshape(len(found), -1)
        total = flat.sum(axis=0, dtype=np.float64) + (total if len(total) else 0.0)
        square += float(np.einsum("ij,ij->", flat, flat, dtype=np.float64))
        n += len(flat)
        speakers.add(who)
    return n, total, square, speakers


def _power(block: Block, folder: str, lag: int, window: int, mean: F32, basis: F32) -> F64:
    out = np.zeros(basis.shape)
    for _, found, _ in pieces(block, folder, lag, window):
        flat = found.reshape(len(found), -1) - mean
        out += flat.T @ (flat @ basis)
    return out


def fit_pca(
    workers: Workers,
    blocks: list[Block],
    folder: str,
    lag: int,
    window: int,
    dims: int,
    *,
    most_passes: int,
    seed: int,
    basis: F32 | None = None,
) -> Pca:
    """The first `dims` components of the blocks' contexts, in at most `most_passes` + 1 passes.

    `basis` (another lag's) saves passes. Raises FramesError for fewer windows than components.
    """
    n, square, speakers = 0, 0.0, set[str]()
    total: F64 = np.zeros(0)
    for count, part, part_square, who in workers.map(_mean, blocks, folder, lag, window):
        n, square = n + count, square + part_square
        total = part + (total if len(total) else 0.0)
        speakers |= who
    width = len(total)
    if n <= dims or width < dims:
        raise FramesError(f"{n} windows of {width} values are too few for {dims} components")
    middle = total / n
    mean = middle.astype(np.float32)
    # With the mean as float32, latents 300 times as far from 0 as they are wide would lose 1 % of their variance.
    variance = square / n - float(middle @ middle)
    columns = min(dims + EXTRA, width, n)
    if basis is None or basis.shape != (width, columns):
        start = np.random.default_rng(seed).standard_normal((width, columns))
        basis = np.linalg.qr(start)[0].astype(np.float32)
    before: F64 = np.zeros(dims)
    converged, done = False, 0
    u, s = np.zeros((width, columns)), np.zeros(columns)
    while done < most_passes and not converged:
        done += 1
        moved = np.zeros((width, columns))
        for piece in workers.map(_power, blocks, folder, lag, window, mean, basis):
            moved += piece
        moved /= n
        wide = basis.astype(np.float64)
        small = wide.T @ moved
        ritz = np.asarray(np.linalg.eigvalsh((small + small.T) / 2)[::-1][:dims], np.float64)
        u, s = (np.asarray(a, np.float64) for a in np.linalg.svd(moved, full_matrices=False)[:2])
        basis = u.astype(np.float32)
        converged = bool(np.all(np.abs(ritz - before) <= TOLERANCE * np.maximum(np.abs(ritz), 1e-30)))
        before = ritz
    top = u[:, :dims]
    axes = top * np.sign(top[np.argmax(np.abs(top), axis=0), np.arange(dims)])
    return Pca(
        mean,
        axes.astype(np.float32),
        s[:dims],
        variance,
        done,
        converged,
        n,
        sorted(speakers),
        np.ascontiguousarray(basis),
    )


def project(found: F32, mean: F32, axes: F32) -> F32:
    """Components [shape=(n, dims)] of contexts [shape=(n, W, D)]."""
    out: F32 = np.asarray((found.reshape(len(found), -1) - mean) @ axes, np.float32)
    return out


def as_tensors(pca: Pca) -> dict[str, Any]:
    """What a file holds."""
    return {"mean": pca.mean, "axes": np.ascontiguousarray(pca.axes), "basis": pca.basis}
