"""Mends an audio file whose writer was killed or found a full disk: sizes in its header, and a cut at its end.

Sound is never altered: only sizes and counts are written, and what is less than one whole frame (one
packet, one page) at the very end is cut off. What libsndfile writes for `FORMATS` is known here;
a file of any other make is left alone. Thread: control.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

from .mendpacked import mend_flac, mend_mp3, mend_ogg

_FOUR_GB = 0xFFFFFFFF


def mend(path: str | os.PathLike[str]) -> bool:
    """Mends a file in place; whether it holds sound that can be read now.

    A file that is complete stays as it is, byte for byte. Raises OSError.
    """
    with open(path, "r+b") as file:
        start = file.read(4)
        work = _MENDERS.get(start)
        if (work is None and start[:3] == b"ID3") or start[:2] in (b"\xff\xfb", b"\xff\xf3", b"\xff\xfa", b"\xff\xf2"):
            work = mend_mp3
        if work is None:
            return False
        try:
            return work(file, file.seek(0, os.SEEK_END))
        except (struct.error, IndexError):
            return False  # cut off within its header


def _chunks(file: BinaryIO, at: int, end: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its contents begin, size it states) of RIFF's and AIFF's chunks."""
    while at + 8 <= end:
        file.seek(at)
        name, size = struct.unpack(order + "4sI", file.read(8))
        yield name, at + 8, size
        at += 8 + size + size % 2


def _at(file: BinaryIO, where: int, layout: str) -> tuple[int, ...]:
    file.seek(where)
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _put(file: BinaryIO, where: int, layout: str, *values: int) -> None:
    if _at(file, where, layout) != values:
        file.seek(where)
        file.write(struct.pack(layout, *values))


def _cut(file: BinaryIO, data: int, frame: int, end: int) -> int:
    """Bytes of whole frames from `data` on; the rest is cut off."""
    size = max(0, end - data) // frame * frame
    if data + size < end:
        file.truncate(data + size)
    return size


