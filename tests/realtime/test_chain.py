"""The chain as a list, offline in the engine, and in step with a live engine."""

import copy
import time

import numpy as np
import pytest
from numpy.typing import NDArray

from cspace import _native
from cspace.plugins import CSpace, Eq, Gain, Limiter
from cspace.realtime import Chain, CspaceError

RATE = 48_000


def noise(channels: int = 2, frames: int = 4000, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-0.3, 0.3, (channels, frames)).astype(np.float32)


def test_it_is_a_list() -> None:
    eq, gain, limiter = Eq(), Gain(), Limiter()
    chain = Chain([eq, gain])
    chain.append(limiter)
    assert len(chain) == 3
    assert list(chain) == [eq, gain, limiter]
    assert chain[0] is eq
    assert chain[-1] is limiter
    assert chain["gain"] is gain
    assert chain[1:].names == ["gain", "limiter"]
    chain.insert(-1, Gain(gain_db=1.0))
    assert chain.names == ["eq", "gain", "gain2", "limiter"]
    del chain["gain"]
    assert chain.names == ["eq", "gain2", "limiter"]
    chain.move("limiter", 0)
    assert chain.names == ["limiter", "eq", "gain2"]
    assert chain.pop() == Gain(gain_db=1.0)
    chain.remove(eq)
    assert chain.names == ["limiter"]
    chain[0] = Limiter(ceiling_db=-3.0)
    assert chain.names == ["limiter"]
    chain[0] = CSpace()
    assert chain.names == ["cspace"]
    chain[:] = [Eq(), Eq()]
    assert chain.names == ["eq", "eq2"]
    chain.clear()
    assert len(chain) == 0
    assert repr(chain) == "Chain([])"


def test_equality_is_by_settings_names_and_bypass() -> None:
    a, b = Chain([Eq(), Gain()]), Chain([Eq(), Gain()])
    assert a == b
    b["gain"].gain_db = 1.0
    assert a != b
    a["gain"].gain_db = 1.0
    assert a == b
    a.bypass("gain")
    assert a != b


def test_wrong_edits_are_refused_and_change_nothing() -> None:
    gain = Gain()
    chain = Chain([gain, Eq()])
    with pytest.raises(CspaceError, match="in the chain already"):
        chain.append(gain)
    with pytest.raises(CspaceError, match="neither a cspace plugin nor a pedalboard one"):
        chain.append(42)
    with pytest.raises(CspaceError, match="name 'Ünruh' is not allowed"):
        chain.insert(0, Gain(), name="Ünruh")
    with pytest.raises(CspaceError, match="already"):
        chain.insert(0, Gain(), name="eq")
    with pytest.raises(CspaceError, match="no processor 'gian'; did you mean 'gain'"):
        chain["gian"]
    with pytest.raises(IndexError):
        chain[7]
    with pytest.raises(CspaceError, match="place 5"):
        chain.move(0, 5)
    with pytest.raises(CspaceError, match=r"write processor\.parameter"):
        chain.set("gain", 3.0)
    assert chain.names == ["gain", "eq"]


def test_equals_its_plugins_one_after_the_other() -> None:
    chain = Chain([CSpace(shift_hz=30.0, resynthesis=1.0), Eq(low_gain_db=6.0), Gain(gain_db=-3.0), Limiter()])
    x = noise(frames=9000)
    expected = x
    for plugin in chain:
        expected = plugin(expected, RATE)
    np.testing.assert_array_equal(chain(x, RATE), expected)
    assert chain.latency_samples == chain["limiter"].latency_samples > 0
    assert chain.tail_samples > 0


