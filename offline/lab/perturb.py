"""Changed copies of a sound, with exact knowledge of where each sample of the original went.

A search that is asked with the very samples it searches finds them at distance 0, whatever the
descriptor (defect 1 of the original). Every study here asks with a changed copy instead.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import soxr
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ...plugins._errors import AudioError, MissingExtraError, ParameterError
from ..audio import F32

_FRAME_S = 0.02
_ACTIVE_DB = 30.0
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_PIECE = 1 << 18  # samples of noise drawn at once
_PINK = 1 << 21  # samples of pink noise made by one transform


class Change(BaseModel):
    """What is done to a copy, in this order: speed, level, noise, codec."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: The copy is longer by this many parts in a million (a clock that runs fast while recording).
    resample_ppm: float = Field(0.0, ge=-100_000.0, le=100_000.0)
    gain_db: float = Field(0.0, ge=-120.0, le=120.0)
    #: Signal to noise over the active part of the sound, dB; None for no noise.
    noise_db: float | None = Field(None, ge=-100.0, le=200.0)
    noise_color: Literal["white", "pink"] = "white"
    codec: Literal["mp3", "gsm"] | None = None
    mp3_kbps: int = Field(64, ge=8, le=320)
    seed: int = Field(42, ge=0)

    @property
    def nothing(self) -> bool:
        """The copy would be the same samples."""
        return self.noise_db is None and self.gain_db == 0.0 and self.resample_ppm == 0.0 and self.codec is None

    def words(self) -> str:
        """What is done, for titles and tables."""
        said = []
        if self.resample_ppm:
            said.append(f"{self.resample_ppm:+g} ppm")
        if self.gain_db:
            said.append(f"{self.gain_db:+g} dB gain")
        if self.noise_db is not None:
            said.append(f"{self.noise_color} noise {self.noise_db:g} dB")
        if self.codec == "mp3":
            said.append(f"MP3 {self.mp3_kbps} kbit/s")
        if self.codec == "gsm":
            said.append("GSM full rate")
        return ", ".join(said) or "same samples"


@dataclass
class Copy:
    """A changed copy and the map between its samples and those of the original.

    position in copy = ratio × position in original + delay (in samples, fractional).
    """

    samples: F32
    ratio: float = 1.0
    delay: float = 0.0
    #: Measured facts, in words: delays, achieved SNR.
    notes: list[str] = field(default_factory=list)

    def to_original(self, place: float) -> float:
        """Where a sample of the copy lies in the original."""
        return (place - self.delay) / self.ratio

    def to_copy(self, place: float) -> float:
        """Where a sample of the original lies in the copy."""
        return place * self.ratio + self.delay


def active_samples(x: F32, sample_rate: int) -> NDArray[np.bool_]:
    """Which samples lie in an active frame: 20 ms whose rms is within 30 dB of the loudest [shape=(samples,)]."""
    on, frame = _active_frames(x, sample_rate)[:2]
    return np.repeat(on, frame)[: len(x)]


def active_power(x: F32, sample_rate: int) -> float:
    """Mean square of the active samples."""
    on, frame, energy = _active_frames(x, sample_rate)
    count = int(on.sum()) * frame - ((-len(x)) % frame if len(on) and on[-1] else 0)
    return float(energy[on].sum()) / max(1, count)


def _active_frames(x: F32, sample_rate: int) -> tuple[NDArray[np.bool_], int, NDArray[np.float64]]:
    """Which frames are active, the samples in one (the last may be shorter), and the energy of each."""
    n = max(1, round(_FRAME_S * sample_rate))
    energy = _energies(x, n)
    counts = np.full(len(energy), n)
    counts[-1:] -= (-len(x)) % n
    power = energy / counts
    return power > power.max() * 10 ** (-_ACTIVE_DB / 10), n, energy


def _energies(x: F32, n: int) -> NDArray[np.float64]:
    """Energy of each `n` samples, the last perhaps of fewer, without a second copy of a long sound."""
    whole = len(x) // n
    some = max(1, _PIECE // n)
    framed = x[: whole * n].reshape(whole, n)
    parts = [np.sum(np.square(framed[k : k + some]), axis=1, dtype=np.float64) for k in range(0, whole, some)]
    if whole * n < len(x):
        parts.append(np.sum(np.square(x[whole * n :]), dtype=np.float64, keepdims=True))
    return np.concatenate(parts) if parts else np.zeros(0)


def change(x: F32, sample_rate: int, what: Change) -> Copy:
    """A changed copy of a mono sound.

    Parameters
    ----------
    x : float32 [shape=(samples,)]
    sample_rate : Hz, of the original and of the copy
    what : see Change; its seed decides the noise

    Raises AudioError for a silent sound with noise or a codec, ParameterError for a sample rate MP3
    does not know, MissingExtraError without pedalboard (codecs only).
    """
    copy = Copy(np.array(x, np.float32))
    if what.resample_ppm:
        copy.ratio = 1.0 + 1e-6 * what.resample_ppm
        # soxr's one-shot form has no delay: sample n of the copy is the original at n / ratio.
        copy.samples = soxr.resample(copy.samples, 1e6, 1e6 * copy.ratio, quality="VHQ")
    if what.gain_db:
        copy.samples *= np.float32(10 ** (what.gain_db / 20))
    if what.noise_db is not None:
        _add_noise(copy, sample_rate, what)
    if what.codec is not None:
        _encode(copy, sample_rate, what)
    return copy


def _add_noise(copy: Copy, sample_rate: int, what: Change) -> None:
    assert what.noise_db is not None
    power = active_power(copy.samples, sample_rate)
    if power <= 0.0:
        raise AudioError("noise_db: the sound is silent, so no noise level has that distance from it")
    rng = np.random.default_rng(what.seed)
    rms = np.sqrt(power) * 10 ** (-what.noise_db / 20)
    if what.noise_color == "pink":
        copy.samples += np.float32(rms) * _pink(rng, len(copy.samples), sample_rate)
        return
    for start in range(0, len(copy.samples), _PIECE):
        part = copy.samples[start : start + _PIECE]
        part += np.float32(rms) * rng.standard_normal(len(part), dtype=np.float32)


def _pink(rng: np.random.Generator, samples: int, sample_rate: int) -> F32:
    """Noise of unit power with equal power in each octave above 20 Hz, flat below."""
    if samples <= _PINK:
        return _pink_block(rng, samples, sample_rate)
    # Long noise from independent blocks, faded over each other so that the power stays the same.
    half = _PINK // 2
    fade = np.sin(np.pi * (np.arange(_PINK) + 0.5) / _PINK).astype(np.float32)
    out = np.zeros(samples, np.float32)
    for start in range(-half, samples, half):
        block = fade * _pink_block(rng, _PINK, sample_rate)
        here = slice(max(0, start), min(samples, start + _PINK))
        out[here] += block[here.start - start : here.stop - start]
    return out


def _pink_block(rng: np.random.Generator, samples: int, sample_rate: int) -> F32:
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency = np.fft.rfftfreq(samples, 1 / sample_rate)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequency, 20.0)), samples)
    return np.asarray(noise / np.sqrt(np.mean(noise**2)), np.float32)


