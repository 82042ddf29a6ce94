"""Folders as they are: some cannot be read today, some are links, some names are no text."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline import folders
from cspace.offline.audio import audio_files
from cspace.offline.index.build import build
from cspace.offline.index.store import Index
from cspace.plugins._errors import AudioError, CspaceError, FileError
from tests.offline.index_clips import RATE, voice


def library(root: Path, *names: str) -> None:
    """Recordings of a second, each another."""
    for k, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(os.fsencode(path), voice(1.0, 40 + k), RATE, format="WAV")


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Makes the system refuse a folder or a file, as it does to who may not read it; tests may run as root."""
    refused: set[str] = set()
    scan, open_file = os.scandir, os.open

    def no(path: Any) -> None:
        if isinstance(path, (str, os.PathLike)) and os.fspath(path) in refused:
            raise PermissionError(13, "Permission denied", os.fspath(path))

    def scandir(path: Any = ".") -> Any:
        no(path)
        return scan(path)

    def opened(path: Any, *args: Any, **kwargs: Any) -> int:
        no(path)
        return open_file(path, *args, **kwargs)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "open", opened)
    yield lambda path: refused.add(os.fspath(path))
    refused.clear()


# ---- what cannot be read is not taken for deleted ----------------------------------------------


def test_recordings_of_a_folder_that_cannot_be_read_stay(tmp_path: Path, refuse: Callable[[Path], None]) -> None:
    root, index = tmp_path / "lib", tmp_path / "x"
    library(root, "a.wav", "disk2/b.wav", "disk2/deep/c.wav", "disk3/d.wav")
    assert build(root, index).added == 4
    (root / "disk3/d.wav").unlink()  # this one is gone
    library(root, "new.wav")
    refuse(root / "disk2")
    report = build(root, index)
    assert (report.added, report.unchanged, report.removed, report.kept) == (1, 1, 1, 2)
    assert [s.path for s in report.skipped] == ["disk2"]
    assert report.skipped[0].why == "Permission denied; the index keeps the 2 recordings it has of it"
    assert set(Index(index).sources) == {"a.wav", "disk2/b.wav", "disk2/deep/c.wav", "new.wav"}
    done = CliRunner().invoke(app, ["index", "build", str(root), str(index)])
    assert done.exit_code == 1
    assert "disk2: left out: Permission denied" in done.output
    assert "0 removed, 2 kept unread, 1 left out" in done.output


def test_a_folder_deeper_down(tmp_path: Path, refuse: Callable[[Path], None]) -> None:
    root, index = tmp_path / "lib", tmp_path / "x"
    library(root, "disk2/b.wav", "disk2/deep/c.wav")
    build(root, index)
    refuse(root / "disk2/deep")
    report = build(root, index)
    assert (report.unchanged, report.removed, report.kept) == (1, 0, 1)
    assert [s.path for s in report.skipped] == ["disk2/deep"]


def test_a_changed_file_that_cannot_be_opened_keeps_its_old_entry(
    tmp_path: Path, refuse: Callable[[Path], None]
) -> None:
    root, index = tmp_path / "lib", tmp_path / "x"
    library(root, "a.wav", "b.wav")
    build(root, index)
    before = Index(index).sources["b.wav"]
    sf.write(root / "b.wav", voice(2.0, 9), RATE)
    refuse(root / "b.wav")
    report = build(root, index)
    assert (report.added, report.unchanged, report.removed, report.kept) == (0, 1, 0, 1)
    assert report.skipped[0].path == "b.wav"
    assert "Permission denied" in report.skipped[0].why
    assert Index(index).sources["b.wav"] == before


