"""Ours against pedalboard's, where both have the same effect."""

import numpy as np
import pytest

from cspace.plugins import Eq, Gain

pedalboard = pytest.importorskip("pedalboard")
RATE = 48_000


def test_gain() -> None:
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4800)).astype(np.float32)
    for gain_db in (-40.0, -6.0, 0.0, 12.0):
        theirs = pedalboard.Gain(gain_db)(x, RATE)
        # Both from float32 decibels: a power, then a product, 2⁻²³ each. They agree to the bit today.
        np.testing.assert_allclose(Gain(gain_db=gain_db)(x, RATE), theirs, rtol=2e-6, atol=1e-9)


def test_bell() -> None:
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4800)).astype(np.float32)
    theirs = pedalboard.PeakFilter(1000.0, 6.0, 2.0)(x, RATE)
    ours = Eq(band2_gain_db=6.0, band2_center_hz=1000.0, band2_q=2.0)(x, RATE)
    # JUCE runs its filter in float32 with float32 coefficients: 1 kHz at Q 2 keeps some 30 steps, 5e-6 seen. Its own
    # rounding, not ours (1e-7 against scipy), which another compiler may do otherwise.
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
