"""Hosted models from Python: the contract of a processor, with tiny models made by code."""

from __future__ import annotations

import copy
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray

from cspace import _native, plugins
from cspace.export.package import PackageError
from cspace.export.runner import Runner
from cspace.modelmanifest import RESERVED
from cspace.plugins import CspaceError, CspaceWarning, MissingExtraError, OnnxStream, ParameterError
from cspace.realtime import Chain, chainfile
from tests.export import models

RATE = 48_000
X = models.noise(2, 9000)


@pytest.fixture
def pole(tmp_path: Path) -> Path:
    return models.package(tmp_path / "pole", models.one_pole(0.9)).folder


@pytest.fixture
def fir(tmp_path: Path) -> Path:
    return models.package(tmp_path / "fir", models.fir([0.5, -0.25, 0.125], 100, 2)).folder


def late(x: NDArray[np.float32], by: int) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((x.shape[0], by), np.float32), x], axis=1)[:, : x.shape[1]]


# ---- sound -----------------------------------------------------------------------------------


def test_it_is_what_the_model_is(pole: Path, fir: Path) -> None:
    expected = scipy.signal.lfilter([1], [1, -0.9], X)  # mono: each channel has its own stream
    # float32 recursion with a pole at 0.9: 2⁻²⁴ / (1 − 0.9) of values up to 5; 3e-7 seen. ONNX Runtime's versions may
    # add otherwise.
    np.testing.assert_allclose(OnnxStream(pole)(X, RATE), expected, atol=5e-6)
    expected = scipy.signal.lfilter([0.5, -0.25, 0.125], [1], X)
    np.testing.assert_allclose(OnnxStream(fir)(X, RATE), expected, atol=1e-6)
    np.testing.assert_allclose(OnnxStream(fir)(X, RATE, compensate=False), late(expected, 100), atol=1e-6)


def test_the_engine_equals_python_bit_for_bit(fir: Path) -> None:
    package = plugins.OnnxStream(fir)
    from cspace.modelpackage import read

    reference = Runner(read(fir)).run(X)
    np.testing.assert_array_equal(package(X, RATE, compensate=False), late(reference, 100))


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 127, 500, 1024, 8192])
def test_blocks_do_not_matter(pole: Path, fir: Path, size: int) -> None:
    for plugin in (OnnxStream(pole, drive=0.7), OnnxStream(fir, wet=0.4, drop_rate=0.3, drop_seed=5)):
        whole = plugin(X, RATE)
        np.testing.assert_array_equal(plugin.process(X, RATE, buffer_size=size), whole)
        np.testing.assert_array_equal(Chain([plugin]).process(X, RATE, buffer_size=size), whole)


