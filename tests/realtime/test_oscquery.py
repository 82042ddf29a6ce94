"""OSCQuery: what it says is taken, whom it answers, and what slow, malformed and foreign requests get."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cspace.plugins import AdaptiveEq, CSpace, Eq, Esn, Gain, Kuramoto, Limiter
from cspace.realtime import httpguard
from cspace.realtime.chain import Chain
from cspace.realtime.control import Control
from cspace.realtime.errors import CspaceError
from cspace.realtime.httpguard import known_names, name_of
from cspace.realtime.osc import OscHandler, OscServer
from cspace.realtime.oscpacket import encode
from cspace.realtime.oscquery import OscQueryServer
from tests.realtime.oscfuzz import _leaves
from tests.realtime.osctools import Ear, Live, Rig, f32, i32, msg, playing, text, until


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    chain = Chain([Eq(), Gain(), Kuramoto(), CSpace(), Esn(nodes=8), AdaptiveEq(mode="static"), Limiter()])
    with playing(chain, tmp_path) as r:
        yield r


@pytest.fixture
def server(rig: Rig) -> Iterator[OscQueryServer]:
    with OscQueryServer(rig.handler, rig.server.port) as s:
        yield s


def ask(port: int, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, Any]:
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(c):
        c.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for k, v in headers.items():
            c.putheader(k, v)
        c.endheaders()
        answer = c.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body else None


# ---- what it says is taken -------------------------------------------------------------------


def arguments(node: dict[str, Any]) -> list[tuple[str, bytes]]:
    """All that a client may send by the node's TYPE, its value as number types in every width."""
    kind, limits = node["TYPE"], node.get("RANGE", [{}])[0]
    (value,) = node.get("VALUE", [None])
    if kind in "TF":
        out = [("T", b""), ("F", b"")]
        for v in (1, 0, int(value)):
            out += [("i", i32(v)), ("f", f32(v)), ("d", struct.pack(">d", v)), ("h", struct.pack(">q", v))]
        return out
    if kind in "if":
        out = []
        # Where two have to fit together (low_hz below high_hz), only what stands is sure to.
        values = (limits["MIN"], limits["MAX"], value) if kind == "f" else (limits["MIN"], value)
        for v in (value,) if node["FULL_PATH"].startswith("/chain/cspace/") else values:
            out += [("f", f32(v)), ("d", struct.pack(">d", v))]
            if v == int(v):
                out += [("i", i32(int(v))), ("h", struct.pack(">q", int(v)))]
        return out
    if kind == "s":
        vals = limits.get("VALS")
        if vals is None:
            return [("s", text(str(value or "")))]
        numbers = [("i", i32(k)) for k in range(len(vals))] if value is not None else []
        return [("s", text(str(v))) for v in vals] + numbers
    assert kind == "N"  # an action: by nothing, nil, an impulse, or a button
    return [("", b""), ("N", b""), ("I", b""), ("T", b""), ("F", b""), ("f", f32(1.0)), ("f", f32(0.0)), ("i", i32(1))]


def test_everything_that_is_said_is_taken(rig: Rig, server: OscQueryServer) -> None:
    nodes = _leaves(ask(server.port)[1])
    assert {n["FULL_PATH"] for n in nodes} == set(rig.handler.addresses())
    sent = 0
    for node in nodes:
        if node["FULL_PATH"] == "/preset/save":
            continue
        for tags, data in arguments(node):
            replies: list[Any] = []
            rig.handler.handle(msg(node["FULL_PATH"], tags, data), lambda *r, out=replies: out.append(r))
            rig.handler._builder.wait(60)
            assert not [r for r in replies if r[0] == "/error"], (node, tags, replies)
            sent += 1
    assert sent > 300


@pytest.mark.parametrize(
    ("tags", "data", "acts"),
    [("", b"", 1), ("N", b"", 1), ("I", b"", 1), ("f", f32(1.0), 1), ("i", i32(127), 1), ("T", b"", 1),
     ("f", f32(0.0), 0), ("i", i32(0), 0), ("F", b"", 0)],
)  # fmt: skip
def test_a_button_acts_when_it_goes_down(tags: str, data: bytes, acts: int) -> None:
    panics: list[int] = []

    class Engine:
        def panic(self) -> None:
            panics.append(1)

    ear = Ear(Chain([Gain()]))
    ear.control._engine = Engine  # type: ignore[assignment]
    assert ear.say(msg("/panic", tags, data)) == []
    assert len(panics) == acts


