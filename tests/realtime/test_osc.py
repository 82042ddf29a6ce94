"""OSC: a foreign client, time tags, bad messages, and broken packets while the stream plays."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from cspace.plugins import Eq, Gain, Kuramoto
from cspace.realtime.chain import Chain
from cspace.realtime.clock import Clock
from cspace.realtime.control import Control
from cspace.realtime.osc import FAR_S, OscHandler, OscServer, encode
from cspace.realtime.oscpacket import PacketError, parse
from cspace.realtime.oscquery import OscQueryServer
from cspace.realtime.stream import Stream
from tests.waiting import until


class Rig(NamedTuple):
    chain: Chain
    stream: Stream
    handler: OscHandler
    server: OscServer


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A stream on the null device with an OSC server."""
    chain = Chain([Eq(), Gain(), Gain()])
    with Stream(chain, input="null") as stream:
        control = Control(chain, lambda: stream.engine, presets=tmp_path / "presets", lock=stream.lock)
        clock = Clock(lambda: stream.engine.sample_time, stream.sample_rate, stream.block)
        handler = OscHandler(control, clock)
        with OscServer(handler, port=0) as server:
            yield Rig(chain, stream, handler, server)
            assert stream.running


class Client:
    """A UDP client that hears the replies."""

    def __init__(self, port: int):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(3.0)
        self.to = ("127.0.0.1", port)

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.to)

    def reply(self) -> tuple[str, list[Any]]:
        message = OscMessage(self.socket.recv(65536))
        return message.address, message.params

    def ask(self, address: str, *args: Any) -> tuple[str, list[Any]]:
        self.send(encode(address, list(args)))
        return self.reply()

    def settle(self) -> None:
        """All that was sent before has been dealt with."""
        while self.ask("/ping", 1)[0] != "/pong":
            pass


@pytest.fixture
def client(rig: Rig) -> Iterator[Client]:
    c = Client(rig.server.port)
    yield c
    c.socket.close()


def bundle(when: float, *messages: tuple[str, Any]) -> bytes:
    b = OscBundleBuilder(when)
    for address, arg in messages:
        m = OscMessageBuilder(address=address)
        m.add_arg(arg)
        b.add_content(m.build())
    return bytes(b.build().dgram)


# ---- a foreign client ------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("oscsend"), reason="needs oscsend (apt install liblo-tools)")
@pytest.mark.parametrize(
    ("args", "value"),
    [
        (["/chain/gain/gain_db", "f", "-6.5"], -6.5),
        (["/chain/gain/gain_db", "i", "-6"], -6.0),
        (["/chain/gain/gain_db", "d", "-7.25"], -7.25),
        (["/chain/gain/gain_db", "s", "loud"], 0.0),
        (["/chain/gain/gain_db", "f", "400"], 0.0),
        (["/chain/gain/gain_db"], 0.0),
        (["/chain/gian/gain_db", "f", "1"], 0.0),
    ],
)
def test_oscsend(rig: Rig, client: Client, args: list[str], value: float) -> None:
    subprocess.run(["oscsend", "127.0.0.1", str(rig.server.port), *args], check=True, timeout=60)
    until(lambda: rig.handler.counts["messages"] >= 1)
    client.settle()
    assert rig.chain["gain"].gain_db == value
    assert rig.handler.errors == (0 if value else 1)


# ---- what messages do ------------------------------------------------------------------------


def test_switches_and_stats(rig: Rig, client: Client) -> None:
    for address, arg in [("/chain/eq/bypass", True), ("/chain/gain/bypass", 1), ("/chain/gain2/bypass", 1.0)]:
        client.send(encode(address, [arg]))
    client.settle()
    assert [s.bypass for s in rig.chain.slots] == [True, True, True]
    client.send(encode("/chain/gain/bypass", [False]))
    client.send(encode("/bypass", [1]))
    client.settle()
    assert rig.handler.control.all_bypassed
    client.send(encode("/bypass", [0]))
    client.send(encode("/panic", []))
    client.settle()
    assert [s.bypass for s in rig.chain.slots] == [True, False, True]
    address, args = client.ask("/stats")
    stats = dict(zip(args[::2], args[1::2], strict=True))
    assert address == "/stats"
    assert stats["osc_errors"] == 0
    assert stats["sample_time"] > 0


