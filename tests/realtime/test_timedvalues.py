"""Values with a time: what is read, saved and copied is what sounds, before they are due and after."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from cspace import _native
from cspace.plugins import Eq, Gain
from cspace.realtime import chainfile
from cspace.realtime.chain import Chain
from cspace.realtime.clock import Clock
from cspace.realtime.control import Control
from cspace.realtime.osc import OscHandler
from tests.realtime.osctools import bundle, f32, msg

RATE, BLOCK = 48_000, 64
DUE = 4_800


class Playing:
    """A chain in an engine that is driven by hand, as a device would."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.engine = _native.Engine(RATE, 1, BLOCK)
        chain.attach(self.engine)
        self.control = Control(chain, lambda: self.engine)
        self.play(BLOCK)

    def play(self, frames: int) -> float:
        """The last sample that is heard of a constant 1."""
        return float(self.engine.process(np.ones((1, frames), np.float32))[0, -1])


def everything_read(chain: Chain) -> dict[str, Any]:
    """The gain of the first plugin, by every way of reading it."""
    gain = chain[0]
    twin = Gain()
    twin.take(gain)
    alone = gain(np.ones((1, RATE), np.float32), RATE)[0, -1]
    return {
        "property": gain.gain_db,
        "control": Control(chain, lambda: None).get("gain", "gain_db"),  # type: ignore[arg-type,return-value]
        "dict": gain.to_dict()["gain_db"],
        "copy": copy.copy(gain).gain_db,
        "deep copy": copy.deepcopy(chain)[0].gain_db,
        "pickle": pickle.loads(pickle.dumps(gain)).gain_db,
        "file": chainfile.loads(chainfile.dumps(chain))[0].gain_db,
        "moving": chain.slot("gain").moving().values["gain_db"],
        "taken": twin.gain_db,
        "equal": next(x for x in (0.0, -3.0, -20.0, -40.0) if gain == Gain(gain_db=x)),
        "alone": round(20 * np.log10(alone), 3),
        "offline": round(20 * np.log10(chain(np.ones((1, RATE), np.float32), RATE)[0, -1]), 3),
        "text": 0.0 if repr(gain) == "Gain()" else float(repr(gain).removeprefix("Gain(gain_db=").rstrip(")")),
    }


def test_it_is_the_value_from_its_sample_on() -> None:
    p = Playing(Chain([Gain()]))
    p.chain.set("gain.gain_db", -40.0, time=DUE)
    assert set(everything_read(p.chain).values()) == {0.0}
    assert p.play(DUE - BLOCK) == 1.0  # the engine's clock is at its sample: it is heard in the next block
    assert set(everything_read(p.chain).values()) == {0.0}
    assert p.play(RATE) == pytest.approx(0.01)
    assert set(everything_read(p.chain).values()) == {-40.0}


def test_one_set_at_once_before_it_is_due_gives_way_to_it() -> None:
    p = Playing(Chain([Gain()]))
    p.chain.set("gain.gain_db", -40.0, time=DUE)
    p.chain[0].gain_db = -20.0
    assert set(everything_read(p.chain).values()) == {-20.0}
    assert p.play(RATE) == pytest.approx(0.01)
    assert set(everything_read(p.chain).values()) == {-40.0}


def test_one_set_at_once_after_it_was_due_holds() -> None:
    """Also where nobody has read the value in between."""
    p = Playing(Chain([Gain()]))
    p.chain.set("gain.gain_db", -40.0, time=DUE)
    p.play(2 * DUE)
    p.chain[0].update(gain_db=-20.0)
    assert p.play(RATE) == pytest.approx(0.1)
    assert set(everything_read(p.chain).values()) == {-20.0}


def test_several_are_settled_in_the_order_in_which_they_sound() -> None:
    p = Playing(Chain([Gain()]))
    for value, due in ((-20.0, 3 * DUE), (-40.0, DUE), (-30.0, 2 * DUE), (-3.0, 3 * DUE)):
        p.chain.set("gain.gain_db", value, time=due)
    assert p.play(RATE) == pytest.approx(10 ** (-3 / 20))
    assert set(everything_read(p.chain).values()) == {-3.0}


