"""The measures themselves: a copy is seen as one, pitch classes and tempo are those played."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cspace.offline.ksom import compare as cmp
from cspace.plugins import AudioError

from . import clips


def test_a_moved_turned_and_quieter_copy_is_found() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal(44_100).astype(np.float32)
    other = rng.standard_normal(44_100).astype(np.float32)
    copy = np.concatenate([np.zeros(5000, np.float32), -0.1 * x[:30_000]])
    assert cmp.waveform_correlation(x, copy, 11_025, overlap_s=1.0) > 0.9
    assert cmp.waveform_correlation(x, other, 11_025, overlap_s=1.0) < 0.1
    # Against the definition, at every lag with enough overlap.
    a, b = x[:300].astype(np.float64), other[:200].astype(np.float64)
    best = 0.0
    for lag in range(-199, 300):
        start, end = max(lag, 0), min(lag + 200, 300)
        if end - start >= 50:
            p, q = a[start:end], b[start - lag : end - lag]
            best = max(best, abs(p @ q) / np.sqrt((p @ p) * (q @ q)))
    found = cmp.waveform_correlation(a.astype(np.float32), b.astype(np.float32), 50, overlap_s=1.0)
    # float64, by FFT: 1e-14.
    assert found == pytest.approx(best, rel=1e-6)


def test_pitch_classes_and_tempo_of_a_recording(tmp_path: Path) -> None:
    chord = sum(clips.plucked(clips.hz(n), 0.5) for n in ("C4", "E4", "G4"))
    far = sum(clips.plucked(clips.hz(n), 0.4) for n in ("F#4", "A#4", "C#5"))
    one = cmp.profile(clips.write(tmp_path / "a.wav", np.tile(chord, 24)))
    two = cmp.profile(clips.write(tmp_path / "b.wav", np.tile(far, 30)))
    assert set(np.argsort(one.pitch_classes)[-3:]) == {0, 4, 7}
    assert cmp.class_correlation(one, one) == pytest.approx(1.0)
    assert cmp.class_correlation(one, two) < 0.0
    for found, wanted in ((one, 120.0), (two, 150.0)):
        # Frames of 23 ms over notes of 0.4 s and more; 0.4 % seen.
        assert min(abs(found.tempo_bpm / wanted * f - 1) for f in (0.5, 1.0, 2.0)) < 0.02
    assert cmp.tempo_ratio(120.0, 61.0) == pytest.approx(61 / 60)
    assert cmp.tempo_ratio(120.0, 90.0) == pytest.approx(0.75)


def test_silence_cannot_be_compared(tmp_path: Path) -> None:
    tone = clips.write(tmp_path / "a.wav", clips.tone(440, 1.0))
    quiet = clips.write(tmp_path / "b.wav", np.zeros(22_050, np.float32))
    with pytest.raises(AudioError, match=r"b\.wav: is silent"):
        cmp.compare(tone, quiet)
