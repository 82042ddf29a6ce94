"""Latents of known answer: the step's sign flips every few frames, by a rule that is shared, private, or none.

In regimes of R frames the step is +r or −r, in turn, so the latent goes up and down a line. What went before tells
where in its regime a frame is, hence its step. The rules:

- `structured`: r is the same for all speakers. A lookup made from some speakers serves the others.
- `private`: each speaker has a direction r of his own, and his own region of the space. Within a speaker all is as
  predictable as before, but the centres learned from others point elsewhere: the transfer variance ratio is above 1.
- `shuffled`: the frames of `structured` in random order. The step depends on x[t−1], which is in no context.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from ..config import EncoderSettings, fingerprint
from ..data import Utterance
from ..store import EncoderInfo, Latents
from .base import Encoder

F64 = NDArray[np.float64]

SAMPLE_RATE = 24_000
#: How far the speakers of `private` lie from each other, in each dimension [steps].
SPREAD = 6.0


class Synthetic(Encoder):
    """The generator. Each utterance follows from the seed and its id alone."""

    def __init__(self, settings: EncoderSettings):
        self.settings, self.seed = settings.synthetic, settings.seed
        s = self.settings
        self.info = EncoderInfo(
            "synthetic",
            f"{s.rule}, known answer",
            SAMPLE_RATE,
            round(SAMPLE_RATE / s.frame_rate_hz),
            s.dim,
            s.frame_rate_hz,
            fingerprint("synthetic", s, settings.seed),
        )

    def _rng(self, *words: str) -> np.random.Generator:
        digest = hashlib.sha256("\n".join([str(self.seed), *words]).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "little"))

    def _direction(self, *words: str) -> F64:
        """A step of mean square 1 per dimension."""
        v = self._rng("direction", *words).standard_normal(self.settings.dim)
        return np.asarray(v * np.sqrt(len(v)) / np.linalg.norm(v))

    def latents(self, utterance: Utterance) -> Latents:
        """The latents of an utterance; energies are noise that means nothing."""
        s = self.settings
        rng = self._rng("utterance", utterance.utterance_id)
        phase = int(rng.integers(2 * s.regime_frames))
        sign = np.where((np.arange(s.frames) + phase) // s.regime_frames % 2 == 0, 1.0, -1.0)
        # The line's middle is 0 whatever the phase.
        start = min(phase, 2 * s.regime_frames - phase) - s.regime_frames / 2
        height = start + np.cumsum(sign)
        if s.rule == "private":
            who = utterance.speaker_id
            x = height[:, None] * self._direction(who) + SPREAD * self._rng("place", who).standard_normal(s.dim)
        else:
            x = height[:, None] * self._direction()
        x = x + s.noise * rng.standard_normal(x.shape)
        if s.rule == "shuffled":
            x = x[rng.permutation(s.frames)]
        return Latents(
            x.astype(np.float32),
            rng.uniform(0.0, 1.0, s.frames).astype(np.float32),
            np.arange(s.frames) / s.frame_rate_hz,
            utterance.speaker_id,
        )
