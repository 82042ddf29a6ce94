"""Plugins called with audio: where sound comes out, streams in pieces, bad samples, threads, copies and pickles."""

import copy
import multiprocessing
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cspace import plugins
from cspace.plugins import AdaptiveEq, AudioError, Codec, CSpace, CspaceWarning, Eq, Gain, Limiter, Mix, NativePlugin
from cspace.realtime import Chain

RATE = 48_000
every_plugin = pytest.mark.parametrize("kind", plugins.all_plugins(), ids=lambda c: c.native_name)


def noise(channels: int = 2, frames: int = 6000, level: float = 0.1) -> NDArray[np.float32]:
    return (level * np.random.default_rng(3).standard_normal((channels, frames))).astype(np.float32)


def pieces(player: Any, x: NDArray[np.float32], cuts: list[int], **how: Any) -> NDArray[np.float32]:
    parts = np.split(x, cuts, axis=-1)
    return np.concatenate([player(p, RATE, reset=i == 0, **how) for i, p in enumerate(parts)], axis=-1)


# ---- where sound comes out --------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 1000, 5999])
def test_a_whole_call_leaves_sound_where_it_was(place: int) -> None:
    x = np.zeros((2, 6000), np.float32)
    x[:, place] = 0.5
    limiter = Limiter()
    for player in (limiter, Chain([Gain(), Limiter()]), Chain([Limiter(), Limiter(lookahead_ms=5.0)])):
        y = player(x, RATE)
        assert y.shape == x.shape
        assert int(np.abs(y[0]).argmax()) == place
    late = limiter.latency_samples
    raw = limiter(x, RATE, compensate=False)
    np.testing.assert_array_equal(raw[:, late:], limiter(x, RATE)[:, : 6000 - late])
    mono = limiter(x[0], RATE)
    assert mono.shape == (6000,)
    assert limiter(x[:, :0], RATE).shape == (2, 0)
    assert limiter(x[:, :5], RATE).shape == (2, 5)  # shorter than the latency


@pytest.mark.parametrize("cuts", [[3000], [1, 2, 50], [100, 100, 5000]])
def test_pieces_are_the_whole(cuts: list[int]) -> None:
    x = noise()
    makes = (
        Limiter,
        lambda: CSpace(oscillators=16, blur=20.0),
        lambda: Eq(low_gain_db=12.0),
        lambda: Mix(dc_block=True),
    )
    for make in makes:
        for wrap in (lambda p: p, lambda p: Chain([p]), lambda p: Chain([Gain(gain_db=-3.0), p, AdaptiveEq()])):
            whole = wrap(make())(x, RATE)
            # Below its ceiling the limiter only delays, by an interpolation that is exact at whole samples.
            np.testing.assert_allclose(pieces(wrap(make()), x, cuts), whole, atol=1e-6)
            raw = wrap(make())(x, RATE, compensate=False)
            np.testing.assert_array_equal(pieces(wrap(make()), x, cuts, compensate=False), raw)


def test_another_rate_or_width_between_begins_from_silence() -> None:
    x = noise()
    for player in (Eq(low_gain_db=12.0), Chain([Eq(low_gain_db=12.0)])):
        player(x, RATE)
        np.testing.assert_array_equal(player(x[0], RATE, reset=False), player(x[0], RATE))
        player(x, RATE)
        np.testing.assert_array_equal(player(x, 44_100, reset=False), player(x, 44_100))


def test_looking_for_the_end_changes_nothing_that_follows() -> None:
    """A limiter at work: what comes after the seam is the stream's own, to the bit."""
    x = noise(level=0.6)
    for make in (Limiter, lambda: Chain([Limiter(), Gain()])):
        raw = make()(x, RATE, compensate=False)
        player = make()
        first = player(x[:, :3000], RATE)
        late = player.latency_samples
        rest = player(x[:, 3000:], RATE, reset=False, compensate=False)
        np.testing.assert_array_equal(first[:, : 3000 - late], raw[:, late:3000])
        np.testing.assert_array_equal(rest, raw[:, 3000:])


# ---- samples that are no numbers ---------------------------------------------------------------


