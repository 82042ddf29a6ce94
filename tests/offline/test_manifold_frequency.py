"""The frequency error of a filled gap: zero for the truth, what was put in for tones put off, the most for silence."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from cspace.offline.manifold import evaluate, metrics
from cspace.offline.manifold.data import Source
from cspace.offline.manifold.frequency import tone_errors
from cspace.offline.manifold.spec import DataSpec

CHANNELS, START = 16, 64


def tones(omega: np.ndarray, off: float, frames: int) -> np.ndarray:
    """Three tones of each sequence, all frequencies `off` from what they should be, phases by channel and tone."""
    t = np.arange(frames)[None, :, None, None]
    turns = np.arange(1, 4) * 2.0 * np.pi * np.arange(CHANNELS)[:, None] / CHANNELS
    return np.sum(np.array([1.0, 0.5, 0.25]) * np.sin(omega[:, None, None] * (1.0 + off) * t + turns), axis=3)


@pytest.mark.parametrize("off", [0.0, 0.01, -0.02])
@pytest.mark.parametrize("frames", [32, 64])
def test_tones_that_are_off_are_found_to_be_so(off: float, frames: int) -> None:
    omega = np.random.default_rng(2).uniform(0.2, 0.4, (4, 3)) + np.array([0.0, 0.5, 1.0])
    got = tone_errors(tones(omega, off, frames), tones(omega, 0.0, frames), omega)
    # Found by the phase's slope in float64: 1e-16 seen.
    np.testing.assert_allclose(got, abs(off), atol=1e-4)
    noise = 0.05 * np.random.default_rng(3).standard_normal((4, frames, CHANNELS))
    noisy = tone_errors(tones(omega, off, frames) + noise, tones(omega, 0.0, frames), omega)
    # Statistics of one seed: 6e-4.
    assert np.median(np.abs(noisy - abs(off))) < 0.002


def test_a_tone_that_is_not_there_counts_with_half_a_turn_over_the_gap() -> None:
    omega = np.array([[0.3, 0.9, 1.7]])
    true = tones(omega, 0.0, 40)
    np.testing.assert_allclose(tone_errors(np.zeros_like(true), true, omega), np.pi / 40 / omega)
    two = true - 0.25 * np.sin(1.7 * np.arange(40)[:, None] + 3.0 * 2.0 * np.pi * np.arange(CHANNELS) / CHANNELS)
    got = tone_errors(two, true, omega)[0]
    assert got[:2].max() < 1e-4
    assert got[2] == pytest.approx(np.pi / 40 / 1.7)


def test_every_row_of_a_gap_has_it_and_who_knows_the_frequencies_has_none() -> None:
    batch = Source(DataSpec(kind="random", channels=CHANNELS)).batch(4, 3, held_out=True)
    rows = metrics.gap_rows(batch, START, 32)
    assert rows["known frequencies"].frequency_error < 1e-6
    assert rows["known frequencies"].frequency_error < rows["DMD"].frequency_error < rows["zero"].frequency_error
    table = {name: row.to_json() for name, row in rows.items()}
    lines = evaluate.lines({"one_frame_ahead": {}, "gaps": {"32": table}})
    assert "| frequencies: median error | 32 frames |" in lines
    assert "| edge: first jump over the true one | 32 frames |" in lines
    # Recordings, and tables of before, have no such row.
    for row in table.values():
        row["frequency_error"] = float("nan")
    table["DMD"].pop("frequency_error")
    assert not any(
        "frequencies: median" in line for line in evaluate.lines({"one_frame_ahead": {}, "gaps": {"32": table}})
    )
