"""The stream on the file device and the null device, and what it says when things go wrong."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import soxr

from cspace.audiofile import Writer
from cspace.plugins import Eq, Gain, Kuramoto, Limiter
from cspace.realtime import Chain, CspaceError, DeviceError, Stream, render
from cspace.realtime.clip import clip
from tests.waiting import until


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.wav"
    sf.write(path, clip(1.5).T, 48_000, subtype="FLOAT")
    return path


def main_chain() -> Chain:
    return Chain([Eq(low_gain_db=4.0), Kuramoto(mode="entrained"), Limiter()])


@pytest.mark.parametrize("block", [64, 128, 333])
def test_file_device_equals_the_render(source: Path, tmp_path: Path, block: int) -> None:
    chain = main_chain()
    began = time.monotonic()
    with Stream(chain, input=source, output=tmp_path / "out.wav", block=block) as stream:
        assert stream.wait(30)
        assert stream.finished
        stats = stream.stats()
    took = time.monotonic() - began
    assert took >= 1.4  # real-time pace
    assert not (tmp_path / "out.wav.part").exists()
    render(chain, source, tmp_path / "rendered.wav")
    live, _ = sf.read(tmp_path / "out.wav", dtype="float32")
    offline, _ = sf.read(tmp_path / "rendered.wav", dtype="float32")
    assert np.array_equal(live, offline)
    assert stats["engine"]["panics"] == 0
    assert stats["latency_samples"] == chain.latency_samples


def test_other_rates_and_mono(tmp_path: Path) -> None:
    x = clip(1.0, 44_100)[:1]
    sf.write(tmp_path / "in.wav", x.T, 44_100, subtype="FLOAT")
    with Stream(Chain([Gain()]), input=tmp_path / "in.wav", output=tmp_path / "out.wav") as stream:
        assert stream.wait(30)
    y, rate = sf.read(tmp_path / "out.wav", dtype="float32")
    assert rate == 48_000
    assert np.array_equal(y[:, 0], y[:, 1])
    wanted = soxr.resample(x[0], 44_100, 48_000, quality="VHQ")
    assert abs(len(y) - len(wanted)) <= 1
    n = min(len(y), len(wanted))
    # soxr in pieces against soxr at once: its filter's ends.
    assert np.abs(y[:n, 0] - wanted[:n]).max() < 1e-4


def test_null_device_runs_at_pace() -> None:
    with Stream(Chain([Gain()]), input="null") as stream:
        assert stream.kind == "null"
        began, first = time.monotonic(), stream.engine.sample_time
        until(lambda: stream.engine.sample_time > first + 48_000)
        # A busy machine takes longer; a device must not run ahead. 0.3 s: what it may have to catch up.
        assert stream.engine.sample_time - first < 48_000 * (time.monotonic() - began + 0.3)


def test_edits_while_it_plays(source: Path, tmp_path: Path) -> None:
    chain = Chain([Gain()])
    with Stream(chain, input=source, output=tmp_path / "out.wav", loop=True) as stream:
        time.sleep(0.5)
        chain.append(Eq(low_gain_db=6.0))
        chain["gain"].gain_db = -6.0
        time.sleep(0.2)
        chain.bypass("eq")
        del chain["gain"]
        time.sleep(0.2)
        assert len(stream.engine.slots()) == 1
        assert stream.running
    y, _ = sf.read(tmp_path / "out.wav", dtype="float32")
    assert np.isfinite(y).all()
    chain.append(Gain())  # the closed stream no longer follows
    assert not stream.running
    with pytest.raises(CspaceError, match="not open"):
        stream.stats()


def test_a_stream_can_be_opened_again(source: Path, tmp_path: Path) -> None:
    stream = Stream(Chain([Gain()]), input=source, output=tmp_path / "out.wav")
    for _ in range(2):
        with stream:
            assert stream.wait(30)
        assert sf.info(tmp_path / "out.wav").frames == 72_000
        (tmp_path / "out.wav").unlink()
    stream.close()


def test_looping_and_wait_times_out(source: Path) -> None:
    with Stream(Chain([Gain()]), input=source, output="null", loop=True) as stream:
        assert not stream.wait(1.0)
        until(lambda: stream.engine.sample_time > 72_000)
        assert not stream.finished


def test_a_failing_body_leaves_no_file(source: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(KeyError),
        Stream(Chain([Gain()]), input=source, output=tmp_path / "out.wav", loop=True),
    ):
        raise KeyError
    assert [p for p in tmp_path.iterdir() if p.suffix == ".part"] == []


def test_disk_full_is_reported(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Writer, x: Any) -> None:
        from cspace.realtime.errors import FileError

        raise FileError(f"{self.path}: cannot be written: {errno.errorcode[errno.ENOSPC]}")

    monkeypatch.setattr(Writer, "write", full)
    with (
        pytest.raises(CspaceError, match=r"out\.wav: cannot be written"),
        Stream(Chain([Gain()]), input=source, output=tmp_path / "out.wav") as stream,
    ):
        stream.wait(10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.wav"]


def test_nan_in_the_file_plays_as_silence(tmp_path: Path) -> None:
    x = np.full((24_000, 2), 0.1, np.float32)
    x[1000:1010] = np.nan
    sf.write(tmp_path / "in.wav", x, 48_000, subtype="FLOAT")
    with Stream(Chain([Eq()]), input=tmp_path / "in.wav", output=tmp_path / "out.wav") as stream:
        stream.wait(20)
    y, _ = sf.read(tmp_path / "out.wav")
    assert np.isfinite(y).all()


def test_empty_file_ends_at_once(tmp_path: Path) -> None:
    sf.write(tmp_path / "in.wav", np.zeros((0, 2), np.float32), 48_000)
    with Stream(Chain([Gain()]), input=tmp_path / "in.wav", output=tmp_path / "out.wav", loop=True) as stream:
        assert stream.wait(10)
    assert sf.info(tmp_path / "out.wav").frames == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"input": "null", "output": "no such speaker"}, "sound output|no output device"),
        ({"input": "no such microphone", "output": "out.wav"}, "sound input|no input device"),
        ({"input": "gone.wav", "output": "no such speaker"}, "no such file"),
        ({"input": "gone.wav"}, "no such file"),
        ({"input": "null", "block": 0}, "use 1 to 8192"),
        ({"input": "null", "channels": 0}, "channels"),
        ({"input": "null", "sample_rate": 1.0}, "8000 to 192000"),
    ],
)
def test_bad_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(CspaceError, match=words):
        Stream(Chain([Gain()]), **settings).open()


def test_no_such_device() -> None:
    with pytest.raises(DeviceError, match=r"sound input|no input device"):
        Stream(Chain([Gain()]), input="a device nobody has").open()


def test_threads_end_with_the_stream(source: Path) -> None:
    before = threading.active_count()
    with Stream(Chain([Gain()]), input=source, output="null"):
        time.sleep(0.1)
    assert threading.active_count() == before


def test_pedalboard_plugins_play_live(source: Path, tmp_path: Path) -> None:
    pedalboard = pytest.importorskip("pedalboard")
    chain = Chain([Gain(), pedalboard.Gain(gain_db=-6.0)])
    with Stream(chain, input=source, output=tmp_path / "out.wav") as stream:
        assert stream.wait(30)
        late = stream.stats()["late_blocks"]
        assert stream.stats()["latency_samples"] > 0
    y, _ = sf.read(tmp_path / "out.wav", dtype="float32")
    x, _ = sf.read(source, dtype="float32")
    assert y.shape == x.shape
    if late == 0:
        assert np.allclose(y, x * 10 ** (-6 / 20), atol=1e-5)


def test_a_dropped_paced_stream_gives_its_engine_back() -> None:
    from cspace import _native

    engine = _native.Engine(48_000.0, 2, 64)
    paced = _native.PacedStream(engine, 64, null=True)
    paced.start()
    while engine.sample_time == 0:
        time.sleep(0.001)
    assert engine.attached
    del paced
    assert not engine.attached
    at = engine.sample_time
    engine.process(np.zeros((2, 64), np.float32))  # RuntimeError while a stream drives it
    assert engine.sample_time == at + 64
