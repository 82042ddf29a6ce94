"""OSC while something is built, floods, forged senders, processors that are gone: what is answered, and what is not."""

from __future__ import annotations

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cspace import _native
from cspace.plugins import Eq, Esn, Gain, Limiter
from cspace.plugins._base import NativePlugin
from cspace.realtime.chain import Chain
from cspace.realtime.control import Control
from cspace.realtime.osc import OscHandler, OscServer
from cspace.realtime.oscmap import AddressMap
from cspace.realtime.oscquery import OscQueryServer
from cspace.realtime.oscserver import ANSWERS, ERRORS, STATS
from cspace.realtime.ratelimit import Bucket, Buckets
from cspace.realtime.view import summary
from tests.realtime.oscfuzz import ping
from tests.realtime.osctools import Client, Ear, Rig, f32, i32, msg, playing, text, until


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with playing(Chain([Esn(nodes=8), Gain(), Limiter()]), tmp_path) as r:
        yield r


class Held:
    """Rebuilds of the ESN wait until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.go = threading.Event()
        self.began = threading.Event()
        self.built: list[int] = []
        rebuild = NativePlugin._rebuild

        def held(plugin: NativePlugin, taken: Any = None) -> None:
            self.began.set()
            assert self.go.wait(60)
            rebuild(plugin, taken)
            self.built.append(int(plugin.get_param("nodes")))

        monkeypatch.setattr(Esn, "_rebuild", held)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    h = Held(monkeypatch)
    yield h
    h.go.set()


def test_everything_else_goes_on_while_a_processor_is_built(rig: Rig, held: Held) -> None:
    c = rig.client
    c.send(msg("/chain/esn/nodes", "i", i32(200)))
    assert held.began.wait(60)
    c.send(msg("/chain/gain/gain_db", "f", f32(-7.0)))
    c.send(msg("/chain/gain/bypass", "T"))
    c.send(msg("/chain/esn/wet", "f", f32(0.25)))  # a parameter of the very processor
    c.send(msg("/panic"))
    assert c.ping() == []
    assert c.ask(msg("/chain/gain/gain_db", "f", f32(99.0)))[0] == "/error"
    assert c.stats()["osc_errors"] == 1
    with OscQueryServer(rig.handler, rig.server.port) as http, urllib.request.urlopen(http.url, timeout=60) as answer:
        tree = json.load(answer)["CONTENTS"]["chain"]["CONTENTS"]
    assert tree["gain"]["CONTENTS"]["gain_db"]["VALUE"] == [-7.0]
    assert rig.chain.slot("gain").bypass
    assert held.built == []  # all of that was before it was done
    assert rig.stream.lock.acquire(timeout=10)  # so the stream can be closed too
    rig.stream.lock.release()
    held.go.set()
    assert until(lambda: rig.handler._builder.idle)
    # What was set meanwhile has reached the processor that was built, too.
    engine = rig.stream.engine
    esn = rig.chain.slots[0]
    assert held.built == [200]
    assert engine.get(rig.stream.link.id_of(esn), "wet") == pytest.approx(0.25)
    assert rig.chain["esn"].wet == pytest.approx(0.25)


def test_a_fader_builds_for_where_it_stands(rig: Rig, held: Held) -> None:
    for nodes in range(9, 60):
        rig.client.send(msg("/chain/esn/nodes", "i", i32(nodes)))
    assert rig.client.ping() == []
    held.go.set()
    assert until(lambda: rig.handler._builder.idle)
    assert held.built[-1] == rig.chain["esn"].nodes == 59
    assert len(held.built) <= 3  # the first, the last, and at most one that was between them


def test_order_is_kept_over_presets(rig: Rig, held: Held) -> None:
    """What comes after a preset holds after it, also what it sets to something else itself."""
    c = rig.client
    c.send(msg("/chain/gain/gain_db", "f", f32(-1.0)))
    c.send(msg("/preset/save", "s", text("one")))
    assert c.ping() == []
    assert until(lambda: rig.handler._builder.idle)
    c.send(msg("/chain/esn/nodes", "i", i32(12)))
    assert held.began.wait(60)
    c.send(msg("/preset/load", "s", text("one")))
    c.send(msg("/chain/gain/gain_db", "f", f32(-2.0)))
    c.send(msg("/chain/esn/nodes", "i", i32(16)))
    assert c.ping() == []
    assert rig.chain["gain"].gain_db == -2.0  # heard at once
    held.go.set()
    assert until(lambda: rig.handler._builder.idle)
    assert rig.chain["gain"].gain_db == -2.0  # and after the preset
    assert rig.chain["esn"].nodes == 16
    assert rig.handler.errors == 0


def test_the_newer_value_holds_while_what_came_behind_a_preset_is_built(rig: Rig) -> None:
    scene, behind = threading.Event(), threading.Event()
    builder = rig.handler._builder
    builder.add("scene", lambda: scene.wait(60) and None, scene=True)
    builder.add("set-up", lambda: behind.wait(60) and None)
    rig.client.send(msg("/chain/gain/gain_db", "f", f32(-1.0)))
    assert rig.client.ping() == []
    scene.set()
    assert until(lambda: not builder.scene)
    rig.client.send(msg("/chain/gain/gain_db", "f", f32(-9.0)))
    assert rig.client.ping() == []
    assert rig.chain["gain"].gain_db == -9.0  # heard at once
    behind.set()
    assert until(lambda: builder.idle)
    assert rig.chain["gain"].gain_db == -9.0


def test_a_preset_holds_what_was_set_before_it_was_saved(rig: Rig, held: Held) -> None:
    c = rig.client
    c.send(msg("/chain/gain/gain_db", "f", f32(-3.0)))
    c.send(msg("/chain/esn/nodes", "i", i32(12)))
    assert held.began.wait(60)
    c.send(msg("/preset/save", "s", text("asked")))  # waits for the ESN
    c.send(msg("/chain/gain/gain_db", "f", f32(-40.0)))
    c.send(msg("/chain/*/bypass", "T"))
    assert c.ping() == []
    assert rig.chain["gain"].gain_db == -40.0  # heard at once all the same
    held.go.set()
    assert until(lambda: rig.handler._builder.idle)
    assert rig.control.presets is not None
    saved = rig.control.presets.load("asked")
    assert (saved["esn"].nodes, saved["gain"].gain_db) == (12, -3.0)
    assert not any(slot.bypass for slot in saved.slots)
    assert rig.chain["gain"].gain_db == -40.0


def test_what_is_refused_is_not_set(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = threading.Event()
    builder = rig.handler._builder
    builder.add("scene", lambda: scene.wait(60) and None, scene=True)
    monkeypatch.setattr(builder, "add", lambda *_, **__: False)  # it is full
    address, (at, why) = rig.client.ask(msg("/chain/gain/gain_db", "f", f32(-33.0)))
    assert (address, at) == ("/error", "/chain/gain/gain_db")
    assert "send this again later" in why
    assert rig.chain["gain"].gain_db == 0.0
    scene.set()


def test_the_summary_tells_gaps_once(rig: Rig) -> None:
    stats = rig.stream.stats()
    stats["file_gaps"] = 3
    assert summary(rig.stream, stats, rig.handler).count("gaps in the file 3") == 1


def test_what_fails_while_building_is_answered_and_changes_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(plugin: NativePlugin, taken: Any = None) -> None:
        raise ValueError("cannot be prepared")

    monkeypatch.setattr(Esn, "_rebuild", fails)
    address, (at, why) = rig.client.ask(msg("/chain/esn/nodes", "i", i32(20)))
    assert (address, at) == ("/error", "/chain/esn/nodes")
    assert "cannot be prepared" in why
    assert rig.chain["esn"].nodes == 8


def test_too_much_to_build_is_refused(rig: Rig, held: Held) -> None:
    rig.client.send(msg("/chain/esn/nodes", "i", i32(12)))
    assert held.began.wait(60)
    for k in range(400):
        rig.client.send(msg("/preset/save", "s", text(f"p{k}")))
    replies = rig.client.ping()
    assert len(replies) > 100
    assert all("send this again later" in args[1] for _, args in replies)
    rig.handler._builder.close()  # what waits is not worked off


def test_closing_does_not_wait_for_a_build(rig: Rig, held: Held) -> None:
    rig.client.send(msg("/chain/esn/nodes", "i", i32(12)))
    assert held.began.wait(60)
    rig.server.close()
    assert rig.stream.lock.acquire(timeout=10)
    rig.stream.lock.release()
    assert held.built == []


# ---- floods and forgeries --------------------------------------------------------------------


def test_near_names_are_looked_for_rarely(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    near = AddressMap.near
    monkeypatch.setattr(AddressMap, "near", lambda self, a: looked.append(a) or near(self, a))
    out: list[Any] = []
    for k in range(2_000):
        rig.handler.handle(msg(f"/accxyz{k}", "fff", f32(0.1) * 3), lambda *r: out.append(r))
    assert len(out) == 2_000
    assert len(looked) < 500


def test_a_wrong_name_gets_a_hint() -> None:
    for address, meant in [
        ("/chain/gian/gain_db", "/chain/gain/gain_db"),
        ("/chain/gain/gain", "/chain/gain/gain_db"),
        ("/chian/gain/bypas", "/chain/gain/bypass"),
        ("/preset/laod", "/preset/load"),
        ("/pnic", "/panic"),
    ]:
        ((_, (_, why)),) = Ear(Chain([Gain()])).say(msg(address, "f", f32(1.0)))
        assert why == f"there is no such address; did you mean {meant!r}?"


@pytest.mark.parametrize("address", ["/error", "/pong", "/stats", "/stats/chain/gain", "/error/deep"])
@pytest.mark.parametrize("data", [("ss", text("/x") + text("why")), ("sfsi", text("a") + f32(1) + text("b") + i32(2))])
def test_answers_are_never_answered(address: str, data: tuple[str, bytes]) -> None:
    ear = Ear(Chain([Gain()]))
    assert ear.say(msg(address, *data)) == []
    assert ear.handler.counts["replies_received"] == 1
    assert ear.handler.errors == 0


@pytest.mark.parametrize("data", [msg("/x", "f", f32(1.0)), msg("/ping", "i", i32(1)), msg("/stats"), b"abcd"])
def test_two_hosts_do_not_talk_for_ever(tmp_path: Path, data: bytes) -> None:
    """One packet at the second, as if the first had sent it: each hears of it once."""
    with playing(Chain([Gain()]), tmp_path / "a") as a, playing(Chain([Gain()]), tmp_path / "b") as b:
        a.server._socket.sendto(data, ("127.0.0.1", b.server.port))
        assert until(lambda: a.handler.counts["replies_received"] >= 1)
        for r in (b, a, b, a):
            r.client.ping()
        pings = 2
        assert a.handler.counts["packets"] <= 3 + pings
        assert b.handler.counts["packets"] == 1 + pings
        assert b.handler.counts["replies_received"] == 0


def test_errors_are_limited_and_counted(rig: Rig) -> None:
    """Ten times what is allowed at once: few are answered, all are counted, and /ping still is."""
    n = int(10 * ERRORS[0][1])
    heard = 0
    for _ in range(0, n, 50):
        for _ in range(50):
            rig.client.send(msg("/nothing", "f", f32(1.0)))
        heard += len(rig.client.ping())
    assert rig.handler.counts["unknown_address"] == n
    assert rig.handler.counts["replies_held_back"] == n - heard
    assert heard < n
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:  # another sender is not made to pay for it
        other.settimeout(20)
        other.sendto(msg("/nothing"), rig.client.to)
        assert other.recv(1000).startswith(b"/error\0")


def test_statistics_are_limited_as_packets(rig: Rig) -> None:
    """A question of 12 bytes has a packet for each processor as answer; a monitor asks ten times a second."""
    asked = int(2 * STATS[0][1])
    heard = 0
    for _ in range(0, asked, 50):
        for _ in range(50):
            rig.client.send(msg("/stats"))
        heard += len(rig.client.ping())
    held_back = rig.handler.counts["replies_held_back"]
    assert heard + held_back == asked * (len(rig.chain) + 1)
    assert held_back > 0
    assert STATS[0][0] >= 10 * 33


def test_buckets() -> None:
    now = [0.0]
    b = Bucket(10, 5, lambda: now[0])
    assert [b.take() for _ in range(7)] == [True] * 5 + [False] * 2
    now[0] += 0.25
    assert [b.take() for _ in range(4)] == [True, True, False, False]
    now[0] += 1000
    assert sum(b.take() for _ in range(100)) == 5
    many = Buckets((0.0, 3.0), (0.0, 10.0))
    assert sum(many.take(k % 20) for k in range(200)) == 10
    many = Buckets((0.0, 1.0), (0.0, 1e9))
    for k in range(5 * Buckets.MAX_KEYS):
        many.take(k)
    assert len(many._of) <= Buckets.MAX_KEYS
    assert ERRORS[0] < ANSWERS[0]


def test_what_the_system_drops_is_counted(rig: Rig) -> None:
    sent = 20_000
    with rig.handler._lock:  # the receiving thread stands still
        for _ in range(sent):
            rig.client.send(msg("/chain/gain/gain_db", "f", f32(-1.0)))
    ping(rig.client)
    stats = rig.client.stats()
    assert stats["osc_dropped"] > 0
    # Besides what was sent at first there are the pings, some of which may have been dropped too.
    assert sent < stats["osc_messages"] + stats["osc_dropped"] < sent + 100


# ---- processors that are gone, and statistics ------------------------------------------------


def test_no_traceback_and_an_answer_where_something_is_gone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    link = rig.stream.link
    slot = rig.chain.slot("gain")
    monkeypatch.delitem(link._ids, slot)  # as it is for a moment while the chain is edited elsewhere
    rig.client.send(msg("/chain/gain/bypass", "T"))
    assert rig.client.ping() == []  # it is switched, and comes in so
    assert [s.bypass for s in rig.chain.slots] == [False, True, False]
    rig.client.send(msg("/chain/*/bypass", "T"))
    assert rig.client.ping() == []
    assert [s.bypass for s in rig.chain.slots] == [True, True, True]
    assert "gain" not in {a.split("/")[-1] for a, _ in _stats(rig.client)}
    monkeypatch.undo()
    out = capfd.readouterr()
    assert out.err == ""


def test_a_defect_is_answered_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    ear = Ear(Chain([Gain()]))
    ear.control.bypass_all = lambda on: 1 / 0  # type: ignore[method-assign,assignment]
    ((address, (_, why)),) = ear.say(msg("/bypass", "T"))
    assert address == "/error"
    assert "ZeroDivisionError" in why
    assert ear.handler.counts["defects"] == 1
    assert capfd.readouterr().err == ""


def _stats(client: Client) -> list[tuple[str, list[Any]]]:
    client.send(msg("/stats"))
    return [r for r in client.ping() if r[0].startswith("/stats/chain/")]


def test_stats_of_a_chain_behind_a_player() -> None:
    """A file as input stands before the chain as a slot of its own; each figure stays with its processor."""
    chain = Chain([Eq(), Gain(), Limiter()])
    engine = _native.Engine(48_000.0, 2)
    link = chain.attach(engine)
    engine.insert_player(0, 1.0)
    ids = {s.name: link.id_of(s) for s in chain.slots}
    control = Control(chain, lambda: engine)
    stats = control.slot_stats(control.stats())
    assert len(control.stats()["slots"]) == 4
    assert {name: s["slot"] for name, s in stats.items()} == ids
    out: list[tuple[str, list[Any]]] = []
    OscHandler(control).handle(msg("/stats"), lambda *r: out.append(r))
    assert [a for a, _ in out[1:]] == ["/stats/chain/eq", "/stats/chain/gain", "/stats/chain/limiter"]
    del chain["gain"]
    assert list(control.slot_stats(control.stats())) == ["eq", "limiter"]


def test_ipv6(tmp_path: Path) -> None:
    handler = OscHandler(Control(Chain([Gain()]), lambda: None))  # type: ignore[arg-type,return-value]
    try:  # by a socket that is not ours, so that a defect of ours fails
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError as e:
        pytest.skip(f"this machine has no IPv6 loopback: {e}")
    with OscServer(handler, 0, "::1") as server, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        s.settimeout(20)
        s.sendto(msg("/ping", "i", i32(3)), ("::1", server.port))
        assert s.recv(100) == msg("/pong", "i", i32(3))
