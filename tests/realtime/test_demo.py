"""The demo, shortened: it leaves sound, picture and table, clean and within full scale."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile as sf

from cspace.plugins import NativePlugin
from cspace.realtime.clip import clip
from cspace.realtime.demo import demo_chain, gestures


def test_demo(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cspace.realtime.demo", "--out", str(tmp_path / "demo"), "--seconds", "5"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert ", 0 errors" in done.stdout
    for name in ("out.wav", "picture.png", "latency.md"):
        assert str(tmp_path / "demo" / name) in done.stdout
    y, rate = sf.read(tmp_path / "demo" / "out.wav", dtype="float32")
    x, _ = sf.read(tmp_path / "demo" / "in.wav", dtype="float32")
    assert y.shape == x.shape
    assert rate == 48_000
    assert np.isfinite(y).all()
    # The limiter's ceiling and 24-bit rounding.
    assert 0.1 < np.abs(y).max() <= 10 ** (-1.5 / 20) + 1e-4
    assert not np.array_equal(x, y)
    # A click shows in the third difference; the moves add none to what the drums of the clip have.
    assert np.abs(np.diff(y, n=3, axis=0)).max() <= 1.1 * np.abs(np.diff(x, n=3, axis=0)).max()
    assert (tmp_path / "demo" / "picture.png").stat().st_size > 50_000
    table = (tmp_path / "demo" / "latency.md").read_text()
    for name in ("esn", "cspace", "eq", "kuramoto", "limiter", "whole block", "p99.9"):
        assert name in table
    assert not list((tmp_path / "demo").glob("*.part*"))


def test_demo_at_rest_changes_nothing_but_the_limiter() -> None:
    x = clip(1.0)
    assert np.allclose(demo_chain().process(x, 48_000), x, atol=1e-4)


def test_gestures_use_known_parameters() -> None:
    chain = demo_chain()
    for gesture in gestures():
        assert 0 <= gesture.begin < gesture.end <= 1
        for move in gesture.moves:
            _, _, processor, name = move.address.split("/")
            plugin = chain[processor]
            assert isinstance(plugin, NativePlugin)
            plugin.set_param(name, move.value)  # raises outside the range
