"""Conveniences of single plugins."""

import numpy as np
import pytest

from cspace.plugins import Kuramoto
from cspace.plugins.kuramoto import note_number
from cspace.realtime.clip import clip

RATE = 48_000


def test_notes() -> None:
    assert [note_number(n) for n in ("A4", "C4", "c#3", "Bb2", "B-1", 60.5)] == [69, 60, 49, 46, 11, 60.5]
    for bad in ("H4", "A", "A44", "", "4A"):
        with pytest.raises(ValueError, match="is not a note"):
            note_number(bad)
    with pytest.raises(ValueError, match="at least one note"):
        Kuramoto.from_notes([])


def test_a_choir_sings_its_notes() -> None:
    choir = Kuramoto.from_notes(["A3", "E4"], per_note=4, coupling_hz=0.0, perturb=0.0, dry=0.0)
    y = choir(np.zeros((1, RATE), np.float32), RATE)[0]
    spectrum = np.abs(np.fft.rfft(y * np.hanning(RATE)))
    for hz in (220.0, 329.63):
        band = spectrum[int(hz) - 4 : int(hz) + 5]
        assert band.max() > 50 * np.median(spectrum)
    assert 0.0 <= choir.order_parameter() <= 1.0


def test_strong_coupling_brings_a_choir_together() -> None:
    silence = np.zeros((1, RATE), np.float32)
    loose = Kuramoto.from_notes(["A3"], per_note=32, coupling_hz=0.0)
    tight = Kuramoto.from_notes(["A3"], per_note=32, coupling_hz=50.0)
    loose(silence, RATE)
    tight(silence, RATE)
    assert tight.order_parameter() > 0.95 > loose.order_parameter()


def test_the_bundled_clip() -> None:
    x = clip()
    assert x.shape == (2, 20 * RATE)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert np.max(np.abs(x)) == pytest.approx(10 ** (-3 / 20), rel=1e-6)
    levels = [np.sqrt(np.mean(part**2)) for part in np.split(x, 40, axis=1)]
    assert min(levels) > 0.01, "no half second is empty"
    assert np.corrcoef(x)[0, 1] < 0.98, "it is stereo"
    assert np.max(np.abs(x[:, -1])) < 1e-3, "it can be repeated without a click"
    np.testing.assert_array_equal(clip(25.0)[:, 20 * RATE :], x[:, : 5 * RATE])
    assert clip(1.0, 8_000).shape == (2, 8_000)
