"""The shipped codec models: every runtime gives the same, streams equal files, the rate is kept; and their training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile as sf

from cspace.export import parity
from cspace.export.runner import Runner
from cspace.modelpackage import read
from cspace.models import CODEC
from cspace.offline.codec import evaluate
from cspace.offline.codec.codec import MODEL_FILE, Analyser, Synthesiser, load, models, rate_of
from cspace.offline.codec.fidelity import si_snr_db
from cspace.offline.codec.synth import music

if TYPE_CHECKING:
    from cspace.offline.codec.train import TrainOptions

RATE = 24_000
NAMES = models()
KINDS = ("live", "encoder", "decoder")
every_model = pytest.mark.parametrize("name", NAMES)


def test_models_are_shipped_and_small() -> None:
    assert NAMES == ["phase96", "rate24"]
    files = [p for p in CODEC.rglob("*") if p.is_file()]
    assert max(p.stat().st_size for p in files) < 3_000_000
    assert sum(p.stat().st_size for p in files) < 8_000_000
    for name in NAMES:
        card = (CODEC / name / "CARD.md").read_text(encoding="utf-8")
        assert load(name).hash.hex() in card
        record = json.loads((CODEC / name / "train.json").read_text(encoding="utf-8"))
        assert record["options"]["steps"] == 2000
        assert record["options"]["domain"] == "cspace"
        assert not {"it", "ru", "music"} & set(record["options"]["data"])


@every_model
@pytest.mark.parametrize("kind", KINDS)
def test_every_runtime_gives_what_torch_gave(name: str, kind: str) -> None:
    package = read(CODEC / name / kind)
    assert package.manifest.extra["codec_sha256"] == load(name).hash.hex()  # made of this very model
    rows = parity.check(package)
    assert {r.runtime for r in rows} == {"python", "engine, offline", "engine, worker"}
    for row in rows:
        assert row.ok, row
        assert row.tolerance <= 1e-5


@every_model
def test_torch_gives_the_goldens(name: str) -> None:
    pytest.importorskip("torch")
    from cspace.export.onnx_export import TorchStream
    from cspace.offline.codec.packages import module

    codec = load(name)
    for kind in KINDS:
        package = read(CODEC / name / kind)
        x, y = package.golden(package.manifest.goldens[0])
        found = TorchStream(module(codec, kind), package.manifest).run(x)
        # torch's float64 sums, rounded to float32 once: 0 seen, a unit in the last place of 1 elsewhere.
        assert float(np.abs(found - y).max()) <= 1e-5


@every_model
def test_the_streaming_packages_are_the_codec_of_files(name: str) -> None:
    codec = load(name)
    spec = codec.spec
    packet = spec.packet_frames * spec.hop
    x = np.pad(music(2.5, RATE, 11), (0, -round(2.5 * RATE) % packet))
    values = Runner(read(CODEC / name / "encoder")).run(x[None])[0].reshape(-1, spec.packet_frames, spec.dims)
    wide = Analyser(codec).push(x)
    decoder, back = Runner(read(CODEC / name / "decoder")), Synthesiser(codec)
    for streamed, offline in zip(values, wide, strict=True):
        (codes, step), (same, _) = codec.quantise(streamed, 150), codec.quantise(offline, 150)
        # Both sum in float64 and round to float32, so that kernels differ in one value of 10⁸, and codes in fewer.
        np.testing.assert_array_equal(codes, same)
        z = codec.values(codes, step)
        heard = decoder.run(z.reshape(1, -1))[0]
        # float32 sums of 192 values against float64: 6e-7 seen.
        assert float(np.abs(heard - back.push(z)).max()) <= 1e-5


@every_model
@pytest.mark.parametrize("block", [1, 7, 64, 1000, 8192])
def test_blocks_of_any_size_give_the_same_codes(name: str, block: int) -> None:
    codec = load(name)
    x = music(1.0, RATE, 12)
    whole, pieces = Analyser(codec), Analyser(codec)
    expected = [*whole.push(x), *whole.flush()]
    found = [z for i in range(0, len(x), block) for z in pieces.push(x[i : i + block])] + pieces.flush()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("preset", "least_db"), [("phase96", 26.0), ("phase144", 20.0), ("rate24", 20.0), ("rate8", 8.0)]
)
def test_rate_and_ratio_on_music_made_by_code(preset: str, least_db: float) -> None:
    codec = load(preset)
    x = music(4.0, RATE, 987)
    kbps = rate_of(preset, codec)
    y, size = evaluate.through_files(codec, x, kbps)
    # The last packets' rest: 0.6 % seen.
    assert size * 8e-3 / 4.0 == pytest.approx(kbps, rel=0.02)
    assert si_snr_db(y, x) > least_db


# ---- training --------------------------------------------------------------------------------


def options(out: Path, seed: int = 0) -> TrainOptions:
    """Four steps on one short file: what is tested is not how well it learns."""
    from cspace.offline.codec.train import TrainOptions

    return TrainOptions(
        data=(str(out.parent / "noise"),),
        out=out,
        steps=4,
        seed=seed,
        batch=2,
        seconds=0.3,
        warmup=2,
        checkpoint_every=2,
        packages=False,
    )


def test_training_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from safetensors.numpy import load_file

    from cspace.offline.codec import finish
    from cspace.offline.codec.spec import CodecSpec
    from cspace.offline.codec.train import train
    from cspace.plugins._errors import FileError

    class StopError(Exception):
        pass

    def stop(step: int, _: dict[str, float]) -> None:
        raise StopError

    quick = finish.fit  # the context model is not what is tested here
    monkeypatch.setattr(finish, "fit", lambda packets, seed: quick(packets, seed=seed, rounds=4, most=2000))
    monkeypatch.setattr(finish, "SHARES", (1.0,))
    (tmp_path / "noise").mkdir()
    sf.write(tmp_path / "noise" / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(24_000), RATE)
    spec = CodecSpec(hop=32, dims=32, packet_frames=16, kbps=64.0)
    whole = train(spec, options(tmp_path / "whole"))
    with pytest.raises(StopError):
        train(spec, options(tmp_path / "cut"), on_step=stop)
    resumed = train(spec, options(tmp_path / "cut"))
    one, two = (load_file(p / "transform.safetensors") for p in (whole, resumed))
    assert {*one} == {*two}
    for key in ("analysis", "synthesis"):
        # The same steps in the same process: equal to the bit but where MKL splits sums by where its memory lies.
        np.testing.assert_allclose(one[key], two[key], atol=1e-6)
    assert (whole / MODEL_FILE).is_file()
    assert (whole / "step_000004_reconstruction.wav").is_file()
    assert "# whole" in (whole / "CARD.md").read_text(encoding="utf-8")
    with pytest.raises(FileError, match=r"other settings \(options.seed is 1, was 0"):
        train(spec, options(tmp_path / "cut", seed=1))
    # Of a pair of files only one was written.
    state = json.loads((tmp_path / "cut" / "checkpoint.json").read_text())
    (tmp_path / "cut" / "checkpoint.json").write_text(json.dumps(state | {"step": 2}))
    with pytest.raises(
        FileError, match=r"transform\.safetensors is of step \d+, checkpoint\.json of step 2; remove it"
    ):
        train(spec, options(tmp_path / "cut"))


def test_an_empty_corpus_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from cspace.offline.codec.spec import preset
    from cspace.offline.codec.train import TrainOptions, train
    from cspace.plugins import AudioError

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.wav").write_bytes(b"no sound")
    for name in ("data", "nowhere"):
        with pytest.raises(AudioError, match=name):
            train(preset("phase96"), TrainOptions(data=(str(tmp_path / name),), out=tmp_path / "out", steps=1))


def test_the_ablation_tells_losses_apart(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from cspace.offline.codec import ablation as a
    from cspace.offline.codec.spec import CodecSpec

    assert len(list(a.cases())) == 20
    spec = CodecSpec(hop=32, dims=32, packet_frames=16, kbps=64.0)
    sf.write(tmp_path / "a.wav", music(3.0, RATE, 1), RATE)
    base = a.base_options([str(tmp_path)], 20, 0.01)
    chosen = [a.Case("cspace", "log ratio"), a.Case("time", "log ratio")]
    found = a.study(spec, base, [0, 1], chosen)
    # To the bit: the same code, shapes and threads in one process.
    assert a.study(spec, base, [0, 1], chosen[:1])[0] == found[0]  # the same again
    assert all(len(r.si_snr_db) == 2 and np.isfinite(r.si_snr_db).all() for r in found)
    assert found[0].si_snr_db != found[1].si_snr_db
    text = a.page(found, spec, base, "the command")
    assert "| waveform | log ratio |" in text
    assert "| CSpace | log ratio | flat" in text


def test_figures_are_those_of_real_files(tmp_path: Path) -> None:
    from cspace.offline.codec import figures as f

    for seed in (4, 5):
        sf.write(tmp_path / f"{seed}.wav", music(3.0, RATE, seed), RATE, subtype="FLOAT")
    files = f.pick(tmp_path, None)
    found = f.measure([("made by code", files)], 2.0, [("rate24", None), ("rate24", 12.0)])
    assert [p.name.rpartition("/")[2] for p in found] == ["4.wav", "4.wav", "5.wav", "5.wav"]
    y, size = evaluate.through_files(load("rate24"), f.middle(files[0], RATE, 2.0), 24.0)
    assert found[0].kbps == pytest.approx(size * 8e-3 / 2.0)
    assert found[0].si_snr_db == si_snr_db(y, f.middle(files[0], RATE, 2.0)) > found[1].si_snr_db
    rates = f.curve(files[:1], 2.0, [24.0])
    assert {r["name"] for r in rates} == {"rate24", "Opus", "MP3", "GSM", "band-limited copy", "FSQ"}
    assert all(r["kbps"] <= rates[0]["kbps"] * 1.001 for r in rates if r["name"] != "GSM")
    text = f.page(found, rates, "the command")
    tables = text.partition("worst first")[2]
    rows = [float(line.split("|")[2]) for line in tables.split("\n") if "wav" in line]
    assert len(rows) == 4
    assert rows == sorted(rows)  # worst first
    assert f.picture(rates).axes
