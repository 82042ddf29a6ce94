"""The von Mises-Fisher distribution on the sphere in D dimensions: density, sampler, fit.

Everything is written in q(kappa) = I_{nu+1}(kappa) / (kappa I_nu(kappa)) and in ln(kappa^nu / I_nu(kappa)), where
nu = D/2 - 1, in which ln kappa cancels: both are smooth down to kappa = 0, so there is no special case for small
kappa and autograd gives the right slope everywhere. For orders of at least 32 Debye's uniform expansion is used
(DLMF 10.41.3, five correction terms: error below 1e-9 there); smaller orders are reached from it by the backward
recurrence of the ratio, which shrinks errors (DLMF 10.33.1). Computed in float64 whatever comes in.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....plugins._errors import ParameterError

#: The order from which Debye's expansion is used as it is.
_DEBYE_ORDER = 32.0

#: U_k(p) of DLMF 10.41.10 as (lowest power, coefficients of every second power, divisor).
_DEBYE = (
    (1, (3.0, -5.0), 24.0),
    (2, (81.0, -462.0, 385.0), 1152.0),
    (3, (30375.0, -369603.0, 765765.0, -425425.0), 414720.0),
    (4, (4465125.0, -94121676.0, 349922430.0, -446185740.0, 185910725.0), 39813120.0),
    (
        5,
        (1519035525.0, -49286948607.0, 284499769554.0, -614135872350.0, 566098157625.0, -188699385875.0),
        6688604160.0,
    ),
)


def _checked(dim: int) -> float:
    if dim < 2:
        raise ParameterError(f"the dimension is {dim}; a direction needs at least 2")
    return dim / 2.0 - 1.0


def _debye(nu: float, kappa: Tensor) -> Tensor:
    """Gives ln(kappa^nu / I_nu(kappa)) for nu of at least `_DEBYE_ORDER`."""
    s = torch.sqrt(nu * nu + kappa * kappa)
    p = nu / s
    square = p * p
    series = torch.zeros_like(p)
    for power, coefficients, divisor in _DEBYE:
        inner = torch.zeros_like(p)
        for c in reversed(coefficients):
            inner = inner * square + c
        series = series + inner * p**power / (divisor * nu**power)
    return -s + nu * torch.log(nu + s) + 0.5 * torch.log(2.0 * math.pi * s) - torch.log1p(series)


def _terms(dim: int, kappa: Tensor) -> tuple[Tensor, Tensor]:
    """Gives ln(kappa^nu / I_nu(kappa)) and q(kappa), float64, from one way down the orders."""
    nu = _checked(dim)
    k = kappa.double()
    steps = max(0, math.ceil(_DEBYE_ORDER - nu))
    top = nu + steps
    value, above = _debye(top, k), _debye(top + 1.0, k)
    # I_{v+1} / I_v = kappa q, and kappa^v / I_v = exp(value), so q = exp(value(v) - value(v + 1)).
    q = torch.exp(value - above)
    for j in range(1, steps + 1):
        order = top - j
        q = 1.0 / (2.0 * (order + 1.0) + k * k * q)
        value = value + torch.log(q)
    return value, q


def log_normaliser(dim: int, kappa: Tensor) -> Tensor:
    """Ln C_D(kappa): the density at direction d is exp(ln C_D(kappa) + kappa mu.d).

    Parameters
    ----------
    dim : D, from 2
    kappa : any shape, 0 and up; checked from 1e-6 to 1e5 and D to 4096 against mpmath

    Returns
    -------
    float64 of kappa's shape, differentiable; its slope is minus `mean_resultant`.
    """
    return _terms(dim, kappa)[0] - 0.5 * dim * math.log(2.0 * math.pi)


def log_area(dim: int) -> float:
    """Ln of the area of the unit sphere in D dimensions: minus the log density of the uniform direction."""
    _checked(dim)
    return math.log(2.0) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


def mean_resultant(dim: int, kappa: Tensor) -> Tensor:
    """A_D(kappa) = I_{D/2}(kappa) / I_{D/2-1}(kappa), the expected cosine to the mean direction; float64."""
    return kappa.double() * _terms(dim, kappa)[1]


def gain_nats(dim: int, kappa: float) -> float:
    """What knowing the mean direction and kappa gains over the uniform direction, in nats per sample (a KL)."""
    k = torch.tensor(float(kappa), dtype=torch.float64)
    return float(log_normaliser(dim, k) + k * mean_resultant(dim, k)) + log_area(dim)


def fit_kappa(dim: int, resultant: float, *, steps: int = 50) -> float:
    """The kappa of greatest likelihood for a mean cosine: Banerjee's start [1]_, then Newton's steps [2]_.

    Parameters
    ----------
    resultant : mean of mu.d over the samples, or the length of their mean where mu is not known; 0 to below 1

    References
    ----------
    .. [1] A. Banerjee et al., "Clustering on the unit hypersphere using von Mises-Fisher distributions", JMLR 6, 2005.
    .. [2] S. Sra, "A short note on parameter approximation for von Mises-Fisher distributions", Comput. Stat. 27, 2012.
    """
    _checked(dim)
    if not 0.0 <= resultant < 1.0:
        raise ParameterError(f"the mean cosine is {resultant}; kappa can be fitted for 0 to below 1")
    r = resultant
    kappa = r * (dim - r * r) / (1.0 - r * r)
    for _ in range(steps):
        q = float(_terms(dim, torch.tensor(kappa, dtype=torch.float64))[1])
        a = kappa * q
        slope = 1.0 - a * a - (dim - 1) * q
        if slope <= 0.0:  # lost to rounding: kappa is beyond what float64 tells apart
            break
        # In ln kappa the step cannot pass zero.
        step = (a - r) / (slope * kappa) if kappa > 0.0 else 0.0
        kappa *= math.exp(-max(-1.0, min(1.0, step)))
        if abs(step) < 1e-12:
            break
    return kappa


def sample_cosine(dim: int, kappa: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draws mu.d for each kappa: Wood's rejection sampler [1]_, in forms without cancellation for great kappa.

    Returns
    -------
    float64 of kappa's shape, in [-1, 1].

    References
    ----------
    .. [1] A. Wood, "Simulation of the von Mises Fisher distribution", Commun. Stat. Simul. 23, 1994.
    """
    _checked(dim)
    k = np.asarray(kappa, np.float64).ravel()
    if not np.isfinite(k).all() or (k < 0.0).any():
        raise ParameterError("kappa must be finite and not below 0")
    rest = dim - 1.0
    b = rest / (2.0 * k + np.sqrt(4.0 * k * k + rest * rest))
    x0 = (1.0 - b) / (1.0 + b)
    c = k * x0 + rest * np.log(4.0 * b / (1.0 + b) ** 2)
    out = np.empty_like(k)
    todo = np.arange(len(k))
    while len(todo):
        z = rng.beta(0.5 * rest, 0.5 * rest, len(todo))
        bt, kt, xt = b[todo], k[todo], x0[todo]
        w = (1.0 - (1.0 + bt) * z) / (1.0 - (1.0 - bt) * z)
        good = kt * w + rest * np.log(1.0 - xt * w) - c[todo] >= np.log1p(-rng.random(len(todo)))
        out[todo[good]] = w[good]
        todo = todo[~good]
    return np.clip(out, -1.0, 1.0).reshape(np.shape(kappa))


def sample(mu: NDArray[Any], kappa: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draws one direction for each mean direction.

    Parameters
    ----------
    mu : float [shape=(n, D)], unit rows
    kappa : float [shape=(n,)] or a scalar

    Returns
    -------
    float64 [shape=(n, D)], unit rows.
    """
    mean = np.asarray(mu, np.float64)
    k = np.broadcast_to(np.asarray(kappa, np.float64), mean.shape[:1])
    w = sample_cosine(mean.shape[1], k, rng)[:, None]
    tangent = rng.standard_normal(mean.shape)
    tangent -= np.sum(tangent * mean, axis=1, keepdims=True) * mean
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-300)
    found: NDArray[np.float64] = w * mean + np.sqrt(np.maximum(0.0, 1.0 - w * w)) * tangent
    return found
