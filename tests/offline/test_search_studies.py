"""Per-sample search on changed copies: where samples go, what descriptors are, what is found and what is said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.bank import BankSpec, bidirectional_states
from cspace.offline.config import EsnSpec, LabConfig
from cspace.offline.lab import recall
from cspace.offline.lab.choose import CSPACE_ROWS, ESN_ROWS, make
from cspace.offline.lab.descriptors import (
    BankStates,
    Descriptor,
    EsnStates,
    LogMel,
    MultiStft,
    WaveformWindow,
    noise_covariance,
)
from cspace.offline.lab.markdown import put_section
from cspace.offline.lab.perturb import Change, active_power, change, measured_delay
from cspace.offline.lab.quantise import Int8, StoredRows
from cspace.offline.lab.quantise_study import quantise
from cspace.offline.lab.robustness import robustness
from cspace.offline.lab.search import choose_places, distance_curve, nearest
from cspace.plugins import AudioError, ParameterError
from cspace.plugins._errors import FileError, MissingExtraError

RATE = 24_000
SMALL = BankSpec(oscillators=12, low_hz=100.0, high_hz=5000.0, q=12.0)


def voice(seconds: float = 1.5, seed: int = 3) -> np.ndarray:
    """Gliding harmonics with formant-like tilt, syllables and pauses, a little breath: no two places alike."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    pitch = 2 * np.pi * np.cumsum(130 + 25 * np.sin(2 * np.pi * 0.7 * t) + 8 * np.sin(2 * np.pi * 2.3 * t)) / RATE
    x = sum(np.sin(k * pitch + rng.uniform(0, 6)) / k**0.8 for k in range(1, 25))
    x = x * np.clip(np.sin(2 * np.pi * 1.9 * t + 0.4) + 0.6, 0.0, 1.0) + 0.02 * rng.standard_normal(len(t))
    return np.asarray(0.9 * x / np.max(np.abs(x)), np.float32)


def every(sample_rate: int = RATE) -> list[Descriptor]:
    return [
        BankStates(SMALL, sample_rate),
        BankStates(SMALL, sample_rate, weighting="diagonal", unit=True),
        BankStates(SMALL, sample_rate, weighting="white"),
        BankStates(SMALL, sample_rate, halves="forward"),
        BankStates(SMALL, sample_rate, halves="backward"),
        WaveformWindow(257, sample_rate),
        WaveformWindow(65, sample_rate, unit=True),
        LogMel(sample_rate),
        MultiStft(sample_rate),
        EsnStates(EsnSpec(nodes=16), sample_rate),
    ]


# ---- changed copies --------------------------------------------------------------------------


@pytest.mark.parametrize("ppm", [100.0, -100.0, 5000.0])
def test_a_resampled_copy_knows_where_its_samples_came_from(ppm: float) -> None:
    n = np.arange(24_000)
    place = 13_000.25
    pulse = np.exp(-0.5 * ((n - place) / 30) ** 2) * np.cos(2 * np.pi * 0.04 * (n - place))
    copy = change(pulse.astype(np.float32), RATE, Change(resample_ppm=ppm))
    energy = copy.samples.astype(np.float64) ** 2
    centre = np.sum(energy * np.arange(len(energy))) / energy.sum()
    # Of the resampler: its filter is symmetric, so the centre stays; float32 samples leave 1e-6 of a sample.
    assert centre == pytest.approx(place * (1 + 1e-6 * ppm), abs=2e-3)
    assert copy.to_original(centre) == pytest.approx(place, abs=2e-3)
    assert copy.to_copy(copy.to_original(777.0)) == pytest.approx(777.0)


