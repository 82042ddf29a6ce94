"""True-peak limiter."""

from __future__ import annotations

from ._base import NativePlugin


class Limiter(NativePlugin, native="limiter"):
    """Keeps every peak, also between the samples, below the ceiling; one gain for all channels.

    Peaks are read at eight times the sample rate (ITU-R BS.1770-4 asks for four), `lookahead_ms`
    ahead, so the level is already down when a peak arrives; it comes back over `release_ms`. The
    look-ahead and the reading are latency, stated in `latency_samples`. Below the ceiling the sound is only delayed,
    bit for bit. Tap `gain_reduction_db`: how much the last sample was turned down.

    >>> from cspace.plugins import Limiter
    >>> safe = Limiter(ceiling_db=-1.0)
    >>> y = safe(x, sample_rate=48_000)
    """

    ceiling_db: float
    release_ms: float
    lookahead_ms: float
