"""What an audio file holds besides its sound, as far as another file can take it over.

Thread: control.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .decoder import Decoder
    from .headers import Header

# Chunks of a WAV file that describe its samples or only fill room: made anew, never taken over.
_OF_THE_SAMPLES = frozenset((b"JUNK", b"junk", b"PAD ", b"FLLR", b"fill", b"PEAK", b"levl", b"MD5 "))


# libsndfile's numbers of places, and how they are called.
_PLACES = {
    1: "mono", 2: "L", 3: "R", 4: "C", 5: "FL", 6: "FR", 7: "FC", 8: "BC", 9: "BL", 10: "BR", 11: "LFE",
    12: "FLC", 13: "FRC", 14: "SL", 15: "SR", 16: "TC", 17: "TFL", 18: "TFR", 19: "TFC", 20: "TBL", 21: "TBR",
    22: "TBC", 23: "W", 24: "X", 25: "Y", 26: "Z",
}  # fmt: skip
#: What a FLAC file of so many channels means by them: the format fixes it (RFC 9639, section 9.1.3).
FLAC_LAYOUTS = {
    3: (2, 3, 4),
    4: (2, 3, 9, 10),
    5: (2, 3, 4, 9, 10),
    6: (2, 3, 4, 11, 9, 10),
    7: (2, 3, 4, 11, 8, 14, 15),
    8: (2, 3, 4, 11, 9, 10, 14, 15),
}


def places(layout: tuple[int, ...]) -> str:
    """A layout in words."""
    return " ".join(_PLACES.get(p, "?") for p in layout)


@dataclass
class About:
    """What a file holds besides its sound."""

    #: Which loudspeaker each channel is for, in libsndfile's numbers; None where the file does not say,
    #: and for one or two channels, which any file means alike.
    layout: tuple[int, ...] | None = None
    #: Chunks of a WAV file such as `bext`, `iXML`, `cue `, `LIST`: name and content.
    chunks: list[tuple[bytes, bytes]] = field(default_factory=list)
    #: Names of chunks too large to be kept.
    too_large: list[bytes] = field(default_factory=list)
    #: Title, artist and the like.
    tags: dict[str, str] = field(default_factory=dict)
    #: Rate in Hz that marks and times in the chunks count by.
    sample_rate: int = 0


def about(decoder: Decoder, header: Header | None) -> About:
    """What the file of a decoder holds besides its sound."""
    layout = decoder.channel_map()
    if decoder.format == "FLAC":
        layout = layout or FLAC_LAYOUTS.get(decoder.channels)
    if decoder.channels <= 2 and layout in ((1,), (2, 3), (4,), (5, 6), (7,)):
        layout = None
    found = About(layout=layout, tags=decoder.tags(), sample_rate=decoder.sample_rate)
    if header is not None:
        found.chunks = [c for c in header.chunks if c[0] not in _OF_THE_SAMPLES]
        found.too_large = list(header.too_large)
    return found
