"""Time tags: the mapping of clocks through stalls, and messages that wait, bounded and cancelled."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cspace import _native
from cspace.plugins import CspaceError, Gain
from cspace.realtime.chain import Chain
from cspace.realtime.clock import Clock
from cspace.realtime.control import Control
from cspace.realtime.osc import OscHandler
from cspace.realtime.oscschedule import MAX_BYTES, MAX_HANDED, MAX_WAITING
from tests.realtime.osctools import Rig, bundle, f32, i32, msg, playing, until

RATE, BLOCK = 48_000, 64


class Engine:
    """A wall clock and an engine's beside it, both moved by hand."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.stood_still_s = 0.0
        self.reading_takes_s = 0.0
        self.clock = Clock(self._samples, RATE, BLOCK, lambda: self.wall)
        self.panics = 0

    def _samples(self) -> int:
        out = int(self.sample_now()) // BLOCK * BLOCK
        self.wall += self.reading_takes_s
        return out

    def sample_now(self) -> float:
        return (self.wall - 999_900.0 - self.stood_still_s) * RATE

    def run(self, seconds: float, step_s: float = 0.0137) -> None:
        for _ in range(int(seconds / step_s)):
            self.wall += step_s
            self.clock.observe()

    def error(self) -> float:
        """Samples by which the mapping is off now."""
        return self.clock.samples(self.wall) - self.sample_now()

    def panic(self) -> None:
        self.panics += 1


@pytest.mark.parametrize("stall_s", [0.06, 0.3, 2.0, 60.0, 4000.0])
def test_right_again_at_once_after_a_stall(stall_s: float) -> None:
    e = Engine()
    e.run(6.0)
    assert abs(e.error()) <= BLOCK
    e.wall += stall_s
    e.stood_still_s += stall_s
    e.clock.observe()  # by the first packet after it
    assert abs(e.error()) <= BLOCK
    e.run(6.0)
    assert abs(e.error()) <= BLOCK


@pytest.mark.parametrize("stall_s", [0.005, 0.02, 0.045])
def test_short_stalls_and_drift_are_seen_within_a_quarter_of_a_second(stall_s: float) -> None:
    e = Engine()
    e.run(6.0)
    e.wall += stall_s
    e.stood_still_s += stall_s
    e.run(0.35)
    assert abs(e.error()) <= BLOCK


def test_many_stalls_in_a_row() -> None:
    e = Engine()
    e.run(2.0)
    for _ in range(50):
        e.run(0.1)
        e.wall += 0.1
        e.stood_still_s += 0.1
        e.clock.observe()
        assert abs(e.error()) <= BLOCK


def test_a_reader_that_was_delayed_is_no_stall() -> None:
    """Distances of two tags stay exact while the thread that reads the clocks is held up now and then."""
    e = Engine()
    e.run(2.0)
    rng = random.Random(3)
    before = e.clock.samples(1_000_500.0)
    for _ in range(200):
        e.reading_takes_s = rng.choice([0.0, 0.0, 0.03, 0.2, 1.0])
        e.clock.observe()
        e.reading_takes_s = 0.0
        e.run(0.1)
        assert e.clock.samples(1_000_500.0) == before


def test_an_engine_that_was_late_for_a_moment_is_no_stall() -> None:
    e = Engine()
    e.run(2.0)
    before = e.clock.samples(1_000_500.0)
    for _ in range(20):
        e.wall += 0.05
        e.stood_still_s += 0.03  # one reading finds it 30 ms behind, then it has caught up
        e.clock.observe()
        e.stood_still_s -= 0.03
        e.run(0.1)
    assert e.clock.samples(1_000_500.0) == before


def test_a_new_engine_begins_anew() -> None:
    e = Engine()
    e.run(6.0)
    e.stood_still_s = e.wall - 999_900.0  # sample 0 now
    e.run(0.1)
    assert abs(e.error()) <= BLOCK


# ---- messages that wait ----------------------------------------------------------------------


def rigged() -> tuple[Engine, OscHandler, list[tuple[str, list[Any]]]]:
    engine = Engine()
    engine.run(1.0)
    handler = OscHandler(Control(Chain([Gain()]), lambda: engine), engine.clock)  # type: ignore[arg-type,return-value]
    return engine, handler, []


def test_bounded_in_number() -> None:
    e, handler, out = rigged()
    for _ in range(MAX_WAITING + 100):
        handler.handle(bundle(e.wall + 50, msg("/ping")), lambda *r: out.append(r))
    assert handler.waiting == MAX_WAITING
    assert [r[0] for r in out] == ["/error"] * 100
    assert all("wait for their time already" in r[1][1] for r in out)
    assert handler.counts["refused"] == 100


def test_bounded_in_bytes() -> None:
    e, handler, out = rigged()
    large = msg("/ping", "b", i32(60_000) + b"x" * 60_000)
    for _ in range(100):
        handler.handle(bundle(e.wall + 50, large), lambda *r: out.append(r))
    assert handler.waiting == MAX_BYTES // len(large)
    assert len(out) == 100 - handler.waiting
    e.wall += 50.1  # what waited is answered when its time comes, and then there is room again
    handler.run_due()
    assert handler.waiting == 0
    assert sum(r[0] == "/pong" for r in out) == MAX_BYTES // len(large)
    handler.handle(bundle(e.wall + 50, large), lambda *r: out.append(r))
    assert handler.waiting == 1


