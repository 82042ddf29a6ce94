"""The bundled clip: twenty seconds of music made by the code here, so that no recording is needed.

Plucked strings play broken chords (Karplus and Strong 1983), a voice sings vowels (harmonics under
four formants), drums keep time softly, and a small room holds them together. The same numbers come
out on every run. Only NumPy is used.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float64]

BEAT_S = 0.625  # 96 beats a minute; a bar has four, the piece has eight bars
BARS = 8
LENGTH_S = BARS * 4 * BEAT_S
PEAK = 10 ** (-3 / 20)

# Chords of the eight bars as MIDI notes, low to high: Am9 Fmaj7 C G/B, then Am9 Fmaj7 Dm9 E7 to turn round.
_CHORDS = (
    (45, 52, 57, 60, 64, 71),
    (41, 53, 57, 60, 64, 69),
    (48, 52, 55, 60, 64, 67),
    (47, 50, 55, 59, 62, 67),
    (45, 52, 57, 60, 64, 71),
    (41, 53, 57, 60, 65, 69),
    (50, 53, 57, 60, 65, 69),
    (52, 56, 59, 62, 64, 68),
)
_PATTERN = (0, 2, 3, 4, 5, 4, 3, 2)  # which chord note on each eighth

# Melody: (beat, length in beats, MIDI note, vowel, loudness).
_MELODY = (
    (2.0, 1.0, 64, "u", 0.5),
    (3.0, 0.9, 67, "o", 0.6),
    (4.0, 2.4, 69, "a", 0.9),
    (6.5, 0.5, 67, "e", 0.6),
    (7.0, 0.9, 65, "o", 0.6),
    (8.0, 2.8, 64, "a", 0.8),
    (11.0, 0.9, 60, "u", 0.5),
    (12.0, 1.4, 62, "o", 0.7),
    (13.5, 0.5, 64, "e", 0.6),
    (14.0, 1.8, 59, "u", 0.6),
    (16.0, 1.9, 69, "a", 0.9),
    (18.0, 0.9, 72, "e", 0.9),
    (19.0, 0.9, 71, "a", 0.8),
    (20.0, 2.4, 72, "i", 1.0),
    (22.5, 1.4, 69, "a", 0.8),
    (24.0, 1.9, 65, "o", 0.8),
    (26.0, 1.9, 69, "a", 0.8),
    (28.0, 1.9, 68, "e", 0.8),
    (30.0, 1.8, 64, "u", 0.6),
)

# Centre frequencies and levels of four formants, after Peterson and Barney 1952 (rounded).
_FORMANTS_HZ = {
    "a": (730, 1090, 2440, 3400),
    "e": (530, 1840, 2480, 3500),
    "i": (290, 2290, 3010, 3700),
    "o": (500, 900, 2400, 3300),
    "u": (320, 870, 2240, 3200),
}
_FORMANT_LEVEL = (1.0, 0.5, 0.22, 0.1)
_FORMANT_WIDTH_HZ = (90.0, 110.0, 160.0, 220.0)


def clip(seconds: float = LENGTH_S, sample_rate: int = 48_000) -> NDArray[np.float32]:
    """The clip, float32 [shape=(2, frames)], peak −3 dBFS.

    Longer than 20 s repeats it; any sample rate from 8 kHz is played directly, not resampled.
    """
    whole = _piece(int(sample_rate))
    frames = round(seconds * sample_rate)
    return np.ascontiguousarray(np.tile(whole, (1, -(-frames // whole.shape[1])))[:, :frames])


@lru_cache(maxsize=2)
def _piece(rate: int) -> NDArray[np.float32]:
    if rate < 8_000:
        raise ValueError(f"sample_rate = {rate} is not allowed, use 8000 Hz or more")
    frames = round(LENGTH_S * rate)
    dry = np.zeros((2, frames))
    wet = np.zeros((2, frames))
    for source, pan, send in ((_strings, None, 0.35), (_voice, 0.5, 0.45), (_drums, None, 0.12)):
        part = source(rate, frames)
        if pan is not None:
            part = np.stack([part[0] * np.sqrt(1 - pan), part[0] * np.sqrt(pan)])
        dry += part
        wet += send * part
    mix = dry + _room(wet, rate)
    fade = round(0.02 * rate)
    mix[:, -fade:] *= np.linspace(1.0, 0.0, fade)  # the repeat starts from silence without a click
    mix *= PEAK / np.max(np.abs(mix))
    out = mix.astype(np.float32)
    out.flags.writeable = False
    return out


def _hz(note: float) -> float:
    return float(440.0 * 2.0 ** ((note - 69) / 12))


def _add(target: Audio, at_s: float, sound: Audio, rate: int, left: float, right: float) -> None:
    start = round(at_s * rate)
    n = min(len(sound), target.shape[1] - start)
    if n > 0:
        target[0, start : start + n] += left * sound[:n]
        target[1, start : start + n] += right * sound[:n]


# ---- plucked strings -------------------------------------------------------------------------


def _strings(rate: int, frames: int) -> Audio:
    out = np.zeros((2, frames))
    rng = np.random.default_rng(1)
    for bar, chord in enumerate(_CHORDS):
        swell = 0.75 + 0.25 * np.sin(np.pi * (bar + 0.5) / BARS)
        for eighth, which in enumerate(_PATTERN):
            at = (bar * 4 + eighth / 2) * BEAT_S + abs(rng.normal(0.0, 0.004))  # a hand is not a clock
            accent = (1.0, 0.6, 0.7, 0.6, 0.85, 0.6, 0.7, 0.65)[eighth] * swell
            sound = _pluck(_hz(chord[which]), 2.2, 0.35 + 0.4 * accent, rate, rng)
            pan = 0.3 + 0.08 * which
            _add(out, at, 0.9 * accent * sound, rate, np.sqrt(1 - pan), np.sqrt(pan))
    return out


def _pluck(hz: float, seconds: float, brightness: float, rate: int, rng: np.random.Generator) -> Audio:
    """A string: noise in a loop of one period, averaged with its neighbour at every turn."""
    period = max(2, int(rate / hz - 0.5))
    loop_hz = rate / (period + 0.5)  # the average adds half a sample
    turns = int(seconds * loop_hz) + 2
    noise = rng.uniform(-1.0, 1.0, period)
    # A softer finger is a duller noise; it also is plucked at a seventh of the string.
    soft = np.convolve(np.concatenate([noise, noise]), np.exp(-np.arange(12) * 2.5 * brightness), "same")[:period]
    soft -= np.roll(soft, period // 7)
    soft /= np.max(np.abs(soft)) + 1e-12
    keep = 0.001 ** (1.0 / (loop_hz * (1.2 + 220.0 / hz)))  # low strings ring longer
    wave = np.empty((turns, period))
    wave[0] = soft
    last = 0.0
    for k in range(1, turns):
        before = wave[k - 1]
        wave[k, 1:] = 0.5 * keep * (before[1:] + before[:-1])
        wave[k, 0] = 0.5 * keep * (before[0] + last)
        last = before[-1]
    flat = wave.ravel()
    # The loop is a whole number of samples; reading it at another speed puts the string in tune.
    n = int(seconds * rate)
    sound: Audio = np.interp(np.arange(n) * (hz / loop_hz), np.arange(flat.size), flat)
    release = round(0.05 * rate)
    sound[-release:] *= np.linspace(1.0, 0.0, release)
    return sound


# ---- voice -----------------------------------------------------------------------------------


def _voice(rate: int, frames: int) -> Audio:
    out = np.zeros((1, frames))
    rng = np.random.default_rng(2)
    for i, (beat, length, note, vowel, loud) in enumerate(_MELODY):
        after = _MELODY[i + 1][3] if i + 1 < len(_MELODY) else "u"
        sound = _sing(_hz(note), length * BEAT_S, vowel, after, rate, rng)
        start = round(beat * BEAT_S * rate)
        n = min(len(sound), frames - start)
        out[0, start : start + n] += 0.27 * loud * sound[:n]
    return out


def _sing(hz: float, seconds: float, vowel: str, after: str, rate: int, rng: np.random.Generator) -> Audio:
    """Harmonics of a gliding, trembling pitch, each as loud as the vowel lets it through."""
    n = int((seconds + 0.12) * rate)
    t = np.arange(n) / rate
    glide = 1.0 - 0.06 * np.exp(-t / 0.04)
    tremble = 1.0 + 0.009 * np.clip((t - 0.25) / 0.3, 0.0, 1.0) * np.sin(2 * np.pi * 5.3 * t)
    pitch = hz * glide * tremble
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    # The mouth moves to the next vowel in the last third of the note; 100 shapes a second are enough.
    grid = np.linspace(0.0, 1.0, max(2, int(100 * seconds)))
    move = np.clip((grid - 0.6) / 0.4, 0.0, 1.0)[:, None] * 0.6
    formants = (1 - move) * np.array(_FORMANTS_HZ[vowel]) + move * np.array(_FORMANTS_HZ[after])
    at = np.linspace(0.0, 1.0, n)
    out: Audio = np.zeros(n)
    for h in range(1, int(min(4_500.0, 0.42 * rate) / (hz * 1.02)) + 1):
        gain = sum(
            level / (1.0 + ((h * hz - formants[:, k]) / width) ** 2) + 0.01 * level
            for k, (level, width) in enumerate(zip(_FORMANT_LEVEL, _FORMANT_WIDTH_HZ, strict=True))
        )
        out += np.interp(at, grid, gain) * np.sin(h * phase) * h**-0.35
    breath = np.diff(rng.normal(0.0, 1.0, n + 1)) * 0.006
    attack = np.clip(t / 0.06, 0.0, 1.0) ** 2
    release = np.clip((seconds + 0.12 - t) / 0.12, 0.0, 1.0)
    return (out + breath) * attack * release


# ---- drums and room --------------------------------------------------------------------------


def _drums(rate: int, frames: int) -> Audio:
    out = np.zeros((2, frames))
    rng = np.random.default_rng(3)
    t = np.arange(int(0.4 * rate)) / rate
    kick = np.sin(2 * np.pi * (48 * t + 60 * 0.045 * (1 - np.exp(-t / 0.045)))) * np.exp(-t / 0.12)
    for beat in range(2 * 4, BARS * 4):  # two bars of strings alone come first
        at = beat * BEAT_S
        if beat % 4 in (0, 2):
            _add(out, at, 0.35 * kick * np.clip(t / 0.003, 0, 1), rate, 0.71, 0.71)
        if beat % 4 in (1, 3):
            brush = np.diff(rng.normal(0.0, 1.0, t.size + 1)) * np.exp(-t / 0.07) * np.clip(t / 0.008, 0, 1)
            _add(out, at, 0.07 * brush, rate, 0.6, 0.8)
        for half in (0.0, 0.5):
            hat = np.diff(rng.normal(0.0, 1.0, t.size + 2), 2) * np.exp(-t / 0.018)
            _add(out, at + half * BEAT_S, (0.012 if half == 0.0 else 0.02) * hat, rate, 0.85, 0.5)
    return out


def _room(x: Audio, rate: int) -> Audio:
    """A small hall: decaying noise of 1.1 s as impulse response, different left and right."""
    rng = np.random.default_rng(4)
    t = np.arange(int(1.1 * rate)) / rate
    size = 1 << (x.shape[1] + t.size - 1).bit_length()
    out = np.empty_like(x)
    for c in range(2):
        response = rng.normal(0.0, 1.0, t.size) * np.exp(-t / 0.22) * (t > 0.012)
        response = np.convolve(response, (0.25, 0.5, 0.25), "same")  # air takes the highs
        response *= 0.9 / np.sqrt(np.sum(response**2))
        both = np.fft.irfft(np.fft.rfft(x[c], size) * np.fft.rfft(response, size), size)
        out[c] = both[: x.shape[1]]
    return out
