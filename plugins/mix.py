"""Stereo width, balance, polarity and DC removal."""

from __future__ import annotations

from ._base import NativePlugin


class Mix(NativePlugin, native="mix"):
    """Stereo tool for pairs of channels (1 and 2, 3 and 4, ...), left first; neutral by default.

    In this order: `dc_block` takes out what lies below 5 Hz, `invert_left` and `invert_right` turn
    a side's wave upside down, `width` scales the difference of the sides (0 is mono, 1 unchanged),
    `balance` fades the other side out in a straight line (-1 leaves the left alone) and keeps its
    own at full level. A channel without a partner follows `dc_block` and `invert_left` only. At the
    defaults the output is the input, bit for bit.

    >>> from cspace.plugins import Mix
    >>> wide = Mix(width=1.4, dc_block=True)
    >>> y = wide(x, sample_rate=48_000)
    """

    width: float
    balance: float
    invert_left: bool
    invert_right: bool
    dc_block: bool
