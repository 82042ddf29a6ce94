"""Chain files and presets: read, written, and every mistake named with file, line and remedy."""

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cspace import _native, plugins
from cspace.plugins import CSpace, Eq, Esn, Gain
from cspace.realtime import Chain, CspaceError, chainfile
from cspace.realtime.errors import ChainFileError, FileError
from cspace.realtime.presets import Presets, apply
from cspace.realtime.trust import Trust

GOOD = """\
title = "Warm room"
sample_rate = 48000
block = 64

[[processor]]
type = "cspace"
oscillators = 3
decay_law = "legacy"
band_gain_db = [0, -6.0, 3]

[[processor]]
type = "eq"
name = "tone"
bypass = true
low_gain_db = 3
"""


def test_a_good_file() -> None:
    chain = chainfile.loads(GOOD)
    assert (chain.title, chain.sample_rate, chain.block) == ("Warm room", 48_000, 64)
    assert chain.names == ["cspace", "tone"]
    assert chain[0] == CSpace(oscillators=3, decay_law="legacy", band_gain_db=[0, -6, 3])
    assert chain[1] == Eq(low_gain_db=3.0)
    assert [s.bypass for s in chain.slots] == [False, True]
    assert chainfile.loads("") == Chain()


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("low_gain_db = 3", "low_gain_db = 300", 15, r"eq\.low_gain_db = 300 is not allowed, use -24 to 24 dB"),
        ("low_gain_db = 3", "low_gian_db = 3", 15, "eq has no parameter 'low_gian_db'; did you mean 'low_gain_db'"),
        ("low_gain_db = 3", 'low_gain_db = "loud"', 15, "'loud' is not allowed, use -24 to 24 dB"),
        ("low_gain_db = 3", "low_gain_db = nan", 15, "nan is not allowed"),
        ("low_gain_db = 3", "low_gain_db = true", 15, "True is not allowed"),
        ("low_gain_db = 3", "low_gain_db = 1979-05-27", 15, "a date, which is not allowed"),
        ("low_gain_db = 3", "low_gain_db = {a = 1}", 15, "a dict, which is not allowed"),
        ("oscillators = 3", "oscillators = 2.5", 7, "use whole numbers from 1 to 1024"),
        ('"legacy"', '"legasy"', 8, "use 'constant_q' or 'legacy'; did you mean 'legacy'"),
        ("[0, -6.0, 3]", '[0, "a"]', 9, "must be an array of numbers"),
        ("[0, -6.0, 3]", "[[[1]]]", 9, "1 or 2 dimensions"),
        ("[0, -6.0, 3]", "[inf]", 9, "NaN or Inf"),
        ("[0, -6.0, 3]", '"weights.npy"', 9, r"must name a \.npy file"),
        ('"eq"', '"equ"', 12, "unknown processor type 'equ'; did you mean 'eq'"),
        ('"eq"', "7", 12, "unknown processor type 7"),
        ('type = "eq"\n', "", 11, "a processor needs a type"),
        ('"tone"', '"cspace"', 13, "has a processor 'cspace' already"),
        ('"tone"', '"/etc"', 13, "name '/etc' is not allowed"),
        ('"tone"', "3", 13, "name = 3 must be a text"),
        ("bypass = true", "bypass = 1", 14, "use true or false"),
        ("block = 64", "block = 0", 3, "block = 0 is not allowed, use 1 to 8192"),
        ("block = 64", "block = 64.5", 3, "whole number"),
        ("48000", "7", 2, "sample_rate = 7 is not allowed, use 8000 to 192000"),
        ("title", "titel", 1, "unknown key 'titel'; did you mean 'title'"),
        ('"Warm room"', "5", 1, "title must be a text"),
    ],
)
def test_mistakes_are_named(old: str, new: str, line: int, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ChainFileError, match=rf"^room\.toml, line {line}: .*{message}"):
        chainfile.loads(GOOD.replace(old, new, 1), name="room.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = [", "not valid TOML"),
        ("a = 1\na = 2", "not valid TOML"),
        ("processor = 3", r"written as \[\[processor\]\] tables"),
        ("[processor]\ntype = 'gain'", r"written as \[\[processor\]\] tables"),
        ("x = " + "[" * 5000, "too deeply|not valid TOML"),
        ('[[processor]]\ntype = "vst3"\npath = "no.vst3"', r"line 3: there is no VST3 file '.*no\.vst3'|pedalboard"),
        ('[[processor]]\ntype = "vst3"', "needs path"),
        ('[[processor]]\ntype = "pedalboard"', "needs class"),
    ],
)
def test_other_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(ChainFileError, match=message):
        chainfile.loads(text)


