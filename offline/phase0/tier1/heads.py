"""The models of a step given its context: vMF direction x log-normal magnitude, and a mixture density network.

Both are densities of dx in R^D, so that their figures can be compared: the first has the Jacobian (D - 1) ln m of
polar coordinates in it. Bounds are soft with slopes that fall off as a power, never to nothing; inputs are normalised
and first guesses set from the train moments; the widest of the original's mistakes (fact sheet, defects 6 and 7).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from . import vmf
from .baselines import GaussianMixture
from .moments import Moments
from .spec import ModelSpec


def soft_bound(x: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """`x` bent into (low, high): slope 1 in the middle, falling off as |x|^-3, so never lost to underflow."""
    middle, half = (high + low) / 2.0, (high - low) / 2.0
    u = (x - middle) / half
    return middle + half * u / torch.sqrt(1.0 + u * u)


def unbound(y: float, low: float, high: float) -> float:
    """The x for which `soft_bound` gives y; y is kept inside by 1 % of the range."""
    middle, half = (high + low) / 2.0, (high - low) / 2.0
    v = max(-0.98, min(0.98, (y - middle) / half))
    return middle + half * v / math.sqrt(1.0 - v * v)


class Step(NamedTuple):
    """What the direction-magnitude model says of a step; all [n] but mu [n, D]."""

    mu: Tensor
    ln_kappa: Tensor
    mu_m: Tensor
    ln_sigma: Tensor

    def median(self) -> Tensor:
        """The step of a rollout: mu exp(mu_m). Its length is the median, which sigma cannot blow up."""
        return self.mu * self.mu_m.exp()[:, None]

    def mean_length(self) -> Tensor:
        """exp(mu_m + sigma^2 / 2), the expected |dx|."""
        return torch.exp(self.mu_m + 0.5 * torch.exp(2.0 * self.ln_sigma))


@dataclass(frozen=True)
class Bounds:
    """Where the heads' values can lie."""

    ln_kappa: tuple[float, float]
    mu_m: tuple[float, float]
    ln_sigma: tuple[float, float]


def bounds(spec: ModelSpec, m: Moments, ln_sigma_above: float | None = None) -> Bounds:
    """The bounds for these data."""
    reach = spec.magnitude_range_sd * m.ln_m_sd
    above = spec.ln_sigma_above if ln_sigma_above is None else ln_sigma_above
    ln_sd = math.log(m.ln_m_sd)
    return Bounds(
        (spec.ln_kappa_min, spec.ln_kappa_max),
        (m.ln_m_mean - reach, m.ln_m_mean + reach),
        (ln_sd - spec.ln_sigma_below, ln_sd + above),
    )


