"""What a codec is held against, each at as many bytes: Opus, MP3, GSM, a band-limited copy, fixed levels (FSQ)."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

from .codec import Analyser, Codec, Synthesiser

F32 = NDArray[np.float32]


@dataclass
class Baseline:
    """Sound as a rival gives it back, and what it cost in bytes."""

    name: str
    samples: F32
    bytes: int
    note: str = ""


def by_level(x: F32, sample_rate: int, kind: str, subtype: str, level: float) -> tuple[F32, int]:
    """Through libsndfile's encoder at a compression level 0 … 1; what comes back, and the bytes."""
    held = io.BytesIO()
    mode = {"bitrate_mode": "CONSTANT"} if kind == "MP3" else {}
    with sf.SoundFile(held, "w", sample_rate, 1, subtype, format=kind, compression_level=level, **mode) as file:
        for i in range(0, len(x), 1 << 14):  # libvorbis and libopus overflow their stack on long writes
            file.write(np.clip(x[i : i + (1 << 14)], -1.0, 1.0))
    size = held.tell() if held.tell() else len(held.getvalue())
    held.seek(0)
    y, _ = sf.read(held, dtype="float32")
    return y, max(size, len(held.getvalue()))


def matched(name: str, x: F32, sample_rate: int, size: int, kind: str, subtype: str) -> Baseline | None:
    """The encoding that takes at most `size` bytes and comes nearest to it; None if none is so small."""
    low, high = 0.0, 1.0
    best: tuple[F32, int] | None = None
    for _ in range(9):
        level = (low + high) / 2
        made = by_level(x, sample_rate, kind, subtype, level)
        if made[1] > size:
            low = level
        else:
            high = level
            if best is None or made[1] > best[1]:
                best = made
    if best is None:
        made = by_level(x, sample_rate, kind, subtype, 0.9999)  # MP3 refuses 1
        if made[1] > size:
            return Baseline(name, made[0], made[1], "its lowest rate is above")
        best = made
    return Baseline(name, best[0], best[1])


def opus(x: F32, sample_rate: int, size: int) -> Baseline | None:
    """Opus through libsndfile; 24 kHz is one of its rates."""
    return matched("Opus", x, sample_rate, size, "OGG", "OPUS")


def mp3(x: F32, sample_rate: int, size: int) -> Baseline | None:
    """MP3 through libsndfile (LAME), constant rate."""
    return matched("MP3", x, sample_rate, size, "MP3", "MPEG_LAYER_III")


def gsm(x: F32, sample_rate: int, size: int) -> Baseline:
    """GSM 06.10 at 8 kHz, 13 kbit/s: a fixed rate, whatever `size` is."""
    del size
    held = io.BytesIO()
    sf.write(held, soxr.resample(x, sample_rate, 8000), 8000, subtype="GSM610", format="WAV")
    taken = len(held.getvalue())
    held.seek(0)
    y, _ = sf.read(held, dtype="float32")
    return Baseline("GSM", soxr.resample(y, 8000, sample_rate).astype(np.float32), taken, "fixed rate")


def band_limited(x: F32, sample_rate: int, size: int) -> Baseline:
    """A copy: as many 8-bit samples as the bytes hold, at a lower rate, scaled to the peak."""
    rate = float(np.clip(size / max(1, len(x)) * sample_rate, 100.0, sample_rate))
    y = soxr.resample(x, sample_rate, rate, quality="VHQ")
    peak = float(np.max(np.abs(y), initial=1e-9))
    codes = np.clip(np.round(y / peak * 127.0), -127, 127)
    back = soxr.resample((codes / 127.0 * peak).astype(np.float32), rate, sample_rate, quality="VHQ")
    back = np.pad(back[: len(x)], (0, max(0, len(x) - len(back)))).astype(np.float32)
    return Baseline("band-limited copy", back, len(codes) + 4, f"{rate / 2:.0f} Hz, 8 bit")


def fsq(x: F32, codec: Codec, size: int) -> Baseline:
    """Finite scalar quantisation of the codec's own values: the lowest dims at a fixed number of levels.

    One gain byte a frame, no entropy coder; the best number of levels for these bytes is taken.
    Mentzer et al., Finite Scalar Quantization, 2023 (without its training through the rounding).
    """
    spec = codec.spec
    analyser = Analyser(codec)
    z = np.concatenate([*analyser.push(x), *analyser.flush()])
    frames = -(-(len(x) + spec.delay_samples) // spec.hop)
    z = z[:frames]
    bits = 8.0 * size / frames - 8.0
    best: tuple[float, F32, int, str] | None = None
    for levels in (3, 5, 7, 9, 15, 31, 63, 127, 255):
        dims = min(spec.dims, int(bits / np.log2(levels)))
        if dims < 1:
            continue
        kept = z[:, :dims]
        gain = np.exp2(np.ceil(np.log2(np.abs(kept).max(axis=1, keepdims=True) + 1e-12) * 8) / 8)
        half = (levels - 1) / 2
        back = np.zeros_like(z)
        back[:, :dims] = np.round(kept / gain * half) / half * gain
        error = float(np.sum(np.square(back - z), dtype=np.float64))
        if best is None or error < best[0]:
            cost = int(np.ceil(frames * (8 + dims * np.log2(levels)) / 8))
            best = (error, back, cost, f"{dims} dims, {levels} levels")
    if best is None:
        return Baseline("FSQ", np.zeros_like(x), size, "not one value fits")
    y = Synthesiser(codec).push(best[1].astype(np.float32))[spec.delay_samples :][: len(x)]
    return Baseline("FSQ", y, best[2], best[3])


#: Rivals that need no model.
RIVALS: dict[str, Callable[[F32, int, int], Any]] = {
    "opus": opus,
    "mp3": mp3,
    "gsm": gsm,
    "band": band_limited,
}
