"""The search index from end to end: changed copies of made clips are found at their sample."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr
from typer.testing import CliRunner

from cspace.audiofile import FileError
from cspace.cli import app
from cspace.offline.audio import load_mono
from cspace.offline.bank import forward_states
from cspace.offline.index.build import build
from cspace.offline.index.exact import Aligner, read_passage
from cspace.offline.index.search import Searcher, loudest, similarities
from cspace.offline.index.spec import IndexSpec
from cspace.offline.index.store import Index
from cspace.plugins import AudioError, ParameterError
from tests.offline.index_clips import F32, RATE, voice, write_folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, F32]]:
    folder = tmp_path_factory.mktemp("sounds")
    clips = write_folder(folder)
    target = tmp_path_factory.mktemp("index") / "int8"
    build(folder, target)
    return folder, target, clips


def invoke(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in args])
    return result.exit_code, result.stdout, result.stderr


def noisy(x: F32, db: float) -> F32:
    noise = np.random.default_rng(9).standard_normal(len(x))
    return (x + noise * np.sqrt(np.mean(x**2) / 10 ** (db / 10))).astype(np.float32)


def mp3(x: F32) -> F32:
    file = io.BytesIO()
    sf.write(file, x, RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.7)
    file.seek(0)
    return sf.read(file, dtype="float32")[0][: len(x)]


CHANGES = {
    "as it is": lambda x: x,
    "noise 10 dB": lambda x: noisy(x, 10.0),
    "noise 0 dB": lambda x: noisy(x, 0.0),
    "+6 dB": lambda x: 2.0 * x,
    "sign turned, -20 dB": lambda x: -0.1 * x,
    "MP3": mp3,
    "100 ppm": lambda x: soxr.resample(x, 10_000, 10_001, quality="VHQ")[: len(x)],
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_at_their_sample(made: tuple[Path, Path, dict[str, F32]], change: str) -> None:
    _, target, clips = made
    searcher = Searcher(Index(target))
    rng = np.random.default_rng(5)
    for name, x in clips.items():
        start = int(rng.integers(0, len(x) - RATE))
        answer = searcher.query(CHANGES[change](x[start : start + RATE]))
        best = answer.matches[0]
        assert best.path == name
        assert abs(best.sample - start) <= (2 if change == "100 ppm" else 0)
        assert answer.found
        assert answer.margin is not None
        assert answer.margin > 0.1
        assert best.inverted == (change == "sign turned, -20 dB")


def test_figures_of_a_match_are_true(made: tuple[Path, Path, dict[str, F32]]) -> None:
    _, target, clips = made
    x = clips["a/2.flac"]
    searcher = Searcher(Index(target))
    same = searcher.query(x[30_001:60_000]).matches[0]
    assert same.distance is not None
    # 24-bit FLAC between them: noise of 2⁻²³ / √12 on sound of rms 0.03 is 1e-6 of it.
    assert same.distance < 1e-5
    q = noisy(x[30_001:60_000], 6.0)
    match = Searcher(Index(target), window_s=10.0).query(0.5 * q).matches[0]
    # The definition, from the states themselves: what is left of the query after the best gain. Both sum in
    # float64; the FLAC's noise moves the distance by less than 1e-6.
    z = forward_states(0.5 * q, searcher.index.spec.fine, RATE).ravel().astype(float)
    p = forward_states(x[30_001:60_000], searcher.index.spec.fine, RATE).ravel().astype(float)
    gain = (z @ p) / (p @ p)
    assert match.distance == pytest.approx(np.linalg.norm(z - gain * p) / np.linalg.norm(z), abs=1e-6)
    assert match.gain_db == pytest.approx(20 * np.log10(gain), abs=1e-4)
    slow = soxr.resample(x[30_001:80_000], 10_000, 10_003, quality="VHQ")[: 2 * RATE]
    found = searcher.query(slow).matches[0]
    # Halves a second apart, each placed to within 0.1 sample: 0.1 / 24,000 is 4 ppm; 6 seen.
    assert found.rate_ppm == pytest.approx(-300, abs=25)
    assert found.index_sample == pytest.approx(30_001, abs=1.0)


@pytest.mark.parametrize(("seconds", "noise_db"), [(0.5, 6.0), (1.0, 40.0), (2.0, 60.0), (0.5, 110.0), (5.0, 20.0)])
def test_distance_is_right_down_to_nothing(seconds: float, noise_db: float) -> None:
    """At 10 s one float32 sum over the states made 0.0934 into 0.0878, and 0.0009 into 0."""
    spec, n = IndexSpec(), round(seconds * RATE)
    x = voice(seconds + 0.1, 2)
    p = x[1000:][:n]
    q = np.float32(0.7) * noisy(p, noise_db)
    found = Aligner(spec, q).align(x[995:][: n + 10], 4)
    z, w = (forward_states(s, spec.fine, RATE).ravel().astype(float) for s in (q, p))
    gain = (z @ w) / (w @ w)
    true = np.linalg.norm(z - gain * w) / np.linalg.norm(z)
    # Residuals are float32: 2⁻²⁴ of the states, no more than 1e-7 where nothing else is left.
    assert found.distance == pytest.approx(true, rel=1e-5, abs=2e-8)
    assert found.gain_db == pytest.approx(20 * np.log10(gain), abs=1e-5)
    assert round(found.offset) == 5


def test_every_distance_told_is_computed_from_the_states(made: tuple[Path, Path, dict[str, F32]]) -> None:
    """Also where the best candidates are one place and those behind them move up."""
    _, target, clips = made
    searcher = Searcher(Index(target))
    spec = searcher.index.spec
    q = noisy(clips["a/0.flac"][24_000:48_000], 10.0)
    z = forward_states(q, spec.fine, RATE).ravel().astype(float)
    for top in (1, 7):
        matches = searcher.query(q, top=top).matches
        assert len(matches) == top
        for m in matches[1:]:  # the first may have a rate
            at = round(m.index_sample)
            x = np.concatenate([np.zeros(RATE, np.float32), clips[m.path], np.zeros(RATE, np.float32)])[at + RATE :][
                :RATE
            ]
            w = forward_states(x, spec.fine, RATE).ravel().astype(float)
            left = np.linalg.norm(z - (z @ w) / (w @ w) * w) / np.linalg.norm(z)
            assert m.distance == pytest.approx(left, abs=1e-6)


def test_other_rates_and_channels(made: tuple[Path, Path, dict[str, F32]], tmp_path: Path) -> None:
    """A stereo clip at 44.1 kHz; its sample is told in the recording's own samples."""
    folder, target, clips = made
    x = clips["b/3.flac"]
    up = soxr.resample(x, RATE, 44_100, quality="VHQ")
    sf.write(tmp_path / "clip.wav", np.stack([up, up], 1)[44_100 : 2 * 44_100 + 1], 44_100)
    code, text, _ = invoke("index", "query", target, tmp_path / "clip.wav", "--json")
    answer = json.loads(text)["clips"][0]
    assert code == 0
    assert answer["conversions"] == ["resampled from 44100 to 24000 Hz", "2 channels averaged to one"]
    assert (answer["matches"][0]["path"], answer["matches"][0]["sample"]) == ("b/3.flac", RATE)
    other = tmp_path / "16k"
    build(folder, other, IndexSpec(sample_rate=16_000))
    m = Searcher(Index(other)).query(soxr.resample(x, RATE, 16_000)[16_000:32_000]).matches[0]
    assert (m.path, m.sample) == ("b/3.flac", RATE)
    # Two resamplings by soxr lie between: symmetric filters, 1e-5 of a sample seen.
    assert m.index_sample == pytest.approx(16_000, abs=0.05)


