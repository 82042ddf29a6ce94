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


@dataclass
class About:
    """What a file holds besides its sound."""

    #: Which loudspeaker each channel is for, in libsndfile's numbers; None where the file does not say.
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
    found = About(layout=decoder.channel_map(), tags=decoder.tags(), sample_rate=decoder.sample_rate)
    if header is not None:
        found.chunks = [c for c in header.chunks if c[0] not in _OF_THE_SAMPLES]
        found.too_large = list(header.too_large)
    return found
