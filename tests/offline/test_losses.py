"""Losses: their published formulas, their gradients, Parseval, silence and refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import signal

from cspace.offline import losses
from cspace.offline.bank import BankSpec, bidirectional_states
from cspace.offline.losses import CSpaceLoss, SpectralCSpaceLoss
from cspace.offline.losses.spectral import mel_bands
from cspace.plugins import AudioError, ParameterError
from cspace.realtime.clip import clip

RATE = 24_000
SMALL = BankSpec(oscillators=6, low_hz=300.0)


def sounds(frames: int = 6000, batch: int = 2, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    music = clip(3.0, RATE)[:, RATE : RATE + frames][:batch]
    noise = np.random.default_rng(0).standard_normal(music.shape)
    return torch.from_numpy(music + 0.01 * noise).to(dtype), torch.from_numpy(music).to(dtype)


def test_every_loss_is_the_sum_of_its_named_terms() -> None:
    estimate, target = sounds()
    for name in losses.names():
        loss = losses.make(name, sample_rate=RATE)
        total, terms = loss(estimate.requires_grad_(), target)
        assert total.ndim == 0
        assert terms
        assert all(t.ndim == 0 for t in terms.values())
        torch.testing.assert_close(total, torch.stack(list(terms.values())).sum())
        (grad,) = torch.autograd.grad(total, estimate)
        assert bool(torch.isfinite(grad).all())
        assert float(grad.abs().max()) > 0
        same, _ = loss(target, target)
        assert same < total
        assert losses.describe(name)


def test_every_loss_has_finite_gradients_at_its_minimum_and_at_silence() -> None:
    _, target = sounds()
    for name in losses.names():
        loss = losses.make(name, sample_rate=RATE)
        for wanted, start in ((target, target), (torch.zeros_like(target),) * 2, (torch.zeros_like(target), target)):
            x = start.clone().requires_grad_()
            total, _ = loss(x, wanted)
            assert bool(torch.isfinite(total)), name
            (grad,) = torch.autograd.grad(total, x)
            assert bool(torch.isfinite(grad).all()), name


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cspace", {"gain": "energy"}),
        ("cspace_l2", {"gain": "one"}),
        ("cspace_ratio", {}),
        ("cspace_spectral", {"gain": "energy"}),
        ("cspace_spectral_ratio", {"periodic": True}),
        ("v3_embedding", {}),
    ],
)
def test_gradients_of_state_losses(name: str, options: dict[str, Any]) -> None:
    estimate, target = sounds(150, dtype=torch.float64)
    bank = {} if name == "v3_embedding" else {"spec": SMALL}
    loss = losses.make(name, sample_rate=RATE, **bank, **options)
    assert torch.autograd.gradcheck(lambda x: loss(x, target)[0], (estimate.requires_grad_(),), fast_mode=True)


def test_cspace_loss_is_the_distance_of_states_from_the_rust_bank() -> None:
    estimate, target = sounds(4000, batch=1)
    a, b = (bidirectional_states(x[0].numpy(), SMALL, RATE).astype(np.float64) for x in (estimate, target))
    d = a - b
    wanted = {
        "l1": np.abs(d).mean(),
        "l2": np.square(d).mean(),
        "norm": np.sqrt(np.square(d).sum(1)).mean(),
    }
    for distance, value in wanted.items():
        total, terms = CSpaceLoss(SMALL, RATE, distance=distance)(estimate, target)  # type: ignore[arg-type]
        # float32 states of torch's FFT against Rust's recursion, 1e-6 of the largest each, averaged: 1e-7 seen. A
        # missing weight is off by percents.
        assert total.item() == pytest.approx(value, rel=1e-4)
        assert list(terms) == ["states"]
    total, _ = losses.make("cspace_ratio", sample_rate=RATE, spec=SMALL)(estimate, target)
    assert total.item() == pytest.approx(10 * np.log10(np.square(d).mean() / np.square(b).mean()), abs=1e-3)


def test_gain_weights_are_what_they_say() -> None:
    # White noise: mean squares of states driven with unit kernel energy are alike in all oscillators.
    noise = torch.randn(1, 60_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = CSpaceLoss(SMALL, RATE, gain="energy")
    power = loss._states(noise).square().mean((0, 2)).reshape(4, 6).sum(0)
    # Statistics: 60,000 samples, of which the slowest oscillator makes some 100; 1.06 with this noise.
    assert float(power.max() / power.min()) < 1.3
    impulse = torch.zeros(1, 100, dtype=torch.float64)
    impulse[0, 50] = 1.0
    start = CSpaceLoss(SMALL, RATE, gain="one")._states(impulse)[0, :6, 50]
    assert start.numpy() == pytest.approx(np.ones(6))


@pytest.mark.parametrize("law", ["constant_q", "legacy"])
@pytest.mark.parametrize("gain", ["drive", "one", "energy"])
def test_all_states_are_a_weighted_spectrum_by_parseval(law: str, gain: str) -> None:
    spec = BankSpec(oscillators=12, low_hz=100.0, decay_law=law)  # type: ignore[arg-type]
    estimate, target = sounds(3000, dtype=torch.float64)
    ring = spec.ring_samples(RATE, 200.0)
    pad = torch.nn.functional.pad
    states = CSpaceLoss(spec, RATE, gain=gain, distance="l2", cut_db=200.0)  # type: ignore[arg-type]
    long = states(pad(estimate, (ring, ring)), pad(target, (ring, ring)))[0]
    explicit = long * (3000 + 2 * ring) / 3000  # a mean over the sound's own length
    fast = SpectralCSpaceLoss(spec, RATE, gain=gain, pad_db=200.0)(estimate, target)[0]  # type: ignore[arg-type]
    # float64 and rings cut at −200 dB: 1e-10 in amplitude, squared.
    assert fast.item() == pytest.approx(explicit.item(), rel=1e-9)
    # What 80 dB of padding, the default, leaves out:
    assert SpectralCSpaceLoss(spec, RATE, gain=gain)(estimate, target)[0].item() == pytest.approx(  # type: ignore[arg-type]
        explicit.item(), rel=1e-3
    )


def test_parseval_for_a_periodic_sound() -> None:
    # The third of four periods: the bank has settled, and rings from the end of a period into its start.
    spec = BankSpec(oscillators=8, low_hz=200.0)
    estimate, target = sounds(3001, batch=1, dtype=torch.float64)
    periods = -(-spec.ring_samples(RATE, 240.0) // 3001)
    loss = CSpaceLoss(spec, RATE, distance="l2", edge_samples=3001 * periods, cut_db=240.0)
    explicit, _ = loss(*(x.repeat(1, 2 * periods + 1) for x in (estimate, target)))
    fast, _ = SpectralCSpaceLoss(spec, RATE, periodic=True)(estimate, target)
    assert fast.item() == pytest.approx(explicit.item(), rel=1e-9)


def test_ratio_form_does_not_hear_the_level() -> None:
    estimate, target = sounds()
    for name in ("cspace_ratio", "cspace_spectral_ratio"):
        loss = losses.make(name, sample_rate=RATE)
        loud, quiet = loss(estimate, target)[0], loss(0.1 * estimate, 0.1 * target)[0]
        # 0.1 is no power of two, so float32 rounds anew: 10 lg (1 ± 1e-6) = 4e-6 dB seen.
        assert quiet.item() == pytest.approx(loud.item(), abs=1e-3)
        assert loss(0.5 * target, target)[0].item() == pytest.approx(-20 * np.log10(2), abs=1e-3)
        assert loss(target, target)[0].item() == pytest.approx(-100.0)
        assert loss(torch.zeros_like(target), torch.zeros_like(target))[0].item() == pytest.approx(-100.0)


def test_v1_is_the_published_sum() -> None:
    estimate, target = sounds(5000, batch=1)
    _, terms = losses.make("v1", sample_rate=RATE)(estimate, target)
    original = BankSpec.original()
    a, b = (bidirectional_states(x[0].numpy(), original, RATE).astype(np.float64) for x in (estimate, target))
    magnitude = [np.sqrt(z[:, :64] ** 2 + z[:, 64:128] ** 2 + 1e-9) for z in (a, b)]
    assert terms["cspace.states"].item() == pytest.approx(10 * np.abs(a - b).mean(), rel=1e-4)
    assert terms["cspace.magnitude"].item() == pytest.approx(5 * np.abs(magnitude[0] - magnitude[1]).mean(), rel=1e-4)
    assert terms["waveform"].item() == pytest.approx(10 * (estimate - target).abs().mean().item(), rel=1e-6)
    assert [k for k in terms if k.startswith("mel")] == ["mel.mel_512", "mel.mel_1024", "mel.mel_2048"]


def test_v2_weighs_the_three_rates_as_published() -> None:
    estimate, target = sounds(6000, batch=1)
    _, terms = losses.make("v2", sample_rate=RATE)(estimate, target)
    assert [k for k in terms if "mel" not in k] == ["full", "half", "quarter", "waveform"]
    for name, factor, weight in (("full", 1, 10.0), ("half", 2, 5.0), ("quarter", 4, 2.5)):
        spec = BankSpec.original().model_copy(update={"high_hz": 12_000.0 / factor})
        edge = 1000 // factor
        pooled = [x[0].numpy().reshape(-1, factor).mean(1) for x in (estimate, target)]
        a, b = (bidirectional_states(x, spec, RATE / factor)[edge:-edge].astype(np.float64) for x in pooled)
        assert terms[name].item() == pytest.approx(weight * np.sqrt(((a - b) ** 2).sum(1)).mean(), rel=1e-4)


def test_v3_filters_are_the_real_two_pole_ones() -> None:
    loss = losses.V3EmbeddingLoss(RATE)
    x = clip(2.0, RATE)[0, :20_000].astype(np.float64)
    hz, r = np.geomspace(10, 100, 64), np.linspace(0.9999, 0.99999, 64)
    theta = 2 * np.pi * hz / RATE
    both = [
        signal.lfilter([(1 - radius) / 2], [1, -2 * radius * np.cos(t), radius**2], y)[::step]
        for y, step in ((x, 1), (x[::-1], -1))
        for radius, t in zip(r, theta, strict=True)
    ]
    expected = np.tanh(loss.mix.numpy() @ np.array(both))
    got = loss.embedding(torch.from_numpy(x)[None])[0].numpy()
    # float64, poles at 1 − 1e-5, which keep 1e5 roundings: 1e-11. In float32, below: 1e5 · 2⁻²⁴ = 6e-3 at worst, 1e-4
    # seen.
    np.testing.assert_allclose(got, expected, atol=1e-8)
    np.testing.assert_allclose(loss.mix @ loss.mix.T, np.eye(64), atol=1e-12)
    single = loss.embedding(torch.from_numpy(x)[None].float())[0].numpy()
    assert np.abs(single - expected).max() < 1e-3


def test_mel_is_librosas() -> None:
    librosa = pytest.importorskip("librosa")
    x = clip(1.0, RATE)[0]
    power = librosa.feature.melspectrogram(
        y=x, sr=RATE, n_fft=1024, hop_length=256, n_mels=80, htk=True, norm=None, pad_mode="reflect"
    )
    power /= np.square(signal.get_window("hann", 1024)).sum()
    got = losses.MelLoss(RATE).log_mel(torch.from_numpy(x)[None])[0].numpy()
    # Two float32 FFTs of 1024: 1e-7 seen.
    np.testing.assert_allclose(got, np.log1p(power), atol=1e-4)


@pytest.mark.parametrize(("rate", "n_fft", "mels"), [(24_000, 1024, 80), (24_000, 512, 64), (8_000, 2048, 64)])
def test_mel_bands_are_librosas(rate: int, n_fft: int, mels: int) -> None:
    filters = pytest.importorskip("librosa.filters")
    wanted = filters.mel(sr=rate, n_fft=n_fft, n_mels=mels, htk=True, norm=None, dtype="float64")
    np.testing.assert_allclose(mel_bands(rate, n_fft, mels), wanted, atol=1e-12)


def test_refusals_name_what_is_wrong() -> None:
    _, target = sounds()
    with pytest.raises(AudioError, match=r"estimate: has shape \(2, 1, 6000\)"):
        losses.make("cspace")(target[:, None], target)
    with pytest.raises(AudioError, match=r"estimate has shape \(2, 100\), target \(2, 6000\)"):
        losses.make("waveform")(target[:, :100], target)
    with pytest.raises(AudioError, match=r"estimate: has shape \(2, 2000\).*1 sound of 2004 samples"):
        losses.make("v2")(target[:, :2000], target[:, :2000])
    with pytest.raises(AudioError, match=r"1 sound of 1025 samples"):
        losses.make("v3")(target[:, :900], target[:, :900])
    bad = target.clone()
    bad[0, 5] = float("nan")
    with pytest.raises(AudioError, match="target: 1 of 12000 samples are NaN"):
        losses.make("cspace_spectral")(target, bad)
    with pytest.raises(ParameterError, match="no loss 'cspce'; did you mean 'cspace'"):
        losses.make("cspce")
    with pytest.raises(ParameterError, match="'cspace' has no option 'gian'; did you mean 'gain'"):
        losses.make("cspace", gian="energy")
    with pytest.raises(ParameterError, match=r"no option 'distance' \(here 'l2'\)"):
        losses.make("cspace_l2", distance="l1")
    with pytest.raises(ParameterError, match="gain is 'loud'"):
        losses.make("cspace", gain="loud")
    with pytest.raises(ParameterError, match="every weight is 0"):
        losses.WeightedSum({"w": (0.0, losses.WaveformLoss())})