# ---- codecs ----------------------------------------------------------------------------------


def _encode(copy: Copy, sample_rate: int, what: Change) -> None:
    if not np.any(copy.samples):
        raise AudioError("codec: the sound is silent, so the codec's delay cannot be measured")
    pedalboard = _pedalboard()
    if what.codec == "mp3":
        out = _mp3(copy.samples, sample_rate, what.mp3_kbps)
    else:
        board = pedalboard.Pedalboard([pedalboard.GSMFullRateCompressor()])
        out = np.asarray(board(copy.samples[None], sample_rate)[0], np.float32)
    delay = measured_delay(copy.samples, out, sample_rate)
    whole = round(delay)
    rest = delay - whole if abs(delay - whole) > 0.02 else 0.0  # finer is the noise of the measurement
    n = len(copy.samples)
    cut = np.zeros(n, np.float32)
    shifted = out[max(0, whole) : max(0, whole) + n]
    cut[max(0, -whole) : max(0, -whole) + len(shifted)] = shifted[: n - max(0, -whole)]
    copy.samples = cut
    copy.delay += rest
    copy.notes.append(
        f"{what.codec}: delay measured as {delay:.2f} samples; {whole} taken out"
        + (f", {rest:+.2f} kept in the map" if rest else "")
    )


def _pedalboard() -> Any:
    try:
        import pedalboard
    except ModuleNotFoundError:
        raise MissingExtraError(
            "codec: this needs pedalboard, which is not installed; say pip install 'cspace[pedalboard]'"
        ) from None
    return pedalboard


def _mp3(x: F32, sample_rate: int, kbps: int) -> F32:
    """Through an MP3 encoder at a constant bit rate and back, all in memory; with the codec's delay."""
    if sample_rate not in _MP3_RATES:
        raise ParameterError(f"codec: MP3 has no sample rate {sample_rate}; it has {', '.join(map(str, _MP3_RATES))}")
    from pedalboard.io import AudioFile

    # An MP3 stream holds no level above 1: what would clip is turned down before and up after.
    scale = np.float32(max(1.0, float(np.max(np.abs(x))) / 0.95))
    store = io.BytesIO()
    with AudioFile(store, "w", samplerate=sample_rate, num_channels=1, format="mp3", quality=f"{kbps} kbps") as writer:
        for start in range(0, len(x), _PIECE):
            writer.write((x[start : start + _PIECE] / scale)[None])
    store.seek(0)
    with AudioFile(store) as reader:
        out = np.asarray(reader.read(reader.frames)[0], np.float32)
    out *= scale
    return out


def measured_delay(x: F32, y: F32, sample_rate: int, *, seconds: float = 30.0) -> float:
    """Samples by which `y` lags `x`, by the peak of their cross-correlation, to about 0.02 samples.

    At most the loudest `seconds` are compared; the peak is refined on a 16 times finer grid.
    """
    n = round(seconds * sample_rate)
    if len(x) > n:
        step = max(1, n // 4)
        quarters = _energies(x[: len(x) // step * step], step)
        start = step * int(np.argmax(np.convolve(quarters, np.ones(n // step), mode="valid")))
    else:
        start, n = 0, len(x)
    a, b = x[start : start + n], y[start : start + n + 8192]
    size = 1 << int(np.ceil(np.log2(len(a) + len(b))))
    cross = np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size)
    coarse = np.fft.irfft(cross, size)
    peak = int(np.argmax(coarse))
    # Values between samples from the band-limited correlation itself, near the peak only.
    fine = np.arange(-16, 17) / 16.0
    omega = 2j * np.pi * np.arange(len(cross)) / size
    values = np.array([np.real(np.sum(cross * np.exp(omega * (peak + f)))) for f in fine])
    k = int(np.clip(np.argmax(values), 1, len(fine) - 2))
    left, top, right = values[k - 1 : k + 2]
    bend = left - 2 * top + right
    best = fine[k] + (0.5 * (left - right) / bend / 16.0 if bend else 0.0)
    return float((peak - size if peak > size // 2 else peak) + best)
