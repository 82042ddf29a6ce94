"""How a result relates to its source: pitch classes, tempo, and whether it is a copy."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from ...plugins._errors import AudioError
from ..audio import require_sound, stream_mono
from .rhythm import find_rhythm

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

RATE, HOP, FFT = 22_050, 512, 4096
_SECTION_S = 60
#: The search for a copy looks at this much of both, at this rate.
_COPY_S, _COPY_RATE = 600.0, 11_025
#: Alignments that overlap less are not looked at: a tone always fits a tone of the same pitch.
_OVERLAP_S = 10.0


@dataclass
class Profile:
    """What is compared of one recording, measured with librosa alone, not with this package's analysis.

    pitch_classes : mean chroma from C (`librosa.feature.chroma_stft`, each frame's strongest 1) [12]
    tempo_bpm : by tempogram
    tempo_support : the tempogram at that tempo, 0 no pulse … 1 a metronome
    """

    name: str
    seconds: float
    pitch_classes: list[float]
    tempo_bpm: float
    tempo_support: float


@dataclass
class Comparison:
    """Source and result side by side.

    pitch_class_correlation : Pearson's, over the 12 means
    tempo_ratio : result over source, an octave error or two taken out; 1 is the same tempo
    waveform_correlation : the largest |correlation| over all alignments that overlap by 10 s or more
    """

    source: Profile
    result: Profile
    pitch_class_correlation: float
    tempo_ratio: float
    waveform_correlation: float

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def profile(path: str | os.PathLike[str]) -> Profile:
    """Measures a recording of any length, minute by minute. Raises FileError, and AudioError for silence."""
    import librosa

    chroma, frames, samples, tuning = np.zeros(12), 0, 0, None
    onsets = []
    for x in _sections(path):
        if len(x) < FFT:
            x = np.pad(x, (0, FFT - len(x)))
        if tuning is None:
            tuning = float(librosa.estimate_tuning(y=x, sr=RATE)) if np.abs(x).max() > 0 else None
        c = librosa.feature.chroma_stft(y=x, sr=RATE, n_fft=FFT, hop_length=HOP, tuning=tuning or 0.0)
        chroma += c.sum(axis=1)
        frames += c.shape[1]
        onsets.append(librosa.onset.onset_strength(y=x, sr=RATE, hop_length=HOP))
        samples += len(x)
    if not frames:
        raise AudioError(f"{path}: has no samples")
    if tuning is None:
        raise AudioError(f"{path}: is silent; there is nothing to compare")
    rhythm = find_rhythm(np.concatenate(onsets).astype(np.float32), RATE, HOP)
    return Profile(
        name=Path(path).name,
        seconds=round(samples / RATE, 3),
        pitch_classes=[round(float(v), 5) for v in chroma / frames],
        tempo_bpm=round(rhythm.tempo_bpm, 3),
        tempo_support=round(rhythm.pulse, 4),
    )


def compare(source: str | os.PathLike[str], result: str | os.PathLike[str]) -> Comparison:
    """Compares two recordings. Raises FileError, and AudioError for a silent one."""
    a, b = profile(source), profile(result)
    return Comparison(
        source=a,
        result=b,
        pitch_class_correlation=round(class_correlation(a, b), 4),
        tempo_ratio=round(tempo_ratio(a.tempo_bpm, b.tempo_bpm), 4),
        waveform_correlation=round(waveform_correlation(_short(source), _short(result), _COPY_RATE), 4),
    )


def class_correlation(a: Profile, b: Profile) -> float:
    """Pearson's correlation of two pitch-class profiles; 0 where one of them is flat."""
    x, y = np.array(a.pitch_classes), np.array(b.pitch_classes)
    x, y = x - x.mean(), y - y.mean()
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / size if size > 1e-12 else 0.0


def tempo_ratio(source_bpm: float, result_bpm: float) -> float:
    """Result over source, times 1/2, 1 or 2, whichever comes nearest to 1."""
    ratio = result_bpm / source_bpm
    return min((ratio * f for f in (0.5, 1.0, 2.0)), key=lambda r: abs(np.log(r)))


def waveform_correlation(x: F32, y: F32, sample_rate: int, *, overlap_s: float = _OVERLAP_S) -> float:
    """The largest |correlation coefficient| of two sounds [shape=(samples,) each] over all alignments.

    Each alignment is measured over its overlap only, which must last `overlap_s` (or half the shorter sound).
    """
    a, b = x.astype(np.float64), y.astype(np.float64)
    least = min(int(overlap_s * sample_rate), min(len(a), len(b)) // 2)
    cross = fftconvolve(a, b[::-1])
    lag = np.arange(len(cross)) - (len(b) - 1)  # b is moved later by this much
    start, end = np.maximum(lag, 0), np.minimum(lag + len(b), len(a))
    ea, eb = (np.concatenate([[0.0], np.cumsum(v * v)]) for v in (a, b))
    energy = (ea[end] - ea[start]) * (eb[end - lag] - eb[start - lag])
    enough = (end - start >= max(1, least)) & (energy > 1e-9 * max(float(ea[-1] * eb[-1]), 1e-30))
    return float((np.abs(cross[enough]) / np.sqrt(energy[enough])).max(initial=0.0))


def _sections(path: str | os.PathLike[str]) -> Any:
    held: list[F32] = []
    count = 0
    for block in stream_mono(path, RATE):
        held.append(block)
        count += len(block)
        while count >= _SECTION_S * RATE:
            x = np.concatenate(held)
            yield x[: _SECTION_S * RATE]
            held = [x[_SECTION_S * RATE :]]
            count = len(held[0])
    if count:
        yield np.concatenate(held)


def _short(path: str | os.PathLike[str]) -> F32:
    x = np.concatenate(list(stream_mono(path, _COPY_RATE, seconds=_COPY_S)))
    require_sound(x, str(path))
    return x
