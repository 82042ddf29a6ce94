"""Offline render: equals the chain run whole, aligned, bounded, and never half a file."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from cspace.audiofile import Writer
from cspace.plugins import CSpace, Eq, Gain, Kuramoto, Limiter
from cspace.realtime import Chain, CspaceError, render
from cspace.realtime.errors import FileError
from tests.memory import PEAK_MIB

RATE = 48_000


def noise(frames: int, channels: int = 2, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (frames, channels)).astype(np.float32)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    sf.write(tmp_path / "in.wav", noise(50_000), RATE, subtype="FLOAT")
    return tmp_path / "in.wav"


def read(path: Path) -> NDArray[np.float32]:
    return sf.read(path, dtype="float32", always_2d=True)[0]


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.endswith(".part")]


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_equals_the_chain_run_whole_bit_for_bit(tmp_path: Path, channels: int) -> None:
    x = noise(70_001, channels)
    sf.write(tmp_path / "in.wav", x, RATE, subtype="FLOAT")
    chain = Chain([CSpace(shift_hz=20.0, resynthesis=1.0), Eq(low_gain_db=6.0), Kuramoto(mode="entrained"), Gain()])
    calls: list[tuple[int, int]] = []
    report = render(chain, tmp_path / "in.wav", tmp_path / "out.wav", progress=lambda a, b: calls.append((a, b)))
    np.testing.assert_array_equal(read(tmp_path / "out.wav"), chain(x.T, RATE).T)
    assert (report.frames, report.channels, report.sample_rate) == (70_001, channels, RATE)
    assert report.warnings == []
    assert report.times_realtime > 0
    assert calls[-1] == (70_001, 70_001)


def test_latency_is_taken_out(tmp_path: Path) -> None:
    x = np.zeros((5000, 1), np.float32)
    x[[0, 1234, 4999]] = 0.5
    sf.write(tmp_path / "in.wav", x, RATE, subtype="FLOAT")
    chain = Chain([Limiter(lookahead_ms=5.0), Limiter()])
    report = render(chain, tmp_path / "in.wav", tmp_path / "out.wav")
    assert report.latency_samples == chain.latency_samples > 240
    np.testing.assert_array_equal(read(tmp_path / "out.wav"), x)


def test_pedalboard_in_the_chain_is_aligned_too(wav: Path, tmp_path: Path) -> None:
    pedalboard = pytest.importorskip("pedalboard")
    render(Chain([Gain(), pedalboard.Gain(-6.0)]), wav, tmp_path / "out.wav")
    np.testing.assert_allclose(read(tmp_path / "out.wav"), read(wav) * np.float32(10 ** (-6 / 20)), rtol=1e-6)


@pytest.mark.parametrize(
    ("file_rate", "chain_rate"), [(44_100, 48_000), (48_000, 44_100), (22_050, 96_000), (4_000, None), (384_000, None)]
)
def test_another_rate_is_resampled_there_and_back(tmp_path: Path, file_rate: int, chain_rate: int | None) -> None:
    t = np.arange(int(1.5 * file_rate) + 7) / file_rate
    x = (0.4 * np.sin(2 * np.pi * 0.1 * file_rate * t))[:, None].astype(np.float32)
    sf.write(tmp_path / "in.wav", x, file_rate, subtype="FLOAT")
    chain = Chain([Limiter()], sample_rate=chain_rate)
    report = render(chain, tmp_path / "in.wav", tmp_path / "out.wav")
    y = read(tmp_path / "out.wav")
    assert y.shape == x.shape
    assert report.chain_rate == (chain_rate or {4_000: 48_000, 384_000: 192_000}[file_rate])
    assert report.sample_rate == file_rate
    edge = file_rate // 20
    assert np.max(np.abs(y - x)[edge:-edge]) < 2e-4


def test_tail(tmp_path: Path) -> None:
    x = np.zeros((4800, 1), np.float32)
    x[-1] = 0.5
    sf.write(tmp_path / "in.wav", x, RATE, subtype="FLOAT")
    chain = Chain([CSpace(oscillators=16, resynthesis=1.0, q=50.0)])
    render(chain, tmp_path / "in.wav", tmp_path / "out.wav", tail=0.5)
    y = read(tmp_path / "out.wav")
    assert len(y) == 4800 + RATE // 2
    assert np.any(y[4800:])
    auto = render(chain, tmp_path / "in.wav", tmp_path / "out.wav", tail="auto")
    assert 4800 < auto.frames == 4800 + min(chain.tail_samples, 10 * RATE)
    with pytest.raises(CspaceError, match="tail = -1"):
        render(chain, tmp_path / "in.wav", tmp_path / "out.wav", tail=-1)


def test_automation_moves_at_its_sample(tmp_path: Path) -> None:
    sf.write(tmp_path / "in.wav", np.full((60_000, 1), 0.5, np.float32), RATE, subtype="FLOAT")
    chain = Chain([Gain()])
    moves = [(1.0, "gain.gain_db", -120.0), (0.5, "gain.gain_db", -6.0)]
    render(chain, tmp_path / "in.wav", tmp_path / "out.wav", automation=moves)
    y = read(tmp_path / "out.wav")[:, 0]
    assert np.all(y[:24_000] == 0.5)
    assert y[24_001] < 0.5
    assert y[47_999] == pytest.approx(0.5 * 10 ** (-6 / 20), rel=1e-5)
    assert y[48_001] < y[47_999]
    assert y[-1] == 0.0
    assert chain["gain"].gain_db == 0.0
    for bad, message in [
        ("gain.gian_db", "did you mean 'gain_db'"),
        ("eq.low_gain_db", "no processor 'eq'"),
        ("gain", "has no parameter"),
    ]:
        with pytest.raises(CspaceError, match=message):
            render(chain, tmp_path / "in.wav", tmp_path / "out.wav", automation=[(0.0, bad, 0.0)])
    with pytest.raises(CspaceError, match="99 is not allowed"):
        render(chain, tmp_path / "in.wav", tmp_path / "out.wav", automation=[(0.0, "gain.gain_db", 99)])


def test_nan_in_a_file_is_played_as_silence_and_counted(tmp_path: Path) -> None:
    x = noise(20_000)
    x[100, 0], x[19_000, 1], x[5, 1] = np.nan, np.inf, -np.inf
    sf.write(tmp_path / "in.wav", x, RATE, subtype="FLOAT")
    report = render(Chain([Eq(low_gain_db=3.0)]), tmp_path / "in.wav", tmp_path / "out.wav")
    assert report.bad_samples == 3
    assert "3 samples were NaN or Inf" in report.warnings[0]
    clean = np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
    np.testing.assert_array_equal(read(tmp_path / "out.wav"), Eq(low_gain_db=3.0)(clean.T, RATE).T)


def test_no_frames_give_a_file_of_no_frames(tmp_path: Path) -> None:
    sf.write(tmp_path / "in.wav", np.zeros((0, 2), np.float32), RATE)
    report = render(Chain([Limiter()]), tmp_path / "in.wav", tmp_path / "out.wav")
    assert read(tmp_path / "out.wav").shape == (0, 2)
    assert "holds no samples" in report.warnings[0]
    report = render(Chain([Limiter()]), tmp_path / "in.wav", tmp_path / "out.wav", sample_rate=44_100, tail=0.1)
    assert report.frames == 4800


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    sf.write(tmp_path / "in.wav", noise(10), RATE)
    (tmp_path / "text.wav").write_text("This is no sound.")
    (tmp_path / "nothing.wav").write_bytes(b"")
    (tmp_path / "broken.flac").write_bytes(b"fLaC" + bytes(range(256)) * 4)
    out = tmp_path / "out.wav"
    for name, message in [
        ("inn.wav", r"inn\.wav: there is no such file; did you mean 'in\.wav'"),
        ("text.wav", r"text\.wav: cannot be read as audio"),
        ("nothing.wav", r"nothing\.wav: the file is empty"),
        ("broken.flac", r"broken\.flac: cannot be read as audio"),
        (".", "is a folder"),
    ]:
        with pytest.raises(CspaceError, match=message):
            render(Chain(), tmp_path / name, out)
        assert not out.exists()
    assert leftovers(tmp_path) == []


def test_a_cut_off_file_plays_as_far_as_it_goes(wav: Path, tmp_path: Path) -> None:
    flac = tmp_path / "in.flac"
    sf.write(flac, noise(50_000), RATE)
    for path in (wav, flac):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        report = render(Chain(), path, tmp_path / "out.wav")
        assert 10_000 < report.frames < 50_000
        assert any("ends after" in w for w in report.warnings)


def test_targets_that_cannot_be_written_are_named(wav: Path, tmp_path: Path) -> None:
    for target, options, message in [
        (tmp_path / "out.xyz", {}, r"suffix \.xyz is not an audio format"),
        (tmp_path / "out", {}, r"suffix \(none\)"),
        (tmp_path / "no" / "out.wav", {}, "does not exist"),
        (tmp_path / "out.wav", {"subtype": "PCM_17"}, "WAV cannot hold PCM_17; did you mean 'PCM_16'"),
        (tmp_path / "out.flac", {"subtype": "FLOAT"}, "FLAC cannot hold FLOAT"),
    ]:
        with pytest.raises(CspaceError, match=message):
            render(Chain(), wav, target, **options)  # type: ignore[arg-type]
    sf.write(tmp_path / "many.wav", noise(100, 9), RATE)
    with pytest.raises(CspaceError, match="FLAC PCM_24 cannot be written with 9 channels"):
        render(Chain(), tmp_path / "many.wav", tmp_path / "out.flac")
    sf.write(tmp_path / "most.wav", noise(100, 65), RATE)
    with pytest.raises(CspaceError, match="65 channels cannot be processed, use 1 to 64"):
        render(Chain(), tmp_path / "most.wav", tmp_path / "out.wav")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("name", ["out.wav", "out.flac", "out.ogg", "out.aiff", "out.w64", "out.rf64"])
def test_the_suffix_chooses_the_format(wav: Path, tmp_path: Path, name: str) -> None:
    render(Chain(), wav, tmp_path / name)
    y = read(tmp_path / name)
    assert len(y) == 50_000
    loss = {"out.flac": 1e-6, "out.ogg": 1.0}.get(name, 0.0)
    assert np.max(np.abs(y - read(wav))) <= loss


def test_what_a_format_cannot_hold_is_clipped_and_counted(wav: Path, tmp_path: Path) -> None:
    chain = Chain([Gain(gain_db=12.0)])
    report = render(chain, wav, tmp_path / "out.wav", subtype="PCM_16")
    y = chain(read(wav).T, RATE)
    assert report.clipped_samples == np.count_nonzero(np.abs(y) > 1) > 0
    assert f"{report.clipped_samples} samples lie beyond full scale" in report.warnings[0]
    assert report.peak == np.max(np.abs(y))
    assert render(chain, wav, tmp_path / "out.wav").clipped_samples == 0
    assert np.max(read(tmp_path / "out.wav")) > 1


def test_wav_becomes_rf64_past_4_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cspace.audiofile.writer.WAV_LIMIT", 1000)
    with Writer(tmp_path / "big.wav", RATE, 1, frames=251) as w:
        w.write(noise(251, 1))
    assert sf.info(tmp_path / "big.wav").format == "RF64"
    with Writer(tmp_path / "small.wav", RATE, 1, frames=250) as w:
        w.write(noise(250, 1))
    assert sf.info(tmp_path / "small.wav").format == "WAV"


def test_the_source_is_no_target(wav: Path) -> None:
    before = wav.read_bytes()
    with pytest.raises(FileError, match="is the input"):
        render(Chain([Gain(gain_db=-6.0)]), wav, wav)
    assert wav.read_bytes() == before


# ---- nothing half under the final name -------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_render_leaves_the_old_file(wav: Path, tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "out.wav"
    out.write_bytes(b"old")

    def stop(done: int, _: int) -> None:
        if done > 20_000:
            raise error

    with pytest.raises(error):
        render(Chain([Gain()]), wav, out, progress=stop)
    assert out.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


KILLED = """
import sys, time
from cspace.plugins import Gain
from cspace.realtime import Chain, render
def slow(done, of):
    print(done, flush=True)
    time.sleep(0.05)
