"""Mends FLAC, Ogg and MP3 that end in the middle of a packet: cut to the last whole one, which is marked as the end.

Thread: control.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import BinaryIO

_FLAC_BLOCKS = {1: 192, 2: 576, 3: 1152, 4: 2304, 5: 4608} | {k: 256 << (k - 8) for k in range(8, 16)}
_MOST = 1 << 20  # bytes of the largest packet looked for: a FLAC frame of 8 channels in 24 bits of 16,384 samples


@cache
def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = ((value << 1) ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return tuple(table)


def _crc(data: bytes, polynomial: int, bits: int) -> int:
    table, shift, mask, value = _table(polynomial, bits), bits - 8, (1 << bits) - 1, 0
    for byte in data:
        value = (value << 8 & mask) ^ table[(value >> shift) ^ byte]
    return value


# ---- FLAC --------------------------------------------------------------------------------------


def mend_flac(file: BinaryIO, end: int) -> bool:
    """Counts the frames and puts the sum into STREAMINFO, which a killed encoder leaves at 0."""
    file.seek(4)
    last, at = False, 4
    while not last:
        file.seek(at)
        head = struct.unpack(">I", file.read(4))[0]
        last, at = bool(head >> 31), at + 4 + (head & 0xFFFFFF)
    first = at
    file.seek(10)
    (block,) = struct.unpack(">H", file.read(2))
    file.seek(18)
    facts = int.from_bytes(file.read(8), "big")  # rate 20 bits, channels 3, bits 5, samples 36
    begin = max(first, end - _MOST)
    file.seek(begin)
    tail = file.read(end - begin)
    # The last frame whose checksum is right. A sync code may stand within a frame by chance; then the
    # header's checksum is wrong, or the frame's.
    here = len(tail)
    stop = here
    while (here := tail.rfind(b"\xff", 0, here)) >= 0:
        found = _flac_header(tail, here, block)
        if found is None:
            continue
        if _crc(tail[here:stop], 0x8005, 16) == 0:
            position, size = found
            file.truncate(begin + stop)
            if facts & 0xFFFFFFFFF != position + size:
                file.seek(18)
                file.write((facts & ~0xFFFFFFFFF | position + size).to_bytes(8, "big"))
            return True
        stop = here
    return False


def _flac_header(data: bytes, at: int, block: int) -> tuple[int, int] | None:
    """(first sample, samples) of the frame whose header is at `at`; None where there is none.

    Streams of a fixed block count frames, others samples.
    """
    head = data[at : at + 16]
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1 or head[2] >> 4 == 0 or head[2] & 0xF == 15:
        return None
    lead = head[4]
    more = 0
    while lead & (0x80 >> more):
        more += 1
    if more == 1 or more > 7:
        return None
    extra = max(0, more - 1)
    number = lead & (0x7F >> more) if more else lead
    for byte in head[5 : 5 + extra]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    at_end = 5 + extra
    code = head[2] >> 4
    size = _FLAC_BLOCKS.get(code, 0)
    if code in (6, 7):
        size = int.from_bytes(head[at_end : at_end + code - 5], "big") + 1
        at_end += code - 5
    rate = head[2] & 0xF
    at_end += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if at_end >= len(head) or _crc(head[: at_end + 1], 0x07, 8) != 0:
        return None
    return (number if head[1] & 1 else number * block), size


# ---- Ogg ---------------------------------------------------------------------------------------


def mend_ogg(file: BinaryIO, end: int) -> bool:
    """Cuts after the last whole page and marks it as the last of its stream."""
    at, last, pages = 0, 0, 0
    while True:
        size = _page(file, at, end)
        if size == 0:
            break
        last, at, pages = at, at + size, pages + 1
    if pages < 3:
        return False  # headers alone
    file.truncate(at)
    file.seek(last)
    page = bytearray(file.read(at - last))
    if not page[5] & 4:
        page[5] |= 4
        page[22:26] = bytes(4)
        page[22:26] = _crc(bytes(page), 0x04C11DB7, 32).to_bytes(4, "little")
        file.seek(last)
        file.write(page)
    return True


def _page(file: BinaryIO, at: int, end: int) -> int:
    """Bytes of the whole page at `at`; 0 where there is none."""
    file.seek(at)
    head = file.read(27)
    if len(head) < 27 or head[:4] != b"OggS":
        return 0
    lengths = file.read(head[26])
    size = 27 + head[26] + sum(lengths)
    return size if len(lengths) == head[26] and at + size <= end else 0


# ---- MP3 ---------------------------------------------------------------------------------------

_MP3_KBPS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_MP3_RATES = (44_100, 48_000, 32_000)


def mend_mp3(file: BinaryIO, end: int) -> bool:
    """Counts the frames and says so in the first one, which the encoder leaves empty for that."""
    file.seek(0)
    head = file.read(10)
    at = 10 + sum((b & 0x7F) << 7 * (3 - i) for i, b in enumerate(head[6:10])) if head[:3] == b"ID3" else 0
    first, count = at, 0
    while (size := _mp3_frame(file, at, end)) > 0:
        at, count = at + size, count + 1
    if count < 2:
        return False
    file.truncate(at)
    length = _mp3_frame(file, first, at)
    file.seek(first)
    frame = file.read(length)
    one, mono = frame[1] >> 3 & 1, frame[3] >> 6 == 3
    place = 4 + ((17 if mono else 32) if one else (9 if mono else 17))
    told = frame[place : place + 4] in (b"Xing", b"Info") and frame[place + 7] & 1
    if told and frame[place + 8 : place + 12] != struct.pack(">I", count - 1):
        file.seek(first + place + 8)
        file.write(struct.pack(">I", count - 1))
    elif not any(frame[4:]):
        file.seek(first + place)
        file.write(b"Xing" + struct.pack(">II", 1, count - 1))
    return True


def _mp3_frame(file: BinaryIO, at: int, end: int) -> int:
    """Bytes of the whole layer III frame at `at`; 0 where there is none."""
    file.seek(at)
    head = file.read(4)
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, bits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or bits in (0, 15) or rate == 3:
        return 0
    hertz = _MP3_RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    size = (144 if version == 3 else 72) * 1000 * _MP3_KBPS[version != 3][bits] // hertz + (head[2] >> 1 & 1)
    return size if at + size <= end else 0
