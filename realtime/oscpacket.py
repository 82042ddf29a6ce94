"""OSC packets to timed messages and back, whatever bytes come in. Thread: control.

The reader is strict, since a packet is either right or means nothing: a number that breaks off, a
text without its end, padding that is not zero, bytes behind the last argument, a tag that no
specification knows: each is an error, and none of the packet's broken part takes effect. A message
may leave out its type tags, as old senders do, if it has no arguments.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

MAX_DEPTH = 8  # bundles in bundles, arrays in arrays
MAX_ARGS = 1024  # arguments of one message, those in arrays too
_BUNDLE = b"#bundle\x00"
_NTP = 2_208_988_800  # seconds from 1900, where time tags begin, to 1970
_IMMEDIATELY = 1


class PacketError(ValueError):
    """These bytes are not an OSC packet; the message says why. `address` as far as it was readable."""

    def __init__(self, reason: str, address: str = ""):
        super().__init__(reason)
        self.address = address


class Impulse:
    """The argument `I`: something happens, without a value. There is one, IMPULSE."""

    def __repr__(self) -> str:
        return "IMPULSE"


IMPULSE = Impulse()


class Long(int):
    """A whole number of 64 bits (`h`)."""


class Double(float):
    """A number of 64 bits (`d`)."""


class Other(NamedTuple):
    """An argument that nothing here takes as a value: its tag (`t`, `r` or `m`) and its bytes."""

    tag: str
    data: bytes


class Message(NamedTuple):
    """One OSC message."""

    address: str
    args: list[Any]
    time: float | None  # seconds since the epoch; None means at once
    data: bytes  # the message as it came


# ---- in --------------------------------------------------------------------------------------


def parse(data: bytes) -> list[Message | PacketError]:
    """The messages of a packet in order; a bad element of a bundle stands as its error.

    Elements of a bundle are independent of each other: a bad one takes nothing from the others. A
    bundle whose outline is broken counts as one bad element, and nothing in it takes effect. Raises
    PacketError if the packet as a whole is unreadable.
    """
    if not data:
        raise PacketError("the packet is empty")
    if len(data) % 4:
        raise PacketError(f"the packet has {len(data)} bytes, which is not a multiple of 4")
    return _bundle(data, 0) if data.startswith(_BUNDLE) else [message(data)]


def _bundle(data: bytes, depth: int) -> list[Message | PacketError]:
    if depth >= MAX_DEPTH:
        raise PacketError(f"bundles lie more than {MAX_DEPTH} deep in each other")
    if len(data) < 16:
        raise PacketError("the bundle ends before its time tag")
    (stamp,) = struct.unpack_from(">Q", data, 8)
    when = None if stamp == _IMMEDIATELY else stamp / 2**32 - _NTP
    out: list[Message | PacketError] = []
    at = 16
    while at < len(data):
        (size,) = struct.unpack_from(">i", data, at)  # 4 bytes are left: sizes are multiples of 4
        at += 4
        if size <= 0 or size % 4 or size > len(data) - at:
            raise PacketError(f"a bundle element claims {size} bytes where {len(data) - at} are left")
        element = data[at : at + size]
        at += size
        try:
            if element.startswith(_BUNDLE):
                out += _bundle(element, depth + 1)
            else:
                out.append(message(element, when))
        except PacketError as e:
            out.append(e)
    return out


def message(data: bytes, time: float | None = None) -> Message:
    """The one message in `data`. Raises PacketError."""
    address, at = _text(data, 0, "address", "ascii")
    if not address.startswith("/"):
        raise PacketError("an address begins with '/'", address[:64])
    if not address.isprintable():
        raise PacketError("the address holds control characters")
    if at == len(data):
        return Message(address, [], time, data)
    try:
        tags, at = _text(data, at, "type tags", "ascii")
        if not tags.startswith(","):
            raise PacketError("the type tags do not begin with ','")
        if len(tags) > 2 * MAX_ARGS:
            raise PacketError(f"the message has more than {MAX_ARGS} arguments")
        args, at = _arguments(tags, data, at)
        if at != len(data):
            raise PacketError(f"{len(data) - at} bytes follow the last argument")
    except PacketError as e:
        e.address = address[:64]
        raise
    return Message(address, args, time, data)


_FIXED = {"i": (">i", int), "f": (">f", float), "h": (">q", Long), "d": (">d", Double)}
_CONSTANTS = {"T": True, "F": False, "N": None, "I": IMPULSE}
_RAW = {"t": 8, "r": 4, "m": 4}


def _arguments(tags: str, data: bytes, at: int) -> tuple[list[Any], int]:
    """The arguments from `at` on, and where they end. Raises PacketError."""
    out: list[Any] = []
    open_lists = [out]
    count = 0
    for tag in tags[1:]:
        value: Any
        if tag in _FIXED:
            form, kind = _FIXED[tag]
            value = kind(struct.unpack(form, _bytes(data, at, struct.calcsize(form), tag))[0])
            at += struct.calcsize(form)
        elif tag in "sS":
            value, at = _text(data, at, "text", "utf-8")
        elif tag == "b":
            (size,) = struct.unpack(">i", _bytes(data, at, 4, tag))
            if size < 0:
                raise PacketError(f"a blob claims {size} bytes")
            value = _bytes(data, at + 4, size, tag)
            at = _padded(data, at + 4 + size, "blob")
        elif tag in _CONSTANTS:
            value = _CONSTANTS[tag]
        elif tag in _RAW:
            value = Other(tag, _bytes(data, at, _RAW[tag], tag))
            at += _RAW[tag]
        elif tag == "c":
            (code,) = struct.unpack(">I", _bytes(data, at, 4, tag))
            if code > 127:
                raise PacketError(f"a character has the code {code}, ASCII ends at 127")
            value, at = chr(code), at + 4
        elif tag == "[":
            if len(open_lists) > MAX_DEPTH:
                raise PacketError(f"arrays lie more than {MAX_DEPTH} deep in each other")
            value = []
            open_lists[-1].append(value)
            open_lists.append(value)
            continue
        elif tag == "]":
            if len(open_lists) == 1:
                raise PacketError("brackets in the type tags do not match")
            open_lists.pop()
            continue
        else:
            raise PacketError(f"unknown type tag {tag!r}")
        count += 1
        if count > MAX_ARGS:
            raise PacketError(f"the message has more than {MAX_ARGS} arguments")
        open_lists[-1].append(value)
    if len(open_lists) > 1:
        raise PacketError("brackets in the type tags do not match")
    return out, at


def _bytes(data: bytes, at: int, size: int, tag: str) -> bytes:
    if size > len(data) - at:
        raise PacketError(f"an argument {tag!r} needs {size} bytes where {max(0, len(data) - at)} are left")
    return data[at : at + size]


def _text(data: bytes, at: int, what: str, encoding: str) -> tuple[str, int]:
    """The text at `at`, and where the next thing begins."""
    end = data.find(b"\x00", at)
    if end < 0:
        raise PacketError(f"the {what} has no end")
    try:
        text = data[at:end].decode(encoding)
    except UnicodeDecodeError:
        raise PacketError(f"the {what} is not {encoding.upper()}") from None
    return text, _padded(data, end + 1, what)


def _padded(data: bytes, at: int, what: str) -> int:
    end = at + -at % 4
    if data[at:end] != b"\x00" * (end - at):
        raise PacketError(f"the {what} is not padded with zeros to a multiple of 4 bytes")
    return end


# ---- out -------------------------------------------------------------------------------------


def encode(address: str, args: list[Any]) -> bytes:
    """One OSC message as bytes. Whole numbers beyond 32 bits go as 64, beyond those as the last one there is."""
    tags, body = _encoded(args)
    return _string(address) + _string("," + tags) + body


def _encoded(args: list[Any]) -> tuple[str, bytes]:
    tags, body = "", b""
    for arg in args:
        if arg is None or arg is IMPULSE or isinstance(arg, bool):
            tags += next(t for t, v in _CONSTANTS.items() if v is arg)
        elif isinstance(arg, int):
            tag = "i" if -(2**31) <= arg < 2**31 and not isinstance(arg, Long) else "h"
            tags += tag
            body += struct.pack(_FIXED[tag][0], max(min(arg, 2**63 - 1), -(2**63)))
        elif isinstance(arg, float):
            tag = "d" if isinstance(arg, Double) or abs(arg) > 3.4e38 else "f"  # inf goes as a double too
            tags += tag
            body += struct.pack(_FIXED[tag][0], arg)
        elif isinstance(arg, list):
            inner, data = _encoded(arg)
            tags, body = f"{tags}[{inner}]", body + data
        elif isinstance(arg, Other):
            tags, body = tags + arg.tag, body + arg.data
        elif isinstance(arg, bytes):
            tags, body = tags + "b", body + struct.pack(">i", len(arg)) + arg + b"\x00" * (-len(arg) % 4)
        else:
            tags, body = tags + "s", body + _string(str(arg))
    return tags, body


def _string(text: str) -> bytes:
    data = text.replace("\x00", "").encode("utf-8", "replace") + b"\x00"
    return data + b"\x00" * (-len(data) % 4)
