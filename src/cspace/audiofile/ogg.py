"""Pages of an Ogg file: where its links begin, and whether it ends as it should.

A chained Ogg file is several files one after another (a radio recording, `cat a.ogg b.ogg`);
libsndfile reads the first and says nothing. The format: RFC 3533. Thread: control.
"""

from __future__ import annotations

from dataclasses import dataclass

from .source import Source

_HEADER = 27
_MARK = b"OggS"
_BEGINS, _ENDS = 0x02, 0x04  # first and last page of a stream
_SCAN = 1 << 16


@dataclass
class Link:
    """One file of a chain: its bytes, and whether it ends with the mark of an end."""

    begin: int
    end: int
    ended: bool = False


def links(source: Source) -> tuple[list[Link], bool]:
    """The links of an Ogg file, and whether its last page is cut off.

    Pages are walked by their headers. What is no page (damage, a tag at the end) is passed over.
    """
    found: list[Link] = []
    at, head = 0, True  # a link begins with the first pages of all its streams, one after another
    open_streams: set[bytes] = set()
    torn = False
    while at + _HEADER <= source.size:
        page = source.at(at, _HEADER + 255)
        if page[:4] != _MARK:
            later = _find(source, at + 1)
            if later is None:
                break
            at = later
            continue
        count = page[26]
        if len(page) < _HEADER + count:
            torn = True
            break
        size = _HEADER + count + sum(page[_HEADER : _HEADER + count])
        if at + size > source.size:
            torn = True
            break
        flags, serial = page[5], page[14:18]
        if flags & _BEGINS:
            if not head or not found:
                found.append(Link(at, at))
                open_streams.clear()
            open_streams.add(serial)
            head = True
        else:
            head = False
        if flags & _ENDS:
            open_streams.discard(serial)
        if found:
            found[-1].end = at + size
            found[-1].ended = not open_streams
        at += size
    if not torn and 0 < source.size - at < _HEADER and source.at(at, 4) == _MARK[: source.size - at]:
        torn = True
    if found and torn:
        found[-1].end = source.size
        found[-1].ended = False
    return found, torn


def _find(source: Source, at: int) -> int | None:
    """The next mark of a page."""
    while at < source.size:
        block = source.at(at, _SCAN)
        place = block.find(_MARK)
        if place >= 0:
            return at + place
        if len(block) < _SCAN:
            return None
        at += len(block) - len(_MARK) + 1
    return None
