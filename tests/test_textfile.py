"""Text files as editors and systems write them, and what is no text file."""

from __future__ import annotations

import codecs
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cspace.offline.config import load_config
from cspace.offline.eq.data import load as load_table
from cspace.offline.index.store import read_manifest
from cspace.offline.ksom.modelfile import read_json
from cspace.offline.phase0.config import read_yaml
from cspace.offline.phase0.data import _csv
from cspace.plugins._errors import CspaceError, FileError
from cspace.realtime import chainfile
from cspace.realtime.presets import Presets
from cspace.textfile import decode, read_text

TEXT = "title = 'é'\n\n[[processor]]\ntype = 'gain'\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
def test_marks_and_ends_of_lines_are_taken_off(tmp_path: Path, mark: bytes, end: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(mark + TEXT.replace("\n", end).encode())
    assert read_text(path) == TEXT
    assert chainfile.load(path).title == "é"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_other_encodings_are_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.toml"
    data = TEXT.replace("é", "e").encode(encoding)
    if encoding == "utf-32-be":
        data = codecs.BOM_UTF32_BE + data
    path.write_bytes(data)
    with pytest.raises(FileError, match=rf"a\.toml: .*text in {encoding[:6].upper()}; save it as UTF-8"):
        read_text(path)


@pytest.mark.parametrize(
    ("data", "byte", "offset", "line"),
    [
        (b"a = 'caf\xe9'\n", "0xe9", 8, 1),
        (b"# x\r\n\r\nb = '\xff'", "0xff", 12, 3),
        (codecs.BOM_UTF8 + b"a = '\xf8'", "0xf8", 8, 1),
        (b"ends in a letter \xc3", "0xc3", 17, 1),
    ],
)
def test_the_byte_that_is_not_utf_8_is_named(data: bytes, byte: str, offset: int, line: int) -> None:
    with pytest.raises(
        FileError, match=rf"^notes: is not text in UTF-8: byte {byte} at offset {offset} \(line {line}\)"
    ):
        decode(data, "notes")
    assert decode(data, "notes", strict=False).count("\ufffd") == 1


# ---- every kind of text that is read -----------------------------------------------------------


def _manifest(path: Path) -> Any:
    path.rename(path.parent / "manifest.json")
    return read_manifest(path.parent)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "chain": ("a.toml", chainfile.load),
    "settings": ("a.toml", load_config),
    "yaml": ("a.yaml", read_yaml),
    "json": ("a.json", read_json),
    "table": ("a.csv", load_table),
    "list": ("a.csv", _csv),
    "preset": ("a.toml", lambda p: Presets(p.parent).load("a")),
    "index": ("a.json", _manifest),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("special", ["pipe", "device", "socket", "folder", "endless", "link to a pipe"])
def test_what_is_no_file_is_an_error_at_once(tmp_path: Path, kind: str, special: str) -> None:
    name, reader = READERS[kind]
    path = tmp_path / name
    if special == "pipe":
        os.mkfifo(path)
    elif special == "device":
        path.symlink_to("/dev/null")
    elif special == "endless":
        path.symlink_to("/dev/zero")
    elif special == "folder":
        path.mkdir()
    elif special == "socket":
        socket.socket(socket.AF_UNIX).bind(os.path.relpath(path)) if len(str(path)) > 100 else _bind(path)
    else:
        os.mkfifo(tmp_path / "p")
        path.symlink_to(tmp_path / "p")
    found: list[BaseException] = []

    def run() -> None:
        try:
            reader(path)
        except BaseException as e:  # looked at below
            found.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60.0)
    assert not thread.is_alive(), "it waits for a pipe or reads a device for ever"
    assert isinstance(found[0], CspaceError)
    assert "Errno" not in str(found[0])


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))


@pytest.mark.parametrize("kind", ["settings", "yaml", "json"])
def test_marks_do_no_harm_to_settings(tmp_path: Path, kind: str) -> None:
    name, reader = READERS[kind]
    text = {"settings": "seed = 7\r\n", "yaml": "seed: 7\r\n", "json": '{"seed": 7}\r\n'}[kind]
    (tmp_path / name).write_bytes(codecs.BOM_UTF8 + text.encode())
    found = reader(tmp_path / name)
    assert (found.seed if kind == "settings" else found["seed"]) == 7


def test_marks_do_no_harm_to_tables(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(codecs.BOM_UTF8 + b"audio_path,speaker_id\r\nx/one.wav,anna\r\n")
    assert _csv(path) == [("x/one", "anna", tmp_path / "x/one.wav")]


def test_a_text_is_not_read_without_end(tmp_path: Path) -> None:
    path = tmp_path / "large.toml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileError, match=r"large\.toml: is too large \(1\.1e\+06 MB; at most"):
        read_text(path)
    assert json.loads(read_text(_small(tmp_path), most_bytes=9)) == {"a": 1.5}
    with pytest.raises(FileError, match="too large"):
        read_text(_small(tmp_path), most_bytes=8)


def _small(folder: Path) -> Path:
    path = folder / "small.json"
    path.write_text('{"a":1.5}')
    return path