def _mlp(inputs: int, width: int, layers: int, outputs: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for k in range(layers):
        parts += [nn.Linear(inputs if k == 0 else width, width), nn.GELU()]
    return nn.Sequential(*parts, nn.Linear(width if layers else inputs, outputs))


def _start_at(net: nn.Sequential, value: float | Tensor) -> nn.Sequential:
    """Makes the net's first output close to `value`, whatever its depth, and lets the context matter from there."""
    last = net[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.mul_(0.1)
        last.bias.copy_(torch.as_tensor(value).expand_as(last.bias))
    return net


class _Normalised(nn.Module):
    """Puts contexts [n, W, D] into units of the train frames and flattens them."""

    def __init__(self, m: Moments):
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(m.x_mean).float())
        self.register_buffer("scale", torch.from_numpy(1.0 / m.x_sd).float())
        self.mean: Tensor
        self.scale: Tensor

    def forward(self, context: Tensor) -> Tensor:
        return ((context - self.mean) * self.scale).flatten(1)


class VmfModel(nn.Module):
    """Four heads, each an MLP of its own on the normalised context.

    Parameters
    ----------
    dim, window : the context is float [n, window, dim]
    spec, m : sizes and ranges; scales and first guesses
    ln_sigma_above : a tighter upper bound for ln sigma, as in 1B
    """

    kind = "vmf"

    def __init__(self, window: int, spec: ModelSpec, m: Moments, *, ln_sigma_above: float | None = None):
        super().__init__()
        self.dim, self.window, self.spec = m.dim, window, spec
        self.bounds = bounds(spec, m, ln_sigma_above)
        inputs, small = window * m.dim, max(16, spec.width // 4)
        self.input = _Normalised(m)
        self.direction = _mlp(inputs, spec.width, spec.layers, m.dim)
        # A scalar needs less than D of them; a quarter of the width keeps its MLP from costing as much.
        ln_kappa = unbound(math.log(max(m.kappa, 0.1 * m.dim)), *self.bounds.ln_kappa)
        ln_sigma = unbound(math.log(m.ln_m_sd), *self.bounds.ln_sigma)
        self.concentration = _start_at(_mlp(inputs, small, spec.layers, 1), ln_kappa)
        self.magnitude = _start_at(_mlp(inputs, small, spec.layers, 1), unbound(m.ln_m_mean, *self.bounds.mu_m))
        self.spread = _start_at(_mlp(inputs, small, spec.layers, 1), ln_sigma)

    def forward(self, context: Tensor) -> Step:
        """The step's distribution given context [n, W, D]."""
        c = self.input(context)
        b = self.bounds
        return Step(
            functional.normalize(self.direction(c).float(), dim=1, eps=1e-8),
            soft_bound(self.concentration(c)[:, 0].float(), *b.ln_kappa),
            soft_bound(self.magnitude(c)[:, 0].float(), *b.mu_m),
            soft_bound(self.spread(c)[:, 0].float(), *b.ln_sigma),
        )

    def nll(self, said: Step, dx: Tensor) -> Tensor:
        """Nats of each step dx [n, D]; see `nll_parts`."""
        direction, magnitude = nll_parts(said, dx)
        return direction + magnitude

    def point(self, said: Step) -> Tensor:
        """The step taken in a rollout, [n, D]."""
        return said.median()


def nll_parts(said: Step, dx: Tensor) -> tuple[Tensor, Tensor]:
    """Nats of the direction on the sphere, and of the magnitude with the Jacobian (D - 1) ln m; their sum is Cartesian.

    Steps must have a direction: `Moments.moves`. Float64 inside, since ln C_D is hundreds of nats.
    """
    dim = dx.shape[1]
    x = dx.double()
    m = x.norm(dim=1)
    kappa = said.ln_kappa.double().exp()
    cosine = (x * said.mu.double()).sum(1) / m
    direction = -(vmf.log_normaliser(dim, kappa) + kappa * cosine)
    return direction, normal_nll(m.log(), said.mu_m.double(), said.ln_sigma.double()) + dim * m.log()


def normal_nll(value: Tensor, mean: Tensor | float, ln_sd: Tensor | float) -> Tensor:
    """Nats of `value` under a normal law."""
    ln_sigma = torch.as_tensor(ln_sd, dtype=value.dtype)
    return ln_sigma + 0.5 * ((value - mean) / ln_sigma.exp()).square() + 0.5 * math.log(2.0 * math.pi)


class Mixture(NamedTuple):
    """What the mixture density network says: ln weights [n, K], means and ln sd [n, K, D] in train units."""

    ln_weight: Tensor
    mean: Tensor
    ln_sd: Tensor


class MdnModel(nn.Module):
    """K diagonal Gaussians over dx from one MLP (Bishop 1994), with a variance floor tied to the train variance.

    `start`, a context-free mixture of the same size, is where training begins: what is gained from there is context.
    """

    kind = "mdn"

    def __init__(self, window: int, spec: ModelSpec, m: Moments, start: GaussianMixture | None = None):
        super().__init__()
        self.dim, self.window, self.spec = m.dim, window, spec
        self.input = _Normalised(m)
        k = spec.components
        self.net = _mlp(window * m.dim, spec.width, spec.layers, k * (2 * m.dim + 1))
        self.low, self.high = 0.5 * math.log(spec.variance_floor), 2.0
        if start is not None:
            values = [start.ln_weight, start.mean.ravel(), self._unbound(0.5 * np.log(start.variance)).ravel()]
            _start_at(self.net, torch.from_numpy(np.concatenate(values)).float())
        floor = float(np.max(m.dx_sd)) * 1e-6
        self.register_buffer("step_mean", torch.from_numpy(m.dx_mean).float())
        self.register_buffer("step_sd", torch.from_numpy(np.maximum(m.dx_sd, floor)).float())
        self.step_mean: Tensor
        self.step_sd: Tensor

    def _unbound(self, ln_sd: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.vectorize(lambda y: unbound(float(y), self.low, self.high), otypes=[np.float64])(ln_sd)  # type: ignore[no-any-return]

    def forward(self, context: Tensor) -> Mixture:
        """The step's distribution given context [n, W, D]."""
        out = self.net(self.input(context)).float()
        k, n = self.spec.components, len(out)
        means, spreads = out[:, k:].view(n, 2, k, self.dim).unbind(1)
        return Mixture(out[:, :k].log_softmax(1), means, soft_bound(spreads, self.low, self.high))

    def nll(self, said: Mixture, dx: Tensor) -> Tensor:
        """Nats of each step dx [n, D]."""
        z = ((dx - self.step_mean) / self.step_sd)[:, None]
        each = -0.5 * ((z - said.mean) * torch.exp(-said.ln_sd)).square() - said.ln_sd
        inside = each.double().sum(2) - 0.5 * self.dim * math.log(2.0 * math.pi)
        return -torch.logsumexp(said.ln_weight.double() + inside, 1) + self.step_sd.double().log().sum()

    def point(self, said: Mixture) -> Tensor:
        """The predictive mean in units of the latents, [n, D]."""
        mean = (said.ln_weight.exp()[:, :, None] * said.mean).sum(1)
        return mean * self.step_sd + self.step_mean


Model = VmfModel | MdnModel