def test_int8_and_float32_agree_and_differ_fourfold_in_size(
    made: tuple[Path, Path, dict[str, F32]], tmp_path: Path
) -> None:
    folder, target, clips = made
    build(folder, tmp_path / "f", IndexSpec(dtype="float32"))
    small, large = Index(target), Index(tmp_path / "f")
    header = 128 * len(small.manifest.shards)
    assert large.bytes - header == 4 * (small.bytes - header)
    q = noisy(clips["a/0.flac"][10_000:34_000], 10.0)
    one, two = Searcher(small).candidates(q, 8), Searcher(large).candidates(q, 8)
    assert [(c.path, c.frame) for c in one[:3]] == [(c.path, c.frame) for c in two[:3]]
    # Half a step of int8 over 32 features is 1e-3 of a correlation.
    assert np.allclose([c.similarity for c in one], [c.similarity for c in two], atol=0.01)


def test_coarse_similarity_is_the_correlation_it_says(made: tuple[Path, Path, dict[str, F32]]) -> None:
    _, target, clips = made
    index = Index(target)
    shard = index.manifest.shards[0]
    quantiser = shard.quantiser()
    assert quantiser is not None
    q = index.spec.features(clips["a/0.flac"][5000:17_000])
    rows = quantiser.dequantise(index.rows(shard)).astype(float)
    got = np.concatenate([part for _, part in similarities(index.rows(shard), shard, q)])
    for row in (0, 7, 500, len(got) - 1):
        window = rows[row : row + len(q)]
        a, b = q - q.mean(0), window - window.mean(0)
        floor = q.size * 0.005**2
        expected = np.sum(a * b) / np.sqrt((np.sum(a * a) + floor) * (np.sum(b * b) + floor))
        # float32 products of 600 × 32 features against float64: 1e-7 seen; a wrong window is off by 1e-1.
        assert got[row] == pytest.approx(expected, abs=1e-4)


