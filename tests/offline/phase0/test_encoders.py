"""Encoders: what they say about themselves is what comes out, and the synthetic one is what it says."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile as sf

from cspace.offline.phase0.config import EncoderSettings
from cspace.offline.phase0.data import Utterance
from cspace.offline.phase0.encoders import AudioEncoder, make
from cspace.offline.phase0.encoders.logmel import fitted_speakers
from cspace.offline.phase0.fits import LeakError, check_leaks
from cspace.offline.phase0.store import check_rate
from cspace.plugins._errors import FileError


def clip(path: Path, seconds: float = 3.3, seed: int = 1) -> Utterance:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * 16_000)) / 16_000
    x = 0.2 * np.sin(2 * np.pi * (200 + 90 * np.sin(3 * t)) * t) * (1 + np.sin(9 * t)) + 0.01 * rng.standard_normal(
        len(t)
    )
    sf.write(path, x.astype(np.float32), 16_000, subtype="FLOAT")
    return Utterance(path.stem, "anna", str(path), seconds)


@pytest.mark.parametrize(
    ("settings", "dim", "rate"),
    [
        ({"name": "logmel", "logmel": {"pca_dim": None, "mels": 40}}, 40, 12.5),
        ({"name": "logmel", "logmel": {"pca_dim": 8, "hop": 480}}, 8, 50.0),
        ({"name": "codec"}, 384, 62.5),
        ({"name": "mimi"}, 512, 12.5),
    ],
)
def test_encoders_give_what_they_announce(tmp_path: Path, settings: dict, dim: int, rate: float) -> None:
    utterance = clip(tmp_path / "a.wav")
    encoder = make(EncoderSettings.model_validate(settings), tmp_path)
    assert isinstance(encoder, AudioEncoder)
    if encoder.needs_fit:
        with pytest.raises(FileError, match="not fitted"):
            encoder.latents(utterance)
        encoder.fit([utterance], lambda: None)
        assert fitted_speakers(tmp_path) == ["anna"]
        (tmp_path / "fits").mkdir()
        check_leaks(tmp_path / "fits", tmp_path, ["ben"])
        with pytest.raises(LeakError, match=r"logmel_pca.safetensors: was fitted to speaker 'anna'"):
            check_leaks(tmp_path / "fits", tmp_path, ["anna", "ben"])
    assert (encoder.info.dim, encoder.info.frame_rate_hz) == (dim, rate)
    got = encoder.latents(utterance)
    assert got.x.shape == (int(np.ceil(utterance.duration_sec * rate)), dim)
    check_rate("a", len(got.x), utterance.duration_sec, encoder.info)
    assert got.timestamps[1] == pytest.approx(1 / rate)
    again = make(EncoderSettings.model_validate(settings), tmp_path)
    assert again.info == encoder.info
    assert np.array_equal(again.latents(utterance).x, got.x)
    sound = encoder.load(utterance)
    hop = encoder.info.hop
    assert got.energy[3] == pytest.approx(
        float(np.sqrt(np.mean(sound[3 * hop : 4 * hop].astype(float) ** 2))), rel=1e-5
    )


def test_random_mimi_says_so_and_follows_its_seed(tmp_path: Path) -> None:
    one, two = (make(EncoderSettings(name="mimi", seed=s)) for s in (1, 2))
    assert one.info.note == "random weights, seed 1"
    assert one.info.fingerprint != two.info.fingerprint
    with pytest.raises(FileError, match=r"must be a \.safetensors file"):
        make(EncoderSettings(name="mimi", weights="mimi.pt"))
    with pytest.raises(FileError, match="there is no such file of weights"):
        make(EncoderSettings(name="mimi", weights="mimi.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(FileError, match=r"bad\.safetensors: Mimi cannot be loaded"):
        make(EncoderSettings(name="mimi", weights=str(tmp_path / "bad.safetensors")))
    with pytest.raises(FileError, match=r"encoder\.device 'cuda:77' cannot be used here"):
        make(EncoderSettings(name="mimi", device="cuda:77"))


def test_mel_bands_are_librosas(tmp_path: Path) -> None:
    encoder = make(EncoderSettings.model_validate({"name": "logmel", "logmel": {"pca_dim": None}}))
    utterance = clip(tmp_path / "a.wav")
    got = encoder.latents(utterance).x
    x = encoder.load(utterance)  # type: ignore[attr-defined]
    power = librosa.feature.melspectrogram(
        y=x, sr=24_000, n_fft=1920, hop_length=1920, n_mels=80, fmin=20.0, center=False
    )
    norm = np.hanning(1921)[:-1].sum() ** 2
    # librosa's float32 spectra: 1e-6 of the loudest band, so 1e-3 in the logarithm where a band is 30 dB down; 2e-6
    # seen.
    assert np.allclose(got[: power.shape[1]], np.log(power.T / norm + 1e-10), atol=1e-3)


def test_pca_is_the_one_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.decomposition import PCA

    utterances = [clip(tmp_path / f"{k}.wav", 4.0, k) for k in range(3)]
    plain = make(EncoderSettings.model_validate({"name": "logmel", "logmel": {"pca_dim": None, "mels": 24}}))
    encoder = make(EncoderSettings.model_validate({"name": "logmel", "logmel": {"pca_dim": 4, "mels": 24}}), tmp_path)
    encoder.fit(utterances, lambda: None)
    y = np.concatenate([plain.latents(u).x for u in utterances])
    want = PCA(4).fit(y.astype(np.float64)).transform(y)
    got = np.concatenate([encoder.latents(u).x for u in utterances])
    # float32 projections of 24 bands of size 20 about a float32 mean: 24 · 20 · 2⁻²⁴ = 3e-5.
    assert np.allclose(np.abs(got), np.abs(want), atol=1e-3 * np.abs(want).max())


def steps(rule: str, speaker: str, name: str = "u") -> np.ndarray:
    settings = EncoderSettings.model_validate({"name": "synthetic", "synthetic": {"rule": rule, "noise": 0.0}})
    return np.diff(make(settings).latents(Utterance(name, speaker, "", 20.0)).x.astype(np.float64), axis=0)


def test_synthetic_steps_flip_every_regime() -> None:
    dx = steps("structured", "a")
    sign = np.sign(dx[:, 0])
    flips = np.flatnonzero(np.diff(sign)) + 1
    assert set(np.diff(flips)) == {8}
    # Differences of float32 sums of up to some 100 steps: 100 · 2⁻²⁴ = 6e-6.
    assert np.allclose(np.abs(dx), np.abs(dx[0]), atol=1e-4)
    assert np.allclose(np.mean(dx**2), 1.0, atol=1e-4)
    assert np.allclose(np.abs(steps("structured", "b", "v")[0]), np.abs(dx[0]), atol=1e-4)
    private = steps("private", "a")[0], steps("private", "b")[0]
    cosine = private[0] @ private[1] / np.linalg.norm(private[0]) / np.linalg.norm(private[1])
    assert abs(cosine) < 0.8
    assert len(set(np.diff(np.flatnonzero(np.diff(np.sign(steps("shuffled", "a")[:, 0])))))) > 1
