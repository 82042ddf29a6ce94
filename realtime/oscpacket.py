"""OSC packets to timed messages, whatever bytes come in. Thread: control.

python-osc's parser does the reading. It trusts sizes in bundles (a negative one makes it loop for
ever), recurses without bound, skips unknown type tags and logs what it cannot read; so the outline
of a packet is checked here before it may see it.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from pythonosc.osc_message import OscMessage
from pythonosc.parsing import osc_types

MAX_DEPTH = 8
TAGS = frozenset("ihfdsbrmtTFN[]")
_BUNDLE = b"#bundle\x00"


class PacketError(ValueError):
    """These bytes are not an OSC packet; the message says why. `address` as far as it was readable."""

    def __init__(self, reason: str, address: str = ""):
        super().__init__(reason)
        self.address = address


class Message(NamedTuple):
    """One OSC message."""

    address: str
    args: list[Any]
    time: float | None  # seconds since the epoch; None means at once


def parse(data: bytes) -> list[Message | PacketError]:
    """The messages of a packet in order; a bad element of a bundle stands as its error.

    Raises PacketError if the packet as a whole is unreadable.
    """
    if not data:
        raise PacketError("the packet is empty")
    if len(data) % 4:
        raise PacketError(f"the packet has {len(data)} bytes, which is not a multiple of 4")
    if data.startswith(_BUNDLE):
        out: list[Message | PacketError] = []
        _bundle(data, 0, out)
        return out
    return [_message(data, None)]


def _bundle(data: bytes, depth: int, out: list[Message | PacketError]) -> None:
    if depth >= MAX_DEPTH:
        raise PacketError(f"bundles lie more than {MAX_DEPTH} deep in each other")
    if len(data) < 16:
        raise PacketError("the bundle ends before its time tag")
    stamp, at = osc_types.get_date(data, 8)
    when = None if stamp == osc_types.IMMEDIATELY else float(stamp)
    while at < len(data):
        if len(data) - at < 4:
            raise PacketError("the bundle ends within the size of an element")
        (size,) = struct.unpack_from(">i", data, at)
        at += 4
        if size <= 0 or size % 4 or size > len(data) - at:
            raise PacketError(f"a bundle element claims {size} bytes where {len(data) - at} are left")
        element = data[at : at + size]
        at += size
        try:
            if element.startswith(_BUNDLE):
                _bundle(element, depth + 1, out)
            else:
                out.append(_message(element, when))
        except PacketError as e:
            out.append(e)


def _message(data: bytes, when: float | None) -> Message:
    address = _text(data, 0, "address")
    if not address.startswith("/"):
        raise PacketError("an address begins with '/'", address[:64])
    at = len(address.encode()) // 4 * 4 + 4
    if at < len(data):
        _check_tags(_text(data, at, "type tags"), address)
    try:
        return Message(address, OscMessage(data).params, when)
    except Exception as e:  # whatever a foreign parser makes of foreign bytes
        raise PacketError(f"the arguments do not fit their type tags ({type(e).__name__})", address[:64]) from None


def _text(data: bytes, at: int, what: str) -> str:
    end = data.find(b"\x00", at)
    if end < 0:
        raise PacketError(f"the {what} has no end")
    try:
        text = data[at:end].decode("ascii")
    except UnicodeDecodeError:
        raise PacketError(f"the {what} is not ASCII") from None
    if not text.isprintable():
        raise PacketError(f"the {what} holds control characters")
    return text


def _check_tags(tags: str, address: str) -> None:
    if not tags.startswith(","):
        raise PacketError("the type tags do not begin with ','", address[:64])
    unknown = sorted(set(tags[1:]) - TAGS)
    if unknown:
        raise PacketError(f"unknown type tags {''.join(unknown)!r}", address[:64])
    depth = deepest = 0
    for tag in tags:
        depth += (tag == "[") - (tag == "]")
        deepest = max(deepest, depth)
        if depth < 0:
            break
    if depth != 0 or deepest > MAX_DEPTH:
        raise PacketError("brackets in the type tags do not match or lie too deep", address[:64])
