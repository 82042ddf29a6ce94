"""Training: it learns, a stopped run ends at the same bits, packages read back as written, broken ones are named."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.eq import audioencoder, build, data, traincli, vae, words
from cspace.offline.eq.audioencoder import AudioSpec
from cspace.offline.eq.vae import VaeSpec
from cspace.plugins._adaptive import model as models
from cspace.plugins._adaptive.curve import grid, response_db
from cspace.plugins._errors import CspaceError, FileError, ParameterError

TABLE = data.synthetic(300, seed=1)
SMALL = VaeSpec(latent=8, hidden=64, steps=500, batch=64, kl=1e-4)
TINY = AudioSpec(bands=24, hidden=32, steps=30, batch=16, noise_s=30.0, pieces=2, pool=64)


@pytest.fixture(scope="module")
def eq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eq")
    traincli.train_eq("synthetic", folder, SMALL, 0)
    return folder


@pytest.fixture(scope="module")
def package(eq: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    few = [audioencoder.ensemble(2.0, 48_000, i) for i in range(10)]
    with pytest.MonkeyPatch.context() as patch:  # ten pieces in place of 48
        patch.setattr(build, "synthetic_music", lambda: iter(few))
        traincli.train_audio("synthetic", eq, folder, TINY, None, tested=2)
    return folder


# ---- settings --------------------------------------------------------------------------------


def test_it_learns_and_says_how_it_does_on_what_it_never_saw(eq: Path) -> None:
    about = json.loads((eq / "eq.json").read_text())
    # A short training, TINY: a third of the flat error; kernels and seeds change it by some percent.
    assert about["held_out"]["response_mae_db"] < 0.5 * about["baselines"]["flat"]["response_mae_db"]
    assert about["data"]["train"] + about["data"]["test"] == about["data"]["rows"] == 1600
    assert about["balanced_accuracy"]["all words"]["logistic on latents"] > 0.3, "chance is 1 of 16"
    assert not list(eq.glob("*.part.*")), "no checkpoint stays behind"
    assert list((eq / "log" / "eq").glob("events.out.tfevents.*")), "TensorBoard finds the losses"


def test_figures_are_those_of_the_settings_that_were_held_out(eq: Path) -> None:
    model, about = build.load_eq(eq)
    table = traincli.settings_of("synthetic", 0)
    _, test = data.split(table, seed=0)
    back = vae.decode(model, vae.encode(model, table.values[test]))
    freqs = grid(200)
    wrong = np.abs(response_db(back, freqs) - response_db(table.values[test], freqs)).mean()
    # The same weights through the same code, in batches of other sizes: float32, then a mean of 1e4 values.
    assert about["held_out"]["response_mae_db"] == pytest.approx(wrong, rel=1e-6)


def test_an_interrupted_run_ends_at_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = VaeSpec(latent=4, hidden=16, steps=40, batch=16)
    monkeypatch.setattr("cspace.offline.eq.loop.EVERY", 10)
    whole = vae.train(TABLE.values, spec)

    class StoppedError(Exception):
        pass

    def stop(step: int, _: int, __: Any) -> None:
        if step >= 26:
            raise StoppedError

    with pytest.raises(StoppedError):
        vae.train(TABLE.values, spec, stop, checkpoint=tmp_path / "part.safetensors")
    steps = []
    resumed = vae.train(TABLE.values, spec, lambda i, n, _: steps.append(i), checkpoint=tmp_path / "part.safetensors")
    assert steps == [26, 40], "it went on from step 20"
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    other = spec.model_copy(update={"seed": 1})
    with pytest.raises(FileError, match="of a run with other settings"):
        vae.train(TABLE.values, other, checkpoint=tmp_path / "part.safetensors")


def test_augmented_settings_stay_settings() -> None:
    x = vae.to_domain(TABLE.values)
    made = vae.augment(x, np.random.default_rng(0), 500)
    assert np.isfinite(made).all()
    assert (made[:, list(vae.GAINS)] == 0.0).any(axis=1).mean() > 0.2, "bands are muted"
    assert made.std(axis=0).min() > 0.05


# ---- words -----------------------------------------------------------------------------------


def test_a_rare_word_leans_on_its_family_and_a_common_one_does_not(eq: Path) -> None:
    model, _ = build.load_eq(eq)
    rng = np.random.default_rng(0)
    dark = data.synthetic(1600, seed=3)
    mine = [i for i, w in enumerate(dark.words) if w == ("dark",)]
    muddy = [i for i, w in enumerate(dark.words) if w == ("muddy",)]
    for few in (3, 80):
        pick = np.array([*mine[:few], *muddy[:80]])
        learnt = {w.name: w for w in words.learn(model, dark.only(rng.permutation(pick)), 24)}
        freqs = models.centers(24)
        raw = response_db(dark.values[mine[:few]], freqs).mean(axis=0)
        kin = response_db(dark.values[muddy[:90]], freqs).mean(axis=0)
        shrunk = (few * raw + 4 * kin) / (few + 4)
        got = learnt["dark"].curve_db
        assert learnt["dark"].count == few
        if few == 3:
            assert np.abs(got - shrunk).mean() < np.abs(got - raw).mean()
        else:
            assert np.abs(got - raw).mean() < 1.0
    assert not words.learn(model, dark.only(np.array(mine[:2])), 24), "two settings make no word"


# ---- packages --------------------------------------------------------------------------------


def test_a_package_is_read_as_torch_computed_it(package: Path) -> None:
    made = models.load(package)
    assert build.parity(made, models.read_arrays(package / "goldens.safetensors")) <= build.PARITY
    assert made.about["words"][0]["count"] == made.words[made.about["words"][0]["name"]].count
    net, _ = build.load_eq(package.parent / next(p.name for p in package.parent.iterdir() if p.name.startswith("eq")))
    settings = TABLE.values[:5]
    # numpy's float32 products against torch's: 1e-6 after three layers; in dB ten times as much.
    np.testing.assert_allclose(made.encode(settings), vae.encode(net, settings), atol=1e-4)
    back, wanted = made.decode(made.encode(settings)), vae.decode(net, vae.encode(net, settings))
    np.testing.assert_allclose(response_db(back, grid(50)), response_db(wanted, grid(50)), atol=1e-3)
    assert "Not for:" in (package / "card.md").read_text()
    assert {"pink noise, 2 s", "pink noise, 10 s"} <= made.about["figures"].keys()


@pytest.fixture
def copied(package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(package, tmp_path / "copy"))


def rewrite(folder: Path, change: Any) -> None:
    about = json.loads((folder / "model.json").read_text())
    change(about)
    (folder / "model.json").write_text(json.dumps(about))


def test_broken_packages_are_named(copied: Path) -> None:
    weights = copied / "weights.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(FileError, match=r"weights\.safetensors: is not the file the manifest was written for"):
        models.load(copied)
    for data_, reason in [(b"", "no safetensors"), (b"\xff" * 64, "no safetensors"), (good[:5000], "no safetensors")]:
        weights.write_bytes(data_)
        sha = hashlib.sha256(data_).hexdigest()
        rewrite(copied, lambda a, sha=sha: a["sha256"].update({"weights.safetensors": sha}))
        with pytest.raises(FileError, match=reason):
            models.load(copied)
    weights.write_bytes(good)
    rewrite(copied, lambda a: a["sha256"].update({"weights.safetensors": hashlib.sha256(good).hexdigest()}))
    models.load(copied)
    for change, reason in [
        (lambda a: a.update(bands=30), "does not lead from"),
        (lambda a: a.update(latent="many"), "does not fit together"),
        (lambda a: a["words"].append(dict(a["words"][0], name="more")), "does not fit together"),
        (lambda a: a.update(schema=99), "no adaptive EQ model of schema"),
        (lambda a: a["sha256"].update({"../card.md": "0"}), "outside its folder"),
    ]:
        kept = (copied / "model.json").read_text()
        rewrite(copied, change)
        with pytest.raises(CspaceError, match=reason):
            models.load(copied)
        (copied / "model.json").write_text(kept)
    (copied / "model.json").write_text("{")
    with pytest.raises(FileError, match=r"model\.json: is not JSON"):
        models.load(copied)
    with pytest.raises(FileError, match=r"none.model\.json: there is no such file"):
        models.load(copied / "none")


# ---- commands --------------------------------------------------------------------------------


def test_commands_name_what_is_wrong(tmp_path: Path, eq: Path) -> None:
    def run(*args: object) -> str:
        result = CliRunner().invoke(app, ["train", *map(str, args)])
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.stderr
        return " ".join(result.stderr.split())

    assert "none.csv: there is no such file" in run("eq", "--data", tmp_path / "none.csv")
    folder = tmp_path / "nothing"
    assert "make it with cspace train eq" in run("audio-encoder", "--data", "synthetic", "--eq", folder)
    assert "did you mean 'high'" in run("audio-encoder", "--data", "synthetic", "--eq", eq, "--preset", "hihg")
    (tmp_path / "t.csv").write_text(",".join(["1", "warm", *"abc", *["1"] * 20]) + "\n")
    assert "holds no labelled settings" in run("audio-encoder", "--data", tmp_path / "t.csv", "--eq", eq)


def test_the_table_must_be_the_one_it_was_trained_on(tmp_path: Path, eq: Path) -> None:
    row = ",".join(["warm", *map(str, TABLE.values[0])])
    (tmp_path / "t.csv").write_text(",".join(data.CLEAN) + "\n" + row + "\n")
    with pytest.raises(ParameterError, match="was trained on 1600; give the same table"):
        traincli.train_audio(str(tmp_path / "t.csv"), eq, tmp_path / "out", TINY, None)


# ---- what is asked of a trained model -----------------------------------------------------------


def test_it_is_tested_on_pieces_that_it_does_not_know_and_drawn(package: Path, tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    for i in range(6):
        sf.write(folder / f"{i}.wav", audioencoder.ensemble(3.0, 24_000, 40 + i), 24_000)
    known = Path(shutil.copytree(package, tmp_path / "model"))
    rewrite(known, lambda a: a["music"].update(pieces=["0.wav"]))
    common = ["--data", "synthetic", "--model", known]
    args = ["eq", "evaluate", folder, *common, "--each", 1, "--seconds", 2, "--json", tmp_path / "j"]
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert result.exit_code == 0, result.stderr
    found = json.loads((tmp_path / "j").read_text())
    assert (found["pieces"], found["excerpts"]) == (5, 5), "the piece it knows is left out"
    assert found["acting"]["bright"]["right_way"] >= 4
    assert found["blind"]["rivals"].keys() == {"flat", "mean curve", "ridge regression"}
    args = ["eq", "pictures", *common, "--music", folder / "1.wav", "--out", tmp_path / "p"]
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert result.exit_code == 0, result.stderr
    pictures = sorted((tmp_path / "p").iterdir())
    assert [f.name for f in pictures] == ["eq_before_after.png", "eq_latents.png", "eq_words.png"]
    assert all(f.read_bytes()[:4] == b"\x89PNG" for f in pictures)


def test_music_is_taken_from_every_second_piece(tmp_path: Path) -> None:
    for i in range(5):
        sf.write(tmp_path / f"{i}.wav", audioencoder.ensemble(6.0, 24_000, 60 + i), 24_000)
    found = traincli.music_of(sorted(tmp_path.iterdir()), 2, 24)
    assert (found.pieces, found.clips) == (("0.wav", "2.wav", "4.wav"), 15)
    with pytest.raises(FileError, match="5 clips of music are too few"):
        traincli.music_of(sorted(tmp_path.iterdir()), 5, 24)
