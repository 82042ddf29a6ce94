"""`cspace lab spectrogram` and `drift`: exactness in bounded memory, and tests that can fail."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from scipy import signal
from typer.testing import CliRunner

from cspace import _native
from cspace.cli import app
from cspace.offline.bank import BankSpec, bidirectional_states
from cspace.offline.config import EsnSpec, LabConfig
from cspace.offline.esn import network, reference_states
from cspace.offline.lab import drift, drift_esn
from cspace.offline.lab.drift_study import study as drift_study
from cspace.offline.lab.spectrogram import RING_IN_DB, bank_window, esn_window, read_excerpt
from cspace.offline.lab.spectrogram import study as spectrogram_study
from cspace.plugins import AudioError, CspaceError, Esn, ParameterError

RATE = 24_000


def sound(seconds: float, seed: int = 3) -> np.ndarray:
    return np.concatenate(list(drift.made_sound(seconds, RATE, seed)))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    sf.write(path, sound(12.0), RATE, subtype="FLOAT")
    return path


def test_network_for_analysis_is_the_plugin() -> None:
    x = sound(0.3)
    esn = network(EsnSpec(nodes=50, seed=9))
    plugin = Esn(nodes=50, seed=9)
    whole = plugin.states(x, 48_000)
    parts = [esn.process(x[i : i + 333]) for i in range(0, len(x), 333)]
    assert np.array_equal(np.concatenate(parts), whole)
    esn.set_state(whole[999])
    # The plugin carries a rounding remainder that a set state lacks.
    # States are below 1: 2⁻²⁴ at each step, forgotten by the next ones; 6e-8 seen.
    assert np.max(np.abs(esn.process(x[1000:2000]) - whole[1000:2000])) < 1e-6
    esn.reset()
    assert np.array_equal(esn.process(x[:10]), whole[:10])
    # Stored as float32 after it was scaled: 2⁻²⁴ an entry, 50 × 50 of them.
    assert esn.achieved_radius == pytest.approx(np.max(np.abs(np.linalg.eigvals(esn.w.astype(float)))), rel=1e-6)
    with pytest.raises(ParameterError, match="leak_min is"):
        network(EsnSpec(leak_low=1e-9))
    with pytest.raises(ValueError, match="one per node; got 3"):
        esn.set_state(np.zeros(3, np.float32))


def test_reference_network_follows_the_equation_of_reservoirpy() -> None:
    esn = network(EsnSpec(nodes=20))
    x = sound(0.05).astype(np.float64)
    got = reference_states(esn, np.stack([x, -x], axis=1))
    assert np.array_equal(got[:, :, 0], -got[:, :, 1])  # tanh is odd
    assert np.max(np.abs(got[:, :, 0] - esn.process(x.astype(np.float32)))) < 1e-6


@pytest.mark.parametrize("index", [3000, 60_000, 120_000, 12 * RATE - 3001])
def test_window_equals_the_whole_run(clip: Path, index: int) -> None:
    x, spec = sound(12.0), BankSpec()
    start, stop = index - 3000, index + 3000
    ring = spec.ring_samples(RATE, RING_IN_DB)
    part = read_excerpt(clip, RATE, start - 10**9, stop + ring)
    states, bound = bank_window(part, spec, RATE, start, stop)
    whole = bidirectional_states(x, spec, RATE)[start:stop]
    assert bound <= 10 ** (-RING_IN_DB / 20) * 1.001
    # The bound, and the rounding of two float32 runs that began elsewhere.
    assert np.max(np.abs(states - whole)) <= bound + 3e-7
    nodes, esn_bound, _, radius = esn_window(part, EsnSpec(spectral_radius=0.9), start, stop, 1.0)
    full = network(EsnSpec(spectral_radius=0.9)).process(x)[start:stop]
    assert np.max(np.abs(nodes - full)) <= esn_bound + 3e-7
    # Found by iteration, then stored as float32; 3e-7 seen.
    assert radius == pytest.approx(0.9, abs=3e-6)


def test_short_run_in_is_seen_in_the_bound(clip: Path) -> None:
    x, spec = sound(12.0), BankSpec(q=30.0)
    start, stop = 100_000, 101_000
    states, bound = bank_window(read_excerpt(clip, RATE, start - 500, stop + 500), spec, RATE, start, stop)
    error = np.max(np.abs(states - bidirectional_states(x, spec, RATE)[start:stop]))
    assert 1e-3 < error <= bound * np.max(np.abs(x))


def test_spectrogram_finds_the_tone(tmp_path: Path) -> None:
    t = np.arange(2 * RATE) / RATE
    x = np.where(t < 1, np.sin(2 * np.pi * 300 * t), np.sin(2 * np.pi * 3000 * t)).astype(np.float32) * 0.1
    sf.write(tmp_path / "t.wav", np.stack([x, x], 1), RATE, subtype="FLOAT")
    config = LabConfig(results=tmp_path)
    found, _, notes = spectrogram_study(tmp_path / "t.wav", RATE, config)
    # 64 centres lie 9 % apart; the peak a second after it began.
    assert found["forward_strongest_hz"] == pytest.approx(300, rel=0.1)  # what was
    assert found["backward_strongest_hz"] == pytest.approx(3000, rel=0.1)  # what comes
    assert found["forward_peak_db"] == pytest.approx(-26, abs=1.5)  # half of 0.1
    assert notes == ["2 channels averaged to one"]


def test_frames_equal_lfilter_and_chunks_do_not_matter() -> None:
    spec = BankSpec(oscillators=12, q=40.0)
    # float64 against float64, a memory of 1000 steps: 4e-14 seen.
    assert drift.reference_check(sound(2.0), spec, RATE) < 1e-12
    decay, angle = spec.poles(RATE)
    pole = np.exp(-decay + 1j * angle)
    x = sound(1.0).astype(np.float64)
    pieces = drift.FrameReference(pole, spec.drive(RATE))
    got = np.concatenate([pieces.process(p) for p in np.split(x, [1, 50, 700, 701, 9000])])
    expected = signal.lfilter([spec.drive(RATE)[0]], [1, -pole[0]], x + 0j)[:: drift.FRAME]
    assert np.max(np.abs(got[:, 0] - expected)) < 1e-12


def test_drift_test_can_fail() -> None:
    runs = drift.compare(drift.made_sound(60.0, RATE, 1), BankSpec(), RATE)
    assert runs["rust"].summary()["holds"]
    assert runs["rust"].summary()["late_over_early"] < 2
    assert not runs["float32_poles"].summary()["holds"]
    assert len(runs["rust"].seconds) == 6


def test_a_bank_that_drifts_is_seen_to_grow() -> None:
    meter = drift.Meter(4, RATE)
    rng = np.random.default_rng(0)
    for k in range(60):
        truth = rng.standard_normal((400, 4)) + 1j * rng.standard_normal((400, 4))
        meter.add(truth * (1 + 1e-7 * k), truth)
    meter.close()
    summary = meter.errors.summary()
    assert summary["late_over_early"] > 3
    # Statistics: the last of ten seconds' means, the growth within it is 17 %.
    assert summary["vector_last"] == pytest.approx(59e-7, rel=0.2)


def test_network_drift_and_forgetting(tmp_path: Path) -> None:
    errors, figures = drift_esn.compare(drift.made_sound(4.0, RATE, 1), EsnSpec(nodes=16), RATE, 4.0)
    assert max(errors.worst) < drift.TARGET
    assert figures["largest_state"] < 1.0
    # Another network is not the same one.
    other, _ = drift_esn.compare(drift.made_sound(2.0, RATE, 2), EsnSpec(nodes=16, seed=1), RATE, 2.0)
    assert other.vector != errors.vector
    x = sound(8.0)
    calm = drift_esn.forgetting(x, EsnSpec(spectral_radius=0.5, leak_low=1e-2), RATE)
    wild = drift_esn.forgetting(x * 0, EsnSpec(spectral_radius=1.5, leak_low=1e-2), RATE)
    assert calm["forgets"]
    assert not wild["forgets"]
    # A network without recurrence forgets at its slowest leak: 1 / (1e-3 × 24000) s.
    lone = drift_esn.forgetting(x, EsnSpec(density=0.0, leak_low=1e-3, leak_high=1e-2), RATE)
    # A line through distances over time, the last of which are float32's last digits: 7 % off.
    assert lone["time_constant_s"] == pytest.approx(1 / 24, rel=0.1)


def test_drift_study_says_what_it_found(tmp_path: Path, clip: Path) -> None:
    config = LabConfig(results=tmp_path, esn=EsnSpec(nodes=8))
    found, _, notes = drift_study(clip, 60.0, config, esn=False)
    assert found["rust"]["verdict"] == "holds, not growing with time"
    assert found["float32_poles"]["verdict"].startswith("fails")
    _, _, notes = drift_study(clip, 60.0, LabConfig(bank=BankSpec(low_hz=2000.0, oscillators=4, q=1.0)), esn=False)
    assert any("the test says nothing" in line for line in notes)


@pytest.mark.parametrize(
    ("make", "args", "message"),
    [
        (lambda n: np.zeros(n), ["spectrogram", "CLIP", "60000"], "is silent"),
        (lambda n: np.zeros(n), ["drift", "CLIP", "--no-esn", "--seconds", "60"], "is silent"),
        (lambda n: np.ones(100), ["spectrogram", "CLIP", "50"], "100 samples are too short; the window has 6000"),
        (lambda n: np.ones(n), ["spectrogram", "CLIP", "99999999"], "sample 99999999 is out of range; 3000 to"),
        (lambda n: np.ones(n), ["spectrogram", "CLIP", "10"], "sample 10 is out of range; 3000 to"),
        (lambda n: np.ones(n), ["drift", "CLIP", "--seconds", "5"], "drift is looked for over 60 s"),
        (lambda n: np.ones(0), ["drift", "CLIP"], "has no samples"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, make: object, args: list[str], message: str) -> None:
    path = tmp_path / "x.wav"
    sf.write(path, make(120_000).astype(np.float32), RATE, subtype="FLOAT")  # type: ignore[operator]
    argv = [str(path) if a == "CLIP" else a for a in args]
    result = CliRunner().invoke(app, ["lab", *argv, "-r", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_other_rates_stereo_and_nan_are_taken_and_said(tmp_path: Path) -> None:
    x = np.stack([sound(2.0), sound(2.0, 5)], axis=1)
    x[77] = np.nan
    sf.write(tmp_path / "x.wav", x, 44_100, subtype="FLOAT")
    result = CliRunner().invoke(app, ["lab", "spectrogram", str(tmp_path / "x.wav"), "9000", "-r", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    for words in ("resampled from 44100 to 24000 Hz", "2 channels averaged to one", "2 NaN or Inf samples set to 0"):
        assert words in result.stderr
    data = json.loads((tmp_path / "spectrogram_x_9000.json").read_text())
    # As above.
    assert data["results"]["esn_radius"] == pytest.approx(0.99, abs=3e-6)
    assert "spectral radius 0.990000" in result.stdout
    assert (tmp_path / "spectrogram_x_9000.png").stat().st_size > 10_000


def test_drift_says_what_it_took(tmp_path: Path) -> None:
    x = np.stack([sound(2.0), sound(2.0, 5)], axis=1)
    x[77] = np.nan
    sf.write(tmp_path / "x.wav", x, 44_100, subtype="FLOAT")
    _, _, notes = drift_study(tmp_path / "x.wav", 60.0, LabConfig(bank=BankSpec(oscillators=4)), esn=False)
    for words in ("resampled from 44100 to 24000 Hz", "2 channels averaged to one", "2 NaN or Inf samples set to 0"):
        assert notes.count(words) == 1


# Runs a command in a process of its own and prints its largest resident set in MB. Not getrusage:
# its figure begins with that of the process that started this one.
MEMORY = """
import sys
from cspace.cli import app
app(sys.argv[1:], standalone_mode=False)
high = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("MB", int(high.split()[1]) / 1024)
"""


@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.parametrize("args", [["spectrogram", "LONG", "20000000"], ["drift", "LONG", "--seconds", "1200"]])
def test_twenty_minutes_stay_below_a_gibibyte(tmp_path: Path, args: list[str]) -> None:
    tile = np.concatenate(list(drift.made_sound(10.0, RATE, 1)))
    with sf.SoundFile(tmp_path / "long.wav", "w", RATE, 1, "PCM_16") as file:
        for _ in range(120):
            file.write(tile)
    argv = [str(tmp_path / "long.wav") if a == "LONG" else a for a in args]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, "lab", *argv, "-r", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    used = float(done.stdout.split("MB")[-1])
    print(f"{args[0]}: {used:.0f} MB")
    assert used < 1024


def test_native_class_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="spectral_radius is 9; it is 0 to 4"):
        _native.EsnAnalysis(spectral_radius=9.0)
    assert issubclass(AudioError, CspaceError)
