"""What the search index is measured against: log-mel frames and the waveform itself, both by brute force."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cspace.offline.audio import load_mono
from cspace.offline.index.store import Index

F32 = NDArray[np.float32]
_HOP = 240  # 10 ms: half of the index's, to the rival's advantage
_ROWS = 4096
_BLOCK = 1 << 17


class LogMel:
    """Librosa's log-mel frames (FFT 1024, 64 bands, every 10 ms), correlated at every frame as the index does."""

    def __init__(self, index: Index, sounds: Path):
        self.rate = index.spec.sample_rate
        self.paths = list(index.sources)
        self.frames = [self.features(load_mono(sounds / p, self.rate).samples) for p in self.paths]

    def features(self, x: F32) -> F32:
        power = librosa.feature.melspectrogram(
            y=x, sr=self.rate, n_fft=1024, hop_length=_HOP, n_mels=64, fmin=50.0, center=False
        )
        return np.ascontiguousarray(np.log(1e-6 + power).T, np.float32)

    def find(self, clip: F32) -> tuple[str, float, float]:
        """Path, place and distance of the best match."""
        q = self.features(clip)
        length = len(q)
        q = q - q.mean(axis=0)
        q /= np.linalg.norm(q)
        best = ("", 0.0, -2.0)
        for path, frames in zip(self.paths, self.frames, strict=True):
            for at in range(0, max(0, len(frames) - length + 1), _ROWS):
                block = frames[at : at + _ROWS + length - 1]
                count = len(block) - length + 1
                products = block @ q.T
                down, across = products.strides
                dots = np.lib.stride_tricks.as_strided(products, (count, length), (down, down + across)).sum(axis=1)
                squares = windows(np.einsum("ij,ij->i", block, block)[:, None], length)[:, 0]
                means = windows(block, length)
                norms = squares - np.einsum("ij,ij->i", means, means) / length
                c = dots / np.sqrt(np.maximum(norms, 1e-3))
                top = int(np.argmax(c))
                if c[top] > best[2]:
                    best = (path, float((at + top) * _HOP), float(c[top]))
        return best[0], best[1], 1.0 - best[2]


class Waveform:
    """The clip's samples against those at every place, normalised: the matched filter, by overlapping FFTs."""

    def __init__(self, index: Index, sounds: Path):
        self.rate = index.spec.sample_rate
        self.paths = list(index.sources)
        parts = [load_mono(sounds / p, self.rate).samples for p in self.paths]
        # One after another; what begins in one file and ends in the next is not looked at below.
        self.starts = np.cumsum([0, *map(len, parts)])
        self.x = np.concatenate(parts)

    def find(self, clip: F32) -> tuple[str, float, float]:
        """Path, place and distance of the best match."""
        length = len(clip)
        filter_ = np.conj(scipy.fft.rfft(clip, _BLOCK))
        best, height = 0, -1.0
        for at in range(0, len(self.x) - length + 1, _BLOCK - length + 1):
            x = self.x[at : at + _BLOCK]
            count = len(x) - length + 1
            c = scipy.fft.irfft(filter_ * scipy.fft.rfft(x, _BLOCK), _BLOCK)[:count]
            energy = np.concatenate([[0.0], np.cumsum(np.square(x), dtype=np.float64)])
            power = energy[length:] - energy[:count]
            c = np.where(power > 1e-4, np.abs(c) / np.sqrt(np.maximum(power, 1e-4)), 0.0)
            for start in self.starts[1:-1]:  # windows over the border of two files
                first = start - length + 1 - at
                if -length < first < count:
                    c[max(0, first) : max(0, start - at)] = 0.0
            top = int(np.argmax(c))
            if c[top] > height:
                best, height = at + top, float(c[top])
        height /= float(np.linalg.norm(clip))
        file = int(np.searchsorted(self.starts, best, "right")) - 1
        return self.paths[file], float(best - self.starts[file]), float(np.sqrt(max(0.0, 1.0 - height**2)))


def windows(x: F32, length: int) -> NDArray[np.float64]:
    """Sums over all windows of `length` rows."""
    sums = np.zeros((len(x) + 1, x.shape[1]))
    np.cumsum(x, axis=0, out=sums[1:])
    return sums[length:] - sums[:-length]
