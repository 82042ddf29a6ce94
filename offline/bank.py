"""Which bank: where its oscillators lie and how fast they decay. The bank itself is the Rust one."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from .. import _native
from ..plugins._errors import ParameterError

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

#: Highest centre, as a share of the sample rate: at the Nyquist frequency an oscillator would be
#: real and half its channels dead (defect 4 of the original).
HIGHEST = 0.49


class BankSpec(BaseModel):
    """A bank of complex damped oscillators, z ← λ z + b x, λ = r exp(j 2π f / sample_rate), b = 1 − r."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    oscillators: int = Field(64, ge=1, le=4096)
    low_hz: float = Field(40.0, ge=1.0, le=96_000.0)
    high_hz: float = Field(11_000.0, ge=1.0, le=96_000.0)
    decay_law: Literal["constant_q", "legacy"] = "constant_q"
    #: Centre over −3 dB width; the ring time to −60 dB is 2.2 q periods. `constant_q` only.
    q: float = Field(8.0, gt=0.0, le=1000.0)
    legacy_r_low: float = Field(0.999, gt=0.0, lt=1.0)
    legacy_r_high: float = Field(0.6, gt=0.0, lt=1.0)

    @classmethod
    def original(cls) -> BankSpec:
        """The original's default: 64 nodes, 10 to 12000 Hz, radii 0.999 to 0.6 in equal steps."""
        return cls(low_hz=10.0, high_hz=12_000.0, decay_law="legacy")

    def centers_hz(self, sample_rate: float) -> F64:
        """Centre frequencies, evenly spaced in octaves, rising [shape=(oscillators,)], below 0.49 sample_rate."""
        high = min(self.high_hz, HIGHEST * sample_rate)
        if self.low_hz >= high and self.oscillators > 1:
            raise ParameterError(
                f"low_hz is {self.low_hz:g}; it must lie below high_hz, {high:g} Hz at {sample_rate:g} samples a second"
            )
        return np.geomspace(self.low_hz, high, self.oscillators) if self.oscillators > 1 else np.array([self.low_hz])

    def poles(self, sample_rate: float) -> tuple[F64, F64]:
        """Decay in nepers and angle in radians per sample [shape=(oscillators,) each], λ = exp(−decay + j angle)."""
        return _native.bank_poles(
            self.centers_hz(sample_rate), sample_rate, self.decay_law, self.q, self.legacy_r_low, self.legacy_r_high
        )

    def drive(self, sample_rate: float) -> F64:
        """B = 1 − |λ|: a tone at a centre comes out at its own level [shape=(oscillators,)]."""
        return -np.expm1(-self.poles(sample_rate)[0])

    def ring_samples(self, sample_rate: float, decay_db: float = 60.0) -> int:
        """Samples until the slowest oscillator has rung down by `decay_db`."""
        return int(np.ceil(decay_db / 20.0 * np.log(10.0) / self.poles(sample_rate)[0].min()))

    def bank(self, sample_rate: float, hop: int = 1) -> _native.OscillatorBank:
        """The Rust bank, at rest, giving its states at every `hop`th sample."""
        return _native.OscillatorBank(*self.poles(sample_rate), hop)


def forward_states(x: F32, spec: BankSpec, sample_rate: float, hop: int = 1) -> F32:
    """Re F (N), Im F (N) after samples 0, hop, 2 hop … [shape=(frames, 2 N)] of a sound [shape=(samples,)]."""
    return spec.bank(sample_rate, hop).process(np.ascontiguousarray(x, np.float32))


def bidirectional_states(x: F32, spec: BankSpec, sample_rate: float) -> F32:
    """Re F, Im F, Re B, Im B at every sample [shape=(samples, 4 N)]; B is the bank run over the reversed sound.

    The whole sound in memory: 16 N bytes per sample. For long sounds take pieces with a margin of
    `spec.ring_samples`, or `cspace.offline.transform`.
    """
    forward = forward_states(x, spec, sample_rate)
    backward = forward_states(x[::-1], spec, sample_rate)[::-1]
    return np.concatenate([forward, backward], axis=1)
