"""`cspace lab agreement`, `lookahead` and `losses`: figures that follow from the sound, and bad input named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.bank import BankSpec, bidirectional_states
from cspace.offline.lab import lookahead
from cspace.offline.lab.loss_terms import changes, listen, own
from cspace.offline.lab.transform_sounds import Sound
from cspace.plugins import ParameterError
from cspace.realtime.clip import clip

torch.set_num_threads(1)
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
    np.testing.assert_allclose(got, bidirectional_states(x, spec, RATE)[:, 12:], atol=1e-6)


def test_a_steady_tone_meets_the_theory() -> None:
    t = np.arange(4 * RATE) / RATE
    spec = BankSpec(oscillators=1, low_hz=200.0, q=20.0)
    rows = lookahead.measure(Sound("tone", np.sin(2 * np.pi * 200 * t).astype(np.float32)), spec, RATE)
    decay = np.pi * 200 / (20 * RATE)
    for row in rows:
        theory = -20 * np.log10(np.e) * decay * (round(row["window_ms"] * RATE / 1000) + 1)
        assert row["theory_db"] == pytest.approx(theory, abs=1e-6)
        if theory > -60:
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
    assert 10 * np.log10(sound.level**2 / np.mean((noise - x) ** 2)) == pytest.approx(20.0, abs=0.2)
    assert np.allclose(gain, x * 1.99526, rtol=1e-4)
    shifted = np.zeros(9000)
    shifted[max(delay, 0) : 9000 + min(delay, 0)] = x[max(-delay, 0) : 9000 - max(delay, 0)]
    assert np.allclose(delayed[: 9000 + min(delay, 0)], shifted[: 9000 + min(delay, 0)])
    with pytest.raises(ParameterError, match="delay_samples is 9600; the clip has 9600 samples"):
        changes(sound, noise_db=20.0, gain_db=6.0, delay_samples=9600, seed=1)


@pytest.mark.parametrize("command", ["agreement", "lookahead", "losses"])
def test_bad_clips_are_named_in_one_line(lab: Any, tmp_path: Path, command: str) -> None:
    sf.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    sf.write(tmp_path / "short.wav", np.ones(50), RATE)
    for name, words in (
        ("silent.wav", "is silent"),
        ("short.wav", "50 samples are too short; at least 800"),
        ("none.wav", "no such file"),
    ):
        result, _ = lab(command, tmp_path / name)
        assert result.exit_code == 2, result.output
        assert words in result.stderr
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
