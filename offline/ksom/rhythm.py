"""Tempo and the grid of steps: a quarter beat each, by default."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

#: Tempo where none can be found.
FALLBACK_BPM = 120.0
#: Below this a pulse is not heard as one.
WEAK_PULSE = 0.1
_SECTION_S = 60.0


@dataclass(frozen=True)
class Rhythm:
    """Tempo, how clear its pulse is (0 to 1), and the beats in seconds."""

    tempo_bpm: float
    pulse: float
    beats_s: F64


def find_rhythm(onset: NDArray[np.float32], sample_rate: float, hop: int) -> Rhythm:
    """Tempo and beats of an onset envelope [shape=(frames,)].

    The autocorrelation tempogram (Grosche 2010) is averaged over sections of a minute, so that an
    hour needs no more memory than a minute; the tempo is its likeliest lag with librosa's prior
    around 120 a minute, refined between the lags by a parabola; beats come from dynamic programming
    (Ellis 2007). A sound without onsets has 120 a minute, pulse 0 and no beats.
    """
    import librosa

    per_s = sample_rate / hop
    if len(onset) < 4 or float(onset.max()) <= 1e-6:
        return Rhythm(FALLBACK_BPM, 0.0, np.zeros(0))
    section = int(_SECTION_S * per_s)
    sums, frames = 0.0, 0
    for start in range(0, len(onset), section):
        part = onset[start : start + section]
        if start and len(part) < section // 4:
            continue
        gram = librosa.feature.tempogram(onset_envelope=part, sr=sample_rate, hop_length=hop)
        sums, frames = sums + gram.sum(axis=1), frames + gram.shape[1]
    gram = np.asarray(sums) / frames
    found = librosa.feature.tempo(tg=gram[:, None], sr=sample_rate, hop_length=hop)
    bpm = float(np.ravel(found)[0])
    if not np.isfinite(bpm) or bpm <= 0.0:
        return Rhythm(FALLBACK_BPM, 0.0, np.zeros(0))
    lag = round(60.0 * per_s / bpm)
    pulse = float(np.clip(gram[lag] if lag < len(gram) else 0.0, 0.0, 1.0))
    bpm = 60.0 * per_s / _refined(gram, lag)
    _, beats = librosa.beat.beat_track(onset_envelope=onset, sr=sample_rate, hop_length=hop, bpm=bpm, trim=False)
    return Rhythm(bpm, pulse, np.asarray(beats, np.float64) / per_s)


def _refined(gram: F64, lag: int) -> float:
    """The place of the maximum nearest to `lag`, between whole lags; `lag` itself where there is none."""
    for k in (lag, lag - 1, lag + 1):
        if 1 <= k < len(gram) - 1 and gram[k] >= max(gram[k - 1], gram[k + 1]):
            a, b, c = gram[k - 1 : k + 2]
            bend = a - 2 * b + c
            return k + float(0.5 * (a - c) / bend) if bend < 0 else float(k)
    return float(lag)


def step_times(rhythm: Rhythm, seconds: float, per_beat: int) -> F64:
    """Where steps begin, from 0 to at most `seconds` [shape=(steps,)]: beats cut into `per_beat` equal parts.

    Before the first and after the last beat, and where none were found, the tempo goes on.
    """
    beat = 60.0 / rhythm.tempo_bpm
    beats = rhythm.beats_s
    if len(beats) < 2:
        return np.arange(0.0, max(seconds, 1e-9), beat / per_beat)
    before = np.arange(beats[0] - beat, -beat, -beat)[::-1]
    after = np.arange(beats[-1] + beat, seconds + beat, beat)
    beats = np.concatenate([before, beats, after])
    place = np.arange((len(beats) - 1) * per_beat) / per_beat
    times = np.interp(place, np.arange(len(beats)), beats)
    times = times[times < seconds - 0.25 * beat / per_beat]
    start = int(np.searchsorted(times, 0.0, side="right"))
    inside: F64 = times[max(0, start - 1) :].clip(0.0)
    return inside if len(inside) else np.zeros(1)
