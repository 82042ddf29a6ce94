"""What an index is made of: sample rate, hop, the two banks, and the features of a frame."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ..bank import BankSpec

F32 = NDArray[np.float32]

#: Longest window, in seconds, that a search may compare. Pieces of one long file overlap by as much,
#: so that every such window lies whole in a piece.
LONGEST_WINDOW_S = 10.0

#: A window's features are taken as at least this far from flat, per value (rms), so that silence,
#: which has no shape, is not blown up to look like anything: a tenth of what a quiet passage has.
FLATNESS = 0.005


class IndexSpec(BaseModel):
    """Settings an index is built with; they are stored in it and hold for its whole life."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(24_000, ge=8_000, le=96_000)
    #: Time between frames, in seconds of `sample_rate` samples: see `hop`.
    hop_ms: float = Field(20.0, ge=1.0, le=100.0)
    #: Energies of these oscillators are the features. Few and wide: ringing over 0.1 s would smear them.
    bank: BankSpec = BankSpec(oscillators=32, low_hz=100.0, high_hz=7500.0, q=6.0)
    #: A feature is (mean |z|² of the frame) ** power. A quarter is the square root of the magnitude.
    power: float = Field(0.25, gt=0.0, le=1.0)
    #: States of these oscillators are compared at every sample around the candidates.
    fine: BankSpec = BankSpec()
    dtype: Literal["int8", "float32"] = "int8"

    @property
    def hop(self) -> int:
        """Samples from frame to frame."""
        return max(1, round(self.hop_ms * 1e-3 * self.sample_rate))

    @property
    def channels(self) -> int:
        """Features per frame: one per oscillator."""
        return self.bank.oscillators

    @property
    def overlap_frames(self) -> int:
        """Frames that consecutive pieces of one file share."""
        return int(np.ceil(LONGEST_WINDOW_S * self.sample_rate / self.hop))

    def compress(self, energies: F32) -> F32:
        """Features of mean energies [shape=(frames, oscillators)], 0 and above, same shape."""
        # Two square roots are ten times faster than a general power.
        return np.sqrt(np.sqrt(energies)) if self.power == 0.25 else energies**self.power

    def features(self, x: F32) -> F32:
        """Features of every whole frame of a sound [shape=(samples,)], the bank starting at rest."""
        return self.compress(self.bank.bank(self.sample_rate, self.hop).energies(np.ascontiguousarray(x, np.float32)))

    def check(self) -> None:
        """ParameterError where a bank cannot run at `sample_rate`."""
        self.bank.poles(self.sample_rate)
        self.fine.poles(self.sample_rate)
