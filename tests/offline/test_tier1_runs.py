"""The commands of Tier 1 on small stores: the files they promise, their errors, what they refuse to learn from."""

import csv
import json
import signal
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("zarr")
pytest.importorskip("pyarrow")

from cspace.offline.phase0.splits import Splits, write_splits
from cspace.offline.phase0.store import EncoderInfo, Entry, Latents, LatentStore
from cspace.offline.phase0.tier1.cli import app

SMALL = ["train.max_steps=40", "train.checkpoint_every=20", "train.batch=32", "train.warmup=4", "model.width=8"]
SMALL += ["model.components=2", "data.lags=[1, 2]", "rollout.max_steps=6", "rollout.batch=8", "rollout.frames=4"]


def store(root: Path, name: str, dim: int, rate: float) -> Path:
    """Six speakers whose steps turn with the frame before last; the same utterances at any rate."""
    folder = root / name / "latents"
    made = LatentStore.create(folder, EncoderInfo(name, "", 24_000, round(24_000 / rate), dim, rate, name))
    entries = []
    for s in range(6):
        for k in range(2):
            rng = np.random.default_rng([s, k])
            n = round(6.0 * rate)
            x = np.zeros((n, dim), np.float32)
            for t in range(2, n):
                x[t] = x[t - 1] - 0.5 * x[t - 2] + 0.5 * rng.standard_normal(dim)
            made.write(f"s{s}/u{k}", Latents(x, np.abs(x).mean(1) + 0.1, np.arange(n) / rate, f"s{s}"))
            entries.append(Entry(f"s{s}/u{k}", f"s{s}", n, n / rate, ""))
    made.finish(entries)
    ids = [e.utterance_id for e in entries]
    train, held = [i for i in ids if i[1] < "4"], [i for i in ids if i[1] >= "4"]
    write_splits(root / name / "splits", Splits(["s0", "s1", "s2", "s3"], ["s4", "s5"], train, held, train[:1]))
    return folder


def call(*args: object, ok: bool = True) -> str:
    settings = [part for entry in SMALL for part in ("--set", entry)] if args[0] not in ("collect",) else []
    found = CliRunner().invoke(app, [str(a) for a in args] + settings, catch_exceptions=False)
    assert (found.exit_code == 0) == ok, found.output
    return found.output


