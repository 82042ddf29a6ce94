"""Plugins from elsewhere in an engine: neighbours are one stage, late once, in step, whatever is edited."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cspace import _native
from cspace.plugins import Gain, Limiter
from cspace.plugins.externalstage import External, Member
from cspace.realtime import Chain, CspaceError

RATE = 48_000
F32 = NDArray[np.float32]


class Ramp:
    """Adds how many frames it heard since its reset: what moves inside a plugin, made visible."""

    def __init__(self, slope: float = 1.0):
        self.slope = slope
        self.reset()

    def reset(self) -> None:
        self.heard = 0

    def process(self, audio: F32, sample_rate: float, buffer_size: int, reset: bool) -> F32:
        n = audio.shape[1]
        moved = np.arange(self.heard, self.heard + n, dtype=np.float32) * np.float32(self.slope / 1e6)
        self.heard += n
        return audio + moved


def played(engine: _native.Engine, x: F32, chain: Chain | None = None, block: int = 64) -> F32:
    """Block by block; with a chain, workers get the time that a device would give them."""
    out = []
    for i in range(0, x.shape[1], block):
        out.append(engine.process(np.ascontiguousarray(x[:, i : i + block])))
        if chain is not None:
            time.sleep(0.002)
    return np.concatenate(out, axis=1)


def impulse_at(y: F32) -> int:
    return int(np.abs(y[0]).argmax())


def test_neighbours_are_one_place_late_once_and_in_step() -> None:
    chain = Chain([Ramp(1), Ramp(2), Ramp(3), Gain()])
    engine = _native.Engine(RATE, 1, 256)
    link = chain.attach(engine, live=False)
    assert len(engine.slots()) == 2
    assert len({link.id_of(s) for s in chain.slots[:3]}) == 1
    assert engine.latency_samples == 512
    y = played(engine, np.zeros((1, 6000), np.float32))
    want = np.arange(6000 - 512, dtype=np.float32) * 6e-6  # each starts to move with the sound, not 512 later
    np.testing.assert_allclose(y[0, 512:], want, rtol=1e-4, atol=1e-9)


def test_native_plugins_between_them_part_and_join_runs() -> None:
    chain = Chain([Ramp(1), Ramp(2), Ramp(3)])
    engine = _native.Engine(RATE, 1, 256)
    link = chain.attach(engine, live=False)
    chain.insert(1, Gain())
    assert [len(r.slots) for r in sorted(link._runs, key=lambda r: engine.slots().index(r.id))] == [1, 2]
    assert engine.slots() == [link.id_of(s) for s in chain.slots[:3]]
    assert engine.latency_samples == 1024
    chain.move("gain", 3)
    assert [len(r.slots) for r in link._runs] == [3]
    assert engine.slots() == [link.id_of(chain.slot(0)), link.id_of(chain.slot("gain"))]
    assert engine.latency_samples == 512
    chain.move("gain", 0)
    assert engine.slots() == [link.id_of(chain.slot("gain")), link.id_of(chain.slot(1))]
    del chain[2]
    assert [s.name for s in link._runs[0].slots] == ["ramp", "ramp3"]
    chain[1] = Gain()
    assert engine.slots() == [link.id_of(s) for s in chain.slots]
    del chain[:]
    assert engine.slots() == []
    assert link._runs == []


@pytest.mark.parametrize("seed", range(4))
def test_any_edits_leave_the_engine_as_a_new_one_would_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chain = Chain()
    engine = _native.Engine(RATE, 1, 256)
    link = chain.attach(engine, live=False)
    for _ in range(30):
        what = rng.integers(4) if len(chain) > 3 else 0
        if what == 0 and len(chain) < 12:
            chain.insert(int(rng.integers(len(chain) + 1)), Gain() if rng.random() < 0.4 else Ramp())
        elif what == 1:
            del chain[int(rng.integers(len(chain)))]
        elif what == 2:
            chain.move(int(rng.integers(len(chain))), int(rng.integers(len(chain))))
        else:
            chain.bypass(int(rng.integers(len(chain))), bool(rng.random() < 0.5))
        played(engine, np.zeros((1, 512), np.float32))
        other = chain.offline(RATE, 1)
        assert engine.latency_samples == other.engine.latency_samples
        assert [[s.name for s in r.slots] for r in sorted(link._runs, key=lambda r: engine.slots().index(r.id))] == [
            [s.name for s in r.slots] for r in other._runs
        ]
        order = list(dict.fromkeys(link.id_of(s) for s in chain.slots))
        assert engine.slots() == order
        other.close()


def test_bypass_of_one_in_a_run_fades_and_keeps_the_delay() -> None:
    chain = Chain([Twice(), Ramp(0), Twice()])
    engine = _native.Engine(RATE, 1, 256)
    chain.attach(engine, live=False)
    x = np.full((1, 48_000), 0.1, np.float32)
    played(engine, x[:, :4800])
    chain.bypass("twice", True)
    y = played(engine, x[:, :9600])
    assert np.abs(np.diff(y[0])).max() < 0.002, "no step: 0.2 in 480 samples"
    assert y[0, -1] == pytest.approx(0.2)
    chain.bypass("twice", False)
    assert played(engine, x[:, :9600])[0, -1] == pytest.approx(0.4)


class Twice(Ramp):
    """6 dB louder."""

    def process(self, audio: F32, sample_rate: float, buffer_size: int, reset: bool) -> F32:
        return audio * np.float32(2.0)


def test_edits_of_a_run_make_no_step() -> None:
    chain = Chain([Ramp(0), Twice()])
    engine = _native.Engine(RATE, 1, 256)
    chain.attach(engine, live=False)
    x = np.full((1, 9600), 0.1, np.float32)
    played(engine, x)
    for change in (lambda: chain.append(Twice()), lambda: chain.move(2, 0), lambda: chain.pop(0)):
        change()
        y = played(engine, x)
        assert np.abs(np.diff(y[0])).max() < 0.002
    assert y[0, -1] == pytest.approx(0.2)


def test_a_refused_plugin_changes_nothing() -> None:
    class Refuses(Ramp):
        def process(self, audio: F32, sample_rate: float, buffer_size: int, reset: bool) -> F32:
            raise RuntimeError("not today")

    chain = Chain([Ramp(), Gain(), Ramp()])
    engine = _native.Engine(RATE, 1, 256)
    link = chain.attach(engine, live=False)
    before = engine.slots()
    for i in range(4):
        with pytest.raises(CspaceError, match="refuses failed at 48000 Hz with 1 channels: not today"):
            chain.insert(i, Refuses())
    assert engine.slots() == before
    assert [s.name for s in link.slots] == chain.names == ["ramp", "gain", "ramp2"]


# ---- pedalboard's own ------------------------------------------------------------------------


def board(*names: str) -> list[Any]:
    pedalboard = pytest.importorskip("pedalboard")
    missing = [n for n in names if not hasattr(pedalboard, n)]
    if missing:
        pytest.skip(f"pedalboard {pedalboard.__version__} has no {', '.join(missing)}")
    return [getattr(pedalboard, n)() for n in names]


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        ("Invert",),
        ("Invert", "Gain", "Clipping"),
        ("BrickwallLimiter",),
        ("BrickwallLimiter", "Gain", "MP3Compressor"),
        ("Resample", "BrickwallLimiter"),
    ],
    ids="+".join,
)
def test_the_latency_told_is_what_an_impulse_shows(names: tuple[str, ...], live: bool) -> None:
    chain = Chain([Gain(), *board(*names), Limiter()])
    block = 256
    engine = _native.Engine(RATE, 1, block)
    chain.attach(engine, live=live)
    told = chain.latency_samples
    assert told == engine.latency_samples
    x = np.zeros((1, 24_000), np.float32)
    x[0, 9_001] = 0.5
    y = played(engine, x, chain if live else None, block)
    chain.detach(engine)
    # A codec and resamplers smear an impulse, about symmetrically, over a few samples.
    assert abs(impulse_at(y) - 9_001 - told) <= (3 if {"MP3Compressor", "Resample"} & set(names) else 0)
    if not live and names == ("Invert", "Gain", "Clipping"):
        assert told == Limiter().latency_samples, "no delay is added where none is needed"


def test_live_a_run_of_ten_is_late_once() -> None:
    chain = Chain(board("Chorus", "Phaser", "Reverb", "Delay", "Gain", "Chorus", "Phaser", "Gain", "Invert", "Gain"))
    engine = _native.Engine(RATE, 2, 64)
    link = chain.attach(engine)
    assert len(engine.slots()) == 1
    assert chain.latency_samples == 512 + 512 + 64  # to collect a hop, to work on it, and a block
    assert link.has_workers
    chain.detach(engine)


@pytest.mark.parametrize("name", ["PitchShift", "GSMFullRateCompressor"])
def test_what_cannot_play_in_blocks_is_refused_with_the_reason(name: str) -> None:
    for live in (True, False):
        chain = Chain([Gain(), *board("Reverb")])
        engine = _native.Engine(RATE, 2, 64)
        chain.attach(engine, live=live)
        with pytest.raises(CspaceError, match=rf"{name.lower()} cannot play in blocks: .* Render a file"):
            chain.append(board(name)[0])
        assert chain.names == ["gain", "reverb"]
        chain.detach(engine)


def test_a_container_goes_the_way_of_what_is_in_it() -> None:
    pedalboard = pytest.importorskip("pedalboard")
    inner = pedalboard.Pedalboard([pedalboard.Gain(), pedalboard.PitchShift()])
    with pytest.raises(CspaceError, match="cannot play in blocks"):
        Member(inner, RATE, 2)
    # A Mix loses what it holds back for the slowest of its plugins at every call.
    with pytest.raises(CspaceError, match="cannot play in blocks"):
        Member(pedalboard.Mix([pedalboard.MP3Compressor(), pedalboard.Gain()]), RATE, 2)
    assert External.of(pedalboard.Mix([pedalboard.Reverb(), pedalboard.Gain()]), RATE, 2).latency_samples == 0


def test_one_plugin_plays_in_one_place_at_a_time() -> None:
    pedalboard = pytest.importorskip("pedalboard")
    plugin = pedalboard.Reverb()
    first, second = Chain([plugin]), Chain([Gain(), plugin])
    engine = _native.Engine(RATE, 2, 64)
    first.attach(engine)
    for wrong in (
        lambda: second.attach(_native.Engine(RATE, 2, 64)),
        lambda: second(np.zeros((2, 100), np.float32), RATE),
    ):
        with pytest.raises(CspaceError, match=r"plays live; stop the stream first"):
            wrong()
    first.detach(engine)
    second.attach(_native.Engine(RATE, 2, 64))


def test_a_time_is_refused_where_it_would_not_hold() -> None:
    chain = Chain([Gain(), *board("Reverb")])
    with pytest.raises(CspaceError, match=r"reverb\.room_size cannot be timed live.*render with automation"):
        chain.set("reverb.room_size", 0.9, time=48_000)
    assert chain["reverb"].room_size == 0.5
    chain.set("reverb.room_size", 0.9)
    assert chain["reverb"].room_size == pytest.approx(0.9)
