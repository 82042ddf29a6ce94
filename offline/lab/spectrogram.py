"""What the bank and the echo state network see around one sample of a recording.

Only the window and its ring-in are computed, so a file may be of any length. A state forgets as
r^R over R samples, and no state exceeds the loudest sample (b = 1 − r), so a run that starts R
samples before the window differs from the run over the whole file by at most r^R times that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import AudioError
from ..audio import SILENCE_DB, require_index, stream_mono
from ..bank import BankSpec, forward_states
from ..config import EsnSpec, LabConfig
from ..esn import network

if TYPE_CHECKING:
    from matplotlib.figure import Figure

F32 = NDArray[np.float32]

#: The run-in is so long that the bank forgets by this much: below what float32 resolves.
RING_IN_DB = 160.0
#: The network's run-in doubles until its start matters less than this, or the kept sound is used up.
ESN_BOUND = 1e-6
#: Sound kept before the window for the network, at most: 58 MB at 24 kHz.
ESN_KEPT_S = 600.0
_PIECE = 65_536


@dataclass
class Excerpt:
    """Part of a recording, with what there is either side."""

    samples: F32
    #: Place of `samples[0]` in the recording.
    first: int
    #: Samples in the whole recording.
    total: int
    #: Largest magnitude in the whole recording.
    peak: float
    conversions: list[str]

    @property
    def last(self) -> int:
        """Place after the last sample."""
        return self.first + len(self.samples)


def read_excerpt(path: Path, sample_rate: int, start: int, stop: int) -> Excerpt:
    """Samples `start` to `stop` (cut at the recording's ends) in memory bounded by their number.

    The whole recording is passed once, for its length and peak. Raises FileError, AudioError.
    """
    parts: list[F32] = []
    conversions: list[str] = []
    at, peak, first = 0, 0.0, max(start, 0)
    for block in stream_mono(path, sample_rate, conversions=conversions):
        peak = max(peak, float(np.max(np.abs(block))))
        part = block[max(first - at, 0) : max(stop - at, 0)]
        if len(part):
            parts.append(part.copy())
        at += len(block)
    if at == 0:
        raise AudioError(f"{path}: has no samples")
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return Excerpt(samples, first, at, peak, conversions)


def bank_window(sound: Excerpt, spec: BankSpec, sample_rate: int, start: int, stop: int) -> tuple[F32, float]:
    """Re F, Im F, Re B, Im B in the window [shape=(stop − start, 4 N)], and how far off they may be.

    `sound` reaches `spec.ring_samples(sample_rate, RING_IN_DB)` either side of the window, or to an
    end of the recording. The bound is on the distance of any state from that of a run over the
    whole recording, as a share of its loudest sample, rounding apart.
    """
    ring = spec.ring_samples(sample_rate, RING_IN_DB)
    before, after = max(start - ring, sound.first), min(stop + ring, sound.last)
    x = sound.samples
    forward = forward_states(x[before - sound.first : stop - sound.first], spec, sample_rate)
    backward = forward_states(x[start - sound.first : after - sound.first][::-1], spec, sample_rate)
    slowest = float(spec.poles(sample_rate)[0].min())
    bound = max(
        0.0 if before == 0 else float(np.exp(-slowest * (start - before))),
        0.0 if after == sound.total else float(np.exp(-slowest * (after - stop))),
    )
    n = stop - start
    return np.concatenate([forward[len(forward) - n :], backward[::-1][:n]], axis=1), bound


def esn_window(sound: Excerpt, spec: EsnSpec, start: int, stop: int, peak: float) -> tuple[F32, float, int, float]:
    """States in the window of the sound over `peak` [shape=(stop − start, N)], bound, run-in, radius.

    The bound is measured: the run-in is passed from rest and from two opposite corners of the state
    space, and the largest difference in the window is reported. It is 0 where the run begins with the
    recording. How fast a network forgets depends on weights and sound; no formula knows it.
    """
    esn = network(spec)
    run_in = 16_384
    while True:
        begin = max(start - run_in, sound.first)
        x = sound.samples[begin - sound.first : stop - sound.first] / np.float32(peak)
        runs: list[F32] = []
        corners = (0.0,) if begin == 0 else (0.0, 1.0, -1.0)
        for corner in corners:
            esn.set_state(np.full(len(esn), corner, np.float32))
            for i in range(0, start - begin, _PIECE):
                esn.process(x[i : min(i + _PIECE, start - begin)])
            runs.append(esn.process(x[start - begin :]))
        bound = max((float(np.max(np.abs(r - runs[0]))) for r in runs[1:]), default=0.0)
        if bound <= ESN_BOUND or begin == sound.first:
            return runs[0], bound, start - begin, esn.achieved_radius
        run_in *= 2


def study(path: Path, index: int, config: LabConfig, *, esn: bool = True) -> tuple[dict[str, Any], Figure, list[str]]:
    """Figures, picture and notes for the window of `config.window_samples` around sample `index`.

    `index` counts samples at `config.sample_rate`. The network hears the sound over its peak, as in
    the original; the bank's picture does not depend on level. Raises FileError, AudioError, ParameterError.
    """
    rate, half = config.sample_rate, config.window_samples // 2
    ring = config.bank.ring_samples(rate, RING_IN_DB)
    kept = max(ring, round(ESN_KEPT_S * rate)) if esn else ring
    sound = read_excerpt(path, rate, index - half - kept, index + half + ring)
    if sound.total < 2 * half:
        raise AudioError(
            f"{path}: {sound.total} samples are too short; the window has {2 * half} (window_samples in the settings)"
        )
    require_index(index, sound.total, str(path), margin=half)
    if sound.peak < 10 ** (SILENCE_DB / 20):
        raise AudioError(
            f"{path}: is silent (peak {sound.peak:.1e}, below {SILENCE_DB:.0f} dB full scale); there is nothing to see"
        )
    start, stop = index - half, index + half
    states, bound = bank_window(sound, config.bank, rate, start, stop)
    window = sound.samples[start - sound.first : stop - sound.first]
    n = config.bank.oscillators
    halves = {
        name: np.hypot(states[:, 2 * k * n : (2 * k + 1) * n], states[:, (2 * k + 1) * n : (2 * k + 2) * n])
        for k, name in enumerate(("forward", "backward"))
    }
    centers = config.bank.centers_hz(rate)
    results: dict[str, Any] = {
        "samples": sound.total,
        "peak": sound.peak,
        "window": [start, stop],
        "bank_ring_in_samples": ring,
        "bank_bound": bound,
    }
    for name, magnitude in halves.items():
        results[f"{name}_strongest_hz"] = float(centers[int(np.argmax(magnitude[half]))])
        results[f"{name}_peak_db"] = float(20 * np.log10(max(float(magnitude.max()), 1e-30)))
    notes = list(sound.conversions)
    if float(np.max(np.abs(window))) < 10 ** (SILENCE_DB / 20):
        notes.append("the window itself is silent")
    nodes: F32 | None = None
    if esn:
        nodes, esn_bound, run_in, radius = esn_window(sound, config.esn, start, stop, sound.peak)
        results |= {"esn_radius": radius, "esn_run_in_samples": run_in, "esn_bound": esn_bound}
        if esn_bound > ESN_BOUND:
            notes.append(
                f"the network still remembers its start by {esn_bound:.1e} after the run-in of "
                f"{run_in / rate:.0f} s: at radius {radius:.3g} it forgets more slowly, or not at all"
            )
    from .spectrogram_plot import draw

    return results, draw(config, window, halves, centers, nodes, index, results), notes
