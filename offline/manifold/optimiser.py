"""Optimisers of a training by name: AdamW for all, or Muon for the encoder's convolutions and AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .model import Manifold
from .spec import TrainSpec

#: Quintic Newton-Schulz step of Muon: singular values come to 0.7 … 1.2 in five, not to 1 exactly.
QUINTIC = (3.4445, -4.7750, 2.0315)
NEWTON_STEPS = 5
#: Size of an update at equal learning rate: the rms that AdamW's has (Liu et al. 2025).
ADAM_RMS = 0.2


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal before they are applied (Jordan 2024, Nesterov form).

    Every direction of a weight's input moves as fast as the strongest, so weak ones (the quiet tones) are not left
    behind. A convolution's weight is taken as a matrix of outputs by inputs and taps.
    """

    def __init__(
        self, params: list[torch.nn.Parameter], *, lr: float, momentum: float = 0.95, weight_decay: float = 1e-4
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update from the gradients as they stand; `closure` is not called."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                slot = self.state[p]
                if "momentum" not in slot:
                    slot["momentum"] = torch.zeros_like(p)
                slot["momentum"].mul_(group["momentum"]).add_(p.grad)
                moved = orthogonal((p.grad + group["momentum"] * slot["momentum"]).reshape(len(p), -1))
                p.mul_(1.0 - group["lr"] * group["weight_decay"])
                p.add_(moved.reshape(p.shape), alpha=-group["lr"] * ADAM_RMS * math.sqrt(max(moved.shape)))
        return None


def orthogonal(m: Tensor) -> Tensor:
    """A matrix near the orthogonal factor of `m` [shape=(rows, columns)], by Newton-Schulz steps of degree five."""
    a, b, c = QUINTIC
    tall = m.shape[0] > m.shape[1]
    x: Tensor = m.T if tall else m
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(NEWTON_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Optimiser:
    """What a training steps: one torch optimiser or two, with one learning rate and one state."""

    def __init__(self, model: Manifold, spec: TrainSpec):
        matrices: list[torch.nn.Parameter] = []
        if spec.optimiser == "muon":
            matrices = [p for name, p in model.encoder.named_parameters() if "convs" in name and p.dim() > 1]
        taken = {id(p) for p in matrices}
        rest = [p for p in model.parameters() if id(p) not in taken]
        #: Each with the share of the learning rate that it gets.
        self._parts: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.AdamW(rest, lr=spec.learning_rate, weight_decay=1e-4), 1.0)
        ]
        if matrices:
            self._parts.append((Muon(matrices, lr=spec.learning_rate), spec.muon_rate))

    def step(self, learning_rate: float) -> None:
        """One update of all weights."""
        for part, share in self._parts:
            for group in part.param_groups:
                group["lr"] = share * learning_rate
            part.step()

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for part, _ in self._parts:
            part.zero_grad(set_to_none=True)

    @property
    def slots(self) -> dict[int, dict[str, Any]]:
        """State by parameter, AdamW's first; a parameter that never had a gradient has none."""
        found: dict[int, dict[str, Any]] = {}
        for first, part in self._counted():
            found |= {first + i: slot for i, slot in part.state_dict()["state"].items()}
        return found

    def load(self, slots: dict[int, dict[str, Any]]) -> None:
        """Goes on from `slots`."""
        for first, part in self._counted():
            groups = part.state_dict()["param_groups"]
            count = sum(len(g["params"]) for g in groups)
            mine = {i: slots[first + i] for i in range(count) if first + i in slots}
            part.load_state_dict({"state": mine, "param_groups": groups})

    def _counted(self) -> list[tuple[int, torch.optim.Optimizer]]:
        """Each part with the number of parameters before it."""
        found, first = [], 0
        for part, _ in self._parts:
            found.append((first, part))
            first += sum(len(g["params"]) for g in part.param_groups)
        return found
