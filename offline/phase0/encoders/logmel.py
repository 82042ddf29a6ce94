"""Log-mel energies and their principal components: what speech gives without any trained network."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....plugins._errors import FileError
from ....wholefile import whole
from ..config import EncoderSettings, fingerprint
from ..data import Utterance
from ..store import EncoderInfo
from .base import AudioEncoder

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

FILE = "logmel_pca.safetensors"
_MOST_HEADER = 1 << 24
#: Added to the power, so that digital silence has a logarithm: −100 dB below full scale.
FLOOR = 1e-10


class Logmel(AudioEncoder):
    """Hann-windowed power of each frame's own samples in mel bands (Slaney), natural log, then PCA."""

    def __init__(self, settings: EncoderSettings, fitted: Path | None):
        import librosa

        s = settings.logmel
        if s.pca_dim is not None and s.pca_dim > s.mels:
            raise FileError(f"encoder.logmel.pca_dim is {s.pca_dim}; of {s.mels} mels there are at most {s.mels}")
        self.settings = s
        self.needs_fit = s.pca_dim is not None
        self._file = None if fitted is None else fitted / FILE
        self._mel: F32 = librosa.filters.mel(sr=s.sample_rate, n_fft=s.hop, n_mels=s.mels, fmin=20.0).astype(np.float32)
        self._window = np.hanning(s.hop + 1)[:-1].astype(np.float32)
        self._mean: F64 | None = None
        self._axes: F64 | None = None
        self.info = EncoderInfo(
            "logmel",
            f"{s.mels} mel bands" + (f", {s.pca_dim} principal components" if s.pca_dim else ""),
            s.sample_rate,
            s.hop,
            s.pca_dim or s.mels,
            s.sample_rate / s.hop,
            fingerprint("logmel", s),
        )
        if self.needs_fit and self._file is not None and self._file.is_file():
            self._load(self._file)

    def bands(self, samples: F32) -> F32:
        """Log energies [shape=(ceil(samples / hop), mels)]."""
        hop = self.settings.hop
        count = -(-len(samples) // hop)
        filled = np.zeros(count * hop, np.float32)
        filled[: len(samples)] = samples
        spectrum = np.fft.rfft(filled.reshape(count, hop) * self._window, axis=1)
        power = (spectrum.real**2 + spectrum.imag**2) / np.sum(self._window) ** 2
        out: F32 = np.log(power @ self._mel.T.astype(np.float64) + FLOOR).astype(np.float32)
        return out

    def fit(self, utterances: Sequence[Utterance], done: Callable[[], None]) -> None:
        """Principal axes of the frames of these utterances, summed in the order given; kept in the folder."""
        from safetensors.numpy import save

        n, total, square = 0, np.zeros(self.settings.mels), np.zeros((self.settings.mels, self.settings.mels))
        for u in utterances:
            y = self.bands(self.load(u)).astype(np.float64)
            n, total, square = n + len(y), total + y.sum(axis=0), square + y.T @ y
            done()
        mean = total / n
        values, axes = np.linalg.eigh(square / n - np.outer(mean, mean))
        top = axes[:, ::-1][:, : self.info.dim]
        top = top * np.sign(top[np.argmax(np.abs(top), axis=0), np.arange(self.info.dim)])
        if self._file is None:
            self._mean, self._axes = mean, top
            return
        about = {
            "frames": n,
            "explained": float(values[::-1][: self.info.dim].sum() / values.sum()),
            "speakers": sorted({u.speaker_id for u in utterances}),
            "utterances": fingerprint([u.utterance_id for u in utterances]),
        }
        with whole(self._file) as part:
            part.write_bytes(save({"axes": np.ascontiguousarray(top), "mean": mean}, {"about": json.dumps(about)}))
        self._load(self._file)

    def _load(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            held = load_file(path)
            mean, axes = held["mean"], held["axes"]
        except (OSError, KeyError, ValueError, SafetensorError) as e:
            raise FileError(f"{path}: is not a PCA of this encoder: {e}") from None
        if mean.shape != (self.settings.mels,) or axes.shape != (self.settings.mels, self.info.dim):
            raise FileError(
                f"{path}: has axes of shape {axes.shape}; ({self.settings.mels}, {self.info.dim}) are needed"
            )
        self._mean, self._axes = mean, axes

    def encode(self, samples: F32) -> F32:
        """Components of each frame. Raises FileError before `fit`."""
        y = self.bands(samples)
        if not self.needs_fit:
            return y
        if self._axes is None or self._mean is None:
            raise FileError(
                f"{self._file or 'logmel'}: the principal components are not fitted; run `cspace phase0 latents`"
            )
        z: F32 = ((y - self._mean) @ self._axes).astype(np.float32)
        return z


def fitted_speakers(folder: Path) -> list[str] | None:
    """Whom the PCA in a folder was fitted to; None if there is none. Raises FileError."""
    about = _about(folder)
    return None if about is None else [str(s) for s in about["speakers"]]


def fitted_utterances(folder: Path) -> str | None:
    """A hash of the utterances it was fitted to. Raises FileError."""
    about = _about(folder)
    return None if about is None else str(about["utterances"])


def _about(folder: Path) -> dict[str, Any] | None:
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with open(path, "rb") as file:
            size = min(int.from_bytes(file.read(8), "little"), _MOST_HEADER)
            about: dict[str, Any] = json.loads(json.loads(file.read(size))["__metadata__"]["about"])
        return {"speakers": about["speakers"], "utterances": about["utterances"]}
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise FileError(f"{path}: does not say whom it was fitted to: {e}") from None
