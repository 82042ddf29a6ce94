"""From a sound, a word and an intensity to an equaliser setting: the decision, without sound or threads.

Three ways, each a curve in dB that 13 numbers are then fitted to:

- `static`: the word's curve times the intensity, whatever is heard;
- `gated`: the same, weaker the more the sound is like the word already. How much of the word a
  sound has is its deviation from the long-term spectrum of music, projected onto the word's curve;
- `residual`: the encoder hears which setting the sound carries (z), the intensity leads from there
  towards the word (z + i (word − z)), and the difference of the two decoded curves is applied. It
  is exact where the encoder knows, and stable when repeated. Where the encoder does not (a finished
  piece without its dry self), it falls back to `gated` and says so.

Intensity 0 is flat, bit for bit, in every mode; below 0 leads away from the word.
Thread: control or worker.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .._errors import ParameterError, refused
from . import words
from .curve import F64, FLAT, GAINS, fit, response_db
from .loudness import MOST_DB, change_db
from .model import Heard, Model
from .spectrum import Sound

MODES = ("gated", "residual", "static")
SURE = 0.5  # confidence from which the encoder is believed
#: The gate: its ends, and how fast it falls per standard deviation of music.
GATE_LOW, GATE_HIGH, GATE_SLOPE = 0.15, 1.15, 1.5
_ROUNDS = 14  # of the fit: enough from a near start, and within 20 ms
_OTHER_START_DB = 0.25


@dataclass(frozen=True)
class Decision:
    """A setting, and why it is that one."""

    setting: F64  # [shape=(13,)]
    output_gain_db: float  # loudness make-up, 0 unless asked for
    target_db: F64  # the curve that was wanted, per band [shape=(bands,)]
    fit_rms_db: float  # how far the setting's curve is from it
    mode: str  # the way taken: gated, residual, static or flat
    reason: str  # why, where it is not the one asked for; else empty
    gate: float  # share of the word's curve, 1 where there is no gate
    likeness: float  # how much of the word the sound has, in standard deviations of music; 0 is average
    confidence: float  # of the encoder, 0 where nothing was heard
    heard: Heard | None = field(default=None, repr=False)


class Brain:
    """Decides for one model and one sample rate."""

    def __init__(self, model: Model, sample_rate: float):
        self.model = model
        self.sample_rate = sample_rate
        self._usable = model.centers_hz < 0.46 * sample_rate

    # ---- the word in the sound ---------------------------------------------------------------

    def likeness(self, sound: Sound, curve_db: F64) -> float:
        """How much of a curve a sound has beyond average music, in standard deviations of music."""
        m = self.model
        valid = sound.valid & m.music_known
        if valid.sum() < 4:
            return 0.0
        wanted = curve_db[valid] - curve_db[valid].mean()
        level = sound.levels_db - m.music_mean_db
        size = float(wanted @ m.music_covariance[np.ix_(valid, valid)] @ wanted)
        return float(wanted @ (level[valid] - level[valid].mean())) / np.sqrt(size) if size > 0.0 else 0.0

    def profile(self, sound: Sound) -> dict[str, float]:
        """The likeness of every word, the highest first."""
        found = {w.name: self.likeness(sound, w.curve_db) for w in self.model.words.values()}
        return dict(sorted(found.items(), key=lambda x: -x[1]))

    @staticmethod
    def gate(likeness: float) -> float:
        """Share of the word's curve for a sound: much where it lacks the word, little where it has it."""
        return GATE_LOW + (GATE_HIGH - GATE_LOW) / (1.0 + float(np.exp(np.clip(GATE_SLOPE * likeness, -50, 50))))

    def suggested_intensity(self, sound: Sound, shares: dict[str, float]) -> float:
        """0.3 where a sound has the word already, up to 1.0 where it lacks it."""
        curve = self.model.curve(words.latent_of(shares, self.model))
        return float(np.clip(0.3 + 0.7 * (self.gate(self.likeness(sound, curve)) - GATE_LOW), 0.3, 1.0))

    # ---- the decision ------------------------------------------------------------------------

    def decide(
        self,
        sound: Sound | None,
        shares: dict[str, float],
        intensity: float,
        mode: str = "gated",
        *,
        reference: Sound | None = None,
        match_loudness: bool = False,
        start: F64 | None = None,
    ) -> Decision:
        """The setting for a sound (None: nothing heard yet).

        Parameters
        ----------
        shares : words with shares, from `words.parse`; {} is no change
        intensity : -1 to 1
        mode : one of `MODES`
        reference : the same sound without the setting that it carries, for `residual`
        match_loudness : make up for the change of loudness, by at most 12 dB
        start : where the knobs are; the new setting stays near where that fits as well
        """
        if mode not in MODES:
            raise ParameterError(f"mode {mode!r} is not allowed, use {' or '.join(MODES)}")
        if not -1.0 <= intensity <= 1.0:
            raise ParameterError(f"intensity {refused(intensity, -1.0, 1.0)} is not allowed, use -1 to 1")
        heard = None if sound is None else self.model.hear(sound, reference)
        confidence = 0.0 if heard is None else heard.confidence
        flat = np.zeros(self.model.bands)
        if not shares:
            return self._made(flat, start, sound, False, "flat", "no word is set", confidence=confidence, heard=heard)
        z = words.latent_of(shares, self.model)
        word_db = self.model.curve(z)
        likeness = 0.0 if sound is None else self.likeness(sound, word_db)
        reason, gate, way = "", 1.0, mode
        if sound is None and mode != "static":
            way, reason, target = "flat", "nothing was heard yet", flat
        elif mode == "residual" and heard is not None and confidence >= SURE:
            step = abs(intensity) * (z - heard.z) if intensity >= 0 else -abs(intensity) * (z - heard.z)
            target = self.model.curve(heard.z + step) - heard.curve_db
        elif mode == "static":
            target = intensity * word_db
        else:
            if mode == "residual" and heard is not None:
                way, reason = (
                    "gated",
                    (
                        f"the encoder expects an error of {heard.expected_error_db:.1f} dB: what setting this sound "
                        "carries cannot be told" + ("" if reference is not None else " without a dry reference")
                    ),
                )
            gate = self.gate(likeness if intensity >= 0 else -likeness)
            target = intensity * gate * word_db
        return self._made(target, start, sound, match_loudness, way, reason, gate, likeness, confidence, heard)

    def _made(
        self,
        target: F64,
        start: F64 | None,
        sound: Sound | None,
        match_loudness: bool,
        mode: str,
        reason: str,
        gate: float = 1.0,
        likeness: float = 0.0,
        confidence: float = 0.0,
        heard: Heard | None = None,
    ) -> Decision:
        setting, rms = self.fitted(target, start)
        gain = 0.0
        if match_loudness and sound is not None and rms + float(np.abs(target).max()) > 0.0:
            curve = response_db(setting, self.model.centers_hz, self.sample_rate)
            gain = float(np.clip(-change_db(sound, curve), -MOST_DB, MOST_DB))
        return Decision(setting, gain, target, rms, mode, reason, gate, likeness, confidence, heard)

    def fitted(self, target_db: F64, start: F64 | None = None) -> tuple[F64, float]:
        """13 numbers for a curve per band, and the error left in dB."""
        use = self._usable
        freqs, wanted = self.model.centers_hz[use], target_db[use]
        home = FLAT.copy() if start is None else np.asarray(start, np.float64)
        if not wanted.any():
            home[list(GAINS)] = 0.0
            return home, 0.0
        setting, rms = fit(wanted, freqs, self.sample_rate, start=home, rounds=_ROUNDS)
        if rms > _OTHER_START_DB:  # a local minimum? The usual places may serve better
            other, other_rms = fit(wanted, freqs, self.sample_rate, start=FLAT, rounds=2 * _ROUNDS)
            if other_rms < 0.7 * rms:
                return other, other_rms
        return setting, rms
