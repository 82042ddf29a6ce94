"""The equaliser against scipy.signal.sosfilt with the cookbook's coefficients, in float64."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from cspace.plugins import Eq

Floats = NDArray[np.float64]


def section(shape: str, gain_db: float, hz: float, q: float, rate: float) -> Floats:
    """R. Bristow-Johnson's cookbook, as printed."""
    a = 10 ** (gain_db / 40)
    w = 2 * np.pi * min(hz, 0.49 * rate) / rate
    cos, alpha = np.cos(w), np.sin(w) / (2 * q)
    root = 2 * np.sqrt(a) * alpha
    if shape == "bell":
        b = [1 + alpha * a, -2 * cos, 1 - alpha * a]
        d = [1 + alpha / a, -2 * cos, 1 - alpha / a]
    else:
        s = 1 if shape == "low" else -1
        b = [
            a * ((a + 1) - s * (a - 1) * cos + root),
            s * 2 * a * ((a - 1) - s * (a + 1) * cos),
            a * ((a + 1) - s * (a - 1) * cos - root),
        ]
        d = [
            (a + 1) + s * (a - 1) * cos + root,
            -s * 2 * ((a - 1) + s * (a + 1) * cos),
            (a + 1) + s * (a - 1) * cos - root,
        ]
    return np.array([*b, *d]) / d[0]


def sections(eq: Eq, rate: float) -> Floats:
    q = np.sqrt(0.5)
    return np.array(
        [
            section("low", eq.low_gain_db, eq.low_center_hz, q, rate),
            section("bell", eq.band1_gain_db, eq.band1_center_hz, eq.band1_q, rate),
            section("bell", eq.band2_gain_db, eq.band2_center_hz, eq.band2_q, rate),
            section("bell", eq.band3_gain_db, eq.band3_center_hz, eq.band3_q, rate),
            section("high", eq.high_gain_db, eq.high_center_hz, q, rate),
        ]
    )


def some_eq(seed: int) -> Eq:
    rng = np.random.default_rng(seed)
    low, mid, high = (f.item() for f in np.float32([30, 300, 3000]))
    draw = lambda a, b: float(np.float32(np.exp(rng.uniform(np.log(a), np.log(b)))))  # noqa: E731
    gain = lambda: float(np.float32(rng.uniform(-12, 12)))  # noqa: E731
    return Eq(
        low_gain_db=gain(),
        low_center_hz=draw(low, 1000),
        band1_gain_db=gain(),
        band1_center_hz=draw(80, 3000),
        band1_q=draw(0.3, 8),
        band2_gain_db=gain(),
        band2_center_hz=draw(mid, 4700),
        band2_q=draw(0.3, 8),
        band3_gain_db=gain(),
        band3_center_hz=draw(300, 10_000),
        band3_q=draw(0.3, 8),
        high_gain_db=gain(),
        high_center_hz=draw(high, 20_000),
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
def test_equals_scipy(seed: int, rate: int) -> None:
    eq = some_eq(seed)
    x = np.random.default_rng(99).uniform(-0.25, 0.25, (2, rate // 2)).astype(np.float32)
    expected = signal.sosfilt(sections(eq, rate), x.astype(np.float64), axis=1)
    error = np.max(np.abs(eq(x, rate) - expected)) / np.max(np.abs(expected))
    print(f"largest error over largest sample: {error:.1e}")
    # float64 inside, float32 out: 2⁻²⁴ of the largest sample; 6e-8 seen.
    assert error <= 1e-6


def test_curve_equals_scipy() -> None:
    eq = some_eq(3)
    freqs = np.geomspace(20, 20_000, 200)
    _, h = signal.sosfreqz(sections(eq, 48_000), freqs, fs=48_000)
    # float64, two ways to write one formula: 4e-13 seen.
    np.testing.assert_allclose(eq.response_db(freqs, 48_000), 20 * np.log10(np.abs(h)), atol=1e-9)
    assert eq.response_db(1_000.0).shape == ()
