"""Healing of losses."""

from __future__ import annotations

from ._base import NativePlugin


class Heal(NativePlugin, native="heal"):
    """Plays on where the input is lost, and cross-fades back when it is there again.

    Told of a loss by `lost`, to the sample (`chain.set(..., time=...)`, an OSC bundle, an automation), it adds no
    latency. With `detect` it finds losses by itself: runs of exact zeros on all channels ("zeros"), or also of a held
    value ("held"), that begin in the midst of sound and last for `detect_ms`. That time is latency, so that the gap is
    filled from its first sample; it is time for the analysis as well, so found losses are filled better.

    `method` "blend" is two autoregressions by Burg's method, of short and of long memory, weighted by how well each
    foretold the last 10 ms; "short" and "long" are one of them alone, "repeat" plays the last period again, "zero" is
    silence. Input that stays away is played on for `hold_ms`, then faded out over `fade_ms`. The analysis runs all
    the time, an equal share in every sample.

    Taps: `counts` (losses told and found, seconds put in, longest loss in ms), `share` of what is put in, `trust` in
    the long memory. Figures, cost and limits: docs/heal.md.

    >>> from cspace.plugins import Heal
    >>> heal = Heal(detect="zeros", detect_ms=5.0)
    >>> y = heal(x, sample_rate=48_000)
    """

    lost: bool
    method: str
    detect: str
    detect_ms: float
    floor_db: float
    hold_ms: float
    fade_ms: float
    return_ms: float
