"""Presets as data from elsewhere: no code, no file outside the folder, no link, no pipe; and the bypass of all."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cspace import _native
from cspace.plugins import Esn, Gain, Limiter
from cspace.realtime import chainfile
from cspace.realtime.chain import Chain
from cspace.realtime.chaininputs import files_of
from cspace.realtime.errors import ChainFileError
from cspace.realtime.presets import Presets
from cspace.realtime.trust import Trust, named_files
from tests.realtime.osctools import Ear, msg, text, until

pytest.importorskip("pedalboard")


def load(ear: Ear, name: str) -> str:
    """The reason why a preset was not loaded; empty if it was."""
    replies = ear.say(msg("/preset/load", "s", text(name)))
    return str(replies[0][1][1]) if replies else ""


def save(ear: Ear, name: str) -> str:
    replies = ear.say(msg("/preset/save", "s", text(name)))
    return str(replies[0][1][1]) if replies else ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "presets").mkdir()
    (tmp_path / "outside").mkdir()
    return tmp_path / "presets"


@pytest.fixture
def ear(folder: Path) -> Ear:
    return Ear(Chain([Gain(), Limiter()]), presets=folder)


# ---- code ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "table",
    [
        'type = "vst3"\npath = "{outside}/evil.vst3"',
        'type = "vst3"\npath = "../outside/evil.vst3"',
        'type = "vst3"\npath = "evil.vst3"',  # in the folder: it is code all the same
        'type = "vst3"\npath = "link.vst3"',
        'type = "vst3"\npath = "evil.vst3"\nplugin_name = "x"',
        'type = "pedalboard"\nclass = "VST3Plugin"\npath_to_plugin_file = "evil.vst3"',
        'type = "pedalboard"\nclass = "Chain"\nplugins = [{{ type = "vst3", path = "evil.vst3" }}]',
        'type = "pedalboard"\nclass = "Mix"\n'
        'plugins = [{{ class = "Chain", plugins = [{{ type = "vst3", path = "{outside}/evil.vst3" }}] }}]',
    ],
)  # fmt: skip
def test_a_preset_loads_no_code(ear: Ear, folder: Path, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import pedalboard

    loaded: list[Any] = []
    monkeypatch.setattr(pedalboard, "load_plugin", lambda *a, **k: loaded.append(a))
    monkeypatch.setattr(pedalboard, "VST3Plugin", pedalboard.VST3Plugin)
    outside = folder.parent / "outside"
    for place in (folder, outside):
        (place / "evil.vst3").write_bytes(b"\x7fELF")
    (folder / "link.vst3").symlink_to(outside / "evil.vst3")
    (folder / "bad.toml").write_text("[[processor]]\n" + table.format(outside=outside) + "\n")
    before = list(ear.control.chain)
    why = load(ear, "bad")
    assert "remote control" in why
    assert "bad.toml, line" in why
    assert "command line or Python" in why
    assert loaded == []
    assert list(ear.control.chain) == before


def test_who_opens_the_file_by_hand_has_chosen_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file from the command line or Python gets as far as the library."""
    (folder / "evil.vst3").write_bytes(b"\x7fELF")
    (folder / "mine.toml").write_text('[[processor]]\ntype = "vst3"\npath = "evil.vst3"\n')
    with pytest.raises(ChainFileError) as e:
        chainfile.load(folder / "mine.toml")
    assert "remote control" not in str(e.value)


VST3 = Path("/usr/lib/vst3/ZamComp.vst3")
needs_vst3 = pytest.mark.skipif(not VST3.exists(), reason="no VST3 files: apt-get install zam-plugins")


@needs_vst3
def test_what_was_loaded_by_hand_may_be_loaded_again_while_it_is_the_same_file(tmp_path: Path) -> None:
    from cspace.plugins.external import load_vst3

    file = tmp_path / VST3.name  # a folder, as most are
    shutil.copytree(VST3, file)
    trust = Trust(tmp_path / "presets")
    assert trust.why_not(file, code=True)
    chain = Chain([load_vst3(file)])
    assert files_of(chain[0]) == [file]
    trust.learn(chain)
    assert trust.why_not(file, code=True) == ""
    (tmp_path / "presets").mkdir()
    assert trust.why_not(tmp_path / "presets" / ".." / VST3.name, code=True) == ""
    assert trust.why_not(tmp_path / "other.vst3", code=True)
    (library,) = file.rglob("*.so")
    mine = library.read_bytes()
    library.unlink()
    library.write_bytes(mine + b"other code")
    trust.learn(chain)  # the plugin that plays is the old one
    assert "changed" in trust.why_not(file, code=True)


