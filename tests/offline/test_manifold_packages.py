"""Packages of the manifold: written whole, read with every entry checked, run by Rust alone, hosted as ONNX."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cspace.cli import app
from cspace.manifoldpackage import GOLDENS, MANIFEST, WEIGHTS, Package, PackageError, find, read, shipped

torch = pytest.importorskip("torch")

from safetensors.numpy import load_file, save_file  # noqa: E402

from cspace.offline.manifold import packages  # noqa: E402
from cspace.offline.manifold.checkpoint import Run, save  # noqa: E402
from cspace.offline.manifold.impute import fill  # noqa: E402
from cspace.offline.manifold.model import Manifold  # noqa: E402
from cspace.offline.manifold.spec import DataSpec, LossSpec, ModelSpec, RunSpec, TrainSpec, preset  # noqa: E402


def run(kind: str = "full", **data: Any) -> Run:
    """A training's result, with weights that are not those of the start."""
    model = {
        "channels": 6,
        "width": 8,
        "layers": 2,
        "latent": 7,
        "decoder_width": 8,
        "memory_taps": 9,
        "dynamics": kind,
    }
    spec = RunSpec(
        data=DataSpec(channels=6, length=40, **data),
        model=ModelSpec.model_validate(model),
        loss=LossSpec(rollout_frames=4, oracle=0.0),
        train=TrainSpec(epochs=1, steps=2, batch=2),
    )
    torch.manual_seed(3)
    made = Manifold(spec.model)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return Run(spec, made.eval(), 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package without ONNX."""
    target = tmp_path_factory.mktemp("packages") / "small"
    packages.export(run(), target, name="small", table={"gaps": {}}, onnx=False)
    return target


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["manifold", *map(str, args)])
    return result.exit_code, result.output


# ---- what is in it ----------------------------------------------------------------------------


def test_a_package_says_what_it_is_and_equals_torch(folder: Path) -> None:
    package = read(folder)
    m = package.manifest
    assert {p.name for p in folder.iterdir()} == {MANIFEST, WEIGHTS, GOLDENS, "CARD.md"}
    assert (m.name, m.history_frames, m.normalise, m.spec["dynamics"]) == ("small", 40, False, "full")
    assert m.training["train"]["steps"] == 2
    assert package.worst() <= 1e-5
    assert m.files[WEIGHTS] in (folder / "CARD.md").read_text(encoding="utf-8")
    assert not [p for p in folder.parent.iterdir() if p != folder]  # nothing half-written beside it
    with pytest.raises(PackageError, match=r"exists already; say --force"):
        packages.export(run(), folder, name="small", table={}, onnx=False)


@pytest.mark.parametrize("kind", ["residual", "kuramoto", "full", "rotor"])
def test_gaps_filled_by_rust_are_those_filled_by_torch(kind: str, tmp_path: Path) -> None:
    trained = run(kind)
    package = packages.export(trained, tmp_path / "p", name="p", table={}, onnx=False)
    x = np.random.default_rng(1).standard_normal((120, 6)).astype(np.float32)
    lost = np.zeros(120, bool)
    lost[[7, 30, 31, 32, 33, 60, 61, 119]] = True
    lost[80:110] = True
    spoiled = x.copy()
    spoiled[lost] = np.nan
    for more in ({}, {"window": 17}, {"normalise": True}):
        want = fill(trained.model, spoiled, lost, **{"window": 40, **more})  # type: ignore[arg-type]
        got = fill(package, spoiled, lost, **more)  # type: ignore[arg-type]
        # Rust's float32 sums against torch's over a whole gap: 6e-7 seen, as below.
        assert np.abs(got - want).max() < 1e-4
        assert np.array_equal(got[~lost], x[~lost])


def test_models_of_recordings_are_normalised_without_being_asked(tmp_path: Path) -> None:
    trained = run(kind="rotor")
    trained.spec = trained.spec.model_copy(update={"data": DataSpec(kind="loops", channels=6, folder=Path("/x/music"))})
    package = packages.export(trained, tmp_path / "p", name="p", onnx=False)
    assert package.manifest.normalise
    assert package.manifest.training["data"]["folder"] == "music"
    assert "/x/" not in (package.folder / MANIFEST).read_text(encoding="utf-8")
    x = np.random.default_rng(1).standard_normal((60, 6)).astype(np.float32)
    lost = np.zeros(60, bool)
    lost[30:40] = True
    # 100 is no power of two: the normalisation rounds anew; 4e-5 seen.
    np.testing.assert_allclose(fill(package, 100 * x, lost), 100 * fill(package, x, lost), rtol=1e-3, atol=1e-3)


def test_the_command_of_a_preset_stands_in_the_card() -> None:
    spec = preset("rotor")
    trained = Run(spec.model_copy(update={"train": spec.train.model_copy(update={"seed": 4})}), Manifold(spec.model))
    assert packages.command(trained) == "cspace manifold train --kind random --preset rotor --seed 4"
    assert packages.command(run()) == ""


def test_a_model_that_cannot_step_is_said(tmp_path: Path) -> None:
    trained = run()
    trained.model.spec = trained.spec.model.model_copy(update={"rotation": "mean"})
    with pytest.raises(ValueError, match="known after 16 frames"):
        packages.export(trained, tmp_path / "p", name="p", table={}, onnx=False)
    assert not list(tmp_path.iterdir())


# ---- damage -----------------------------------------------------------------------------------


def rewritten(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(at: Path) -> None:
        data = json.loads((at / MANIFEST).read_text())
        change(data)
        (at / MANIFEST).write_text(json.dumps(data))

    return damage


def other_arrays(file: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Arrays changed, and their hash with them, so that the check behind it is reached."""

    def damage(at: Path) -> None:
        arrays = load_file(at / file)
        change(arrays)
        save_file(arrays, at / file)
        sha = hashlib.sha256((at / file).read_bytes()).hexdigest()
        rewritten(lambda d: d["files"].update({file: sha}))(at)

    return damage


DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (lambda at: (at / WEIGHTS).write_bytes(b"x"), f"{WEIGHTS} is not the file {MANIFEST} was written for"),
    (lambda at: (at / "CARD.md").write_text("x"), "CARD.md is not the file"),
    (lambda at: (at / WEIGHTS).unlink(), f"{WEIGHTS} is missing"),
    (lambda at: (at / MANIFEST).unlink(), f"{MANIFEST} is missing"),
    (lambda at: (at / MANIFEST).write_text("{"), "is not valid JSON"),
    (lambda at: (at / MANIFEST).write_bytes(b"\xff"), "is not text in UTF-8"),
    (rewritten(lambda d: d.update(format="x")), "is not the manifest of a manifold"),
    (rewritten(lambda d: d.update(schema=2)), "has schema 2, this version reads 1; update cspace"),
    (rewritten(lambda d: d.update(histry=2)), "unknown entry 'histry'"),
    (rewritten(lambda d: d.update(history_frames=0)), "history_frames = 0 is not allowed, use 1 to 65536"),
    (rewritten(lambda d: d.update(name="A b")), "name = 'A b' is not allowed"),
    (rewritten(lambda d: d.update(licence="")), "licence is empty"),
    (rewritten(lambda d: d.update(normalise=1)), "normalise = 1 must be true or false"),
    (rewritten(lambda d: d["files"].update({"../x": "0" * 64})), "only plain file names"),
    (rewritten(lambda d: d["files"].update({WEIGHTS: "0"})), "is not 64 hexadecimal digits"),
    (rewritten(lambda d: d["files"].pop(GOLDENS)), f"files does not list {GOLDENS}"),
    (rewritten(lambda d: d["tensors"].update({"dynamics.taps": [7, 8]})), r"shape \(7, 9\) .* says \(7, 8\)"),
    (rewritten(lambda d: d["tensors"].pop("dynamics.alpha")), f"{MANIFEST} has no tensor dynamics.alpha"),
    (
        rewritten(lambda d: d["spec"].update(latent=8)),
        r"outlet\.weight has the shape \[7, 8, 1\]; \[8, 8, 1\] is needed",
    ),
    (rewritten(lambda d: d["spec"].pop("space")), "the spec has no space"),
    (other_arrays(WEIGHTS, lambda a: a["dynamics.taps"].fill(np.nan)), "dynamics.taps holds NaN"),
    (other_arrays(WEIGHTS, lambda a: a.update({"dynamics.taps": np.zeros(2)})), "float64; float32 is needed"),
    (other_arrays(WEIGHTS, lambda a: a.pop("dynamics.taps")), f"{WEIGHTS} has no tensor dynamics.taps"),
    (other_arrays(GOLDENS, lambda a: a.pop("output")), f"{GOLDENS} has no output"),
    (other_arrays(GOLDENS, lambda a: a.update(lost=a["lost"][1:])), r"frames has the shape \(96, 6\); \(95, 6\)"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE, ids=[w[:40] for _, w in DAMAGE])
def test_damage_is_named(damage: Callable[[Path], object], words: str, folder: Path, tmp_path: Path) -> None:
    at = tmp_path / "damaged"
    at.mkdir()
    for file in folder.iterdir():
        (at / file.name).write_bytes(file.read_bytes())
    damage(at)
    with pytest.raises(PackageError, match=words) as e:
        read(at)
    assert "\n" not in str(e.value)
    assert str(at) in str(e.value)


def test_no_package_is_said(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="there is no such folder"):
        read(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(PackageError, match="is a file, not a folder"):
        read(tmp_path / "file")


# ---- commands ---------------------------------------------------------------------------------


def test_export_check_and_impute_from_the_command_line(tmp_path: Path) -> None:
    trained, out = tmp_path / "run", tmp_path / "package"
    save(trained, run())
    (trained / "table.json").write_text("not JSON")
    code, text = invoke("export", trained, out, "--no-onnx", "--name", "one")
    assert code == 0, text
    assert "figures are measured again" in text
    assert "zero" in read(out).manifest.metrics["gaps"]["16"]
    code, text = invoke("check", out, "--alone", 3000)
    assert code == 0, text
    assert "looks back on 40 frames" in text
    assert "alone for 3000 frames" in text
    held = read(out).alone(300)
    assert held["norm_error"] < 1e-5
    assert held["rms"] > 0.0
    code, text = invoke("impute", out, "--gap", 8, "-r", tmp_path / "rust")
    assert code == 0, text
    code, text = invoke("impute", trained, "--gap", 8, "-r", tmp_path / "torch")
    assert code == 0, text
    one, other = (load_file(tmp_path / by / "manifold_impute.safetensors")["frames"] for by in ("rust", "torch"))
    assert np.abs(one - other).max() < 1e-4
    (out / WEIGHTS).write_bytes(b"")
    code, text = invoke("check", out)
    assert code == 2
    assert "is not the file" in text
    code, text = invoke("impute", tmp_path / "none")
    assert code == 2
    assert "models that come along are chords, rotor" in " ".join(text.split())
    code, text = invoke("export", trained, trained, "--no-onnx")
    assert code == 2
    assert "holds the input" in " ".join(text.split())


def test_a_package_fills_gaps_where_there_is_no_torch(folder: Path, tmp_path: Path) -> None:
    save_file(
        {"frames": np.random.default_rng(1).standard_normal((60, 6)).astype(np.float32)}, tmp_path / "x.safetensors"
    )
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom cspace.cli import main\n"
        f"sys.argv = ['cspace', 'manifold', 'impute', {str(folder)!r}, '--input', {str(tmp_path / 'x.safetensors')!r}, "
        f"'--start', '30', '--gap', '9', '-r', {str(tmp_path)!r}]\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    made = load_file(tmp_path / "manifold_impute.safetensors")
    assert made["frames"].shape == (60, 6)
    assert made["lost"].sum() == 9


# ---- streaming ONNX ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", pytest.param("rotor", marks=pytest.mark.heavy)])
def test_the_streaming_package_is_hosted_and_does_as_rusts_steps(kind: str, tmp_path: Path) -> None:
    from cspace.export import parity
    from cspace.export.runner import Runner
    from cspace.modelpackage import read as read_stream

    package: Package = packages.export(run(kind), tmp_path / "p", name="p", table={})
    stream = read_stream(package.folder / "live")
    assert (stream.manifest.hop, stream.manifest.channels) == (6, 1)
    rows = parity.check(stream)
    assert {r.runtime for r in rows} == {"python", "engine, offline", "engine, worker"}
    assert all(r.ok and r.tolerance <= 1e-4 for r in rows), rows
    runner, made = Runner(stream), []
    for frame, lost in zip(package.goldens["frames"], package.goldens["lost"], strict=True):
        runner.set(lost=float(lost))
        made.append(runner.step(frame[None])[0])
    assert np.abs(np.stack(made) - package.goldens["output"]).max() < 1e-4
    rust = package.stepper().step(package.goldens["frames"], package.goldens["lost"] > 0.5)
    assert np.abs(np.stack(made) - rust).max() < 1e-4


# ---- what comes along -------------------------------------------------------------------------


def test_the_shipped_model_is_small_verified_and_runs_everywhere() -> None:
    from cspace.export import parity
    from cspace.modelpackage import read as read_stream

    assert shipped() == ["chords", "rotor"]
    for name in shipped():
        package = read(find(name))
        assert package.worst() <= package.manifest.tolerance <= 1e-4
        assert sum(p.stat().st_size for p in package.folder.rglob("*") if p.is_file()) < 1_000_000
        assert package.alone(20_000)["norm_error"] <= 1e-5
        assert package.manifest.training["command"] in (package.folder / "CARD.md").read_text(encoding="utf-8")
        stream = read_stream(package.folder / "live")
        assert stream.manifest.extra["weights_sha256"] == package.manifest.files[WEIGHTS]
        assert all(row.ok for row in parity.check(stream))
    with pytest.raises(PackageError, match="did you mean 'rotor'"):
        read(find("roter"))


@pytest.mark.parametrize(
    ("name", "kind", "rival", "frequency_error"),
    [("rotor", "random", "ridge AR", 2e-3), ("chords", "chords", "DMD", 5e-3)],
)
def test_a_shipped_model_fills_gaps_better_than_its_best_baseline(
    name: str, kind: str, rival: str, frequency_error: float
) -> None:
    from cspace.offline.manifold import baselines, metrics
    from cspace.offline.manifold.data import Source

    package = read(find(name))
    batch = Source(DataSpec.model_validate({"kind": kind})).batch(16, 41, held_out=True)
    clean, start = batch.clean.double().numpy(), 64
    for gap in (16, 64):
        lost = np.zeros(start + gap, bool)
        lost[start:] = True
        made = [fill(package, x[: start + gap].numpy(), lost)[start:] for x in batch.noisy]
        ours = metrics.gap_figures(np.stack(made).astype(np.float64), clean, start, batch.omega)
        best = metrics.gap_figures(baselines.ROWS[rival](batch.noisy[:, :start].double().numpy(), gap), clean, start)
        assert ours.snr_db > best.snr_db + 2.0
        assert 0.98 < ours.amplitude_ratio < 1.02
        assert 0.95 < ours.edge_ratio < 1.05
    # In the gap of 64: 16 frames hold a quarter of a turn of the lowest chord tone.
    assert ours.frequency_error < frequency_error


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3)
) | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_manifest_does_worse_than_a_clear_error(data: st.DataObject, folder: Path, tmp_path: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    table = data.draw(st.sampled_from([manifest, manifest["spec"], manifest["tensors"], manifest["files"]]))
    table[data.draw(st.sampled_from(sorted(table)))] = data.draw(ODD)
    at = tmp_path / "odd"
    at.mkdir(exist_ok=True)
    for file in folder.iterdir():
        (at / file.name).write_bytes(file.read_bytes())
    (at / MANIFEST).write_text(json.dumps(manifest))
    with contextlib.suppress(PackageError):
        read(at).worst()
