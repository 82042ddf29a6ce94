"""What the header of an audio file claims, beside what the file holds: libsndfile shortens in silence.

WAV (RIFF, RIFX, RF64, BW64), W64, AIFF, AU and CAF are told apart by their first bytes; others have
no header here. Thread: control.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from .source import Source, View

#: A chunk of text or marks is never larger; of a larger one only the name is kept.
MOST_CHUNK_BYTES = 16 * 1024 * 1024

# A program that writes to a pipe cannot go back to fill the size in. It leaves 0 or about one of
# these: sox (WAV, AIFF), arecord, ffmpeg.
_PLACEHOLDERS = (0x7F00_0000, 0x7FFF_F000, 0x8000_0000, 0xFFFF_FFFF)
_NEAR = 1024  # below it, for headers and whole frames
_U32, _U64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
_DATA_W64 = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_RIFF_W64 = bytes.fromhex("726966662e91cf11a5d628db04c10000")


@dataclass
class Header:
    """What a file says about its sound, and what is there."""

    #: Bytes of sound by the header; None where it leaves that open (written to a pipe).
    claimed: int | None
    #: Bytes of sound that the file holds.
    there: int
    #: The file as libsndfile can read it, where it could not as it is.
    mended: View | None = None
    #: The other chunks of a WAV file, in their order: name and content.
    chunks: list[tuple[bytes, bytes]] = field(default_factory=list)
    #: Names of chunks larger than MOST_CHUNK_BYTES.
    too_large: list[bytes] = field(default_factory=list)

    @property
    def cut(self) -> bool:
        """Less is there than the header claims."""
        return self.claimed is not None and self.there < self.claimed


def pass_over_tag(source: Source) -> None:
    """Lets the source begin behind ID3v2 tags, where no MPEG sound follows: of others libsndfile reads few so.

    At an IFF/8SVX file behind a tag it stays for ever, and no signal ends it.
    """
    at = 0
    while len(head := source.at(at, 10)) == 10 and head[:3] == b"ID3":
        size = 0
        for seven_bits in head[6:]:
            size = (size << 7) | (seven_bits & 0x7F)
        at += 10 + size
        if source.at(at, 3) == b"3DI":
            at += 10  # a copy of the head, which few write
    first = source.at(at, 2)
    if len(first) == 2 and not (first[0] == 0xFF and first[1] >= 0xE0):
        source.begin += at


def read_header(source: Source) -> Header | None:
    """The header of a file of a known kind; None for other kinds, and where it cannot be followed."""
    try:
        return _read(source)
    except struct.error:
        return Header(_U32, 0)  # cut off within a number of it


def _read(source: Source) -> Header | None:
    first = source.at(0, 40)
    if first[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and first[8:12] == b"WAVE":
        return _wav(source, first[:4])
    if first[:4] == b"FORM" and first[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(source)
    if first[:16] == _RIFF_W64:
        return _w64(source)
    if first[:4] in (b".snd", b"dns."):
        return _au(source, first)
    if first[:4] == b"caff":
        return _caf(source)
    return None


def _open_end(size: int, following: int) -> bool:
    """Whether a size of a 32-bit header stands for `until the end`."""
    return following > 0 and (size == 0 or (size > following and any(p - _NEAR <= size <= p for p in _PLACEHOLDERS)))


# ---- RIFF ------------------------------------------------------------------------------------


def _is_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= c < 0x7F for c in name)


def _wav(source: Source, kind: bytes) -> Header | None:
    order = ">" if kind == b"RIFX" else "<"
    found: Header | None = None
    size64: int | None = None  # of the sound, by the ds64 chunk
    form = b""
    chunks: list[tuple[bytes, bytes]] = []
    too_large: list[bytes] = []
    unpadded = torn_off = False
    at = 12
    while at + 8 <= source.size:
        head = source.at(at, 8)
        name, size = head[:4], struct.unpack(order + "I", head[4:])[0]
        if not _is_name(name):
            break  # what is behind the last chunk is none
        body = at + 8
        if name == b"data" and found is None:
            if size == _U32 and size64 is not None:
                size = size64
            there = source.size - body
            open_end = _open_end(size, there) and not _is_empty_sound(source, body, size, order)
            found = Header(None if open_end or size >= _U64 else size, there if open_end else min(size, there))
            if found.cut and (torn := found.there % _block_bytes(form, order)):
                found.there -= torn  # a packed block is whole or gives noise
                torn_off = True
            if kind == b"BW64" or unpadded or torn_off or (open_end and size == 0):
                end = body + found.there
                found.mended = View(source, body, end, _wav_head(kind, order, form, found.there))
            if open_end or found.cut:
                break
        elif name == b"ds64" and size >= 16:
            size64 = struct.unpack("<Q", source.at(body + 8, 8))[0]
        elif name in (b"fmt ", b"fact"):
            form += name + struct.pack(order + "I", size) + source.at(body, size) + bytes(size & 1)
        elif size > MOST_CHUNK_BYTES:
            too_large.append(name)
        else:
            chunks.append((name, source.at(body, size)))
        at = body + size
        if size & 1:
            # Some programs leave the padding byte out.
            if not _is_name(source.at(at + 1, 4)) and _is_name(source.at(at, 4)):
                unpadded = True
            else:
                at += 1
    if found is None:
        return Header(_U32, 0)  # cut off before its sound
    found.chunks, found.too_large = chunks, too_large
    return found


def _block_bytes(form: bytes, order: str) -> int:
    """Bytes that are decoded together: a frame, or a block of a packed format."""
    at = form.find(b"fmt ") + 8
    if at < 8 or len(form) < at + 14:
        return 1
    return max(1, int(struct.unpack_from(order + "H", form, at + 12)[0]))


def _is_empty_sound(source: Source, at: int, size: int, order: str) -> bool:
    """Whether a sound of 0 bytes is meant: other chunks follow it."""
    head = source.at(at, 8)
    if size or len(head) < 8 or not _is_name(head[:4]):
        return False
    return bool(at + 8 + struct.unpack(order + "I", head[4:])[0] <= source.size)


def _wav_head(kind: bytes, order: str, form: bytes, size: int) -> bytes:
    """The beginning of a WAV file that holds its format and `size` bytes of sound, no more."""
    if len(form) + size + 64 <= _U32:
        name = b"RIFX" if kind == b"RIFX" else b"RIFF"
        return (
            name
            + struct.pack(order + "I", 12 + len(form) + size)
            + b"WAVE"
            + form
            + b"data"
            + struct.pack(order + "I", size)
        )
    sizes = struct.pack("<QQQI", 48 + len(form) + size, size, 0, 0)
    head = b"RF64" + struct.pack("<I", _U32) + b"WAVE" + b"ds64" + struct.pack("<I", len(sizes)) + sizes
    return head + form + b"data" + struct.pack("<I", _U32)


# ---- others ----------------------------------------------------------------------------------


def _w64(source: Source) -> Header | None:
    at = 40
    while at + 24 <= source.size:
        head = source.at(at, 24)
        size = struct.unpack("<Q", head[16:])[0]
        if head[:16] == _DATA_W64:
            there = source.size - at - 24
            found = _sound(size - 24 if 24 <= size < 1 << 62 else 0, there)
            if found.there < there:  # libsndfile takes the chunks behind the sound for sound
                found.mended = View(source, 0, at + 24 + found.there)
            return found
        if size < 24:
            return None
        at += (size + 7) & ~7  # chunks begin at multiples of 8 bytes
    return Header(_U32, 0)  # cut off before its sound


def _aiff(source: Source) -> Header | None:
    at, frames = 12, 0
    while at + 8 <= source.size:
        head = source.at(at, 16)
        size = struct.unpack(">I", head[4:8])[0]
        if head[:4] == b"SSND" and len(head) == 16:
            before = 8 + struct.unpack(">I", head[8:12])[0]  # an offset and a block size stand before the sound
            return _sound(max(0, size - before), max(0, source.size - at - 8 - before))
        if head[:4] == b"COMM" and len(head) >= 14:
            frames = struct.unpack(">I", head[10:14])[0]
        at += 8 + size + (size & 1)
    return Header(_U32, 0) if frames else None  # a file of no frames needs no sound


def _au(source: Source, first: bytes) -> Header | None:
    if len(first) < 24:
        return None
    order = ">" if first[:4] == b".snd" else "<"
    begin, size = struct.unpack(order + "II", first[4:12])
    there = source.size - begin
    if begin < 24 or there < 0:
        return None
    found = _sound(size, there)
    if found.claimed is None and size == 0:
        found.mended = View(source, 12, source.size, first[:8] + struct.pack(order + "I", _U32))
    return found


def _caf(source: Source) -> Header | None:
    at = 8
    while at + 12 <= source.size:
        head = source.at(at, 12)
        size = struct.unpack(">q", head[4:])[0]
        if head[:4] == b"data":
            there = source.size - at - 12
            found = _sound(0 if size < 0 else size, there)
            if found.claimed is None or found.cut:
                head = source.at(0, at + 4) + struct.pack(">q", there)
                found.mended = View(source, at + 12, source.size, head)
            # A number of edits, of 4 bytes, stands before the sound.
            found.claimed = None if found.claimed is None else max(0, found.claimed - 4)
            found.there = max(0, found.there - 4)
            return found
        if size < 0:
            return None
        at += 12 + size
    return None


def _sound(size: int, there: int) -> Header:
    return Header(None, there) if _open_end(size, there) else Header(size, min(size, there))
