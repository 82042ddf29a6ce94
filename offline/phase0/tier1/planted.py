"""Synthetic steps with a known answer: the direction is vMF about a mean that the context decides, kappa is given.

A context [W, D] hides a code z of few dimensions in its mean frame; the mean direction is a bent function of z, ln m is
normal about another. A model must find the code, the bend and kappa; what it can gain is known in closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import vmf
from .fit import Arrays

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """What the steps of a batch were drawn from."""

    mu: Array
    mu_m: Array


class Planted:
    """Batches by number of contexts and steps; held-out batches come from other seeds.

    Parameters
    ----------
    dim, kappa : D and the concentration of every step
    window : frames of a context
    codes : dimensions of the hidden code
    sigma : spread of ln m about its mean
    """

    def __init__(self, dim: int, kappa: float, *, window: int = 2, codes: int = 4, sigma: float = 0.3, seed: int = 0):
        self.dim, self.kappa, self.window, self.codes, self.sigma, self.seed = dim, kappa, window, codes, sigma, seed
        rng = np.random.default_rng([seed, 1])
        self._read = np.linalg.qr(rng.standard_normal((dim, codes)))[0]
        self._write = np.linalg.qr(rng.standard_normal((dim, 2 * codes)))[0]
        self._bend = rng.standard_normal((codes, 2 * codes)) / np.sqrt(codes)
        self._slope = rng.standard_normal(codes) / np.sqrt(codes)

    def draw(self, n: int, key: list[int]) -> tuple[Array, Array, Truth]:
        """Contexts [n, W, D], steps [n, D] and the truth behind them."""
        rng = np.random.default_rng([self.seed, 2, *key])
        z = rng.standard_normal((n, self.codes))
        # Noise of zero mean over the window and across the code's axes, so that the code can be read exactly.
        noise = 0.3 * rng.standard_normal((n, self.window, self.dim))
        noise -= (noise.mean(1, keepdims=True) @ self._read) @ self._read.T
        context = 3.0 * z[:, None] @ self._read.T + noise
        truth = self.truth(context)
        direction = vmf.sample(truth.mu, np.full(n, self.kappa), rng)
        ln_m = truth.mu_m + self.sigma * rng.standard_normal(n)
        return context, direction * np.exp(ln_m)[:, None], truth

    def truth(self, context: NDArray[Any]) -> Truth:
        """The mean direction and mean ln m of these contexts."""
        z = context.mean(1) @ self._read / 3.0
        mu = np.tanh(1.5 * z @ self._bend) @ self._write.T
        mu /= np.linalg.norm(mu, axis=1, keepdims=True)
        return Truth(mu, 1.0 + 0.5 * np.tanh(z @ self._slope))


@dataclass(frozen=True)
class PlantedStream:
    """Fresh batches for training: number k is drawn from key [k]."""

    source: Planted
    batch: int

    def batches(self, first: int) -> Iterator[Callable[[], Arrays]]:
        """From batch `first` on, for ever."""
        k = first
        while True:
            yield lambda k=k: tuple(a.astype(np.float32) for a in self.source.draw(self.batch, [0, k])[:2])  # type: ignore[misc]
            k += 1