def test_a_stream_in_pieces_and_reset(fir: Path) -> None:
    plugin = OnnxStream(fir, drop_rate=0.2)
    whole = plugin(X, RATE, compensate=False)
    plugin.reset()
    cuts = np.sort(np.random.default_rng(2).integers(0, 9000, 30))
    pieces = [plugin.process(p, RATE, reset=False) for p in np.split(X, cuts, axis=1)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


def test_state_saves_and_restores(pole: Path) -> None:
    plugin = OnnxStream(pole, drop_rate=0.2)
    plugin(X[:, :2345], RATE)
    state = plugin.save_state()
    rest = plugin.process(X[:, 2345:], RATE, reset=False)
    twin = OnnxStream(pole, drop_rate=0.2)
    twin.load_state(state)
    np.testing.assert_array_equal(twin.process(X[:, 2345:], RATE, reset=False), rest)


@pytest.mark.parametrize("delay", [0, 1, 31])
def test_latency_is_what_an_impulse_measures(tmp_path: Path, delay: int) -> None:
    taps = [0.0] * delay + [1.0, 0.3]
    package = models.package(tmp_path / "p", models.fir(taps, 64, latency=delay))
    plugin = OnnxStream(package.folder)
    assert plugin.latency_samples == 64 + delay
    x = np.zeros((1, 4000), np.float32)
    x[0, 0] = 0.5
    for wet in (1.0, 0.0):  # the input is delayed alike
        plugin.wet = wet
        y = plugin(x, RATE, compensate=False)[0]
        assert int(np.argmax(np.abs(y))) == plugin.latency_samples
        assert y[plugin.latency_samples] == 0.5
    engine = Chain([OnnxStream(package.folder, spare_ms=0.0)])
    live = _native.Engine(RATE, 1, 128)
    engine.attach(live)
    assert live.latency_samples == _native.hosted_latency(64, 128, 0) + delay == 128 + delay


def test_wet_is_a_mix(pole: Path) -> None:
    wet, dry = OnnxStream(pole)(X, RATE), X
    # One product and one sum in float32, values up to 5.
    np.testing.assert_allclose(OnnxStream(pole, wet=0.25)(X, RATE), dry + 0.25 * (wet - dry), atol=1e-6)
    np.testing.assert_array_equal(OnnxStream(pole, wet=0.0)(X, RATE), dry)


def test_simulated_loss(pole: Path) -> None:
    whole = OnnxStream(pole)(X, RATE)
    for conceal in ("fade", "dry"):
        lost = OnnxStream(pole, drop_rate=0.1, conceal=conceal)(X, RATE)
        hops = np.any(lost != whole, axis=0)[: 139 * 64].reshape(-1, 64).any(axis=1).mean()
        assert 0.08 < hops < 0.5  # each gap touches the hops in which sound comes back, too
        assert np.isfinite(lost).all()
        np.testing.assert_array_equal(OnnxStream(pole, drop_rate=0.1, conceal=conceal)(X, RATE), lost)
    all_lost = OnnxStream(pole, drop_rate=1.0)(X, RATE)
    np.testing.assert_array_equal(all_lost, 0.0)
    np.testing.assert_allclose(OnnxStream(pole, drop_rate=1.0, conceal="dry")(X, RATE)[:, 1000:], X[:, 1000:])


def test_nan_does_not_stay(pole: Path) -> None:
    x = X.copy()
    x[:, 3000] = np.nan
    for player in (Chain([OnnxStream(pole)]), OnnxStream(pole)):
        with pytest.warns(CspaceWarning, match="2 samples of the input were NaN or Inf, played as 0"):
            y = player(x, RATE)
        np.testing.assert_array_equal(y, player(np.where(np.isnan(x), np.float32(0), x), RATE))


def test_floating_point_of_python_stays_as_it_is(pole: Path) -> None:
    from cspace.modelpackage import read

    tiny = np.full(3, 1e-40, np.float32)
    Runner(read(pole)).run(models.noise(1, 640))
    assert (tiny * np.float32(0.5) > 0).all()
    plugin = OnnxStream(pole)
    assert (tiny * np.float32(0.5) > 0).all()
    plugin(X, RATE)
    Chain([OnnxStream(pole)])(X, RATE)
    assert (tiny * np.float32(0.5) > 0).all()


# ---- parameters ------------------------------------------------------------------------------


def test_parameters_of_the_model_are_parameters_of_the_plugin(pole: Path, fir: Path) -> None:
    plugin = OnnxStream(pole, drive=0.5)
    assert plugin.drive == 0.5
    np.testing.assert_allclose(plugin(X, RATE), 0.5 * OnnxStream(pole)(X, RATE), atol=1e-6)
    plugin.drive = 1.5
    assert plugin.get_param("drive") == 1.5
    with pytest.raises(ParameterError, match=r"onnx\.drive = 3 is not allowed, use 0 to 2"):
        plugin.drive = 3.0
    with pytest.raises(AttributeError, match=r"has no parameter 'drve'; did you mean 'drive'"):
        plugin.drve = 1.0
    with pytest.raises(ParameterError, match="has no parameter"):
        OnnxStream(fir, drive=1.0)
    with pytest.raises(AttributeError, match="has no parameter 'drive'"):
        _ = OnnxStream(fir).drive
    with pytest.raises(ParameterError, match="use 'fade' or 'dry'"):
        plugin.conceal = "loud"


def test_twins_dicts_and_reprs(pole: Path, fir: Path) -> None:
    plugin = OnnxStream(pole, drive=0.5, conceal="dry")
    for twin in (copy.copy(plugin), copy.deepcopy(plugin)):
        assert twin == plugin
        np.testing.assert_array_equal(twin(X, RATE), plugin(X, RATE))
        twin.drive = 0.25
        assert plugin.drive == 0.5
    settings = plugin.to_dict()
    assert settings.pop("type") == "onnx"
    assert OnnxStream(**settings) == plugin
    assert OnnxStream(fir) != OnnxStream(pole)
    assert repr(plugin) == f"OnnxStream({str(pole)!r}, conceal='dry', drive=0.5)"


def test_its_words_are_reserved_in_manifests() -> None:
    names = {p["name"] for p in _native.hosted_info("onnx", "")["params"]}
    assert names <= RESERVED
    public = {n for n in dir(OnnxStream) if not n.startswith("_")}
    assert public <= RESERVED, "a parameter of a model must not hide any of these"
    assert list(OnnxStream.__annotations__) == [p["name"] for p in OnnxStream.info["params"]]
    assert "onnx" in plugins.hosted_by_name()


# ---- swapping --------------------------------------------------------------------------------


def test_another_model_takes_its_place(pole: Path, fir: Path) -> None:
    plugin = OnnxStream(pole, drive=0.5, wet=0.7)
    plugin.package = fir
    assert plugin == OnnxStream(fir, wet=0.7)
    np.testing.assert_array_equal(plugin(X, RATE), OnnxStream(fir, wet=0.7)(X, RATE))
    plugin.package = pole
    assert plugin.drive == 1.0  # what the other model did not have is at its default again


def damage(folder: Path) -> None:
    data = b"\x08\x08" + (folder / "model.onnx").read_bytes()[:300]
    (folder / "model.onnx").write_bytes(data)
    manifest = json.loads((folder / "model.json").read_text())
    manifest["files"]["model.onnx"] = hashlib.sha256(data).hexdigest()
    (folder / "model.json").write_text(json.dumps(manifest))


def test_a_refused_package_leaves_the_chain_playing(pole: Path, fir: Path, tmp_path: Path) -> None:
    chain = Chain([OnnxStream(pole, drive=0.5)])
    chain.process(X[:, :1000], RATE, reset=False)
    expected = Chain([OnnxStream(pole, drive=0.5)])(X, RATE, compensate=False)
    damage(fir)
    models.package(tmp_path / "six", models.fir([1.0, 0.5], 64, 6))
    m, data = models.one_pole()
    models.package(tmp_path / "slow", (replace(m, sample_rate=16_000), data))
    for folder, why in [
        (fir, "not a readable ONNX model"),
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path / "six", r"the model has 6 channels and this chain 2"),
        (tmp_path / "slow", r"runs at 16000 Hz and this chain at 48000 Hz; set sample_rate = 16000"),
    ]:
        with pytest.raises(CspaceError, match=why):
            chain["onnx"].package = folder
        assert chain["onnx"] == OnnxStream(pole, drive=0.5)
    y = chain.process(X[:, 1000:], RATE, reset=False)
    np.testing.assert_array_equal(y, expected[:, 1000:])


