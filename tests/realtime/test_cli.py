"""The command line: what works, and that no user error shows a traceback."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from cspace import __version__
from cspace.cli import app

runner = CliRunner()
NO_JACK = {"JACK_DEFAULT_SERVER": "cspace-none", "JACK_NO_START_SERVER": "1"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    x = 0.2 * np.sin(2 * np.pi * 220 * np.arange(24_000) / 48_000)
    sf.write(tmp_path / "in.wav", np.stack([x, x], 1).astype(np.float32), 48_000, subtype="FLOAT")
    (tmp_path / "chain.toml").write_text('[[processor]]\ntype = "gain"\ngain_db = -6.0\n')
    (tmp_path / "bad.toml").write_text('[[processor]]\ntype = "gian"\n')
    (tmp_path / "range.toml").write_text('[[processor]]\ntype = "gain"\ngain_db = 99.0\n')
    (tmp_path / "noise.wav").write_bytes(b"RIFF nothing of the kind")
    return tmp_path


def run(*args: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cspace", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=cwd,
        env=os.environ | NO_JACK,
        check=False,
    )


def test_version_and_help() -> None:
    assert runner.invoke(app, ["--version"]).output.strip() == f"cspace {__version__}"
    for command in ("live", "render", "devices", "plugins", "bench"):
        result = runner.invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert command in result.output


def test_render(files: Path) -> None:
    result = runner.invoke(app, ["render", *(str(files / n) for n in ("chain.toml", "in.wav", "out.wav"))])
    assert result.exit_code == 0, result.output
    x, _ = sf.read(files / "in.wav")
    y, _ = sf.read(files / "out.wav")
    # −6 dB as float32 and one product.
    assert np.allclose(y, x * 10 ** (-6 / 20), atol=1e-6)


def test_live_on_files(files: Path) -> None:
    done = run("live", files / "chain.toml", "-i", files / "in.wav", "-o", files / "out.wav", "--osc-port", "0")
    assert done.returncode == 0, done.stderr
    assert "0.5 s played" in done.stdout
    x, _ = sf.read(files / "in.wav")
    y, _ = sf.read(files / "out.wav")
    assert np.allclose(y, x * 10 ** (-6 / 20), atol=1e-6)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have sound")
def test_live_without_sound_hardware(tmp_path: Path) -> None:
    done = run("live", "--osc-port", "0", "--seconds", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if "OSC on" in done.stdout and "bundled clip" not in done.stdout:
        pytest.skip("this machine has sound hardware")
    assert "no sound hardware" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "OSC" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_live_view(files: Path) -> None:
    """The meters in a terminal, stopped by Ctrl-C: the output file is complete all the same."""
    import pty

    main, child = pty.openpty()
    command = [sys.executable, "-m", "cspace", "live", "-i", str(files / "in.wav"), "--loop", "--osc-port", "0"]
    command += ["-o", str(files / "out.wav")]
    # A job started with `&` or nohup ignores Ctrl-C, and so would its children; a terminal's do not.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            command, stdout=child, stderr=child, stdin=child, env=os.environ | {"TERM": "xterm", "COLUMNS": "120"}
        )
    finally:
        signal.signal(signal.SIGINT, inherited)
        os.close(child)
    seen = b""
    began = time.monotonic()
    interrupted = False
    try:
        while True:
            try:
                seen += os.read(main, 65_536)
            except OSError:
                break
            if not interrupted and (b"order r" in seen or time.monotonic() - began > 100):
                process.send_signal(signal.SIGINT)
                interrupted = True
        assert process.wait(timeout=100) == 0
    finally:
        # Nothing is left behind to play on beside the tests that follow.
        process.kill()
        process.wait()
        os.close(main)
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", seen).decode(errors="replace")
    for word in ("in 1", "out 2", "order r", "load", "p99", "late model blocks", "missed deadlines", "OSC", "kuramoto"):
        assert word in text
    assert "Traceback" not in text
    assert sf.info(files / "out.wav").frames > 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["live", "nothing.toml"], "there is no such file; did you mean"),
        (["live", "bad.toml"], "did you mean 'gain'"),
        (["live", "range.toml"], "-120 to 24 dB"),
        (["live", "chain.toml", "--input", "nothing.wav"], "nothing.wav: there is no such file"),
        (["live", "chain.toml", "--input", "noise.wav"], "cannot be read as audio"),
        (["live", "chain.toml", "--input", "in.wav", "--output", "no/such/out.wav"], "does not exist"),
        (["live", "chain.toml", "--input", "in.wav", "--output", "out.xyz/"], "is not an audio format"),
        (["live", "chain.toml", "--input", "in.wav", "--block", "0"], "use 1 to 8192 frames"),
        (["live", "chain.toml", "--input", "in.wav", "--channels", "3"], "--channels 2"),
        (["live", "chain.toml", "--input", "in.wav", "--sample-rate", "7"], "8000 to 192000 Hz"),
        (["live", "chain.toml", "--input", "in.wav", "--osc-port", "99999"], "--osc-port"),
        (["live", "chain.toml", "--input", "null", "--output", "speaker"], "output"),
        (["live", "chain.toml", "--input", "in.wav", "--output", "speaker"], "output"),
        (["live", "chain.toml", "--input", "microphone", "--output", "out.wav"], "input"),
        (["live", "chain.toml", "--input", "microphone", "--output", "speaker"], "sound input"),
        (["render", "chain.toml", "nothing.wav", "out.wav"], "there is no such file"),
        (["render", "chain.toml", "noise.wav", "out.wav"], "cannot be read as audio"),
        (["render", "chain.toml", "in.wav", "out.xyz"], "is not an audio format"),
        (["render", "chain.toml", "in.wav", "out.wav", "--tail", "x"], "seconds or auto"),
        (["plugins", "gian"], "did you mean 'gain'"),
        (["bench", "nothing.toml"], "there is no such file"),
        (["bench", "chain.toml", "--block", "0"], "use 1 to 8192"),
    ],
)
def test_user_errors_are_one_line(files: Path, args: list[str], words: str) -> None:
    done = run(*args, cwd=files)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert words in done.stderr
    assert done.stderr.startswith("cspace: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (files / "out.wav").exists()


@pytest.mark.skipif(importlib.util.find_spec("sounddevice") is None, reason="needs sounddevice")
def test_devices() -> None:
    done = run("devices")
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_plugins() -> None:
    listed = runner.invoke(app, ["plugins"]).output
    table = runner.invoke(app, ["plugins", "--markdown"]).output
    for name in ("esn", "cspace", "eq", "kuramoto", "gain", "limiter"):
        assert name in listed
        assert f"| `{name}` |" in table
    assert {line.count("|") - 2 * line.count("\\|") for line in table.strip().splitlines()} == {6}
    assert "low_gain_db" in runner.invoke(app, ["plugins", "eq"]).output


def test_bench_of_a_chain(files: Path) -> None:
    result = runner.invoke(app, ["bench", str(files / "chain.toml"), "--seconds", "1"])
    assert result.exit_code == 0, result.output
    assert "whole block" in result.output
