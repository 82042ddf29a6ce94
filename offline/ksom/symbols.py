"""The grid of music symbols: the original's rule, on map nodes or on blocks of the spectrogram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .modelfile import Blocks, Model

SEMIQUAVERS, QUAVERS, QUAVER, CLEF, CROTCHET = "\u266c", "\u266b", "\u266a", "\U0001d11e", "\u2669"
#: What each symbol means, loudest first; for legends.
MEANINGS = {
    SEMIQUAVERS: "peak > 0.8",
    QUAVERS: "energy > 0.6",
    QUAVER: "variance > 0.4",
    CLEF: "energy > 0.3",
    CROTCHET: "quiet",
}
#: A node no step of the music belongs to.
EMPTY = "\u00b7"


def symbol(mean_db: float, max_db: float, variance_db2: float) -> str:
    """The original's rule on levels relative to the loudest, −80 to 0 dB; the first that fits."""
    energy, peak, variance = (mean_db + 80) / 80, (max_db + 80) / 80, min(variance_db2 / 100, 1.0)
    if peak > 0.8:
        return SEMIQUAVERS
    if energy > 0.6:
        return QUAVERS
    if variance > 0.4:
        return QUAVER
    if energy > 0.3:
        return CLEF
    return CROTCHET


def block_grid(blocks: Blocks) -> list[str]:
    """The original's grid as 16 rows of 32 symbols: time from left to right, high frequencies in the first row."""
    rows = zip(blocks.mean_db, blocks.max_db, blocks.variance_db2, strict=True)
    grid = ["".join(symbol(*cell) for cell in zip(*row, strict=True)) for row in rows]
    return grid[::-1]


def node_grid(model: Model, paths: Sequence[Sequence[int]], rows: int, columns: int) -> list[str]:
    """A symbol for each node from the mean of its steps, bright sounds in the first row."""
    sums = np.zeros((rows * columns, 3))
    counts = np.zeros(rows * columns)
    for track, path in zip(model.tracks, paths, strict=True):
        s = track.steps
        values: NDArray[np.float64] = np.array([s.mean_db, s.max_db, s.variance_db2]).T
        np.add.at(sums, list(path), values)
        np.add.at(counts, list(path), 1)
    cells = [symbol(*(sums[k] / counts[k])) if counts[k] else EMPTY for k in range(rows * columns)]
    grid = ["".join(cells[r * columns : (r + 1) * columns]) for r in range(rows)]
    return grid[::-1]