def test_a_time_that_has_passed_is_at_once() -> None:
    p = Playing(Chain([Gain()]))
    p.chain.set("gain.gain_db", -40.0, time=0)
    assert p.chain[0].gain_db == -40.0
    p.chain.set("gain.gain_db", -20.0, time=BLOCK)
    assert p.chain[0].gain_db == -20.0
    assert p.play(RATE) == pytest.approx(0.1)


def test_a_panic_cancels_it_for_readers_too() -> None:
    """By OSC, with a value that was handed to the engine ahead of its time tag."""
    p = Playing(Chain([Gain()]))
    wall = 1_000_000.0
    clock = Clock(lambda: p.engine.sample_time, RATE, BLOCK, lambda: wall)
    handler = OscHandler(p.control, clock)
    out: list[Any] = []
    handler.handle(bundle(wall + 0.3, msg("/chain/gain/gain_db", "f", f32(-40.0))), lambda *r: out.append(r))
    assert handler.waiting == 0
    handler.handle(msg("/panic"), lambda *r: out.append(r))
    assert p.play(2 * RATE) == pytest.approx(1.0)
    assert set(everything_read(p.chain).values()) == {0.0}
    p.chain.set("gain.gain_db", -20.0, time=p.engine.sample_time + DUE)  # what comes after it is as ever
    assert p.play(RATE) == pytest.approx(0.1)
    assert p.chain[0].gain_db == -20.0
    assert out == []


class InABlock:
    """An engine whose audio thread is within a block all the time."""

    live = True
    sample_time = 0

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def set(self, *what: Any) -> None:
        self.told.append(what)


def test_a_panic_holds_against_a_value_that_was_due_in_the_block_under_way() -> None:
    gain, engine = Gain(gain_db=-3.0), InABlock()
    gain._bind(engine, 7)  # type: ignore[arg-type]
    gain.set_param("gain_db", -40.0, time=10)
    gain._forget_timed(engine)  # type: ignore[arg-type]
    assert engine.told == [(7, "gain_db", -40.0, 10), (7, "gain_db", -3.0)]
    assert gain.gain_db == -3.0


def test_what_an_engine_refuses_does_not_wait() -> None:
    class Full(InABlock):
        def set(self, *what: Any) -> None:
            raise RuntimeError("the queue is full")

    gain, engine = Gain(), Full()
    gain._bind(engine, 7)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        gain.set_param("gain_db", -40.0, time=10)
    engine.sample_time = 1000
    assert gain.gain_db == 0.0


def test_what_a_lost_engine_held_is_set_in_the_next_one() -> None:
    """The clock of a lost device stands still: what comes meanwhile would be lost with its engine."""
    p = Playing(Chain([Gain()]))
    p.chain.set("gain.gain_db", -40.0, time=2 * DUE)
    p.chain.set("gain.gain_db", -20.0, time=DUE)
    p.chain.detach(p.engine)
    assert p.chain[0].gain_db == -40.0
    assert Playing(p.chain).play(RATE) == pytest.approx(0.01)


def test_a_plugin_in_place_of_another_gets_what_was_timed_for_the_place() -> None:
    p = Playing(Chain([Gain()]))
    p.chain.set("gain.gain_db", -40.0, time=DUE)
    p.chain[0] = Gain(gain_db=-20.0)
    assert p.chain[0].gain_db == -20.0
    assert p.play(RATE) == pytest.approx(0.01)
    assert p.chain[0].gain_db == -40.0


def test_the_curve_of_an_eq_is_that_which_sounds() -> None:
    p = Playing(Chain([Eq()]))
    p.chain.set("eq.output_gain_db", -12.0, time=DUE)
    assert p.chain[0].response_db(1000.0) == pytest.approx(0.0, abs=1e-6)
    p.play(2 * DUE)
    assert p.chain[0].response_db(1000.0) == pytest.approx(-12.0, abs=1e-6)