def _mend_riff(file: BinaryIO, end: int) -> bool:
    found: dict[bytes, tuple[int, int]] = {}
    for name, at, size in _chunks(file, 12, end, "<"):
        found.setdefault(name, (at, size))
        if name == b"data":
            break
    if b"data" not in found or b"fmt " not in found:
        return False
    (at, stated), (fmt, _) = found[b"data"], found[b"fmt "]
    (frame,) = _at(file, fmt + 12, "<H")
    if frame == 0:
        return False
    size64 = found[b"ds64"][0] if b"ds64" in found and stated == _FOUR_GB else None
    if size64 is None:
        (whole,) = _at(file, 4, "<I")
    else:
        whole, stated = _at(file, size64, "<QQ")
    behind = at + stated + stated % 2
    # Chunks stand behind the sound, or were being put there: then the sound is complete.
    begun = behind < 8 + whole >= end and _is_name(file, behind)
    if stated and at + stated < end and (begun or _rest_is_chunks(file, behind, end, "<4sI")):
        last = _cut_chunks(file, behind, end)
        if size64 is None:
            _put(file, 4, "<I", last - 8)
        else:
            _put(file, size64, "<Q", last - 8)
        return True
    size = _cut(file, at, frame, end)
    total = at + size - 8
    if size % 2:
        file.seek(at + size)
        file.write(b"\0")
        total += 1
    if b"ds64" not in found and total > _FOUR_GB and not _make_rf64(file, found):
        return False
    (at64,) = [found[b"ds64"][0]] if b"ds64" in found else [20]
    if b"ds64" in found or total > _FOUR_GB:
        _put(file, 4, "<I", _FOUR_GB)
        _put(file, at64, "<QQQ", total, size, size // frame)
        _put(file, at - 4, "<I", _FOUR_GB)
    else:
        _put(file, 4, "<I", total)
        _put(file, at - 4, "<I", size)
        if b"fact" in found:
            _put(file, found[b"fact"][0], "<I", size // frame)
    return size > 0


def _rest_is_chunks(file: BinaryIO, at: int, end: int, head: str) -> bool:
    """Whether chunks, not sound, stand from `at` to the end: then the sizes before were right."""
    length, padded = struct.calcsize(head), head.endswith("I")
    while at + length <= end:
        name, size = (file.seek(at), struct.unpack(head, file.read(length)))[1]
        if not all(32 <= c < 127 for c in name) or not 0 <= size <= end - at - length:
            return False
        at += length + size + (size % 2 if padded else 0)
    return end <= at <= end + 1


def _is_name(file: BinaryIO, at: int) -> bool:
    """Whether what stands there, if anything, can be the beginning of a chunk's name."""
    file.seek(at)
    return all(32 <= c < 127 for c in file.read(4))


def _cut_chunks(file: BinaryIO, at: int, end: int) -> int:
    """Cuts off what is no whole chunk from `at` on; where the file ends now."""
    last = min(at, end)
    for _, begin, size in _chunks(file, at, end, "<"):
        if begin + size > end or not _is_name(file, begin - 8):
            break
        last = begin + size
        if size % 2:
            file.seek(last)
            file.write(b"\0")
            last += 1
    file.truncate(last)
    return last


def _make_rf64(file: BinaryIO, found: dict[bytes, tuple[int, int]]) -> bool:
    """Turns a WAV header into one for more than 4 GB, in the room that libsndfile leaves before the sound."""
    fmt, fmt_size = found[b"fmt "]
    room = found[b"data"][0] - 8 - 12 - 36 - (8 + fmt_size)
    if room < 8 and room != 0:
        return False
    file.seek(fmt - 8)
    kept = file.read(8 + fmt_size)
    file.seek(0)
    file.write(b"RF64" + struct.pack("<I", _FOUR_GB) + b"WAVE" + b"ds64" + struct.pack("<IQQQI", 28, 0, 0, 0, 0) + kept)
    if room:
        file.write(b"JUNK" + struct.pack("<I", room - 8) + bytes(room - 8))
    return True


def _w64_rest_is_chunks(file: BinaryIO, at: int, end: int) -> bool:
    """As `_rest_is_chunks`: W64's sizes count the chunk's own head, and chunks begin at multiples of 8 bytes."""
    while at + 24 <= end:
        file.seek(at)
        name, _, size = struct.unpack("<4s12sQ", file.read(24))
        if not all(32 <= c < 127 for c in name) or not 24 <= size <= end - at:
            return False
        at += (size + 7) // 8 * 8
    return end <= at < end + 8


def _mend_w64(file: BinaryIO, end: int) -> bool:
    at, frame, fact = 40, 0, 0
    while at + 24 <= end:
        file.seek(at)
        name, _, size = struct.unpack("<4s12sQ", file.read(24))
        if name == b"fmt ":
            (frame,) = _at(file, at + 24 + 12, "<H")
        elif name == b"fact":
            fact = at + 24
        elif name == b"data":
            if frame == 0:
                return False
            if size > 24 and at + size < end and _w64_rest_is_chunks(file, at + (size + 7) // 8 * 8, end):
                return True  # complete, with chunks behind the sound
            data = _cut(file, at + 24, frame, end)
            _put(file, at + 16, "<Q", data + 24)
            _put(file, 16, "<Q", at + 24 + data)
            if fact:
                _put(file, fact, "<Q", data // frame)
            return data > 0
        if size < 24:
            return False
        at += (size + 7) // 8 * 8
    return False


def _mend_aiff(file: BinaryIO, end: int) -> bool:
    common = frame = 0
    for name, at, stated in _chunks(file, 12, end, ">"):
        if name == b"COMM":
            channels, _, bits = _at(file, at, ">hIh")
            common, frame = at, channels * ((bits + 7) // 8)
        elif name == b"SSND":
            if frame <= 0:
                return False
            if stated > 8 and at + stated < end and _rest_is_chunks(file, at + stated + stated % 2, end, ">4sI"):
                return True  # complete, with chunks behind the sound
            (offset,) = _at(file, at, ">I")
            size = _cut(file, at + 8 + offset, frame, end)
            total = at + 8 + offset + size
            if total - 8 > _FOUR_GB:
                return False
            _put(file, at - 4, ">I", 8 + offset + size)
            if size % 2:
                file.seek(total)
                file.write(b"\0")
                total += 1
            _put(file, 4, ">I", total - 8)
            _put(file, common + 2, ">I", size // frame)
            return size > 0
    return False


_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}


def _mend_au(file: BinaryIO, end: int) -> bool:
    offset, _, encoding, _, channels = _at(file, 4, ">5I")
    frame = _AU_BYTES.get(encoding, 0) * channels
    if frame == 0:
        return False
    size = _cut(file, offset, frame, end)
    _put(file, 8, ">I", min(size, _FOUR_GB))
    return size > 0


def _mend_caf(file: BinaryIO, end: int) -> bool:
    at, frame = 8, 0
    while at + 12 <= end:
        file.seek(at)
        name, size = struct.unpack(">4sq", file.read(12))
        if name == b"desc":
            (frame,) = _at(file, at + 12 + 16, ">I")
        elif name == b"data":
            if frame == 0:
                return False
            if size > 4 and at + 12 + size < end and _rest_is_chunks(file, at + 12 + size, end, ">4sq"):
                return True  # complete, with chunks behind the sound
            data = _cut(file, at + 16, frame, end)
            _put(file, at + 4, ">q", data + 4)
            return data > 0
        if size < 0:
            return False
        at += 12 + size
    return False


_MENDERS: dict[bytes, Callable[[BinaryIO, int], bool]] = {
    b"RIFF": _mend_riff,
    b"RF64": _mend_riff,
    b"riff": _mend_w64,
    b"FORM": _mend_aiff,
    b".snd": _mend_au,
    b"caff": _mend_caf,
    b"fLaC": mend_flac,
    b"OggS": mend_ogg,
}