@needs_vst3
def test_a_chain_with_a_plugin_from_elsewhere_is_saved_and_recalled(folder: Path) -> None:
    """By the thread that loads presets, which pedalboard does not let load a VST3 file itself."""
    from cspace.plugins.external import load_vst3
    from cspace.plugins.externalthread import serve, serving

    plugin = load_vst3(VST3, ratio=3.0)
    ear = Ear(Chain([plugin]), presets=folder)
    assert save(ear, "mine") == ""
    plugin.ratio = 5.0
    assert "on the thread that loaded the first one" in load(ear, "mine")
    replies: list[Any] = []
    with serving():
        asks = threading.Thread(target=lambda: replies.append(load(ear, "mine")))
        asks.start()
        assert until(lambda: serve() or replies)
        asks.join()
    assert replies == [""]
    assert ear.control.chain[0] is not plugin
    assert ear.control.chain[0].ratio == pytest.approx(3.0, abs=0.1)
    stranger = Ear(Chain([Gain()]), presets=folder)
    assert "remote control" in load(stranger, "mine")


def test_what_waits_for_the_thread_that_loads_plugins_is_refused_at_its_end() -> None:
    from concurrent.futures import CancelledError

    from cspace.plugins import externalthread

    heard: list[str] = []

    def ask() -> None:
        try:
            externalthread.run_there(lambda: heard.append("done"))
        except CancelledError:
            heard.append("refused")

    with externalthread.serving():
        asks = threading.Thread(target=ask)
        asks.start()
        assert until(lambda: externalthread._waiting)
    asks.join()
    assert heard == ["refused"]
    externalthread.run_there(lambda: heard.append("done"))
    assert heard == ["refused", "done"]


def test_a_folder_is_the_same_while_all_files_in_it_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "package"
    (package / "deep").mkdir(parents=True)
    for name in ("model.json", "deep/model.onnx"):
        (package / name).write_bytes(b"one")

    class Model:
        def process(self, *_: Any, **__: Any) -> None: ...
        def reset(self) -> None: ...

    model = Model()
    model.package = package  # type: ignore[attr-defined]

    def known() -> Trust:
        trust = Trust(tmp_path / "presets")
        trust.learn(Chain([model]))
        assert trust.why_not(package, code=False) == ""
        return trust

    trust = known()
    (package / "deep" / "model.onnx").write_bytes(b"another")
    assert "changed" in trust.why_not(package, code=False)
    trust = known()
    (package / "more").touch()
    assert "changed" in trust.why_not(package, code=False)
    trust = known()
    (package / "more").unlink()
    assert "changed" in trust.why_not(package, code=False)
    (package / "round").symlink_to(package)
    trust = Trust(tmp_path / "presets")
    monkeypatch.setattr("cspace.realtime.trust.MAX_FILES", 10)
    trust.learn(Chain([model]))
    assert "more than 10" in trust.why_not(package, code=False)


def test_settings_that_may_be_paths() -> None:
    table = {"type": "pedalboard", "class": "Convolution", "impulse_response": "ir.npy", "mix": 0.5, "mode": "LPF12"}
    assert named_files(table) == [("impulse_response", "ir.npy", False)]
    assert named_files({"class": "X", "anything": "a/b"}) == [("anything", "a/b", False)]
    assert named_files({"class": "X", "sample_file": "name"}) == [("sample_file", "name", False)]
    nested = {
        "type": "pedalboard",
        "class": "Mix",
        "plugins": [{"type": "vst3", "path": "p", "parameters": {"a": "1/4"}}],
    }
    assert named_files(nested) == [("path", "p", True)]


# ---- models and arrays -----------------------------------------------------------------------


def test_models_outside_the_folder(ear: Ear, folder: Path) -> None:
    from cspace.models import CODEC
    from cspace.plugins.codec import shipped_models

    pytest.importorskip("onnxruntime")
    name = shipped_models()[0]
    package = folder.parent / "outside" / "model"
    shutil.copytree(CODEC / name / "live", package)

    def preset(path: str, kind: str = "onnx", word: str = "package") -> None:
        (folder / "m.toml").write_text(f'sample_rate = 24000\n[[processor]]\ntype = "{kind}"\n{word} = "{path}"\n')

    for path in (str(package), "../outside/model", "link"):
        if not (folder / "link").is_symlink():
            (folder / "link").symlink_to(package)
        preset(path)
        assert "outside the preset folder" in load(ear, "m")
        preset(path, "codec", "model")
        assert "outside the preset folder" in load(ear, "m")
    preset(name, "codec", "model")  # comes with the program
    assert load(ear, "m") == ""
    shutil.copytree(package, folder / "inside")
    preset("inside")
    assert load(ear, "m") == ""
    assert ear.control.chain.names == ["onnx"]
    # A link or pipe in a package of the folder is none of its files.
    (folder / "inside" / "more").symlink_to("/etc/passwd")
    assert "leads out" in load(ear, "m")
    (folder / "inside" / "more").unlink()
    os.mkfifo(folder / "inside" / "more")
    assert "not a regular file" in load(ear, "m")


