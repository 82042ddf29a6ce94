"""The manifold as a stream of frames in torch: explicit states, one frame in and out, for ONNX.

A frame's channels stand one after the other in the place of a hop's samples, as the codec's values do. The
parameter `lost` says that a frame did not come: then its state is rolled on from the past. The output is the
decoded state either way. `_native.ManifoldStepper.step` does the same in Rust.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...plugins._errors import ParameterError
from .model import Manifold, unit
from .rotor import POLAR_STEPS, SETTLING_FRAMES

#: Parameter of the packages: above 0.5 the frame did not come.
LOST = "lost"


class Live(nn.Module):
    """`forward(audio, *states, lost)` -> `(audio, *states)`; `states` says their names and shapes, zeros at first.

    audio : [shape=(1, 1, channels)], a frame
    """

    def __init__(self, model: Manifold, history_frames: int):
        super().__init__()
        spec = model.spec
        if spec.rotation not in ("none", "static"):
            raise ParameterError(
                f"rotation is {spec.rotation!r}, which is known after 16 frames only; one frame at a time goes with "
                "none or static"
            )
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.model.rotation.keep()
        self.model.dynamics.keep()
        self.window = history_frames
        self.dynamics = spec.dynamics
        taps = self.model.dynamics.memory_taps()
        self.taps = None if taps is None else taps.detach()[:, :history_frames]
        d = spec.latent
        self.convs = [c for c in self.model.encoder.convs if isinstance(c, nn.Conv1d)]
        self.states: dict[str, tuple[int, ...]] = {
            f"heard{i}": (1, conv.in_channels, (conv.kernel_size[0] - 1) * conv.dilation[0])
            for i, conv in enumerate(self.convs)
        }
        #: How many frames came or were put in, up to the window.
        self.states["count"] = (1,)
        kept = {"identity": 1, "residual": 1, "memory": 1 if taps is None else min(history_frames, taps.shape[1])}
        self.states["past"] = (1, kept.get(self.dynamics, history_frames), d)
        if self.dynamics == "residual":
            self.states["hidden"] = (1, d)
        if self.dynamics == "rotor":
            self.states |= {"rolling": (1,), "turn": (1, d, d), "turning": (1, d)}

    def forward(self, audio: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        old = dict(zip(self.states, values[:-1], strict=True))
        lost = (values[-1] > 0.5).to(audio.dtype)
        count, past = old["count"], old["past"]
        on, extra = self._on(old, lost)
        # A lost frame before anything was heard: silence, and nothing is remembered.
        void = lost * (count < 0.5).to(audio.dtype)
        put_in = self.model.decode(on)
        frame = torch.where(lost[:, None] > 0.5, put_in, audio[:, 0])
        z, heard = self.encode(frame, old)
        state = torch.where(lost[:, None] > 0.5, on, z)
        new = {**heard, "count": torch.clamp(count + 1.0, max=float(self.window))}
        new["past"] = torch.cat([past[:, 1:], state[:, None]], 1)
        if self.dynamics == "residual":
            new["hidden"] = self.model.dynamics.cell(state, old["hidden"])
        if self.dynamics == "rotor":
            new |= {"rolling": lost, **extra}
        out = self.model.decode(state) * (1.0 - void)[:, None]
        kept = [old[n] * void + new[n] * (1.0 - void) for n in self.states]
        return (out[:, None], *kept)

    def encode(self, frame: Tensor, old: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """State of a frame [shape=(1, channels)], and the encoder's states after it."""
        encoder = self.model.encoder
        h = frame[:, :, None]
        if encoder.residual:
            h = encoder.inlet(h)
        heard = {}
        for i, conv in enumerate(self.convs):
            whole = torch.cat([old[f"heard{i}"], h], 2)
            heard[f"heard{i}"] = whole[:, :, 1:]
            y = functional.conv1d(whole, conv.weight, conv.bias, dilation=conv.dilation)
            h = h + functional.silu(y) if encoder.residual else functional.relu(y)
        raw: Tensor = encoder.outlet(h)[:, :, 0]
        return self.model.place(raw[:, None])[:, 0], heard

    def _on(self, old: dict[str, Tensor], lost: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The state one frame on, and what the rotor remembers of its rollout."""
        dynamics, past = self.model.dynamics, old["past"]
        last = past[:, -1]
        if self.dynamics == "identity":
            return last, {}
        if self.dynamics == "residual":
            return dynamics.retract(last + dynamics.cell_outlet(old["hidden"])), {}
        if self.dynamics == "rotor":
            return self._rolled(old, lost)
        memory = torch.zeros_like(last)[:, None]
        if self.taps is not None:
            reach = self.taps.shape[1]
            memory = (past[:, -reach:] * self.taps.flip(1).transpose(0, 1)).sum(1, keepdim=True)
        # Places that no state has filled yet hold zeros, and a zero key pulls nowhere.
        weights = torch.ones(1, past.shape[1])
        if self.model.spec.divide_by_count:
            weights = weights / old["count"].clamp(min=1.0)[:, None]
        return dynamics.step(last[:, None], past, memory, weights)[:, 0], {}

    def _rolled(self, old: dict[str, Tensor], lost: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        begins = (old["rolling"] < 0.5)[:, None]
        turn, state = _settle(old["past"], old["count"])
        turn = torch.where(begins[:, :, None], turn, old["turn"])
        state = torch.where(begins, state, old["turning"])
        on = unit((turn @ state[:, :, None])[:, :, 0])
        return on, {"turn": turn * lost[:, None, None], "turning": on * lost[:, None]}


def _polar(m: Tensor) -> Tensor:
    x = m / m.square().sum((-2, -1), keepdim=True).sqrt().clamp(min=1e-12)
    for _ in range(POLAR_STEPS):
        x = 1.5 * x - 0.5 * (x @ x.transpose(-1, -2) @ x)
    return x


def _sums(z: Tensor, turn: Tensor) -> Tensor:
    """Σ R^(t − j) z_j over j ≤ t, for every t, in log₂ of the length steps (Hillis and Steele 1986)."""
    power, reach = turn, 1
    while reach < z.shape[1]:
        before = functional.pad(z[:, :-reach], (0, 0, reach, 0))
        z = z + before @ power.transpose(-1, -2)
        power, reach = power @ power, 2 * reach
    return z


def _settle(past: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """`rotor.settle` of the last `count` states, zeros before them."""
    length = past.shape[1]
    eye = torch.eye(past.shape[2])[None]
    if length < 2:
        return eye, past[:, -1]
    # Place of each state among those that count, from 0; negative where there is none.
    place = torch.arange(float(length))[None] - (length - count)[:, None]
    turn = _polar(past[:, 1:].transpose(1, 2) @ past[:, :-1])
    clean = _sums(past, turn) / (place + 1.0).clamp(min=1.0)[:, :, None]
    settled = clean * (place >= SETTLING_FRAMES).to(past.dtype)[:, :, None]
    second = _polar(settled[:, 1:].transpose(1, 2) @ settled[:, :-1])
    turn = torch.where((count >= SETTLING_FRAMES + 2)[:, None, None], second, turn)
    turn = torch.where((count >= 2)[:, None, None], turn, eye)
    mean = _sums(past, turn)[:, -1] / count.clamp(min=1.0)[:, None]
    return turn, mean
