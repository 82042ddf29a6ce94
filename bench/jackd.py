"""A JACK server of one's own on the dummy driver, for benchmarks and tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def realtime_allowed() -> bool:
    """Whether this process may have threads with real-time priority, as a studio machine allows."""
    try:
        before = os.sched_getscheduler(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        os.sched_setscheduler(0, before, os.sched_param(0))
    except (OSError, AttributeError):
        return False
    return True


class Server:
    """`jackd -d dummy` under a name of its own, for this process and its children.

    With real-time priority where that is allowed: JACK gives it to the audio threads of its clients
    too, so that other programs on a busy machine do not take their turns.
    """

    def __init__(self, purpose: str, period: int, rate: int = 48_000):
        # JACK knows eight names in all and forgets none whose server was killed: one per checkout.
        self.name = f"cspace-{zlib.crc32(str(Path(__file__).resolve()).encode()):08x}-{purpose}"
        self.period, self.rate = period, rate
        self.realtime = realtime_allowed()
        os.environ["JACK_DEFAULT_SERVER"] = self.name
        os.environ["JACK_NO_START_SERVER"] = "1"
        os.environ["JACK_NO_AUDIO_RESERVATION"] = "1"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        if self._try_start():
            return
        if subprocess.run(["pgrep", "-x", "jackd"], stdout=subprocess.DEVNULL, check=False).returncode != 0:
            # No server lives, so whatever the registry lists is dead and only takes up room.
            with contextlib.suppress(OSError):
                Path("/dev/shm/jack-shm-registry").unlink()
            if self._try_start():
                return
        raise RuntimeError("jackd does not start")

    def _try_start(self) -> bool:
        priority = ["-R", "-P", "70"] if self.realtime else ["-r"]
        self._process = subprocess.Popen(
            ["jackd", "-n", self.name, *priority, "-d", "dummy", "-r", str(self.rate), "-p", str(self.period)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(50):
            time.sleep(0.1)
            listed = subprocess.run(["jack_lsp"], capture_output=True, timeout=10, check=False)
            if b"system:playback_1" in listed.stdout:
                return True
            if self._process.poll() is not None:
                break
        self.kill()
        return False

    def stop(self) -> None:
        """Ends it in peace."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """Kills it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def server(purpose: str, period: int, rate: int = 48_000) -> Iterator[Server]:
    """A running server, gone at the end."""
    s = Server(purpose, period, rate)
    s.start()
    try:
        yield s
    finally:
        s.stop()


def available() -> bool:
    """Whether the JACK programs are installed."""
    return shutil.which("jackd") is not None and shutil.which("jack_lsp") is not None