# ---- whom it answers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "name"),
    [("127.0.0.1:80", "127.0.0.1"), ("LocalHost", "localhost"), ("[::1]:9", "::1"), ("[0:0:0:0:0:0:0:1]", "::1"),
     ("", None), (":80", None), ("a:b", None), ("[::1", None), ("[::1]x", None), ("[x]", None), ("::1", None)],
)  # fmt: skip
def test_host_headers(host: str, name: str | None) -> None:
    assert name_of(host) == name


def test_names_we_listen_on() -> None:
    own = socket.gethostname().lower()
    assert known_names("127.0.0.1", "127.0.0.1", "127.0.0.1") == {"127.0.0.1", "localhost", "::1"}
    assert known_names("192.168.1.5", "192.168.1.5", "192.168.1.5") == {"192.168.1.5"}
    assert known_names("studio.lan", "192.168.1.5", "192.168.1.5") == {"studio.lan", "192.168.1.5"}
    everywhere = known_names("0.0.0.0", "0.0.0.0", "192.168.1.5")
    assert {"192.168.1.5", own} <= everywhere
    assert "0.0.0.0" not in everywhere
    assert "127.0.0.1" not in everywhere  # it was reached by another address
    assert known_names("::", "::", "::ffff:192.168.1.5") >= {"192.168.1.5"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1"}, 200),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "[::1]:1234"}, 200),
        ({"Host": "LOCALHOST"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "0.0.0.0"}, 403),
        ({"Host": "localhost.evil.example:80"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost", "Origin": "http://localhost"}, 200),
        ({"Host": "localhost", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost:9999"}, 403),
        ({"Host": "localhost", "Origin": "https://localhost"}, 403),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_who_is_answered(server: OscQueryServer, headers: dict[str, str], status: int, method: str) -> None:
    if status == 200 and method == "POST":
        status = 405
    assert ask(server.port, "/", method, **headers)[0] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_but_reading(server: OscQueryServer, method: str) -> None:
    assert ask(server.port, "/chain/gain/gain_db?VALUE", method)[0] == 405


def test_one_host_header(server: OscQueryServer) -> None:
    for hosts in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
            s.sendall(b"GET / HTTP/1.1\r\n" + hosts + b"\r\n")
            assert s.recv(100)[:12] in (b"HTTP/1.1 400", b"HTTP/1.0 400")


def test_host_info_tells_where_we_were_reached(rig: Rig) -> None:
    with OscQueryServer(rig.handler, 9000, osc_ip="0.0.0.0", host="0.0.0.0") as s:
        for ip in ("127.0.0.1", "127.0.0.2"):
            with socket.create_connection((ip, s.port), timeout=30) as c:
                c.sendall(f"GET /?HOST_INFO HTTP/1.1\r\nHost: {ip}\r\n\r\n".encode())
                answer = b"".join(iter(lambda: c.recv(65536), b""))
            info = json.loads(answer.split(b"\r\n\r\n", 1)[1])
            assert (info["OSC_IP"], info["OSC_PORT"]) == (ip, 9000)
        assert s.url == f"http://127.0.0.1:{s.port}/"
    with OscQueryServer(rig.handler, 9000, osc_ip="10.0.0.7") as s:
        assert ask(s.port, "/?HOST_INFO")[1]["OSC_IP"] == "10.0.0.7"


def test_open_to_the_network_is_said(tmp_path: Path) -> None:
    for host, said in (("0.0.0.0", True), ("127.0.0.1", False)):
        with contextlib.closing(Live(tmp_path, '[[processor]]\ntype = "gain"\n', "--osc-host", host)) as live:
            status, info = ask(live.http, "/?HOST_INFO")
            assert status == 200
            assert info["OSC_IP"] == "127.0.0.1"
            assert live.stop() == 0
            assert ("open to the network" in live.errors.read_text()) is said


# ---- bad weather -----------------------------------------------------------------------------


def test_half_requests_are_cut_and_the_others_answered(
    rig: Rig, server: OscQueryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpguard, "LIFE_S", 1.0)
    slow = []
    for _ in range(200):
        s = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        s.sendall(b"GET / HT")
        slow.append(s)
    assert ask(server.port)[0] == 200
    assert server.counts["http_too_many"] >= 200 - httpguard.MAX_CONNECTIONS
    for s in slow:  # those that were left are cut when their time is over
        with contextlib.suppress(ConnectionError):
            assert s.recv(100) == b""
        s.close()
    assert until(lambda: server.counts["http_too_slow"] + server.counts["http_too_many"] == 200)


def test_a_request_without_end_is_cut(server: OscQueryServer) -> None:
    for head in (
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n",
    ):
        with (
            socket.create_connection(("127.0.0.1", server.port), timeout=30) as s,
            contextlib.suppress(ConnectionError),
        ):
            s.sendall(head)
            for _ in range(10_000):
                s.sendall(b"X: " + b"y" * 100 + b"\r\n")
            while s.recv(65536):
                pass
    assert until(lambda: server.counts["http_too_large"] + server.counts["http_bad_requests"] >= 2)
    assert ask(server.port)[0] == 200


def test_a_question_may_be_long_but_not_endless(server: OscQueryServer) -> None:
    few, many = 2, 5  # of 7,000 bytes each: what browsers send with many cookies is below, 35,000 bytes are not
    for fields in (few, many):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
            with contextlib.suppress(ConnectionError):
                s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
                for k in range(fields):
                    s.sendall(f"X-{k}: ".encode() + b"y" * 7_000 + b"\r\n")
                s.sendall(b"\r\n")
            answer = b""
            with contextlib.suppress(ConnectionError):
                answer = s.recv(12)
            assert answer == (b"HTTP/1.1 200" if fields == few else b"")
    assert server.counts["http_too_large"] == 1


@pytest.mark.parametrize(
    "data",
    [b"\x00" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\xff\xfe\xfd\r\n\r\n",
     b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
     b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
)  # fmt: skip
def test_malformed_requests_print_nothing(
    server: OscQueryServer, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as s:
        s.sendall(data)
        with contextlib.suppress(ConnectionError):
            assert s.recv(100)[:8] in (b"", b"HTTP/1.1", b"HTTP/1.0")
    assert ask(server.port)[0] == 200
    assert capfd.readouterr().err == ""


def test_presets_are_saved_while_connections_pile_up(tmp_path: Path) -> None:
    """1,150 half requests at a process that may open 256 files."""
    from tests.realtime.osctools import Client

    with contextlib.closing(Live(tmp_path, '[[processor]]\ntype = "gain"\n', files=256)) as live:
        held = []
        for _ in range(1_150):
            s = socket.socket()
            s.settimeout(30)
            s.connect(("127.0.0.1", live.http))
            with contextlib.suppress(ConnectionError):
                s.sendall(b"GET / HT")
            held.append(s)
        client = Client(live.osc)
        client.socket.settimeout(60)
        client.send(msg("/preset/save", "s", text("kept")))
        assert client.ping() == []
        assert until(lambda: (tmp_path / "presets" / "kept.toml").exists())
        assert live.open_files() < 200
        assert ask(live.http)[0] == 200
        client.close()
        for s in held:
            s.close()
        assert live.stop() == 0
        assert live.errors.read_text() == ""


# ---- hosts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("", ["127.0.0.1"]),
        ("0", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("::", ["127.0.0.1", "::1"]),
        ("::ffff:0.0.0.0", ["127.0.0.1"]),
        ("localhost", ["127.0.0.1"]),
        ("LocalHost", ["127.0.0.1"]),
        ("127.1", ["127.0.0.1"]),
        ("::1", ["::1"]),
    ],
)
def test_what_is_told_of_a_host_is_true(host: str, reached: list[str]) -> None:
    """The URL is answered, and at each address that HTTP is reached by, HOST_INFO tells one at which OSC is heard."""
    if ":" in host:
        try:
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as tried:
                tried.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    handler = OscHandler(Control(Chain([Gain()]), lambda: None))  # type: ignore[arg-type,return-value]
    with (
        OscServer(handler, port=0, host=host) as osc,
        OscQueryServer(handler, osc.port, host=host, osc_ip=osc.address) as http,
    ):
        with urllib.request.urlopen(http.url + "?HOST_INFO", timeout=20) as answer:
            assert json.load(answer)["OSC_PORT"] == osc.port
        for address in reached:
            shown = f"[{address}]" if ":" in address else address
            with urllib.request.urlopen(f"http://{shown}:{http.port}/?HOST_INFO", timeout=20) as answer:
                info = json.load(answer)
            assert info["OSC_IP"] == address
            family = socket.AF_INET6 if ":" in info["OSC_IP"] else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.settimeout(20)
                client.sendto(encode("/ping", []), (info["OSC_IP"], info["OSC_PORT"]))
                assert client.recv(100).startswith(b"/pong")


@pytest.mark.parametrize("host", ["no.such.host.invalid", "ä" * 70, "a b", "1.2.3.4.5", "[::1]"])
def test_a_host_that_is_none_is_told(host: str) -> None:
    handler = OscHandler(Control(Chain([Gain()]), lambda: None))  # type: ignore[arg-type,return-value]
    with pytest.raises(CspaceError, match=r"OSC cannot listen on the host .*; give an address of this machine") as e:
        OscServer(handler, port=0, host=host)
    assert "--osc-port" not in str(e.value)
    with pytest.raises(CspaceError, match="OSCQuery cannot listen on the host"):
        OscQueryServer(handler, 9000, host=host)
