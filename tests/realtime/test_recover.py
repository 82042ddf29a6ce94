"""What a killed process left of a recording: found, mended, named, and nothing else touched."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from cspace.audiofile import FORMATS, FileError, Take, TakeError, Writer
from cspace.audiofile.about import About
from cspace.audiofile.mend import mend
from cspace.audiofile.parts import in_use, left_over, recover
from cspace.cli import app

RATE = 48_000
PIECE = 4096
runner = CliRunner()

KILLED = """
import os, sys
import numpy as np
from cspace.audiofile import {kind}
from tests.realtime.test_recover import PIECE, RATE, sound
writer = {kind}(sys.argv[1], RATE, int(sys.argv[3]), subtype=sys.argv[2] or None)
for x in np.split(sound(int(sys.argv[3])), 40):
    writer.write(x)
os.kill(os.getpid(), 9)
"""


def sound(channels: int) -> np.ndarray:
    """Float32 [shape=(frames, channels)], 40 pieces."""
    rng = np.random.default_rng(11)
    return rng.uniform(-0.3, 0.3, (40 * PIECE, channels)).astype(np.float32)


def killed(path: Path, subtype: str = "", channels: int = 2, kind: str = "Take") -> Path:
    """The part that a killed process left."""
    command = [sys.executable, "-c", KILLED.format(kind=kind), str(path), subtype, str(channels)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    (part,) = path.parent.glob(f".{path.name}.*.part")
    return part


def whole(path: Path, subtype: str = "", channels: int = 2) -> np.ndarray:
    """The same sound as it is read from a file that was finished."""
    with Writer(path, RATE, channels, subtype=subtype or None) as writer:
        writer.write(sound(channels))
    return sf.read(path, dtype="float32", always_2d=True)[0]


LOSSY = (".ogg", ".opus", ".mp3")


def _mostly_heavy(values: Iterable[Any], quick: tuple[Any, ...]) -> list[Any]:
    return [v if v in quick else pytest.param(v, marks=pytest.mark.heavy) for v in values]


@pytest.mark.parametrize("suffix", _mostly_heavy(FORMATS, (".wav", ".flac")))
def test_every_format_of_a_killed_process(suffix: str, tmp_path: Path) -> None:
    part = killed(tmp_path / f"take{suffix}")
    before = part.read_bytes()
    done = recover(part)
    assert done.why_not == ""
    assert done.saved == tmp_path / f"take{suffix}"
    assert not part.exists()
    y, rate = sf.read(done.saved, dtype="float32", always_2d=True)
    assert (len(y), rate) == (done.frames, RATE)
    assert sf.info(done.saved).frames == len(y)
    expected = whole(tmp_path / f"whole{suffix}")
    # A packet of FLAC is 4,096 frames; encoders of Ogg and MP3 hold back up to a page, here about 0.5 s.
    held_back = {".flac": PIECE, ".ogg": RATE, ".opus": RATE, ".mp3": PIECE}.get(suffix, 0)
    assert len(sound(2)) - held_back <= len(y) <= len(sound(2)) + PIECE
    if suffix not in LOSSY:
        assert np.array_equal(y, expected[: len(y)])
        assert done.saved.read_bytes()[-1000:] == before[-1000:]
    elif suffix != ".mp3":  # without its last frame MP3 does not say how long the encoder's delay was
        assert np.corrcoef(y[:RATE, 0], expected[:RATE, 0])[0, 1] > 0.9  # encoders differ with the pieces they get


@pytest.mark.parametrize(
    ("suffix", "subtype", "channels"),
    [
        (".wav", "PCM_16", 1),
        (".wav", "PCM_24", 3),
        (".w64", "PCM_24", 1),
        (".aiff", "PCM_24", 1),
        (".au", "PCM_16", 2),
        (".caf", "PCM_16", 1),
        (".flac", "PCM_16", 1),
        (".flac", "PCM_24", 3),
        (".ogg", "VORBIS", 1),
        (".mp3", "", 1),
    ],
)
@pytest.mark.parametrize("cut", _mostly_heavy([1, 777, 5000], (777,)))
def test_a_disk_that_was_full_within_a_frame(
    suffix: str, subtype: str, channels: int, cut: int, tmp_path: Path
) -> None:
    """What a power cut leaves may end anywhere."""
    path = tmp_path / f"take{suffix}"
    expected = whole(path, subtype, channels)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    assert mend(path)
    y = sf.read(path, dtype="float32", always_2d=True)[0]
    assert sf.info(path).frames == len(y) <= len(expected)
    assert len(y) > len(expected) - cut - 2 * RATE // (1 if suffix in LOSSY else 10)
    if suffix not in LOSSY:
        assert np.array_equal(y, expected[: len(y)])
    once = path.read_bytes()
    assert mend(path)
    assert path.read_bytes() == once  # mended is mended


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_complete_file_stays_as_it_is(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"take{suffix}"
    whole(path)
    before = path.read_bytes()
    assert mend(path)
    assert path.read_bytes() == before


def test_chunks_behind_the_sound_are_no_sound(tmp_path: Path) -> None:
    for suffix in (".wav", ".aiff", ".caf"):
        path = tmp_path / f"titled{suffix}"
        with sf.SoundFile(path, "w", RATE, 2, format=FORMATS[suffix][0], subtype="PCM_16") as file:
            file.write(sound(2))
            file.title = "behind the sound"
        before = path.read_bytes()
        assert mend(path)
        assert path.read_bytes() == before


@pytest.mark.parametrize("length", [0, 5, 8, 1000])
def test_chunks_behind_the_sound_of_a_w64_file_are_no_sound(tmp_path: Path, length: int) -> None:
    path = tmp_path / "marked.w64"
    sf.write(path, sound(1)[:1001], RATE, subtype="PCM_16", format="W64")
    data = path.read_bytes()
    data += bytes(-len(data) % 8)
    marks = b"levl" + bytes.fromhex("f3acd3118cd100c04f8edb8a") + struct.pack("<Q", 24 + length) + bytes(length)
    for whole_file in (data + marks, data + marks + bytes(-length % 8), data + 2 * (marks + bytes(-length % 8))):
        path.write_bytes(whole_file)
        assert mend(path)
        assert path.read_bytes() == whole_file


@pytest.mark.parametrize("suffix", [".wav", ".rf64", ".w64", ".caf"])
def test_more_than_four_gigabytes(suffix: str, tmp_path: Path) -> None:
    """A file with a hole: its size is true, its blocks are not on the disk."""
    take = Take(tmp_path / f"long{suffix}", RATE, 2)
    take.write(sound(2))
    head = os.lseek(take._fd, 0, os.SEEK_END) - sound(2).nbytes
    frames = 600_000_000  # 4.8 GB
    os.ftruncate(take._fd, head + frames * 8)
    take._file.close()
    assert mend(take._part)
    info = sf.info(os.fspath(take._part), verbose=False)
    assert (info.frames, info.channels, info.samplerate) == (frames, 2, RATE)
    with sf.SoundFile(os.fspath(take._part)) as file:
        assert np.array_equal(file.read(PIECE, dtype="float32"), sound(2)[:PIECE])
    take._discard()


@pytest.mark.parametrize("name", ["nothing.wav", "text.wav", "header.wav", "header.flac", "header.ogg", "header.caf"])
def test_what_holds_no_sound_is_left_alone(name: str, tmp_path: Path) -> None:
    part = tmp_path / f".{name}.0123abcd.part"
    if name.startswith("header"):
        whole(tmp_path / name)
        part.write_bytes((tmp_path / name).read_bytes()[:40])
    else:
        part.write_bytes(b"" if name == "nothing.wav" else b"no sound at all " * 100)
    before = part.read_bytes()
    done = recover(part)
    assert done.saved is None
    assert done.why_not
    assert part.read_bytes() == before


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "take.wav").write_bytes(b"mine")
    saved = [recover(killed(tmp_path / "take.wav", kind=kind)).saved for kind in ("Take", "Writer", "Take")]
    assert [p.name for p in saved if p] == ["take (recovered).wav", "take (recovered 2).wav", "take (recovered 3).wav"]
    assert (tmp_path / "take.wav").read_bytes() == b"mine"


def test_a_part_is_found_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "take.wav").symlink_to(tmp_path / "there" / "real.wav")
    (tmp_path / "there" / ".real.wav.0123abcd.part").write_bytes(b"RIFF")
    assert "real.wav" in left_over(tmp_path / "take.wav")
    assert ".real.wav.0123abcd.part" in runner.invoke(app, ["recover", str(tmp_path / "take.wav"), "--list"]).output


@pytest.mark.parametrize(
    ("suffix", "lost_s"), [(".wav", 0.01), (".flac", 0.2), (".mp3", 0.2), (".opus", 0.2), (".ogg", 5.5)]
)
@pytest.mark.parametrize("level", [0.0, 0.3])
def test_a_kill_loses_what_is_documented(suffix: str, lost_s: float, level: float, tmp_path: Path) -> None:
    """Of tones and of silence, which coders pack together longest (docs/recording.md)."""
    x = (level * np.sin(np.arange(10 * RATE) * 0.0576)).astype(np.float32)[:, None]
    part = tmp_path / f".take{suffix}.0123abcd.part"
    with Take(tmp_path / f"take{suffix}", RATE, 1) as take:
        for i in range(0, len(x), 480):
            take.write(x[i : i + 480])
        part.write_bytes(take._part.read_bytes())  # what is with the system when the process is killed
    done = recover(part)
    assert done.frames >= len(x) - lost_s * RATE


def test_a_part_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    whole(tmp_path / "precious.wav")
    with (tmp_path / "precious.wav").open("ab") as file:
        file.write(b"not sound")
    before = (tmp_path / "precious.wav").read_bytes()
    part = tmp_path / ".take.wav.0123abcd.part"
    part.symlink_to("precious.wav")
    done = runner.invoke(app, ["recover", str(part)])
    assert done.exit_code == 2
    assert "is a link" in done.output
    assert recover(part).saved is None
    assert (tmp_path / "precious.wav").read_bytes() == before
    assert part.is_symlink()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["take" * 55, "é" * 110, "a" * 180])
def test_long_names(name: str, suffix: str, tmp_path: Path) -> None:
    """The hidden file of a long name has only its beginning, and is found and recovered all the same."""
    long = tmp_path / f"{name}{suffix}"
    with Take(long, RATE, 2) as take:
        take.write(sound(2))
        assert left_over(long) == "", "it is being written"
    (tmp_path / "other").mkdir()
    part = tmp_path / f"{take._part.name[:-13]}0123abcd.part"
    long.rename(part)
    assert part.name in left_over(long)
    assert left_over(tmp_path / f"b{name[1:]}{suffix}") == ""
    done = recover(part)
    assert done.saved is not None
    assert done.saved.suffix == suffix
    assert done.frames >= len(sound(2)) - 2304


@pytest.mark.parametrize("rf64", [False, True])
@pytest.mark.parametrize(("subtype", "channels"), [("PCM_U8", 1), ("FLOAT", 2)])
def test_killed_between_two_bytes_of_the_chunks_behind_the_sound(
    rf64: bool, subtype: str, channels: int, tmp_path: Path
) -> None:
    """Wherever it was killed: all of the sound, nothing but the sound, and the chunks that are whole."""
    chunks = [(b"iXML", b"<a/>"), (b"bext", bytes(range(100)) + bytes(503)), (b"odd.", b"abc")]
    about = About(sample_rate=RATE, chunks=chunks)
    x = sound(channels)[:1001]
    whole = tmp_path / ("whole.rf64" if rf64 else "whole.wav")
    with Writer(whole, RATE, channels, subtype=subtype, about=about) as writer:
        writer.write(x)
    data, want = whole.read_bytes(), sf.read(whole, dtype="float32", always_2d=True)[0]
    behind = data.index(b"iXML")
    ends = [behind + 12, behind + 12 + 8 + 604, len(data)]  # the last two with a byte that fills up
    part = tmp_path / "part.wav"
    for cut in range(behind, len(data) + 1):
        part.write_bytes(data[:cut])
        assert mend(part)
        found = part.read_bytes()
        np.testing.assert_array_equal(sf.read(part, dtype="float32", always_2d=True)[0], want)
        length = len(found)
        assert length == max([e for e, fill in zip(ends, (0, 1, 1), strict=True) if e - fill <= cut], default=behind)
        size = struct.unpack_from("<Q", found, 20)[0] if rf64 else struct.unpack_from("<I", found, 4)[0]
        assert size == length - 8
        same = found[behind:] == data[behind : len(found)]
        assert same


def test_a_part_in_use_is_not_touched(tmp_path: Path) -> None:
    with Take(tmp_path / "take.wav", RATE, 2) as take:
        take.write(sound(2))
        (part,) = tmp_path.glob(".*.part")
        assert in_use(part)
        assert "running process" in recover(part).why_not
        assert left_over(tmp_path / "take.wav") == ""
        result = runner.invoke(app, ["recover", str(tmp_path)])
        assert result.exit_code == 0
        assert "is being written" in result.output
        assert part.exists()
    assert sf.info(tmp_path / "take.wav").frames == len(sound(2))


def test_the_command_and_the_next_recording(tmp_path: Path) -> None:
    part = killed(tmp_path / "take.wav", "PCM_24")
    other = killed(tmp_path / "other.flac")
    assert part.name in left_over(tmp_path / "take.wav")
    assert "cspace recover" in left_over(tmp_path / "take.wav")
    assert left_over(tmp_path / "quite another.wav") == ""
    listed = runner.invoke(app, ["recover", str(tmp_path), "--list"])
    assert "left over" in listed.output
    assert part.exists()
    done = runner.invoke(app, ["recover", str(tmp_path / "take.wav")])  # by the name it was to have
    assert done.exit_code == 0
    assert "3.41 s recovered" in done.output  # 40 * 4096 frames at 48 kHz
    assert sf.info(tmp_path / "take.wav").frames == len(sound(2))
    assert other.exists()
    done = runner.invoke(app, ["recover", str(other)])
    assert done.exit_code == 0
    assert "nothing to recover" in runner.invoke(app, ["recover", str(tmp_path)]).output
    (tmp_path / ".bad.wav.01234567.part").write_bytes(b"RIFF")
    bad = runner.invoke(app, ["recover", str(tmp_path)])
    assert bad.exit_code == 1
    missing = runner.invoke(app, ["recover", str(tmp_path / "no such place")])
    assert missing.exit_code == 2


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".ogg"])
def test_a_take_on_a_full_disk_is_kept(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes 3 of 5 pieces and half of the fourth."""
    take = Take(tmp_path / f"take{suffix}", RATE, 2)
    pieces = np.split(sound(2), 40)
    for x in pieces[:30]:
        take.write(x)

    def full(self: Writer, x: np.ndarray) -> None:
        raise FileError(f"{self.path}: cannot be written: the disk is full{self._fate}")

    with monkeypatch.context() as m:
        m.setattr(Writer, "write", full)
        take.write(pieces[30])
    assert take.error is not None
    assert (tmp_path / f"take{suffix}").exists()  # at once, not at the end
    take.write(pieces[31])
    kept = sf.info(tmp_path / f"take{suffix}").frames
    assert kept == take.frames_written
    assert take.frames_lost == 32 * PIECE - kept
    for _ in range(2):
        with pytest.raises(TakeError, match=rf"the disk is full; {kept / RATE:.2f} s are kept"):
            take.finish()
    assert TakeError.exit_code == 1
    assert list(tmp_path.glob(".*")) == []


def test_an_aiff_of_four_gigabytes_ends_there(tmp_path: Path) -> None:
    take = Take(tmp_path / "take.aiff", RATE, 2)
    take.write(sound(2))
    size = os.fstat(take._fd).st_size
    os.ftruncate(take._fd, 4 * 1024**3)
    take.write(sound(2))
    assert take.error is not None
    assert "at most 4 GB" in str(take.error)
    assert size < 4 * 1024**3
    with pytest.raises(TakeError, match="are kept"):
        take.finish()
    (tmp_path / "take.aiff").unlink()
