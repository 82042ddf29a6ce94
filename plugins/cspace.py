"""Bank of damped oscillators: the sound as coordinates, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._base import NativePlugin


class CSpace(NativePlugin, native="cspace"):
    """A causal bank of complex damped oscillators, to freeze, blur, shift and shape the sound in its bands.

    Oscillator k follows z ← z + μ z + b x with μ = λ − 1, λ = r exp(j 2π f / sample_rate), b = 1 − r: exact at
    every sample, without window or block; the form with μ keeps low frequencies accurate in
    float32. Frequencies are spaced evenly in octaves. With `decay_law="constant_q"` each rings over
    the same number of its periods, r = exp(−π f / (q · sample_rate)); `"legacy"` is the law of the
    original CSpace, radii in equal steps.

    The states are the coordinates: `plugin.states()` after processing, or the taps `states`,
    `magnitude_db` and `center_hz`. A weighted sum of them is the sound again. With all knobs
    neutral the input passes bit for bit and without latency.

    >>> from cspace.plugins import CSpace
    >>> space = CSpace(oscillators=128, q=12.0, freeze=1.0)  # holds what it plays
    >>> y = space(x, sample_rate=48_000)
    >>> z = space.states()  # complex64 [shape=(128,)]
    """

    oscillators: int
    low_hz: float
    high_hz: float
    decay_law: str
    q: float
    legacy_r_low: float
    legacy_r_high: float
    synthesis: str
    blur: float
    freeze: float
    shift_hz: float
    tilt_db_per_oct: float
    focus_hz: float
    focus_width_oct: float
    focus_gain_db: float
    resynthesis: float
    mix: float
    band_gain_db: Any

    def centers_hz(self, sample_rate: float = 48_000.0) -> NDArray[np.float64]:
        """Centre frequencies of the oscillators in Hz, rising [shape=(oscillators,)]."""
        high = min(self.high_hz, 0.49 * sample_rate)
        if self.oscillators == 1:
            return np.array([float(self.low_hz)])
        return np.geomspace(self.low_hz, high, self.oscillators)

    def states(self) -> NDArray[np.complex64]:
        """The complex states after the last sample processed, mean of the channels [shape=(oscillators,)].

        A steady tone of amplitude A at the centre of a band has the magnitude A/2 there: it is the sum
        of two turning the opposite ways, of which the oscillator follows one.
        """
        both = self.tap("states")
        n = both.size // 2
        return (both[:n] + 1j * both[n:]).astype(np.complex64)