@pytest.mark.parametrize(("color", "pink_block"), [("white", 1 << 21), ("pink", 1 << 21), ("pink", 1 << 14)])
@pytest.mark.parametrize("db", [40.0, 0.0])
def test_noise_has_the_distance_asked_for_from_the_active_part(
    color: str, pink_block: int, db: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cspace.offline.lab.perturb._PINK", pink_block)  # long noise is made of such blocks
    x = np.concatenate([voice(2.0), np.zeros(48_000, np.float32)])  # silence must not count
    copy = change(x, RATE, Change(noise_db=db, noise_color=color))  # type: ignore[arg-type]
    noise = copy.samples.astype(np.float64) - x
    # Noise of 20,000 and more samples: its power is off by √(2 / n) = 1 %, 0.05 dB; and of an octave of some 500 bins
    # by 5 %.
    assert 10 * np.log10(active_power(x, RATE) / np.mean(noise**2)) == pytest.approx(db, abs=0.2)
    power = np.abs(np.fft.rfft(noise)) ** 2
    hz = np.fft.rfftfreq(len(noise), 1 / RATE)
    low, high = (power[(hz > a) & (hz < 2 * a)].sum() for a in (200, 3200))
    quarters = [np.mean(q**2) for q in np.split(noise, 4)]
    assert max(quarters) / min(quarters) < (1.1 if color == "white" else 1.6)
    assert high / low == pytest.approx(16.0 if color == "white" else 1.0, rel=0.25)
    again = change(x, RATE, Change(noise_db=db, noise_color=color))  # type: ignore[arg-type]
    other = change(x, RATE, Change(noise_db=db, noise_color=color, seed=1))  # type: ignore[arg-type]
    assert np.array_equal(copy.samples, again.samples)
    assert not np.array_equal(copy.samples, other.samples)


@pytest.mark.parametrize("delay", [0.0, 3.0, -7.0, 1105.0, 12.3])
def test_delays_are_measured_between_samples(delay: float) -> None:
    x = voice()
    spectrum = np.fft.rfft(x, 65_536) * np.exp(-2j * np.pi * np.arange(32_769) / 65_536 * delay)
    y = np.fft.irfft(spectrum, 65_536)[: len(x) + 2000].astype(np.float32)
    assert measured_delay(x, y, RATE) == pytest.approx(delay, abs=0.02)


@pytest.mark.parametrize("codec", ["mp3", "gsm"])
def test_codecs_keep_samples_in_place_and_level(codec: str) -> None:
    x = 4.0 * voice()  # above full scale: the codec must not clip what the study does not
    copy = change(x, RATE, Change(codec=codec))  # type: ignore[arg-type]
    assert len(copy.samples) == len(x)
    assert codec in copy.notes[0]
    # Codecs of other versions may put it elsewhere within a tenth of a sample; a whole one is what must not be.
    assert abs(measured_delay(x, copy.samples, RATE)) < 0.1
    left = copy.samples - x
    loss = 10 * np.log10(np.mean(x**2) / np.mean(left**2))
    if codec == "mp3":
        assert 12.0 < loss < 60.0  # lossy, and the same sound


def test_changes_say_what_they_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AudioError, match="noise_db: the sound is silent"):
        change(np.zeros(1000, np.float32), RATE, Change(noise_db=10.0))
    with pytest.raises(ParameterError, match="MP3 has no sample rate 25000"):
        change(voice(), 25_000, Change(codec="mp3"))
    monkeypatch.setitem(sys.modules, "pedalboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'cspace\[pedalboard\]'"):
        change(voice(), RATE, Change(codec="gsm"))