def test_an_operator_the_runtime_does_not_have_is_refused_at_once(pole: Path) -> None:
    import onnx

    model = onnx.load(str(pole / "model.onnx"))
    model.graph.node[0].op_type = "Multiplicate"
    data = model.SerializeToString()
    (pole / "model.onnx").write_bytes(data)
    manifest = json.loads((pole / "model.json").read_text())
    manifest["files"]["model.onnx"] = hashlib.sha256(data).hexdigest()
    (pole / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match=r"pole: ONNX Runtime cannot open the model: .*Multiplicate"):
        OnnxStream(pole)


def test_without_onnxruntime_the_message_says_how_to_get_it(pole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cspace import ortruntime

    ortruntime.library.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cspace\[neural\]'"):
        OnnxStream(pole)


def test_a_library_that_is_none_is_named(pole: Path, tmp_path: Path) -> None:
    """In a process of its own: a program opens one library only."""
    import subprocess

    (tmp_path / "libonnxruntime.so").write_text("no library")
    code = f"""
from pathlib import Path
from cspace import ortruntime
ortruntime.library = lambda: Path({str(tmp_path / "libonnxruntime.so")!r})
from cspace.plugins import OnnxStream
try:
    OnnxStream({str(pole)!r})
except Exception as e:
    print(type(e).__name__, e)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.startswith("PackageError")
    assert "ONNX Runtime cannot be opened" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_importing_the_plugin_does_not_import_the_runtime() -> None:
    import subprocess

    code = "import sys, cspace.plugins, cspace.realtime; sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# ---- chain files and commands ----------------------------------------------------------------


def test_chain_files(pole: Path, tmp_path: Path) -> None:
    chain = Chain([OnnxStream(pole, drive=0.5, drop_rate=0.1), plugins.Gain(gain_db=-3.0)])
    chainfile.save(chain, tmp_path / "chain.toml")
    text = (tmp_path / "chain.toml").read_text()
    assert 'package = "pole"' in text  # relative to the file
    assert chainfile.load(tmp_path / "chain.toml") == chain
    np.testing.assert_array_equal(chainfile.load(tmp_path / "chain.toml")(X, RATE), chain(X, RATE))
    (tmp_path / "deeper").mkdir()
    chainfile.save(chain, tmp_path / "deeper" / "chain.toml")
    assert chainfile.load(tmp_path / "deeper" / "chain.toml") == chain


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('type = "onnx"', r'line 2: an onnx processor needs package = "…"'),
        ('type = "onnx"\npackage = 3', r'line 3: an onnx processor needs package = "…"'),
        ('type = "onnx"\npackage = "nowhere"', r"line 3: .*nowhere: there is no such folder"),
        ('type = "onnx"\npackage = "pole"\ndrive = 9', r"line 4: onnx\.drive = 9 is not allowed, use 0 to 2"),
        ('type = "onnx"\npackage = "pole"\ndriev = 1', r"line 4: onnx has no parameter 'driev'; did you mean 'drive'"),
        ('type = "onxn"', r"unknown processor type 'onxn'; did you mean 'onnx'"),
    ],
)
def test_errors_in_chain_files_name_the_line(pole: Path, tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "chain.toml").write_text(f"[[processor]]\n{body}\n")
    with pytest.raises(CspaceError, match=message):
        chainfile.load(tmp_path / "chain.toml")


def test_the_command_lists_it() -> None:
    from typer.testing import CliRunner

    from cspace.cli import app

    for args in (["plugins"], ["plugins", "onnx"], ["plugins", "onnx", "--markdown"]):
        done = CliRunner().invoke(app, args)
        assert done.exit_code == 0
        assert "drop_rate" in done.output


def test_the_tables_of_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "neural.md").read_text(encoding="utf-8")
    tables = page.split("| block \\ hop |")[1:]
    assert len(tables) == 2
    for table, spare in zip(tables, (0, 96), strict=True):
        head, _, *rows = table.splitlines()
        hops = [int(h) for h in head.strip(" |").split("|")]
        for row in rows[: rows.index("")]:
            block, *cells = (int(c) for c in row.strip(" |").split("|"))
            assert cells == [_native.hosted_latency(h, block, spare) for h in hops], f"block {block}"


def test_the_chain_runs_at_the_rate_of_its_model(tmp_path: Path) -> None:
    import soundfile

    from cspace.realtime import Stream, render

    m, data = models.one_pole()
    slow = models.package(tmp_path / "slow", (replace(m, sample_rate=16_000), data)).folder
    chain = Chain([plugins.Gain(), OnnxStream(slow)])
    assert chain.wanted_rate == 16_000
    assert Stream(chain, input="null").sample_rate == 16_000
    soundfile.write(tmp_path / "in.wav", X.T, RATE)
    assert render(chain, tmp_path / "in.wav", tmp_path / "out.wav").sample_rate == RATE
    with pytest.raises(CspaceError, match="set sample_rate = 16000"):
        render(chain, tmp_path / "in.wav", tmp_path / "out.wav", sample_rate=RATE)
    assert Chain([plugins.Gain()]).wanted_rate is None


def test_the_example_in_the_docs_runs(pole: Path) -> None:
    lines = [line.strip() for line in (OnnxStream.__doc__ or "").splitlines()]
    code = "\n".join(line[4:] for line in lines if line.startswith(">>> "))
    space: dict[str, Any] = {"x": X, "package": pole}
    exec(code, space)
    assert space["y"].shape == X.shape