def test_a_folder_that_goes_away_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, index = tmp_path / "lib", tmp_path / "x"
    library(root, "a.wav", "disk2/b.wav")
    build(root, index)
    scan = os.scandir

    def scandir(path: Any = ".") -> Any:
        if str(path).endswith("disk2"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = build(root, index)
    assert (report.removed, report.kept) == (0, 1)


def test_a_linked_disk_that_is_not_there_today(tmp_path: Path) -> None:
    root, index, disk = tmp_path / "lib", tmp_path / "x", tmp_path / "disk"
    library(root, "a.wav")
    library(disk, "b.wav", "c.wav")
    (root / "more").symlink_to(disk)
    (root / "one.wav").symlink_to(disk / "b.wav")
    assert build(root, index).added == 4
    disk.rename(tmp_path / "away")
    report = build(root, index)
    assert (report.unchanged, report.removed, report.kept) == (1, 0, 3)
    assert {s.path for s in report.skipped} == {"more", "one.wav"}
    assert all("leads nowhere" in s.why for s in report.skipped)
    (tmp_path / "away").rename(disk)
    assert (build(root, index).unchanged, len(Index(index).manifest.skipped)) == (4, 0)
    (root / "more").unlink()  # the link itself is gone: that is an answer
    assert build(root, index).removed == 2


def test_the_folder_itself(tmp_path: Path, refuse: Callable[[Path], None]) -> None:
    root, index = tmp_path / "lib", tmp_path / "x"
    library(root, "a.wav")
    build(root, index)
    refuse(root)
    with pytest.raises(FileError, match="lib: cannot be read: Permission denied"):
        build(root, index)
    shutil.move(root, tmp_path / "gone")
    with pytest.raises(AudioError, match="there is no such folder"):
        build(root, index)
    assert set(Index(index).sources) == {"a.wav"}


# ---- links -------------------------------------------------------------------------------------


def test_links_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    root, other = tmp_path / "lib", tmp_path / "other"
    library(root, "a.wav", "sub/b.wav")
    library(other, "c.wav", "deep/d.wav")
    (root / "loop").symlink_to(root)
    (root / "sub" / "up").symlink_to("..")
    (root / "again").symlink_to("sub")
    (root / "above").symlink_to(tmp_path)
    (root / "root").symlink_to("/")
    (root / "in").symlink_to(other)
    (other / "back").symlink_to(root)
    (other / "deep" / "self").symlink_to(".")
    (root / "itself").symlink_to("itself")
    found = folders.files_under(root, lambda name: name.endswith(".wav"))
    assert [str(p.relative_to(root)) for p in found.files] == ["a.wav", "in/c.wav", "in/deep/d.wav", "sub/b.wav"]
    assert {str(p.relative_to(root)) for p in found.passed} == {
        "loop", "sub/up", "again", "above", "root", "in/back", "in/deep/self",
    }  # fmt: skip
    assert [str(p.relative_to(root)) for p in found.unread] == ["itself"]
    report = build(root, tmp_path / "x")
    assert report.added == 4
    assert len(report.notes) == 7
    assert any("sub/up: is a link to" in line for line in report.notes)


def test_two_links_to_one_folder_give_it_once(tmp_path: Path) -> None:
    library(tmp_path / "other", "c.wav")
    (tmp_path / "lib").mkdir()
    for name in ("m", "n"):
        (tmp_path / "lib" / name).symlink_to(tmp_path / "other")
    assert audio_files(tmp_path / "lib") == [tmp_path / "lib/m/c.wav"]


def test_pipes_are_named_and_hidden_files_are_not(tmp_path: Path) -> None:
    root = tmp_path / "lib"
    library(root, "a.wav", ".hidden.wav", ".git/b.wav")
    os.mkfifo(root / "p.wav")
    os.mkfifo(root / "control")
    unread: list[str] = []
    assert audio_files(root, unread=unread) == [root / "a.wav"]
    assert unread == [f"{root / 'p.wav'}: is a pipe, a socket or a device, not a file"]


# ---- names that are no text --------------------------------------------------------------------


def test_names_that_are_no_text_are_indexed_found_and_shown(tmp_path: Path) -> None:
    root, index = Path(os.fsdecode(os.fsencode(tmp_path) + b"/l\xefb")), tmp_path / "x"
    names = [os.fsdecode(n) for n in (b"caf\xe9.wav", b"d\xe9/\xff\xfe.wav", "ü.wav".encode(), b"plain.wav")]
    library(root, *names)
    assert build(root, index).added == 4
    assert build(root, index).unchanged == 4
    shown = {r"caf\xe9.wav", r"d\xe9/\xff\xfe.wav", "ü.wav", "plain.wav"}
    opened = Index(index)
    assert set(opened.sources) == shown
    assert all(opened.source_path(name).is_file() for name in shown)
    json.dumps(json.loads((index / "manifest.json").read_text(encoding="utf-8")), ensure_ascii=False).encode()
    for arguments in (["info", str(index), "--json"], ["query", str(index), str(root / names[0]), "--json"]):
        done = CliRunner().invoke(app, ["index", *arguments])
        assert done.exit_code == 0, done.output
        facts = json.loads(done.stdout)
    best = facts["clips"][0]["matches"][0]
    assert (best["path"], best["sample"]) == (r"caf\xe9.wav", 0)
    assert best["distance"] < 0.01
    (root / names[1]).unlink()
    assert (build(root, index).removed, len(Index(index).sources)) == (1, 3)


# ---- targets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["afile", "afile/x", "afile/x/y", "link", "pipe", "/proc/x", "/dev/null", "n" * 300])
def test_targets_that_cannot_be_give_one_line(tmp_path: Path, target: str) -> None:
    library(tmp_path / "lib", "a.wav")
    (tmp_path / "afile").write_text("")
    (tmp_path / "link").symlink_to("afile")
    os.mkfifo(tmp_path / "pipe")
    done = CliRunner().invoke(app, ["index", "build", str(tmp_path / "lib"), str(tmp_path / target)])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1), done.output
    assert "Traceback" not in done.output
    assert "Errno" not in done.output
    assert target[:20] in done.output


@pytest.mark.parametrize("made", [True, False])
def test_a_target_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bool) -> None:
    library(tmp_path / "lib", "a.wav")
    target = tmp_path / "ro"
    if made:
        target.mkdir(0o555)

    ordinary = os.open

    def no(path: Any, *rest: Any, **more: Any) -> Any:
        if str(path).endswith(("ro", ".lock")):
            raise PermissionError(13, "Permission denied")
        return ordinary(path, *rest, **more)

    # Tests may run as root, whom the system lets.
    monkeypatch.setattr(os, "open", no) if made else monkeypatch.setattr(Path, "mkdir", no)
    with pytest.raises(CspaceError, match="ro: cannot be written: Permission denied"):
        build(tmp_path / "lib", target)


def test_a_cut_off_recording_is_indexed_and_named(tmp_path: Path) -> None:
    library(tmp_path / "lib", "a.wav", "b.wav")
    whole = (tmp_path / "lib/b.wav").read_bytes()
    (tmp_path / "lib/b.wav").write_bytes(whole[: len(whole) // 2])
    report = build(tmp_path / "lib", tmp_path / "x")
    assert report.added == 2
    assert report.notes == ["b.wav: ends after 0.500 s, though its header promises 1.000 s"]
    assert np.isclose(Index(tmp_path / "x").sources["b.wav"].samples, RATE / 2, atol=32)
