"""`cspace lab landscape`: true gradients, basins above a floor, and verdicts that can go either way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.bank import BankSpec
from cspace.offline.config import LabConfig
from cspace.offline.lab import landscape as ls
from cspace.offline.lab import landscape_tune as tune
from cspace.offline.lab.drift import made_sound
from cspace.offline.lab.landscape_criteria import Magnitudes, States, WeightedWaveform, rivals, weights
from cspace.offline.lab.landscape_study import Asked, study, verdict
from cspace.offline.transform import CSpace
from cspace.plugins import AudioError, ParameterError

RATE = 24_000
WINDOW = 2048


def segment(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    n = WINDOW + 2 * ls.MARGIN
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum /= 1 + np.arange(len(spectrum)) / 60
    x = np.fft.irfft(spectrum, n)
    return x / np.max(np.abs(x))


def test_whole_shifts_are_slices_and_fractions_are_band_limited() -> None:
    x = segment()
    shifts = torch.tensor([0.0, 1.0, -7.0, 512.0, -512.0], dtype=torch.float64)
    got = ls.shifted(torch.from_numpy(x), shifts, WINDOW).numpy()
    for row, s in zip(got, (0, 1, -7, 512, -512), strict=True):
        assert np.max(np.abs(row - x[ls.MARGIN + s : ls.MARGIN + s + WINDOW])) < 1e-9
    # A sine moved by a fraction is the sine at that phase, to what the taper's distance leaves.
    t = np.arange(len(x)) - ls.MARGIN
    tone = np.sin(0.3 * t)
    moved = ls.shifted(torch.from_numpy(tone), torch.tensor([100.37], dtype=torch.float64), WINDOW).numpy()[0]
    assert np.max(np.abs(moved - np.sin(0.3 * (np.arange(WINDOW) + 100.37)))) < 1e-6


@pytest.mark.parametrize("tilt", [0.0, 2.0])
@pytest.mark.parametrize("spec", [BankSpec(oscillators=9, q=20.0, low_hz=10.0), BankSpec.original()])
def test_the_quadratic_form_is_the_transform(spec: BankSpec, tilt: float) -> None:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 400)))
    w = torch.from_numpy(np.tile(weights(spec, RATE, tilt), 4))[:, None]
    expected = (CSpace(spec, RATE, path="recursion")(x).square() * w).sum((1, 2))
    got = States("s", "", spec, RATE, 400, tilt).energy(x)
    # float64 throughout, as all of this file that says 1e-6 or less: sums of some 1000 products, 1e-13.
    assert torch.allclose(got, expected, rtol=1e-9)


def test_state_distance_is_a_waveform_distance_through_one_filter() -> None:
    # Parseval, for a difference that has rung out within the window.
    spec, n = BankSpec(oscillators=16, q=2.0, low_hz=200.0), WINDOW
    e = torch.zeros(1, n, dtype=torch.float64)
    e[0, 900:1100] = torch.from_numpy(np.random.default_rng(1).standard_normal(200))
    states = States("s", "", spec, RATE, n, tilt=1.0)
    filtered = WeightedWaveform("w", "", spec, RATE, n, tilt=1.0)
    by_states = states.energy(e)[0]
    by_filter = filtered.features(e)[0].square().sum()
    assert float(by_states / by_filter) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("k", range(8))
def test_slopes_are_those_of_finite_differences(k: int) -> None:
    bank = BankSpec(oscillators=12)
    criterion = [
        States("s", "", bank, RATE, WINDOW, 2.0),
        WeightedWaveform("w", "", bank, RATE, WINDOW, 1.0),
        Magnitudes("m", "", bank, RATE, dtype=torch.float64),
        *rivals(RATE),
    ][k]
    x = segment()
    copy = ls.changed_copy(ls.Place(Path("x"), 0, x), WINDOW, 20.0, np.random.default_rng(0))
    step = 1e-6  # a longer one would straddle kinks of the L1 criteria
    at = np.array([-3.3, 0.7, 41.2])
    _, slope = ls.curve(criterion, copy, x, at, WINDOW)
    ahead, behind = (ls.curve(criterion, copy, x, at + s, WINDOW)[0] for s in (step, -step))
    # The third derivative times step², not rounding: 6e-5 seen.
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=2e-3)


def test_figures_of_a_known_landscape() -> None:
    d = ls.grid()
    s = ls.both_ways(d)
    assert s[len(d)] == 0
    assert np.all(np.diff(s) > 0)
    # Half a period of a cosine bowl is 40 samples: the direction is right up to there and wrong past it.
    slopes = np.tile(np.sin(np.pi * s / 40.0), (5, 1))
    slopes[:, np.abs(s) == 40.0] = -1.0
    direction = ls.direction_figures(slopes, d)
    assert direction["reach_samples"] == 38.0
    assert direction["first_failure_median"] == 40.0
    # A parabola that levels off at 10: floor 1, half way up at 5.5, where |s| = 21.2.
    basin = ls.basin_figures(1.0 + np.minimum(9.0, 0.01 * s**2)[None], d)
    assert basin["floor"][0] == 1.0
    assert basin["far"][0] == pytest.approx(10.0)
    assert basin["width_median"] == pytest.approx(2 * np.sqrt(450.0), rel=0.01)
    # Flat, or upside down: no basin.
    assert ls.basin_figures(5.0 - np.minimum(4.0, 0.01 * s**2)[None], d)["width_median"] == 0.0
    # One wrong side in twenty is enough for 95 %, two are not.
    some = np.tile(s, (20, 1))
    some[0, s > 0] *= -1
    some[1, s < 0] *= -1
    assert ls.direction_figures(some, d)["reach_samples"] == d[-1]
    some[2, s < 0] *= -1
    # Wrong at 2 samples only: past 4 nothing is.
    near = np.where(np.abs(s) == 2.0, -s, s)[None]
    only_near = ls.direction_figures(near, d)
    assert only_near["first_failure_median"] == 2.0
    assert only_near["first_failure_past_4_median"] == d[-1]
    assert only_near["share_by_range"][1:] == [1.0] * 4
    assert 0.5 < only_near["share_by_range"][0] < 1.0
    assert ls.direction_figures(some, d)["reach_samples"] == 0.0


def test_a_sine_points_home_for_half_a_period() -> None:
    # Theory: phase terms have a basin of half a period each side, whatever the bank.
    t = np.arange(WINDOW + 2 * ls.MARGIN)
    tone = np.sin(2 * np.pi * t / 100.0)
    d = np.arange(1.0, 100.0)
    for criterion in (rivals(RATE)[-1], States("s", "", BankSpec(oscillators=16), RATE, WINDOW)):
        slopes = ls.curve(criterion, tone, tone, ls.both_ways(d), WINDOW)[1][None]
        # Counted on a grid of places, some samples apart.
        assert ls.direction_figures(slopes, d)["first_failure_median"] == pytest.approx(50, abs=4)


def test_tuning_by_filters_gives_the_slopes_of_the_criterion() -> None:
    bank = BankSpec(oscillators=8)
    tried = tune.settings(bank, magnitudes=False)[::9]
    places = [ls.Place(Path("x"), 0, segment(seed)) for seed in (0, 1)]
    copies = [ls.changed_copy(p, WINDOW, 20.0, np.random.default_rng(0)) for p in places]
    d = np.array([0.5, 7.0, 33.0])
    got = tune._through_filters(tried, places, copies, d, RATE, WINDOW)
    for k, setting in enumerate(tried):
        spec = BankSpec.model_validate(setting["spec"])
        criterion = WeightedWaveform("w", "", spec, RATE, WINDOW, setting["tilt"])
        losses, slopes = ls.curve(criterion, copies[1], places[1].segment, ls.both_ways(d), WINDOW)
        # The criterion is the root of the mean: d(loss²)/ds = 2 loss · slope, up to the sum's scale.
        ratio = got[k, 1] / (2 * losses * slopes)
        assert ratio == pytest.approx(np.full(6 + 1, ratio[0]), rel=1e-6)
        assert ratio[0] > 0


def test_verdicts_go_either_way() -> None:
    rng = np.random.default_rng(0)
    a = rng.uniform(0, 100, 60)
    assert verdict(a + 5, a, 0)["verdict"] == "won"
    assert verdict(a, a + 5, 0)["verdict"] == "lost"
    assert verdict(a, a + rng.standard_normal(60), 0)["verdict"] == "level"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    sf.write(path, np.concatenate(list(made_sound(30.0, RATE, 3))), RATE, subtype="FLOAT")
    return path


def test_places_are_loud_seeded_and_apart(clip: Path) -> None:
    places = ls.find_places([clip], 20, WINDOW, RATE, 1)
    x = sf.read(clip)[0]
    starts = sorted(p.start for p in places)
    assert np.min(np.diff(starts)) >= WINDOW
    for p in places:
        part = x[p.start - ls.MARGIN : p.start + WINDOW + ls.MARGIN]
        assert np.allclose(p.segment, part / np.max(np.abs(part)))
        assert np.sqrt(np.mean(x[p.start : p.start + WINDOW] ** 2)) > 0.03
    assert starts == sorted(p.start for p in ls.find_places([clip], 20, WINDOW, RATE, 1))
    assert starts != sorted(p.start for p in ls.find_places([clip], 20, WINDOW, RATE, 2))
    with pytest.raises(AudioError, match="positions found of 9999: each needs 6144 samples"):
        ls.find_places([clip], 9999, WINDOW, RATE, 1)


def test_noise_stays_within_the_recordings_band() -> None:
    place = ls.Place(Path("x"), 0, segment(), band=0.5)
    noise = ls.changed_copy(place, WINDOW, 20.0, np.random.default_rng(0)) - place.segment
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    assert spectrum[len(spectrum) // 2 + 1 :].sum() < 1e-20 * spectrum.sum()
    level = np.mean(place.segment[ls.MARGIN : ls.MARGIN + WINDOW] ** 2) / np.mean(noise**2)
    assert 10 * np.log10(level) == pytest.approx(20.0, abs=0.01)


def test_study_and_command(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text("[bank]\noscillators = 8\n")
    args = ["landscape", str(clip), "--positions", "3", "--tuning", "2", "--no-magnitudes", "--window", "2048",
            "--page", str(tmp_path / "page.md")]  # fmt: skip
    result = CliRunner().invoke(app, ["lab", *args, "-c", str(tmp_path / "lab.toml"), "-r", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    data = json.loads((tmp_path / "landscape_clip.json").read_text())["results"]
    assert len(data["positions"]) == 3
    assert not {p["start"] for p in data["positions"]} & {p["start"] for p in data["tuning_positions"]}
    rows = data["criteria"]
    spectral = {"multi_scale", "multi_resolution", "log_mel"}
    assert spectral | {"cspace", "cspace_states", "cspace_legacy", "waveform"} <= set(rows)
    for row in rows.values():
        assert min(row["floor"]) > 0  # a changed copy: nothing is 0
        assert len(row["width_samples"]) == len(row["first_failure_samples"]) == 3
    assert "held-out positions" in result.stdout
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("<!-- landscape:begin -->\n3 held-out positions, 2048 samples")
    assert page.count("| log-mel") == 3
    assert (tmp_path / "landscape_clip.png").stat().st_size > 20_000


@pytest.mark.parametrize(
    ("x", "extra", "message"),
    [
        (np.zeros(200_000), [], "0 positions found of 70"),
        (np.ones(3000), [], "0 positions found of 70: each needs 8192 samples"),
        (np.zeros(0), [], "0 positions found"),
        (np.ones(200_000), ["--positions", "1"], "positions is 1; 2 to 5000"),
        (np.ones(200_000), ["--window", "100"], "window is 100; 2048 to"),
        (np.ones(200_000), ["--window", "2049"], "window is 2049; an even number"),
        (np.ones(200_000), ["--noise-db", "500"], "noise_db is 500"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, x: np.ndarray, extra: list[str], message: str) -> None:
    sf.write(tmp_path / "x.wav", x, RATE, subtype="FLOAT")
    result = CliRunner().invoke(app, ["lab", "landscape", str(tmp_path / "x.wav"), *extra, "-r", str(tmp_path / "o")])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "o").exists()


def test_other_rates_stereo_and_nan_are_taken_and_said(tmp_path: Path) -> None:
    x = np.concatenate(list(made_sound(4.0, RATE, 3)))
    x = np.stack([x, x], axis=1)
    x[77] = np.nan
    sf.write(tmp_path / "x.wav", x, 44_100, subtype="FLOAT")
    places = ["--positions", "2", "--tuning", "0", "--window", "2048"]
    result = CliRunner().invoke(app, ["lab", "landscape", str(tmp_path / "x.wav"), *places, "-r", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    for words in ("resampled from 44100 to 24000", "2 channels averaged to one", "2 NaN or Inf samples set to 0"):
        assert f"1 file {words}" in result.stderr


def test_asked_is_checked() -> None:
    with pytest.raises(ParameterError, match="tuning is -1"):
        study(Asked([Path("x")], tuning=-1), LabConfig())


# As in test_states_studies.py: the largest resident set of a process of its own, in MB.
MEMORY = """
import sys
from cspace.cli import app
app(sys.argv[1:], standalone_mode=False)
high = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("MB", int(high.split()[1]) / 1024)
"""


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_twenty_minutes_stay_below_a_gibibyte(clip: Path, tmp_path: Path) -> None:
    tile = sf.read(clip, dtype="float32")[0]
    with sf.SoundFile(tmp_path / "long.wav", "w", RATE, 1, "PCM_16") as file:
        for _ in range(40):
            file.write(tile)
    # With the tuning and its magnitudes, the greatest consumers.
    argv = ["landscape", str(tmp_path / "long.wav"), "--positions", "2", "--tuning", "2", "-r", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", MEMORY, "lab", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    used = float(done.stdout.split("MB")[-1])
    print(f"landscape: {used:.0f} MB")
    # Of this, torch and the libraries take 700 to 850 MiB, by version.
    assert used < 1024
