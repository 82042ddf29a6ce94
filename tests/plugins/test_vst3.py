"""A real VST3 file, from a Debian package, in the same chain as native processors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cspace.plugins import Gain
from cspace.plugins.external import load_vst3
from cspace.realtime import Chain, CspaceError

FOLDER = Path("/usr/lib/vst3")
pytest.importorskip("pedalboard", reason="optional, GPLv3: pip install 'cspace[pedalboard]'")
needs_files = pytest.mark.skipif(
    not (FOLDER / "ZamDelay.vst3").exists(), reason="no VST3 files: apt-get install zam-plugins"
)

RATE = 48_000


@needs_files
def test_delay_sounds_where_it_should_after_the_stated_latency() -> None:
    delay = load_vst3(FOLDER / "ZamDelay.vst3", time_ms=100.0, feedback=0.0, dry_wet=1.0)
    chain = Chain([Gain(gain_db=-6.0), delay])
    x = np.zeros((1, RATE), np.float32)
    x[0, RATE // 2] = 1.0  # after the plugin has glided to the delay time set
    y = chain(x, RATE)
    assert np.isfinite(y).all()
    peak = int(np.abs(y[0]).argmax()) - RATE // 2
    assert abs(peak - 0.1 * RATE) <= 4  # its own low-pass spreads the click over a few samples


@needs_files
def test_the_same_file_twice_gives_the_same_samples_for_any_block() -> None:
    x = np.random.default_rng(0).uniform(-0.3, 0.3, (2, RATE // 2)).astype(np.float32)
    outs = [Chain([load_vst3(FOLDER / "ZamCompX2.vst3")]).process(x, RATE, buffer_size=n) for n in (64, 8192)]
    np.testing.assert_array_equal(*outs)
    assert np.abs(outs[0]).max() > 0.01


@needs_files
def test_loading_leaves_the_floating_point_mode_of_python_alone() -> None:
    load_vst3(FOLDER / "ZamTube.vst3")  # built with -ffast-math, as plugins often are
    assert np.float64(2e-308) * np.float64(0.5) > 0.0


@needs_files
def test_a_mono_plugin_in_a_stereo_chain_is_refused_by_name() -> None:
    with pytest.raises(CspaceError, match=r"ZamDelay.*2.channel|2 channels"):
        Chain([load_vst3(FOLDER / "ZamDelay.vst3")])(np.zeros((2, 1000), np.float32), RATE)


@needs_files
def test_python_computes_as_before_after_a_plugin_was_there() -> None:
    """These plugins switch the thread to flush subnormal numbers, and leave it so."""
    smallest = np.float64(2.0**-1022)
    Chain([load_vst3(FOLDER / "ZamCompX2.vst3")])(np.zeros((2, 1000), np.float32), RATE)
    assert smallest / 4 > 0


def test_a_file_that_is_no_plugin_is_refused_by_name(tmp_path: Path) -> None:
    bad = tmp_path / "bad.vst3"
    bad.write_bytes(b"not a plugin")
    for path in (bad, tmp_path / "missing.vst3"):
        with pytest.raises(CspaceError, match=path.name):
            load_vst3(path)