def test_patterns(rig: Rig, client: Client) -> None:
    client.send(encode("/chain/gain*/gain_db", [-3.0]))
    client.send(encode("/chain/{eq,gain2}/bypass", [1]))
    client.settle()
    assert (rig.chain["gain"].gain_db, rig.chain["gain2"].gain_db) == (-3.0, -3.0)
    assert [s.bypass for s in rig.chain.slots] == [True, False, True]
    assert client.ask("/chain/x*/gain_db", 1.0)[0] == "/error"


def test_choice_by_name_and_number() -> None:
    chain = Chain([Kuramoto()])
    handler = OscHandler(Control(chain, lambda: None))  # type: ignore[arg-type,return-value]
    p = next(p for p in Kuramoto.info["params"] if p["scale"] == "choice" and not p["setup"])
    replies: list[Any] = []
    for value in (p["choices"][-1], 0, float(len(p["choices"]) - 1)):
        handler.handle(encode(f"/chain/kuramoto/{p['name']}", [value]), lambda a, r: replies.append((a, r)))
        wanted = value if isinstance(value, str) else p["choices"][int(value)]
        assert chain["kuramoto"].get_param(p["name"]) == wanted
    assert replies == []
    handler.handle(encode(f"/chain/kuramoto/{p['name']}", ["nonsense"]), lambda a, r: replies.append((a, r)))
    assert p["choices"][0] in replies[0][1][1]


def test_presets(rig: Rig, client: Client) -> None:
    rig.chain["gain"].gain_db = -9.0
    client.send(encode("/preset/save", ["soft one"]))
    client.send(encode("/chain/gain/gain_db", [0.0]))
    client.send(encode("/preset/load", ["soft one"]))
    client.settle()
    assert rig.chain["gain"].gain_db == -9.0
    assert rig.handler.errors == 0


OUTSIDE = ["../evil", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "x" * 300]


@pytest.mark.parametrize(
    ("verb", "name"), [*((v, n) for v in ("load", "save") for n in OUTSIDE), ("load", "none"), ("load", "soft.toml")]
)
def test_preset_names_stay_in_the_folder(rig: Rig, client: Client, tmp_path: Path, verb: str, name: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert client.ask(f"/preset/{verb}", name)[0] == "/error"
    assert sorted(tmp_path.rglob("*")) == before


# ---- bad messages ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "args", "kind", "words"),
    [
        ("/chain/gain/gain_db", ["loud"], "wrong_type", "takes a number, not a string"),
        ("/chain/gain/gain_db", [True], "wrong_type", "takes a number"),
        ("/chain/gain/gain_db", [], "wrong_count", "one argument, not 0"),
        ("/chain/gain/gain_db", [1.0, 2.0], "wrong_count", "not 2"),
        ("/chain/gain/gain_db", [24.5], "out_of_range", "-120 to 24 dB"),
        ("/chain/gain/gain_db", [float("nan")], "out_of_range", "nan"),
        ("/chain/gain/gain_db", [float("-inf")], "out_of_range", "inf"),
        ("/chain/gain/gain", [1.0], "unknown_address", "/chain/gain/gain_db"),
        ("/chian/gain/gain_db", [1.0], "unknown_address", "/chain/gain/gain_db"),
        ("/chain/gain/bypass", [2], "out_of_range", "use 0 or 1"),
        ("/chain/gain/bypass", ["on"], "wrong_type", "not a string"),
        ("/bypass", ["x"], "wrong_type", "not a string"),
        ("/preset/load", [3], "wrong_type", "takes a name"),
        ("/panic", ["now"], "wrong_type", "not a string"),
        ("/panic", [1, 1], "wrong_count", "no arguments"),
        ("/", [], "unknown_address", "no such address"),
    ],
)
def test_bad_messages(rig: Rig, client: Client, address: str, args: list[Any], kind: str, words: str) -> None:
    reply, (at, reason) = client.ask(address, *args)
    assert (reply, at) == ("/error", address)
    assert words in reason
    assert rig.handler.counts[kind] == rig.handler.errors == 1
    assert rig.chain["gain"].gain_db == 0.0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"\x00" * 4,
        b"/abc",
        b"#bundle\x00",
        b"#bundle\x00" + b"\x00" * 7 + b"\x01" + b"\xff\xff\xff\xfc",  # size -4: python-osc would loop for ever
        b"#bundle\x00" + b"\x00" * 7 + b"\x01" + b"\x7f\xff\xff\xfc",
        b"/a\x00\x00,Z\x00\x00",
        b"/a\x00\x00,i\x00\x00",
        b"/a\x00\x00f\x00\x00\x00",
        b"/\xff\x00\x00,i\x00\x00\x00\x00\x00\x01",
        b"/a\x00\x00,[[\x00",
        b"/a\x00\x00,b\x00\x00\xff\xff\xff\x00",
    ],
)
def test_unreadable(rig: Rig, data: bytes) -> None:
    replies: list[Any] = []
    rig.handler.handle(data, lambda a, r: replies.append(a))
    assert replies == ["/error"]
    assert rig.handler.errors == 1


