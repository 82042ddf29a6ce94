"""Processes that record, for the tests of how a recording ends: `cspace live`, and scripts that use the library."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile as sf

LEVEL = 0.125  # of the input; the chain halves it
PATIENCE_S = 90.0  # a machine may be busy with anything
NO_JACK = {"JACK_DEFAULT_SERVER": "cspace-none", "JACK_NO_START_SERVER": "1"}


def prepare(folder: Path) -> None:
    """A loop of 0.5 s and a chain."""
    sf.write(folder / "in.wav", np.full((24_000, 2), LEVEL, np.float32), 48_000, subtype="FLOAT")
    (folder / "chain.toml").write_text('[[processor]]\ntype = "gain"\ngain_db = -6.020599913\n')


class Recording:
    """A child process that records; all it prints is kept."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        *,
        terminal: bool = False,
        controlling: bool = True,
        before: Callable[[], None] = lambda: None,
        env: dict[str, str] | None = None,
    ):
        self.main: int | None = None

        def prepared() -> None:
            # A job started with `&` ignores Ctrl-C, and so would its children; a terminal's do not.
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)
            if terminal and controlling:
                import fcntl
                import termios

                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            before()

        settings: dict[str, object] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        child = None
        if terminal:
            import pty

            self.main, child = pty.openpty()
            settings = {"stdin": child, "stdout": child}
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            stderr=subprocess.STDOUT,
            env=os.environ | (NO_JACK if env is None else env) | {"TERM": "xterm", "COLUMNS": "160"},
            start_new_session=True,
            preexec_fn=prepared,
            **settings,  # type: ignore[call-overload]
        )
        if child is not None:
            os.close(child)
        self._seen = b""
        fd = self.main if self.main is not None else self.process.stdout.fileno()
        self._reader = threading.Thread(target=self._read, args=(fd,), daemon=True)
        self._reader.start()

    def _read(self, fd: int) -> None:
        try:
            while chunk := os.read(fd, 65_536):
                self._seen += chunk
        except OSError:
            return

    @property
    def text(self) -> str:
        """What it has printed, without what moves the cursor."""
        return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", self._seen).decode(errors="replace")

    @property
    def raw(self) -> bytes:
        """What it has printed."""
        return self._seen

    def until(self, words: str) -> None:
        """Waits until it has printed this."""
        ends = time.monotonic() + PATIENCE_S
        while words not in self.text and self.process.poll() is None and time.monotonic() < ends:
            time.sleep(0.02)
        assert words in self.text, self.text

    def until_written(self, folder: Path, size: int = 100_000) -> None:
        """Waits until its unfinished file holds something."""
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends and self.process.poll() is None:
            if any(p.stat().st_size > size for p in folder.glob(".*.part")):
                return
            time.sleep(0.02)
        raise AssertionError(f"nothing is written: {self.text}")

    def send(self, *numbers: int) -> None:
        """Signals, one after the other."""
        for number in numbers:
            self.process.send_signal(number)
            time.sleep(0.02)

    def close_terminal(self) -> None:
        """As a window that is closed."""
        assert self.main is not None
        os.close(self.main)
        self.main = None

    def wait(self) -> int:
        """Its exit code."""
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self._reader.join(2.0)
            if self.main is not None:
                os.close(self.main)
                self.main = None
            if self.process.stdout is not None:
                self.process.stdout.close()


def live(*arguments: str, folder: Path, **settings: object) -> Recording:
    """`cspace live` with the chain, OSC on any free port."""
    command = [sys.executable, "-m", "cspace", "live", "chain.toml", *arguments, "--osc-port", "0"]
    return Recording(command, folder, **settings)  # type: ignore[arg-type]


def script(lines: str, folder: Path) -> Recording:
    """A program that records with the library into take.wav; `lines` go on from an open `stream`."""
    text = (
        "import gc, os, sys, threading, time\n"
        "from cspace.plugins import Gain\n"
        "from cspace.realtime import Chain, Stream\n"
        "def running(seconds=0.3):\n"
        "    while stream.engine.sample_time < 48_000 * seconds: time.sleep(0.01)\n"
        "stream = Stream(Chain([Gain(gain_db=-6.020599913)]), input='in.wav', output='take.wav', loop=True)\n"
    )
    return Recording([sys.executable, "-c", text + lines], folder)


def check(take: Path, at_least: int = 1) -> int:
    """The take is whole, readable, holds the right sound, and nothing else is left; its frames."""
    left = [p.name for p in take.parent.iterdir() if p.name.endswith(".part")]
    assert left == []
    x, rate = sf.read(take, dtype="float32", always_2d=True)
    assert rate == 48_000
    assert len(x) == sf.info(take).frames
    assert len(x) >= at_least
    # FLAC has 24 bits; the gain is within 1e-6 of a half.
    assert np.abs(x - LEVEL / 2).max() < 1e-6
    return len(x)
