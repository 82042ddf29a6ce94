"""What reaches a terminal: of any encoding, with nothing in it that acts, and never a traceback."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import typer
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from cspace import clitools
from cspace.cli import app
from cspace.clitools import clear_errors, complain, progress
from cspace.terminal import clean, json_text

EVIL = os.fsdecode(b"a\xff[bold]b[red]:smile:\x1b[31m\x07\nc.wav")
SHOWN = r"a\xff[bold]b[red]:smile:\x1b[31m\x07\nc.wav"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sf.write(tmp_path / "in.wav", np.zeros((4800, 1), np.float32), 48_000)
    (tmp_path / "g.toml").write_text('[[processor]]\ntype = "gain"\n')
    return tmp_path


def run(*words: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[bytes]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("LANG", "LC_ALL", "LC_CTYPE", "PYTHONIOENCODING")}
    return subprocess.run(
        [sys.executable, "-m", "cspace", *words], cwd=cwd, env=inherited | settings, capture_output=True, timeout=100,
        check=False,
    )  # fmt: skip


# ---- text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (EVIL, SHOWN),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),  # the same in one byte
        ("a\r\tb\x00\x7f", r"a\r\tb\x00\x7f"),
        ("fdp.\u202ewav", r"fdp.\u202ewav"),  # turns the direction of writing
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
        ("plain é → 日本.wav", "plain é → 日本.wav"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_what_acts_is_shown(text: str, shown: str) -> None:
    assert clean(text) == shown
    assert clean(shown) == shown


def test_lines_stay_where_they_are_meant() -> None:
    assert clean("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8", "koi8-r"])
def test_every_text_goes_into_every_encoding(encoding: str) -> None:
    text = "→ × µ … ─│┌█▌⠋ é 日 " + EVIL
    assert text.encode(encoding, "cspace").decode(encoding)
    assert "→×".encode("ascii", "cspace") == b"->x"
    assert "█─é".encode("ascii", "cspace") == b"#-\\xe9"
    assert os.fsdecode(b"\xff").encode("utf-8", "cspace") == b"\\xff"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_stays_json(encoding: str) -> None:
    data = {"name": EVIL, "other": "é→"}
    assert json.loads(json_text(data, encoding).encode(encoding)) == data


def test_cells_descriptions_and_lines_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("[red]head[/red]", box=None)
    table.add_row(clean(EVIL))
    clitools.out.print(table)
    clitools.say(f"x {EVIL}")
    clitools.note(EVIL)
    complain(f"{EVIL}: [/nothing]")
    got = capsys.readouterr()
    assert "[red]head[/red]" in got.out
    assert f"x {SHOWN}" in got.out
    assert f"cspace: {SHOWN}: [/nothing]" in got.err
    for text in (got.out, got.err):
        assert "\x1b[31m" not in text
        assert "\x07" not in text
        assert "😄" not in text


def test_a_bar_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clitools, "err", Console(file=io.StringIO(), force_terminal=True))
    with progress() as bar:
        task = bar.add_task(EVIL, total=1)
        assert bar.tasks[0].description == SHOWN
        bar.update(task, description="[/x]" + EVIL)
        assert bar.tasks[0].description == "[/x]" + SHOWN
        bar.refresh()  # markup would fail here


# ---- commands --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1", "TERM": "dumb", "COLUMNS": "5"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "utf-8", "COLUMNS": "1"},
    ],
    ids=["ascii", "latin-1", "C", "narrow"],
)
def test_commands_on_any_terminal(folder: Path, settings: dict[str, str]) -> None:
    evil = os.fsdecode(b"e\xff[/b]:x:\x1b[2J.wav").replace("/", "")
    (folder / "in.wav").rename(folder / evil)
    done = run("render", "g.toml", evil, "o.wav", cwd=folder, **settings)
    assert done.returncode == 0, done.stderr
    assert (folder / "o.wav").exists()
    again = run("render", "g.toml", evil, evil, "--force", cwd=folder, **settings)
    assert again.returncode == 2
    usage = run("render", "g.toml", evil, "o2.wav", evil, cwd=folder, **settings)
    assert usage.returncode == 2
    for text in (done.stdout, done.stderr, again.stderr, usage.stderr):
        assert b"Traceback" not in text
        assert b"\x1b[2J" not in text
    assert b"\\x1b[2J" in again.stderr
    assert b"\\x1b[2J" in usage.stderr


@pytest.mark.parametrize("words", ["plugins", "plugins eq", "--help", "render g.toml in.wav -"])
def test_a_full_standard_output_is_told(folder: Path, words: str) -> None:
    command = [sys.executable, "-m", "cspace", *words.split()]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, cwd=folder, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == (2 if "render" in words else 1)
    said = "cspace: standard output cannot be written: No space left on device"
    assert done.stderr.decode().splitlines()[-1] == said
    assert len(done.stderr.splitlines()) == (2 if "render" in words else 1)  # it tells what was rendered


def test_another_full_disk_is_not_standard_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CSPACE_TRACEBACK", raising=False)
    made = typer.Typer()

    @made.command()
    @clear_errors
    def writes() -> None:
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    result = CliRunner().invoke(made)
    assert result.exit_code == 1
    assert "standard output" not in result.output
    assert "No space left" in result.output


@pytest.mark.parametrize("size", ["0", "-5", "", "x", "²", "99999999999999999999"])
def test_a_terminal_of_no_size_gets_the_text(folder: Path, size: str) -> None:
    done = run("plugins", "eq", cwd=folder, COLUMNS=size, LINES=size)
    assert done.returncode == 0, done.stderr
    assert b"low_gain_db" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 1000
    done = run("--help", cwd=folder, COLUMNS=size, LINES=size)
    assert b"render" in done.stdout


def test_a_closed_standard_output_harms_nothing(folder: Path) -> None:
    line = f'"{sys.executable}" -m cspace render g.toml in.wav o.wav >&- 2>&- <&-'
    assert subprocess.run(line, shell=True, cwd=folder, check=False).returncode == 0
    assert sf.info(folder / "o.wav").frames == 4800
    line = f'"{sys.executable}" -m cspace plugins | head -1'
    done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, check=False)
    assert done.stderr == b""


# ---- what nobody foresaw ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "there is not enough memory"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (OSError(5, "Input/output error", "x.wav"), "x.wav: Input/output error"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "UnicodeDecodeError"),
        (ZeroDivisionError("division by zero\nand more"), "unexpected ZeroDivisionError: division by zero"),
        (ValueError("\x1b[2J"), r"\x1b[2J"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, BaseException) else "",
)
def test_an_unforeseen_error_is_one_line(error: Exception, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CSPACE_TRACEBACK", raising=False)
    made = typer.Typer()

    @made.command()
    @clear_errors
    def breaks() -> None:
        raise error

    result = CliRunner().invoke(made)
    assert result.exit_code == 1
    text = result.output.strip()
    assert len(text.splitlines()) == 1
    assert words in text
    assert "CSPACE_TRACEBACK=1" in text
    monkeypatch.setenv("CSPACE_TRACEBACK", "1")
    shown: Any = CliRunner().invoke(made)
    assert shown.exception is error


@pytest.mark.parametrize("words", [["nothing"], ["render"], ["render", "--nothing"], ["live", "--block", "x"]])
def test_what_is_typed_wrongly_is_told_shortly(folder: Path, words: list[str]) -> None:
    done = run(*words, cwd=folder)
    assert done.returncode == 2
    lines = done.stderr.decode().splitlines()
    assert lines[0].startswith("cspace: ")
    assert "--help tells more" in lines[1]
    assert len(lines) == 2


def test_help_needs_no_error() -> None:
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0