HEX = "0x" + "F" * 5000  # longer than Python writes a number out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"sample_rate = {HEX}", "line 1: sample_rate is a whole number of more than 64 bits"),
        (f"[[processor]]\ntype = {HEX}", "line 2: type is a whole number"),
        ("[[processor]]\ntype = 'gain'\n\n[[processor]]\ntype = 'gain'\ngain_db = 1" + "0" * 400, "line 6: gain_db is"),
        ("[[processor]]\ntype = 'cspace'\nband_gain_db = [0, 1" + "0" * 400 + "]", "line 3: band_gain_db is"),
        ("[[processor]]\n[processor.type" + ".x" * 3000 + "]", "type is nested too deeply"),
        ("[[processor]]\ntype = 'pedalboard'\nclass = 'Gain'\n[processor.x" + ".x" * 3000 + "]", "nested too deeply"),
    ],
)
@pytest.mark.parametrize("asks", ["by hand", "remote"])
def test_numbers_and_tables_without_end_are_named(text: str, message: str, asks: str, tmp_path: Path) -> None:
    with pytest.raises(ChainFileError, match=rf"^x\.toml.*{message}"):
        chainfile.loads(text, name="x.toml", trust=Trust(tmp_path) if asks == "remote" else None)


def test_what_no_chain_file_can_hold_is_refused(tmp_path: Path) -> None:
    """A path of bytes that are no UTF-8 was written escaped, and nobody could read the file again."""
    chain = Chain([Gain()], title=os.fsdecode(b"h\xe4ll"))
    with pytest.raises(ChainFileError, match=r'title = "h\\udce4ll": holds bytes that are no UTF-8'):
        chainfile.save(chain, tmp_path / "a.toml")
    assert not list(tmp_path.iterdir())
    odd = tmp_path / os.fsdecode(b"h\xe4ll.toml")  # the chain file itself may be called so, its arrays too
    chainfile.save(network(0), odd)
    assert chainfile.load(odd) == network(0)


def test_a_system_that_opens_no_more_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: Any, **__: Any) -> Any:
        raise OSError(24, "Too many open files")

    presets = Presets(tmp_path)
    monkeypatch.setattr(Path, "glob", none_left)
    with pytest.raises(ChainFileError, match="cannot be read: Too many open files"):
        presets.save("a", Chain())
    monkeypatch.setattr(plugins.Gain, "__init__", none_left)
    with pytest.raises(ChainFileError, match="line 1: cannot be made: Too many open files"):
        chainfile.loads("[[processor]]\ntype = 'gain'")


def test_missing_and_odd_files(tmp_path: Path) -> None:
    (tmp_path / "room.toml").write_text(GOOD)
    with pytest.raises(ChainFileError, match=r"no such file; did you mean 'room\.toml'"):
        chainfile.load(tmp_path / "rom.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00\x00\x01")
    with pytest.raises(ChainFileError, match=r"binary\.toml: is not text in UTF-8: byte 0xff at offset 0"):
        chainfile.load(tmp_path / "binary.toml")
    with pytest.raises(ChainFileError, match="is a folder, not a file"):
        chainfile.load(tmp_path)
    with (tmp_path / "huge.toml").open("wb") as f:
        f.truncate(1 << 30)
    with pytest.raises(ChainFileError, match="too large"):
        chainfile.load(tmp_path / "huge.toml")


