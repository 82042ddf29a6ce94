"""`-`: standard input and standard output where a command takes a file."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from cspace import standardio
from cspace.audiofile import FileError, Reader
from cspace.realtime import Chain, Stream, render
from cspace.textfile import read_text
from tests.audiofile_made import RATE, noise, written


class Given:
    """Puts a file where standard input is, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self._patch = monkeypatch
        self._open: list[io.TextIOWrapper] = []

    def file(self, path: Path, at: int = 0) -> None:
        stream = path.open("r", encoding="latin-1")
        os.lseek(stream.fileno(), at, os.SEEK_SET)
        self._put(stream)

    def _put(self, stream: io.TextIOWrapper) -> None:
        self._open.append(stream)
        self._patch.setattr(sys, "stdin", stream)

    def close(self) -> None:
        standardio.forget_standard_input()
        for stream in self._open:
            stream.close()


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[Given]:
    standardio.forget_standard_input()
    found = Given(monkeypatch)
    yield found
    found.close()


def run(*arguments: object, data: bytes = b"", cwd: Path) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cspace", *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, cwd=cwd, timeout=240, check=False)


# ---- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how", [{"format": "WAV"}, {"format": "FLAC"}, {"format": "AIFF"}, {"format": "OGG"}, {"format": "MP3"}]
)
def test_a_sound_is_read_any_number_of_times(tmp_path: Path, given: Given, how: dict[str, str]) -> None:
    path = tmp_path / "a"
    written(path, noise(), **how)
    with Reader(path) as file:
        expected = file.read(99_999)
    given.file(path)
    for _ in range(3):
        with Reader("-") as file:
            np.testing.assert_array_equal(file.read(99_999), expected)
            file.seek(5000)
            np.testing.assert_array_equal(file.read(100), expected[5000:5100])


def test_a_file_is_read_from_where_the_shell_left_it(tmp_path: Path, given: Given) -> None:
    whole = written(tmp_path / "a.wav", noise())
    (tmp_path / "b").write_bytes(b"a line\n" + whole)
    given.file(tmp_path / "b", at=7)
    with Reader("-") as file:
        np.testing.assert_array_equal(file.read(99_999), noise())
    assert render(Chain(), "-", tmp_path / "o.wav").frames == len(noise())


def test_a_text_is_read(tmp_path: Path, given: Given) -> None:
    (tmp_path / "t").write_bytes(b"\xef\xbb\xbfa = 1\r\n")
    given.file(tmp_path / "t")
    assert [read_text("-"), read_text("-")] == ["a = 1\n", "a = 1\n"]
    with pytest.raises(FileError, match="standard input: holds one file"):
        Reader("-")


def test_no_input_is_an_error(monkeypatch: pytest.MonkeyPatch, given: Given) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(FileError, match="standard input: is closed"):
        Reader("-")
    mine, other = os.openpty()
    terminal = os.fdopen(other, "r")
    monkeypatch.setattr(sys, "stdin", terminal)
    with pytest.raises(FileError, match="standard input: is a terminal"):
        Reader("-")
    terminal.close()
    os.close(mine)


# ---- through the commands ----------------------------------------------------------------------


def test_sound_goes_through_pipes(tmp_path: Path) -> None:
    x = noise(RATE)
    data = written(tmp_path / "a.flac", x)
    (tmp_path / "g.toml").write_text('[[processor]]\ntype = "gain"\n')
    done = run("render", "g.toml", "-", "-", data=data, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    y, rate = sf.read(io.BytesIO(done.stdout), dtype="float32")
    assert rate == RATE
    np.testing.assert_array_equal(y, x)
    assert b"standard output: 1.00 s" in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"a.flac", "g.toml"}
    done = run("render", "-", "a.flac", "o.wav", data=(tmp_path / "g.toml").read_bytes(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(sf.read(tmp_path / "o.wav", dtype="float32")[0], x)
    # Nothing is written where it fails, and the fault is one line.
    done = run("render", "g.toml", "-", "-", data=b"no sound", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    done = run("live", "g.toml", "-i", "a.flac", "-o", "-", "--osc-port", 0, "--no-view", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)


def test_a_reader_that_leaves_is_no_fault_to_shout_about(tmp_path: Path) -> None:
    written(tmp_path / "a.wav", noise(20 * RATE))
    (tmp_path / "g.toml").write_text('[[processor]]\ntype = "gain"\n')
    command = [sys.executable, "-m", "cspace", "render", "g.toml", "a.wav", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4) == b"RIFF"
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(timeout=240) == 1
    assert b"Traceback" not in said
    assert b"roken pipe" not in said


# ---- an input is no output ----------------------------------------------------------------------


@pytest.mark.parametrize("target", ["in.wav", "link.wav", "hard.wav", "./folder/../in.wav"])
def test_what_standard_input_comes_from_is_no_output(tmp_path: Path, given: Given, target: str) -> None:
    written(tmp_path / "in.wav", noise(1000))
    before = (tmp_path / "in.wav").read_bytes()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.wav").symlink_to("in.wav")
    os.link(tmp_path / "in.wav", tmp_path / "hard.wav")
    given.file(tmp_path / "in.wav")
    with pytest.raises(FileError, match="is the input standard input itself"):
        render(Chain([]), "-", tmp_path / target)
    with pytest.raises(FileError, match="is the input standard input itself"):
        Stream(Chain([]), input="-", output=tmp_path / target).open()
    assert (tmp_path / "in.wav").read_bytes() == before
    render(Chain([]), "-", tmp_path / "other.wav")  # what it comes from is one file, not all


def test_commands_write_to_no_input_through_a_dash(tmp_path: Path) -> None:
    x = tmp_path / "in.wav"
    written(x, noise(1000))
    (tmp_path / "chain.toml").write_text("")
    before = x.read_bytes()
    for words in (["render", "chain.toml", "-", "in.wav", "--force"], ["live", "-i", "-", "-o", "in.wav", "--force"]):
        command = [sys.executable, "-m", "cspace", *words]
        if words[0] == "live":
            command.insert(4, "chain.toml")
        with x.open("rb") as source:
            done = subprocess.run(command, stdin=source, capture_output=True, cwd=tmp_path, timeout=120, check=False)
        assert done.returncode == 2, done.stderr
        assert b"is the input standard input itself" in done.stderr
    with x.open("ab") as out:
        command = [sys.executable, "-m", "cspace", "render", "chain.toml", "in.wav", "-"]
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, cwd=tmp_path, timeout=120, check=False)
    assert done.returncode == 2
    assert b"standard output: goes into the input in.wav itself" in done.stderr
    assert x.read_bytes() == before
