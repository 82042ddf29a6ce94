"""The adaptive equaliser: what words do, what it does where it cannot know, live equals offline, no click, no delay."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile as sf
from numpy.typing import NDArray

from cspace import _native
from cspace.offline.eq.signals import ensemble, pink_noise
from cspace.plugins import AdaptiveEq, AudioError, CspaceError, CspaceWarning, Eq, ParameterError
from cspace.plugins._adaptive import model as models
from cspace.plugins._adaptive.brain import MODES, Brain
from cspace.plugins._adaptive.curve import FLAT, grid, response_db
from cspace.plugins._adaptive.live import LivePilot
from cspace.plugins._adaptive.spectrum import spectrum_of
from cspace.realtime import Chain, chainfile
from cspace.realtime.clock import Clock
from cspace.realtime.control import Control
from cspace.realtime.osc import OscHandler, encode
from cspace.realtime.render import render
from cspace.realtime.stream import Stream
from tests.waiting import until

RATE = 48_000
F32 = NDArray[np.float32]
MODEL = models.default()
WARM = MODEL.words["warm"]
MUSIC: F32 = np.stack([ensemble(4.0, RATE, 5), ensemble(4.0, RATE, 6)])
NOISE = pink_noise(6.0, RATE, 77)


def tilt(x: F32) -> float:
    return spectrum_of(x, RATE, MODEL.bands).tilt_db_per_octave()


def shape_error(got: Any, wanted: Any) -> float:
    wrong = np.asarray(got) - np.asarray(wanted)
    return float(np.abs(wrong - wrong.mean()).mean())


# ---- words -----------------------------------------------------------------------------------


def test_words_go_the_way_people_say() -> None:
    still = tilt(MUSIC)
    warm = [tilt(AdaptiveEq(word="warm", intensity=i)(MUSIC, RATE)) for i in (0.35, 0.7, 1.0)]
    bright = [tilt(AdaptiveEq(word="bright", intensity=i)(MUSIC, RATE)) for i in (0.35, 0.7, 1.0)]
    assert still > warm[0] > warm[1] > warm[2]
    assert still < bright[0] < bright[1] < bright[2]
    assert tilt(AdaptiveEq(word="warm", intensity=-0.7)(MUSIC, RATE)) > still, "below 0 leads away"


def test_a_blend_lies_between_its_words() -> None:
    tilts = [
        tilt(AdaptiveEq(blend=f"warm:{w} + bright:{1 - w}", mode="static")(MUSIC, RATE)) for w in (1.0, 0.6, 0.4, 0.0)
    ]
    assert tilts == sorted(tilts)
    both = AdaptiveEq(blend="warm:3 + bright:1")
    assert (both.word, both.blend) == ("", "warm:3 + bright:1")
    both.word = "bright"
    assert (both.word, both.blend) == ("bright", ""), "the last one counts"


@pytest.mark.parametrize("mode", MODES)
def test_intensity_0_is_the_input_bit_for_bit(mode: str) -> None:
    plugin = AdaptiveEq(word="warm", intensity=0.0, mode=mode, match_loudness=True)
    np.testing.assert_array_equal(plugin(MUSIC, RATE), MUSIC)
    np.testing.assert_array_equal(AdaptiveEq(mode=mode)(MUSIC, RATE), MUSIC)


def test_no_word_is_no_change_and_says_so() -> None:
    plugin = AdaptiveEq()
    assert plugin.status == "idle"
    plugin(MUSIC, RATE)
    assert plugin.status == "flat: no word is set"
    plugin.blend = "  "
    assert plugin.blend == ""


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"word": "wram"}, "does not know the word 'wram'; did you mean 'warm'"),
        ({"word": "qqqq"}, "does not know the word 'qqqq'; known are warm, bright"),
        ({"word": 3}, r"adaptive_eq\.word is set to a int"),
        ({"blend": "warm:0.5 + brigth"}, "did you mean 'bright'"),
        ({"blend": "warm:0 + bright:0"}, "all shares of the blend .* are 0"),
        ({"blend": "warm + + bright"}, "is no word with a share; write warm:0.6"),
        ({"blend": "warm:-1"}, "is no word with a share"),
        ({"blend": "warm:nan"}, "is no word with a share"),
        ({"blend": " + ".join(list(MODEL.words)[:9])}, "has 9 words, at most 8"),
        ({"blend": "warm" * 100}, "too long"),
        ({"intensity": 1.2}, r"adaptive_eq\.intensity.*use -1 to 1"),
        ({"mode": "gate"}, "gated"),
    ],
)
def test_bad_settings_are_named_and_change_nothing(settings: dict[str, Any], reason: str) -> None:
    plugin = AdaptiveEq(word="airy", intensity=0.3)
    before = plugin.to_dict()
    with pytest.raises(ParameterError, match=reason):
        plugin.update(intensity=0.9, **settings) if "intensity" not in settings else plugin.update(**settings)
    (name,) = settings
    with pytest.raises(ParameterError, match=reason):
        plugin.check(name, settings[name])
    assert plugin.to_dict() == before


# ---- what it hears ---------------------------------------------------------------------------


def carrying(setting: Any, x: F32 = NOISE) -> F32:
    from cspace.offline.eq.evaluate import filtered

    return filtered(x, setting)


SETTING = np.array([4.0, 160, -3.0, 600, 1.0, 2.5, 1500, 0.8, -4.0, 4000, 1.2, -5.0, 9000], np.float64)


def test_residual_leads_from_what_is_heard_to_the_word_and_stays_there() -> None:
    freqs = grid(100)
    brain, x, total = Brain(MODEL, RATE), carrying(SETTING), response_db(SETTING, freqs)
    wanted = response_db(MODEL.decode(WARM.z), freqs)
    before = shape_error(total, wanted)
    for _ in range(5):
        made = brain.decide(spectrum_of(x, RATE, MODEL.bands), {"warm": 1.0}, 1.0, "residual")
        assert made.mode == "residual"
        assert made.confidence > 0.5
        total = total + response_db(made.setting, freqs)
        assert shape_error(total, wanted) < min(0.75, 0.4 * before)
        x = carrying(made.setting, x)


def test_where_it_cannot_know_it_is_gated_and_says_so() -> None:
    plugin = AdaptiveEq(word="warm", mode="residual")
    y = plugin(MUSIC, RATE)
    assert plugin.status.startswith("gated: the encoder expects an error of")
    assert "without a dry reference" in plugin.status
    assert plugin.tap("confidence")[0] < 0.5
    gated = AdaptiveEq(word="warm")
    np.testing.assert_array_equal(y, gated(MUSIC, RATE))
    assert gated.status == "gated"


def test_beside_its_dry_self_a_piece_is_told() -> None:
    wet = np.stack([carrying(SETTING, c) for c in MUSIC])
    heard = MODEL.hear(spectrum_of(wet, RATE, MODEL.bands), spectrum_of(MUSIC, RATE, MODEL.bands))
    freqs = grid(100, 40.0, 16_000.0)
    carried = response_db(SETTING, freqs)
    assert shape_error(response_db(heard.setting, freqs), carried) < 0.35 * shape_error(np.zeros(100), carried)
    plugin = AdaptiveEq(word="bright", mode="residual", intensity=1.0, first_analysis_s=3.9, memory_s=120.0)
    plugin.set_reference(MUSIC, RATE)
    plugin(wet, RATE)
    assert plugin.status == "residual"
    plugin.set_reference(None, RATE)
    plugin(wet, RATE)
    assert plugin.status.startswith("gated: ")
    with pytest.raises(AudioError, match="too little to judge"):
        plugin.set_reference(np.zeros(RATE, np.float32), RATE)


def test_a_sound_gets_less_of_what_it_has() -> None:
    gates = []
    for setting in (MODEL.decode(WARM.z), FLAT, MODEL.decode(MODEL.words["bright"].z)):
        plugin = AdaptiveEq(word="warm")
        plugin(np.stack([carrying(setting, c) for c in MUSIC]), RATE)
        gates.append(float(plugin.tap("gate")[0]))
    assert gates == sorted(gates)
    assert gates[2] - gates[0] > 0.1


def test_the_level_does_not_matter() -> None:
    settings = []
    for gain in (1.0, 0.03, 7.0):
        plugin = AdaptiveEq(word="warm")
        plugin(np.float32(gain) * MUSIC, RATE)
        settings.append(plugin.tap("setting"))
    # Levels leave the decision after float32 rounding of the sound alone: 1e-7 seen.
    np.testing.assert_allclose(settings[1], settings[0], rtol=1e-3)
    np.testing.assert_allclose(settings[2], settings[0], rtol=1e-3)


def test_matched_loudness_is_matched() -> None:
    from cspace.offline.eq.loudness import loudness_lufs

    for word in ("warm", "thin"):
        plain, matched = (AdaptiveEq(word=word, mode="static", intensity=1.0, match_loudness=m) for m in (False, True))
        x = np.concatenate([MUSIC, MUSIC], axis=1)
        change = [
            loudness_lufs(p(x, RATE)[:, 2 * RATE :], RATE) - loudness_lufs(x[:, 2 * RATE :], RATE)
            for p in (plain, matched)
        ]
        assert abs(change[0]) > 0.7
        # What is matched is the loudness of the piece as analysed so far, not of its end; 0.48 dB seen, float64 of
        # fixed sounds, the same to 1e-6 on every kernel.
        assert abs(change[1]) < 0.5


# ---- edge cases ------------------------------------------------------------------------------


def test_silence_stays_silence_and_is_never_judged() -> None:
    plugin = AdaptiveEq(word="warm")
    assert not plugin(np.zeros((2, 3 * RATE), np.float32), RATE).any()
    assert plugin.status == "flat: nothing was heard yet"
    assert plugin.tap("gate")[0] == 1.0


def test_too_short_a_sound_is_left_alone_and_static_needs_no_sound() -> None:
    x = MUSIC[:, : RATE // 5]
    plugin = AdaptiveEq(word="warm")
    np.testing.assert_array_equal(plugin(x, RATE), x)
    assert plugin.status == "flat: nothing was heard yet"
    static = AdaptiveEq(word="warm", mode="static", intensity=1.0)
    plain = static.eq()
    y = static(x, RATE)
    assert static.status == "static"
    assert not np.array_equal(y, plain(x, RATE))
    # Knobs that were set against knobs that glided there: float32 knobs.
    np.testing.assert_allclose(static.eq()(x, RATE), y, atol=1e-6)  # from the first sample


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_channel_count(rate: int, channels: int) -> None:
    one = pink_noise(2.5, rate, 3)
    x = np.stack([one * (1 + c) / channels for c in range(channels)])
    if channels == 1:
        x = x[0]
    plugin = AdaptiveEq(word="warm", intensity=1.0)
    y = plugin(x, rate)
    assert y.shape == x.shape
    assert np.isfinite(y).all()
    assert plugin.status == "gated"
    before, after = (spectrum_of(v, rate, MODEL.bands).tilt_db_per_octave() for v in (x, y))
    assert after < before
    if channels > 1:  # all channels go through one filter: the balance stays
        # One filter on two levels: float32, 1e-6 of the loudest.
        np.testing.assert_allclose(y[-1], channels * y[0], rtol=1e-3, atol=1e-5)


def test_bad_samples_do_not_reach_the_decision() -> None:
    x = MUSIC.copy()
    x[0, 60_000] = np.nan
    x[1, 130_000] = np.inf
    plugin = AdaptiveEq(word="warm", period_s=0.2)
    with pytest.warns(CspaceWarning, match="2 samples of the input were NaN or Inf"):
        plugin(x, RATE)
    assert np.isfinite(plugin.tap("setting")).all()
    clean = AdaptiveEq(word="warm", period_s=0.2)
    clean(MUSIC, RATE)
    # Two analyses of twenty are without their bad frames: 0.04 seen.
    np.testing.assert_allclose(plugin.tap("likeness"), clean.tap("likeness"), atol=0.5)


# ---- time ------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffer", [1, 64, 1000, 8192])
def test_blocks_do_not_matter(buffer: int) -> None:
    x = MUSIC[:, : 2 * RATE] if buffer > 1 else MUSIC[:, :30_000]
    settings: dict[str, Any] = {"word": "bright", "first_analysis_s": 0.5, "period_s": 0.3}
    np.testing.assert_array_equal(AdaptiveEq(**settings)(x, RATE, buffer_size=buffer), AdaptiveEq(**settings)(x, RATE))


def test_it_goes_on_where_it_was_and_reset_starts_over() -> None:
    whole = AdaptiveEq(word="bright")(MUSIC, RATE)
    plugin = AdaptiveEq(word="bright")
    parts = [plugin(MUSIC[:, :70_001], RATE), plugin(MUSIC[:, 70_001:], RATE, reset=False)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    plugin.reset()
    np.testing.assert_array_equal(plugin(MUSIC, RATE, reset=False), whole)
    assert plugin.latency_samples == 0


def test_first_analysis_and_period_are_kept() -> None:
    plugin = AdaptiveEq(word="bright", first_analysis_s=1.5, intensity=1.0)
    y = plugin(MUSIC, RATE)
    moved = np.flatnonzero((y != MUSIC).any(axis=0))[0] / RATE
    assert 1.5 <= moved < 1.6
    for period, count in ((0.5, 6), (2.0, 2)):
        plugin = AdaptiveEq(word="bright", period_s=period)
        plugin(MUSIC, RATE)
        assert plugin._last is not None
        assert abs(plugin._last.analyses - count) <= 1


def test_frozen_ears_keep_the_decision_while_the_word_moves() -> None:
    plugin = AdaptiveEq(word="warm", period_s=0.2)
    plugin(NOISE, RATE)
    likeness = plugin.tap("likeness")[0]
    plugin.freeze = True
    dull = carrying(MODEL.decode(MODEL.words["bright"].z))
    plugin(dull, RATE, reset=False)
    assert plugin.tap("likeness")[0] == likeness
    plugin.intensity = 0.0
    y = plugin(dull, RATE, reset=False)
    np.testing.assert_array_equal(y[RATE:], dull[RATE:])
    plugin.freeze = False
    plugin.intensity = 0.7
    plugin(dull, RATE, reset=False)
    assert plugin.tap("likeness")[0] != likeness


TONES: F32 = sum(0.1 * np.sin(2 * np.pi * f * np.arange(8 * RATE) / RATE) for f in (110.0, 700.0, 2_000.0)).astype(
    np.float32
)
SWEPT = ("warm", "bright", "thin", "boomy")


def click_db(y: F32) -> float:
    """Loudest sound above 8 kHz, where the tones have nothing, over the loudest of all in dB."""
    high = scipy.signal.sosfilt(scipy.signal.butter(8, 8_000, "high", fs=RATE, output="sos"), y.astype(np.float64))
    return float(20 * np.log10(np.abs(high[RATE // 4 :]).max() / np.abs(y).max()))


def test_sweeps_of_word_and_intensity_make_no_click() -> None:
    plugin = AdaptiveEq(word="warm", mode="static", glide_ms=20.0)
    parts, step = [], round(0.06 * RATE)
    for i, at in enumerate(range(0, len(TONES), step)):
        parts.append(plugin(TONES[at : at + step], RATE, reset=i == 0))
        plugin.update(word=SWEPT[i % 4], intensity=float(np.cos(i)))
    assert click_db(np.concatenate(parts)) < -60.0
    # The control: the same words with a switch between them.
    a, b = (AdaptiveEq(word=w, mode="static", intensity=1.0)(TONES, RATE) for w in ("warm", "bright"))
    assert click_db(np.where(np.arange(len(TONES)) // step % 2, a, b)) > -60.0


# ---- live ------------------------------------------------------------------------------------


class Rig:
    """A live engine driven by hand: a pilot beside it, as its thread would work."""

    def __init__(self, plugin: AdaptiveEq, block: int = 64):
        self.block = block
        self.engine = _native.Engine(RATE, 2, 256)
        self.slot = self.engine.insert(0, plugin.eq()._build())
        self.engine.process(np.zeros((2, 2048), np.float32))  # the slot fades in
        self.start = self.engine.sample_time
        self.live = LivePilot(plugin._pilot(RATE), self.engine, self.slot, start=False)

    def play(self, x: F32, each: Any = None) -> F32:
        out = []
        for n, i in enumerate(range(0, x.shape[1], self.block)):
            out.append(self.engine.process(np.ascontiguousarray(x[:, i : i + self.block])))
            if n % 5 == 0:
                self.live.step()
            if each is not None:
                each(i)
        return np.concatenate(out, axis=1)


def test_live_is_what_offline_makes_of_the_same_trajectory(tmp_path: Path) -> None:
    plugin = AdaptiveEq(word="warm", intensity=1.0, first_analysis_s=0.5, period_s=0.25)

    def change(i: int) -> None:
        if i == 64 * 1500:
            plugin.word = "bright"
        if i == 64 * 2200:
            plugin.intensity = -0.5

    rig = Rig(plugin)
    live = rig.play(MUSIC, change)
    events = list(rig.live.trajectory)
    assert len({t for t, _, _ in events}) > 20, "it moved"
    assert shape_error(live[:, RATE:], MUSIC[:, RATE:]) > 1e-3
    sf.write(
        tmp_path / "in.wav",
        np.concatenate([np.zeros((2, rig.start), np.float32), MUSIC], axis=1).T,
        RATE,
        subtype="FLOAT",
    )
    automation = [(t / RATE, f"eq.{name}", value) for t, name, value in events]
    # The knobs' start, as the live slot had it: centres count although gains are 0.
    chain = Chain([Eq(**dict(zip(AdaptiveEq().eq()._params, AdaptiveEq().eq()._values.values(), strict=True)))])
    render(chain, tmp_path / "in.wav", tmp_path / "out.wav", automation=automation)
    offline = sf.read(tmp_path / "out.wav", dtype="float32")[0].T[:, rig.start :]
    # Equal but for the last digit where a filter was prepared at another sample; 0 seen.
    assert np.abs(live - offline).max() <= 1e-6


def test_live_adds_no_sample_of_delay() -> None:
    rig = Rig(AdaptiveEq(word="warm"))
    assert rig.engine.latency_samples == 0
    np.testing.assert_array_equal(rig.play(MUSIC[:, : RATE // 2]), MUSIC[:, : RATE // 2])


def test_live_sweeps_make_no_click() -> None:
    plugin = AdaptiveEq(word="warm", mode="static", glide_ms=20.0)

    def change(i: int) -> None:
        if i > RATE and i % (64 * 45) == 0:
            plugin.update(word=SWEPT[i // 2880 % 4], intensity=float(np.sin(i)))

    y = Rig(plugin).play(np.tile(TONES[: 6 * RATE], (2, 1)), change)
    assert click_db(y[0]) < -60.0


def test_in_a_running_stream_it_hears_by_itself_and_ends_with_it() -> None:
    import threading

    plugin = AdaptiveEq(word="warm", first_analysis_s=0.5, period_s=0.2)
    chain = Chain([plugin])
    assert chain.names == ["eq"]
    with Stream(chain, input="null") as stream:
        until(lambda: plugin.status != "idle")
        assert plugin.status == "flat: nothing was heard yet", "the null device is silent"
        assert stream.running
        assert any(t.name == "cspace-adaptive-eq" for t in threading.enumerate())
        plugin.mode = "static"
        until(lambda: plugin.trajectory)
        assert {n for _, n, _ in plugin.trajectory} >= {"low_gain_db"}
    assert not any(t.name == "cspace-adaptive-eq" for t in threading.enumerate())


def test_a_live_session_is_rendered_again_from_its_trajectory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sf.write(tmp_path / "in.wav", MUSIC.T, RATE, subtype="FLOAT")
    # Only a machine that is busy for longer than this makes an event late.
    monkeypatch.setattr("cspace.plugins._adaptive.live._AHEAD_S", 1.5)
    plugin = AdaptiveEq(word="warm", intensity=1.0, first_analysis_s=0.5, period_s=0.2)
    with Stream(Chain([plugin]), input=tmp_path / "in.wav", output=tmp_path / "live.wav") as stream:
        while not stream.wait(0.5):
            plugin.word = "bright" if plugin.word == "warm" else "warm"  # as a user turns it, at any time
        events, late = plugin.trajectory, plugin.late_events
    assert late == 0
    assert plugin.status == "gated"
    assert len({t for t, _, _ in events}) > 10
    automation = [(t / RATE, f"eq.{name}", value) for t, name, value in events]
    render(Chain([AdaptiveEq().eq()]), tmp_path / "in.wav", tmp_path / "again.wav", automation=automation)
    live, again = (sf.read(tmp_path / f"{n}.wav", dtype="float32")[0] for n in ("live", "again"))
    assert np.abs(live - MUSIC.T).max() > 0.01
    assert np.abs(live - again).max() <= 1e-6


def test_events_sent_after_their_sample_are_counted() -> None:
    plugin = AdaptiveEq(word="warm", mode="static")
    with Stream(Chain([plugin]), input="null") as stream:
        stream.wait(0.5)
        before = plugin.late_events  # 0, but on a machine so busy that some were
        (live,) = plugin._live.values()
        live._ahead = -4800  # as if the machine had slept for 0.1 s between the clock and the queue
        plugin.word = "bright"
        until(lambda: plugin.late_events > before)


def test_osc_takes_words_intensity_and_blends(tmp_path: Path) -> None:
    plugin = AdaptiveEq()
    chain = Chain([plugin])
    with Stream(chain, input="null") as stream:
        control = Control(chain, lambda: stream.engine, presets=tmp_path / "presets", lock=stream.lock)
        handler = OscHandler(control, Clock(lambda: stream.engine.sample_time, stream.sample_rate, stream.block))
        replies: list[tuple[str, list[Any]]] = []

        def send(address: str, *args: Any) -> None:
            handler.handle(encode(address, list(args)), lambda a, v: replies.append((a, v)))

        send("/chain/eq/word", "warm")
        send("/chain/eq/intensity", 0.25)
        assert (plugin.word, plugin.intensity) == ("warm", 0.25)
        send("/chain/eq/blend", "warm:0.6 + bright:0.4")
        assert (plugin.word, plugin.blend) == ("", "warm:0.6 + bright:0.4")
        send("/chain/eq/mode", "static")
        assert plugin.mode == "static"
        assert handler.errors == 0
        control.save_preset("mine")
        for address, arg in [("/chain/eq/word", "wram"), ("/chain/eq/blend", "warm:x"), ("/chain/eq/word", 3.0)]:
            send(address, arg)
        send("/chain/eq/intensity", 2.0)
        assert handler.errors == 4
        assert any("did you mean 'warm'" in str(v) for _, v in replies)
        assert (plugin.blend, plugin.intensity) == ("warm:0.6 + bright:0.4", 0.25)
        send("/chain/eq/word", "")
        send("/chain/eq/blend", "")
        control.load_preset("mine")
        assert plugin.blend == "warm:0.6 + bright:0.4"
        assert stream.running


# ---- keeping ---------------------------------------------------------------------------------


def test_chain_files_and_copies_keep_it(tmp_path: Path) -> None:
    plugin = AdaptiveEq(blend="warm:0.6 + airy:0.4", intensity=-0.3, mode="residual", freeze=True, period_s=2.5)
    chainfile.save(Chain([plugin]), tmp_path / "chain.toml")
    back = chainfile.load(tmp_path / "chain.toml").slots[0].plugin
    assert isinstance(back, AdaptiveEq)
    assert back == plugin
    assert copy.copy(plugin) == plugin == copy.deepcopy(plugin)
    assert AdaptiveEq() != plugin
    assert repr(back) == repr(plugin)
    assert "warm:0.6 + airy:0.4" in repr(plugin)
    (tmp_path / "bad.toml").write_text('[[chain]]\ntype = "adaptive_eq"\nword = "wram"\n')
    text = (tmp_path / "chain.toml").read_text()
    (tmp_path / "bad.toml").write_text(text.replace("warm:0.6", "wram:0.6"))
    with pytest.raises(CspaceError, match=r"bad\.toml.*did you mean 'warm'"):
        chainfile.load(tmp_path / "bad.toml")


def test_a_chain_renders_what_it_makes_alone(tmp_path: Path) -> None:
    sf.write(tmp_path / "in.wav", MUSIC.T, RATE, subtype="FLOAT")
    plugin = AdaptiveEq(word="warm", intensity=0.9)
    render(Chain([plugin]), tmp_path / "in.wav", tmp_path / "out.wav")
    y = sf.read(tmp_path / "out.wav", dtype="float32")[0].T
    np.testing.assert_array_equal(y, AdaptiveEq(word="warm", intensity=0.9)(MUSIC, RATE))
    with pytest.raises(ParameterError, match="decides by itself; automate an eq"):
        render(Chain([plugin]), tmp_path / "in.wav", tmp_path / "out.wav", automation=[(1.0, "eq.intensity", 0.0)])


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CspaceError, match=r"model\.json: there is no such file"):
        AdaptiveEq(model=tmp_path, word="warm")
    assert AdaptiveEq(model=models.DEFAULT, word="warm") == AdaptiveEq(word="warm")
