"""The healing study: its losses, its ways of filling them, its figures, and the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from scipy import signal
from typer.testing import CliRunner

from cspace.cli import app

librosa = pytest.importorskip("librosa")
pytest.importorskip("torch")

from cspace.offline.manifold import heal, heal_page, heal_rows  # noqa: E402
from cspace.offline.manifold.impute import gaps  # noqa: E402

RATE = heal.SAMPLE_RATE


def tones(seconds: float = 1.5, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    x = sum(0.1 * np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for f in (233.1, 467.9, 702.3, 1811.7))
    return np.asarray(x + 1e-3 * rng.standard_normal(len(t)))


def test_losses_are_whole_packets_the_share_asked_for_and_the_same_again() -> None:
    for ms, rate in ((5.0, 0.01), (20.0, 0.1), (40.0, 0.2)):
        length = round(ms * 1e-3 * RATE)
        lost = heal.losses(10 * RATE, length, rate, 3)
        assert all((b - a) % length == 0 and a % length == 0 for a, b in gaps(lost))
        # Whole packets, the share asked for to one packet of them.
        assert abs(lost.mean() - rate) < 0.01
        assert not lost[: round(0.2 * RATE)].any()
        np.testing.assert_array_equal(lost, heal.losses(10 * RATE, length, rate, 3))
        assert (lost != heal.losses(10 * RATE, length, rate, 4)).any()


def test_the_reference_is_librosas_burg_played_on() -> None:
    x = tones()
    window = x[-1440:]
    a = librosa.lpc(window, order=256)
    expected = signal.lfilter([1.0], a, np.zeros(240), zi=signal.lfiltic([1.0], a, window[:-257:-1]))[0]
    got = heal_rows.burg(256, 1440)(x, 240)
    # Burg's recursion of order 256 twice, in float64, then 240 samples of its filter: 3e-10 seen.
    assert np.max(np.abs(got - expected)) < 1e-3 * np.max(np.abs(expected))


def test_filling_touches_gaps_and_the_way_back_only() -> None:
    x = tones()
    lost = np.zeros(len(x), np.bool_)
    lost[10_000:10_240] = lost[20_000:20_240] = True
    y = heal_rows.fill(x, lost, RATE, heal_rows.reference(RATE))
    back = round(heal_rows.BACK_SECONDS * RATE)
    near = np.convolve(lost, np.ones(back + 1))[: len(x)] > 0
    np.testing.assert_array_equal(y[~near], x[~near])
    assert heal.figures(y, x, lost)["gap_snr_db"] > 20.0
    silent = heal.figures(heal_rows.fill(x, lost, RATE, heal_rows.zero), x, lost)
    assert silent["gap_snr_db"] == pytest.approx(0.0, abs=1e-9)
    assert silent["stft_db"] > 5.0
    assert heal.figures(x, x, lost)["stft_db"] == 0.0


def test_oscillators_turned_on_continue_a_tone() -> None:
    t = np.arange(RATE) / RATE
    x = 0.3 * np.sin(2 * np.pi * 440.0 * t)
    y = heal_rows.oscillators(RATE)(x[:20_000], 240)
    assert np.sum((y - x[20_000:20_240]) ** 2) < 0.2 * np.sum(x[20_000:20_240] ** 2)


def test_concealment_is_the_engines_rule() -> None:
    x = np.linspace(0.1, 0.9, 2400)
    lost = np.zeros(2400, np.bool_)
    lost[1200:1300] = True
    y = heal_rows.conceal(x, lost, RATE)
    np.testing.assert_array_equal(y[:1200], x[:1200])
    assert y[1200] == x[1199]  # the last sound, backwards
    assert y[1220] == pytest.approx(x[1179] * (1 - 20 / 240))
    np.testing.assert_allclose(y[1420:], x[1420:])


@pytest.mark.parametrize("settings", heal.LIVE.values(), ids=heal.LIVE.keys())
def test_the_processor_is_heard_where_it_belongs(settings: dict[str, object]) -> None:
    x = tones()
    lost = heal.losses(len(x), 240, 0.05, 1)
    y = heal.live(x, lost, **settings)
    back = round(heal_rows.BACK_SECONDS * RATE) + 1
    near = np.convolve(lost, np.ones(back + 1))[: len(x)] > 0
    np.testing.assert_allclose(y[~near], x[~near].astype(np.float32))
    if settings.get("method") != "repeat":
        assert heal.figures(y, x, lost)["gap_snr_db"] > 3.0


def test_intervals_are_students() -> None:
    mean, half = heal.interval(np.array([1.0, 2.0, 3.0, np.nan]))
    assert mean == 2.0
    assert half == pytest.approx(4.302653 / np.sqrt(3.0), rel=1e-5)


def test_tables_mark_what_beats_the_reference() -> None:
    records = [
        {"clip": f"c{i}", "kind": "music", "ms": ms, "rate": 0.1, "row": row}
        | {"si_snr_db": v + 0.1 * i, "gap_si_snr_db": v, "gap_snr_db": v, "stft_db": v}
        for i in range(3)
        for ms in heal.LENGTHS_MS
        for row, v in ((heal.REFERENCE, 1.0), ("better", 3.0))
    ]
    rows = heal.summary(records, (0.1,))
    assert "| better | **3.10 ± 0.25** |" in "\n".join(heal_page.lines(rows, "si_snr_db", "t"))
    assert "**" not in "\n".join(heal_page.lines(rows, "stft_db", "t"))  # there, less is better
    assert heal_page.picture(rows, "t").axes


def test_the_command_needs_its_clips(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["manifold", "heal", "--folder", str(tmp_path), "--results", str(tmp_path)])
    assert done.exit_code != 0
    assert "make recordings" in done.output
    assert "Traceback" not in done.output


def test_the_command_leaves_table_picture_and_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("speech/a.wav", "music/b.wav")
    for i, name in enumerate(names):
        (tmp_path / name).parent.mkdir()
        sf.write(tmp_path / name, tones(1.1, i), RATE)
    monkeypatch.setattr(heal, "CLIPS", names)
    monkeypatch.setattr(heal, "LENGTHS_MS", (20.0,))
    monkeypatch.setattr(heal_page, "LENGTHS_MS", (20.0,))
    done = CliRunner().invoke(
        app, ["manifold", "heal", "--folder", str(tmp_path), "--seconds", "1", "--results", str(tmp_path / "r")]
    )
    assert done.exit_code == 0, done.output
    for suffix in ("json", "md", "png"):
        assert (tmp_path / "r" / f"manifold_heal.{suffix}").stat().st_size > 100
    assert len(list((tmp_path / "r" / "heal").glob("*.wav"))) == 2 * len(heal.ways(None))
