"""The torch transform against float64 direct convolution and the Rust recursion; gradients; memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import signal

from cspace.offline.bank import BankSpec, bidirectional_states
from cspace.offline.transform import CSpace
from cspace.plugins import AudioError, ParameterError
from cspace.realtime.clip import clip

torch.set_num_threads(1)
RATE = 24_000
FRAMES = 12_000
BANKS = {
    "constant_q": BankSpec(),
    "narrow": BankSpec(oscillators=16, q=80.0),
    "legacy": BankSpec.original(),
}
PATHS = ["fft", "recursion"]


def _voice() -> NDArray[np.float32]:
    """A buzz with a gliding pitch under three moving formants, with pauses: speech in outline."""
    rng = np.random.default_rng(3)
    t = np.arange(FRAMES) / RATE
    pitch = 120 * 2 ** (0.3 * np.sin(2 * np.pi * 2.1 * t))
    buzz = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0) + 0.01 * rng.standard_normal(FRAMES)
    for hz, width in ((600.0, 80.0), (1400.0, 120.0), (2600.0, 200.0)):
        r = np.exp(-np.pi * width / RATE)
        buzz = signal.lfilter([1.0], [1.0, -2 * r * np.cos(2 * np.pi * hz / RATE), r * r], buzz)
    buzz *= np.clip(np.sin(2 * np.pi * 3 * t), 0, 1) ** 0.5
    return (0.9 * buzz / np.abs(buzz).max()).astype(np.float32)


def _impulses() -> NDArray[np.float32]:
    x = np.zeros(FRAMES, np.float32)
    x[[0, 500, 7000, FRAMES - 1]] = [1.0, -0.5, 0.25, 1.0]
    return x


SOUNDS: dict[str, Callable[[], NDArray[np.float32]]] = {
    "speech": _voice,
    "music": lambda: clip(2.0, RATE)[0, RATE : RATE + FRAMES],
    "noise": lambda: np.random.default_rng(1).uniform(-1, 1, FRAMES).astype(np.float32),
    "impulses": _impulses,
}


@cache
def direct(bank: str, sound: str) -> NDArray[np.float64]:
    """Both halves by float64 convolution with whole kernels, written from the published equations [(4 N, T)]."""
    spec, x = BANKS[bank], SOUNDS[sound]().astype(np.float64)
    hz = np.geomspace(spec.low_hz, min(spec.high_hz, 0.49 * RATE), spec.oscillators)
    if spec.decay_law == "legacy":
        r = np.linspace(spec.legacy_r_low, spec.legacy_r_high, spec.oscillators)
    else:
        r = np.exp(-np.pi * hz / (spec.q * RATE))
    n = np.arange(FRAMES)
    kernels = (1 - r)[:, None] * np.exp(n * (np.log(r) + 2j * np.pi * hz / RATE)[:, None])
    ahead = np.array([signal.convolve(x, k, method="fft")[:FRAMES] for k in kernels])
    back = np.array([signal.convolve(x[::-1], k, method="fft")[:FRAMES][::-1] for k in kernels])
    return np.concatenate([ahead.real, ahead.imag, back.real, back.imag])


@pytest.mark.parametrize("sound", SOUNDS)
@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize("path", PATHS)
def test_agrees_with_direct_convolution_and_the_rust_recursion(path: str, bank: str, sound: str) -> None:
    x, spec = SOUNDS[sound](), BANKS[bank]
    expected = direct(bank, sound)
    got = CSpace(spec, RATE, path=path)(torch.from_numpy(x)[None])[0].numpy()  # type: ignore[arg-type]
    rust = bidirectional_states(x, spec, RATE).T
    assert got.dtype == np.float32
    halves = slice(0, 2 * spec.oscillators), slice(2 * spec.oscillators, None)
    for half in halves:
        scale = np.abs(expected[half]).max()
        assert np.abs(got[half] - expected[half]).max() <= 1e-5 * scale  # ten times finer than asked for
        assert np.abs(got[half] - rust[half]).max() <= 1e-5 * scale


@pytest.mark.parametrize("bank", BANKS)
def test_in_float64_only_the_cut_is_left(bank: str) -> None:
    x = torch.from_numpy(SOUNDS["noise"]().astype(np.float64))[None]
    expected = direct(bank, "noise")
    exact = CSpace(BANKS[bank], RATE, path="recursion")
    assert exact.cut_error == 0.0
    # float64 of values below 1: √4097 roundings of 2⁻⁵³ = 7e-15.
    assert np.abs(exact(x)[0].numpy() - expected).max() < 1e-13
    for cut_db in (60.0, 100.0):
        cut = CSpace(BANKS[bank], RATE, cut_db=cut_db)
        error = np.abs(cut(x)[0].numpy() - expected).max()
        assert cut.cut_error <= 10 ** (-cut_db / 20)
        assert error <= cut.cut_error * np.abs(x.numpy()).max() + 1e-13


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("frames", [1, 2, 31, 32, 33, 100, 1025, 4097])
def test_any_length_and_batch(path: str, frames: int) -> None:
    x = np.random.default_rng(frames).standard_normal((3, frames)).astype(np.float32)
    spec = BankSpec(oscillators=5)
    got = CSpace(spec, RATE, path=path)(torch.from_numpy(x))  # type: ignore[arg-type]
    assert got.shape == (3, 20, frames)
    for one, sound in zip(got, x, strict=True):
        # float32 states of size 1, torch's and Rust's, each within 1e-6.
        np.testing.assert_allclose(one.numpy().T, bidirectional_states(sound, spec, RATE), atol=2e-6)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("law", ["constant_q", "legacy"])
def test_gradients(path: str, law: str) -> None:
    module = CSpace(BankSpec(oscillators=3, low_hz=300.0, decay_law=law), RATE, path=path)  # type: ignore[arg-type]
    x = torch.randn(2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))
    assert torch.autograd.gradgradcheck(lambda v: module(v).square(), (x,), fast_mode=True)


@pytest.mark.parametrize("path", PATHS)
def test_gradients_over_several_blocks_are_the_adjoint(path: str) -> None:
    # <g, A x> = <Aᵀ g, x>, at lengths where blocks, groups and levels of the scan are many.
    module = CSpace(BankSpec(oscillators=9, q=2.0, low_hz=200.0), RATE, path=path)  # type: ignore[arg-type]
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(2, 20_000, dtype=torch.float64, generator=rng, requires_grad=True)
    y = module(x)
    with torch.no_grad():
        # float64, two orders of one sum.
        assert torch.allclose(y, module(x), atol=1e-12)  # the path for gradients and the other one
    g = torch.randn(y.shape, dtype=torch.float64, generator=rng)
    (back,) = torch.autograd.grad(y, x, g)
    assert torch.sum(y * g).item() == pytest.approx(torch.sum(back * x).item(), rel=1e-10)


def test_inference_mode_leaves_nothing_that_breaks_training() -> None:
    for path in PATHS:
        module = CSpace(BankSpec(oscillators=4), RATE, path=path)  # type: ignore[arg-type]
        x = torch.randn(1, 300)
        with torch.inference_mode():
            module(x)
        module(x.requires_grad_()).square().sum().backward()
        assert x.grad is not None


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("chunk", [1000, 4096, 50_000])
@pytest.mark.parametrize("bank", ["constant_q", "legacy"])
def test_chunks_are_the_whole(path: str, chunk: int, bank: str) -> None:
    module = CSpace(BANKS[bank], RATE, path=path)  # type: ignore[arg-type]
    x = torch.from_numpy(np.random.default_rng(7).uniform(-1, 1, (1, 60_000)).astype(np.float32))
    whole = module(x[:, :60_000])
    pieces = torch.split(x, [1, 0, 777, 40_000, 19_222], dim=1)
    at = 0
    for start, states in module.chunks(iter(pieces), chunk):
        assert start == at
        # Other lengths take other FFTs: float32, 1e-6 each.
        torch.testing.assert_close(states, whole[..., at : at + states.shape[-1]], atol=2e-6, rtol=0)
        at += states.shape[-1]
    assert at == 60_000
    assert sum(s.shape[-1] for _, s in module.chunks(x, chunk)) == 60_000


def test_one_shape_only() -> None:
    module = CSpace(BankSpec(oscillators=4), RATE)
    with pytest.raises(AudioError, match=r"shape \(2, 1, 100\); \(batch, samples\) is needed; say x\[:, 0\] for mono"):
        module(torch.zeros(2, 1, 100))
    with pytest.raises(AudioError, match=r"shape \(100,\).*say x\[None\]"):
        module(torch.zeros(100))
    with pytest.raises(AudioError, match="int64; float32 or float64"):
        module(torch.zeros(1, 100, dtype=torch.int64))
    with pytest.raises(AudioError, match="at least 1 sound of 1 samples"):
        module(torch.zeros(1, 0))
    with pytest.raises(AudioError, match="2 of 6 samples are NaN or Inf"):
        module(torch.tensor([[0.0, float("nan"), 1.0], [float("inf"), 0.0, 0.0]]))
    with pytest.raises(AudioError, match="ndarray; a torch tensor"):
        module(np.zeros((1, 10)))
    with pytest.raises(AudioError, match="has no samples"):
        list(module.chunks(iter([])))
    with pytest.raises(AudioError, match="a piece has 2 sounds, those before it 1"):
        list(module.chunks(iter([torch.zeros(1, 10), torch.zeros(2, 10)])))
    assert module(torch.zeros(1, 5, dtype=torch.bfloat16)).dtype == torch.float32


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ParameterError, match="path is 'scan'; it is 'fft' or 'recursion'"):
        CSpace(path="scan")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="cut_db is 5; 20 to 320"):
        CSpace(cut_db=5.0)


def test_the_bank_of_every_sample_rate() -> None:
    for rate in (8_000, 48_000):
        x = np.random.default_rng(2).uniform(-1, 1, 3000).astype(np.float32)
        got = CSpace(BankSpec(oscillators=6), rate)(torch.from_numpy(x)[None])[0].numpy().T
        np.testing.assert_allclose(got, bidirectional_states(x, BankSpec(oscillators=6), rate), atol=2e-6)


LONG = """
import sys, torch
torch.set_num_threads(1)
from cspace.offline.bank import BankSpec
from cspace.offline.transform import CSpace

