"""What a codec is: its transform's shape, its rate, and the presets that name them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...plugins._errors import ParameterError, near

#: Codes are −8191 … 8191. The encoder widens its step where a packet would need more.
CODE_MAX = 8191
#: Codes of one packet: their bytes then fit the fields of the container.
MOST_CODES = 32_768
#: Step sizes are powers of two in eighths (0.75 dB): step = 2^((index − STEP_ZERO) / STEPS_PER_OCTAVE).
STEPS_PER_OCTAVE = 8
STEP_ZERO = 228
STEP_MAX = 255


class CodecSpec(BaseModel):
    """A causal linear transform of frames, and how its values become bits.

    A frame of `hop` samples becomes `dims` values out of this frame and the `encoder_taps` − 1 before it;
    the sound comes back `lookahead` frames later out of `decoder_taps` frames of values. The algorithmic
    latency is `hop` (a frame must be full) + `lookahead` · `hop` samples.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(24_000, ge=8_000, le=192_000)
    hop: int = Field(64, ge=8, le=4096)
    dims: int = Field(64, ge=1, le=4096)
    encoder_taps: int = Field(2, ge=1, le=16)
    decoder_taps: int = Field(2, ge=1, le=16)
    lookahead: int = Field(1, ge=0, le=8)
    #: What the rate control aims at, on average over a few seconds.
    kbps: float = Field(96.0, gt=0.5, le=2000.0)
    #: Frames to a packet: what one checksum covers and one loss takes away.
    packet_frames: int = Field(32, ge=1, le=1024)

    @model_validator(mode="after")
    def _reach(self) -> CodecSpec:
        if self.lookahead >= self.decoder_taps + self.encoder_taps - 1:
            raise ValueError(f"lookahead {self.lookahead} is beyond what {self.decoder_taps} decoder taps see")
        if self.packet_frames * self.dims > MOST_CODES:
            raise ValueError(f"packets of {self.packet_frames} × {self.dims} codes are too large; at most {MOST_CODES}")
        return self

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop

    @property
    def latency_samples(self) -> int:
        """Between a sample going in and coming out of a live codec that waits for nothing else."""
        return self.hop * (1 + self.lookahead)

    @property
    def delay_samples(self) -> int:
        """Between input and output when frames are joined end to end (latency less one hop)."""
        return self.hop * self.lookahead

    @property
    def bits_per_frame(self) -> float:
        """What the rate control aims at."""
        return self.kbps * 1000.0 / self.frame_rate


PresetName = Literal["phase96", "phase144", "rate8", "rate16", "rate24"]

_PHASE = CodecSpec(hop=64, dims=64, encoder_taps=3, decoder_taps=3, packet_frames=48)
_RATE = CodecSpec(hop=384, dims=384, kbps=24.0, packet_frames=48)

#: phase: 5.3 ms. rate: 32 ms.
PRESETS: dict[str, CodecSpec] = {
    "phase96": _PHASE,
    "phase144": _PHASE.model_copy(update={"kbps": 144.0}),
    "rate8": _RATE.model_copy(update={"kbps": 8.0}),
    "rate16": _RATE.model_copy(update={"kbps": 16.0}),
    "rate24": _RATE,
}


def preset(name: str) -> CodecSpec:
    """The codec of a name. Raises ParameterError naming those there are."""
    if name not in PRESETS:
        raise ParameterError(f"there is no preset {name!r}{near(name, PRESETS) or '; there are ' + ', '.join(PRESETS)}")
    return PRESETS[name]
