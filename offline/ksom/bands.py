"""The original's five bands, with its clock mended: compatibility mode `bands`.

At most five oscillators, at the mean frequency of all peaks of a band, sound together from beginning
to end. The coupling of i and j is K_i K_j rad/s as in the original; it is far too weak to lock tones
hundreds of Hz apart, which is why `tonal` is the default.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import AudioError
from .modelfile import Band, Model
from .oscillators import Coupled, Performance

F32 = NDArray[np.float32]


def album_bands(model: Model) -> list[Band]:
    """The bands of all tracks together: means over all their peaks. Raises AudioError if there is none."""
    merged: dict[str, list[Band]] = {}
    for track in model.tracks:
        for band in track.bands:
            merged.setdefault(band.name, []).append(band)
    out = []
    for name, parts in merged.items():
        peaks = sum(b.peaks for b in parts)
        freq = sum(b.peaks * b.freq_hz for b in parts) / peaks
        coupling = sum(b.peaks * b.coupling for b in parts) / peaks
        out.append(Band(name=name, peaks=peaks, freq_hz=round(freq, 4), coupling=round(coupling, 6)))
    if not out:
        raise AudioError(
            f"{', '.join(t.name for t in model.tracks)}: no band has more than 3 peaks, so there is no oscillator; "
            "try --mode tonal"
        )
    return sorted(out, key=lambda b: b.freq_hz)


def band_bank(bands: Sequence[Band], play: Performance) -> Coupled:
    """One oscillator per band, coupled by K_i K_j rad/s times `play.coupling`."""
    k = np.array([b.coupling for b in bands])
    matrix = np.outer(k, k) * play.coupling / (2 * np.pi)
    np.fill_diagonal(matrix, 0.0)
    freq = np.array([b.freq_hz for b in bands], np.float64)
    return Coupled(freq, np.zeros(0, np.float32), matrix.astype(np.float32))


class Steady:
    """Equal levels from beginning to end."""

    def __init__(self, oscillators: int):
        self._levels = np.ones(oscillators, np.float32)

    def tick(self) -> F32:
        """The level of each oscillator [shape=(oscillators,)]."""
        return self._levels
