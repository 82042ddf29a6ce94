"""The `.csc` file: a header, then packets that stand alone. All numbers little-endian.

Header, 48 bytes::

    0   4  "CSC1"
    4   2  version, 1
    6   2  size of the header, 48
    8  16  first half of the model's SHA-256
    24  4  sample rate [Hz]
    28  2  hop [samples]
    30  2  dims
    32  2  frames to a packet
    34  1  channels
    35  1  0
    36  8  samples of each channel
    44  4  CRC-32 of bytes 0 … 43

Packet, 16 bytes and its codes::

    0   2  C5 A5
    2   4  index: packet n holds channel n mod channels
    6   1  step index (spec.py)
    7   3  size of the codes
    10  2  low half of the CRC-32 of bytes 2 … 9
    12  4  CRC-32 of bytes 2 … 9 and the codes
    16     codes (entropy.py)

A file may be cut at any packet. A packet that fails its checks is skipped and the next pair C5 A5 is looked
for, so damage stays where it is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from ...plugins._errors import FileError

MAGIC = b"CSC1"
VERSION = 1
_HEADER = struct.Struct("<4sHH16sIHHHBBQ")
HEADER_BYTES = _HEADER.size + 4
SYNC = b"\xc5\xa5"
PACKET_BYTES = 16
#: Codes of one packet never need more; a larger size is damage.
MOST_PACKET_BYTES = 160_000
_READ = 1 << 16


@dataclass(frozen=True)
class Header:
    """What the file says about itself."""

    model: bytes
    sample_rate: int
    hop: int
    dims: int
    packet_frames: int
    channels: int
    samples: int

    def pack(self) -> bytes:
        """The 48 bytes."""
        body = _HEADER.pack(
            MAGIC,
            VERSION,
            HEADER_BYTES,
            self.model[:16],
            self.sample_rate,
            self.hop,
            self.dims,
            self.packet_frames,
            self.channels,
            0,
            self.samples,
        )
        return body + zlib.crc32(body).to_bytes(4, "little")


@dataclass(frozen=True)
class Packet:
    """One packet as read; its checks have passed."""

    index: int
    step: int
    codes: bytes

    def pack(self) -> bytes:
        """The bytes of the file."""
        head = self.index.to_bytes(4, "little") + bytes([self.step]) + len(self.codes).to_bytes(3, "little")
        check = (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
        return SYNC + head + check + zlib.crc32(self.codes, zlib.crc32(head)).to_bytes(4, "little") + self.codes


@dataclass
class Damage:
    """What reading found wrong, in bytes of the file and words."""

    notes: list[str] = field(default_factory=list)
    skipped_bytes: int = 0


def read_header(file: BinaryIO, name: str) -> Header:
    """The header at the start of a file. Raises FileError for anything else."""
    data = file.read(HEADER_BYTES)
    if data[:4] != MAGIC:
        what = "is empty" if not data else "is not a .csc file (it does not start with CSC1)"
        raise FileError(f"{name}: {what}")
    if len(data) < HEADER_BYTES:
        raise FileError(f"{name}: is cut off within its header ({len(data)} of {HEADER_BYTES} bytes)")
    _, version, size, model, rate, hop, dims, frames, channels, _, samples = _HEADER.unpack(data[:-4])
    if zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
        raise FileError(f"{name}: its header is damaged (checksum)")
    if version != VERSION or size != HEADER_BYTES:
        raise FileError(f"{name}: is version {version} of the format; this program reads version {VERSION}")
    if not (channels and hop and dims and frames and rate):
        raise FileError(f"{name}: its header has a 0 where there can be none")
    return Header(model, rate, hop, dims, frames, channels, samples)


def read_packets(file: BinaryIO, damage: Damage) -> Iterator[Packet]:
    """The whole packets of what is left of a file, in its order, in bounded memory.

    Bytes that belong to no whole packet are skipped, counted and noted in `damage`.
    """
    data, offset, ended, lost_from = b"", HEADER_BYTES, False, -1
    position = 0
    while True:
        if len(data) - position < MOST_PACKET_BYTES + PACKET_BYTES and not ended:
            offset, data, position = offset + position, data[position:], 0
            more = file.read(MOST_PACKET_BYTES + _READ)
            ended = not more
            data += more
            continue
        if position >= len(data):
            break
        packet = _parse(data, position)
        if packet is not None:
            if lost_from >= 0:
                _note(damage, lost_from, offset + position)
                lost_from = -1
            position += PACKET_BYTES + len(packet.codes)
            yield packet
            continue
        if lost_from < 0:
            lost_from = offset + position
        found = data.find(SYNC, position + 1)
        # The last byte may be the first of a pair that the next read completes.
        position = found if found >= 0 else len(data) if ended else len(data) - 1
    if lost_from >= 0:
        _note(damage, lost_from, offset + len(data))


def _parse(data: bytes, at: int) -> Packet | None:
    """The packet at a place, or None if there is no whole one."""
    head = data[at + 2 : at + 10]
    if data[at : at + 2] != SYNC or len(data) - at < PACKET_BYTES:
        return None
    if zlib.crc32(head) & 0xFFFF != int.from_bytes(data[at + 10 : at + 12], "little"):
        return None
    size = int.from_bytes(head[5:8], "little")
    codes = data[at + PACKET_BYTES : at + PACKET_BYTES + size]
    if size > MOST_PACKET_BYTES or len(codes) < size:
        return None
    if zlib.crc32(codes, zlib.crc32(head)) != int.from_bytes(data[at + 12 : at + 16], "little"):
        return None
    return Packet(int.from_bytes(head[:4], "little"), head[4], codes)


def _note(damage: Damage, start: int, end: int) -> None:
    damage.skipped_bytes += end - start
    if len(damage.notes) < 100:
        damage.notes.append(f"bytes {start} to {end - 1} hold no whole packet")
