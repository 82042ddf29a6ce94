"""Chain files with plugins from elsewhere: what is written loads equal and sounds equal, or is refused by name."""

from __future__ import annotations

import inspect
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from cspace.clitools import shows_warnings
from cspace.plugins import Gain
from cspace.plugins.external import external_from, external_params, external_state, load_vst3, set_external
from cspace.realtime import Chain, CspaceWarning, chainfile
from cspace.realtime.errors import ChainFileError, ParameterError

pedalboard = pytest.importorskip("pedalboard", reason="optional, GPLv3: pip install 'cspace[pedalboard]'")
RATE = 48_000
VST3 = sorted(Path("/usr/lib/vst3").glob("Zam*.vst3")) + sorted(Path("/usr/lib/vst3").glob("ZaM*.vst3"))
IR = np.random.default_rng(0).standard_normal((2, 300)).astype(np.float32) * 0.1


def made(cls: type) -> Any:
    """An instance of a class of pedalboard, with what it cannot be made without; None for abstract ones."""
    if issubclass(cls, pedalboard.ExternalPlugin) or cls in (pedalboard.Plugin, pedalboard.PluginContainer):
        return None
    if issubclass(cls, pedalboard.PluginContainer):
        return cls([pedalboard.Reverb(room_size=0.9), pedalboard.Mix([None, pedalboard.Delay(0.03, mix=1.0)])])
    if cls is pedalboard.Convolution:
        return cls(IR, 0.25, 44_100.0)
    return cls() if cls is not pedalboard.IIRFilter else None


def moved(plugin: Any) -> Any:
    """The same with every number a little off its default, and every enum at its last member."""
    for name, value in external_params(plugin).items():
        members = getattr(type(getattr(plugin, name)), "__members__", None)
        if members:
            set_external(plugin, name, list(members)[-1])
        elif isinstance(value, bool):
            set_external(plugin, name, not value)
        elif isinstance(value, float):
            for step in (0.123, -0.123):  # one of them lies in the range
                try:
                    set_external(plugin, name, value * (1 + step) + step)
                    break
                except ValueError:
                    continue
    return plugin


CLASSES = sorted(
    (c for _, c in inspect.getmembers(pedalboard, inspect.isclass) if issubclass(c, pedalboard.Plugin) and made(c)),
    key=lambda c: str(c.__name__),
)


