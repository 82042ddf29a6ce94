"""Causal encoder to the unit sphere, one Runge-Kutta step of memory and coupling, pointwise decoder."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...plugins._errors import AudioError
from . import fractional, rotor
from .spec import ModelSpec

#: Rows of the attention that are computed at a time: keys after a block's last row are left out.
ATTENTION_ROWS = 32
#: Frames that a context-dependent rotation is computed from: the first ones, so that no frame sees its future.
CONTEXT_FRAMES = 16


def unit(x: Tensor) -> Tensor:
    """Onto the sphere; the zero vector has no direction and goes to a pole."""
    norm = x.norm(dim=-1, keepdim=True)
    pole = torch.zeros_like(x)
    pole[..., 0] = 1.0
    return torch.where(norm > 1e-8, x / norm.clamp_min(1e-8), pole)


def cayley(w: Tensor) -> Tensor:
    """The rotation (1 + A)⁻¹ (1 − A) of A = w − wᵀ [shape=(…, d, d)]."""
    a = w - w.transpose(-2, -1)
    eye = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device)
    turn: Tensor = torch.linalg.solve(eye + a, eye - a)
    return turn


class Encoder(nn.Module):
    """Frames [shape=(batch, length, channels)] -> latent before the norm [shape=(batch, length, latent)], causal."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.residual = spec.encoder == "residual"
        if self.residual:
            self.inlet = nn.Conv1d(spec.channels, spec.width, 1)
            self.convs = nn.ModuleList(nn.Conv1d(spec.width, spec.width, 3, dilation=2**i) for i in range(spec.layers))
        else:
            self.convs = nn.ModuleList(nn.Conv1d(c, spec.width, 5) for c in (spec.channels, spec.width))
        self.outlet = nn.Conv1d(spec.width, spec.latent, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        h = x.transpose(1, 2)
        if self.residual:
            h = self.inlet(h)
        for conv in self.convs:
            assert isinstance(conv, nn.Conv1d)
            reach = (conv.kernel_size[0] - 1) * conv.dilation[0]
            y = conv(functional.pad(h, (reach, 0)))
            h = h + functional.silu(y) if self.residual else functional.relu(y)
        out: Tensor = self.outlet(h)
        return out.transpose(1, 2)


class Rotation(nn.Module):
    """Turns the latent space: not at all, by a learned rotation, or by one that depends on the first frames."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.kind, d = spec.rotation, spec.latent
        #: A static rotation found once, for exports: ONNX has no solver.
        self.kept: Tensor | None = None
        if self.kind == "static":
            self.weight = nn.Parameter(torch.zeros(d, d))
        elif self.kind != "none":
            inputs = {"mean": d, "covariance": d * d, "velocity": d, "ends": 2 * d}[self.kind]
            self.hidden, self.outlet = nn.Linear(inputs, 128), nn.Linear(128, d * d)
            nn.init.zeros_(self.outlet.weight)
            nn.init.zeros_(self.outlet.bias)

    def forward(self, z: Tensor) -> Tensor:
        """The latent states turned, by the Cayley map of an antisymmetric matrix."""
        if self.kind == "none":
            return z
        d = z.shape[-1]
        if self.kept is not None:
            return z @ self.kept.transpose(1, 2)
        if self.kind == "static":
            w = self.weight[None]
        else:
            w = self.outlet(functional.relu(self.hidden(self._context(z[:, :CONTEXT_FRAMES])))).reshape(-1, d, d)
        return z @ cayley(w).transpose(1, 2)

    def keep(self) -> None:
        """Finds a static rotation once and for all."""
        if self.kind == "static":
            self.kept = cayley(self.weight[None]).detach()

    def _context(self, first: Tensor) -> Tensor:
        if self.kind == "mean":
            return first.mean(1)
        if self.kind == "covariance":
            return (first.transpose(1, 2) @ first / first.shape[1]).flatten(1)
        if self.kind == "velocity":
            return (first[:, 1:] - first[:, :-1]).mean(1) if first.shape[1] > 1 else torch.zeros_like(first[:, 0])
        return torch.cat([first[:, 0], first[:, -1]], 1)


class Dynamics(nn.Module):
    """One frame ahead: states and their past -> states [shape=(batch, length, latent)]."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.spec, d = spec, spec.latent
        self.sphere = spec.space != "euclid"
        on = spec.dynamics
        self.remembers, self.couples = on in ("memory", "full"), on in ("kuramoto", "full")
        self.taps: nn.Parameter | None = None
        self.mix: nn.Parameter | None = None
        #: The lag's rotation found once, for exports.
        self.kept: Tensor | None = None
        zero = spec.start == "zero"
        if on == "residual":
            self.cell = nn.GRUCell(d, d)
            self.cell_outlet = nn.Linear(d, d)
            if zero:
                nn.init.zeros_(self.cell_outlet.weight)
                nn.init.zeros_(self.cell_outlet.bias)
        if self.remembers:
            scale = 0.0 if zero else 1.0 / math.sqrt(spec.memory_taps)
            if spec.memory != "fractional":
                self.taps = nn.Parameter(scale * torch.randn(d, spec.memory_taps))
            if spec.memory != "free":
                self.mix = nn.Parameter(scale * torch.randn(d, len(spec.gammas)))
                gammas = torch.tensor(spec.gammas)
                # Kept between 0 and 1 by a logistic.
                self.gamma_logit = nn.Parameter(torch.logit(gammas), requires_grad=spec.learn_gammas)
        if self.couples:
            self.coupling = nn.Linear(d, d, bias=False)
            if zero:
                nn.init.zeros_(self.coupling.weight)
            self.alpha = nn.Parameter(torch.tensor(spec.alpha_start))
            if spec.attention == "kuramoto":
                self.lag = nn.Parameter(torch.zeros(d, d))

    @property
    def gammas(self) -> Tensor | None:
        """Exponents of the fractional kernels, as learned."""
        return torch.sigmoid(self.gamma_logit) if self.mix is not None else None

    def memory_taps(self) -> Tensor | None:
        """The memory as one filter per dimension, lag 0 first [shape=(latent, taps)]; None without a memory."""
        if not self.remembers:
            return None
        total: Tensor | None = self.taps
        if self.mix is not None:
            gammas = self.gammas
            assert gammas is not None
            power = self.mix @ fractional.kernel(gammas, self.spec.memory_taps)
            total = power if total is None else total + power
        return total

    def forward(self, z: Tensor) -> Tensor:
        """Every state one frame on, each from itself and what came before it."""
        if self.spec.dynamics == "identity":
            return z
        if self.spec.dynamics == "residual":
            return self._recurrent(z)
        if self.spec.dynamics == "rotor":
            return unit(rotor.one_ahead(z))
        length = z.shape[1]
        taps = self.memory_taps()
        memory = torch.zeros_like(z) if taps is None else fractional.causal(z, taps)
        weights = torch.tril(torch.ones(length, length, dtype=z.dtype, device=z.device))
        if self.spec.divide_by_count:
            weights = weights / torch.arange(1, length + 1, dtype=z.dtype, device=z.device)[:, None]
        return self.step(z, z, memory, weights)

    def ahead(self, past: Tensor, taps: Tensor | None = None) -> Tensor:
        """The state after the last [shape=(batch, latent)], given all states up to it [(batch, length, latent)].

        `taps`: what `memory_taps` gave, for many calls in a row.
        """
        if self.spec.dynamics in ("identity", "residual", "rotor"):
            whole: Tensor = self(past)
            return whole[:, -1]
        last, length = past[:, -1:], past.shape[1]
        taps = self.memory_taps() if taps is None else taps
        if taps is None:
            memory = torch.zeros_like(last)
        else:
            reach = min(length, taps.shape[1])
            memory = (past[:, -reach:] * taps[:, :reach].flip(1).transpose(0, 1)).sum(1, keepdim=True)
        weights = torch.full((1, length), 1.0 / length if self.spec.divide_by_count else 1.0, dtype=past.dtype)
        return self.step(last, past, memory, weights.to(past.device))[:, 0]

    def _recurrent(self, z: Tensor) -> Tensor:
        hidden = torch.zeros_like(z[:, 0])
        out = []
        for t in range(z.shape[1]):
            hidden = self.cell(z[:, t], hidden)
            out.append(self.retract(z[:, t] + self.cell_outlet(hidden)))
        return torch.stack(out, 1)

    def recurred(self, z: Tensor, frames: int) -> Tensor:
        """The recurrent unit's `frames` states after a past, its own state carried on."""
        hidden = torch.zeros_like(z[:, 0])
        for t in range(z.shape[1]):
            hidden = self.cell(z[:, t], hidden)
        state, out = z[:, -1], []
        for _ in range(frames):
            state = self.retract(state + self.cell_outlet(hidden))
            hidden = self.cell(state, hidden)
            out.append(state)
        return torch.stack(out, 1) if out else z[:, :0]

    def retract(self, s: Tensor) -> Tensor:
        """Back onto the sphere, if there is one."""
        return unit(s) if self.sphere else s

    def _velocity(self, s: Tensor, keys: Tensor, memory: Tensor, weights: Tensor) -> Tensor:
        force = memory
        if self.couples:
            if self.spec.attention == "sakaguchi":
                pull = self._sakaguchi(s, keys, weights)
            else:  # Kuramoto on the sphere: towards the mean of the past, turned by the lag
                turn = cayley(self.lag) if self.kept is None else self.kept
                pull = (weights @ keys) @ turn.T
            force = force + self.coupling(pull)
        if not self.sphere:
            return force
        return force - (force * s).sum(-1, keepdim=True) * s

    def keep(self) -> None:
        """Finds the lag's rotation once and for all."""
        if self.couples and self.spec.attention == "kuramoto":
            self.kept = cayley(self.lag).detach()

    def _sakaguchi(self, s: Tensor, keys: Tensor, weights: Tensor) -> Tensor:
        """Σ_j weights[i, j] sin(<s_i, k_j> + alpha) k_j; of a whole sequence in blocks, without the zeros of most."""
        rows = s.shape[1]
        out = []
        for first in range(0, rows, ATTENTION_ROWS):
            last = min(first + ATTENTION_ROWS, rows)
            seen = keys[:, : last if rows == keys.shape[1] else None]
            angle = s[:, first:last] @ seen.transpose(1, 2) + self.alpha
            out.append((torch.sin(angle) * weights[first:last, : seen.shape[1]]) @ seen)
        return out[0] if len(out) == 1 else torch.cat(out, 1)

    def step(self, s: Tensor, keys: Tensor, memory: Tensor, weights: Tensor) -> Tensor:
        """Runge-Kutta of order 4 over one frame, every stage back on the sphere; the past stays as it is."""
        h = 1.0 / self.spec.substeps
        for _ in range(self.spec.substeps):
            k1 = self._velocity(s, keys, memory, weights)
            k2 = self._velocity(self.retract(s + 0.5 * h * k1), keys, memory, weights)
            k3 = self._velocity(self.retract(s + 0.5 * h * k2), keys, memory, weights)
            k4 = self._velocity(self.retract(s + h * k3), keys, memory, weights)
            s = self.retract(s + (h / 6.0) * (k1 + 2.0 * k2 + 2.0 * k3 + k4))
        return s


@dataclass
class Passed:
    """What a pass over whole sequences gives [shape=(batch, length, …) each]."""

    #: Encoder's state, without noise, and as the dynamics got it.
    mean: Tensor
    latent: Tensor
    #: Standard deviation of the noise; None where there is none.
    sigma: Tensor | None
    #: Dynamics' state for the next frame, and both decoded.
    ahead: Tensor
    prediction: Tensor
    reconstruction: Tensor


class Manifold(nn.Module):
    """The model. Sequences are float32 [shape=(batch, length, channels)] or one alone [shape=(length, channels)]."""

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.spec = spec
        self.encoder = Encoder(spec)
        self.rotation = Rotation(spec)
        self.dynamics = Dynamics(spec)
        hidden = spec.decoder_width
        self.decoder: nn.Module = (
            nn.Sequential(nn.Linear(spec.latent, hidden), nn.ReLU(), nn.Linear(hidden, spec.channels))
            if hidden
            else nn.Linear(spec.latent, spec.channels)
        )
        if spec.space == "sampled":
            self.spread = nn.Linear(spec.latent, spec.latent)
            nn.init.constant_(self.spread.bias, math.log(math.expm1(spec.sigma_start)))

    def batched(self, x: Tensor) -> Tensor:
        """`x` with a batch axis. Raises AudioError for other shapes, with what was expected."""
        if x.dim() == 2:
            x = x[None]
        if x.dim() != 3 or x.shape[2] != self.spec.channels or x.shape[1] < 1:
            raise AudioError(
                f"sequences of shape {tuple(x.shape)} do not go in; (length, {self.spec.channels}) or "
                f"(batch, length, {self.spec.channels}) is needed, with a length of at least 1"
            )
        if not bool(torch.isfinite(x).all()):
            raise AudioError("the sequences hold NaN or Inf")
        return x

    def encode(self, x: Tensor) -> Tensor:
        """States, without noise [shape=(batch, length, latent)]."""
        return self.place(self.encoder(self.batched(x)))

    def decode(self, z: Tensor) -> Tensor:
        """Frames of states, each alone."""
        frames: Tensor = self.decoder(z)
        return frames

    def rollout(self, z: Tensor, frames: int, *, window: int | None = None) -> Tensor:
        """States of the `frames` after a past [shape=(batch, length, latent)], each from the last `window` before it.

        Without a window, from all before it. The rotor's rotation and the recurrent unit's state are found
        from the window once and carried through the gap.
        """
        if self.spec.dynamics == "rotor":
            return self._turned(z if window is None else z[:, -window:], frames)
        if self.spec.dynamics == "residual":
            return self.dynamics.recurred(z if window is None else z[:, -window:], frames)
        past, out, taps = z, [], self.dynamics.memory_taps()
        for _ in range(frames):
            out.append(self.dynamics.ahead(past if window is None else past[:, -window:], taps))
            past = torch.cat([past, out[-1][:, None]], 1)
        return torch.stack(out, 1) if out else z[:, :0]

    def _turned(self, z: Tensor, frames: int) -> Tensor:
        """The rotor's rotation and state are found once, from the past, and kept through the gap."""
        turn, state = rotor.settle(z)
        out = []
        for _ in range(frames):
            state = unit((turn @ state[:, :, None])[:, :, 0])
            out.append(state)
        return torch.stack(out, 1) if out else z[:, :0]

    def forward(self, x: Tensor) -> Passed:
        """All of it; noise along the sphere is drawn in training only."""
        raw = self.encoder(self.batched(x))
        mean = self.place(raw)
        latent, sigma = mean, None
        if self.spec.space == "sampled":
            sigma = functional.softplus(self.spread(raw)) + 1e-5
            if self.training:
                latent = sample(mean, sigma)
        ahead = self.dynamics(latent)
        return Passed(mean, latent, sigma, ahead, self.decode(ahead), self.decode(latent))

    def place(self, raw: Tensor) -> Tensor:
        """The encoder's output as states: on the sphere, turned."""
        turned: Tensor = self.rotation(raw if self.spec.space == "euclid" else unit(raw))
        return turned


def sample(mean: Tensor, sigma: Tensor) -> Tensor:
    """A point near `mean` on the sphere: normal noise of `sigma`, its tangent part, the exponential map."""
    v = sigma * torch.randn_like(mean)
    v = v - (v * mean).sum(-1, keepdim=True) * mean
    length = v.norm(dim=-1, keepdim=True).clamp_min(1e-8)
    moved: Tensor = torch.cos(length) * mean + torch.sin(length) * v / length
    return moved
