"""Float32 features as int8, with an integer scale and an integer zero point per channel.

value = (code − zero_point) · scale · 2⁻²⁴, so a code means exactly the same number on every machine.
Queries are never quantised: the search multiplies float queries with decoded values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import AudioError

F32 = NDArray[np.float32]
I8 = NDArray[np.int8]
I64 = NDArray[np.int64]

#: What one step of `scale` is worth.
UNIT = 2.0**-24
# 253 steps leave room for the rounding of the zero point at both ends, so that nothing is clipped.
_STEPS = 253
HIGHEST_SCALE = 2**31 - 1
HIGHEST_ZERO_POINT = 2**23


@dataclass(frozen=True)
class Quantiser:
    """Scale and zero point of each channel.

    Attributes
    ----------
    scale : int64 [shape=(channels,)], 1 to 2³¹ − 1, in units of 2⁻²⁴
    zero_point : int64 [shape=(channels,)], ± 2²³, the code of value 0; it may lie outside −128..127
    """

    scale: I64
    zero_point: I64

    @classmethod
    def fit(cls, values: F32) -> Quantiser:
        """For the range each column of `values` spans [shape=(rows, channels), rows ≥ 1].

        AudioError for values that are not finite, or span more than about 32,000.
        """
        if not np.isfinite(values).all():
            raise AudioError("features hold NaN or Inf; they cannot be quantised")
        low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
        scale = np.ceil((high - low) / (_STEPS * UNIT))
        # A channel far from zero with hardly any range: zero points stay exact in float32, and the
        # step no smaller than what float32 resolves there.
        scale = np.maximum(np.maximum(scale, 1.0), np.ceil(np.maximum(np.abs(low), np.abs(high)) / (UNIT * 2.0**22)))
        if np.any(scale > HIGHEST_SCALE):
            raise AudioError(f"features that span {np.max(high - low):.3g} are too far apart to quantise")
        zero = -128 - np.floor(low / (scale * UNIT))
        return cls(scale.astype(np.int64), zero.astype(np.int64))

    @property
    def step(self) -> NDArray[np.float64]:
        """Distance between neighbouring codes [shape=(channels,)]; rounding errs by half of it at most."""
        return self.scale.astype(np.float64) * UNIT

    def quantise(self, values: F32) -> I8:
        """Nearest codes [the same shape]; values outside the fitted range go to its ends."""
        codes = np.rint(values.astype(np.float64) / self.step) + self.zero_point
        return np.clip(codes, -128, 127).astype(np.int8)

    def dequantise(self, codes: I8) -> F32:
        """Values of codes, float32 [the same shape]."""
        # The difference is an integer below 2²⁴, exact in float32; the product rounds once.
        out = codes.astype(np.float32)
        out -= self.zero_point.astype(np.float32)
        out *= self.step.astype(np.float32)
        return out
