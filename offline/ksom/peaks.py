"""Spectral peaks: where they lie between the bins, and what the original recorded of them."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

from ...wholefile import whole

F32 = NDArray[np.float32]

#: The five bands of the original, Hz.
BANDS = (
    ("bass", 0.0, 250.0),
    ("low_mid", 250.0, 500.0),
    ("mid", 500.0, 2000.0),
    ("high_mid", 2000.0, 4000.0),
    ("treble", 4000.0, np.inf),
)


@dataclass(frozen=True)
class PeakRule:
    """What counts as a peak of one frame's spectrum.

    prominence_db : least height above the higher of both valleys
    distance_bins : least distance between peaks; the stronger one stays
    floor_db : peaks below this level (dB full scale) are left out
    range_db : so are peaks this far below the frame's strongest
    low_hz, high_hz : where peaks are looked for
    sub_bin : refine frequency and level with a parabola through three bins (in dB; Smith and Serra
        1987); False gives bin centres as the original did
    """

    prominence_db: float = 10.0
    distance_bins: int = 5
    floor_db: float = -80.0
    range_db: float = 45.0
    low_hz: float = 30.0
    high_hz: float = 5000.0
    sub_bin: bool = True


@dataclass
class Peaks:
    """Peaks of many frames as columns [shape=(peaks,) each], in time order."""

    frame: NDArray[np.int32]
    freq_hz: F32
    level_db: F32

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def amplitude(self) -> F32:
        """10^(level / 20), the original's "energy"."""
        return (10 ** (self.level_db / 20)).astype(np.float32)

    @classmethod
    def none(cls) -> Peaks:
        """No peaks."""
        return cls(np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.float32))

    @classmethod
    def joined(cls, parts: list[Peaks]) -> Peaks:
        """All of `parts`, in order."""
        if not parts:
            return cls.none()
        return cls(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("frame", "freq_hz", "level_db")))


def pick(levels_db: F32, first: int, bin_hz: float, rule: PeakRule) -> Peaks:
    """Peaks of spectra in dB [shape=(frames, bins)] whose first frame has number `first`."""
    low = max(1, int(rule.low_hz / bin_hz))
    high = min(levels_db.shape[1] - 1, int(np.ceil(min(rule.high_hz, 1e9) / bin_hz)) + 1)
    frames, bins = [], []
    part = levels_db[:, low - 1 : high + 1]
    for number, row in enumerate(part):
        floor = max(rule.floor_db, float(row.max()) - rule.range_db)
        found, _ = find_peaks(row, height=floor, prominence=rule.prominence_db, distance=rule.distance_bins)
        frames.append(np.full(len(found), number))
        bins.append(found)
    t, k = np.concatenate(frames or [np.zeros(0, int)]), np.concatenate(bins or [np.zeros(0, int)])
    k = k + low - 1
    level = levels_db[t, k]
    place = k.astype(np.float64)
    if rule.sub_bin and len(k):
        a, c = levels_db[t, k - 1].astype(np.float64), levels_db[t, np.minimum(k + 1, levels_db.shape[1] - 1)]
        bend = a - 2 * level + c
        shift = np.where(bend < -1e-9, 0.5 * (a - c) / np.minimum(bend, -1e-9), 0.0).clip(-0.5, 0.5)
        place = place + shift
        level = (level - 0.25 * (a - c) * shift).astype(np.float32)
    return Peaks((t + first).astype(np.int32), (place * bin_hz).astype(np.float32), level.astype(np.float32))


def write_csv(path: str | os.PathLike[str], tracks: Sequence[tuple[str, Peaks]], frame_s: float) -> None:
    """All peaks with the original's fields, and the time in seconds.

    Columns: track, time_s, frame, freq_hz, level_db (full scale), energy (10^(level/20)), phase_rad:
    how far a tone of this frequency, begun at 0, has turned at the frame's centre, 2π f t mod 2π.
    """
    with whole(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["track", "time_s", "frame", "freq_hz", "level_db", "energy", "phase_rad"])
        for name, p in tracks:
            time = p.frame * frame_s
            phase = 2 * np.pi * ((p.freq_hz * time) % 1.0)
            for row in zip(time, p.frame, p.freq_hz, p.level_db, p.amplitude, phase, strict=True):
                t, frame, freq, level, energy, angle = row
                out.writerow([name, f"{t:.4f}", frame, f"{freq:.2f}", f"{level:.2f}", f"{energy:.6f}", f"{angle:.4f}"])