def test_matched_filter_is_the_sum_over_the_states() -> None:
    spec = IndexSpec()
    x = voice(1.0, 3)
    aligner = Aligner(spec, x[6000:12_000])
    x = x[5300:13_000]
    c = aligner.lags(x)
    z = forward_states(x, spec.fine, RATE).astype(float)
    q = forward_states(x[700:6700], spec.fine, RATE).astype(float)
    for lag in (0, 100, 690, 700, 701, 1300, len(c) - 1):
        part = z[lag : lag + 6000]
        # The norms are lines between sums of 8 samples, and the responses are cut 60 dB down, 1e-3; 5e-6 seen.
        assert c[lag] == pytest.approx(np.sum(part * q) / np.linalg.norm(part) / np.linalg.norm(q), abs=2e-3)


@pytest.mark.parametrize(
    ("kind", "rate"),
    [
        (k, r)
        for k in ("wav", "flac", "ogg", "opus", "mp3")
        for r in (24_000, 44_100, 16_000)
        if (k, r) != ("opus", 44_100)
    ],
)
def test_passages_are_those_of_the_whole_file(tmp_path: Path, kind: str, rate: int) -> None:
    x = voice(3.0, 8, rate)
    path = tmp_path / f"x.{kind}"
    sf.write(path, x, rate, **({"format": "OGG", "subtype": "OPUS"} if kind == "opus" else {}))
    whole = load_mono(path, RATE).samples
    for start, frames in ((0, 5000), (-300, 1000), (20_011, 24_000), (len(whole) - 500, 1000), (10**6, 10)):
        got = read_passage(path, RATE, start, frames)
        expected = np.zeros(frames, np.float32)
        first, last = max(0, start), min(len(whole), start + frames)
        if last > first:
            expected[first - start : last - start] = whole[first:last]
        # The part around a passage is decoded and resampled apart: soxr's filter, begun 0.05 s before, has next to
        # nothing left, and lossy decoders start anew there: 3e-8 seen.
        assert np.max(np.abs(got - expected)) < 1e-4
        assert np.abs(expected).max() > 1e-3 or start > 10**5


def test_what_is_not_there_is_said_so(made: tuple[Path, Path, dict[str, F32]], tmp_path: Path) -> None:
    _, target, _ = made
    sf.write(tmp_path / "other.wav", voice(2.0, 77), RATE)
    code, text, _ = invoke("index", "query", target, tmp_path / "other.wav")
    assert code == 0
    assert "nothing in the index matches well: the nearest is at distance 0.9" in text
    answer = json.loads(invoke("index", "query", target, tmp_path / "other.wav", "--json")[1])["clips"][0]
    assert answer["found"] is False


