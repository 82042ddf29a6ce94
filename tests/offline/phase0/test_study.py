"""The whole study on latents whose answer is known, interrupted, leaked into, and fed with what it cannot use."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.phase0 import fits, study, work
from cspace.offline.phase0.config import Phase0Config, load_config, to_yaml
from cspace.offline.phase0.frames import read_frames
from cspace.offline.phase0.splits import read_splits, write_splits
from cspace.offline.phase0.store import LatentStore
from tests.offline.phase0.small import config, files, run

runner = CliRunner()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    assert run(config(out))["pass"]
    return out


def cell(out: Path, condition: str, lag: int, slice_: str = "all") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())["conditions"][condition][f"lag{lag}"]
    return found["slices"][slice_] if slice_ else found


def test_structured_latents_pass_and_every_promised_file_is_there(whole: Path) -> None:
    decision = json.loads((whole / "decision.json").read_text())
    assert set(decision) >= {"pass", "reasons", "warnings", "best_condition", "summary"}
    assert decision["pass"] is True
    assert "PASS" in decision["summary"]
    assert all("below" in r and "not below" not in r for r in decision["reasons"])
    for condition in ("mean_vq64", "pca8_quartile"):
        found = cell(whole, condition, 1)
        assert found["train"]["vr_debiased"] < 0.6
        assert found["eval"]["transfer_vr"] < 0.6
        assert found["train"]["net_nats_per_dim"] > 0.3
    # The mean of 8 frames ends 4 frames before the step at lag 4, a quarter of the line's period: it says nothing.
    assert cell(whole, "mean_vq64", 4)["eval"]["transfer_vr"] > 0.95
    assert cell(whole, "pca8_quartile", 4)["eval"]["transfer_vr"] < 0.6
    names = {str(p.relative_to(whole)) for p in whole.rglob("*") if p.is_file()}
    for lag in (1, 2, 4):
        assert f"fits/norm_stats_lag{lag}.json" in names
        for condition, kinds in (
            ("mean_vq64", ("kmeans",)),
            ("pca8_vq256", ("kmeans", "pca")),
            ("pca8_quartile", ("pca", "bins")),
        ):
            for kind in kinds:
                assert {f"fits/{condition}_lag{lag}_{kind}{s}" for s in (".safetensors", ".json")} <= names
    assert {f"plots/{n}.png" for n in ("cluster_sizes", "variance_vs_size", "cluster_means")} <= names
    assert {"plots/vr_vs_confidence.png", "plots/per_speaker.png", "report.txt", "tables.csv"} <= names
    assert {"phase0_frames.parquet", "latents/latents_index.parquet", "splits/train_speakers.txt"} <= names
    assert not [n for n in names if n.endswith((".pkl", ".pickle", ".pt", ".joblib", ".npy", ".npz"))]
    with open(whole / "tables.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 3 * 5
    assert {r["encoder_note"] for r in rows} == {"structured, known answer"}


def test_no_file_of_a_run_is_a_pickle(whole: Path) -> None:
    for path in whole.rglob("*"):
        if path.is_file():
            head = path.read_bytes()[:2]
            assert head not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), path


def test_figures_are_those_of_plain_arithmetic(whole: Path) -> None:
    """Everything again from the files, with all windows in memory, by the formulas as they stand."""
    store, frames = LatentStore.open(whole / "latents"), read_frames(whole)
    found = fits.load(whole / "fits", "pca8_vq256", 2, 8)
    mean, sd = fits.load_norm(whole / "fits", 2)
    x = {u: store.read(u).x for u in frames.utterances}
    spoken = [frames.utterances[i] for i in frames.utterance]
    context = np.stack([x[u][t - 10 : t - 2].ravel() for u, t in zip(spoken, frames.t, strict=True)]).astype(float)
    dx = np.stack([x[u][t].astype(float) - x[u][t - 1] for u, t in zip(spoken, frames.t, strict=True)])
    z = (dx - mean) / sd
    # The mean and deviation are kept as float32: 6e-8 of values near 1.
    assert np.allclose(z[~frames.is_eval].mean(axis=0), 0.0, atol=1e-6)
    assert np.allclose(z[~frames.is_eval].std(axis=0), 1.0, atol=1e-6)
    assert found.centres is not None
    assert found.axes is not None
    y = (context - found.mean) @ found.axes.astype(float)
    ids, _ = found.ids(y.astype(np.float32))
    # In single precision, so that a row halfway between two centres may go to either.
    assert np.mean(ids == ((y[:, None] - found.centres) ** 2).sum(axis=2).argmin(axis=1)) > 0.998
    counts = np.bincount(ids[~frames.is_eval], minlength=32)
    kept = counts[ids] >= 20
    for split, rows in (("train", ~frames.is_eval), ("eval", frames.is_eval)):
        here = rows & kept
        groups = np.unique(ids[here])
        within = sum(np.sum((z[here & (ids == k)] - z[here & (ids == k)].mean(axis=0)) ** 2) for k in groups)
        total = np.sum((z[here] - z[here].mean(axis=0)) ** 2)
        n = int(here.sum())
        got = cell(whole, "pca8_vq256", 2)[split]
        assert got["clusters"] == len(groups)
        # Again the rows halfway between two centres: a row in thousands moves a ratio by 1e-4.
        assert abs(got["n"] - n) <= 2
        assert got["excluded_mass"] == pytest.approx(1 - got["n"] / rows.sum(), abs=1e-12)
        assert got["vr"] == pytest.approx(within / total, rel=2e-4)
        assert got["vr_debiased"] == pytest.approx(got["vr"] * (n - 1) / (n - len(groups)))
        assert got["permuted_expected"] == pytest.approx(1 - (len(groups) - 1) / (got["n"] - 1))
        h = 0.5 * np.log(z[here].var(axis=0)).sum()
        parts = [(np.sum(here & (ids == k)), z[here & (ids == k)]) for k in groups]
        inside = sum(c * 0.5 * np.log(np.maximum(p.var(axis=0), 1e-10)).sum() for c, p in parts) / n
        assert got["nats_per_dim"] == pytest.approx((h - inside) / z.shape[1], rel=1e-3)
    train = ~frames.is_eval & kept
    centroids = np.array([z[train & (ids == k)].mean(axis=0) if counts[k] >= 20 else z[0] for k in range(32)])
    here = frames.is_eval & kept
    wanted = np.sum((z[here] - centroids[ids[here]]) ** 2) / np.sum((z[here] - z[train].mean(axis=0)) ** 2)
    assert cell(whole, "pca8_vq256", 2)["eval"]["transfer_vr"] == pytest.approx(wanted, rel=5e-4)
    one = read_splits(whole / "splits").eval_speakers[0]
    own = here & (np.array(frames.speakers)[frames.speaker] == one)
    wanted = np.sum((z[own] - centroids[ids[own]]) ** 2) / np.sum((z[own] - z[train].mean(axis=0)) ** 2)
    speakers = cell(whole, "pca8_vq256", 2, "")["speakers"]["eval"]
    assert speakers[one]["transfer_vr"] == pytest.approx(wanted, rel=5e-4)


def test_random_ids_give_the_expectation_within_its_interval(whole: Path) -> None:
    for condition in ("random", "mean_vq64", "pca8_vq256", "pca8_quartile"):
        for split in ("train", "eval"):
            half = cell(whole, condition, 1)[split]
            assert abs(half["permuted_vr"] - half["permuted_expected"]) < 3.3 * half["permuted_expected_sd"]
            if condition == "random":
                assert abs(half["vr"] - half["permuted_expected"]) < 3.3 * half["permuted_expected_sd"]
            # Chance, for some 1000 rows and 32 groups.
            assert abs(half["permuted_vr_debiased"] - 1) < 0.05


def test_slices_are_filtered_after_the_fit(whole: Path) -> None:
    parts = [cell(whole, "mean_vq64", 1, s)["eval"] for s in ("initial", "utterance_medial", "final")]
    everything = cell(whole, "mean_vq64", 1)["eval"]
    assert sum(p["n"] for p in parts) == everything["n"]
    frames = read_frames(whole)
    assert (
        cell(whole, "mean_vq64", 1, "high_energy")["train"]["rows"] == (frames.is_high_energy & ~frames.is_eval).sum()
    )
    curve = cell(whole, "mean_vq64", 1, "")["confidence"]["eval"]
    assert [round(p["kept_quantile"], 1) for p in curve] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert curve[-1]["n"] == everything["n"]
    # The same sums in another order, float64.
    assert curve[-1]["transfer_vr"] == pytest.approx(everything["transfer_vr"], rel=1e-9)
    assert (
        "confidence" not in cell(whole, "pca8_quartile", 1, "") or not cell(whole, "pca8_quartile", 1, "")["confidence"]
    )


def test_shuffled_latents_fail(tmp_path: Path) -> None:
    decision = run(config(tmp_path, encoder__synthetic__rule="shuffled", lags=[1]))
    assert decision["pass"] is False
    assert "does not predict the next step" in decision["summary"]
    for condition in ("mean_vq64", "pca8_vq256", "pca8_quartile"):
        assert cell(tmp_path, condition, 1)["eval"]["transfer_vr"] > 0.97
        assert cell(tmp_path, condition, 1)["train"]["vr_debiased"] > 0.97


def test_a_rule_of_each_speakers_own_fails_on_transfer_and_says_so(tmp_path: Path) -> None:
    decision = run(config(tmp_path, encoder__synthetic__rule="private", lags=[1], fit__vq64_clusters=128))
    best = cell(tmp_path, decision["best_condition"], 1)
    assert decision["pass"] is False
    assert "learned from (type 1), but the rule does not transfer to others (type 2)" in decision["summary"]
    assert best["train"]["vr_debiased"] < 0.6
    assert best["eval"]["vr_debiased"] < 0.6  # with means of their own: what the original took for transfer
    assert best["eval"]["transfer_vr"] > 1.0
    assert any("transfer variance ratio" in r and "not below 0.6" in r for r in decision["reasons"])


class StoppedError(Exception):
    """Stands for Ctrl-C, a lost machine, a full disk."""


def stop_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    made = work.Workers.map
    left = [count]

    def counted(self: Any, task: Any, *args: Any) -> Any:
        for answer in made(self, task, *args):
            left[0] -= 1
            if left[0] < 0:
                raise StoppedError
            yield answer

    monkeypatch.setattr(work.Workers, "map", counted)


def test_an_interrupted_run_goes_on_and_ends_with_the_same_files(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = 0
    for count in (3, 17, 60, 130, 170, 210):
        with monkeypatch.context() as patch:
            stop_after(patch, count)
            try:
                run(config(tmp_path), workers=2)
            except StoppedError:
                stops += 1
    assert stops >= 4  # in the latents, in the fits and in the evaluation
    run(config(tmp_path), workers=2)
    assert files(tmp_path) == files(whole)


def test_a_run_killed_in_the_middle_goes_on_and_ends_with_the_same_files(whole: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "c.yaml", tmp_path / "out"
    path.write_text(to_yaml(config(out)))
    groups = out / "latents" / "latents.zarr"
    for begun in (groups, out / "fits"):
        process = subprocess.Popen(
            [sys.executable, "-m", "cspace", "phase0", "run", "-c", str(path)], stdout=subprocess.DEVNULL
        )
        try:
            while process.poll() is None and (not begun.is_dir() or len(list(begun.iterdir())) < 6):
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (out / "decision.json").exists()
    run(config(out))
    assert files(out) == files(whole)


def test_force_makes_again_and_other_settings_redo_what_depends_on_them(tmp_path: Path) -> None:
    lines: list[str] = []
    run(config(tmp_path, lags=[1]), say=lines.append)
    before = files(tmp_path)
    lines.clear()
    run(config(tmp_path, lags=[1]), say=lines.append)
    assert [line for line in lines if "is there" in line] == [
        f"{step}: is there" for step in ("splits", "latents", "frames", "fit", "evaluate", "report")
    ]
    lines.clear()
    run(config(tmp_path, lags=[1], decision__max_vr=0.01), say=lines.append)
    assert "evaluate: is there" in lines
    assert not json.loads((tmp_path / "decision.json").read_text())["pass"]
    run(config(tmp_path, lags=[1]), force=True)
    assert files(tmp_path) == before


def test_an_evaluation_speaker_in_a_fit_is_caught(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(to_yaml(config(tmp_path / "run", lags=[1])))
    for step in ("prepare", "splits", "latents", "frames"):
        assert runner.invoke(app, ["phase0", step, "-c", str(path)]).exit_code == 0
    honest = read_splits(tmp_path / "run" / "splits")
    # The frames are listed with an evaluation speaker among the training ones, and fits are made from them.
    victim = honest.eval_speakers[0]
    his = [u for u in honest.eval_utterances if u.startswith(victim)]
    leaky = study.make_splits(study.read_utterances(tmp_path / "run"), config(tmp_path).splits, 42)
    write_splits(
        tmp_path / "run" / "splits",
        type(leaky)(
            sorted([*honest.train_speakers, victim]),
            honest.eval_speakers[1:],
            sorted([*honest.train_utterances, *his]),
            [u for u in honest.eval_utterances if u not in his],
            honest.holdout,
        ),
    )
    (tmp_path / "run" / "done" / "frames.json").unlink()
    assert runner.invoke(app, ["phase0", "frames", "-c", str(path)]).exit_code == 0
    assert runner.invoke(app, ["phase0", "fit", "-c", str(path)]).exit_code == 0
    write_splits(tmp_path / "run" / "splits", honest)
    caught = runner.invoke(app, ["phase0", "evaluate", "-c", str(path)])
    assert caught.exit_code == 2
    assert f"was fitted to speaker '{victim}', who is an evaluation speaker" in caught.stderr


def test_no_fit_names_an_evaluation_speaker(whole: Path) -> None:
    splits = read_splits(whole / "splits")
    found = sorted((whole / "fits").glob("*.json"))
    assert len(found) == 3 * (1 + 2 + 3 + 3)
    for path in found:
        speakers = json.loads(path.read_text())["fitted_to"]["speakers"]
        assert set(speakers) == set(splits.train_speakers), path


def test_commands_exit_with_0_for_pass_1_for_fail_and_2_for_wrong_input(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(to_yaml(config(whole)))
    passed = runner.invoke(app, ["phase0", "report", "-c", str(path), "--force"])
    assert passed.exit_code == 0, passed.stderr
    assert "PASS" in passed.stdout
    failed = runner.invoke(app, ["phase0", "run", "-c", str(path), "-o", str(tmp_path / "f"), "--max-samples", "900"])
    assert failed.exit_code == 1, failed.stderr
    assert len(read_frames(tmp_path / "f")) == 900
    assert len(set(read_frames(tmp_path / "f").utterances)) == 40  # every utterance has its share
    early = runner.invoke(app, ["phase0", "fit", "-c", str(path), "-o", str(tmp_path / "none")])
    assert early.exit_code == 2
    assert "step prepare is not finished with these settings" in early.stderr
    path.write_text("lags: [0]\n")
    wrong = runner.invoke(app, ["phase0", "run", "-c", str(path)])
    assert wrong.exit_code == 2
    assert "lags.0 is 0" in wrong.stderr
    one = runner.invoke(app, ["phase0", "config"])
    assert one.exit_code == 0
    path.write_text(one.stdout)
    assert load_config(path) == Phase0Config()


def test_data_the_study_cannot_use_are_named(tmp_path: Path) -> None:
    def error(**changes: Any) -> str:
        path = tmp_path / "c.yaml"
        path.write_text(to_yaml(config(tmp_path / str(len(os.listdir(tmp_path))), **changes)))
        done = runner.invoke(app, ["phase0", "run", "-c", str(path)])
        assert done.exit_code == 2, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "at least 2 are needed" in error(encoder__synthetic__speakers=1)
    assert "has the 13 frames that window 8 and lag 4 need" in error(encoder__synthetic__frames=12)
    assert "too few for 64 clusters" in error(encoder__synthetic__frames=14, max_samples=40)
    out = tmp_path / "nan"
    run(config(out, lags=[1]))
    import zarr

    name = read_splits(out / "splits").train_utterances[0]
    group: Any = zarr.open_group(str(out / "latents" / "latents.zarr" / name), mode="a")
    group["x"][5, 0] = np.nan
    (out / "done" / "frames.json").unlink()
    path = tmp_path / "n.yaml"
    path.write_text(to_yaml(config(out, lags=[1])))
    os.utime(out / "latents" / "latents_index.parquet")  # as if another process had written it
    broken = runner.invoke(app, ["phase0", "run", "-c", str(path)])
    assert broken.exit_code == 2
    assert f"utterance '{name}': frame 5, dimension 0 is nan" in broken.stderr
