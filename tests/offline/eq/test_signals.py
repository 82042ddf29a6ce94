"""Sounds to learn from: noise is pink by an independent estimate, at every length, and never a staircase."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile as sf

from cspace.offline.eq import loudness, signals


def slopes(x: np.ndarray, rate: int) -> tuple[float, np.ndarray]:
    """dB per octave over 40 Hz to 16 kHz of a Welch spectrum: one line, and from octave to octave."""
    freqs, power = scipy.signal.welch(x, rate, nperseg=min(16_384, len(x) // 4))
    edges = np.geomspace(40.0, 16_000.0, 10)
    levels = [10 * np.log10(power[(freqs >= a) & (freqs < b)].mean()) for a, b in itertools.pairwise(edges)]
    octaves = np.log2(np.sqrt(edges[:-1] * edges[1:]))
    return float(np.polyfit(octaves, levels, 1)[0]), np.diff(levels) / np.diff(octaves)


@pytest.mark.parametrize("rate", [44_100, 48_000])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pink_noise_falls_by_3_db_per_octave(rate: int, seed: int) -> None:
    line, _ = slopes(signals.pink_noise(2.0, rate, seed), rate)
    assert abs(line + 3.01) < 0.5
    line, each = slopes(signals.pink_noise(30.0, rate, seed), rate)
    assert abs(line + 3.01) < 0.1
    # Statistics of seeded noise: octaves of few bins; 0.47 seen, the same everywhere but for the last digits of an
    # FFT.
    assert np.abs(each + 3.01).max() < 0.5
    x = signals.pink_noise(2.0, rate, seed)
    assert len(np.unique(x)) > 0.9 * len(x), "the original's had 17 values in two seconds"
    assert abs(float(np.sqrt(np.mean(x**2))) - 0.1) < 1e-3


def test_the_measure_tells_pink_from_white_and_from_the_originals_staircase() -> None:
    white, _ = slopes(signals.white_noise(5.0, 48_000, 0), 48_000)
    assert abs(white) < 0.5
    # One row of the Voss update replaced at samples 2^n - 1 only, held for ever after: defect 1 of the reference.
    rng = np.random.default_rng(0)
    steps = np.zeros(96_000)
    for n in range(17):
        steps[2**n - 1 :] = rng.standard_normal()
    stairs, each = slopes(steps, 48_000)
    assert abs(stairs + 3.01) > 0.5 or np.abs(each + 3.01).max() > 0.5


def test_a_sweep_is_pink_on_average() -> None:
    line, _ = slopes(signals.sweep(20.0, 48_000), 48_000)
    assert abs(line + 3.01) < 0.5


def test_pieces_differ_and_are_repeatable() -> None:
    a, b = signals.ensemble(2.0, 24_000, 1), signals.ensemble(2.0, 24_000, 2)
    assert a.dtype == np.float32
    assert np.isfinite(a).all()
    np.testing.assert_array_equal(a, signals.ensemble(2.0, 24_000, 1))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.5


def test_excerpts_come_evenly_and_leave_out_what_is_short_or_silent(tmp_path: Path) -> None:
    t = np.arange(4 * 24_000) / 24_000
    sf.write(tmp_path / "a.wav", np.stack([t / 8, t / 8], axis=1), 24_000, subtype="FLOAT")  # tells its own time
    sf.write(tmp_path / "b.wav", np.zeros(4 * 24_000), 24_000)
    sf.write(tmp_path / "c.wav", 0.1 * np.ones(1000), 24_000)
    found = list(signals.excerpts(sorted(tmp_path.iterdir()), 1.0, 24_000, each=2))
    assert [p.name for p, _, _ in found] == ["a.wav", "a.wav"]
    for _, start, x in found:
        # float32 of values up to 4, times 8.
        np.testing.assert_allclose(8 * x, start + np.arange(24_000) / 24_000, atol=1e-5)
    assert len(list(signals.excerpts([tmp_path / "a.wav"], 1.0, 48_000, each=2, limit=1))) == 1


def test_loudness_is_that_of_the_standard() -> None:
    """BS.1770-4's own check: a 0 dBFS sine at 997 Hz in one channel reads -3.01 LUFS, at every rate."""
    for rate in (32_000, 44_100, 48_000, 96_000):
        x = np.sin(2 * np.pi * 997.0 * np.arange(5 * rate) / rate).astype(np.float32)
        # The standard's filter, turned to other rates, is 0.018 dB off at 997 Hz at the highest.
        assert abs(loudness.loudness_lufs(x, rate) + 3.01) < 0.02
    quiet = 10 ** (-20 / 20) * x
    gated = np.concatenate([quiet, np.zeros_like(quiet)])
    # The three blocks of 0.4 s that lie over the edge hold half the power: 10 lg (1 − 1.5 / 50) = −0.13 dB, and the
    # filters start; 0.1499 seen.
    assert abs(loudness.loudness_lufs(gated, rate) + 23.01) < 0.2, "silence does not count"
    meter = loudness.Meter(rate, 1)
    for at in range(0, len(gated), 10_007):
        meter.add(gated[None, at : at + 10_007])
    assert meter.lufs() == pytest.approx(loudness.loudness_lufs(gated, rate), abs=1e-9), "pieces are the whole"
    assert loudness.loudness_lufs(np.zeros(100, np.float32), rate) == -np.inf
