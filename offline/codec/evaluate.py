"""One sound through the codec and its rivals, with figures: what `cspace codec fidelity` and the results page show."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from ...audiofile import Reader, Writer
from ..audio import load_mono
from .baselines import RIVALS, Baseline, fsq
from .codec import Codec, load, rate_of
from .fidelity import Fidelity, compare
from .files import decode_file, encode_file

F32 = NDArray[np.float32]
#: Name, kbit/s (None if not known), figures, remark.
Row = tuple[str, float | None, Fidelity, str]


def through_files(codec: Codec, x: F32, kbps: float, *, one_pass: bool = False) -> tuple[F32, int]:
    """Sound encoded to a real file and decoded from it; what comes back, and the bytes of the file."""
    rate = codec.spec.sample_rate
    with tempfile.TemporaryDirectory(prefix="cspace-codec-") as folder:
        source, packed, back = (Path(folder) / name for name in ("in.wav", "x.csc", "out.wav"))
        with Writer(source, rate, 1, frames=len(x)) as file:
            file.write(x[:, None])
        made = encode_file(codec, source, packed, kbps=kbps, one_pass=one_pass)
        decode_file(codec, packed, back)
        y, _ = sf.read(back, dtype="float32")
    return y, made.bytes


def codec_rows(
    original: Path, model: str, kbps: float | None, seconds: float | None, rivals: bool, speech: bool
) -> list[Row]:
    """The codec's row, then its rivals' at as many bytes."""
    codec = load(model)
    rate = codec.spec.sample_rate
    x = load_mono(original, rate, seconds=seconds).samples
    return sound_rows(codec, x, rate_of(model, codec) if kbps is None else kbps, rivals, speech)


def sound_rows(codec: Codec, x: F32, kbps: float, rivals: bool = True, speech: bool = False) -> list[Row]:
    """The same for a sound in memory [shape=(samples,)] at the codec's sample rate."""
    rate = codec.spec.sample_rate
    y, size = through_files(codec, x, kbps)
    spent = size * 8e-3 / (len(x) / rate)
    rows: list[Row] = [(codec.info.name, spent, compare(x, y, rate, speech=speech), "")]
    if not rivals:
        return rows
    others: list[Baseline | None] = [make(x, rate, size) for make in RIVALS.values()]
    others.append(fsq(x, codec, size))
    for other in others:
        if other is None:
            continue
        found = compare(x, other.samples, rate, speech=speech)
        rows.append((other.name, other.bytes * 8e-3 / (len(x) / rate), found, other.note))
    return rows


def pair_row(original: Path, reconstruction: Path, seconds: float | None, speech: bool) -> Row:
    """The row of two files, at the original's sample rate."""
    with Reader(original) as file:
        rate = file.sample_rate
    a, b = (load_mono(p, rate, seconds=seconds) for p in (original, reconstruction))
    found = compare(a.samples, b.samples, rate, speech=speech)
    found.notes += a.conversions + b.conversions
    return (reconstruction.name, None, found, "")
