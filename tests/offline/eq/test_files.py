"""`cspace eq`: files heard, told and filtered; odd files are named or left alone; nothing is scaled unasked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile as sf
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.eq import musictest, plots, study
from cspace.offline.eq.loudness import loudness_lufs
from cspace.offline.eq.signals import ensemble, pink_noise
from cspace.plugins._adaptive import model as models
from cspace.plugins._adaptive.curve import NAMES, response_db

RATE = 24_000
PIECE = np.stack([ensemble(4.0, RATE, 5), ensemble(4.0, RATE, 6)], axis=1)


def run(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["eq", *map(str, args)])
    assert result.exit_code == code, result.output + result.stderr
    assert "Traceback" not in result.stderr
    return " ".join((result.output + result.stderr).split())


@pytest.fixture
def song(tmp_path: Path) -> Path:
    sf.write(tmp_path / "song.wav", PIECE, RATE, subtype="FLOAT")
    return tmp_path / "song.wav"


def saved(folder: Path, pattern: str) -> tuple[np.ndarray, int]:
    (file,) = folder.glob(pattern)
    x, rate = sf.read(file, dtype="float32", always_2d=True)
    return x, rate


# ---- apply -----------------------------------------------------------------------------------


def test_apply_filters_by_the_setting_it_reports(song: Path, tmp_path: Path) -> None:
    text = run("apply", song, "-w", "warm", "-i", 0.7, "-o", tmp_path / "o", "--json", tmp_path / "o.json")
    assert "gated, intensity +0.70" in text
    y, rate = saved(tmp_path / "o", "song.warm.+0.70.wav")
    assert (rate, y.shape) == (RATE, PIECE.shape)
    (row,) = json.loads((tmp_path / "o.json").read_text())
    setting = np.array([row["setting"][n] for n in NAMES])
    freqs, a = scipy.signal.welch(PIECE[:, 0], RATE, nperseg=4096)
    _, b = scipy.signal.welch(y[:, 0], RATE, nperseg=4096)
    heard = (freqs > 60) & (freqs < 8_000) & (a > 1e-6 * a.max())
    # Welch spectra, through windows: leakage at steep places, 0.04 dB seen.
    np.testing.assert_allclose(10 * np.log10(b / a)[heard], response_db(setting, freqs[heard], RATE), atol=0.75)
    assert row["output_gain_db"] == 0.0, "levels are not touched unless asked for"


def test_intensity_0_is_the_file_bit_for_bit(song: Path, tmp_path: Path) -> None:
    for mode in ("gated", "residual", "static"):
        run("apply", song, "-w", "bright", "-i", 0, "--mode", mode, "-o", tmp_path / mode)
        y, _ = saved(tmp_path / mode, "*.wav")
        np.testing.assert_array_equal(y, PIECE)


def test_what_is_louder_than_full_scale_is_kept_and_said(tmp_path: Path) -> None:
    sf.write(tmp_path / "loud.wav", 30 * PIECE, RATE, subtype="FLOAT")
    text = run("apply", tmp_path / "loud.wav", "-w", "bright", "-i", 1, "-o", tmp_path / "o")
    y, _ = saved(tmp_path / "o", "*.wav")
    assert np.abs(y).max() > 1.0
    assert "is above full scale" in text


def test_a_folder_and_an_intensity_that_the_sound_suggests(tmp_path: Path) -> None:
    (tmp_path / "album" / "disc").mkdir(parents=True)
    for i, name in enumerate(("a.wav", "disc/b.wav")):
        sf.write(tmp_path / "album" / name, ensemble(3.0, RATE, 20 + i), RATE)
    (tmp_path / "album" / "notes.txt").write_text("no sound")
    run("apply", tmp_path / "album", "-w", "warm:0.6 + bright:0.4", "-o", tmp_path / "o", "--json", tmp_path / "j")
    rows = json.loads((tmp_path / "j").read_text())
    assert [r["input"] for r in rows] == ["a.wav", "b.wav"]
    assert all(0.3 <= r["intensity"] <= 1.0 for r in rows)
    assert len(list((tmp_path / "o").glob("*.warm-0.6-bright-0.4.*.wav"))) == 2


def test_residual_with_the_dry_beside(tmp_path: Path) -> None:
    model = models.default()
    dry = np.stack([pink_noise(4.0, RATE, i) for i in (1, 2)], axis=1)
    from cspace.offline.eq.evaluate import filtered

    wet = filtered(np.ascontiguousarray(dry.T), model.decode(model.words["warm"].z), RATE).T
    sf.write(tmp_path / "dry.wav", dry, RATE, subtype="FLOAT")
    sf.write(tmp_path / "wet.wav", wet, RATE, subtype="FLOAT")
    args = ("-w", "warm", "-i", 1, "--mode", "residual", "--reference", tmp_path / "dry.wav")
    run("apply", tmp_path / "wet.wav", *args, "-o", tmp_path / "o", "--json", tmp_path / "j")
    (row,) = json.loads((tmp_path / "j").read_text())
    assert row["mode"] == "residual"
    setting = np.array([row["setting"][n] for n in NAMES])
    left = response_db(setting, np.geomspace(50, 9_000, 50), RATE)
    assert np.abs(left - left.mean()).mean() < 0.5, "it is warm already: little is left to do"
    assert "goes with one file" in run("apply", tmp_path, *args, "-o", tmp_path / "o", code=2)


# ---- odd files -------------------------------------------------------------------------------


def test_silence(tmp_path: Path) -> None:
    sf.write(tmp_path / "s.wav", np.zeros((RATE, 2)), RATE)
    assert "the file is silent: it stays as it is" in run("apply", tmp_path / "s.wav", "-w", "warm", "-o", tmp_path)
    assert not saved(tmp_path, "s.warm*.wav")[0].any()
    assert "is silent (nothing above -70 dB)" in run("analyze", tmp_path / "s.wav", code=2)


def test_too_short(tmp_path: Path) -> None:
    sf.write(tmp_path / "s.wav", PIECE[: RATE // 5], RATE)
    text = run("apply", tmp_path / "s.wav", "-w", "warm", "-i", 1, "-o", tmp_path / "o")
    assert "0.20 s are too short to judge: the word is applied unheard (static)" in text
    assert len(saved(tmp_path / "o", "*.wav")[0]) == RATE // 5
    assert "0.20 s are too short to judge; at least 0.5 s" in run("analyze", tmp_path / "s.wav", code=2)
    sf.write(tmp_path / "e.wav", PIECE[:0], RATE)
    assert "e.wav: has no samples" in run("analyze", tmp_path / "e.wav", code=2)


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (192_000, 2), (48_000, 6)])
def test_any_rate_and_channel_count(rate: int, channels: int, tmp_path: Path) -> None:
    one = pink_noise(3.0, rate, 3)
    sf.write(tmp_path / "n.wav", np.stack([one] * channels, axis=1), rate, subtype="FLOAT")
    run("apply", tmp_path / "n.wav", "-w", "warm", "-i", 1, "-o", tmp_path / "o")
    y, got = saved(tmp_path / "o", "*.wav")
    assert (got, y.shape) == (rate, (3 * rate, channels))
    found = [tmp_path / "j0", tmp_path / "j1"]
    run("analyze", tmp_path / "n.wav", "--json", found[0])
    run("analyze", *(tmp_path / "o").iterdir(), "--json", found[1])
    before, after = (json.loads(f.read_text())[0] for f in found)
    assert abs(before["tilt_db_per_octave"]) < 0.5
    assert after["tilt_db_per_octave"] < before["tilt_db_per_octave"] - 0.2
    assert after["profile"]["warm"] > before["profile"]["warm"]
    assert before["carried_setting"] is not None, "noise can be told"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("apply", "song.wav", "-w", "wram"), "did you mean 'warm'"),
        (("apply", "song.wav", "-w", "warm", "-i", "3"), "intensity 3 is not allowed, use -1 to 1"),
        (("apply", "song.wav", "-w", "warm", "--mode", "loud"), "mode 'loud' is not allowed"),
        (("apply", "none.wav", "-w", "warm"), "none.wav"),
        (("analyze", "song.wav", "--model", "."), "model.json: there is no such file"),
        (("analyze", "song.wav", "--window", "0.1"), "window 0.1 s and hop 1 s are not allowed"),
        (("analyze", "text.wav"), "text.wav"),
    ],
)
def test_what_is_wrong_is_named(song: Path, args: tuple[str, ...], reason: str, monkeypatch: Any) -> None:
    (song.parent / "text.wav").write_text("no sound")
    monkeypatch.chdir(song.parent)
    assert reason in run(*args, code=2)
    assert not (song.parent / "processed").exists(), "nothing half done"


def test_an_empty_blend_changes_nothing(song: Path, tmp_path: Path) -> None:
    run("apply", song, "-w", " ", "-o", tmp_path / "o")
    np.testing.assert_array_equal(saved(tmp_path / "o", "*.flat.*.wav")[0], PIECE)


def test_the_input_is_never_written_over(song: Path, tmp_path: Path) -> None:
    (tmp_path / "song.warm.+0.50.wav").symlink_to(song)
    before = song.read_bytes()
    assert "is the input" in run("apply", song, "-w", "warm", "-i", 0.5, "-o", tmp_path, code=2)
    assert song.read_bytes() == before


# ---- telling ---------------------------------------------------------------------------------


def test_analysis_over_time_follows_the_sound(tmp_path: Path) -> None:
    noise = pink_noise(4.0, RATE, 9)
    dark = scipy.signal.lfilter([0.1], [1, -0.9], noise).astype(np.float32)
    sf.write(tmp_path / "x.wav", np.concatenate([noise, np.zeros(4 * RATE, np.float32), dark]), RATE, subtype="FLOAT")
    text = run("analyze", tmp_path / "x.wav", "--window", 2, "--json", tmp_path / "j")
    assert "tilt" in text
    rows = json.loads((tmp_path / "j").read_text())[0]["over_time"]
    assert [r["start_s"] for r in rows] == list(range(11))
    tilts = [r["tilt_db_per_octave"] for r in rows]
    assert abs(tilts[1]) < 0.5
    assert tilts[5] is None, "silence has no profile"
    assert tilts[10] < -1.0
    assert rows[10]["profile"]["dark"] > rows[1]["profile"]["dark"]


def test_compare_matches_loudness_and_draws_what_was_done(song: Path, tmp_path: Path) -> None:
    run("compare", song, "-w", "thin", "-i", 1, "--mode", "static", "-o", tmp_path / "c")
    a, b = (saved(tmp_path / "c", f"*.{x}.wav")[0] for x in "AB")
    np.testing.assert_array_equal(a, PIECE)
    assert abs(loudness_lufs(a.T, RATE) - loudness_lufs(b.T, RATE)) < 0.1
    (picture,) = (tmp_path / "c").glob("*.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    (report,) = (tmp_path / "c").glob("*.json")
    found = json.loads(report.read_text())
    assert abs(found["lufs"][0] - found["lufs"][1]) < 0.1


def test_profiles_are_drawn(song: Path, tmp_path: Path) -> None:
    run("profile", song, "-o", tmp_path / "p.png")
    run("profile", song, "-o", tmp_path / "t.png", "--window", 1, "--word", "warm")
    assert (tmp_path / "p.png").read_bytes()[:4] == (tmp_path / "t.png").read_bytes()[:4] == b"\x89PNG"
    assert "takes one file, not 2" in run("profile", song, song, "-o", tmp_path / "u.png", "--window", 1, code=2)


def test_words_are_listed_with_their_counts() -> None:
    text = run("words")
    assert "warm" in text
    assert "leans on its family" in text


def test_drawn_curves_are_the_true_response() -> None:
    model = models.default()
    figure = plots.word_curves(model, ["warm"])
    line = figure.axes[0].lines[0]
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    # The same numbers, through a file with all digits.
    np.testing.assert_allclose(y, response_db(model.decode(model.words["warm"].z), x), atol=1e-9)


def test_the_music_test_needs_the_table_of_its_model(tmp_path: Path) -> None:
    from cspace.plugins._errors import ParameterError

    with pytest.raises(ParameterError, match="is not the table that the model was trained with"):
        musictest.run(models.default(), "synthetic", tmp_path, 3, 2.0, 1)


def test_long_files_are_heard_in_bounded_pieces(tmp_path: Path) -> None:
    rate = 8_000
    with sf.SoundFile(tmp_path / "long.wav", "w", rate, 1, subtype="FLOAT") as f:
        for i in range(20):
            f.write(pink_noise(30.0, rate, i))
    heard = study.listen(tmp_path / "long.wav", 48)
    assert heard.seconds == 600.0
    assert heard.powers.shape[1] == 48
    assert abs(heard.sound().tilt_db_per_octave()) < 0.1  # type: ignore[union-attr]


# VmHWM, not ru_maxrss: that starts at the size of the process that forked.
WORK = "import sys; from pathlib import Path; from typer.testing import CliRunner; from cspace.cli import app; "
WORK += "done = CliRunner().invoke(app, ['eq', *sys.argv[1:]]); assert done.exit_code == 0, done.output; "
WORK += "print([w.split()[1] for w in Path('/proc/self/status').read_text().split('\\n') if w.startswith('VmHWM')][0])"


@pytest.mark.heavy
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "args", [("analyze", "--window", "3"), ("apply", "-w", "warm", "-o", "OUT"), ("compare", "-w", "warm", "-o", "OUT")]
)
def test_twenty_minutes_stay_under_a_quarter_gibibyte(tmp_path: Path, args: tuple[str, ...]) -> None:
    with sf.SoundFile(tmp_path / "long.wav", "w", 48_000, 2) as f:
        for i in range(40):
            f.write(np.stack([pink_noise(30.0, 48_000, 2 * i + c) for c in (0, 1)], axis=1))
    words = [args[0], str(tmp_path / "long.wav"), *(str(tmp_path / "o") if a == "OUT" else a for a in args[1:])]
    run = subprocess.run([sys.executable, "-c", WORK, *words], capture_output=True, text=True, check=True)
    peak = int(run.stdout.split()[-1]) // 1024
    print(f"{args[0]}: {peak} MiB")
    assert peak < 256
