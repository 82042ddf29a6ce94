"""For tests of OSC: an encoder of our own, a client, a playing rig, and `cspace live` as a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pythonosc.osc_message import OscMessage

from cspace.realtime.chain import Chain
from cspace.realtime.clock import Clock
from cspace.realtime.control import Control
from cspace.realtime.osc import OscHandler, OscServer
from cspace.realtime.stream import Stream

NTP = 2_208_988_800


def text(s: str) -> bytes:
    """An OSC string."""
    b = s.encode() + b"\0"
    return b + b"\0" * (-len(b) % 4)


def msg(address: str, tags: str | None = "", data: bytes = b"") -> bytes:
    """A message with these type tags and this for their data; None leaves the tags out."""
    return text(address) + (b"" if tags is None else text("," + tags)) + data


def f32(x: float) -> bytes:
    return struct.pack(">f", x)


def i32(x: int) -> bytes:
    return struct.pack(">i", x)


def bundle(when: float | None, *elements: bytes) -> bytes:
    stamp = 1 if when is None else int((when + NTP) * 2**32)
    return b"#bundle\0" + struct.pack(">Q", stamp) + b"".join(struct.pack(">i", len(e)) + e for e in elements)


class Client:
    """A UDP client that hears the replies."""

    def __init__(self, port: int):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(10.0)
        self.to = ("127.0.0.1", port)
        self._pings = 0

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.to)

    def reply(self) -> tuple[str, list[Any]]:
        m = OscMessage(self.socket.recv(65536))
        return m.address, m.params

    def ask(self, data: bytes) -> tuple[str, list[Any]]:
        self.send(data)
        return self.reply()

    def ping(self) -> list[tuple[str, list[Any]]]:
        """All that was sent before has been read; returns what was answered until then."""
        self._pings += 1
        self.send(msg("/ping", "i", i32(self._pings)))
        heard = []
        while (r := self.reply()) != ("/pong", [self._pings]):
            heard.append(r)
        return heard

    def stats(self) -> dict[str, float]:
        self.send(msg("/stats"))
        while (r := self.reply())[0] != "/stats":
            pass
        return dict(zip(r[1][::2], r[1][1::2], strict=True))

    def close(self) -> None:
        self.socket.close()


class Rig(NamedTuple):
    chain: Chain
    stream: Stream
    control: Control
    handler: OscHandler
    server: OscServer
    client: Client
    presets: Path


@contextlib.contextmanager
def playing(chain: Chain, folder: Path) -> Iterator[Rig]:
    """The chain on the null device with an OSC server and a client."""
    with Stream(chain, input="null") as stream:
        presets = folder / "presets"
        format = lambda: (stream.sample_rate, stream.channels)  # noqa: E731
        control = Control(chain, lambda: stream.engine, presets=presets, lock=stream.lock, format=format)
        clock = Clock(lambda: stream.engine.sample_time, stream.sample_rate, stream.block)
        handler = OscHandler(control, clock)
        with OscServer(handler, port=0) as server, contextlib.closing(Client(server.port)) as client:
            yield Rig(chain, stream, control, handler, server, client, presets)
            assert stream.running
            assert handler.counts["defects"] == 0


class Ear:
    """A handler without a socket, and what it answered."""

    def __init__(self, chain: Chain, **kwargs: Any):
        self.control = Control(chain, lambda: None, **kwargs)  # type: ignore[arg-type,return-value]
        self.handler = OscHandler(self.control)

    def say(self, data: bytes) -> list[tuple[str, list[Any]]]:
        out: list[tuple[str, list[Any]]] = []
        self.handler.handle(data, lambda address, args: out.append((address, args)))
        self.handler._builder.wait(60)
        return out


class Live:
    """`cspace live` in a process of its own."""

    def __init__(self, folder: Path, chain: str, *args: str, files: int | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "chain.toml").write_text(chain)
        self.errors = folder / "stderr.txt"
        limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files})); " if files else ""
        code = f"{limit}import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        code += "from cspace.cli import main; main()"
        command = [sys.executable, "-c", code, "live", "chain.toml", "--input", "null", "--osc-port", "0", "--no-view"]
        with open(self.errors, "wb") as err:
            self.process = subprocess.Popen(
                [*command, *args], cwd=folder, stdout=subprocess.PIPE, stderr=err, env=dict(os.environ)
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        found = re.search(r"OSC on \S+:(\d+), OSCQuery on http://\S+:(\d+)/", line)
        assert found, line + self.errors.read_text()
        self.osc, self.http = int(found[1]), int(found[2])

    def rss_mb(self) -> float:
        return int(re.search(r"VmRSS:\s+(\d+)", self._proc("status"))[1]) / 1024  # type: ignore[index]

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def _proc(self, what: str) -> str:
        return Path(f"/proc/{self.process.pid}/{what}").read_text()

    def stop(self) -> int:
        """Ctrl-C, and what it left with."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self.close()
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def until(true: Any, timeout_s: float = 30.0) -> bool:
    """Waits until `true()`; what it was at last."""
    end = time.monotonic() + timeout_s
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(true())
