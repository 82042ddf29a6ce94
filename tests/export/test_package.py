"""Model packages: what is written can be read; what is broken is refused with its reason."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import scipy.signal
from onnx import TensorProto, helper

from cspace import onnxfile
from cspace.cli import app
from cspace.export import parity
from cspace.export.package import GoldenAudio, Manifest, PackageError, State, Tensor, npy, read, write
from cspace.export.runner import Runner
from cspace.plugins import CspaceError, MissingExtraError, ParameterError

from . import models


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models.package(tmp_path / "pole", models.one_pole())
    return tmp_path / "pole"


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "model.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def put_model(folder: Path, data: bytes) -> None:
    """Another model.onnx, with the hash that fits it."""
    (folder / "model.onnx").write_bytes(data)
    edit(folder, lambda d: d["files"].update({"model.onnx": hashlib.sha256(data).hexdigest()}))


def remodel(folder: Path, change: Callable[[Any], Any]) -> None:
    model = onnx.load(str(folder / "model.onnx"))
    change(model)
    put_model(folder, model.SerializeToString())


# ---- what is right ---------------------------------------------------------------------------


def test_a_package_is_read_as_it_was_written(folder: Path) -> None:
    p = read(folder)
    m, data = models.one_pole()
    assert p.model == data
    assert (p.manifest.audio_in, p.manifest.states, p.manifest.parameters) == (m.audio_in, m.states, m.parameters)
    assert set(p.manifest.files) == {"model.onnx", "golden0_input.npy", "golden0_output.npy"}
    for name, sha in p.manifest.files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha
    assert sorted(f.name for f in folder.parent.iterdir()) == ["pole"], "nothing is left beside it"


def test_the_runner_does_what_the_models_are(tmp_path: Path) -> None:
    x = models.noise(1, 64 * 30)
    pole = models.package(tmp_path / "a", models.one_pole(0.9))
    # float32 with a pole at 0.9: 2⁻²⁴ / (1 − 0.9) of values of some units; 2e-7 seen. A filter of three taps has no
    # such memory.
    np.testing.assert_allclose(Runner(pole).run(x), scipy.signal.lfilter([1], [1, -0.9], x), atol=2e-6)
    np.testing.assert_allclose(Runner(pole, drive=0.5).run(x), scipy.signal.lfilter([0.5], [1, -0.9], x), atol=2e-6)
    two = models.noise(2, 48 * 30)
    fir = models.package(tmp_path / "b", models.fir([0.5, -0.2, 0.1], 48, 2))
    np.testing.assert_allclose(Runner(fir).run(two), scipy.signal.lfilter([0.5, -0.2, 0.1], [1], two), atol=1e-6)
    runner = Runner(fir)
    first = runner.run(two)
    runner.reset()
    np.testing.assert_array_equal(runner.run(two), first)


def test_the_runner_refuses_what_does_not_fit(folder: Path) -> None:
    runner = Runner(read(folder))
    with pytest.raises(ParameterError, match=r"no parameter 'drve'; did you mean 'drive'"):
        runner.set(drve=1.0)
    with pytest.raises(ParameterError, match=r"drive = 3\.0 is not allowed, use 0 to 2"):
        runner.set(drive=3.0)
    with pytest.raises(ParameterError, match=r"hops of shape \(1, 64\), not \(2, 64\)"):
        runner.step(np.zeros((2, 64), np.float32))
    with pytest.raises(ParameterError, match=r"whole hops of 64"):
        runner.run(np.zeros((1, 65), np.float32))


# ---- writing ---------------------------------------------------------------------------------


def test_nothing_is_replaced_unasked_and_a_failed_write_changes_nothing(folder: Path, tmp_path: Path) -> None:
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    with pytest.raises(PackageError, match="exists already; say overwrite"):
        models.package(folder, models.one_pole())
    wrong, _ = models.fir([1.0, 0.5])
    with pytest.raises(PackageError, match=r"pole: model\.onnx has no input tensor 'history'"):
        write(folder, wrong, models.one_pole()[1], overwrite=True)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before
    models.package(folder, models.swap(), overwrite=True)
    assert read(folder).manifest.name == "swap"
    (tmp_path / "mine").mkdir()
    with pytest.raises(PackageError, match="is no model package"):
        models.package(tmp_path / "mine", models.swap(), overwrite=True)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["mine", "pole"]


@pytest.mark.parametrize("name", ["../out.txt", "a/b", "model.json", ".hidden", ""])
def test_names_of_files_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(PackageError, match="only plain file names"):
        models.package(tmp_path / "p", models.swap(), files={name: b"x"})
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_golden_shape_is_refused(tmp_path: Path) -> None:
    sound = np.zeros((1, 100), np.float32)
    with pytest.raises(PackageError, match=r"golden0_input\.npy has shape \(1, 100\).*whole hops of 64"):
        models.package(tmp_path / "p", models.one_pole(), goldens=[GoldenAudio(sound, sound)])


# ---- what is broken: one file each -----------------------------------------------------------


def test_no_folder_no_manifest_no_model(folder: Path) -> None:
    with pytest.raises(PackageError, match="there is no such folder"):
        read(folder / "nowhere")
    with pytest.raises(PackageError, match="is a file, not a folder"):
        read(folder / "model.onnx")
    (folder / "model.onnx").unlink()
    with pytest.raises(PackageError, match=r"pole: model\.onnx is missing"):
        read(folder)
    (folder / "model.json").unlink()
    with pytest.raises(PackageError, match=r"pole: model\.json is missing"):
        read(folder)


def test_a_wrong_hash(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "model.onnx").write_bytes(data)
    with pytest.raises(PackageError, match=r"model\.onnx is not the file model\.json was written for"):
        read(folder)


def test_a_changed_golden(folder: Path) -> None:
    (folder / "golden0_output.npy").write_bytes(npy(np.zeros((1, 1280), np.float32)))
    with pytest.raises(PackageError, match=r"golden0_output\.npy is not the file"):
        read(folder)


@pytest.mark.parametrize(
    ("schema", "fix"),
    [(0, "export the model again"), (2, "update cspace"), (None, "export"), (True, "export"), ("1", "")],
)
def test_an_older_or_newer_schema(folder: Path, schema: Any, fix: str) -> None:
    edit(folder, lambda d: d.update(schema=schema))
    with pytest.raises(PackageError, match=rf"has schema {schema!r}, this version reads 1; .*{fix}"):
        read(folder)


def test_a_missing_tensor(folder: Path) -> None:
    edit(folder, lambda d: d["states"][0].update(input="lost"))
    with pytest.raises(PackageError, match=r"has no input tensor 'lost'; did you mean 'last'"):
        read(folder)


def test_a_tensor_nobody_named(folder: Path) -> None:
    edit(folder, lambda d: d.update(parameters=[]))
    with pytest.raises(PackageError, match=r"has an input tensor 'drive' that model\.json does not name"):
        read(folder)


def test_a_tensor_named_twice(folder: Path) -> None:
    edit(folder, lambda d: d["states"].append(d["states"][0]))
    with pytest.raises(PackageError, match=r"names the input tensor 'last' twice"):
        read(folder)


def test_a_wrong_shape(folder: Path) -> None:
    edit(folder, lambda d: d["states"][0].update(shape=[1, 2]))
    with pytest.raises(PackageError, match=r"'last' has shape \(1, 1\) in model\.onnx and \(1, 2\) in model\.json"):
        read(folder)


def test_a_wrong_type(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["audio"], ["audio_out"])],
        "double",
        [helper.make_tensor_value_info("audio", TensorProto.DOUBLE, [1, 64])],
        [helper.make_tensor_value_info("audio_out", TensorProto.DOUBLE, [1, 64])],
    )
    data = helper.make_model(graph).SerializeToString()
    with pytest.raises(PackageError, match=r"'audio' is float64; float32 is needed"):
        write(tmp_path / "p", models.manifest("double", 64), data)


@pytest.mark.parametrize("location", ["../../../etc/passwd", "/etc/passwd", "weights.bin"])
def test_weights_in_another_file(folder: Path, location: str) -> None:
    (folder / "weights.bin").write_bytes(bytes(1 << 16))

    def outside(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", location

    remodel(folder, outside)
    with pytest.raises(PackageError, match="keeps weights in another file") as caught:
        read(folder)
    assert repr(location) in str(caught.value)


def test_weights_in_another_file_hidden_in_a_subgraph(folder: Path) -> None:
    def hide(model: Any) -> None:
        tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "/etc/passwd"
        inner = helper.make_graph(
            [helper.make_node("Constant", [], ["x"], value=tensor)],
            "inner",
            [],
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        )
        cond = helper.make_tensor("c", TensorProto.BOOL, [], [True])
        model.graph.node.append(helper.make_node("Constant", [], ["yes"], value=cond))
        model.graph.node.append(helper.make_node("If", ["yes"], ["w_out"], then_branch=inner, else_branch=inner))

    remodel(folder, hide)
    with pytest.raises(PackageError, match=r"keeps weights in another file, '/etc/passwd'"):
        read(folder)


def test_a_corrupt_onnx_with_the_right_hash(folder: Path) -> None:
    good = (folder / "model.onnx").read_bytes()
    for bad in (b"", b"not a model", good[: len(good) // 2], b"\xff" * 100, b"PK\x03\x04" + bytes(500)):
        put_model(folder, bad)
        with pytest.raises(PackageError, match=r"model\.onnx is not a readable ONNX model"):
            read(folder)


def test_no_damage_to_the_model_crashes_the_reader() -> None:
    good = models.one_pole()[1]
    rng = np.random.default_rng(0)
    for _ in range(3000):
        bad = bytearray(good)
        for at in rng.integers(0, min(len(bad), 2000), rng.integers(1, 6)):
            bad[at] = rng.integers(0, 256)
        try:
            onnxfile.inspect(bytes(bad[: rng.integers(1, len(bad))] if rng.random() < 0.3 else bad))
        except onnxfile.OnnxError:
            continue


def test_an_operator_the_runtime_does_not_have(folder: Path) -> None:
    def rename(model: Any) -> None:
        model.graph.node[0].op_type = "Multiplicate"

    remodel(folder, rename)
    package = read(folder)  # its structure is right
    with pytest.raises(CspaceError, match=r"pole: ONNX Runtime cannot open the model: .*Multiplicate"):
        Runner(package)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("format"), "is not the manifest of a CSpace model"),
        (lambda d: d.update(hop=0), r"hop = 0 is not allowed, use a whole number from 1 to 65536"),
        (lambda d: d.update(hop=True), r"hop = True"),
        (lambda d: d.update(sample_rate=44.1), r"sample_rate = 44\.1"),
        (lambda d: d.update(latency_samples=-1), r"latency_samples = -1"),
        (lambda d: d.update(channels=2), r"audio_in has shape \(1, 64\); with 2 channels"),
        (lambda d: d.update(name="../x"), r"name = '\.\./x'"),
        (lambda d: d.update(licence=""), "licence must be a text"),
        (lambda d: d.update(state=[]), "unknown entry 'state'; did you mean 'states'"),
        (lambda d: d.update(states={}), "states must be a list"),
        (lambda d: d["states"][0].update(shape=[-1]), r"shape = \[-1\]"),
        (lambda d: d["states"][0].update(shape=[1 << 30]), "holds more than"),
        (lambda d: d["parameters"][0].update(default=9), r"default = 9 is not allowed, use 0 to 2"),
        (lambda d: d["parameters"][0].update(name="wet"), "parameter name 'wet' is not allowed"),
        (lambda d: d["parameters"][0].update(max=-1), "max = -1"),
        (lambda d: d["parameters"].append(d["parameters"][0]), "two parameters called 'drive'"),
        (lambda d: d["files"].pop("model.onnx"), r"files does not list model\.onnx"),
        (lambda d: d["files"].pop("golden0_input.npy"), r"does not list the golden 'golden0_input\.npy'"),
        (lambda d: d["files"].update({"../x": "0" * 64}), r"files names '\.\./x'"),
        (lambda d: d["files"].update({"x": "0"}), "64 hexadecimal"),
        (lambda d: d["goldens"][0].update(tolerance=-1), "tolerance = -1"),
    ],
)
def test_a_wrong_entry(folder: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    edit(folder, change)
    with pytest.raises(PackageError, match=message):
        read(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": NaN}', "[" * 100_000])
def test_a_manifest_that_is_none(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(PackageError, match=r"model\.json"):
        read(folder)


# ---- parity and the command ------------------------------------------------------------------


def cli(*args: object) -> Any:
    from typer.testing import CliRunner

    return CliRunner().invoke(app, [str(a) for a in args])


def test_check_finds_what_differs(folder: Path) -> None:
    done = cli("export", "check", folder)
    assert done.exit_code == 0, done.output
    assert "python" in done.output
    assert "ok" in done.output
    y = np.load(folder / "golden0_output.npy")
    y[0, 200] += 1e-3
    (folder / "golden0_output.npy").write_bytes(npy(y))
    sha = hashlib.sha256((folder / "golden0_output.npy").read_bytes()).hexdigest()
    edit(folder, lambda d: d["files"].update({"golden0_output.npy": sha}))
    rows = parity.check(read(folder))
    assert rows
    for row in rows:
        assert not row.ok
        assert (row.worst_hop, row.hops) == (3, 20)
        # A golden moved by 1e-3, read as float32 of size 1.
        assert row.worst == pytest.approx(1e-3, rel=1e-2)
    done = cli("export", "check", folder)
    assert done.exit_code == 1
    assert "differ from the golden" in done.output


def test_nan_is_a_difference(folder: Path) -> None:
    package = read(folder)
    rows = parity.check(package, {"broken": lambda golden: lambda x: np.full_like(x, np.nan)})
    assert [r.ok for r in rows] == [False]


def test_show_and_errors_are_plain_lines(folder: Path) -> None:
    done = cli("export", "show", folder)
    assert done.exit_code == 0
    assert "hop 64 (1.33 ms)" in done.output
    assert "parameter drive: 0 to 2, default 1" in done.output
    done = cli("export", "check", folder / "nowhere")
    assert done.exit_code == 2
    assert "there is no such folder" in done.output
    assert "Traceback" not in done.output


def test_without_onnxruntime_the_message_says_how_to_get_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cspace\[neural\]'"):
        Runner(read(folder))


def test_manifest_types_are_public() -> None:
    made = Manifest("a", 48_000, 8, 1, 0, Tensor("x", (8,)), Tensor("y", (8,)), states=(State("a", "b", (1,)),))
    assert made.to_json()["schema"] == 1