def test_a_chain_started_with_a_model_from_elsewhere_stays_usable(folder: Path) -> None:
    pytest.importorskip("onnxruntime")
    from cspace.models import CODEC
    from cspace.plugins import OnnxStream
    from cspace.plugins.codec import shipped_models

    package = folder.parent / "outside" / "model"
    shutil.copytree(CODEC / shipped_models()[0] / "live", package)
    ear = Ear(Chain([OnnxStream(package), Gain(gain_db=-3.0)]), presets=folder)
    assert save(ear, "mine") == ""
    ear.control.chain["gain"].gain_db = 0.0
    assert load(ear, "mine") == ""
    assert ear.control.chain["gain"].gain_db == -3.0
    (folder / "gone.toml").write_text('[[processor]]\ntype = "gain"\n')
    assert load(ear, "gone") == ""
    assert load(ear, "mine") == ""  # remembered, though it left the chain meanwhile
    stranger = Ear(Chain([Gain()]), presets=folder)
    assert "outside the preset folder" in load(stranger, "mine")


def test_arrays_stay_in_the_folder(folder: Path) -> None:
    esn = Esn(nodes=80)
    ear = Ear(Chain([esn]), presets=folder)
    name = next(iter(esn._array_infos))
    secret = folder.parent / "outside" / "secret.npy"
    np.save(secret, np.zeros(80, np.float32))
    (folder / "link.npy").symlink_to(secret)
    os.mkfifo(folder / "pipe.npy")
    for file, words in [
        ("link.npy", "leads out"),
        ("pipe.npy", "is a pipe"),
        ("../outside/secret.npy", "must name"),
    ]:
        (folder / "a.toml").write_text(f'[[processor]]\ntype = "esn"\nnodes = 80\n{name} = "{file}"\n')
        assert words in load(ear, "a")


def impulse(folder: Path, name: str) -> None:
    (folder / "ir.toml").write_text(
        f'[[processor]]\ntype = "pedalboard"\nclass = "Convolution"\nimpulse_response = "{name}"\n'
    )


