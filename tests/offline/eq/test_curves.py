"""Curves: NumPy, torch, the native equaliser and its measured impulse response agree; fits find settings again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cspace import _native
from cspace.offline.eq import data, torchcurve
from cspace.offline.eq.evaluate import filtered
from cspace.plugins._adaptive import curve

RNG = np.random.default_rng(0)
SETTINGS = RNG.uniform(curve.LOW, curve.HIGH, (40, 13))


@pytest.mark.parametrize("rate", [8_000.0, 44_100.0, 48_000.0, 192_000.0])
def test_numpy_is_the_native_equaliser(rate: float) -> None:
    freqs = np.geomspace(20.0, 0.49 * rate, 120)
    mine = curve.response_db(SETTINGS, freqs, rate)
    for row, setting in zip(mine, SETTINGS, strict=True):
        params = dict(zip(curve.NAMES, map(float, setting), strict=True))
        # Knobs are float32 there: 6e-8 of a frequency near a steep flank of Q 10, ±20 dB and near the Nyquist
        # frequency; 1.2e-5 dB seen.
        np.testing.assert_allclose(row, _native.eq_response_db(params, freqs, rate), atol=1e-4)


def test_it_is_what_an_impulse_shows() -> None:
    impulse = np.zeros(1 << 16, np.float32)
    impulse[0] = 1.0
    bins = np.arange(100, 26_000, 317)
    for setting in SETTINGS[:5]:
        spectrum = np.fft.rfft(filtered(impulse, setting).astype(np.float64))
        measured = 20 * np.log10(np.abs(spectrum[bins]))
        np.testing.assert_allclose(curve.response_db(setting, bins * 48_000 / (1 << 16)), measured, atol=0.01)


def test_torch_is_numpy_and_its_gradient_is_true() -> None:
    freqs = curve.grid(50)
    x = torch.from_numpy(curve.to_domain(SETTINGS[:6])).requires_grad_(True)
    got = torchcurve.response_db(x, torch.from_numpy(freqs))
    # float64, torch's and numpy's functions a unit in the last place apart.
    np.testing.assert_allclose(got.detach().numpy(), curve.response_db(SETTINGS[:6], freqs), atol=1e-9)
    (got**2).sum().backward()
    step = 1e-5
    for i in range(13):
        moved = x.detach().numpy().copy()
        moved[:, i] += step
        up = (curve.response_db(curve.from_domain(moved), freqs) ** 2).sum(axis=1)
        moved[:, i] -= 2 * step
        down = (curve.response_db(curve.from_domain(moved), freqs) ** 2).sum(axis=1)
        # Differences of squares up to 1e5 at a step of 1e-5: 1e5 · 2⁻⁵³ / 1e-5 = 1e-6; the rest is the third
        # derivative.
        np.testing.assert_allclose(x.grad.numpy()[:, i], (up - down) / (2 * step), rtol=1e-3, atol=0.1)  # type: ignore[union-attr]


def test_fits_find_a_curve_again() -> None:
    freqs = curve.grid(60)
    people = data.synthetic(40, seed=2).values
    errors = [curve.fit(curve.response_db(s, freqs), freqs)[1] for s in people]
    assert np.median(errors) < 0.1
    assert np.max(errors) < 1.0
    near = SETTINGS[0] + np.where(curve.IS_LOG, 0.0, 0.3)
    found, rms = curve.fit(curve.response_db(near, freqs), freqs, start=SETTINGS[0], rounds=14)
    assert rms < 0.02
    # 14 rounds, not more: bands that overlap trade gains; 0.12 seen at an rms of 0.009 dB.
    np.testing.assert_allclose(curve.to_domain(found), curve.to_domain(near), atol=0.2)
    flat, rms = curve.fit(np.zeros(60), freqs, start=SETTINGS[0])
    assert rms == 0.0
    assert not flat[list(curve.GAINS)].any(), "flat is flat to the bit"
    assert not curve.response_db(flat, freqs).any()
