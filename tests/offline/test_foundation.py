"""Bank, recordings and settings, on which the studies stand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from cspace.audiofile import FileError
from cspace.cli import app
from cspace.offline.audio import audio_files, load_mono, require_index, require_sound
from cspace.offline.bank import BankSpec, bidirectional_states, forward_states
from cspace.offline.config import ConfigError, LabConfig, load_config, to_toml
from cspace.plugins import AudioError, CspaceError, ParameterError
from cspace.wholefile import whole, write_json

RATE = 24_000


@pytest.mark.parametrize("spec", [BankSpec(), BankSpec(oscillators=19), BankSpec(q=40.0), BankSpec.original()])
def test_states_follow_the_float64_recurrence(spec: BankSpec) -> None:
    x = np.random.default_rng(1).standard_normal(4000).astype(np.float32)
    decay, angle = spec.poles(RATE)
    pole, drive = np.exp(-decay + 1j * angle), spec.drive(RATE)
    z, rows = np.zeros(spec.oscillators, complex), []
    for sample in x.astype(np.float64):
        z = pole * z + drive * sample
        rows.append(np.concatenate([z.real, z.imag]))
    got = forward_states(x, spec, RATE)
    # 2⁻²⁴ a step over the memory of the slowest, 2000 steps: √2000 · 6e-8 = 3e-6.
    assert np.max(np.abs(got - rows)) < 1e-5 * np.max(np.abs(rows))


@pytest.mark.parametrize("hop", [1, 7, 64, 1000])
@pytest.mark.parametrize("piece", [1, 63, 64, 311, 5000])
def test_pieces_and_hops_give_the_same_states(hop: int, piece: int) -> None:
    spec = BankSpec(oscillators=20)
    x = np.random.default_rng(2).standard_normal(2500).astype(np.float32)
    bank = spec.bank(RATE, hop)
    parts = [bank.process(x[i : i + piece]) for i in range(0, len(x), piece)]
    assert np.array_equal(np.concatenate(parts), forward_states(x, spec, RATE)[::hop])
    bank.reset()
    assert np.array_equal(bank.process(x[:hop]), parts[0][:1] if piece >= 1 else None)


@pytest.mark.parametrize("oscillators", [1, 19, 32, 64])
@pytest.mark.parametrize("hop", [1, 7, 64, 480])
def test_energies_are_the_mean_power_of_the_states(oscillators: int, hop: int) -> None:
    spec = BankSpec(oscillators=oscillators)
    x = np.random.default_rng(3).standard_normal(2500).astype(np.float32)
    z = forward_states(x, spec, RATE).astype(np.float64)
    power = z[:, :oscillators] ** 2 + z[:, oscillators:] ** 2
    frames = len(x) // hop
    bank = spec.bank(RATE, hop)
    whole = bank.energies(x)
    # float32 sums of up to 480 squares: √480 · 2⁻²⁴ = 1e-6.
    assert np.allclose(whole, power[: frames * hop].reshape(frames, hop, -1).mean(axis=1), rtol=1e-5)
    bank.reset()
    parts = [bank.energies(part) for part in np.split(x, [1, 50, 333, 334, 2000])]
    assert np.array_equal(np.concatenate(parts), whole)
    assert bank.energies(x[::2][:0]).shape == (0, oscillators)


def test_backward_half_is_the_bank_over_the_reversed_sound() -> None:
    spec = BankSpec(oscillators=8)
    x = np.zeros(100, np.float32)
    x[40] = 1.0
    z = bidirectional_states(x, spec, RATE)
    assert z.shape == (100, 32)
    assert not z[:40, :16].any()
    assert not z[41:, 16:].any()
    assert np.array_equal(z[40:80, :16], z[40:0:-1, 16:])


def test_bank_names_what_is_out_of_range() -> None:
    with pytest.raises(ParameterError, match=r"low_hz is 5000.*below high_hz, 3920 Hz"):
        BankSpec(low_hz=5000.0).poles(8000)
    assert BankSpec().centers_hz(8000)[-1] == pytest.approx(3920.0)


def test_recordings_are_converted_as_said(tmp_path: Path) -> None:
    t = np.arange(48_000) / 48_000
    stereo = np.stack([np.sin(2 * np.pi * 440 * t), np.zeros_like(t)], axis=1).astype(np.float32)
    stereo[100, 0] = np.nan
    sf.write(tmp_path / "a.wav", stereo, 48_000, subtype="FLOAT")
    clip = load_mono(tmp_path / "a.wav", RATE)
    assert abs(len(clip.samples) - RATE) <= 2
    assert clip.conversions == [
        "resampled from 48000 to 24000 Hz",
        "2 channels averaged to one",
        "1 NaN or Inf samples set to 0",
    ]
    middle = clip.samples[6000:18000]
    # soxr's passband: flat to 1e-4 at 440 Hz.
    assert np.allclose(middle, 0.5 * np.sin(2 * np.pi * 440 * np.arange(6000, 18000) / RATE), atol=2e-3)
    assert len(load_mono(tmp_path / "a.wav", 48_000, seconds=0.25).samples) == 12_000


def test_what_cannot_be_studied_is_named(tmp_path: Path) -> None:
    sf.write(tmp_path / "empty.wav", np.zeros((0, 1), np.float32), 24_000)
    with pytest.raises(AudioError, match=r"empty\.wav: has no samples"):
        load_mono(tmp_path / "empty.wav", RATE)
    with pytest.raises(FileError, match=r"no such file; did you mean 'empty\.wav'"):
        load_mono(tmp_path / "emty.wav", RATE)
    with pytest.raises(AudioError, match="is silent"):
        require_sound(np.zeros(100, np.float32), "x")
    with pytest.raises(AudioError, match="100 samples are too short; at least 200"):
        require_sound(np.ones(100, np.float32), "x", at_least=200)
    with pytest.raises(AudioError, match="sample 95 is out of range; 10 to 89"):
        require_index(95, 100, "x", margin=10)
    (tmp_path / "sub").mkdir()
    with pytest.raises(AudioError, match="no audio files"):
        audio_files(tmp_path / "sub")
    assert [p.name for p in audio_files(tmp_path)] == ["empty.wav"]


def test_settings_survive_the_way_through_toml(tmp_path: Path) -> None:
    config = LabConfig(sample_rate=16_000, bank=BankSpec(q=20.0), results=tmp_path)
    (tmp_path / "lab.toml").write_text(to_toml(config))
    assert load_config(tmp_path / "lab.toml") == config


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text("bank.q = 0\n[esn]\nnodez = 3\n")
    with pytest.raises(ConfigError, match=r"bank\.q is 0.*greater than 0.*esn\.nodez; did you mean 'nodes'"):
        load_config(file)
    result = CliRunner().invoke(app, ["lab", "config", "-c", str(tmp_path / "none.toml")])
    assert result.exit_code == 2
    assert "none.toml: there is no such file" in result.stderr


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    def broken() -> None:
        with whole(tmp_path / "a" / "x.txt") as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert list((tmp_path / "a").iterdir()) == []
    write_json(tmp_path / "b.json", {"v": np.float32(0.5), "a": np.arange(2)})
    assert (tmp_path / "b.json").read_text() == '{\n  "v": 0.5,\n  "a": [\n    0,\n    1\n  ]\n}\n'
    write_json(
        tmp_path / "c.json", {1: (np.float64("nan"), float("-inf"), np.array([1.0, np.inf])), "p": tmp_path / "b.json"}
    )
    assert json.loads((tmp_path / "c.json").read_text()) == {"1": [None, None, [1.0, None]], "p": "b.json"}
    with pytest.raises(TypeError):
        write_json(tmp_path / "d.json", {"v": object()})
    assert not (tmp_path / "d.json").exists()
    with pytest.raises(CspaceError, match=r"x\.txt: cannot be written"), whole(tmp_path / "b.json" / "x.txt"):
        pass
