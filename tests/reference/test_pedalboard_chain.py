"""Each plugin of pedalboard in a chain against itself alone in one whole call: the same samples, where they belong.

The classes are found from pedalboard itself, the VST3 files from their folder.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from cspace.plugins import Gain, Limiter
from cspace.plugins.external import external_from, external_state, load_vst3
from cspace.realtime import Chain, CspaceError, render

pedalboard = pytest.importorskip("pedalboard", reason="optional, GPLv3: pip install 'cspace[pedalboard]'")
RATE = 48_000
LIMITS = hasattr(pedalboard, "BrickwallLimiter")  # from 0.9.26 on; it withholds samples and takes automation
F32 = NDArray[np.float32]
FILES = sorted(Path("/usr/lib/vst3").glob("Z*.vst3"))
#: ZamVerb and ZamPhono load large rooms, seconds each; ZamHeadX2 and ZamTube start from memory they did not set, so
#: that two whole calls alone differ too. What holds for the others holds for them by the same code.
RANDOM = ("ZamHeadX2", "ZamTube")
SLOW = ("ZamVerb",)


def sound(channels: int = 2, frames: int = 30_000) -> F32:
    """Noise that swells, so that dynamics move too."""
    x = np.random.default_rng(0).standard_normal((channels, frames)) * 0.2 * np.linspace(0.1, 1.0, frames)
    return x.clip(-0.9, 0.9).astype(np.float32)


def made(cls: type) -> Any:
    if cls is pedalboard.Convolution:
        ir = np.random.default_rng(1).standard_normal((2, 400)).astype(np.float32) * 0.05
        return cls(ir, 0.7, float(RATE))
    if cls is pedalboard.PitchShift:
        return cls(semitones=3.0)
    if cls is pedalboard.Compressor:
        return cls(threshold_db=-20.0, ratio=4.0)
    if issubclass(cls, pedalboard.PluginContainer):
        return cls([pedalboard.Chorus(rate_hz=3.0), pedalboard.Gain(-3.0)])
    return cls()


def classes() -> list[type]:
    abstract = (pedalboard.Plugin, pedalboard.PluginContainer, pedalboard.ExternalPlugin, pedalboard.IIRFilter)
    found = [c for _, c in inspect.getmembers(pedalboard, inspect.isclass) if issubclass(c, pedalboard.Plugin)]
    return [c for c in found if c not in abstract and not issubclass(c, pedalboard.ExternalPlugin)]


def alone(plugin: Any, x: F32) -> F32:
    return np.asarray(external_from(external_state(plugin)).process(x, RATE, reset=True), np.float32)


def apart_db(y: F32, want: F32) -> float:
    """Of the difference, relative to the sound."""
    error, power = np.square(y - want, dtype=np.float64).mean(), np.square(want, dtype=np.float64).mean()
    return float(10 * np.log10(error / power + 1e-30))


def rendered(chain: Chain, x: F32, folder: Path, **options: Any) -> F32:
    soundfile.write(folder / "in.wav", x.T, RATE, subtype="FLOAT")
    render(chain, folder / "in.wav", folder / "out.wav", **options)
    return np.asarray(soundfile.read(folder / "out.wav", dtype="float32", always_2d=True)[0].T)


@pytest.mark.parametrize("cls", classes(), ids=lambda c: str(c.__name__))
def test_every_class_gives_in_a_chain_what_it_gives_alone(cls: type, tmp_path: Path) -> None:
    plugin, x = made(cls), sound()
    want = alone(plugin, x)
    assert np.abs(want).max() > 0.01
    # Bit-equal as a rule. -100 dB leaves room for other kernels where calls are cut otherwise.
    assert apart_db(Chain([plugin])(x, RATE), want) < -100
    assert apart_db(Chain([Gain(), plugin, Gain()]).process(x, RATE, buffer_size=100), want) < -100
    assert apart_db(rendered(Chain([plugin]), x, tmp_path), want) < -100


@pytest.mark.parametrize("cls", classes(), ids=lambda c: str(c.__name__))
def test_every_class_in_pieces_gives_what_it_gives_in_pieces_alone(cls: type) -> None:
    x = sound()
    twin, chain = made(cls), Chain([made(cls)])
    for i, (a, b) in enumerate([(0, 9000), (9000, 9001), (9001, 20_000), (20_000, 30_000)]):
        if i and cls in (pedalboard.PitchShift, pedalboard.GSMFullRateCompressor):
            with pytest.raises(CspaceError, match="cannot play in blocks"):
                chain.process(x[:, a:b], RATE, reset=False)
            return
        want = twin.process(x[:, a:b], RATE, reset=i == 0)
        y = chain.process(x[:, a:b], RATE, reset=i == 0)
        assert y.shape == (2, b - a)
        if want.shape == y.shape:
            np.testing.assert_allclose(y, want, atol=1e-6)


@pytest.mark.skipif(not FILES, reason="no VST3 files: apt-get install zam-plugins")
@pytest.mark.parametrize("file", [f for f in FILES if f.stem not in SLOW], ids=lambda f: str(f.stem))
def test_every_vst3_gives_in_a_chain_what_it_gives_alone(file: Path, tmp_path: Path) -> None:
    plugin = load_vst3(file)
    for channels in (2, 1):
        x = sound(channels, 20_000)
        try:
            want = np.asarray(plugin.process(x, RATE, reset=True), np.float32)
            break
        except ValueError:  # mono only
            continue
    ours = (Chain([plugin])(x, RATE), rendered(Chain([Gain(), plugin]), x, tmp_path))
    for y in ours:
        assert y.shape == want.shape
        if file.stem in RANDOM:  # alone, too, no two calls are alike: their level is
            assert np.std(y) == pytest.approx(np.std(want), rel=0.26)  # 2 dB
        else:
            assert apart_db(y, want) < -100


def test_ten_neighbours_and_native_ones_give_what_they_give_one_after_the_other(tmp_path: Path) -> None:
    names = ["Chorus", "BrickwallLimiter", "Phaser", "PitchShift", "Delay", "Chorus", "MP3Compressor", "Phaser"]
    plugins = [made(getattr(pedalboard, n)) for n in names if hasattr(pedalboard, n)]
    x = sound()
    want = x
    for p in plugins:
        want = alone(p, want)
    assert apart_db(Chain(plugins)(x, RATE), want) < -100
    assert apart_db(rendered(Chain(plugins), x, tmp_path), want) < -100
    # A native delay in front moves no LFO against the sound either.
    limiter = Chain([Limiter()])(x, RATE)
    assert (
        apart_db(Chain([Limiter(), made(pedalboard.Chorus)])(x, RATE), alone(made(pedalboard.Chorus), limiter)) < -100
    )


def test_an_impulse_stays_where_it_is(tmp_path: Path) -> None:
    x = np.zeros((2, 9000), np.float32)
    x[:, 1000] = 0.5
    late = [pedalboard.BrickwallLimiter()] if LIMITS else []
    chain = Chain([Limiter(), *late, pedalboard.Invert(), pedalboard.Resample(24_000.0)])
    for y in (chain(x, RATE), rendered(chain, x, tmp_path)):
        assert y.shape == x.shape
        assert int(np.abs(y[0]).argmax()) == 1000


def test_a_bypassed_plugin_passes_sound_unharmed(tmp_path: Path) -> None:
    x = sound()
    chain = Chain([made(pedalboard.PitchShift), made(pedalboard.MP3Compressor), Gain(gain_db=0.0)])
    chain.bypass(0)
    chain.bypass(1)
    np.testing.assert_array_equal(chain(x, RATE), x)
    np.testing.assert_array_equal(rendered(chain, x, tmp_path), x)


@pytest.mark.parametrize("frames", [0, 1, 100, 8191, 8192, 8193])
def test_any_length_comes_back(frames: int, tmp_path: Path) -> None:
    x = sound(frames=max(frames, 1))[:, :frames]
    chain = Chain([pedalboard.MP3Compressor(), Gain(), made(pedalboard.PitchShift)])
    assert chain(x, RATE).shape == x.shape
    if frames:
        assert rendered(chain, x, tmp_path).shape == x.shape


def test_another_rate_and_a_tail(tmp_path: Path) -> None:
    x = np.tile(0.3 * np.sin(np.arange(30_000) * 0.05), (2, 1)).astype(np.float32)  # 382 Hz: both rates hold it
    y = rendered(Chain([pedalboard.Delay(0.2, mix=1.0)]), x, tmp_path, sample_rate=44_100.0, tail=0.25)
    assert y.shape[1] == x.shape[1] + RATE // 4
    # From 1,000 samples on, as the step at the start rings in two resamplers.
    np.testing.assert_allclose(y[:, 10_600:30_000], x[:, 1000:20_400], atol=0.001)


# ---- parameters that move --------------------------------------------------------------------


def in_two(plugin: Any, x: F32, at: int, name: str, value: float) -> F32:
    """Alone, in two calls with the parameter set between them."""
    plugin.process(np.zeros((x.shape[0], x.shape[1]), np.float32), RATE, reset=True)  # calls must not grow
    plugin.process(x[:, :0], RATE, reset=True)
    first = plugin.process(x[:, :at], RATE, reset=False)
    setattr(plugin, name, value)
    return np.concatenate([first, plugin.process(x[:, at:], RATE, reset=False)], axis=1)


@pytest.mark.parametrize("at", [1, 300, 5001, 17_777, 29_999])
def test_automation_lands_at_its_sample(at: int, tmp_path: Path) -> None:
    x = np.full((2, 30_000), 0.1, np.float32)
    plugin = pedalboard.Gain(0.0)
    y = rendered(Chain([Limiter(), plugin]), x, tmp_path, automation=[(at / RATE, "gain.gain_db", 20.0)])
    before, after = y[0, at - 1], y[0, at]
    assert before == pytest.approx(0.1, abs=1e-6)
    # pedalboard's gain glides; it starts to at the sample.
    assert after > before
    assert plugin.gain_db == 0.0, "a render leaves the plugin as it was"


@pytest.mark.parametrize("name", ["Chorus", "LowpassFilter", "Distortion"])
def test_automation_equals_two_calls_alone(name: str, tmp_path: Path) -> None:
    param, value = {"Chorus": ("mix", 1.0), "LowpassFilter": ("cutoff_frequency_hz", 3000.0)}.get(
        name, ("drive_db", 3.0)
    )
    x, cls = sound(), getattr(pedalboard, name)
    want = in_two(cls(), x, 12_345, param, value)
    word = name.lower() if name != "LowpassFilter" else "lowpassfilter"
    y = rendered(Chain([cls()]), x, tmp_path, automation=[(12_345 / RATE, f"{word}.{param}", value)])
    assert apart_db(y, want) < -100


@pytest.mark.skipif(not LIMITS, reason="this pedalboard has no BrickwallLimiter")
def test_automation_of_a_plugin_that_withholds_lands_where_its_sound_is(tmp_path: Path) -> None:
    x = sound()
    chain = Chain([pedalboard.BrickwallLimiter(ceiling_db=-1.0)])
    y = rendered(chain, x, tmp_path, automation=[(0.4, "brickwalllimiter.ceiling_db", -20.0)])
    at = int(0.4 * RATE)
    assert np.abs(y[:, at - 2000 : at - 500]).max() > 0.3
    assert np.abs(y[:, at + 500 :]).max() <= 10 ** (-20 / 20) * 1.001


@pytest.mark.skipif(not FILES, reason="no VST3 files: apt-get install zam-plugins")
@pytest.mark.parametrize("at", [10, 5000])
def test_automation_of_a_vst3(at: int, tmp_path: Path) -> None:
    x = sound(1, 20_000)
    plugin = load_vst3("/usr/lib/vst3/ZamEQ2.vst3")
    name = (
        "master_gain_db" if "master_gain_db" in plugin.parameters else next(n for n in plugin.parameters if "gain" in n)
    )
    before = plugin.parameters[name].raw_value
    y = rendered(Chain([plugin]), x, tmp_path, automation=[(at / RATE, f"zameq2.{name}", -12.0)])
    np.testing.assert_allclose(y[:, :at], x[:, :at], atol=1e-3)
    ratio = np.sqrt(np.square(y[:, -5000:]).mean() / np.square(x[:, -5000:]).mean())
    assert 0.2 < ratio < 0.95
    assert plugin.parameters[name].raw_value == pytest.approx(before)


@pytest.mark.parametrize(
    ("address", "value", "message"),
    [
        ("chorus.mixx", 1.0, "did you mean 'mix'"),
        ("chorus.mix", "loud", "cannot be set"),
        ("pitchshift.semitones", 2.0, "called once with all of the sound"),
        ("nobody.mix", 1.0, "no processor 'nobody'|nobody"),
    ],
)
def test_automation_that_cannot_be_is_refused_before_anything_is_written(
    address: str, value: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(CspaceError, match=message):
        rendered(
            Chain([pedalboard.Chorus(), pedalboard.PitchShift()]), sound(), tmp_path, automation=[(0.1, address, value)]
        )
    assert not (tmp_path / "out.wav").exists()


def test_automation_at_the_start_is_a_setting_even_for_what_is_called_once(tmp_path: Path) -> None:
    x = sound()
    y = rendered(Chain([pedalboard.PitchShift()]), x, tmp_path, automation=[(0.0, "pitchshift.semitones", 3.0)])
    assert apart_db(y, alone(pedalboard.PitchShift(3.0), x)) < -100


def test_sound_that_does_not_fit_in_memory_is_refused_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cspace.realtime import sequence

    monkeypatch.setattr(sequence, "WHOLE_BYTES", 2 * 4 * 4800)
    with pytest.raises(CspaceError, match=r"pitchshift must be called once .* 0\.1 s|longer than the 0 s"):
        rendered(Chain([pedalboard.PitchShift()]), sound(), tmp_path)
