"""What an encoder is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ....plugins._errors import AudioError
from ...audio import load_mono
from ..data import Utterance
from ..store import EncoderInfo, Latents

F32 = NDArray[np.float32]


class Encoder(ABC):
    """Utterances to latents. The same utterance gives the same latents, in any process."""

    info: EncoderInfo

    #: Whether `fit` must see the training utterances first.
    needs_fit = False

    def fit(self, utterances: Sequence[Utterance], done: Callable[[], None]) -> None:
        """Fits what the encoder needs to training utterances; `done` is called after each."""
        raise NotImplementedError(f"{self.info.name} has nothing to fit")

    @abstractmethod
    def latents(self, utterance: Utterance) -> Latents:
        """Latents of an utterance. Raises FileError or AudioError."""


class AudioEncoder(Encoder):
    """One that reads sound. A subclass gives `encode`."""

    @abstractmethod
    def encode(self, samples: F32) -> F32:
        """Latents [shape=(ceil(samples / hop), dim)] of mono sound at the encoder's sample rate [shape=(samples,)]."""

    def load(self, utterance: Utterance) -> F32:
        """The sound of an utterance at the encoder's rate. Raises FileError, AudioError."""
        return load_mono(utterance.audio_path, self.info.sample_rate).samples

    def latents(self, utterance: Utterance) -> Latents:
        """Latents of an utterance's file, with the energy of each frame's own samples."""
        samples = self.load(utterance)
        count = -(-len(samples) // self.info.hop)
        x = self.encode(samples)
        if len(x) < count:
            raise AudioError(f"{utterance.audio_path}: {self.info.name} gave {len(x)} frames; {count} belong to it")
        return Latents(
            np.ascontiguousarray(x[:count], np.float32),
            frame_energy(samples, self.info.hop),
            np.arange(count, dtype=np.float64) * (self.info.hop / self.info.sample_rate),
            utterance.speaker_id,
        )


def frame_energy(samples: F32, hop: int) -> F32:
    """RMS of the samples of each frame [shape=(ceil(samples / hop),)]; the last one is filled up with zeros."""
    count = -(-len(samples) // hop)
    filled = np.zeros(count * hop)
    filled[: len(samples)] = samples
    rms: F32 = np.sqrt(np.mean(filled.reshape(count, hop) ** 2, axis=1)).astype(np.float32)
    return rms
