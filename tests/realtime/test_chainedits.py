"""Edits of a chain as a list: whole or not at all, whatever follows; slips, copies, wishes and automation."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from cspace import _native
from cspace.plugins import CSpace, Eq, Gain, Limiter, Mix
from cspace.realtime import Chain, CspaceError, render

RATE = 48_000


def noise(channels: int = 2, frames: int = 4000) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-0.3, 0.3, (channels, frames)).astype(np.float32)


def four() -> Chain:
    chain = Chain([Eq(low_gain_db=6.0), Gain(gain_db=-6.0), Limiter(), Gain(gain_db=3.0)])
    chain.bypass("limiter")
    return chain


def broken() -> CSpace:
    return CSpace(low_hz=500.0, high_hz=100.0)  # cannot be prepared


def in_engine(chain: Chain, engine: _native.Engine) -> list[int]:
    link = chain.link(engine)
    assert link is not None
    return [link.id_of(s) for s in chain.slots]


def test_any_whole_number_is_an_index() -> None:
    chain = four()
    for kind in (np.int64, np.uint8, np.int32):
        assert chain[kind(1)] is chain[1]
        assert chain.slot(kind(2)) is chain.slots[2]
    assert chain[np.int64(-1)] is chain[3]
    first = chain[0]
    chain[np.int64(0)], chain[np.int64(1)] = chain[1], chain[0]
    assert chain[1] is first
    chain.bypass(np.int64(0))
    assert chain.slots[0].bypass
    del chain[np.int64(0)]
    assert len(chain) == 3
    for wrong in (True, np.True_, 1.0, np.float32(1.0), None):
        with pytest.raises(CspaceError, match="is not in the chain"):
            chain[wrong]
    with pytest.raises(IndexError):
        chain[np.int64(9)]


# ---- refused edits ------------------------------------------------------------------------------

REFUSED: list[Any] = [
    lambda c: c.extend([Mix(), broken()]),
    lambda c: c.extend([Mix(), c[0]]),
    lambda c: c.__iadd__([Mix(), 42]),
    lambda c: c.__setitem__(slice(None), [Mix(), broken()]),
    lambda c: c.__setitem__(slice(1, 3), [Mix(), None]),
    lambda c: c.__setitem__(slice(1, 3), [Mix(), c[0]]),
    lambda c: c.__setitem__(slice(None, None, 2), [Mix()]),
    lambda c: c.__setitem__(1, broken()),
    lambda c: c.insert(0, Gain(), name="eq"),
    lambda c: c.insert(0, broken()),
    lambda c: c.append(c[1]),
    lambda c: c.__imul__(2),
]


@pytest.mark.parametrize("engines", [0, 1, 2])
@pytest.mark.parametrize("edit", REFUSED)
def test_a_refused_edit_changes_nothing(edit: Any, engines: int) -> None:
    chain = four()
    following = [_native.Engine(RATE, 2, 64) for _ in range(engines)]
    for engine in following:
        chain.attach(engine)
    if not engines:
        chain(noise(), RATE, reset=False)  # the engine of a stream follows too
    slots = chain.slots
    with pytest.raises(CspaceError):
        edit(chain)
    assert chain.slots == slots
    assert chain.names == ["eq", "gain", "limiter", "gain2"]
    for engine in following:
        engine.process(noise())  # what was on its way out is gone
        assert engine.slots() == in_engine(chain, engine)


def test_what_one_of_several_engines_refuses_none_keeps() -> None:
    chain = Chain([Gain()])
    good, bad = _native.Engine(RATE, 2, 64), _native.Engine(RATE, 2, 64)
    chain.attach(good)
    second = chain.attach(bad)

    def refuse(*_: Any) -> None:
        raise CspaceError("no room")

    second.insert = refuse  # type: ignore[method-assign]
    with pytest.raises(CspaceError, match="no room"):
        chain.extend([Eq(), Mix()])
    good.process(noise())
    assert chain.names == ["gain"]
    assert len(good.slots()) == len(bad.slots()) == 1


# ---- orders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("live", [False, True])
def test_orders(live: bool) -> None:
    chain = four()
    engine = _native.Engine(RATE, 2, 64)
    if live:
        chain.attach(engine)

    def settled(*names: str) -> None:
        assert chain.names == list(names)
        assert [s.bypass for s in chain.slots] == [n == "limiter" for n in names]
        if live:
            engine.process(noise())
            assert engine.slots() == in_engine(chain, engine)

    chain.reverse()
    settled("gain2", "limiter", "gain", "eq")
    chain[0], chain[1] = chain[1], chain[0]
    settled("limiter", "gain2", "gain", "eq")
    chain[0], chain[1], chain[2] = chain[1], chain[2], chain[0]
    settled("gain2", "gain", "limiter", "eq")
    chain["eq"] = chain["gain2"]
    settled("eq", "gain", "limiter", "gain2")
    chain.sort(key=lambda p: p.native_name, reverse=True)
    settled("limiter", "gain", "gain2", "eq")
    chain[:] = chain[::-1]
    settled("eq", "gain2", "gain", "limiter")
    chain[::2] = [chain[2], chain[0]]
    settled("gain", "gain2", "eq", "limiter")
    del chain[::3]
    settled("gain2", "eq")
    chain += [Gain(), Gain()]
    settled("gain2", "eq", "gain", "gain3")
    assert chain.index(chain["gain3"]) == 3
    assert chain.count(Gain()) == 2
    chain.remove(chain["gain3"])  # this very one, though `gain` equals it
    settled("gain2", "eq", "gain")
    assert chain.pop() == Gain()
    chain.clear()
    settled()
    with pytest.raises(ValueError, match="not in the chain"):
        chain.index(Gain())


def test_edits_between_calls_are_heard_whatever_call_came_before() -> None:
    one = np.ones((1, 4800), np.float32)
    for first in (True, False):
        chain = Chain([Gain()])
        chain(one, RATE, reset=first)
        chain.append(Gain(gain_db=20 * np.log10(2)))
        chain["gain"].gain_db = 20 * np.log10(3)
        y = chain(one, RATE, reset=False)[0]
        assert y[0] == pytest.approx(1.0, abs=0.1)  # it fades from where it was
        assert y[-1] == pytest.approx(6.0, rel=1e-5)
        chain.bypass(0)
        assert chain(one, RATE, reset=False)[0, -1] == pytest.approx(2.0, rel=1e-5)


# ---- slips --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ([Gain], r"Gain is a class.*Gain\(\)"),
        (Gain, r"Gain is a class"),
        (Gain(), r"takes a list of plugins: Chain\(\[Gain\(\)\]\)"),
        ("gain", r"'gain' is a text.*Gain\(\)"),
        (["eq"], r"'eq' is a text.*Eq\(\)"),
        ([None], "a NoneType cannot be in a chain"),
        (None, "a NoneType cannot be in a chain"),
        ([Chain([Gain()])], r"chain\.extend"),
        ([[Gain()]], "a list cannot be in a chain"),
    ],
)
def test_what_is_no_plugin_is_told_at_once(plugins: Any, message: str) -> None:
    with pytest.raises(CspaceError, match=message):
        Chain(plugins)


def test_attributes_that_nothing_reads_are_told() -> None:
    chain = Chain([Eq(), Gain()])
    with pytest.raises(AttributeError, match=r"no attribute 'gain_db'; set chain\['gain'\]\.gain_db"):
        chain.gain_db = 3.0  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="did you mean 'title'"):
        chain.titel = "x"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="did you mean 'low_gain_db'"):
        chain["eq"].low_gain = 3.0
    with pytest.raises(ValueError, match="did you mean 'low_gain_db'"):
        Eq(low_gain=3.0)


@pytest.mark.parametrize("rate", [0, -48_000, np.nan, True, "48000", 7_999, 192_001])
def test_rates_that_cannot_be_are_told(rate: Any, tmp_path: Path) -> None:
    sf.write(tmp_path / "in.wav", np.zeros(480), RATE)
    with pytest.raises(ValueError, match="8000 to 192000 Hz"):
        render(Chain(), tmp_path / "in.wav", tmp_path / "out.wav", sample_rate=rate)
    assert not (tmp_path / "out.wav").exists()
    with pytest.raises(ValueError, match="8000 to 192000 Hz"):
        Chain(sample_rate=rate)
    chain = Chain()
    with pytest.raises(ValueError, match="8000 to 192000 Hz"):
        chain.sample_rate = rate
    with pytest.raises(ValueError, match="8000 to 192000 Hz"):
        chain(noise(), rate)


@pytest.mark.parametrize("block", [0, -1, 8193, True, 64.5, "64"])
def test_blocks_that_cannot_be_are_told(block: Any) -> None:
    with pytest.raises(ValueError, match="1 to 8192 frames"):
        Chain(block=block)


# ---- copies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_share_nothing(how: Any) -> None:
    chain = four()
    chain.title, chain.sample_rate, chain.block = "mine", 44_100, 128
    engine = _native.Engine(RATE, 2, 64)
    for before in (lambda: None, lambda: chain(noise(), RATE, reset=False), lambda: chain.attach(engine)):
        before()
        twin = how(chain)
        assert twin == chain
        assert (twin.title, twin.sample_rate, twin.block) == ("mine", 44_100, 128)
        assert twin.names == chain.names
        assert not any(a is b for a in twin for b in chain)
        np.testing.assert_array_equal(twin(noise(), RATE), chain(noise(), RATE))
        twin.append(Mix())
        twin["gain"].gain_db = 1.0
        twin.bypass("eq")
        assert chain == four()
    engine.process(noise())
    assert len(engine.slots()) == 4


def test_copies_of_pedalboard_effects() -> None:
    pedalboard = pytest.importorskip("pedalboard")
    chain = Chain([pedalboard.Compressor(threshold_db=-20.0, ratio=4.0), Gain()])
    for twin in (copy.copy(chain), copy.deepcopy(chain), pickle.loads(pickle.dumps(chain))):
        assert twin[0] is not chain[0]
        assert twin[0].ratio == 4.0
        np.testing.assert_array_equal(twin(noise(), RATE), chain(noise(), RATE))


def test_a_slice_has_the_same_plugins_and_switches_of_its_own() -> None:
    chain = four()
    part = chain[1:3]
    assert part.names == ["gain", "limiter"]
    assert part[0] is chain["gain"]
    part.bypass("limiter", False)
    part.clear()
    assert chain == four()


# ---- automation ---------------------------------------------------------------------------------


def test_automation_behind_the_end_is_told_and_does_nothing(tmp_path: Path) -> None:
    sf.write(tmp_path / "in.wav", np.full((RATE, 1), 0.25), RATE, subtype="FLOAT")
    chain = Chain([Gain(), Limiter()])
    plain = render(chain, tmp_path / "in.wav", tmp_path / "plain.wav")
    late = [(1.0, "gain.gain_db", -60.0), (2.5, "gain.gain_db", -20.0)]
    report = render(chain, tmp_path / "in.wav", tmp_path / "out.wav", automation=late)
    assert plain.warnings == []
    assert report.warnings == [
        "2 automation events lie at or after the end, 1 s, and had no effect; the first is gain.gain_db at 1 s"
    ]
    np.testing.assert_array_equal(sf.read(tmp_path / "out.wav")[0], sf.read(tmp_path / "plain.wav")[0])
    report = render(chain, tmp_path / "in.wav", tmp_path / "out.wav", automation=late, tail=2.0)
    assert report.warnings == []
    with pytest.raises(ValueError, match="an array cannot be automated"):
        render(Chain([CSpace()]), tmp_path / "in.wav", tmp_path / "o.wav", automation=[(0, "cspace.band_gain_db", 0)])
    with pytest.raises(ValueError, match="use a time from 0 on"):
        render(chain, tmp_path / "in.wav", tmp_path / "o.wav", automation=[(np.nan, "gain.gain_db", 0.0)])


def test_newcomers_without_room_beside_those_that_leave_are_refused_with_that_reason() -> None:
    chain = Chain([Gain() for _ in range(20)])
    engine = _native.Engine(48_000, 1)
    chain.attach(engine)
    with pytest.raises(CspaceError, match=r"^20 processors play and 19 come: an engine has 32 places"):
        chain.become(Chain([Limiter() for _ in range(19)]))
    assert len(chain) == len(engine.slots()) == 20
    with pytest.raises(CspaceError, match="holds 32 processors at most"):
        chain.extend([Gain() for _ in range(13)])
    chain.detach(engine)
