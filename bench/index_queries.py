"""Queries for the benchmark of the search index: clips out of changed copies of real recordings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cspace.offline.audio import load_mono
from cspace.offline.index.exact import read_passage
from cspace.offline.index.store import Index
from cspace.offline.lab.perturb import Change, active_samples, change

F32 = NDArray[np.float32]
#: Seconds of a clip, and of its recording around it that go through the change too.
LENGTH = 1.0
_AROUND = 1.5

#: All noise is measured against the active part of the passage.
CHANGES = {
    "noise 20 dB": Change(noise_db=20.0),
    "noise 10 dB": Change(noise_db=10.0),
    "+6 dB": Change(gain_db=6.0, noise_db=40.0),  # with a recorder's noise, so that no sample is the same
    "100 ppm": Change(resample_ppm=100.0),
    "MP3 64 kbit/s": Change(codec="mp3", mp3_kbps=64),
    "all of it": Change(resample_ppm=100.0, gain_db=6.0, noise_db=10.0, codec="mp3", mp3_kbps=64),
}


@dataclass(frozen=True)
class Query:
    """A clip, and where it comes from in samples of the index's rate."""

    change: str
    path: str
    place: float
    clip: F32


def changed_copies(index: Index, sounds: Path, places: int, seed: int = 7) -> list[Query]:
    """`places` passages, at any sample, each in every change; half speech, half music."""
    rng = np.random.default_rng(seed)
    rate = index.spec.sample_rate
    length, around = round(LENGTH * rate), round(_AROUND * rate)
    found: list[Query] = []
    kinds = [
        [s for s in index.sources.values() if s.path.startswith(kind) and s.samples > length + 2]
        for kind in ("speech", "music")
    ]
    for k in range(places):
        some = kinds[k % 2]
        weights = np.array([s.samples for s in some], float)
        while True:
            source = some[rng.choice(len(some), p=weights / weights.sum())]
            start = int(rng.integers(0, source.samples - length))
            begin = max(0, start - around)
            x = read_passage(sounds / source.path, rate, begin, start - begin + length + around)
            at = start - begin
            # Most of the clip is sound, not a pause.
            if np.mean(active_samples(x, rate)[at : at + length]) > 0.7 and np.max(np.abs(x[at : at + length])) > 0.01:
                break
        for name, what in CHANGES.items():
            copy = change(x, rate, what.model_copy(update={"seed": 1000 + k}))
            first = min(round(copy.to_copy(at)), len(copy.samples) - length)
            clip = copy.samples[first : first + length]
            found.append(Query(name, source.path, begin + copy.to_original(first), clip))
    return found


def strangers(files: list[Path], count: int, rate: int = 24_000, seed: int = 8) -> list[F32]:
    """Clips of recordings that are not in the index, at places that are not silent."""
    rng = np.random.default_rng(seed)
    clips: list[F32] = []
    length = round(LENGTH * rate)
    for path in rng.permutation(np.array(files, object)):
        x = load_mono(path, rate, seconds=60.0).samples
        if len(x) <= length:
            continue
        start = int(rng.integers(0, len(x) - length))
        clip = x[start : start + length]
        if np.max(np.abs(clip)) > 0.01:
            clips.append(clip)
        if len(clips) == count:
            break
    return clips
