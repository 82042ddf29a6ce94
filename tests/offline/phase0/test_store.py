"""Latents on disk, settings, lists of utterances, and splits by speaker."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from cspace.offline.config import ConfigError
from cspace.offline.phase0.config import Phase0Config, load_config, to_yaml
from cspace.offline.phase0.data import Utterance, prepare, read_utterances, write_utterances
from cspace.offline.phase0.splits import SplitError, make_splits, read_splits, write_splits
from cspace.offline.phase0.store import EncoderInfo, Entry, Latents, LatentStore, check_rate
from cspace.plugins import AudioError, CspaceError
from cspace.plugins._errors import FileError

INFO = EncoderInfo("mimi", "random weights", 24_000, 1920, 3, 12.5, "abc")


def latents(frames: int, seed: int = 0) -> Latents:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((frames, 3)).astype(np.float32)
    return Latents(x, rng.uniform(size=frames).astype(np.float32), np.arange(frames) / 12.5, "anna")


def test_latents_come_back_as_they_were(tmp_path: Path) -> None:
    store = LatentStore.create(tmp_path / "latents", INFO)
    names = ["b/two words", "a%1", "ü-3"]
    made = {name: latents(5 + i, i) for i, name in enumerate(names)}
    for name, each in made.items():
        store.write(name, each)
    store.finish(Entry(n, "anna", len(made[n].x), 1.0, "a.flac") for n in names)
    again = LatentStore.open(tmp_path / "latents")
    assert (again.frame_rate_hz, again.dim, again.encoder) == (12.5, 3, "mimi (random weights)")
    assert [e.utterance_id for e in again.index] == sorted(names)
    for name, each in made.items():
        got = again.read(name)
        assert got.x.dtype == np.float32
        assert np.array_equal(got.x, each.x)
        assert np.array_equal(got.energy, each.energy)
        assert np.array_equal(got.timestamps, each.timestamps)
        assert got.speaker_id == "anna"


def test_an_unfinished_store_goes_on_and_another_encoders_is_refused(tmp_path: Path) -> None:
    store = LatentStore.create(tmp_path, INFO)
    store.write("one", latents(4))
    with pytest.raises(FileError, match=r"is not finished .* it goes on"):
        LatentStore.open(tmp_path)
    again = LatentStore.create(tmp_path, INFO)
    assert again.has("one")
    with pytest.raises(FileError, match="'two' was not written"):
        again.finish([Entry("one", "anna", 4, 1.0, ""), Entry("two", "anna", 4, 1.0, "")])
    with pytest.raises(FileError, match="holds latents of mimi made with other settings or weights"):
        LatentStore.create(tmp_path, replace(INFO, fingerprint="other"))
    with pytest.raises(FileError, match="is not a store of latents"):
        LatentStore.open(tmp_path / "nothing")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LatentStore.create(tmp_path, INFO)
    store.write("one", latents(4, 1))

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cspace.offline.phase0.store._chunks", broken)
    for name in ("one", "two"):
        with pytest.raises(FileError, match="No space left on device"):
            store.write(name, latents(4, 2))
    assert not store.has("two")
    assert np.array_equal(store.read("one").x, latents(4, 1).x)
    assert not list(tmp_path.glob(".*.part"))


def test_bad_latents_are_named(tmp_path: Path) -> None:
    store = LatentStore.create(tmp_path, INFO)
    good = latents(4)
    bad = good.x.copy()
    bad[2, 1] = np.nan
    with pytest.raises(FileError, match=r"utterance 'u': frame 2, dimension 1 is nan"):
        store.write("u", replace(good, x=bad))
    with pytest.raises(FileError, match=r"'u': is empty"):
        store.write("u", Latents(good.x[:0], good.energy[:0], good.timestamps[:0], "anna"))
    with pytest.raises(FileError, match=r"shape \(4, 2\); mimi gives \(frames, 3\)"):
        store.write("u", replace(good, x=good.x[:, :2]))
    with pytest.raises(FileError, match="4 frames, but 3 energies"):
        store.write("u", replace(good, energy=good.energy[:3]))
    store.write("u", good)
    import zarr

    group = zarr.open_group(str(tmp_path / "latents.zarr" / "u"), mode="a")
    group["x"][1, 0] = np.inf  # what another program may do to a store
    with pytest.raises(FileError, match=r"'u': frame 1, dimension 0 is inf"):
        store.read("u")


def test_a_wrong_frame_rate_is_named() -> None:
    check_rate("u", 125, 10.0, INFO)
    check_rate("u", 13, 1.0, INFO)
    with pytest.raises(FileError, match=r"'u': 750 frames in 10.00 s are 75.00 Hz; mimi gives 12.5 Hz"):
        check_rate("u", 750, 10.0, INFO)


def test_settings_come_back_and_what_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    config = load_config(None, encoder__name="mimi", lags=[1, 3], seed=7)
    path.write_text(to_yaml(config))
    assert load_config(path) == config
    assert (Phase0Config().window, Phase0Config().lags, Phase0Config().seed) == (8, [1, 2, 4], 42)
    for text, message in [
        ("windw: 8", r"c.yaml: unknown key windw; did you mean 'window'"),
        ("encoder: {logmel: {hopp: 3}}", r"unknown key encoder.logmel.hopp; did you mean 'hop'"),
        ("window: 0", r"window is 0: input should be greater than or equal to 1"),
        ("lags: [1, 0]", r"lags.1 is 0: input should be greater than or equal to 1"),
        ("lags: [2, 2]", r"names one twice"),
        ("- 1", "holds a list; settings are a table"),
        ("a: [", "is not YAML"),
        ("encoder: {name: wav2vec}", r"encoder.name is 'wav2vec': input should be 'synthetic', 'logmel'"),
        ("data: {kind: synthetic}", r"do not go together"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_config(path)
    with pytest.raises(ConfigError, match="there is no such file"):
        load_config(tmp_path / "none.yaml")


def test_windows_in_seconds_follow_the_frame_rate() -> None:
    config = Phase0Config(window_seconds=0.64, lags_seconds=[0.08, 0.16, 0.32])
    assert (config.window_frames(12.5), config.lag_frames(12.5)) == (8, [1, 2, 4])
    assert (config.window_frames(75.0), config.lag_frames(75.0)) == (48, [6, 12, 24])
    with pytest.raises(ConfigError, match="two are one"):
        config.lag_frames(5.0)


def spoken(speakers: int, each: int) -> list[Utterance]:
    return [Utterance(f"s{k}-{i}", f"s{k}", "", 4.0) for k in range(speakers) for i in range(each)]


def test_splits_are_disjoint_by_speaker_and_follow_the_seed(tmp_path: Path) -> None:
    utterances, settings = spoken(10, 7), Phase0Config().splits
    splits = make_splits(utterances, settings, 42)
    assert len(splits.eval_speakers) == 2
    assert sorted(splits.train_speakers + splits.eval_speakers) == sorted({u.speaker_id for u in utterances})
    assert {u.split("-")[0] for u in splits.train_utterances} == set(splits.train_speakers)
    assert {u.split("-")[0] for u in splits.eval_utterances} == set(splits.eval_speakers)
    assert len(splits.holdout) == 6
    assert set(splits.holdout) < set(splits.train_utterances)
    assert sorted(splits.fit + splits.holdout) == splits.train_utterances
    assert make_splits(utterances[::-1], settings, 42) == splits
    assert make_splits(utterances, settings, 43) != splits
    write_splits(tmp_path, splits)
    assert read_splits(tmp_path) == splits
    with open(tmp_path / "train_speakers.txt", "a") as file:
        file.write(splits.eval_speakers[0] + "\n")
    with pytest.raises(SplitError, match=r"speaker '.*' is in train_speakers.txt and in eval_speakers.txt"):
        read_splits(tmp_path)


def test_one_speaker_cannot_be_divided() -> None:
    with pytest.raises(SplitError, match=r"have 1 speaker \(s0\); at least 2 are needed"):
        make_splits(spoken(1, 5), Phase0Config().splits, 42)
    with pytest.raises(SplitError, match="eval_speakers is 3; of 3 speakers at most 2"):
        make_splits(spoken(3, 5), Phase0Config().splits.model_copy(update={"eval_speakers": 3}), 42)


def wav(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.zeros(round(seconds * 8000)), 8000)


def test_the_three_layouts_of_data(tmp_path: Path) -> None:
    libri = tmp_path / "libri"
    for name in ("84/121/84-121-0001", "84/121/84-121-0002", "1993/5/1993-5-0000"):
        wav(libri / f"{name}.flac", 3.5)
    wav(libri / "84/121/84-121-0003.flac", 1.0)
    config = load_config(None, data__kind="librispeech", data__path=str(libri))
    got = prepare(config)
    assert [(u.utterance_id, u.speaker_id) for u in got.utterances] == [
        ("1993-5-0000", "1993"),
        ("84-121-0001", "84"),
        ("84-121-0002", "84"),
    ]
    assert got.left_out == ["1 of 4 utterances are shorter than 3 s"]
    assert prepare(load_config(None, data__path=str(libri))).utterances == got.utterances  # found by its looks
    folder = load_config(None, data__kind="folder", data__path=str(libri))
    assert prepare(folder).utterances[0].utterance_id == "1993/5/1993-5-0000"
    table = tmp_path / "all.csv"
    table.write_text("speaker_id,audio_path\nanna,libri/84/121/84-121-0001.flac\nben,libri/1993/5/1993-5-0000.flac\n")
    listed = prepare(load_config(None, data__path=str(table)))
    assert [(u.speaker_id, u.duration_sec) for u in listed.utterances] == [("ben", 3.5), ("anna", 3.5)]
    write_utterances(tmp_path, listed.utterances)
    assert read_utterances(tmp_path) == listed.utterances
    limited = prepare(load_config(None, data__path=str(libri), data__max_utterances_per_speaker=1))
    assert [u.speaker_id for u in limited.utterances] == ["1993", "84"]


def test_data_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    def error(kind: str, path: Path) -> CspaceError:
        with pytest.raises(CspaceError) as caught:
            prepare(load_config(None, data__kind=kind, data__path=str(path)))
        return caught.value

    assert "is neither a folder of recordings nor a .csv" in str(error("auto", tmp_path / "none"))
    assert "there is no such folder" in str(error("librispeech", tmp_path / "none"))
    assert "is not a folder" in str(error("folder", tmp_path / "none"))
    wav(tmp_path / "flat" / "a.wav", 4.0)
    assert "lies beside the speakers' folders" in str(error("folder", tmp_path / "flat"))
    wav(tmp_path / "short" / "anna" / "a.wav", 1.0)
    wav(tmp_path / "short" / "anna" / "b.wav", 0.0)
    short = error("folder", tmp_path / "short")
    assert isinstance(short, AudioError)
    assert "1 of 2 utterances are shorter than 3 s; 1 utterances have no samples, such as anna/b" in str(short)
    (tmp_path / "bad.csv").write_text("path,who\n1,2\n")
    assert "has no column audio_path and speaker_id" in str(error("csv", tmp_path / "bad.csv"))
    (tmp_path / "empty.csv").write_text("audio_path,speaker_id\n")
    assert "lists no utterances" in str(error("csv", tmp_path / "empty.csv"))
    (tmp_path / "flat" / "a.wav").write_text("no sound")
    (tmp_path / "none.csv").write_text("audio_path,speaker_id\nflat/a.wav,anna\n")
    assert "a.wav" in str(error("csv", tmp_path / "none.csv"))
