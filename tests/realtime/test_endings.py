"""Every way a live recording may end leaves a complete, readable file; exit codes as in docs/recording.md."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.realtime.endings import Recording, check, live, prepare, script

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="reads /proc, and opens terminals as Linux does",
)

Ending = Callable[[Recording, Path], None]


def sent(*numbers: int) -> Ending:
    return lambda recording, folder: recording.send(*numbers)


def closed(recording: Recording, folder: Path) -> None:
    recording.close_terminal()


def loop_gone(recording: Recording, folder: Path) -> None:
    (folder / "in.wav").unlink()
    recording.until("is gone")
    recording.send(signal.SIGINT)


def loop_emptied(recording: Recording, folder: Path) -> None:
    (folder / "in.wav").write_bytes(b"")
    recording.until("in.wav")
    recording.until("silence plays on")
    recording.send(signal.SIGINT)


def nothing(recording: Recording, folder: Path) -> None:
    """It ends by itself."""


def small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))


# name: format, more arguments, settings, what ends it, exit code, words it says
WAYS: dict[str, tuple[str, list[str], dict[str, object], Ending, int, str]] = {
    "Ctrl-C": ("wav", ["--loop"], {}, sent(signal.SIGINT), 0, "written: take.wav"),
    "Ctrl-C in the view": ("flac", ["--loop"], {"terminal": True}, sent(signal.SIGINT), 0, "written: take.flac"),
    "Ctrl-C twice": ("w64", ["--loop"], {}, sent(signal.SIGINT, signal.SIGINT), 0, "written: take.w64"),
    "SIGTERM": ("flac", ["--loop"], {}, sent(signal.SIGTERM), 143, "stopped by SIGTERM"),
    "SIGTERM in the view": ("aiff", ["--loop"], {"terminal": True}, sent(signal.SIGTERM), 143, "stopped by SIGTERM"),
    "SIGHUP, then SIGTERM": ("wav", ["--loop"], {}, sent(signal.SIGHUP, signal.SIGTERM), 129, "stopped by SIGHUP"),
    "SIGQUIT": ("caf", ["--loop"], {}, sent(signal.SIGQUIT), 131, "stopped by SIGQUIT"),
    "terminal closed": ("wav", ["--loop"], {"terminal": True}, closed, 129, ""),
    "terminal of another session closed": (
        "rf64",
        ["--loop", "--no-view"],
        {"terminal": True, "controlling": False},
        closed,
        129,
        "",
    ),
    "time over": ("au", ["--loop", "--seconds", "1"], {}, nothing, 0, "written: take.au"),
    "end of the file": ("wav", [], {}, nothing, 0, "written: take.wav"),
    "disk full": ("wav", ["--loop"], {"before": small_files}, nothing, 1, "s are kept"),
    "disk full, FLAC": ("flac", ["--loop"], {"before": small_files, "noise": True}, nothing, 1, "s are kept"),
    "loop's file deleted": ("wav", ["--loop"], {}, loop_gone, 0, "the loop plays on"),
}
QUICK = ("Ctrl-C in the view", "SIGTERM", "SIGHUP, then SIGTERM", "terminal closed", "disk full", "loop's file deleted")


@pytest.mark.parametrize("way", [pytest.param(w, marks=[] if w in QUICK else pytest.mark.heavy) for w in WAYS])
def test_ways_to_end_the_command(way: str, tmp_path: Path) -> None:
    suffix, more, settings, end, code, words = WAYS[way]
    prepare(tmp_path)
    noise = settings.pop("noise", False) if "noise" in settings else False
    if noise:  # a constant packs into nothing
        import numpy as np
        import soundfile as sf

        x = np.random.default_rng(3).uniform(-0.5, 0.5, (24_000, 2)).astype(np.float32)
        sf.write(tmp_path / "in.wav", x, 48_000, subtype="FLOAT")
    take = tmp_path / f"take.{suffix}"
    recording = live("-i", "in.wav", "-o", take.name, *more, folder=tmp_path, **settings)
    try:
        if end is not nothing:
            recording.until("s ·" if settings.get("terminal") and "--no-view" not in more else "OSC on")
            recording.until_written(tmp_path, 1_000 if suffix == "flac" else 100_000)
        end(recording, tmp_path)
    finally:
        got = recording.wait()
    assert got == code, recording.text
    assert words in recording.text
    assert "Traceback" not in recording.text
    if settings.get("terminal"):
        # Whatever hid the cursor, the last word on it is that it is shown; a closed terminal has none.
        shown, hidden = recording.raw.rfind(b"\x1b[?25h"), recording.raw.rfind(b"\x1b[?25l")
        assert end is closed or shown > hidden >= 0
    if noise:
        import soundfile as sf

        kept, _ = sf.read(take, dtype="float32")
        assert len(kept) > 10_000
        assert np.abs(kept - np.resize(x * 0.5, kept.shape)).max() < 1e-5
        return
    frames = check(take, 24_000 if end is nothing else 10_000)
    played = re.search(r"([0-9.]+) s played", recording.text)
    if played is not None and code != 1:
        assert frames >= 48_000 * (float(played[1]) - 0.06)  # the words are rounded to 0.1 s
    if way == "end of the file":
        assert frames == 24_000


# What a program does after `stream` is made, and its exit code.
PROGRAMS: dict[str, tuple[str, int]] = {
    "end of the program": ("stream.open(); running()", 0),
    "sys.exit": ("stream.open(); running(); sys.exit(3)", 3),
    "exception in with": ("with stream:\n    running()\n    raise KeyError('mine')", 1),
    "exception without with": ("stream.open(); running(); raise KeyError('mine')", 1),
    "Ctrl-C in with": ("with stream:\n    running()\n    os.kill(os.getpid(), 2); time.sleep(9)", -signal.SIGINT),
    "del": (
        "stream.open(); running(); del stream\n"
        "assert os.path.exists('take.wav'), 'complete at once'\n"
        "names = [open(f'/proc/self/task/{t}/comm').read() for t in os.listdir('/proc/self/task')]\n"
        "assert not any('cspace-audio' in n or 'cspace-writer' in n for n in names), names\n"
        "os._exit(0)",
        0,
    ),
    "a cycle that is collected": (
        "stream.open(); stream.me = stream; running(); del stream; gc.collect()\n"
        "assert os.path.exists('take.wav'), 'complete at once'\nos._exit(0)",
        0,
    ),
    "a forked child ends first": (
        "stream.open(); running(); pid = os.fork()\n"
        "if pid == 0: sys.exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "assert not os.path.exists('take.wav'), 'the child has finished the take of its parent'\n"
        "running(0.6); stream.close()",
        0,
    ),
    "close interrupted": (
        "from cspace.realtime import filedevice\n"
        "join, said = filedevice.Threads.join, []\n"
        "def interrupted(self):\n"
        "    if not said: said.append(1); raise KeyboardInterrupt\n"
        "    join(self)\n"
        "filedevice.Threads.join = interrupted\n"
        "stream.open(); running()\n"
        "try: stream.close()\n"
        "except KeyboardInterrupt: pass\n"
        "assert said and not os.path.exists('take.wav')",
        0,
    ),
    "reader that dies of any exception": (
        "import numpy, soundfile\n"  # more than what is read ahead before the sound starts
        "soundfile.write('in.wav', numpy.full((144_000, 2), 0.125, 'f4'), 48_000, subtype='FLOAT')\n"
        "from cspace.audiofile import Reader\n"
        "from cspace.realtime.errors import StreamError\n"
        "def broken(self, frame): time.sleep(0.6); raise ZeroDivisionError('in the reader')\n"
        "Reader.seek = broken\n"
        "stream.open()\n"
        "try: stream.wait(60); sys.exit(5)\n"
        "except StreamError as e: assert 'in.wav' in str(e) and 'ZeroDivisionError: in the reader' in str(e), e\n"
        "stream.close()",
        0,
    ),
    "writer that dies of any exception": (
        "from cspace.audiofile import Take\n"
        "from cspace.realtime.errors import StreamError\n"
        "write = Take.write\n"
        "def broken(self, x):\n"
        "    if self.frames_written > 12_000: raise MemoryError('in the writer')\n"
        "    write(self, x)\n"
        "Take.write = broken\n"
        "stream.open()\n"
        "try: stream.wait(60); sys.exit(5)\n"
        "except StreamError as e: assert 'take.wav' in str(e) and 'MemoryError: in the writer' in str(e), e\n"
        "stream.close()",
        0,
    ),
}


QUICK_PROGRAMS = (
    "end of the program",
    "exception in with",
    "del",
    "a forked child ends first",
    "reader that dies of any exception",
)


@pytest.mark.parametrize(
    "way", [pytest.param(w, marks=[] if w in QUICK_PROGRAMS else pytest.mark.heavy) for w in PROGRAMS]
)
def test_ways_to_end_a_program(way: str, tmp_path: Path) -> None:
    lines, code = PROGRAMS[way]
    prepare(tmp_path)
    recording = script(lines, tmp_path)
    assert recording.wait() == code, recording.text
    if code == 1:
        assert "KeyError: 'mine'" in recording.text
    frames = check(tmp_path / "take.wav", 10_000)
    if "running()" in lines:
        assert frames >= 0.3 * 48_000 - 64


def test_the_third_signal_leaves_and_the_take_can_be_recovered(tmp_path: Path) -> None:
    """A take whose disk has stopped: the close would wait for ever."""
    from cspace.audiofile.parts import recover

    prepare(tmp_path)
    command = (
        "import os, time\n"
        "from cspace.audiofile import Take\n"
        "Take.finish = lambda self: time.sleep(600)\n"
        "from cspace.cli import main\n"
        "main()"
    )
    arguments = ["live", "chain.toml", "-i", "in.wav", "--loop", "-o", "take.wav", "--osc-port", "0", "--no-view"]
    recording = Recording([sys.executable, "-c", command, *arguments], tmp_path)
    recording.until("OSC on")
    recording.until_written(tmp_path)
    recording.send(signal.SIGTERM, signal.SIGTERM)
    recording.until("is being completed")
    assert recording.process.poll() is None
    recording.send(signal.SIGINT)
    assert recording.wait() == 128 + signal.SIGINT
    assert "cspace recover" in recording.text
    (part,) = tmp_path.glob(".take.wav.*.part")
    assert recover(part).saved == tmp_path / "take.wav"
    check(tmp_path / "take.wav", 10_000)


def test_nothing_listens_to_signals_in_a_program() -> None:
    code = (
        "import signal\n"
        "before = [signal.getsignal(n) for n in range(1, 32)]\n"
        "import cspace.realtime, cspace.cli, cspace.cli.live, cspace.audiofile\n"
        "assert before == [signal.getsignal(n) for n in range(1, 32)]"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0
