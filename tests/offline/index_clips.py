"""Sound made by code that is different everywhere, for the tests of the search index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

F32 = NDArray[np.float32]
RATE = 24_000


def voice(seconds: float, seed: int, rate: int = RATE) -> F32:
    """Something like speech: pulses of a wandering pitch through three wandering formants, with gaps."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(seed)
    n, step = round(seconds * rate), rate // 100
    frames = n // step + 1
    slow = np.cumsum(rng.standard_normal((5, frames)), axis=1) * 0.15
    slow -= np.linspace(0, 1, frames) * slow[:, -1:]
    pitch = np.repeat(120 * 2 ** (0.3 * np.tanh(slow[0]) + 0.3 * np.sin(np.arange(frames) / 17 + seed)), step)[:n]
    phase = np.cumsum(pitch / rate)
    x = np.diff(np.floor(phase), prepend=0.0) + 0.03 * rng.standard_normal(n)
    loud = np.repeat(np.clip(np.sin(np.arange(frames) * rng.uniform(0.1, 0.3) + 2 * slow[4]) + 0.6, 0.02, None), step)
    out = np.zeros(n)
    for k, centre in enumerate((600, 1500, 2800)):
        state = np.zeros(2)
        for f in range(frames):
            at = slice(f * step, min((f + 1) * step, n))
            hz = centre * 2 ** (0.5 * np.tanh(slow[1 + k, f]))
            r = np.exp(-np.pi * 120 / rate)
            a = [1.0, -2 * r * np.cos(2 * np.pi * hz / rate), r * r]
            y, state = lfilter([1 - r], a, x[at], zi=state)
            out[at] += y
    out *= loud[:n]
    return np.asarray(0.3 * out / np.max(np.abs(out)), np.float32)


def write_folder(folder: Path, files: int = 6, seconds: float = 8.0, rate: int = RATE) -> dict[str, F32]:
    """`files` FLAC files under a folder, and what is in them."""
    made = {}
    for k in range(files):
        name = f"{'ab'[k % 2]}/{k}.flac"
        made[name] = voice(seconds, k, rate)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        sf.write(folder / name, made[name], rate, subtype="PCM_24")
    return made