def test_all_experiments_leave_what_they_promise(tmp_path: Path) -> None:
    a, b = store(tmp_path, "a", 4, 12.5), store(tmp_path, "b", 3, 25.0)
    out = ("--out", tmp_path / "runs", "--threads", 1)
    call("exp1", a, *out)
    call("exp2", a, *out)
    call("rollout", a, *out)
    call("exp3", a, b, "--splits", a.parent / "splits", *out)
    runs = tmp_path / "runs"
    for path in (
        "a/exp1/checkpoints/vmf_k1_final.safetensors",
        "a/exp1/checkpoints/mdn_k2_final.safetensors",
        "a/exp1/exp1.png",
        "a/exp2/per_step.csv",
        *(f"a/exp2/injection_{k}.png" for k in ("dnll", "cosine", "magnitude_ratio", "state_error")),
        "a/rollout/checkpoints/vmf_k1_final.safetensors",
        "representations/exp3/summary.csv",
        "representations/exp3/injection_diag.json",
        "representations/exp3/b/metrics.json",
    ):
        assert (runs / path).is_file(), path
    for run in ("a/exp1", "a/exp2", "a/rollout", "representations/exp3"):
        for file in ("metrics.json", "tables.csv", "config.yaml", "run_info.json", "run.log"):
            assert (runs / run / file).is_file()
    assert not [p for p in runs.rglob("*") if p.suffix in (".pt", ".pkl", ".pth", ".part")]
    assert str(tmp_path) not in (runs / "a/exp1/run_info.json").read_text() + (runs / "manifest.jsonl").read_text()

    events = [json.loads(line) for line in (runs / "manifest.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events if e["experiment"] == "exp1"] == ["start", "end"]
    assert all(e["status"] == "done" for e in events if e["event"] == "end")
    with open(runs / "a/exp2/per_step.csv", newline="") as file:
        steps = list(csv.DictReader(file))
    assert len(steps) == 4 * 16
    assert {float(r["state_error"]) for r in steps if r["mode"] == "A_teacher"} == {0.0}
    with open(runs / "representations/exp3/summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # b has twice the frame rate: two frames are put into one, and all times are equal.
    assert [r["group"] for r in rows] == ["1", "2"]
    assert [(float(r["window_s"]), float(r["lag_s"])) for r in rows] == [(0.64, 0.08), (0.64, 0.08)]

    made = runs / "a/exp1/checkpoints/vmf_k1_final.safetensors"
    other = ("--checkpoint", made, "--run-id", "a2", "--set", "data.scale=steps")
    assert "was trained with" in call("exp2", a, *out, *other, ok=False)
    made.write_bytes(made.read_bytes()[:-8])
    assert "cannot be read as a model of Tier 1" in call(
        "exp2", a, *out, *other[:4], ok=False
    )  # the failed run is not in the way

    call("collect", "--out", runs)
    assert "## exp3/b" in (runs / "results.md").read_text()
    assert "is done already" in call("exp1", a, *out)
    assert "holds a run of other settings" in call("exp1", a, *out, "--max-samples", 50, ok=False)
    call("exp1", a, *out, "--max-samples", 50, "--models", "vmf", "--force")


def test_an_interrupted_run_goes_on_and_its_manifest_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = store(tmp_path, "a", 3, 12.5)
    from cspace.offline.phase0.tier1 import experiments

    real = experiments.judged

    def stops(model, data, lag, *rest):  # type: ignore[no-untyped-def]
        if lag == 2:
            signal.raise_signal(signal.SIGTERM)
        return real(model, data, lag, *rest)

    monkeypatch.setattr(experiments, "judged", stops)
    asked = ("exp1", a, "--models", "vmf", "--threads", 1)
    assert "stopped" in call(*asked, "--out", tmp_path / "cut", ok=False)
    before = (tmp_path / "cut/a/exp1/checkpoints/vmf_k1_final.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(experiments, "judged", real)
    assert "begun run" in call(*asked, "--out", tmp_path / "cut", "--no-resume", ok=False)
    call(*asked, "--out", tmp_path / "cut")
    call(*asked, "--out", tmp_path / "whole")
    assert (tmp_path / "cut/a/exp1/checkpoints/vmf_k1_final.safetensors").stat().st_mtime_ns == before
    for name in ("metrics.json", "tables.csv", "checkpoints/vmf_k2_final.safetensors"):
        assert (tmp_path / "cut/a/exp1" / name).read_bytes() == (tmp_path / "whole/a/exp1" / name).read_bytes(), name
    ends = [json.loads(line) for line in (tmp_path / "cut/manifest.jsonl").read_text().splitlines()][1::2]
    assert [e["status"] for e in ends] == ["interrupted", "done"]


def test_a_speaker_on_both_sides_is_refused(tmp_path: Path) -> None:
    """The lists name different speakers, but an utterance of a train speaker is among those of evaluation."""
    a = store(tmp_path, "a", 3, 12.5)
    train = [f"s{s}/u0" for s in range(4)]
    write_splits(tmp_path / "leak", Splits(["s0", "s1", "s2", "s3"], ["s4"], train, ["s4/u0", "s2/u1"], train[:1]))
    said = call("exp1", a, "--splits", tmp_path / "leak", "--out", tmp_path / "runs", ok=False)
    assert "speaker s2 is in train and in evaluation" in said


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (("--set", "train.max_step=5"), "unknown key train.max_step; did you mean"),
        (("--set", "train.batch"), "must be key=value"),
        (("--models", "gan"), "--models is 'gan'"),
        (("--slice", "loud"), "data.slice is 'loud'"),
        (("--run-id", "../x"), "--run-id is '../x'"),
        (("--device", "tpu9"), "accelerator tpu9"),
        (("--set", "data.window=500"), "give longer ones or a shorter window"),
        (("--splits", "nowhere"), "run `cspace phase0 splits` first"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, more: tuple[str, ...], part: str) -> None:
    a = store(tmp_path, "a", 3, 12.5)
    said = call("exp1", a, "--out", tmp_path / "runs", *more, ok=False)
    assert part in said
    assert "Traceback" not in said


def test_other_commands_name_what_is_wrong(tmp_path: Path) -> None:
    a = store(tmp_path, "a", 3, 12.5)
    out = ("--out", tmp_path / "runs")
    assert "vmf_k1_final.safetensors: is not there" in call("exp2", a, *out, ok=False)
    assert "no finished run" in call("collect", *out, ok=False)
    assert "different names" in call("exp3", a, a, *out, ok=False)
    said = call("exp3", a, *out, "--set", "match.frame_s=0.05", ok=False)
    assert "frames of 80 ms do not make 50 ms" in said