def moved(kind: type[plugins.NativePlugin], seed: int) -> plugins.NativePlugin:
    rng = np.random.default_rng(seed)
    plugin = kind()
    for p in kind.info["params"]:
        x = rng.uniform(p["min"], p["max"])
        scale = p["scale"]
        if scale == "choice":
            plugin.set_param(p["name"], p["choices"][round(x)])
        elif scale == "toggle":
            plugin.set_param(p["name"], bool(x > 0.5))
        elif scale == "int":
            plugin.set_param(p["name"], int(x))
        else:
            plugin.set_param(p["name"], x)
    for a in kind.info["arrays"]:
        plugin.set_array(a["name"], rng.standard_normal(rng.integers(1, 200)))
    return plugin


def test_every_plugin_survives_the_trip(tmp_path: Path) -> None:
    for seed in range(3):
        chain = Chain([moved(kind, seed) for kind in plugins.all_plugins()], title='A "quoted"\ttitle\x7f\n', block=32)
        chain.bypass(0)
        chainfile.save(chain, tmp_path / "all.toml")
        again = chainfile.load(tmp_path / "all.toml")
        assert again == chain
        assert (again.title, again.block, again.sample_rate) == (chain.title, 32, None)
    assert not list(tmp_path.glob("*.part"))


def network(seed: int, nodes: int = 20) -> Chain:
    rng = np.random.default_rng(seed)
    return Chain([Esn.from_matrices(rng.standard_normal((nodes, nodes)), rng.standard_normal(nodes), 0.5)])


def arrays_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.glob("*.npy"))


def test_long_arrays_go_beside_the_file(tmp_path: Path) -> None:
    chain = network(0)
    chainfile.save(chain, tmp_path / "net.toml")
    assert sorted(p.name for p in tmp_path.iterdir()) == [*arrays_in(tmp_path), "net.toml"]
    (name,) = arrays_in(tmp_path)
    assert re.fullmatch(r"net\.esn\.w\.[0-9a-f]{16}\.npy", name)
    assert chainfile.load(tmp_path / "net.toml") == chain
    (tmp_path / name).write_bytes(b"\x93NUMPY garbage")
    with pytest.raises(ChainFileError, match=rf"{re.escape(name)}: is not a \.npy file"):
        chainfile.load(tmp_path / "net.toml")
    np.save(tmp_path / name, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ChainFileError, match="holds Python objects, which could run code"):
        chainfile.load(tmp_path / "net.toml")
    chainfile.save(chain, tmp_path / "net.toml")  # a damaged array is written anew
    assert chainfile.load(tmp_path / "net.toml") == chain
    with pytest.raises(ChainFileError, match="too many for text"):
        chainfile.dumps(chain)


def test_a_save_replaces_the_arrays_of_the_one_before_and_keeps_equal_ones(tmp_path: Path) -> None:
    file = tmp_path / "net.toml"
    np.save(tmp_path / "net.mine.npy", np.zeros(3))  # one that somebody put there
    chainfile.save(network(0), file)
    first = arrays_in(tmp_path)
    chainfile.save(network(1), file)
    second = arrays_in(tmp_path)
    assert len(first) == len(second) == 2
    assert set(first) & set(second) == {"net.mine.npy"}
    written = (tmp_path / second[0]).stat().st_ino
    chainfile.save(network(1), file)
    assert arrays_in(tmp_path) == second
    assert (tmp_path / second[0]).stat().st_ino == written
    shutil.copy(file, tmp_path / "copy.toml")  # names the same arrays
    chainfile.save(network(2), file)
    assert chainfile.load(tmp_path / "copy.toml") == network(1)
    assert chainfile.load(file) == network(2)


