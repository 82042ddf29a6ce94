"""The way out while a JACK server runs, dies, hangs or comes back at another rate. Heavy: a server each time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile as sf

from bench.jackd import Server, available
from tests.realtime.endings import Recording, live, prepare

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not available(), reason="needs jackd (apt install jackd2)"),
]
TIMES = 100


@contextlib.contextmanager
def jack(rate: int = 48_000) -> Iterator[Server]:
    server = Server("way-out", 1024, rate)
    server.start()
    try:
        yield server
    finally:
        if server._process is not None:
            server._process.send_signal(signal.SIGCONT)
        server.stop()


def suspend(server: Server) -> None:
    assert server._process is not None
    server._process.send_signal(signal.SIGSTOP)


def resume(server: Server) -> None:
    assert server._process is not None
    server._process.send_signal(signal.SIGCONT)


def started(*arguments: str, folder: Path) -> Recording:
    prepare(folder)
    recording = live(*arguments, "--no-view", folder=folder, env=dict(os.environ))
    recording.until("OSC on")
    time.sleep(0.5)
    return recording


@pytest.mark.parametrize("command", ["devices", "render", "live"])
def test_exits_well_a_hundred_times(command: str, tmp_path: Path) -> None:
    prepare(tmp_path)
    arguments = {
        "devices": ["devices"],
        "render": ["render", "chain.toml", "in.wav", "out.wav", "--force"],
        "live": [
            "live",
            "chain.toml",
            "-i",
            "system",
            "-o",
            "system",
            "--seconds",
            "0.1",
            "--osc-port",
            "0",
            "--no-view",
        ],
    }[command]
    with jack():
        codes = [
            subprocess.run([sys.executable, "-m", "cspace", *arguments], cwd=tmp_path, capture_output=True, check=False)
            for _ in range(TIMES)
        ]
    assert [c.returncode for c in codes] == TIMES * [0], codes[-1].stderr


LOOKED = "from cspace.realtime import portaudio\nportaudio.devices()\n"
STATES = {
    "looked": "",
    "looked again and again": "for _ in range(4): portaudio.refresh(); assert portaudio.devices()",
    "a child that looks too": (
        "import os, sys\n"
        "pid = os.fork()\n"
        "if pid == 0: found = portaudio.devices(); sys.exit(0 if found else 7)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "assert portaudio.devices()"
    ),
    "a child that does not look": (
        "import os, sys\n"
        "pid = os.fork()\n"
        "if pid == 0: sys.exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "portaudio.refresh(); assert portaudio.devices()"
    ),
    "an open stream": (
        "from cspace.realtime import Chain, Stream\n"
        "s = Stream(Chain(), input='system', output='system', block=1024).open()\n"
        "import time\n"
        "while s.engine.sample_time < 9600: time.sleep(0.01)"
    ),
    "two streams, one looked for anew": (
        "from cspace.realtime import Chain, Stream\n"
        "a = Stream(Chain(), input='system', output='system', block=1024).open()\n"
        "portaudio.refresh()\n"
        "b = Stream(Chain(), input='system', output='system', block=1024).open()\n"
        "import time\n"
        "n = a.engine.sample_time\n"
        "while min(a.engine.sample_time - n, b.engine.sample_time) < 9600: time.sleep(0.01)"
    ),
}


@pytest.mark.parametrize("after", ["alive", "killed", "suspended"])
@pytest.mark.parametrize("state", STATES)
def test_a_program_exits_well_in_every_state(state: str, after: str) -> None:
    wait = "\nprint('ready', flush=True); sys.stdin.readline()"
    with jack() as server:
        command = [sys.executable, "-c", LOOKED + "import sys\n" + STATES[state] + wait]
        program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == b"ready\n", program.communicate()[1]
            if after == "killed":
                server.kill()
            elif after == "suspended":
                suspend(server)
            _, said = program.communicate(b"\n", timeout=120)
        finally:
            program.kill()
            program.wait()
    assert program.returncode == 0, said


def test_a_server_suspended_for_three_seconds(tmp_path: Path) -> None:
    with jack() as server:
        playing = started("-i", "system", "-o", "system", folder=tmp_path)
        suspend(server)
        time.sleep(3)
        resume(server)
        playing.until("it is back")
        playing.send(signal.SIGINT)
        assert playing.wait() == 0, playing.text


@pytest.mark.parametrize("how", ["killed", "suspended", "stopped in peace"])
def test_a_device_that_goes_away_completes_the_recording(how: str, tmp_path: Path) -> None:
    with jack() as server:
        recording = started("-i", "system", "-o", "take.wav", folder=tmp_path)
        recording.until_written(tmp_path, 50_000)
        {"killed": server.kill, "suspended": lambda: suspend(server), "stopped in peace": server.stop}[how]()
        assert recording.wait() == 1, recording.text
        assert "written: take.wav" in recording.text
        assert "the device" in recording.text
    assert sf.info(tmp_path / "take.wav").frames > 5_000
    assert not list(tmp_path.glob(".*.part"))


def test_ctrl_c_while_the_server_is_suspended(tmp_path: Path) -> None:
    with jack() as server:
        recording = started("-i", "system", "-o", "take.wav", folder=tmp_path)
        recording.until_written(tmp_path, 50_000)
        suspend(server)
        recording.send(signal.SIGINT)
        assert recording.wait() in (0, 1)  # 1 if the loss was seen before the signal
    assert sf.info(tmp_path / "take.wav").frames > 5_000


def test_a_full_disk_does_not_stop_the_sound_of_a_device(tmp_path: Path) -> None:
    import resource

    prepare(tmp_path)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))  # noqa: E731
    with jack():
        arguments = ("-i", "system", "-o", "take.wav", "--no-view")
        recording = live(*arguments, folder=tmp_path, env=dict(os.environ), before=limit)
        recording.until("are kept")
        assert (tmp_path / "take.wav").exists()  # at once
        time.sleep(1.0)
        assert recording.process.poll() is None  # it plays on
        recording.send(signal.SIGINT)
        assert recording.wait() == 1, recording.text
    assert 40_000 < sf.info(tmp_path / "take.wav").frames <= 50_000  # 8 bytes a frame


@pytest.mark.parametrize("follow", [False, True])
def test_a_server_that_is_back_at_another_rate(follow: bool, tmp_path: Path) -> None:
    more = ("--follow-rate",) if follow else ()
    with jack() as server:
        playing = started("-i", "system", "-o", "system", *more, folder=tmp_path)
        server.kill()
        playing.until("waiting for it")
    with jack(44_100):
        playing.until("44100 Hz")
        assert "48000 Hz" in playing.text
        assert ("it is back at 44100 Hz" in playing.text) == follow
        playing.send(signal.SIGINT)
        assert playing.wait() == 0, playing.text


def test_a_callback_that_raises_ends_the_stream_with_that_error() -> None:
    code = (
        "import sys\n"
        "from cspace.realtime import Chain, Stream\n"
        "from cspace.realtime.errors import StreamError\n"
        "def on_lost(lost): raise LookupError('mine')\n"
        "s = Stream(Chain(), input='system', output='system', block=1024, on_lost=on_lost).open()\n"
        "print('ready', flush=True)\n"
        "try: s.wait(60); sys.exit(5)\n"
        "except StreamError as e: assert 'on_lost' in str(e) and 'LookupError: mine' in str(e), e\n"
    )
    with jack() as server:
        program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert program.stdout is not None
        assert program.stdout.readline() == b"ready\n"
        server.kill()
        _, said = program.communicate(timeout=120)
    assert program.returncode == 0, said
    assert b"Traceback" not in said


FADES = """
import sys, time
import jack, numpy as np
client = jack.Client("listener", no_start_server=True)
port = client.inports.register("in")
heard = []
client.set_process_callback(lambda frames: heard.append(port.get_array().copy()))
with client:
    print("ready", flush=True)
    linked = set()
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for p in client.get_ports("PortAudio", is_audio=True, is_output=True)[:1]:
            if p.name not in linked and p.name.endswith("out_0"):
                client.connect(p, port); linked.add(p.name)
        if linked and not client.get_ports("PortAudio"):
            break
        time.sleep(0.001)
x = np.concatenate(heard)
np.save(sys.argv[1], x)
"""


def test_a_device_fades_in_and_out(tmp_path: Path) -> None:
    """What a listener at the port hears of a constant has no step at the end: the stop is a ramp of 10 ms."""
    pytest.importorskip("jack")
    import numpy as np

    with jack():
        listener = subprocess.Popen([sys.executable, "-c", FADES, str(tmp_path / "heard.npy")], stdout=subprocess.PIPE)
        assert listener.stdout is not None
        assert listener.stdout.readline() == b"ready\n"
        playing = started("-i", "in.wav", "--loop", "-o", "system", folder=tmp_path)
        time.sleep(1.0)
        playing.send(signal.SIGTERM)
        assert playing.wait() == 143
        listener.communicate(timeout=120)
        assert listener.returncode == 0
    x = np.load(tmp_path / "heard.npy")
    level = float(x.max())
    assert level == pytest.approx(0.0625, abs=1e-6)
    last = int(np.flatnonzero(np.abs(x) > 0)[-1])
    ramp = x[last - 479 : last + 2]
    assert np.abs(np.diff(ramp)).max() <= 1.01 * level / 480
    assert ramp[0] == pytest.approx(level, rel=0.01)