def same(a: Any, b: Any) -> bool:
    """Equal states, arrays too."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return bool(np.array_equal(a, b))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: str(c.__name__))
def test_every_class_of_pedalboard_loads_as_it_was_saved(cls: type, tmp_path: Path) -> None:
    plugin = moved(made(cls))
    chain = Chain([Gain(), plugin])
    chainfile.save(chain, tmp_path / "a.toml")
    loaded = chainfile.load(tmp_path / "a.toml")
    assert loaded == chain
    again = loaded[1]
    assert type(again) is cls
    assert same(external_state(again), external_state(plugin))
    # What a new plugin sounds like is decided by its constructor arguments: all of them must be kept.
    x = np.random.default_rng(1).uniform(-0.3, 0.3, (2, 6000)).astype(np.float32)
    np.testing.assert_array_equal(again(x, RATE), plugin(x, RATE))


def test_chains_with_plugins_from_elsewhere_are_equal_by_their_settings() -> None:
    """pedalboard itself compares by identity alone."""

    def chain(room: float = 0.3, response: Any = IR) -> Chain:
        inner = pedalboard.Mix([None, pedalboard.Reverb(room_size=room)])
        return Chain([inner, pedalboard.Convolution(response, 0.5, 44_100.0), Gain()])

    first = chain()
    assert first == chain()
    assert first != chain(room=0.4)
    assert first != chain(response=IR * 2)
    assert first != chain()[:2]
    assert Chain([pedalboard.Reverb()]) != Chain([pedalboard.Delay()])
    assert Chain([Gain()]) != Chain([pedalboard.Gain()])
    other = chain()
    other.bypass(0)
    assert first != other

    class Mine(pedalboard.Gain):  # type: ignore[misc, name-defined]
        """May hold anything."""

    mine = Mine()
    assert Chain([mine]) == Chain([mine])
    assert Chain([mine]) != Chain([Mine()])


def test_an_impulse_response_file_stays_a_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "hall.wav", IR.T, RATE, subtype="FLOAT")
    plugin = pedalboard.Convolution(str(tmp_path / "hall.wav"), 0.5)
    chainfile.save(Chain([plugin]), tmp_path / "a.toml")
    assert 'impulse_response = "hall.wav"' in (tmp_path / "a.toml").read_text()
    again = chainfile.load(tmp_path / "a.toml")[0]
    assert Path(again.impulse_response_filename) == tmp_path / "hall.wav"
    assert again.mix == 0.5


def test_what_cannot_be_made_again_is_refused_by_name_and_nothing_is_written(tmp_path: Path) -> None:
    class Mine(pedalboard.Gain):  # type: ignore[misc, name-defined]
        """A subclass may hold anything."""

    internal = [c for c in pedalboard.Plugin.__subclasses__() if "_internal" in c.__module__]
    assert internal
    mine = Mine()
    for plugin in [mine, pedalboard.Mix([mine]), *(c() for c in internal)]:
        with pytest.raises(ChainFileError, match=r"cannot be written down"):
            chainfile.save(Chain([plugin]), tmp_path / "a.toml")
        assert not list(tmp_path.iterdir())


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path) -> None:
    deep = pedalboard.Gain()
    for _ in range(60):
        deep = pedalboard.Chain([deep])
    for plugin, words in [
        (deep, "nested too deeply"),
        (pedalboard.Convolution(IR, 1.0, 500.0), "impulse_response_rate = 500 is not allowed"),
        (pedalboard.Convolution(np.ones(121_000, np.float32), 1.0, 1000.0), "121 s are too long"),
    ]:
        with pytest.raises(ChainFileError, match=words):
            chainfile.save(Chain([plugin]), tmp_path / "a.toml")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("class = 'Mix'\nplugins = [3]", "line 3: plugins is not a list of tables"),
        ("class = 'Mix'\nplugins = [{class = 'Gian'}]", "line 3: pedalboard has no effect 'Gian'; did you mean 'Gain'"),
        ("class = 'Mix'\nplugins = [{class = 'Gain', gian_db = 3}]", "did you mean 'gain_db'"),
        ("class = 'Mix'\nplugins = [{type = 'gain'}]", "of type 'gain'"),
        ("class = 'Convolution'", "line 3: pedalboard's Convolution: it needs impulse_response"),
        ("class = 'Convolution'\nimpulse_response = 'no.wav'", r"line 3: .*no\.wav"),
        ("class = 'Convolution'\nimpulse_response = 'no.npy'", r"line 4: .*no\.npy: there is no such file"),
        ("class = 'Convolution'\nimpulse_response = '../a.npy'", "must name a .npy file in the folder"),
        ("class = 'Convolution'\nimpulse_response = [[1], [2, 3]]", "no finite audio"),
        ("class = 'Convolution'\nimpulse_response = 3", "neither a path nor an array"),
        ("class = 'Gain'\nplugins = []", "pedalboard's Gain has no plugins"),
        ("class = 'Gain'\nparameters = 3", "parameters is not a table"),
        ("class = 'Gain'\nstate = 'a'", "not a text in base64"),
        ("class = 'Gain'\nstate = 'YQ=='", "pedalboard's Gain has no 'state'"),
        ("class = 'VST3Plugin'", "pedalboard has no effect|write it with type"),
        ("class = 'PluginContainer'", "pedalboard has no effect"),
    ],
)
def test_wrong_tables_name_file_line_and_reason(body: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ChainFileError, match=message):
        chainfile.loads(f"[[processor]]\ntype = 'pedalboard'\n{body}\n", folder=tmp_path)


# ---- impulse responses -----------------------------------------------------------------------


def convolution(folder: Path, name: str) -> Chain:
    text = f"[[processor]]\ntype = 'pedalboard'\nclass = 'Convolution'\nimpulse_response = '{name}'\n"
    return chainfile.loads(text, folder=folder)


def test_an_impulse_response_that_is_no_sound_is_refused_at_once(tmp_path: Path) -> None:
    """pedalboard itself waits for a pipe for ever, and takes the others in silence."""
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "device.wav").symlink_to("/dev/zero")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "slow.wav", np.ones(10), 7)
    soundfile.write(tmp_path / "long.wav", np.ones(121_000, np.float32), 1000)
    soundfile.write(tmp_path / "nan.wav", np.full(10, np.nan, np.float32), RATE, "FLOAT")
    for name, words in [
        ("pipe.wav", "is a pipe"),
        ("device.wav", "is a device"),
        ("empty.wav", "holds no samples"),
        ("slow.wav", "rate = 7 is not allowed, use 1000 to 768000 Hz"),
        ("long.wav", "121 s are too long for an impulse response, use up to 120 s"),
        ("nan.wav", "10 samples are NaN or Inf"),
        (".", "is a folder"),
    ]:
        with pytest.raises(ChainFileError, match=rf"line 3: .*{words}"):
            convolution(tmp_path, name)
    os.mkfifo(tmp_path / "pipe.vst3")
    with pytest.raises(ChainFileError, match="is a pipe"):
        chainfile.loads("[[processor]]\ntype = 'vst3'\npath = 'pipe.vst3'\n", folder=tmp_path)


def test_a_cut_off_impulse_response_is_used_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "whole.wav", IR.T, RATE, "FLOAT")
    data = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[:-800])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convolution(tmp_path, "whole.wav")
    with pytest.warns(CspaceWarning, match=r"cut\.wav: ends after 0\.004 s, though its header promises 0\.006 s"):
        convolution(tmp_path, "cut.wav")
    with warnings.catch_warnings(), shows_warnings():  # as the commands tell it
        warnings.simplefilter("always")
        convolution(tmp_path, "cut.wav")
        other = threading.Thread(target=convolution, args=(tmp_path, "cut.wav"))  # as OSC loads it
        other.start()
        other.join()
    assert capsys.readouterr().err.count("ends after 0.004 s") == 1


@pytest.mark.parametrize("rate", ["1e-300", "1e-6", "-5", "nan", "inf", "0", "999", "768001", "1" + "0" * 400, "true"])
def test_an_impulse_response_at_a_rate_that_is_none_is_refused(rate: str) -> None:
    """pedalboard resamples from any rate: 1e-300 Hz takes all memory there is."""
    text = "[[processor]]\ntype = 'pedalboard'\nclass = 'Convolution'\nimpulse_response = [1.0, 0.5]\n"
    with pytest.raises(ChainFileError, match=r"not a rate in Hz|not allowed, use 1000 to 768000 Hz|64 bits"):
        chainfile.loads(f"{text}impulse_response_rate = {rate}\n")


def test_an_array_that_is_too_long_to_convolve_with_is_refused() -> None:
    state = {"class": "Convolution", "impulse_response": np.ones(121_000, np.float32)}
    with pytest.raises(ParameterError, match=r"121 s are too long"):
        external_from(state | {"impulse_response_rate": 1000})


# ---- VST3 ------------------------------------------------------------------------------------

needs_files = pytest.mark.skipif(not VST3, reason="no VST3 files: apt-get install zam-plugins")


def knobs(plugin: Any) -> dict[str, float]:
    return {n: p.raw_value for n, p in plugin.parameters.items()}


@needs_files
@pytest.mark.parametrize("loader", [load_vst3, pedalboard.load_plugin], ids=["ours", "pedalboard's"])
def test_a_vst3_loads_as_it_was_saved_whoever_loaded_it(loader: Any, tmp_path: Path) -> None:
    plugin = loader(str(Path("/usr/lib/vst3/ZamTube.vst3")))
    plugin.tube_drive = 7.3
    plugin.tone_stack_model = plugin.parameters["tone_stack_model"].valid_values[5]
    chain = Chain([plugin, pedalboard.Mix([loader("/usr/lib/vst3/ZamEQ2.vst3"), pedalboard.Gain()])])
    chainfile.save(chain, tmp_path / "a.toml")
    text = (tmp_path / "a.toml").read_text()
    assert 'type = "vst3"' in text
    assert 'path = "/usr/lib/vst3/ZamTube.vst3"' in text
    again = chainfile.load(tmp_path / "a.toml")
    assert again == chain
    assert knobs(again[0]) == knobs(plugin)
    assert same(external_state(again[1]), external_state(chain[1]))
    x = np.random.default_rng(1).uniform(-0.3, 0.3, (1, 6000)).astype(np.float32)
    # Two instances of ZamTube with equal settings differ by up to 1e-4: it starts from memory it did not set.
    np.testing.assert_allclose(again[0](x, RATE), plugin(x, RATE), atol=1e-3)
    assert np.abs(again[0](x, RATE) - loader("/usr/lib/vst3/ZamTube.vst3")(x, RATE)).max() > 0.05


@needs_files
def test_a_parameter_edited_in_the_file_counts(tmp_path: Path) -> None:
    chainfile.save(Chain([load_vst3("/usr/lib/vst3/ZamTube.vst3")]), tmp_path / "a.toml")
    text = (tmp_path / "a.toml").read_text()
    assert "\nbass = 5.0\n" in text
    (tmp_path / "a.toml").write_text(text.replace("\nbass = 5.0\n", "\nbass = 8.0\n"))
    assert chainfile.load(tmp_path / "a.toml")[0].bass == pytest.approx(8.0, abs=0.01)  # its steps are 0.01


@needs_files
def test_the_least_file_is_a_path(tmp_path: Path) -> None:
    plugin = chainfile.loads("[[processor]]\ntype = 'vst3'\npath = '/usr/lib/vst3/ZamTube.vst3'\nbass = 2.0\n")[0]
    assert plugin.bass == pytest.approx(2.0, abs=0.01)
    twin = external_from(external_state(plugin))
    assert knobs(twin) == knobs(plugin)


@needs_files
def test_a_long_state_goes_to_a_file_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cspace.realtime import externaltext

    monkeypatch.setattr(externaltext, "_INLINE_BYTES", 8)
    plugin = load_vst3("/usr/lib/vst3/ZamTube.vst3")
    chainfile.save(Chain([plugin]), tmp_path / "a.toml")
    (file,) = tmp_path.glob("a.zamtube.state.*.npy")
    assert np.load(file).tobytes() == plugin.raw_state
    assert knobs(chainfile.load(tmp_path / "a.toml")[0]) == knobs(plugin)


@needs_files
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("state = 'a'", "base64"),
        ("state = 5", "base64"),
        ("raw_values = 5", "numbers from 0 to 1"),
        ("raw_values = {bass = 5}", "numbers from 0 to 1"),
        ("plugin_name = 'Nobody'", "cannot be used"),
        ("bas = 5.0", "did you mean 'bass'"),
    ],
)
def test_wrong_vst3_tables_are_refused(body: str, message: str) -> None:
    with pytest.raises(ChainFileError, match=message):
        chainfile.loads(f"[[processor]]\ntype = 'vst3'\npath = '/usr/lib/vst3/ZamTube.vst3'\n{body}\n")
