"""The codec as streams for the engine: torch modules that take a hop and hand all state on.

Sums run in double precision and are rounded once, so that every runtime on every machine rounds the same
values to the same codes. The weights are the float16 of the model file.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .codec import Codec
from .quantise import step_size
from .spec import CODE_MAX, STEP_MAX

#: Of what silence has saved, a quarter may be spent at once; no more than this many hops' worth is kept.
SAVED_HOPS = 8.0
#: Bits of the range coder, with a byte for each hop's step, over the training's estimate: 1.40 on average over
#: crops of the training data, both models and two rates each (1.28 to 1.49). So many, since steps move at each hop.
REAL_BITS = 1.4


class Encoder(nn.Module):
    """A hop of sound -> the values of a frame, as `audio` of `dims` = `hop` samples."""

    def __init__(self, codec: Codec):
        super().__init__()
        self.analysis: Tensor
        self.register_buffer("analysis", _half(codec.analysis.T))

    def forward(self, audio: Tensor, heard: Tensor) -> tuple[Tensor, Tensor]:
        """Audio [shape=(1, 1, hop)], the frames before it, newest first -> values, the past of the next hop."""
        seen = torch.cat([audio.flatten(1), heard], dim=-1)
        z = (seen.double() @ self.analysis.double()).float()
        return z.unsqueeze(1), seen[:, : heard.shape[1]]


class Decoder(nn.Module):
    """The values of a frame -> a hop of sound, `delay_samples` later."""

    def __init__(self, codec: Codec):
        super().__init__()
        self.synthesis: Tensor
        self.register_buffer("synthesis", _half(codec.synthesis.T))

    def forward(self, audio: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Values [shape=(1, 1, dims)], those before them, newest first -> sound, the past of the next hop."""
        seen = torch.cat([audio.flatten(1), values], dim=-1)
        x = (seen.double() @ self.synthesis.double()).float()
        return x.unsqueeze(1), seen[:, : values.shape[1]]


class Live(nn.Module):
    """Sound -> codes -> sound, hop by hop: what is lost at a rate, heard while one plays.

    Every hop takes the finest step whose codes cost no more than its share of `quality` kbit/s and a
    quarter of what quieter hops have saved: `REAL_BITS` times the estimate that the model was trained with
    (½ log2(1 + 12 (z/step)²) bits a value). No bits are made: that is the work of the range coder.
    """

    def __init__(self, codec: Codec):
        super().__init__()
        self.encoder, self.decoder = Encoder(codec), Decoder(codec)
        self.hop, self.info = codec.spec.hop, codec.info
        self.bits_per_kbps = 1000.0 / codec.spec.frame_rate
        self.steps: Tensor
        self.register_buffer("steps", torch.from_numpy(step_size(np.arange(STEP_MAX + 1)).astype(np.float32)))

    def forward(
        self, audio: Tensor, heard: Tensor, values: Tensor, saved: Tensor, quality: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Audio [shape=(1, 1, hop)], states, kbit/s [shape=(1,)] -> audio and states; `saved` is in bits."""
        z, heard = self.encoder(audio, heard)
        share = (quality * self.bits_per_kbps).double()
        bits = saved.double()
        step = self.step(z.flatten(), share + 0.25 * bits)
        scaled = z.abs() / step
        codes = torch.floor(scaled + (0.5 - self.info.deadzone)).clamp(max=float(CODE_MAX))
        back = torch.where(codes > 0.0, codes - self.info.shrink, codes) * torch.sign(z) * step
        bits = bits + share - cost(z.flatten(), step)
        sound, values = self.decoder(back, values)
        return sound, heard, values, bits.clamp(share * -SAVED_HOPS, share * SAVED_HOPS).float()

    def step(self, z: Tensor, allowed: Tensor) -> Tensor:
        """The finest step whose cost is allowed [shape=(1,)], by bisection over the 256 there are."""
        least = (self.steps * (CODE_MAX + 0.49) < z.abs().amax(dim=-1, keepdim=True)).sum().reshape(1)
        low, high = torch.zeros_like(least), torch.full_like(least, STEP_MAX)
        for _ in range(8):
            middle = torch.div(low + high, 2, rounding_mode="floor")
            dear = cost(z, self.steps[middle]) > allowed
            low, high = torch.where(dear, middle + 1, low), torch.where(dear, high, middle)
        return self.steps[torch.maximum(low, least).clamp(max=STEP_MAX)]


def cost(z: Tensor, step: Tensor) -> Tensor:
    """Bits of a frame [shape=(1,)], estimated."""
    ratio = (z / step).double()
    return (0.5 * REAL_BITS * torch.log2(1.0 + 12.0 * ratio * ratio)).sum().reshape(1)


def _half(matrix: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix, np.float16))