# ---- descriptors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "d", every(), ids=lambda d: f"{d.name}-{getattr(d, 'halves', '')}-{getattr(d, 'weighting', '')}"
)
def test_blocks_and_single_rows_agree(d: Descriptor) -> None:
    x = voice(0.6)
    rows = np.concatenate(list(d.blocks(x)))
    assert rows.shape == (len(x), d.dims)
    places = np.array([0, 1, 500, 7000, len(x) - 1])
    # Single rows are run up over what is 90 dB down, 3e-5 of the loudest; the white weighting multiplies by up to
    # five.
    assert np.max(np.abs(d.at(x, places) - rows[places])) < 2e-4 * np.max(np.abs(rows))
    if d.unit:
        # float32 sums of up to 2000 squares: √2000 · 2⁻²⁴ = 3e-6.
        assert np.allclose(np.linalg.norm(rows[2000:4000], axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("halves", ["both", "forward", "backward"])
def test_rows_of_many_places_are_those_of_few(halves: str) -> None:
    x = voice(0.6)
    d = BankStates(SMALL, RATE, weighting="white", halves=halves)  # type: ignore[arg-type]
    many = np.sort(np.random.default_rng(2).choice(len(x), 60, replace=False))
    assert len(many) * d.reach > len(x) > d.reach  # the first in one pass, the second by a run-up to the place
    rows = d.at(x, many)
    for k in (0, 31, 59):
        assert np.max(np.abs(d.at(x, many[k : k + 1])[0] - rows[k])) < 2e-4 * np.max(np.abs(rows))


def test_bank_rows_in_pieces_are_the_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cspace.offline.lab.descriptors._BACKWARD_BYTES", 4 * 24 * 4096)
    d = BankStates(SMALL, RATE)
    x = voice(1.2)
    rows = np.concatenate(list(d.blocks(x)))
    whole = bidirectional_states(x, SMALL, RATE)
    # The backward half of a piece begins 90 dB down, 3e-5.
    assert np.max(np.abs(rows - whole)) < 1e-4 * np.max(np.abs(whole))


def test_window_rows_are_what_their_names_say() -> None:
    x = voice(0.5)
    assert np.array_equal(WaveformWindow(5, RATE).at(x, np.array([1, 100])), [[0, *x[:4]], x[98:103]])
    import librosa

    mel = librosa.feature.melspectrogram(y=x, sr=RATE, n_fft=1024, hop_length=100, n_mels=80, power=1.0)
    got = LogMel(RATE).at(x, np.arange(40, 60) * 100)
    # float32 spectra of 1024 samples, added over a band by another library: 2e-7 seen.
    assert np.allclose(got, np.log1p(mel[:, 40:60]).T, atol=1e-4)


@pytest.mark.parametrize("spec", [SMALL, BankSpec.original(), BankSpec(oscillators=30, q=2.0)])
def test_covariance_under_noise_is_that_of_the_kernels(spec: BankSpec) -> None:
    decay, angle = spec.poles(RATE)
    n = np.arange(60_000)
    kernels = spec.drive(RATE)[:, None] * np.exp((-decay + 1j * angle)[:, None] * n)
    rows = np.concatenate([kernels.real, kernels.imag])
    direct = rows @ rows.T
    # 60,000 products in float64, and kernels cut at that length: 1e-16 seen.
    assert np.max(np.abs(noise_covariance(spec, RATE) - direct)) < 1e-9 * np.max(direct)


def test_white_weighting_makes_noise_white() -> None:
    d = BankStates(SMALL, RATE, weighting="white", ridge=0.0)
    noise = np.random.default_rng(0).standard_normal(150_000).astype(np.float32)
    rows = np.concatenate(list(d.blocks(noise)))[10_000:-10_000]
    off = np.cov(rows.T) - np.eye(d.dims)
    # Statistics: 130,000 samples that the slowest oscillator makes as good as 130; 0.027 with this noise.
    assert np.abs(off[:24, :24]).max() < 0.1
    assert np.abs(off[24:, 24:]).max() < 0.1


# ---- search ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "d", [WaveformWindow(65, RATE), BankStates(SMALL, RATE, weighting="white")], ids=lambda d: d.name
)
def test_search_finds_what_comparing_everything_finds(d: Descriptor, monkeypatch: pytest.MonkeyPatch) -> None:
    x = voice(0.7)
    copy = change(x, RATE, Change(noise_db=15.0))
    places = choose_places(x, RATE, 30, np.random.default_rng(1), margin=200)
    queries = d.at(copy.samples, places)
    rows = np.concatenate(list(d.blocks(x))).astype(np.float64)
    distances = np.sqrt(((rows[:, None, :] - queries[None]) ** 2).sum(axis=2))
    found = nearest(d, x, queries)
    assert np.array_equal(found.match, distances.argmin(axis=0))
    # Both measure the same float32 rows in float64; dims × 2⁻⁵³ is 1e-14.
    assert np.allclose(found.distance, distances.min(axis=0), rtol=1e-12)
    bins = np.arange(len(x)) // 32
    for k, m in enumerate(found.match):
        away = (bins < (m - 32) // 32) | (bins > (m + 32) // 32)
        assert found.next_best[k] == pytest.approx(distances[away, k].min(), rel=1e-12)
    held = np.stack([found.match - 100, found.match + 100], axis=1)
    monkeypatch.setattr("cspace.offline.lab.search._TOGETHER", 3)
    grouped = nearest(d, x, queries, rivals=4)
    assert np.array_equal(grouped.match, found.match)
    assert np.allclose(grouped.next_best, found.next_best[:4], rtol=1e-12)
    again = nearest(d, x, queries, exclude=held)
    for k, m in enumerate(found.match):
        distances[max(0, m - 100) : m + 100, k] = np.inf
    assert np.array_equal(again.match, distances.argmin(axis=0))


@pytest.mark.parametrize(("common", "apart"), [(1000.0, 0.01), (-30.0, 1e-4), (0.0, 1e-6)])
def test_cancellation_decides_nothing(common: float, apart: float) -> None:
    """Tiny differences on a large common part, far below what |S|² + |q|² − 2 S·q in float32 can tell."""
    rng = np.random.default_rng(5)
    x = (common + apart * rng.standard_normal(20_000)).astype(np.float32)
    d = WaveformWindow(33, RATE)
    places = np.array([123, 9_999, 19_000])
    found = nearest(d, x, d.at(x, places))
    assert np.array_equal(found.match, places)
    wide = d.at(x, np.arange(100, 19_900)).astype(float)
    for k, m in enumerate(places):
        bins = np.arange(100, 19_900) // 32
        away = (bins < (m - 32) // 32) | (bins > (m + 32) // 32)
        true = np.linalg.norm(wide[away] - x[m - 16 : m + 17].astype(float), axis=1).min()
        assert found.next_best[k] == pytest.approx(true, rel=1e-12)


def test_next_best_of_a_sound_that_repeats_itself_is_the_same_distance() -> None:
    """A loop: the place one round later is as near as the match; by cancelling squares it looked 1e4 times as far."""
    loop = voice(0.1)
    x = np.tile(loop, 12)
    d = WaveformWindow(65, RATE)
    query = d.at(x, np.array([5 * len(loop) + 700])) * np.float32(1.0 + 1e-5)
    found = nearest(d, x, query, rivals=1)
    assert found.next_best[0] == pytest.approx(found.distance[0], rel=1e-12)
    assert found.distance[0] == pytest.approx(1e-5 * np.linalg.norm(query), rel=0.05)  # 1 + 1e-5 is 1 + 168 × 2⁻²⁴
    silent = nearest(d, np.zeros(9000, np.float32), np.zeros((1, 65), np.float32))
    assert silent.next_best[0] == silent.distance[0] == 0.0
    assert np.isinf(nearest(d, x[:50], query, rivals=1).next_best[0])


def test_halves_add_up_and_cross_take_curves_run() -> None:
    x = voice(0.5)
    d = BankStates(SMALL, RATE)
    query = d.at(change(x, RATE, Change(noise_db=20.0)).samples, np.array([6000]))[0]
    curve = distance_curve(d, x, query)
    rows = np.concatenate(list(d.blocks(x))).astype(np.float64)
    backward = np.linalg.norm(rows[:, 24:] - query[24:], axis=1)
    got = curve.backward(slice(0, len(x)))
    assert got is not None
    # √(d² − d_fwd²) of float32 figures: where it is 0, √(2⁻²³) = 3e-4 of the whole is left.
    assert np.allclose(got, backward, atol=2e-3 * backward.max())
    assert curve.match == 6000
    assert distance_curve(d, x, query, exclude=(5990, 6011)).match not in range(5990, 6011)


def test_whitened_bank_beats_the_window_of_as_many_numbers() -> None:
    """On made voices, noise at 5 dB: the order that the study on recordings shows (docs/lab-search.md)."""
    pieces = [recall.Piece(voice(1.5, seed), f"made {seed}", "made", 0.0) for seed in range(4)]
    best = make("best", LabConfig(), cosine=True)
    window = WaveformWindow(257, RATE)
    legacy = make("legacy", LabConfig())
    changes = {"5 dB": Change(noise_db=5.0), "+6 dB": Change(gain_db=6.0)}
    study = recall.run(pieces, [best, window, legacy], RATE, conditions=changes, active=15, anywhere=0)
    share = {d.name: study.hits("active", d.name, "5 dB", "exact").mean() for d in (best, window, legacy)}
    assert len(study.hits("active", best.name, "5 dB", "exact")) == 60
    assert share[best.name] > share[window.name] + 0.1 > share[legacy.name]
    assert study.hits("active", best.name, "+6 dB", "exact").all()


# ---- figures ---------------------------------------------------------------------------------


def test_intervals_are_wilsons_and_verdicts_follow_whole_recordings() -> None:
    from scipy.stats import binomtest

    for hits, count in ((0, 30), (7, 30), (199, 200), (200, 200)):
        known = binomtest(hits, count).proportion_ci(method="wilson")
        # 1.96 is the quantile here, scipy's has all digits: 4e-6.
        assert recall.wilson(hits, count) == pytest.approx((known.low, known.high), abs=1e-4)
    piece_of = np.repeat(np.arange(20), 10).tolist()
    a = np.ones(200, bool)
    b = np.tile([True] * 8 + [False] * 2, 20)
    assert recall.verdict(a, b, piece_of) == "won"
    assert recall.verdict(b, a, piece_of) == "lost"
    one = a.copy()
    one[:10] = False  # all differences from a single recording: that is no win
    assert recall.verdict(a, one, piece_of) == "level"


def test_pieces_are_drawn_from_groups_and_lacks_are_named(tmp_path: Path) -> None:
    for k in range(3):
        sf.write(tmp_path / f"{k}.wav", voice(2.0, k), RATE)
    pieces = recall.gather(tmp_path, (), RATE, per_group=2, seconds=1.0, seed=1)
    assert len(pieces) == 2
    assert all(len(p.samples) == RATE for p in pieces)
    with pytest.raises(AudioError, match=r"no recording of at least 5 s"):
        recall.gather(tmp_path, (), RATE, per_group=2, seconds=5.0, seed=1)


# ---- smaller databases -----------------------------------------------------------------------


def test_int8_is_integers_and_within_half_a_step() -> None:
    rng = np.random.default_rng(2)
    rows = (rng.standard_normal((1000, 7)) * 10.0 ** np.arange(-3, 4) + np.arange(7)).astype(np.float32)
    rows[:, 6] = 5.0  # a channel without range
    code = Int8.over(rows.min(axis=0), rows.max(axis=0))
    assert {a.dtype for a in (code.multiplier, code.exponent, code.zero)} == {np.dtype(np.int32)}
    assert (code.multiplier >= 2**30).all()
    stored = code.encode(rows)
    assert stored.dtype == np.int8
    error = np.abs(code.decode(stored) - rows)
    assert error[:, 6].max() < 1e-5
    error = error[:, :6]
    assert (error <= 1.01 * code.scale[:6]).all()  # half a step, and another half where the zero point was rounded
    assert (error.mean(axis=0) < 0.3 * code.scale[:6]).all()


def test_int8_recall_is_that_of_float32() -> None:
    rows, _ = quantise(voice(2.0), 20_000, Change(noise_db=15.0), make("bank", LabConfig()), LabConfig(), queries=100)
    by = {r.form: r for r in rows}
    base = by["float32"]
    assert base.exact > 50
    assert base.bytes_per_row == 4 * by["int8 per channel"].bytes_per_row
    assert by["float16"].moved <= 1
    # One query of 100 may lie halfway between two rows.
    assert abs(by["int8 per channel"].exact - base.exact) <= 1
    assert 0.0 < by["int8 per channel"].landscape_difference < 0.02
    assert by["int8 per channel"].landscape_difference > by["float16"].landscape_difference
    d = StoredRows(WaveformWindow(65, RATE), "int8 global")
    assert np.unique(np.concatenate(list(d.blocks(voice(0.2))))).size <= 256


# ---- suites ----------------------------------------------------------------------------------


def test_every_row_of_both_suites_runs_and_can_fail() -> None:
    config = LabConfig()
    rows, _ = robustness(voice(1.0), 12_000, Change(noise_db=10.0), config, queries=6)
    suites = [r.suite for r in rows]
    assert suites.count("ESN") == len(ESN_ROWS) == 7
    assert suites.count("CSpace, legacy") == len(CSPACE_ROWS) == 6
    assert suites.count("baseline") >= 3
    radii = [r.achieved_radius for r in rows if r.suite == "ESN"]
    # The matrix is scaled to it and stored as float32: 2⁻²⁴ an entry, 4e-7 seen.
    assert all(r == 0.0 or r == pytest.approx(0.99, abs=1e-5) for r in radii)
    sparse = next(r for r in rows if "density 0.001" in r.name)
    assert ("nilpotent W" in sparse.words) == (sparse.achieved_radius == 0.0)
    assert any(r.exact < r.queries for r in rows)
    assert any(r.exact == r.queries for r in rows)


# ---- commands --------------------------------------------------------------------------------


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "voice.wav"
    sf.write(path, voice(1.0), RATE, subtype="FLOAT")
    return path


def run(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["lab", *map(str, args)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_search_command_finds_and_leaves_picture_and_json(clip: Path, tmp_path: Path) -> None:
    code, said, _ = run("search", clip, 12_000, "--noise-db", 25, "-r", tmp_path / "r")
    assert code == 0
    assert "match: sample 12000" in said
    data = json.loads((tmp_path / "r" / "search_voice_q12000.json").read_text())
    found = data["results"]
    assert found["match"] == 12_000
    assert found["error_samples"] == 0.0
    assert found["distance"] > 0.0
    assert found["sharpness"] > 0.0
    assert not found["circular"]
    assert (tmp_path / "r" / "search_voice_q12000.png").stat().st_size > 20_000


def test_search_across_takes_has_no_truth(clip: Path, tmp_path: Path) -> None:
    sf.write(tmp_path / "late.wav", np.concatenate([np.zeros(777, np.float32), 0.5 * voice(1.0)]), RATE)
    code, said, _ = run("search", clip, tmp_path / "late.wav", 12_000, "--cosine", "-r", tmp_path / "r")
    assert code == 0
    assert "match: sample 12777" in said
    assert "error" not in said


def test_the_same_samples_are_refused_or_marked(clip: Path, tmp_path: Path) -> None:
    code, _, err = run("search", clip, 12_000, "-r", tmp_path / "r")
    assert code == 2
    assert "distance 0 there says nothing" in err
    code, _, err = run("search", clip, 12_000, "--circular", "-r", tmp_path / "r")
    assert code == 0
    assert "circular" in err
    assert json.loads((tmp_path / "r" / "search_voice_q12000.json").read_text())["results"]["circular"] is True
    code, said, _ = run("search", clip, 12_000, "--exclude-ms", 2, "-r", tmp_path / "r", "--force")
    assert code == 0
    match = int(said.split("match: sample ")[1].split()[0])
    assert abs(match - 12_000) > 48


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["search", "CLIP", "99999", "--noise-db", "20"], "sample 99999 is out of range; 0 to 23999"),
        (["search", "CLIP", "x"], "INDEX is 'x'; give a sample number"),
        (["search", "none.wav", "5", "--noise-db", "20"], "none.wav: there is no such file"),
        (["search", "SILENT", "500", "--noise-db", "20"], "is silent"),
        (["search", "SHORT", "5", "--noise-db", "20"], "20 samples are too short; at least 64"),
        (["search", "CLIP", "500", "--noise-db", "999"], "noise_db is 999"),
        (["search", "CLIP", "500", "--exclude-ms", "5000"], "leaves nothing of 24000 samples"),
        (["search", "CLIP", "500", "--noise-db", "9", "-d", "waveform", "--length", "256"], "length is 256"),
        (["robustness", "SHORT", "5"], "20 samples are too short; at least 4096"),
        (["robustness", "SILENT", "500"], "is silent"),
        (["robustness", "CLIP", "24000"], "sample 24000 is out of range; 0 to 23999"),
        (["robustness", "CLIP", "500", "--only", "nothing"], "names none of these: ESN: 64 nodes"),
        (["quantize", "SILENT", "500"], "is silent"),
        (["quantize", "SHORT", "5"], "20 samples are too short; at least 4096"),
        (["quantize", "CLIP", "10"], "sample 10 is out of range; 60 to 23939"),
        (["recall", "EMPTY", "--set", "all"], "no audio files"),
        (["recall", "CLIP", "--set", "all", "--only", "nothing"], "names none of these: CSpace best"),
    ],
)
def test_bad_requests_are_one_line(clip: Path, tmp_path: Path, args: list[str], message: str) -> None:
    sf.write(tmp_path / "silent.wav", np.zeros(9000), RATE)
    sf.write(tmp_path / "short.wav", np.ones(20) * 0.5, RATE)
    (tmp_path / "empty").mkdir()
    made = {n.upper(): tmp_path / n for n in ("silent.wav", "short.wav", "empty")}
    names = {"CLIP": clip} | {n.partition(".")[0]: p for n, p in made.items()}
    code, _, err = run(*[names.get(a, a) for a in args], "-r", tmp_path / "r")
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "r").exists()


def test_stereo_at_another_rate_with_nan_is_converted_as_said(tmp_path: Path) -> None:
    x = np.stack([voice(1.0), voice(1.0)], axis=1)
    x[50, 1] = np.nan
    sf.write(tmp_path / "s.wav", x, 48_000, subtype="FLOAT")
    code, _, err = run("search", tmp_path / "s.wav", 6000, "--noise-db", 30, "-r", tmp_path / "r")
    assert code == 0
    for words in ("resampled from 48000 to 24000 Hz", "2 channels averaged to one", "1 NaN or Inf samples set to 0"):
        assert words in err


def test_recall_and_quantize_commands_write_their_section(clip: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- recall-all:begin -->\nold\n<!-- recall-all:end -->\nafter\n")
    code, said, _ = run(
        "recall", tmp_path, "--set", "all", "--per-group", 1, "--piece-s", 1, "--active", 3, "--anywhere", 1,
        "--only", "best,waveform 257,legacy", "--markdown", page, "-r", tmp_path / "r",
    )  # fmt: skip
    assert code == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| CSpace best, cosine | 256 |" in text
    assert "won, level or lost" in said
    rows = json.loads((tmp_path / "r" / "recall_all.json").read_text())["results"]["rows"]
    assert {r["queries"] for r in rows if r["places"] == "active"} == {3}
    with pytest.raises(FileError, match="has no section"):
        put_section(page, "other", "x")
    code, said, _ = run("quantize", clip, 12_000, "--queries", 20, "-r", tmp_path / "r")
    assert code == 0
    assert "int8 per channel" in said
    assert (tmp_path / "r" / "quantize_voice_q12000.png").exists()