def test_panic_cancels_what_waits() -> None:
    e, handler, out = rigged()
    for k in range(10):
        handler.handle(bundle(e.wall + 5 + k, msg("/ping", "i", i32(k))), lambda *r: out.append(r))
    handler.handle(msg("/panic"), lambda *r: out.append(r))
    assert e.panics == 1
    assert handler.waiting == 0
    assert handler.counts["cancelled"] == 10
    e.wall += 20
    handler.run_due()
    assert out == []


def test_a_panic_in_a_bundle_leaves_the_rest_of_it_and_what_came_later() -> None:
    e, handler, out = rigged()
    handler.handle(bundle(e.wall + 9, msg("/ping", "i", i32(1))), lambda *r: out.append(r))
    handler.handle(bundle(e.wall + 5, msg("/panic"), msg("/ping", "i", i32(2))), lambda *r: out.append(r))
    handler.handle(bundle(e.wall + 9, msg("/ping", "i", i32(3))), lambda *r: out.append(r))
    e.wall += 20
    handler.run_due()
    assert e.panics == 1
    assert out == [("/pong", [2]), ("/pong", [3])]
    assert handler.counts["cancelled"] == 1


def test_a_panic_cancels_what_waits_while_no_engine_plays() -> None:
    e, handler, out = rigged()

    def away() -> Any:
        raise CspaceError("the stream is not open")

    handler.control = Control(Chain([Gain()]), away)
    handler.handle(bundle(e.wall + 5, msg("/ping")), lambda *r: out.append(r))
    handler.handle(msg("/panic"), lambda *r: out.append(r))
    assert handler.waiting == 0
    assert handler.counts["cancelled"] == 1
    assert out == []


class Elsewhere:
    """A plugin from elsewhere with one parameter."""

    def __init__(self) -> None:
        self._mix = 0.5

    @property
    def mix(self) -> float:
        return self._mix

    @mix.setter
    def mix(self, value: float) -> None:
        self._mix = value

    def process(self, audio: Any, sample_rate: float, buffer_size: int = 8192, reset: bool = True) -> Any:
        return audio

    def reset(self) -> None:
        pass


def test_a_parameter_of_a_plugin_from_elsewhere_is_set_when_it_is_due() -> None:
    e, _, out = rigged()
    chain = Chain([Elsewhere()])
    handler = OscHandler(Control(chain, lambda: e), e.clock)  # type: ignore[arg-type,return-value]
    due = e.wall + 2
    handler.handle(bundle(due, msg("/chain/elsewhere/mix", "f", f32(0.25))), lambda *r: out.append(r))
    for ahead in (1.0, 0.45, 0.01):
        handler.run_due(due - ahead)
        assert chain[0].mix == 0.5, f"{ahead} s too early"
    handler.run_due(due + 0.001)
    assert chain[0].mix == 0.25
    assert out == []


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with playing(Chain([Gain(), Gain()]), tmp_path) as r:
        yield r


def test_a_dense_sequence_loses_nothing(rig: Rig) -> None:
    """More events within half a second than the engine can hold; each one is carried out, late ones at once."""
    n = 4 * MAX_HANDED
    start = time.time() + 3.0
    for k in range(0, n, 50):
        part = [
            bundle(start + i * 1e-4, msg("/chain/gain/gain_db", "f", f32(-float(i % 60)))) for i in range(k, k + 50)
        ]
        rig.client.send(bundle(None, *part))
    assert rig.client.ping() == []
    assert until(lambda: rig.handler.waiting == 0, 60)
    assert until(lambda: rig.chain["gain"].gain_db == -float((n - 1) % 60), 60)  # once the last one is heard
    stats = rig.client.stats()
    assert stats["dropped_events"] == 0
    assert stats["osc_errors"] == 0
    assert stats["osc_waiting"] == 0


def test_panic_cancels_what_the_engine_holds() -> None:
    """Events of the next half second are the engine's already; without a panic this one comes."""
    for panics in (False, True):
        chain = Chain([Gain()])
        engine = _native.Engine(RATE, 1)
        chain.attach(engine)
        ones = np.ones((1, RATE), np.float32)
        engine.process(ones)
        chain.set("gain.gain_db", -40.0, time=RATE + 20_000)
        if panics:
            engine.panic()
        y = engine.process(ones)[0]
        assert y[-1] == pytest.approx(1.0 if panics else 0.01)


def test_a_bundle_with_a_tag_long_past_is_late_and_acts(rig: Rig) -> None:
    for when in (0.0, -1e9, time.time() - 3600):
        rig.client.send(bundle(when, msg("/chain/gain/gain_db", "f", f32(-12.0))))
    assert rig.client.ping() == []
    assert rig.chain["gain"].gain_db == -12.0
    assert rig.handler.counts["late"] == 3
