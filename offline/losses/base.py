"""What every loss is: a module that takes (batch, T) twice and gives a total and its named terms."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...plugins._errors import ParameterError
from ..transform.checks import pair

Terms = dict[str, Tensor]


class Loss(nn.Module, ABC):
    """A difference between two batches of sounds; 0 (or its least) where they are equal.

    Calling it gives `(total, terms)`: `terms` are named scalars, already weighted, and sum to
    `total`. They carry gradients, so that one can ask which term pulls how hard; log `term.item()`.

    Shape
    -----
    estimate, target : (batch, T) each, real; AudioError for anything else, for NaN and Inf (unless
    `check_finite` is off, which spares a GPU the wait), and for fewer than `shortest_samples`
    """

    def __init__(self, *, check_finite: bool = True):
        super().__init__()
        self.check_finite = check_finite

    @property
    def shortest_samples(self) -> int:
        """The shortest sound that can be compared."""
        return 1

    def forward(self, estimate: Tensor, target: Tensor) -> tuple[Tensor, Terms]:
        """The total and its terms, each a scalar; a mean over the batch."""
        estimate, target = pair(estimate, target, at_least=self.shortest_samples, finite=self.check_finite)
        terms = self.terms(estimate, target)
        return torch.stack(list(terms.values())).sum(), terms

    @abstractmethod
    def terms(self, estimate: Tensor, target: Tensor) -> Terms:
        """The weighted terms of checked sounds."""


class WeightedSum(Loss):
    """Several losses at once, each times its weight; a term is called `<part>` or `<part>.<its own name>`.

    Parameters
    ----------
    parts : name -> (weight, loss); a weight of 0 leaves the part out
    """

    def __init__(self, parts: Mapping[str, tuple[float, Loss]], *, check_finite: bool = True):
        super().__init__(check_finite=check_finite)
        for name, (weight, _) in parts.items():
            if not (math.isfinite(weight) and weight >= 0.0):
                raise ParameterError(f"weight of {name} is {weight}; it must be finite and 0 or more")
        self.weights = {name: float(weight) for name, (weight, _) in parts.items() if weight > 0.0}
        if not self.weights:
            raise ParameterError("every weight is 0; at least one term must count")
        # A list: a ModuleDict cannot have a key that is a method of modules, such as `half`.
        self.parts = nn.ModuleList(parts[name][1] for name in self.weights)

    @property
    def shortest_samples(self) -> int:
        """The shortest sound that can be compared."""
        return max(p.shortest_samples for p in self.parts if isinstance(p, Loss))

    def terms(self, estimate: Tensor, target: Tensor) -> Terms:
        """The weighted terms of checked sounds."""
        out: Terms = {}
        for (name, weight), part in zip(self.weights.items(), self.parts, strict=True):
            assert isinstance(part, Loss)
            inner = part.terms(estimate, target)
            for key, value in inner.items():
                out[name if len(inner) == 1 else f"{name}.{key}"] = weight * value
        return out
