"""Level change."""

from __future__ import annotations

from ._base import NativePlugin


class Gain(NativePlugin, native="gain"):
    """Multiplies every channel by one factor, 10^(gain_db / 20).

    A change is ramped over 20 ms per sample, so it does not click; -120 dB is true silence.

    >>> from cspace.plugins import Gain
    >>> quiet = Gain(gain_db=-6.0)
    >>> y = quiet(x, sample_rate=48_000)  # x : float32 [shape=(channels, frames)]
    """

    gain_db: float
