"""What knows nothing of the context: the factored baseline, and mixtures of the models' own sizes, fitted by EM.

A mixture of K shapes without context tells shape from context: what a conditional model gains over it is context.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp

from . import vmf
from .moments import Moments
from .spec import ModelSpec

Array = NDArray[np.float64]
#: EM stops when a round gains less than this many nats per row, or after so many rounds.
_GAIN, _ROUNDS = 1e-4, 200


class Baseline(Protocol):
    """A density of steps that needs no context."""

    def nll(self, dx: NDArray[Any]) -> Array:
        """Nats of each step [n, D]."""
        ...


@dataclass(frozen=True)
class Factored:
    """Direction uniform, ln m normal with the train moments, Jacobian included."""

    moments: Moments

    def nll(self, dx: NDArray[Any]) -> Array:
        """Nats of each step [n, D]; steps must have a length."""
        dim = dx.shape[1]
        ln_m = np.log(np.linalg.norm(dx.astype(np.float64), axis=1))
        size = _normal(ln_m, self.moments.ln_m_mean, self.moments.ln_m_sd)
        found: Array = vmf.log_area(dim) + size + dim * ln_m
        return found


def _normal(x: Array, mean: Any, sd: Any) -> Array:
    found: Array = np.log(sd) + 0.5 * np.square((x - mean) / sd) + 0.5 * math.log(2.0 * math.pi)
    return found


def _k_means_start(points: Array, k: int, rng: np.random.Generator) -> Array:
    """The k-means++ start: rows far from one another [k, D]."""
    chosen = [points[rng.integers(len(points))]]
    nearest = np.full(len(points), np.inf)
    for _ in range(k - 1):
        nearest = np.minimum(nearest, np.square(points - chosen[-1]).sum(1))
        total = nearest.sum()
        odds = nearest / total if total > 0.0 else np.full(len(points), 1.0 / len(points))
        chosen.append(points[rng.choice(len(points), p=odds)])
    found: Array = np.stack(chosen)
    return found


@dataclass(frozen=True)
class GaussianMixture:
    """K diagonal Gaussians, in units of the train steps: ln weights [K], means and variances [K, D]."""

    ln_weight: Array
    mean: Array
    variance: Array
    step_mean: Array
    step_sd: Array

    def _log_joint(self, z: Array, squares: Array) -> Array:
        precision = 1.0 / self.variance
        square = squares @ precision.T - 2.0 * z @ (self.mean * precision).T
        square += np.sum(self.mean**2 * precision, axis=1)
        constant = np.sum(np.log(self.variance), axis=1) + z.shape[1] * math.log(2.0 * math.pi)
        found: Array = self.ln_weight - 0.5 * (square + constant)
        return found

    def nll(self, dx: NDArray[Any]) -> Array:
        """Nats of each step [n, D]."""
        z = (dx - self.step_mean) / self.step_sd
        found: Array = -logsumexp(self._log_joint(z, np.square(z)), axis=1) + np.log(self.step_sd).sum()
        return found


def fit_gaussians(dx: NDArray[Any], k: int, m: Moments, spec: ModelSpec, seed: int) -> GaussianMixture:
    """EM from a k-means++ start, with the variance floor of the MDN. K = 1 is the single Gaussian of the original."""
    sd = np.maximum(m.dx_sd, float(np.max(m.dx_sd)) * 1e-6)
    z = (dx.astype(np.float64) - m.dx_mean) / sd
    rng = np.random.default_rng(seed)
    # Starts as wide as the data and narrower, like the MDN's: heavy tails and quiet frames each find a component.
    scales = np.exp(2.0 * np.linspace(-1.0, 0.7, k))[:, None] if k > 1 else np.ones((1, 1))
    means = _k_means_start(z, k, rng) * 0.3 if k > 1 else np.zeros((1, z.shape[1]))
    found = GaussianMixture(np.full(k, -math.log(k)), means, np.ones_like(means) * scales, m.dx_mean, sd)
    last, squares = -math.inf, np.square(z)
    for _ in range(_ROUNDS):
        joint = found._log_joint(z, squares)
        total = logsumexp(joint, axis=1)
        share = np.exp(joint - total[:, None])
        mass = share.sum(0) + 1e-9
        mean = share.T @ z / mass[:, None]
        variance = np.maximum(share.T @ squares / mass[:, None] - mean**2, spec.variance_floor)
        found = GaussianMixture(np.log(mass / mass.sum()), mean, variance, m.dx_mean, sd)
        score = float(total.mean())
        if score - last < _GAIN:
            break
        last = score
    return found


@dataclass(frozen=True)
class VmfMixture:
    """K components of direction and magnitude: ln weights, kappa, mu_m, sigma [K]; mu [K, D]."""

    ln_weight: Array
    mu: Array
    kappa: Array
    mu_m: Array
    sigma: Array

    def _log_joint(self, unit: Array, ln_m: Array) -> Array:
        """Without the Jacobian, which all components share."""
        constant = vmf.log_normaliser(self.mu.shape[1], torch.from_numpy(self.kappa)).numpy()
        direction = constant + unit @ (self.mu * self.kappa[:, None]).T
        found: Array = self.ln_weight + direction - _normal(ln_m[:, None], self.mu_m, self.sigma)
        return found

    def nll(self, dx: NDArray[Any]) -> Array:
        """Nats of each step [n, D], Jacobian included; steps must have a length."""
        unit, ln_m = _polar(dx)
        found: Array = -logsumexp(self._log_joint(unit, ln_m), axis=1) + dx.shape[1] * ln_m
        return found


def _polar(dx: NDArray[Any]) -> tuple[Array, Array]:
    x = dx.astype(np.float64)
    size = np.linalg.norm(x, axis=1)
    return x / size[:, None], np.log(size)


def fit_vmf(dx: NDArray[Any], k: int, m: Moments, spec: ModelSpec, seed: int) -> VmfMixture:
    """EM (Banerjee et al. 2005, with the log-normal magnitude beside the direction); kappa in the model's range."""
    unit, ln_m = _polar(dx)
    dim, rng = unit.shape[1], np.random.default_rng(seed)
    low, high = math.exp(spec.ln_kappa_min), math.exp(spec.ln_kappa_max)
    floor = m.ln_m_sd * math.exp(-spec.ln_sigma_below)
    start = np.full(k, min(high, max(low, m.kappa, 0.1 * dim if k > 1 else 0.0)))
    found = VmfMixture(
        np.full(k, -math.log(k)), _k_means_start(unit, k, rng), start, np.full(k, ln_m.mean()), np.full(k, ln_m.std())
    )
    if k == 1:
        share = np.ones((len(unit), 1))
        return _maximise(unit, ln_m, share, (low, high), floor)
    last = -math.inf
    for _ in range(_ROUNDS):
        joint = found._log_joint(unit, ln_m)
        total = logsumexp(joint, axis=1)
        found = _maximise(unit, ln_m, np.exp(joint - total[:, None]), (low, high), floor)
        score = float(total.mean())
        if score - last < _GAIN:
            break
        last = score
    return found


def _maximise(unit: Array, ln_m: Array, share: Array, kappas: tuple[float, float], floor: float) -> VmfMixture:
    mass = share.sum(0) + 1e-9
    sums = share.T @ unit
    length = np.linalg.norm(sums, axis=1)
    resultant = np.clip(length / mass, 0.0, 1.0 - 1e-9)
    kappa = np.array([vmf.fit_kappa(unit.shape[1], float(r)) for r in resultant])
    mean = share.T @ ln_m / mass
    spread = np.sqrt(np.maximum(share.T @ np.square(ln_m) / mass - mean**2, 0.0))
    return VmfMixture(
        np.log(mass / mass.sum()),
        sums / np.maximum(length, 1e-300)[:, None],
        np.clip(kappa, *kappas),
        mean,
        np.maximum(spread, floor),
    )