@pytest.mark.parametrize("presets", [".", "absolute"])
def test_a_tilde_is_a_name_and_no_home_folder(presets: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pedalboard opens `~/x` in the home folder; trust looked for a folder called `~`."""
    import soundfile

    home = folder.parent / "outside"
    soundfile.write(home / "secret.wav", np.ones(100), 48_000)
    os.mkfifo(home / "pipe.wav")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(folder)
    ear = Ear(Chain([Gain()]), presets="." if presets == "." else folder)
    for name in ("~/secret.wav", "~/pipe.wav"):
        impulse(folder, name)
        assert "no such file" in load(ear, "ir")
    assert ear.control.chain.names == ["gain"]
    (folder / "~").mkdir()
    soundfile.write(folder / "~" / "mine.wav", np.ones(50), 48_000)
    impulse(folder, "~/mine.wav")
    assert load(ear, "ir") == ""
    assert ear.control.chain[0].impulse_response_filename == str(folder / "~" / "mine.wav")


def test_two_dots_behind_a_link_mean_what_trust_looked_at(ear: Ear, folder: Path) -> None:
    """pedalboard takes `link/..` for `.`: what it opened lay elsewhere."""
    import soundfile

    (folder / "a" / "b").mkdir(parents=True)
    (folder / "link").symlink_to("a/b")
    soundfile.write(folder / "a" / "x.wav", np.ones(50), 48_000)
    soundfile.write(folder / "x.wav", np.ones(70), 48_000)
    impulse(folder, "link/../x.wav")
    assert load(ear, "ir") == ""
    assert ear.control.chain[0].impulse_response_filename == str(folder / "a" / "x.wav")


# ---- links, pipes and names ------------------------------------------------------------------


def test_nothing_is_written_through_a_link(ear: Ear, folder: Path) -> None:
    victim = folder.parent / "outside" / "victim.txt"
    victim.write_text("precious")
    names = ["show.toml", ".show.toml.part", ".show.part", "show.toml.part", "show.gain.x.npy"]
    for name in names:
        (folder / name).symlink_to(victim)
    (folder / "new.toml").symlink_to(folder.parent / "outside" / "not-there.toml")
    for name in ("show", "new"):
        assert "leads out" in save(ear, name)
        assert "leads out" in load(ear, name)
    (folder / "show.toml").unlink()
    assert "leads out" in save(ear, "show")  # its arrays would go through the link
    (folder / "show.gain.x.npy").unlink()
    assert save(ear, "show") == ""
    assert not (folder / "show.toml").is_symlink()
    assert victim.read_text() == "precious"
    assert [p.name for p in victim.parent.iterdir()] == ["victim.txt"]
    assert ear.control.preset_names() == ["show"]


def test_a_link_within_the_folder_is_one_of_its_presets(ear: Ear, folder: Path) -> None:
    assert save(ear, "real") == ""
    (folder / "alias.toml").symlink_to("real.toml")
    assert ear.control.preset_names() == ["alias", "real"]
    assert load(ear, "alias") == ""


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "device"])
def test_what_is_no_file_is_refused_at_once(ear: Ear, folder: Path, kind: str) -> None:
    path = folder / "odd.toml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    for why in (load(ear, "odd"), save(ear, "odd")):
        assert "odd" in why
        assert "did you mean" not in why
    assert ear.control.preset_names() == []


def test_a_huge_preset_is_refused(ear: Ear, folder: Path) -> None:
    with open(folder / "huge.toml", "wb") as f:
        f.truncate(10**12)
    assert "too large" in load(ear, "huge") or "larger" in load(ear, "huge")


def test_a_near_name_is_suggested_and_never_the_same(folder: Path) -> None:
    presets = Presets(folder)
    (folder / "folder.toml").mkdir()
    (folder / "warm.toml").write_text("")
    with pytest.raises(ChainFileError, match="is a folder"):
        presets.load("folder")
    with pytest.raises(ChainFileError, match="did you mean 'warm'"):
        presets.load("wram")


# ---- the bypass of all is a state of its own -------------------------------------------------


def test_a_preset_saved_while_all_is_bypassed_holds_each_ones_own_switch(ear: Ear, folder: Path) -> None:
    chain = ear.control.chain
    chain.bypass("limiter", True)
    assert ear.say(msg("/bypass", "T")) == []
    assert save(ear, "p") == ""
    assert [s.bypass for s in chainfile.load(folder / "p.toml").slots] == [False, True]
    assert ear.say(msg("/bypass", "F")) == []
    assert [s.bypass for s in chain.slots] == [False, True]


def test_the_bypass_of_all_holds_for_what_comes_and_heeds_each_ones_switch_afterwards() -> None:
    from cspace import _native

    chain = Chain([Gain(gain_db=-20.0)])
    engine = _native.Engine(48_000.0, 1)
    chain.attach(engine)
    ones = np.ones((1, 4800), np.float32)

    def level() -> float:
        engine.process(ones)
        return float(engine.process(ones)[0, -1])

    assert level() == pytest.approx(0.1)
    chain.bypass_all(True)
    assert level() == pytest.approx(1.0)
    chain.append(Gain(gain_db=-20.0))  # comes in bypassed
    assert level() == pytest.approx(1.0)
    chain.bypass("gain", False)  # its own switch, for later
    chain["gain2"] = Gain(gain_db=-40.0)
    assert level() == pytest.approx(1.0)
    chain.bypass("gain2", True)
    assert level() == pytest.approx(1.0)
    assert [s.bypass for s in chain.slots] == [False, True]
    chain.bypass_all(False)
    assert level() == pytest.approx(0.1)
    chain.bypass_all(True)
    chain.detach(engine)
    fresh = _native.Engine(48_000.0, 1)
    engine = fresh
    chain.attach(fresh)  # a device that comes back
    assert level() == pytest.approx(1.0)
    assert chain(ones, 48_000)[0, -1] == pytest.approx(0.1)  # nothing rendered heeds it


def test_bypasses_never_wait_for_an_edit_and_hold_for_what_it_brings() -> None:
    """An edit that stands still while it builds: switches go through, and the newcomer heeds them."""
    chain = Chain([Gain()])
    engine = _native.Engine(48_000, 1)
    chain.attach(engine)
    building, go = threading.Event(), threading.Event()

    class Slow(Gain):
        def _build(self) -> Any:
            building.set()
            go.wait(10)
            return super()._build()

    edit = threading.Thread(target=chain.append, args=(Slow(gain_db=-60.0),))
    edit.start()
    try:
        assert building.wait(10)
        chain.bypass("gain")
        chain.bypass_all()
        assert not go.is_set()
        assert edit.is_alive(), "the edit still waits"
    finally:
        go.set()
        edit.join(10)
    assert [s.bypass for s in chain.slots] == [True, False]
    ones = np.ones((1, 48_000), np.float32)
    assert engine.process(ones)[0, -1] == pytest.approx(1.0), "all are passed by, the newcomer too"
    chain.bypass_all(False)
    assert engine.process(ones)[0, -1] == pytest.approx(0.001, rel=0.01)
    chain.detach(engine)