def test_blocks_do_not_matter() -> None:
    chain = Chain([CSpace(blur=3.0), Eq(band2_gain_db=9.0), Limiter()])
    x = noise(frames=5000)
    whole = chain(x, RATE, compensate=False)
    for size in (1, 64, 65, 777):
        np.testing.assert_array_equal(chain.process(x, RATE, buffer_size=size, compensate=False), whole)
    chain.reset()
    pieces = [chain.process(p, RATE, reset=False) for p in np.split(x, [1, 100, 3000], axis=1)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
    chain.reset()
    np.testing.assert_array_equal(chain.process(x, RATE, reset=False), whole)
    np.testing.assert_array_equal(chain(x[0], RATE), chain(x[:1], RATE)[0])
    assert chain(x[:, :0], RATE).shape == (2, 0)
    np.testing.assert_array_equal(Chain()(x, RATE), x)


def test_edits_reach_a_running_stream() -> None:
    chain = Chain([Gain()])
    one = np.ones((1, 4800), np.float32)

    def last() -> float:
        return float(chain.process(one, RATE, reset=False)[0, -1])

    assert last() == 1.0
    chain["gain"].gain_db = -120.0
    assert last() == 0.0
    chain["gain"].gain_db = 0.0
    chain.append(Gain(gain_db=20 * np.log10(2)))
    assert last() == pytest.approx(2.0, rel=1e-6)
    chain.bypass("gain2")
    assert last() == 1.0
    chain.bypass("gain2", False)
    assert last() == pytest.approx(2.0, rel=1e-6)
    chain[1] = Gain(gain_db=20 * np.log10(3))
    assert last() == pytest.approx(3.0, rel=1e-6)
    chain.move("gain2", 0)
    assert chain.names == ["gain2", "gain"]
    assert last() == pytest.approx(3.0, rel=1e-6)
    gone = chain.pop(0)
    assert last() == 1.0
    gone.gain_db = -120.0
    assert last() == 1.0


def test_a_live_engine_follows() -> None:
    chain = Chain([Eq(), Gain()])
    engine = _native.Engine(RATE, 2, 64)
    link = chain.attach(engine)
    assert engine.slots() == [link.id_of(s) for s in chain.slots]
    one = np.ones((2, 4800), np.float32)
    chain.set("gain.gain_db", -120.0, time=2400)
    y = engine.process(one)
    assert np.all(y[:, :2400] == 1.0)
    assert y[0, -1] == 0.0
    assert engine.get(link.id_of(chain.slot("gain")), "gain_db") == -120.0
    chain.append(CSpace(oscillators=8))
    engine.process(one)
    chain["cspace"].oscillators = 16  # a set-up parameter: the processor is built anew
    engine.process(one)
    tap = engine.subscribe(link.id_of(chain.slot("cspace")), "states", 64)
    assert tap.width == 32
    with pytest.raises(ValueError, match="low_hz must be the smaller one"):
        chain["cspace"].low_hz = 20_000.0
    assert chain["cspace"].low_hz == 40.0
    with pytest.raises(ValueError, match="cannot be timed"):
        chain.set("cspace.oscillators", 8, time=0)
    assert chain.latency_samples == engine.latency_samples
    with pytest.raises(CspaceError, match="empty engine"):
        Chain().attach(engine)
    chain.detach(engine)
    chain["gain"].gain_db = 6.0
    assert engine.get(engine.slots()[1], "gain_db") == -120.0


def test_a_refused_insert_leaves_list_and_engine_alone() -> None:
    chain = Chain([Gain()])
    engine = _native.Engine(RATE, 2, 64)
    chain.attach(engine)
    with pytest.raises(CspaceError, match="low_hz"):
        chain.append(CSpace(low_hz=500.0, high_hz=100.0))
    assert chain.names == ["gain"]
    assert len(engine.slots()) == 1


def test_a_render_does_not_disturb_the_live_engine() -> None:
    chain = Chain([CSpace(oscillators=4), Gain()])
    engine = _native.Engine(RATE, 2, 64)
    chain.attach(engine)
    x = noise(frames=2000)
    expected = chain(x, RATE)
    first = engine.process(x[:, :1000])
    chain(noise(seed=5), RATE)
    np.testing.assert_array_equal(np.concatenate([first, engine.process(x[:, 1000:])], axis=1), expected)


# ---- plugins from elsewhere ------------------------------------------------------------------


class Withholding:
    """Like a pedalboard plugin with a latency it takes out: gives `held` samples less at first."""

    def __init__(self, held: int, gain: float = 1.0):
        self.held, self.gain, self.calls, self.count = held, gain, set[int](), 0
        self.reset()

    def reset(self) -> None:
        self.waiting = self.held
        self.buffer = np.zeros((0, 0), np.float32)

    def process(
        self, audio: NDArray[np.float32], sample_rate: float, buffer_size: int, reset: bool
    ) -> NDArray[np.float32]:
        self.calls.add(audio.shape[1])
        if self.buffer.shape[0] != audio.shape[0]:
            self.buffer = np.zeros((audio.shape[0], 0), np.float32)
        both = np.concatenate([self.buffer, audio * np.float32(self.gain)], axis=1)
        give = max(0, audio.shape[1] - self.waiting)
        self.waiting -= audio.shape[1] - give
        self.buffer = both[:, give:]
        self.count += 1
        return both[:, :give]


@pytest.mark.parametrize("held", [0, 1, 511, 512, 5000])
def test_a_plugin_that_withholds_samples_has_a_constant_exact_latency(held: int) -> None:
    plugin = Withholding(held)
    chain = Chain([plugin, Gain()])
    x = noise(frames=12_000)
    late = 512 + held
    assert chain.latency_samples == late
    whole = chain(x, RATE, compensate=False)
    np.testing.assert_array_equal(whole[:, late:], x[:, :-late])
    assert not whole[:, :late].any()
    for size in (1000, 64, 13):
        np.testing.assert_array_equal(chain.process(x, RATE, buffer_size=size, compensate=False), whole)
    assert plugin.calls == {512}, "the plugin is always called with one size"
    np.testing.assert_array_equal(chain(x, RATE), x)


def test_live_it_runs_on_a_worker_thread() -> None:
    plugin = Withholding(100, gain=0.5)
    chain = Chain([Gain(), plugin])
    engine = _native.Engine(RATE, 1, 64)
    chain.attach(engine)
    late = chain.latency_samples
    assert late == engine.latency_samples == 512 + 512 + 512 + 64  # withheld in hops, collect, work, block
    x = noise(1, 9600)
    out = []
    before = plugin.count
    for i in range(0, 9600, 64):
        out.append(engine.process(np.ascontiguousarray(x[:, i : i + 64])))
        deadline = time.monotonic() + 60.0
        while plugin.count - before < (i + 64) // 512 and time.monotonic() < deadline:
            time.sleep(0.0005)  # a machine under load must not make the worker late here
    y = np.concatenate(out, axis=1)
    np.testing.assert_array_equal(y[:, late:], 0.5 * x[:, :-late])
    assert [s["late_blocks"] for s in engine.stats()["slots"]] == [0, 0]
    with pytest.raises(CspaceError, match="plays live; stop the stream first"):
        chain(x, RATE)
    worker = chain._links[0]._runs[0].worker
    assert worker is not None
    del chain[1]
    assert not worker._thread.is_alive()


def test_pedalboard_effects_sit_in_the_chain() -> None:
    pedalboard = pytest.importorskip("pedalboard")
    chain = Chain([Eq(), pedalboard.Compressor(threshold_db=-20, ratio=4), Gain(gain_db=-6.0)])
    assert chain.names == ["eq", "compressor", "gain"]
    x = noise(frames=20_000)
    expected = 10 ** (-6 / 20) * pedalboard.Compressor(threshold_db=-20, ratio=4)(x, RATE, buffer_size=512)
    assert chain.latency_samples == 0  # it takes pieces of any size, so nothing is collected for it
    np.testing.assert_allclose(chain(x, RATE), expected, rtol=1e-5, atol=1e-7)
    chain.set("compressor.ratio", 8.0)
    assert chain["compressor"].ratio == 8.0
    with pytest.raises(ValueError, match="no parameter 'ratoi'; did you mean 'ratio'"):
        chain.set("compressor.ratoi", 8.0)
    with pytest.raises(ValueError, match=r"compressor\.ratio"):
        chain.set("compressor.ratio", "loud")


def test_copies_are_independent() -> None:
    a = Eq(low_gain_db=3.0)
    b = copy.copy(a)
    Chain([a, b])
    b.low_gain_db = 1.0
    assert a.low_gain_db == 3.0


def test_files_stay_at_the_ends_whatever_is_edited() -> None:
    engine = _native.Engine(48_000, 2, 64)
    chain = Chain([Gain(gain_db=-6.0)])
    link = chain.attach(engine)
    player = engine.insert_player(0, 1.0)
    link.offset = 1
    recorder = engine.insert_recorder(99, 1.0)

    def in_order() -> bool:
        # Long enough for fades; what is heard is what was fed, halved once for every -6 dB.
        silence = np.zeros((2, 2048), np.float32)
        assert player.feed(silence + 0.5) == 2048
        y = engine.process(silence)
        assert np.array_equal(recorder.drain(9999), y)
        offline = chain.process(silence[:, -1:] + 0.5, 48_000)
        assert np.allclose(y[:, -1:], offline, atol=1e-6)
        return engine.slots() == [player.slot, *(link.id_of(s) for s in chain.slots), recorder.slot]

    assert in_order()
    chain.append(Gain(gain_db=3.0))
    assert in_order()
    chain.insert(0, Gain(gain_db=-3.0))
    assert in_order()
    chain.move(0, 2)
    assert in_order()
    chain.move(2, 0)
    assert in_order()
    chain[1] = Gain(gain_db=-12.0)
    chain[0] = Eq()
    assert in_order()
    del chain[0]
    chain.move(0, 1)
    del chain[1]
    assert in_order()
    del chain[:]
    assert in_order()
    chain.append(Gain(gain_db=1.0))
    assert in_order()
    assert not player.finished
    player.end()
    assert player.finished
    assert player.played == engine.sample_time
    assert recorder.dropped == 0
    assert [s["late_blocks"] for s in engine.stats()["slots"]] == [0] * 3
    with pytest.raises(ValueError, match="ring_seconds"):
        engine.insert_player(0, 0.0)
    with pytest.raises(ValueError, match="shape"):
        player.feed(np.zeros((3, 4), np.float32))