def peak_mib():
    # Not getrusage: its peak is inherited from the process that started this one.
    (line,) = [s for s in open("/proc/self/status") if s.startswith("VmHWM")]
    return int(line.split()[1]) // 1024

module = CSpace(BankSpec(oscillators=int(sys.argv[2])), 24_000, path=sys.argv[1])
for seconds in map(int, sys.argv[3:]):
    frames, energy = 0, 0.0
    for start, states in module.chunks(torch.randn(1, 24_000) for _ in range(seconds)):
        frames += states.shape[-1]
        energy += float(states.square().sum())
    assert frames == seconds * 24_000 and energy > 0
    print(peak_mib())
"""


def peaks_mib(path: str, oscillators: int, *seconds: int) -> list[int]:
    """Peak memory of one process after sounds of these lengths, in turn."""
    asked = [path, str(oscillators), *map(str, seconds)]
    run = subprocess.run([sys.executable, "-c", LONG, *asked], capture_output=True, text=True, check=True)
    return [int(line) for line in run.stdout.split()]


@pytest.mark.heavy
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", PATHS)
def test_twenty_minutes_stay_under_a_gibibyte(path: str) -> None:
    (peak,) = peaks_mib(path, 64, 1200)
    print(f"{path}: {peak} MiB")
    assert peak < 1024


@pytest.mark.parametrize("path", PATHS)
def test_memory_does_not_grow_with_length(path: str) -> None:
    short, long = peaks_mib(path, 16, 4, 30)
    assert long < 1024
    assert long - short < 30  # all states of the difference would be 160 MB


def test_chunks_let_go_of_what_was_read() -> None:
    def pieces() -> Iterator[torch.Tensor]:
        for _ in range(40):
            yield torch.zeros(1, 1000)

    for _, states in CSpace(BankSpec(oscillators=2), RATE).chunks(pieces(), 500):
        assert states.untyped_storage().nbytes() <= 8 * 500 * 4