render(Chain([Gain()]), sys.argv[1], sys.argv[2], progress=slow)
"""


def test_kill_9_leaves_no_half_file(tmp_path: Path) -> None:
    sf.write(tmp_path / "in.wav", noise(2_000_000), RATE)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path / "in.wav", tmp_path / "out.wav"], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert int(child.stdout.readline()) > 0
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not (tmp_path / "out.wav").exists()
    render(Chain([Gain()]), tmp_path / "in.wav", tmp_path / "out.wav")
    assert sf.info(tmp_path / "out.wav").frames == 2_000_000


FULL = """
import resource, sys
from cspace.plugins import Gain
from cspace.realtime import Chain, CspaceError, render
from cspace.realtime.errors import FileError
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    render(Chain([Gain()]), sys.argv[1], sys.argv[2])
except CspaceError as e:
    print(e)
"""


@pytest.mark.parametrize("name", ["out.wav", "out.flac"])
def test_a_disk_that_takes_no_more_gives_one_clear_error(tmp_path: Path, name: str) -> None:
    """A limit on the file's size stops the write in the same way as a full disk."""
    sf.write(tmp_path / "in.wav", noise(200_000), RATE)
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "in.wav", tmp_path / "out" / name], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{name}: cannot be" in done.stdout
    assert "unfinished file is removed" in done.stdout
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_gives_one_clear_error(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        sf.write(tmp_path / "in.wav", noise(700_000), RATE, subtype="FLOAT")
        with pytest.raises(CspaceError, match=r"out\.wav: 6 MB are needed, but the disk has 3 MB free"):
            render(Chain(), tmp_path / "in.wav", disk / "out.wav")
        # FLAC's size is not known before, so the disk fills up while writing.
        with pytest.raises(CspaceError, match=r"out\.flac: cannot be .*the disk is full; the unfinished"):
            render(Chain(), tmp_path / "in.wav", disk / "out.flac")
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_free_space_is_checked_first(wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("usage", (), {"free": 1_200_000})
    monkeypatch.setattr("cspace.audiofile.writer.shutil.disk_usage", lambda _: usage)
    with pytest.raises(CspaceError, match="0 MB are needed, but the disk has 1 MB free; nothing is written"):
        render(Chain(), wav, tmp_path / "out.wav")


# ---- bounded memory --------------------------------------------------------------------------

HOURS = (
    PEAK_MIB
    + """
import sys
from cspace.plugins import Gain
from cspace.realtime import Chain, render
chain = Chain([Gain(gain_db=-6.0)])
render(chain, sys.argv[2], sys.argv[3], subtype="PCM_16")
before = peak_mib()
report = render(chain, sys.argv[1], sys.argv[3], subtype="PCM_16")
print(report.frames, peak_mib() - before, report.seconds)
"""
)


def silent_wav(path: Path, hours: float) -> int:
    """A sparse 8 kHz 16-bit mono file of silence: takes no room on the disk."""
    frames = int(hours * 3600 * 8000)
    sf.write(path, np.zeros(0, np.int16), 8000, subtype="PCM_16")
    with path.open("r+b") as f:
        size = f.seek(0, os.SEEK_END)
        f.truncate(size + 2 * frames)
        f.seek(4)
        f.write((size + 2 * frames - 8).to_bytes(4, "little"))
        f.seek(size - 4)
        f.write((2 * frames).to_bytes(4, "little"))
    return frames


@pytest.mark.timeout(600)
def test_a_10_hour_file_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    frames = silent_wav(tmp_path / "long.wav", 10.0)
    silent_wav(tmp_path / "short.wav", 0.01)
    done = subprocess.run(
        [sys.executable, "-c", HOURS, *(tmp_path / n for n in ("long.wav", "short.wav", "out.flac"))],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    got, megabytes, seconds = done.stdout.split()
    print(f"10 h: {megabytes} MB more than for half a minute, {float(seconds):.1f} s")
    assert int(got) == frames
    assert int(megabytes) < 30
    with contextlib.suppress(OSError):
        (tmp_path / "out.wav").unlink()
