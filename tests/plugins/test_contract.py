"""The contract of a processor, seen from Python, for every plugin found."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cspace import plugins
from cspace.plugins import AudioError, CspaceError, NativePlugin

RATE = 48_000
every_plugin = pytest.mark.parametrize("kind", plugins.all_plugins(), ids=lambda c: c.native_name)


def signal(channels: int, frames: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    t = np.arange(frames) / RATE
    x = 0.2 * np.sin(2 * np.pi * 220 * t) + 0.1 * rng.standard_normal((channels, frames))
    return x.astype(np.float32)


def moved(kind: type[NativePlugin]) -> NativePlugin:
    """A plugin with every continuous live parameter off its default."""
    plugin = kind()
    for p in kind.info["params"]:
        if p["scale"] in ("linear", "log") and not p["setup"]:
            room = p["max"] if p["default"] < 0.5 * (p["min"] + p["max"]) else p["min"]
            setattr(plugin, p["name"], p["default"] + 0.2 * (room - p["default"]))
    return plugin


@every_plugin
@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_do_not_matter_and_reset_starts_over(kind: type[NativePlugin], channels: int) -> None:
    x = signal(channels, 3000)
    for plugin in (kind(), moved(kind)):
        whole = plugin(x, RATE, compensate=False)
        assert whole.shape == x.shape
        assert whole.dtype == np.float32
        assert np.isfinite(whole).all()
        for size in (1, 64, 65, 1024):
            cut = plugin.process(x, RATE, buffer_size=size, compensate=False)
            np.testing.assert_array_equal(cut, whole, err_msg=f"blocks of {size}")
        rng = np.random.default_rng(2)
        cuts = np.sort(rng.integers(0, 3000, 9))
        plugin.reset()
        pieces = [plugin.process(p, RATE, reset=False) for p in np.split(x, cuts, axis=1)]
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole, err_msg="a stream in pieces")


@every_plugin
def test_mono_comes_back_as_it_went(kind: type[NativePlugin]) -> None:
    x = signal(1, 500)
    plugin = kind()
    y = plugin(x[0], RATE)
    assert y.shape == (500,)
    np.testing.assert_array_equal(plugin(x, RATE)[0], y)
    assert plugin(x[:, :0], RATE).shape == (1, 0)
    np.testing.assert_array_equal(plugin(x.astype(np.float64), RATE), y[None])
    np.testing.assert_array_equal(plugin(np.asfortranarray(x), RATE), y[None])


@every_plugin
def test_latency_is_what_an_impulse_measures(kind: type[NativePlugin]) -> None:
    x = np.zeros((1, 8192), np.float32)
    base = kind()(x, RATE, compensate=False)
    x[0, 0] = 0.5
    plugin = kind()
    delta = np.abs(plugin(x, RATE, compensate=False) - base)
    assert int(np.argmax(delta)) == plugin.latency_samples
    assert plugin.tail_samples >= 0


@every_plugin
def test_state_saves_and_restores(kind: type[NativePlugin]) -> None:
    x = signal(2, 4000)
    plugin = moved(kind)
    plugin(x[:, :2000], RATE)
    state = plugin.save_state()
    rest = plugin.process(x[:, 2000:], RATE, reset=False)
    twin = moved(kind)
    twin.load_state(state)
    np.testing.assert_array_equal(twin.process(x[:, 2000:], RATE, reset=False), rest)
    for broken in (b"", b"nonsense", state[:-1] if len(state) > 40 else b"x", b"CSP1" + b"\xff" * 40):
        with pytest.raises(ValueError, match=r"state|settings|belongs"):
            moved(kind).load_state(broken)


@every_plugin
def test_taps_can_be_read(kind: type[NativePlugin]) -> None:
    plugin = kind()
    for tap in kind.info["taps"]:
        with pytest.raises(CspaceError, match="process some audio first"):
            plugin.tap(tap["name"])
    plugin(signal(2, 2000), RATE)
    for tap in kind.info["taps"]:
        values = plugin.tap(tap["name"])
        assert values.dtype == np.float32
        assert values.ndim == 1
        assert np.isfinite(values).all()
    with pytest.raises(ValueError, match="has no tap"):
        plugin.tap("no such tap")


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros((2, 3, 4), np.float32), RATE, "shape"),
        (np.zeros((500, 2), np.float32), RATE, r"audio\.T"),
        (np.zeros((0, 100), np.float32), RATE, "0 channels"),
        (np.zeros((2, 100), np.int16), RATE, "full scale"),
        (np.zeros((2, 100), np.complex64), RATE, "floating point"),
        ("noise", RATE, "floating point"),
        (np.zeros((2, 100), np.float32), 7_999, "sample rate"),
        (np.zeros((2, 100), np.float32), np.nan, "sample rate"),
    ],
)
def test_audio_that_cannot_be_is_refused(audio: object, rate: float, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        plugins.Gain()(audio, rate)


def test_buffer_size_must_be_positive() -> None:
    with pytest.raises(AudioError, match="buffer_size"):
        plugins.Gain().process(np.zeros(10, np.float32), RATE, buffer_size=0)


def test_the_base_class_and_unknown_processors_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="base class"):
        NativePlugin()
    with pytest.raises(LookupError, match="no processor 'nothing'"):
        type("Nothing", (NativePlugin,), {}, native="nothing")
    with pytest.raises(TypeError, match="hides an attribute"):
        type("Clash", (NativePlugin,), {"gain_db": 1}, native="gain")


def test_several_settings_go_in_together_or_not_at_all() -> None:
    eq = plugins.Eq()
    with pytest.raises(ValueError, match="band1_q"):
        eq.update(low_gain_db=3.0, band1_q=99.0)
    assert eq == plugins.Eq()
    eq.update(low_gain_db=3.0, band1_q=2.0)
    assert (eq.low_gain_db, eq.band1_q) == (3.0, 2.0)


def test_settings_that_cannot_work_together_are_named() -> None:
    space = plugins.CSpace(low_hz=5_000.0, high_hz=100.0)
    with pytest.raises(ValueError, match="low_hz must be the smaller one"):
        space(signal(1, 100), RATE)


def test_presets_are_taken_over() -> None:
    a, b = plugins.CSpace(), plugins.CSpace(oscillators=8, band_gain_db=np.zeros(8), blur=3.0)
    a(signal(1, 100), RATE)
    a.take(b)
    assert a == b
    a.take(plugins.CSpace())
    assert a == plugins.CSpace()
    with pytest.raises(ValueError, match="cannot take the settings of a gain"):
        a.take(plugins.Gain())
