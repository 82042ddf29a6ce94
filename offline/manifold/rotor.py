"""Dynamics without weights: the rotation of the sphere that explains the past best, and the past averaged along it.

Coupled oscillators that keep their rates move a point on the sphere by one fixed rotation per frame. The
rotation is found from the states themselves, as in orthogonal Procrustes analysis (Schönemann 1966), and the
state is the mean of all past states, each turned on to the present: Kuramoto's pull towards the others, in
the frame that turns along. No noise shrinks it, as it shrinks a least-squares operator, so that a long gap
neither fades nor grows.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Newton-Schulz steps of the polar factor: each multiplies a small singular value by 1.5, up to 1. After 12, a
#: plane with 1 % of the energy is whole, and noise at 0.1 % is still held down, which cleans the state.
POLAR_STEPS = 12
#: States at the start that the refined rotation leaves out: their means are of too few frames.
SETTLING_FRAMES = 8


@torch.no_grad()
def polar(m: Tensor) -> Tensor:
    """The orthogonal factor of matrices [shape=(…, d, d)], on what stands above the noise (Björck and Bowie 1971).

    Without gradient: that of a polar factor is unbounded where two singular values near each other's negative.
    """
    x: Tensor = m / m.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-12)
    for _ in range(POLAR_STEPS):
        x = 1.5 * x - 0.5 * (x @ x.transpose(-1, -2) @ x)
    return x


def rotation(z: Tensor) -> Tensor:
    """The rotation that takes each state to the next [shape=(batch, length, d) -> (batch, d, d)]; length ≥ 2."""
    with torch.no_grad():
        return polar(z[:, 1:].transpose(1, 2) @ z[:, :-1])


def averaged(z: Tensor, turns: Tensor) -> Tensor:
    """Running mean of states, each turned on to the present.

    `turns` [shape=(batch, length, d, d)]: the rotation into each frame; its first is not used.
    """
    state = z[:, 0]
    out = [state]
    for t in range(1, z.shape[1]):
        turned = (turns[:, t] @ state[:, :, None])[:, :, 0]
        state = (t * turned + z[:, t]) / (t + 1.0)
        out.append(state)
    return torch.stack(out, 1)


def one_ahead(z: Tensor) -> Tensor:
    """Every state one frame on, each from what came before it alone [not on the sphere yet]; the first stays."""
    with torch.no_grad():
        sums = torch.cumsum(z[:, 1:, :, None] * z[:, :-1, None, :], 1)
        still = torch.eye(z.shape[2], dtype=z.dtype, device=z.device).expand(len(z), 1, -1, -1)
        turns = torch.cat([still, polar(sums)], 1)
    state = averaged(z, turns)
    return (turns @ state[..., None])[..., 0]


def settle(z: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation and present state of a past [shapes (batch, d, d) and (batch, d)], in two passes.

    The states averaged along a first rotation are cleaner, and give the second.
    """
    length = z.shape[1]
    if length < 2:
        eye = torch.eye(z.shape[2], dtype=z.dtype, device=z.device)
        return eye.expand(len(z), -1, -1), z[:, -1]
    turn = rotation(z)
    if length >= SETTLING_FRAMES + 2:
        with torch.no_grad():
            clean = averaged(z, turn[:, None].expand(-1, length, -1, -1))
        turn = rotation(clean[:, SETTLING_FRAMES:])
    return turn, averaged(z, turn[:, None].expand(-1, length, -1, -1))[:, -1]
