"""Packets and requests as an attacker would send them: right ones of the live tree, bent in one place or several."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import struct
import time
import urllib.request
from typing import Any

from tests.realtime.osctools import Client, bundle, f32, i32, msg, text

CHAIN = '[[processor]]\ntype = "eq"\n[[processor]]\ntype = "gain"\n[[processor]]\ntype = "kuramoto"\n'
CHAIN += '[[processor]]\ntype = "limiter"\n'
REPLIES = ("/error", "/pong", "/stats", "/stats/chain/gain", "/error/x")
NAMES = ("a", "b one", "c.2", "../x", "/etc/passwd", "..", "a/b", "x" * 70, "", "a\\b", "con", "a\n", "ä", ".hidden")


def leaves(http: int) -> list[dict[str, Any]]:
    """The nodes of the live tree that can be written to."""
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/", timeout=30) as answer:
        return _leaves(json.load(answer))


def _leaves(node: dict[str, Any]) -> list[dict[str, Any]]:
    if "CONTENTS" not in node:
        return [node]
    return [leaf for child in node["CONTENTS"].values() for leaf in _leaves(child)]


class OscFuzz:
    """Makes packets.

    Parameters
    ----------
    rng : the same one makes the same packets
    nodes : the live tree, see `leaves`
    """

    def __init__(self, rng: random.Random, nodes: list[dict[str, Any]]):
        self.rng = rng
        self.nodes = nodes

    def packet(self) -> bytes:
        rng, kind = self.rng, self.rng.random()
        if kind < 0.06:
            return rng.randbytes(rng.randrange(0, 300))
        data = self._bundle(0) if kind < 0.25 else self._message()
        for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 5])):
            data = self._bent(data)
        return data

    def _bundle(self, depth: int) -> bytes:
        rng = self.rng
        ahead = rng.choice([None, None, -1e9, -5.0, -0.01, 0.005, 0.05, 0.3, 2.0, 59.0, 61.0, 1e6])
        when = None if ahead is None else max(-2e9, min(2e9, time.time() + ahead))
        n = rng.choice([0, 1, 1, 2, 3, 8])
        deeper = rng.random() < 0.3 and depth < 12
        return bundle(when, *(self._bundle(depth + 1) if deeper else self._message() for _ in range(n)))

    def _message(self) -> bytes:
        rng = self.rng
        kind = rng.random()
        if kind < 0.08:  # an answer of another host, maybe forged
            return msg(rng.choice(REPLIES), "ss", text("/x") + text("why"))
        if kind < 0.16:
            address = rng.choice(
                ["/accxyz", "/1/fader1", "/chain", "/chain/nobody/wet", "/preset", "//", "/" + "x" * 400]
            )
            return msg(address, "f", f32(rng.random()))
        if kind < 0.22:
            verb = rng.choice(["load", "save"])
            return msg(f"/preset/{verb}", "s", text(rng.choice(NAMES)))
        node = rng.choice(self.nodes)
        address = str(node["FULL_PATH"])
        if kind > 0.8:
            address = self._pattern(address)
        if kind < 0.7:
            return msg(address, *self._right(node))
        tags, data = "", b""
        for _ in range(rng.choice([0, 1, 1, 2, 6])):
            t, d = self._any()
            tags, data = tags + t, data + d
        return msg(address, tags, data)

    def _right(self, node: dict[str, Any]) -> tuple[str, bytes]:
        """An argument that the node takes, or one just beside its range."""
        rng, kind = self.rng, node["TYPE"]
        ranges = node.get("RANGE", [{}])[0]
        low, high = ranges.get("MIN", 0.0), ranges.get("MAX", 1.0)
        if kind == "i":
            return "i", i32(rng.randint(int(low) - 1, min(int(high), int(low) + 64)))
        if kind == "f":
            return "f", f32(rng.choice([low, high, rng.uniform(low, high), high * 1.01 + 0.1]))
        if kind == "s" and ranges.get("VALS"):
            return "s", text(str(rng.choice(ranges["VALS"])))
        if kind in "TFNI":
            return rng.choice("TFNI"), b""
        return "s", text("word")

    def _any(self) -> tuple[str, bytes]:
        rng = self.rng
        return rng.choice(
            [
                ("i", i32(rng.choice([0, 1, -1, 2**31 - 1, -(2**31)]))),
                ("f", f32(rng.choice([0.0, 1.0, float("nan"), float("inf"), -1e38, 1e-40]))),
                ("d", struct.pack(">d", rng.choice([0.5, float("nan"), 1e300]))),
                ("h", struct.pack(">q", rng.choice([0, 2**63 - 1]))),
                ("s", text(rng.choice(["", "on", "x" * 500]))),
                ("b", i32(4) + b"blob"),
                ("b", i32(rng.choice([-1, 2**31 - 1, 5]))),
                ("t", b"\0" * 8),
                ("m", b"\0\x90\x40\x7f"),
                ("c", i32(rng.choice([65, 2**31 - 1]))),
                ("[f]", f32(1.0)),
                ("[[", b""),
                ("]", b""),
                ("T", b""),
                ("N", b""),
                ("I", b""),
                ("Z", b""),
            ]
        )

    def _pattern(self, address: str) -> str:
        rng = self.rng
        parts = address.split("/")
        at = rng.randrange(1, len(parts))
        part = parts[at]
        parts[at] = rng.choice(
            ["*", "?" * len(part), part[:1] + "*", "{" + part + ",x}", "[!z]" + part[1:], "[a-z]" + part[1:],
             "{" + part, part + "]", "[" + part, "*a*a*a*a*a*b", "{a,aa}" * 20, "[z-a]", "{,}" + part, "*" * 100]
        )  # fmt: skip
        return "/".join(parts)

    def _bent(self, data: bytes) -> bytes:
        rng = self.rng
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            return data[:at]
        if kind == 1:
            return data[: at // 4 * 4]
        if kind == 2:
            return data[:at] + rng.randbytes(4) + data[at + 4 :]
        if kind == 3:
            return data[:at] + data[at + rng.choice([1, 4, 8]) :]
        if kind == 4:
            return data[:at] + struct.pack(">i", rng.choice([-4, 0, 3, 2**31 - 4])) + data[at + 4 :]
        return data + rng.choice([b"\0" * 4, b"\0", data])


def attack_osc(port: int, nodes: list[dict[str, Any]], packets: int, seed: int, burst: int = 40) -> list[float]:
    """Sends packets from several senders in bursts; returns the times in s of a /ping after each burst, by another.

    A ping that was lost (bursts may overrun the socket's buffer) is sent again and counts from the first.
    """
    rng = random.Random(seed)
    fuzz = OscFuzz(rng, nodes)
    senders = [Client(port) for _ in range(8)]
    pinger = Client(port)
    pinger.socket.settimeout(1.0)
    times = []
    for sender in senders:
        sender.socket.setblocking(False)
    for k in range(0, packets, burst):
        for _ in range(min(burst, packets - k)):
            with contextlib.suppress(BlockingIOError, OSError):
                rng.choice(senders).send(fuzz.packet())
        times.append(ping(pinger))
        for sender in senders:
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.socket.recv(65536)
    for c in (*senders, pinger):
        c.close()
    return times


def ping(client: Client, timeout_s: float = 60.0) -> float:
    """Seconds until /ping is answered."""
    began = time.perf_counter()
    while time.perf_counter() - began < timeout_s:
        client.send(msg("/ping", "d", struct.pack(">d", began)))
        with contextlib.suppress(TimeoutError):
            while client.reply() != ("/pong", [began]):
                pass
            return time.perf_counter() - began
    raise AssertionError(f"/ping was not answered within {timeout_s} s")


# ---- HTTP ------------------------------------------------------------------------------------

_METHODS = [
    b"GET",
    b"GET",
    b"GET",
    b"HEAD",
    b"POST",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"CONNECT",
    b"TRACE",
    b"get",
    b"G\0T",
    b"",
]
_HOSTS = [
    b"127.0.0.1",
    b"localhost",
    b"[::1]",
    b"evil.example",
    b"",
    b"127.0.0.1:99999999",
    b"[::1",
    b"\xff\xfe",
    b"a" * 300,
]
_ENDS = [b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\0"]


def _header(rng: random.Random) -> bytes:
    return rng.choice(
        [
            b"Origin: http://evil.example",
            b"Content-Length: 99999999999",
            b"Content-Length: -1",
            b"Transfer-Encoding: chunked",
            b"Expect: 100-continue",
            b"Upgrade: websocket",
            b"Connection: keep-alive",
            b"Accept-Encoding: gzip, \xff",
            b"X: " + b"y" * rng.choice([10, 9000]),
            b": no name",
            b"no colon",
            b" folded",
            rng.randbytes(20),
        ]
    )


def request(rng: random.Random, paths: list[str]) -> bytes:
    """One request, right or wrong; sometimes several at once, or a part of one."""
    path = rng.choice(
        [*paths, "/", "*", "http://evil/", "/%00", "/%ff%fe", "/" + "a" * 9000, "/../../etc/passwd", "/\xe4"]
    )
    query = rng.choice(["", "", "?VALUE", "?HOST_INFO", "?FILE", "?TYPE", "?" + "&" * 500, "?%", "?VALUE=1#x"])
    version = rng.choice([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9.9", b"", b"HTTP/1.1 HTTP/1.1"])
    end = rng.choice(_ENDS)
    head = [rng.choice(_METHODS) + b" " + (path + query).encode("latin-1") + b" " + version]
    head += [b"Host: " + rng.choice(_HOSTS) for _ in range(rng.choice([0, 1, 1, 1, 2]))]
    head += [_header(rng) for _ in range(rng.choice([0, 0, 1, 3, 200]))]
    data = end.join([*head, b"", b""]) + rng.choice([b"", b"", b"body", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffff\r\n"])
    if rng.random() < 0.2:
        data *= rng.choice([2, 10])  # one behind the other
    if rng.random() < 0.2:
        data = data[: rng.randrange(len(data) + 1)]
    if rng.random() < 0.1:
        data = rng.randbytes(rng.randrange(1, 2000))
    return data


def attack_http(port: int, paths: list[str], requests: int, seed: int) -> int:
    """Sends requests on connections of their own, dozens open at once; returns how many were answered."""
    rng = random.Random(seed)
    answered = 0
    waiting: list[socket.socket] = []
    for _ in range(requests):
        s = socket.socket()
        with contextlib.suppress(OSError):
            s.bind((f"127.0.0.{rng.randrange(1, 60)}", 0))
        s.settimeout(10.0)
        with contextlib.suppress(OSError):
            s.connect(("127.0.0.1", port))
            s.sendall(request(rng, paths))
        waiting.append(s)
        if len(waiting) >= rng.choice([1, 4, 40, 90]):
            for old in waiting:
                old.settimeout(rng.choice([0.0, 0.002, 0.05]))
                with contextlib.suppress(OSError):
                    answered += old.recv(65536).startswith(b"HTTP/1.")
                old.close()
            waiting.clear()
    for old in waiting:
        old.close()
    return answered
