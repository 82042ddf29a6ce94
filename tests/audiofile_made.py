"""Audio files made by code, byte by byte where a library would not write them."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from cspace.audiofile import Reader

RATE = 24_000
F32 = NDArray[np.float32]


def noise(frames: int = 24_000, channels: int = 2, seed: int = 0) -> F32:
    """White noise that 16 bits hold exactly, so that every lossless format gives the same samples."""
    x = np.random.default_rng(seed).integers(-8000, 8000, (frames, channels))
    return (x / 32768.0).astype(np.float32)


def pcm(x: F32) -> bytes:
    """The samples as 16-bit little-endian."""
    return (x * 32768.0).astype("<i2").tobytes()


def chunk(name: bytes, data: bytes, *, pad: bool = True, size: int | None = None, order: str = "<") -> bytes:
    """A RIFF chunk; `size` to claim another one."""
    claimed = len(data) if size is None else size
    return name + struct.pack(order + "I", claimed) + data + (b"\0" if pad and len(data) & 1 else b"")


def fmt(channels: int, *, rate: int = RATE, mask: int | None = None) -> bytes:
    """A `fmt ` chunk of 16-bit PCM, WAVE_FORMAT_EXTENSIBLE with `mask`."""
    body = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    if mask is not None:
        guid = bytes.fromhex("0100000000001000800000aa00389b71")
        body = struct.pack("<H", 0xFFFE) + body[2:] + struct.pack("<HHI", 22, 16, mask) + guid
    return chunk(b"fmt ", body)


def riff(*chunks: bytes, name: bytes = b"RIFF", size: int | None = None) -> bytes:
    """A WAV file of these chunks."""
    body = b"WAVE" + b"".join(chunks)
    return name + struct.pack("<I", len(body) if size is None else size) + body


def written(path: Path, x: F32, **how: str) -> bytes:
    """What soundfile writes, as bytes."""
    sf.write(path, x, RATE, **how)
    return path.read_bytes()


def read(path: Path, size: int = 5000) -> tuple[F32, list[str]]:
    """All of a file through the reader, and its warnings."""
    with Reader(path) as file:
        blocks = list(file.blocks(size))
        return np.concatenate([np.zeros((0, file.channels), np.float32), *blocks]), file.warnings
