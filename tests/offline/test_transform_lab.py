"""`cspace lab agreement`, `lookahead` and `losses`: figures that follow from the sound, and bad input named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.bank import BankSpec, bidirectional_states
from cspace.offline.lab import lookahead
from cspace.offline.lab.loss_terms import changes, own
from cspace.offline.lab.transform_sounds import Sound, listen, names
from cspace.plugins import ParameterError
from cspace.realtime.clip import clip

RATE = 8_000
SMALL = f"sample_rate = {RATE}\n[bank]\noscillators = 8\nlow_hz = 100.0\n"


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    (tmp_path / "lab.toml").write_text(SMALL)
    # Stereo at another rate: converted, and said so.
    sf.write(tmp_path / "song.wav", clip(2.0, 16_000).T, 16_000, subtype="FLOAT")

    def run(command: str, *args: object) -> tuple[Any, Path]:
        common = ["-c", str(tmp_path / "lab.toml"), "-r", str(tmp_path / "out")]
        return CliRunner().invoke(app, ["lab", command, *map(str, args), *common]), tmp_path

    return run


def written(folder: Path, name: str) -> dict[str, Any]:
    assert (folder / "out" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    found: dict[str, Any] = json.loads((folder / "out" / f"{name}.json").read_text())
    return found


def test_agreement(lab: Any, tmp_path: Path) -> None:
    result, folder = lab("agreement", tmp_path / "song.wav", "--seconds", 0.5)
    assert result.exit_code == 0, result.output
    assert "resampled from 16000 to 8000 Hz" in result.stderr
    assert "2 channels averaged to one" in result.stderr
    found = written(folder, "agreement")["results"]
    assert found["reached"]
    assert found["worst"] <= 1e-4
    assert {r["sound"] for r in found["rows"]} == {"song", "noise (made)", "impulses (made)"}
    assert {r["bank"] for r in found["rows"]} == {"Q 8, 8", "legacy, 64"}


def test_agreement_takes_any_length_in_pieces(lab: Any, tmp_path: Path) -> None:
    x = clip(2.0, RATE)[0]
    sf.write(tmp_path / "long.wav", np.concatenate([x, 0 * x, 0.1 * x]), RATE, subtype="FLOAT")
    result, folder = lab("agreement", tmp_path / "long.wav", "--seconds", 60)
    assert result.exit_code == 0, result.output
    rows = [r for r in written(folder, "agreement")["results"]["rows"] if r["sound"] == "long"]
    assert [(r["pieces"], r["samples"]) for r in rows] == [(6, 48_000)] * 2


def test_agreement_can_fail(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cspace.offline.lab import agreement

    wrong = lambda x, spec, rate: bidirectional_states(x, spec, rate * 1.001)  # noqa: E731
    monkeypatch.setattr(agreement, "bidirectional_states", wrong)
    result, _ = lab("agreement", tmp_path / "song.wav", "--seconds", 0.5)
    assert result.exit_code == 1
    assert "above the target of 1e-04" in result.output


def test_lookahead_reference_is_the_whole_backward_half() -> None:
    x = clip(2.0, RATE)[0]
    spec = BankSpec(oscillators=6, low_hz=60.0)
    parts = dict(lookahead.backward(x, spec, RATE))
    got = np.concatenate([parts[at] for at in sorted(parts)])
    # Two float32 runs of the bank that begin elsewhere: 2⁻²⁴ of states below 1 and what a memory of 500 steps keeps
    # of it.
    np.testing.assert_allclose(got, bidirectional_states(x, spec, RATE)[:, 12:], atol=1e-6)


def test_a_steady_tone_meets_the_theory() -> None:
    t = np.arange(4 * RATE) / RATE
    spec = BankSpec(oscillators=1, low_hz=200.0, q=20.0)
    rows = lookahead.measure(Sound("tone", np.sin(2 * np.pi * 200 * t).astype(np.float32)), spec, RATE)
    decay = np.pi * 200 / (20 * RATE)
    for row in rows:
        theory = -20 * np.log10(np.e) * decay * (round(row["window_ms"] * RATE / 1000) + 1)
        # float64 formulas of up to some 1000 dB.
        assert row["theory_db"] == pytest.approx(theory, abs=1e-6)
        if theory > -60:
            # The tone begins and ends, which the theory does not know.
            assert row["backward_db"] == pytest.approx(theory, abs=0.5)


def test_lookahead_command(lab: Any, tmp_path: Path) -> None:
    result, folder = lab("lookahead", tmp_path / "song.wav", "--seconds", 1)
    assert result.exit_code == 0, result.output
    rows = written(folder, "lookahead")["results"]["rows"]
    assert [r["bank"] for r in rows] == ["Q 8, 8", "legacy, 64", "Q 32, 64"]
    for row in rows:
        levels = [w["backward_db"] for w in row["windows"]]
        assert levels == sorted(levels, reverse=True)


def test_losses_command(lab: Any, tmp_path: Path) -> None:
    result, folder = lab(
        "losses", tmp_path / "song.wav", "-l", "v1", "-l", "cspace_ratio", "-l", "waveform", "--seconds", 1.2
    )
    assert result.exit_code == 0, result.output
    document = written(folder, "losses_song")
    found = document["results"]
    assert found["segments"] == 2
    assert any("the last 1600 samples do not fill a segment" in n for n in document["notes"])
    rows = {(r["loss"], r["change"], r["term"]): r for r in found["rows"]}
    gain = rows["cspace_ratio", "gain -6 dB", "states"]
    # The states of half the sound are half the states but for float32: 1e-6; 0.01 dB is 1e-3.
    assert gain["value"] == pytest.approx(20 * np.log10(1 - 10 ** (-6 / 20)), abs=0.01)
    v1 = [r for (loss, change, _), r in rows.items() if loss == "v1" and change == "delay 1 sample"]
    assert sum(r["value_share"] for r in v1) == pytest.approx(1.0)
    assert sum(r["gradient_share"] for r in v1) == pytest.approx(1.0)
    assert len(v1) == 6


@pytest.mark.parametrize("delay", [0, 1, -3, 900, -900])
def test_changed_copies_are_what_they_say(tmp_path: Path, delay: int) -> None:
    x = 0.5 * clip(1.2, RATE)[0] / np.abs(clip(1.2, RATE)[0]).max()
    sf.write(tmp_path / "x.wav", x, RATE, subtype="FLOAT")
    sound = listen(tmp_path / "x.wav", RATE, 60.0)
    assert (sound.frames, sound.peak) == (9600, pytest.approx(0.5))
    reach, copies = abs(delay), changes(sound, noise_db=20.0, gain_db=6.0, delay_samples=delay, seed=1)
    windows = list(sound.windows(1000, reach))
    assert len(windows) == 9
    x = 2 * x[:9000]
    assert np.allclose(np.concatenate([own(w, reach) for w in windows]), x)
    noise, gain, delayed = (
        np.concatenate([make(w, reach, i) for i, w in enumerate(windows)]) for make in copies.values()
    )
    # Statistics: 9000 samples of noise, √(2 / n) = 1.5 %, 0.065 dB.
    assert 10 * np.log10(sound.level**2 / np.mean((noise - x) ** 2)) == pytest.approx(20.0, abs=0.2)
    # 1.99526 has six digits.
    assert np.allclose(gain, x * 1.99526, rtol=1e-4)
    shifted = np.zeros(9000)
    shifted[max(delay, 0) : 9000 + min(delay, 0)] = x[max(-delay, 0) : 9000 - max(delay, 0)]
    assert np.allclose(delayed[: 9000 + min(delay, 0)], shifted[: 9000 + min(delay, 0)])
    with pytest.raises(ParameterError, match="delay_samples is 9600; the clip has 9600 samples"):
        changes(sound, noise_db=20.0, gain_db=6.0, delay_samples=9600, seed=1)
    with pytest.raises(ParameterError, match="noise_db is nan; -120 to 120 dB can be used"):
        changes(sound, noise_db=np.nan, gain_db=6.0, delay_samples=1, seed=1)
    with pytest.raises(ParameterError, match="gain_db is 121; -120 to 120 dB can be used"):
        changes(sound, noise_db=20.0, gain_db=121, delay_samples=1, seed=1)


SHORT = {
    "agreement": ["--seconds", 0.2],
    "lookahead": ["--seconds", 0.2],
    "losses": ["--seconds", 0.2, "-l", "cspace"],
}


@pytest.mark.parametrize("command", SHORT)
def test_what_can_be_converted_is_and_the_conversion_is_noted(lab: Any, tmp_path: Path, command: str) -> None:
    x = clip(0.2, 11_025).T.copy()
    x[100:105, 1] = np.nan
    x[200, 0] = np.inf
    sf.write(tmp_path / "odd.wav", x, 11_025, subtype="FLOAT")
    result, folder = lab(command, tmp_path / "odd.wav", *SHORT[command])
    assert result.exit_code == 0, result.output
    document = written(folder, "losses_odd" if command == "losses" else command)
    for words in ("resampled from 11025 to 8000 Hz", "2 channels averaged to one", "6 NaN or Inf samples set to 0"):
        assert words in result.stderr
        assert f"odd.wav: {words}" in document["notes"]
    assert "null" not in json.dumps(document["results"])  # NaN in the figures


@pytest.mark.parametrize("command", ["agreement", "lookahead", "losses"])
def test_bad_clips_are_named_in_one_line(lab: Any, tmp_path: Path, command: str) -> None:
    sf.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    sf.write(tmp_path / "short.wav", np.ones(50), RATE)
    for name, words in (
        ("silent.wav", "is silent"),
        ("short.wav", "50 samples are too short; at least 800"),
        ("none.wav", "no such file"),
        ("lab.toml", "lab.toml: "),
    ):
        result, _ = lab(command, tmp_path / name)
        assert result.exit_code == 2, result.output
        assert words in result.stderr
        assert len(result.stderr.strip().split("\n")) == 1
        assert "Traceback" not in result.output + result.stderr
    assert not (tmp_path / "out").exists()


def test_losses_that_need_more_or_do_not_exist(lab: Any, tmp_path: Path) -> None:
    sf.write(tmp_path / "brief.wav", np.random.default_rng(0).uniform(-1, 1, 1500), RATE)
    result, _ = lab("losses", tmp_path / "brief.wav", "-l", "v2")
    assert result.exit_code == 2
    assert "segments of 1500 samples are too short for the loss v2, which needs 2004" in result.stderr
    result, _ = lab("losses", tmp_path / "brief.wav", "-l", "v9")
    assert result.exit_code == 2
    assert "there is no loss 'v9'; there are cspace, cspace_l2" in result.stderr


@pytest.mark.parametrize(
    ("command", "option", "value", "words"),
    [
        *((c, "--seconds", "inf", "seconds is inf; more than 0 is needed, and a finite number") for c in SHORT),
        ("losses", "--delay-samples", "16001", "delay_samples is 16001; at most 16000 can be used"),
        ("losses", "--delay-samples", "-8000", "delay_samples is -8000; the clip has 8000 samples"),
    ],
)
def test_bad_settings_are_named_in_one_line(
    lab: Any, tmp_path: Path, command: str, option: str, value: str, words: str
) -> None:
    sf.write(tmp_path / "ok.wav", clip(1.0, RATE)[0], RATE)
    result, _ = lab(command, tmp_path / "ok.wav", option, value)
    assert result.exit_code == 2, result.output
    assert result.stderr.strip() == f"cspace: {words}"
    assert not (tmp_path / "out").exists()


def test_names_of_equal_files_have_their_folders() -> None:
    assert names([Path("a/x.wav"), Path("b/x.wav"), Path("b/y.wav")]) == ["a/x", "b/x", "y"]


@pytest.mark.heavy
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("agreement", ["--seconds", "1200"]),
        ("lookahead", ["--seconds", "1200"]),
        ("losses", ["--seconds", "1200", "-l", "waveform", "-l", "cspace_spectral"]),
        ("losses", ["--seconds", "5"]),  # every loss: its segments are as long for any recording
    ],
)
def test_twenty_minutes_stay_under_a_gibibyte(tmp_path: Path, command: str, options: list[str]) -> None:
    rng = np.random.default_rng(0)
    with sf.SoundFile(tmp_path / "long.wav", "w", 16_000, 2, "PCM_16") as file:
        for _ in range(1200):
            file.write(rng.uniform(-0.5, 0.5, (16_000, 2)))
    asked = ["lab", command, str(tmp_path / "long.wav"), *options, "-r", str(tmp_path / "out")]
    run = subprocess.run([sys.executable, "-c", MEASURED, *asked], capture_output=True, text=True, check=True)
    peak = int(run.stdout.split()[-1])
    print(f"{command} {' '.join(options)}: {peak} MiB")
    assert peak < 1024


# Not getrusage: its peak is inherited from the process that started this one.
MEASURED = """
import sys
from cspace.cli import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
(line,) = [s for s in open("/proc/self/status") if s.startswith("VmHWM")]
print(int(line.split()[1]) // 1024)
"""
