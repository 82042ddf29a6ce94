"""Five-band equaliser."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ._audio import check_rate
from ._base import NativePlugin


class Eq(NativePlugin, native="eq"):
    """Low shelf, three bells and a high shelf in series, with knobs that can be swept.

    Thirteen numbers make the curve, in the order of the adaptive EQ's data: G1 F1, G2 F2 Q2, G3 F3
    Q3, G4 F4 Q4, G5 F5; a fourteenth sets the output's level. Each band is the second-order section
    of R. Bristow-Johnson's cookbook [1]_; shelves have Q 0.7071. While a knob moves, gains glide in
    dB and centres in octaves, sample by sample. With all gains at 0 dB the output is the input, bit
    for bit.

    >>> from cspace.plugins import Eq
    >>> warm = Eq(low_gain_db=5.5, low_center_hz=290.0, high_gain_db=-1.4, high_center_hz=7_400.0)
    >>> y = warm(x, sample_rate=48_000)
    >>> curve = warm.response_db([100.0, 1_000.0, 10_000.0])

    .. [1] Robert Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter coefficients".
    """

    low_gain_db: float
    low_center_hz: float
    band1_gain_db: float
    band1_center_hz: float
    band1_q: float
    band2_gain_db: float
    band2_center_hz: float
    band2_q: float
    band3_gain_db: float
    band3_center_hz: float
    band3_q: float
    high_gain_db: float
    high_center_hz: float
    output_gain_db: float

    def response_db(self, freqs_hz: Any, sample_rate: float = 48_000.0) -> NDArray[np.float64]:
        """The true curve: 20 log10 |H(f)| of the filters that run, in dB.

        freqs_hz : any shape, in Hz; returns float64 of the same shape.
        """
        freqs = np.asarray(freqs_hz, dtype=np.float64)
        flat = _native.eq_response_db(dict(self._settled()), freqs.ravel(), check_rate(sample_rate))
        return np.asarray(flat).reshape(freqs.shape)