@pytest.mark.parametrize("fails_at", ["array", "text", "interrupt"])
def test_a_save_that_fails_half_way_leaves_the_chain_that_was_there(
    fails_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "net.toml"
    old, new = Chain([*network(0), *network(1)]), Chain([*network(2), *network(3)])
    chainfile.save(old, file)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    real, calls = np.save, []

    def full(f: Any, data: Any, **kwargs: Any) -> None:
        calls.append(f)
        if fails_at == "interrupt":
            raise KeyboardInterrupt
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(f, data, **kwargs)

    def no_text(*_: Any) -> None:
        raise FileError("net.toml: No space left on device")

    if fails_at == "text":
        monkeypatch.setattr(chainfile, "write_text", no_text)
    else:
        monkeypatch.setattr(np, "save", full)
    with pytest.raises(KeyboardInterrupt if fails_at == "interrupt" else ChainFileError):
        chainfile.save(new, file)
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    assert chainfile.load(file) == old


def test_two_chain_files_never_share_an_array_file(tmp_path: Path) -> None:
    """`a` with a container `conv` and `a.conv` with a processor `0`: names of arrays that were the same."""
    pedalboard = pytest.importorskip("pedalboard")

    def convolution(x: float) -> Any:
        return pedalboard.Convolution(np.full(100, x, np.float32), sample_rate=48_000.0)

    first, second = Chain(), Chain()
    first.insert(0, pedalboard.Chain([convolution(0.01)]), name="conv")
    second.insert(0, convolution(0.7), name="0")
    for x in (0.7, 0.01):  # with other content, and with the same
        second[0] = convolution(x)
        chainfile.save(first, tmp_path / "a.toml")
        chainfile.save(second, tmp_path / "a.conv.toml")
        assert len(arrays_in(tmp_path)) == 2
        chainfile.save(second, tmp_path / "a.conv.toml")
        assert chainfile.load(tmp_path / "a.toml")[0][0].impulse_response.ravel()[0] == np.float32(0.01)
    chainfile.save(Chain(), tmp_path / "a.toml")
    assert chainfile.load(tmp_path / "a.conv.toml")[0].impulse_response.ravel()[0] == np.float32(0.01)
    chainfile.save(Chain(), tmp_path / "a.conv.toml")
    assert arrays_in(tmp_path) == []


def test_files_with_the_older_names_of_arrays_load(tmp_path: Path) -> None:
    chain = network(0)
    chainfile.save(chain, tmp_path / "net.toml")
    (name,) = arrays_in(tmp_path)
    text = (tmp_path / "net.toml").read_text().replace(name, "net.esn.w.npy")
    (tmp_path / "net.toml").write_text(text)
    (tmp_path / name).rename(tmp_path / "net.esn.w.npy")
    assert chainfile.load(tmp_path / "net.toml") == chain
    chainfile.save(network(1), tmp_path / "net.toml")
    assert "net.esn.w.npy" in arrays_in(tmp_path)  # whose it is cannot be told from such a name


def test_pedalboard_effects(tmp_path: Path) -> None:
    pedalboard = pytest.importorskip("pedalboard")
    text = '[[processor]]\ntype = "pedalboard"\nclass = "LadderFilter"\nmode = "HPF24"\ncutoff_hz = 500\n'
    chain = chainfile.loads(text)
    assert isinstance(chain["ladderfilter"], pedalboard.LadderFilter)
    assert chain["ladderfilter"].mode == pedalboard.LadderFilter.Mode.HPF24
    assert chain["ladderfilter"].cutoff_hz == 500
    chainfile.save(chain, tmp_path / "a.toml")
    again = chainfile.load(tmp_path / "a.toml")
    assert again.slot(0).get("cutoff_hz") == 500
    for bad, message in [
        (text.replace("LadderFilter", "LadderFitler"), "line 3: pedalboard has no effect 'LadderFitler'; did you mean"),
        (text.replace("HPF24", "HPF36"), "line 4: .*'HPF36' is not allowed, use LPF12"),
        (text.replace("cutoff_hz", "cutof_hz"), "line 5: .*did you mean 'cutoff_hz'"),
        (text.replace("500", '"a"'), r"line 5: ladderfilter\.cutoff_hz cannot be set to 'a'"),
        (text.replace("LadderFilter", "Plugin"), "has no effect 'Plugin'"),
        (text.replace("LadderFilter", "load_plugin"), "has no effect 'load_plugin'"),
    ]:
        with pytest.raises(ChainFileError, match=message):
            chainfile.loads(bad)


# ---- whatever comes, only ChainFileError -----------------------------------------------------

KEYS = st.sampled_from(["type", "name", "bypass", "gain_db", "low_gain_db", "w", "processor", "title", "class", "path"])
SCALARS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.text(max_size=12),
    st.sampled_from(["gain", "eq", "esn", "cspace", "kuramoto", "pedalboard", "vst3", "Reverb", "../a.npy", "x.npy"]),
)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3), max_leaves=6)