@every_plugin
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_sample_is_played_as_0_and_told(kind: type[NativePlugin], bad: float) -> None:
    x = noise(frames=2000)
    zeroed, spoiled = x.copy(), x.copy()
    zeroed[1, 100], spoiled[1, 100] = 0.0, bad
    plugin, clean = kind(), kind()
    expected = clean(zeroed, RATE, reset=False)
    with pytest.warns(CspaceWarning, match=f"^{kind.native_name}: 1 sample of the input was NaN or Inf") as told:
        np.testing.assert_array_equal(plugin(spoiled, RATE, reset=False), expected)
    assert len(told) == 1
    assert told[0].filename == __file__
    np.testing.assert_array_equal(plugin(x, RATE, reset=False), clean(x, RATE, reset=False))
    with pytest.warns(CspaceWarning, match="^chain: 1 sample of the input"):
        Chain([kind()])(spoiled[1], RATE)


@pytest.mark.parametrize("make", [lambda: Eq(low_gain_db=24.0), lambda: Gain(gain_db=24.0)])
def test_a_plugin_that_overflows_is_muted_reset_and_told(make: Any) -> None:
    x = noise(frames=4800)
    x[0, 100:2000] = 3e38  # 24 dB more is beyond float32
    for player in (make(), Chain([make()])):
        with pytest.warns(CspaceWarning, match="gave NaN or Inf and was muted and reset"):
            player(x, RATE, reset=False)
        for _ in range(3):
            y = player(noise(frames=4800), RATE, reset=False)
        assert np.isfinite(y).all()
        assert np.abs(y).max() > 0.01


def test_alone_and_in_a_chain_a_fault_sounds_the_same() -> None:
    x = noise(frames=6000)
    x[0, 2500:2600] = 3e38
    with pytest.warns(CspaceWarning):
        alone = Eq(low_gain_db=24.0)(x, RATE)
    with pytest.warns(CspaceWarning, match="eq gave NaN or Inf and was muted and reset"):
        np.testing.assert_array_equal(Chain([Eq(low_gain_db=24.0)])(x, RATE), alone)


# ---- threads ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: CSpace(oscillators=16, blur=4.0),
        lambda: Chain([CSpace(oscillators=16), Limiter()]),
        lambda: Codec("phase96"),
        lambda: Chain([Codec("phase96")]),
    ],
)
def test_several_threads_get_what_one_gets(make: Any) -> None:
    player, x = make(), noise(frames=3000)
    rate = 24_000
    expected = player(x, rate)
    wrong: list[str] = []

    def run() -> None:
        try:
            for _ in range(3):
                if not np.array_equal(player(x, rate), expected):
                    wrong.append("other samples")
                assert player.latency_samples >= 0
        except Exception as e:
            wrong.append(repr(e))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60.0)
        assert not t.is_alive(), "a deadlock"
    assert wrong == []


def test_settings_move_while_another_thread_calls() -> None:
    gain, x = Gain(), np.ones((1, 2000), np.float32)
    chain = Chain([gain, Eq()])
    stop = threading.Event()
    wrong: list[str] = []

    def run(player: Any) -> None:
        try:
            while not stop.is_set():
                assert np.isfinite(player(x, RATE, reset=False)).all()
        except Exception as e:
            wrong.append(repr(e))

    threads = [threading.Thread(target=run, args=(p,), daemon=True) for p in (gain, chain)]
    for t in threads:
        t.start()
    for i in range(100):
        gain.gain_db = float(-(i % 40))
        if i % 10 == 0:
            chain.insert(0, Mix())
            chain.reverse()
            chain.pop(-1)
    stop.set()
    for t in threads:
        t.join(60.0)
        assert not t.is_alive(), "a deadlock"
    assert wrong == []
    gain.gain_db = -20.0
    assert gain(x, RATE)[0, -1] == pytest.approx(0.1, rel=1e-6)


# ---- copies and pickles -------------------------------------------------------------------------


class MyGain(Gain):
    note: str = ""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._mine = ["own"]


def every_kind() -> list[Any]:
    made: list[Any] = [kind() for kind in plugins.all_plugins()]
    made += [
        AdaptiveEq(word="warm"),
        Codec("phase96", quality=48.0),
        CSpace(oscillators=4, band_gain_db=[0, -1, -2, -3]),
    ]
    made += [MyGain(gain_db=-3.0)]
    return made


