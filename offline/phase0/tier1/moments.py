"""What is known of the train frames before any training: means, spreads, magnitudes. Nothing here sees eval data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....plugins._errors import ParameterError
from . import vmf

#: A step shorter than this share of the median step has no direction worth the name (digital silence).
STILL = 1e-4


@dataclass(frozen=True)
class Moments:
    """Statistics of train rows, from which models take their scales and their first guesses."""

    #: Mean and standard deviation of the frames by dimension, float64 [D]; a dead dimension has the sd 1.
    x_mean: NDArray[np.float64]
    x_sd: NDArray[np.float64]
    #: The same of the steps dx; the sd is that of the data, 0 where a dimension never moves.
    dx_mean: NDArray[np.float64]
    dx_sd: NDArray[np.float64]
    #: Mean and sd of ln |dx|, the shortest step that counts, and the root mean square of |dx|.
    ln_m_mean: float
    ln_m_sd: float
    least_step: float
    rms_step: float
    #: kappa of a vMF whose direction knows nothing of the context.
    kappa: float
    rows: int

    @property
    def dim(self) -> int:
        """D."""
        return len(self.x_mean)

    def moves(self, dx: NDArray[Any]) -> NDArray[np.bool_]:
        """Which steps [n, D] have a direction."""
        found: NDArray[np.bool_] = np.linalg.norm(dx, axis=-1) > self.least_step
        return found


def moments(batches: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> Moments:
    """Moments of (frames, steps) pairs, both float [n, D], in one pass; only |dx| is kept for each row.

    Raises ParameterError where nothing moves or too few rows are there.
    """
    n, sums, means = 0, None, None
    lengths: list[NDArray[np.float64]] = []
    direction: NDArray[np.float64] | None = None
    for x, dx in batches:
        if not len(x):
            continue
        both = np.concatenate([x, dx], axis=1).astype(np.float64)
        size = np.linalg.norm(dx.astype(np.float64), axis=1)
        unit = (dx[size > 0] / size[size > 0, None]).sum(0, dtype=np.float64)
        mean = both.mean(0)
        spread = np.square(both - mean).sum(0)
        if means is None or sums is None or direction is None:
            n, means, sums, direction = len(x), mean, spread, unit
        else:  # Chan's update: no cancellation, whatever the means
            total = n + len(x)
            delta = mean - means
            means = means + delta * len(x) / total
            sums = sums + spread + delta * delta * n * len(x) / total
            direction, n = direction + unit, total
        lengths.append(size)
    if means is None or sums is None or direction is None or n < 16:
        raise ParameterError(f"there are {n} train rows; at least 16 are needed: give more or longer utterances")
    dim = len(means) // 2
    sd = np.sqrt(sums / n)
    size = np.concatenate(lengths)
    moving = size[size > 0]
    if len(moving) < 16:
        raise ParameterError(f"only {len(moving)} of {n} train steps move at all; these latents are constant")
    least = STILL * float(np.median(moving))
    ln_m = np.log(moving[moving > least])
    resultant = min(0.999, float(np.linalg.norm(direction)) / len(moving))
    top = sd[:dim].max()
    return Moments(
        x_mean=means[:dim],
        x_sd=np.where(sd[:dim] > 1e-6 * top, sd[:dim], 1.0),
        dx_mean=means[dim:],
        dx_sd=sd[dim:],
        ln_m_mean=float(ln_m.mean()),
        ln_m_sd=max(float(ln_m.std()), 1e-3),
        least_step=least,
        rms_step=float(np.sqrt(np.mean(size * size))),
        kappa=vmf.fit_kappa(dim, resultant),
        rows=n,
    )