def toml(table: dict[str, object]) -> str:
    from cspace.realtime.tomltext import dump_table

    return dump_table("processor", table)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=5), max_size=3))
def test_any_tables_load_or_fail_clearly(tables: list[dict[str, object]]) -> None:
    message = "x.toml"
    try:
        chainfile.loads("\n".join(toml(t) for t in tables), name="x.toml")
    except ChainFileError as e:
        message = str(e)
    assert message.startswith("x.toml")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_any_text_loads_or_fails_clearly(text: str) -> None:
    with contextlib.suppress(ChainFileError):
        chainfile.loads(text)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 12), st.text(max_size=6))
def test_any_change_to_a_good_file_loads_or_fails_clearly(at: int, cut: int, new: str) -> None:
    with contextlib.suppress(ChainFileError):
        chainfile.loads(GOOD[:at] + new + GOOD[at + cut :])


# ---- presets ---------------------------------------------------------------------------------


def test_presets_stay_in_their_folder(tmp_path: Path) -> None:
    presets = Presets(tmp_path / "presets")
    assert presets.names() == []
    chain = Chain([Gain(gain_db=-3.0)])
    presets.save("Soft 1", chain)
    assert presets.names() == ["Soft 1"]
    assert presets.load("Soft 1") == chain
    (tmp_path / "outside.toml").write_text(GOOD)
    (tmp_path / "presets" / "link.toml").symlink_to(tmp_path / "outside.toml")
    for name in ["../outside", "/etc/passwd", "a/b", "..", "", "a\0b", "x" * 65, ".hidden", "a..b", "link", "\n"]:
        with pytest.raises(ChainFileError):
            presets.load(name)
        with pytest.raises(ChainFileError):
            presets.save(name, chain)
    with pytest.raises(ChainFileError, match="no preset 'Sotf 1'; did you mean 'Soft 1'"):
        presets.load("Sotf 1")


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80))
def test_no_preset_name_leaves_the_folder(name: str) -> None:
    presets = Presets("/nonexistent/presets")
    with contextlib.suppress(CspaceError):
        assert presets.path(name).parent == Path("/nonexistent/presets")


def test_a_preset_moves_parameters_where_it_can() -> None:
    chain = Chain([Gain(), Eq()])
    gain = chain[0]
    apply(Chain([Gain(gain_db=-6.0), Eq(band1_q=2.0)], title="two"), chain)
    assert chain[0] is gain
    assert gain.gain_db == -6.0
    assert chain.title == "two"
    other = Chain([CSpace()])
    apply(other, chain)
    assert chain == other


def test_a_preset_that_cannot_play_changes_nothing() -> None:
    chain = Chain([Gain(), CSpace()])
    engine = _native.Engine(48_000, 2, 64)
    chain.attach(engine)
    for bad in (
        Chain([Gain(gain_db=3.0), CSpace(low_hz=900.0, high_hz=100.0)]),
        Chain([CSpace(low_hz=9e3, high_hz=10.0)]),
    ):
        with pytest.raises(CspaceError, match="low_hz must be the smaller one"):
            apply(bad, chain)
        assert chain == Chain([Gain(), CSpace()])
        assert len(engine.slots()) == 2