def test_bad_clips_are_named(made: tuple[Path, Path, dict[str, F32]], tmp_path: Path) -> None:
    _, target, clips = made
    x = clips["a/0.flac"]
    sf.write(tmp_path / "silent.wav", np.zeros(RATE, np.float32), RATE)
    sf.write(tmp_path / "short.wav", x[:4000], RATE)
    bad = x[20_000:50_000].copy()
    bad[100:110] = np.nan
    sf.write(tmp_path / "nan.wav", bad, RATE, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("not sound")
    for name, message in (
        ("silent.wav", "is silent"),
        ("short.wav", "4000 samples are too short; at least 4800 are needed"),
        ("text.wav", "cannot be read as audio"),
        ("none.wav", "there is no such file"),
    ):
        code, _, error = invoke("index", "query", target, tmp_path / name)
        assert (code, error.count("\n")) == (2, 1)
        assert name in error
        assert message in error
    code, text, _ = invoke("index", "query", target, tmp_path / "nan.wav", "--json")
    answer = json.loads(text)["clips"][0]
    assert (code, answer["matches"][0]["path"], answer["matches"][0]["sample"]) == (0, "a/0.flac", 20_000)
    assert answer["conversions"] == ["10 NaN or Inf samples set to 0"]
    # One bad clip of several does not stop the others.
    code, text, error = invoke("index", "query", target, tmp_path / "silent.wav", tmp_path / "nan.wav")
    assert code == 2
    assert "a/0.flac, sample 20000" in text
    assert "silent.wav: is silent" in error
    assert "--start 99 s is beyond its end" in invoke("index", "query", target, tmp_path / "nan.wav", "--start", 99)[2]
    with pytest.raises(ParameterError, match=r"window_s is 11; it is 0\.2 to 10"):
        Searcher(Index(target), window_s=11)
    with pytest.raises(AudioError, match="silent"):
        Searcher(Index(target)).query(np.full(RATE, np.nan, np.float32))


def test_clip_part_of_a_long_file_is_taken(made: tuple[Path, Path, dict[str, F32]]) -> None:
    folder, target, _ = made
    code, text, _ = invoke(
        "index", "query", target, folder / "a/4.flac", "--start", 3.25, "--seconds", 1, "-k", 1, "--json"
    )
    (match,) = json.loads(text)["clips"][0]["matches"]
    assert (code, match["path"], match["sample"]) == (0, "a/4.flac", 78_000)


def test_loudest_part() -> None:
    x = np.concatenate([np.full(5000, 0.1), np.full(1000, 1.0), np.full(3000, 0.1)]).astype(np.float32)
    start, part = loudest(x, 1000)
    assert start == 5000
    assert np.array_equal(part, x[5000:6000])
    assert loudest(x, 10_000)[0] == 0
    assert loudest(x, len(x))[1] is x
    assert loudest(x, len(x) - 1)[0] in (0, 1)


def test_recordings_that_changed_are_not_compared(tmp_path: Path) -> None:
    clips = write_folder(tmp_path / "s", files=2, seconds=3.0)
    build(tmp_path / "s", tmp_path / "i")
    q = clips["a/0.flac"][24_000:48_000]
    sf.write(tmp_path / "s/a/0.flac", voice(3.0, 50), RATE)
    answer = Searcher(Index(tmp_path / "i")).query(q)
    assert not [m for m in answer.matches if m.path == "a/0.flac" and m.distance is not None]
    assert answer.notes == ["a/0.flac: has changed since it was indexed, so it is not compared exactly; build again"]
    (tmp_path / "s").rename(tmp_path / "t")
    code, text, error = invoke("index", "query", tmp_path / "i", tmp_path / "t/b/1.flac")
    assert code == 0
    assert "say --root if it was moved" in error
    assert "could not be read again" in text
    code, text, _ = invoke("index", "query", tmp_path / "i", tmp_path / "t/b/1.flac", "--root", tmp_path / "t")
    assert "b/1.flac, sample 0 (0:00:00.000)" in text
    assert "changed or missing 1" in invoke("index", "info", tmp_path / "i", "--root", tmp_path / "t")[1]


def test_moved_together_index_and_recordings_still_fit(tmp_path: Path) -> None:
    clips = write_folder(tmp_path / "one/s", files=1, seconds=3.0)
    build(tmp_path / "one/s", tmp_path / "one/i")
    (tmp_path / "one").rename(tmp_path / "two")
    assert Searcher(Index(tmp_path / "two/i")).query(clips["a/0.flac"][1000:30_000]).matches[0].distance is not None


def test_recording_of_exactly_the_window(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    x = voice(2.0, 4)
    sf.write(tmp_path / "s/x.wav", x, RATE, subtype="FLOAT")
    sf.write(tmp_path / "s/tiny.wav", x[:100], RATE)
    build(tmp_path / "s", tmp_path / "i")
    index = Index(tmp_path / "i")
    assert index.sources["tiny.wav"].samples == 100
    match = Searcher(index).query(x).matches[0]
    assert (match.path, match.sample) == ("x.wav", 0)
    assert match.distance == pytest.approx(0.0, abs=1e-3)
    assert Searcher(index, window_s=10).query(np.tile(x, 3)).matches == []
    with pytest.raises(FileError, match="is not an index"):
        Index(tmp_path / "s")