def test_deep_bundles_end() -> None:
    data = encode("/ping", [])
    for _ in range(2000):
        data = b"#bundle\x00" + b"\x00" * 7 + b"\x01" + len(data).to_bytes(4, "big") + data
    (error,) = parse(data)
    assert isinstance(error, PacketError)


def test_a_bad_element_does_not_spoil_its_bundle(rig: Rig, client: Client) -> None:
    client.send(bundle(IMMEDIATELY, ("/chain/gain/gain_db", -1.0), ("/nothing", 1.0), ("/chain/gain2/gain_db", -2.0)))
    assert client.reply()[0] == "/error"
    client.settle()
    assert (rig.chain["gain"].gain_db, rig.chain["gain2"].gain_db) == (-1.0, -2.0)


# ---- time tags -------------------------------------------------------------------------------


class Recorder:
    """Stands for the engine: notes what is set when."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.calls: list[tuple[str, str, float, int | None]] = []

    def handler(self) -> OscHandler:
        chain = Chain([Gain(), Gain()])
        control = Control(chain, lambda: None)  # type: ignore[arg-type,return-value]

        def note(processor: str, name: str, value: Any, *, time: int | None = None) -> None:
            self.calls.append((processor, name, value, time))

        control.set = note  # type: ignore[method-assign]
        clock = Clock(lambda: round((self.now - 999_990.0) * 48_000) // 64 * 64, 48_000, 64, lambda: self.now)
        return OscHandler(control, clock)


def test_time_tags_become_samples() -> None:
    r = Recorder()
    h = r.handler()
    replies: list[Any] = []

    def send(address: str, args: list[Any]) -> None:
        replies.append((address, args))

    for k in range(200):  # the clock is read at any time within a block, also late
        r.now = 1_000_000.0 + k * 0.01037
        h.run_due()
    t = r.now
    h.handle(bundle(t + 0.1, ("/chain/gain/gain_db", -1.0), ("/chain/gain2/gain_db", -2.0)), send)
    h.handle(bundle(t + 0.2, ("/chain/gain/gain_db", -3.0)), send)
    assert [c[:3] for c in r.calls] == [("gain", "gain_db", -1), ("gain2", "gain_db", -2), ("gain", "gain_db", -3)]
    times = [c[3] for c in r.calls]
    assert times[0] == times[1]
    assert times[2] is not None
    assert times[0] is not None
    assert times[2] - times[0] == 4800
    assert abs(times[0] - (t + 0.1 - 999_990.0) * 48_000) <= 64 + 1
    r.calls.clear()
    h.handle(bundle(t + 30, ("/chain/gain/gain_db", -4.0)), send)
    h.handle(bundle(t + 29, ("/chain/gain/gain_db", -5.0)), send)
    assert r.calls == []
    r.now = t + 28.6
    h.run_due()
    assert [c[2] for c in r.calls] == [-5.0]
    h.handle(bundle(r.now - 1.0, ("/chain/gain/gain_db", -6.0)), send)
    assert r.calls[-1][2:] == (-6.0, None)
    assert h.counts["late"] == 1
    assert replies == []
    h.handle(bundle(r.now + FAR_S + 1, ("/chain/gain/gain_db", -6.0)), send)
    h.handle(bundle(r.now + 1, ("/chain/gain/gain_db", 600.0)), send)  # checked when it comes, not when due
    assert [a for a, _ in replies] == ["/error", "/error"]
    assert (h.counts["far_future"], h.counts["out_of_range"]) == (1, 1)


def test_what_has_no_sample_holds_up_nothing_that_has() -> None:
    """A parameter goes to the engine half a second ahead, also where a bypass or ping waits for the same time."""
    r = Recorder()
    h = r.handler()
    t = r.now + 2.0
    for k in range(5):
        at = t + 0.2 * k
        h.handle(
            bundle(at, ("/chain/gain2/bypass", 0), ("/chain/gain/gain_db", -1.0 - k), ("/ping", 1)), lambda *_: None
        )
    for k in range(5):
        r.now = t + 0.2 * k - 0.45
        h.run_due()
        assert [c[2] for c in r.calls] == [-1.0 - i for i in range(k + 1)]
    assert all(c[3] is not None for c in r.calls)


def test_bundle_moves_the_sound_at_its_sample(tmp_path: Path) -> None:
    import soundfile as sf

    rate, seconds = 48_000, 3.0
    sf.write(tmp_path / "in.wav", np.ones((int(rate * seconds), 1), np.float32) * 0.25, rate, subtype="FLOAT")
    chain = Chain([Gain()])
    with Stream(chain, input=tmp_path / "in.wav", output=tmp_path / "out.wav", channels=1) as stream:
        clock = Clock(lambda: stream.engine.sample_time, stream.sample_rate, stream.block)
        handler = OscHandler(Control(chain, lambda: stream.engine), clock)
        time.sleep(0.5)
        # In one packet and all within the half second that is handed to the engine at once, so that a
        # stall of a busy machine cannot come between them.
        start = time.time() + 0.28
        inner = [bundle(start + 0.1 * k, ("/chain/gain/gain_db", -6.0 * (k + 1))) for k in range(3)]
        head = b"#bundle\x00" + b"\x00" * 7 + b"\x01"
        handler.handle(head + b"".join(len(b).to_bytes(4, "big") + b for b in inner), lambda *_: None)
        stream.wait(20)
    y, _ = sf.read(tmp_path / "out.wav", dtype="float32")
    moving = np.diff(y) != 0
    begins = np.flatnonzero(moving & ~np.roll(moving, 1))
    assert len(begins) == 3
    assert np.diff(begins).tolist() == [4_800, 4_800]


def test_change_arrives_within_one_block(tmp_path: Path) -> None:
    """From a packet that arrived to the first changed sample."""
    import soundfile as sf

    rate = 48_000
    sf.write(tmp_path / "in.wav", np.full((4 * rate, 1), 0.25, np.float32), rate, subtype="FLOAT")
    chain = Chain([Gain()])
    arrivals = []
    with Stream(chain, input=tmp_path / "in.wav", output=tmp_path / "out.wav", channels=1) as stream:
        handler = OscHandler(Control(chain, lambda: stream.engine))
        handle = handler.handle

        def timed(data: bytes, send: Any) -> None:
            before = stream.engine.sample_time
            handle(data, send)
            arrivals.append((before, stream.engine.sample_time))

        handler.handle = timed  # type: ignore[method-assign]
        with OscServer(handler, port=0) as server:
            c = Client(server.port)
            for k in range(20):
                time.sleep(0.1)
                c.send(encode("/chain/gain/gain_db", [-1.0 - k]))
            stream.wait(20)
            c.socket.close()
        block = stream.block
    y, _ = sf.read(tmp_path / "out.wav", dtype="float32")
    moving = np.diff(y) != 0
    begins = np.flatnonzero(moving & ~np.roll(moving, 1)) + 1
    assert len(begins) == len(arrivals) == 20
    for (before, after), begin in zip(arrivals, begins, strict=True):
        # `sample_time` counts whole blocks: the next block to begin is at most one further.
        assert before <= begin <= after + block + 1


# ---- broken packets --------------------------------------------------------------------------

N_PACKETS = 20_000
N_SOCKET = 2_000


def seeds() -> list[bytes]:
    return [
        encode("/chain/gain/gain_db", [-6.0]),
        encode("/chain/gain2/gain_db", [3]),
        encode("/chain/eq/low_gain_db", [1.5]),
        encode("/chain/eq/bypass", [True]),
        encode("/bypass", [0]),
        encode("/preset/load", ["abc"]),
        encode("/panic", []),
        encode("/stats", []),
        encode("/ping", [1, 2.0, "three", True]),
        encode("/chain/*/gain_db", [0.0]),
        bundle(IMMEDIATELY, ("/chain/gain/gain_db", -1.0), ("/chain/eq/low_gain_db", 2.0)),
        bundle(time.time() + 0.05, ("/chain/gain/gain_db", -1.0)),
    ]


def mutant(rng: random.Random, base: list[bytes]) -> bytes:
    how = rng.random()
    if how < 0.2:
        head = rng.choice([b"", b"/", b"#bundle\x00", b"/chain/", b"/a\x00\x00,"])
        return head + rng.randbytes(rng.randrange(0, 200))
    data = bytearray(rng.choice(base))
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif kind == 1 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[at : at + rng.choice([1, 4, 8])]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.choice([1, 4, 8]))
        else:
            data[at:at] = rng.choice(base)
    return bytes(data)


@pytest.mark.timeout(300)
def test_broken_packets(rig: Rig, client: Client) -> None:
    rng = random.Random(7)
    base = seeds()
    handler = rig.handler
    bad = answered = 0
    began = rig.stream.engine.sample_time

    def send(address: str, args: list[Any]) -> None:
        nonlocal answered
        answered += address == "/error"

    for _ in range(N_PACKETS - N_SOCKET):
        data = mutant(rng, base)
        before, heard = handler.errors, answered
        handler.handle(data, send)
        assert handler.errors - before == answered - heard  # each bad one is counted and answered
        bad += handler.errors - before
    assert bad > 0.5 * N_PACKETS
    handler._schedule.clear()

    # The rest through the socket, in bursts, replies counted.
    before, heard = handler.errors, 0
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    for burst in range(N_SOCKET // 100):
        for _ in range(100):
            client.send(mutant(rng, base))
        client.send(encode("/ping", ["end", burst]))
        while True:
            address, args = client.reply()
            heard += address == "/error"
            if (address, args) == ("/pong", ["end", burst]):
                break
    assert heard + handler.counts["replies_held_back"] == handler.errors - before
    assert handler.counts["packets"] == N_PACKETS + N_SOCKET // 100

    # The stream played on, and the remote control still works.
    assert rig.stream.engine.sample_time > began
    assert rig.stream.stats()["engine"]["panics"] == 0
    client.send(encode("/chain/gain/gain_db", [-17.0]))
    client.settle()
    assert rig.chain["gain"].gain_db == -17.0
    played = rig.stream.engine.sample_time
    until(lambda: rig.stream.engine.sample_time - played > 0.1 * 48_000)


# ---- OSCQuery --------------------------------------------------------------------------------


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("application/json")
        return json.load(answer)


def test_oscquery(rig: Rig) -> None:
    with OscQueryServer(rig.handler, rig.server.port) as server:
        tree = get(server.port, "/")
        assert set(tree["CONTENTS"]) == {"chain", "preset", "bypass", "panic", "stats", "ping"}

        def walk(node: dict[str, Any], path: str) -> Iterator[dict[str, Any]]:
            assert node["FULL_PATH"] == (path or "/")
            assert {"ACCESS", "DESCRIPTION"} <= set(node)
            for name, child in node.get("CONTENTS", {}).items():
                yield from walk(child, f"{path}/{name}")
            if "CONTENTS" not in node:
                yield node

        leaves = {n["FULL_PATH"]: n for n in walk(tree, "")}
        assert set(leaves) == set(rig.handler.addresses())
        gain = leaves["/chain/gain/gain_db"]
        assert gain["TYPE"] == "f"
        assert gain["RANGE"] == [{"MIN": -120.0, "MAX": 24.0}]
        rig.chain["gain"].gain_db = -4.0
        assert get(server.port, "/chain/gain/gain_db?VALUE") == {"VALUE": [-4.0]}
        assert get(server.port, "/chain/gain")["CONTENTS"]["gain_db"]["VALUE"] == [-4.0]
        assert get(server.port, "/?HOST_INFO")["OSC_PORT"] == rig.server.port
        for path, code in [("/nothing", 404), ("/../../etc/passwd", 404), ("/?FILE", 400)]:
            with pytest.raises(urllib.error.HTTPError) as e:
                get(server.port, path)
            assert e.value.code == code
            e.value.close()
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}/", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError) as e:
            urllib.request.urlopen(request, timeout=60)
        assert e.value.code == 403
        e.value.close()


def test_port_taken(rig: Rig) -> None:
    from cspace.realtime.errors import CspaceError

    with pytest.raises(CspaceError, match=f"127.0.0.1:{rig.server.port}.*--osc-port"):
        OscServer(rig.handler, port=rig.server.port)
    with pytest.raises(CspaceError, match="--osc-port"):
        OscServer(rig.handler, port=99_999)