@pytest.mark.parametrize("plugin", every_kind(), ids=lambda p: type(p).__name__)
def test_copies_and_pickles_before_and_after_use(plugin: Any) -> None:
    x, rate = noise(frames=1000), 24_000
    for used in (False, True):
        if used:
            plugin(x, rate)
            plugin(x, rate, reset=False)
        for twin in (copy.copy(plugin), copy.deepcopy(plugin), pickle.loads(pickle.dumps(plugin))):
            assert type(twin) is type(plugin)
            assert twin == plugin
            np.testing.assert_array_equal(twin(x, rate), plugin(x, rate))
            for name in twin._arrays:
                assert not twin.get_array(name).flags.writeable
    if isinstance(plugin, MyGain):
        plugin.note = "kept"
        twin = pickle.loads(pickle.dumps(plugin))
        assert (twin.note, twin._mine) == ("kept", ["own"])
        assert copy.deepcopy(plugin)._mine is not plugin._mine


def _play(chain: Chain) -> NDArray[np.float32]:
    return chain(noise(frames=500), 24_000)


def test_chains_go_to_spawned_processes_and_data_loaders() -> None:
    chain = Chain([Eq(low_gain_db=3.0), Codec("phase96"), Limiter()], title="mine")
    chain.bypass("limiter")
    expected = _play(chain)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.map(_play, [chain])[0], expected)


# ---- slips --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.ma.masked_array(np.zeros((2, 9), np.float32), mask=True), RATE, r"audio\.filled"),
        (np.zeros((2, 9), np.int16), RATE, r"/ 32768"),
        (np.zeros((2, 9), np.int32), RATE, r"/ 2147483648"),
        (np.zeros((2, 9), np.complex64), RATE, r"audio\.real"),
        (np.array([[1, "a"]], object), RATE, "floating point"),
        (RATE, np.zeros((2, 9), np.float32), "audio comes first"),
        ([[0.0, 1.0], [0.0]], RATE, "is no array"),
        (None, RATE, "not a NoneType"),
        (np.zeros((2, 9), np.float32), "48000", "use 8000 to 192000 Hz|use a number from 8000 to 192000 Hz"),
        (np.zeros((2, 9), np.float32), True, "from 8000 to 192000 Hz"),
        (np.zeros((2, 9), np.float32), 0, "8000 to 192000 Hz"),
        (np.zeros((2, 9), np.float32), np.zeros(2), "sample_rate is an array"),
    ],
)
def test_audio_that_cannot_be_is_told_with_the_mend(audio: Any, rate: Any, message: str) -> None:
    for player in (Gain(), Chain([Gain()])):
        with pytest.raises(AudioError, match=message):
            player(audio, rate)


@pytest.mark.parametrize("size", [0, -1, 0.5, np.nan, True, "1"])
def test_a_buffer_that_cannot_be_is_told(size: Any) -> None:
    with pytest.raises(AudioError, match="buffer_size"):
        Gain().process(noise(), RATE, buffer_size=size)


def test_audio_of_any_floating_kind_and_layout_will_do() -> None:
    x = noise(frames=100)
    frozen = x.copy()
    frozen.flags.writeable = False
    for audio in (x.tolist(), frozen, np.asfortranarray(x), np.repeat(x, 2, axis=1)[:, ::2], x.astype(">f4")):
        np.testing.assert_array_equal(Gain()(audio, RATE), x)
    np.testing.assert_allclose(Gain()(x.astype(np.float16), RATE), x, atol=5e-4)  # half precision: 11 bits of 0.5


# ---- arrays that are unset ----------------------------------------------------------------------


def test_none_unsets_an_array_everywhere() -> None:
    x = noise()
    neutral = CSpace(oscillators=4, resynthesis=1.0)(x, RATE)
    space = CSpace(oscillators=4, resynthesis=1.0, band_gain_db=[0.0, -60.0, -60.0, -60.0])
    chain = Chain([space])
    assert not np.allclose(chain(x, RATE), neutral)
    chain(x, RATE, reset=False)  # a stream that follows
    for unset in (
        lambda: setattr(space, "band_gain_db", None),
        lambda: space.update(band_gain_db=None),
        lambda: space.set_array("band_gain_db", None),
        lambda: space.take(CSpace(oscillators=4, resynthesis=1.0)),
    ):
        space.band_gain_db = [0.0, -60.0, -60.0, -60.0]
        assert not np.allclose(space(x, RATE), neutral)
        unset()
        assert space.band_gain_db is None
        assert "band_gain_db" not in space.to_dict()
        np.testing.assert_array_equal(space(x, RATE), neutral)
        np.testing.assert_array_equal(chain(x, RATE), neutral)
    space.band_gain_db = None  # unset already
    with pytest.raises(ValueError, match="band_gain_db is an array"):
        space.set_param("band_gain_db", 1.0)
