"""Live states in both directions: against the whole transform, and the law of what the window leaves out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from cspace.offline.bank import BankSpec, bidirectional_states
from cspace.offline.transform import StreamingCSpace
from cspace.plugins import AudioError, ParameterError
from cspace.realtime.clip import clip

RATE = 24_000
BANKS = [BankSpec(), BankSpec(oscillators=10, q=30.0), BankSpec.original()]


def all_rows(live: StreamingCSpace, x: np.ndarray, block: int) -> np.ndarray:
    parts = [live.process(x[i : i + block]) for i in range(0, len(x), block)]
    return np.concatenate([*parts, live.finish()])


@pytest.mark.parametrize("spec", BANKS)
def test_what_the_window_leaves_out_is_the_later_state_faded(spec: BankSpec) -> None:
    x = clip(2.0, RATE)[0, 10_000:22_000]
    whole = bidirectional_states(x, spec, RATE).astype(np.float64)
    n = spec.oscillators
    live = StreamingCSpace(spec, RATE, lookahead_ms=20.0)
    assert live.latency_samples == 480
    rows = all_rows(live, x, 512)
    assert np.array_equal(rows[:, : 2 * n], whole[:, : 2 * n].astype(np.float32))  # the forward half, bit for bit
    back = whole[:, 2 * n : 3 * n] + 1j * whole[:, 3 * n :]
    decay, angle = spec.poles(RATE)
    later = np.zeros_like(back)
    later[:-481] = back[481:]
    missing = later * np.exp(481 * (-decay + 1j * angle))
    got = rows[:, 2 * n : 3 * n] + 1j * rows[:, 3 * n :]
    # float32 recursions, 2⁻²⁴ a step and a memory of some hundred steps: 1e-6 each.
    assert np.abs(back - got - missing).max() < 1e-5 * np.abs(back).max()
    np.testing.assert_allclose(live.truncation_db, 20 * np.log10(np.exp(-481 * decay)), rtol=1e-9)


def test_a_long_window_is_the_whole_transform() -> None:
    x = clip(1.0, RATE)[0, :9000]
    spec = BankSpec(oscillators=12, low_hz=200.0)
    live = StreamingCSpace(spec, RATE, lookahead_ms=spec.ring_samples(RATE, 140.0) / RATE * 1000)
    whole = bidirectional_states(x, spec, RATE)
    # The window is cut at −140 dB, 1e-7; the rest is float32 as above.
    assert np.abs(all_rows(live, x, 1000) - whole).max() < 3e-6 * np.abs(whole).max()


@pytest.mark.parametrize("hop", [1, 50])
def test_blocks_do_not_matter_and_latency_is_what_it_says(hop: int) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 3000).astype(np.float32)
    live = StreamingCSpace(BankSpec(oscillators=20), RATE, lookahead_ms=10.0, hop=hop)
    whole = all_rows(live, x, 3000)
    assert len(whole) == -(-3000 // hop)
    for block in (1, 64, 65, 128, 997):
        assert np.array_equal(all_rows(live, x, block), whole)
    assert len(live.process(x[: live.latency_samples])) == 0
    assert np.array_equal(live.process(x[live.latency_samples :][:1]), whole[:1])  # row 0 is there, D samples late
    live.reset()
    assert len(live.process(x[:240])) == 0


def test_no_torch() -> None:
    code = "import sys, cspace.offline.transform as t; t.StreamingCSpace(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_be_taken_is_named() -> None:
    with pytest.raises(ParameterError, match=r"lookahead_ms is -1; 0 ms or more"):
        StreamingCSpace(lookahead_ms=-1)
    with pytest.raises(ParameterError, match=r"is 1e\+06; at most 21845 ms can be kept for 64 oscillators"):
        StreamingCSpace(lookahead_ms=1e6)
    with pytest.raises(ParameterError, match="hop is 0"):
        StreamingCSpace(hop=0)
    live = StreamingCSpace(BankSpec(oscillators=4))
    with pytest.raises(AudioError, match=r"shape \(2, 100\); one channel"):
        live.process(np.zeros((2, 100), np.float32))
    with pytest.raises(AudioError, match="holds int16; float32"):
        live.process(np.zeros(100, np.int16))
    with pytest.raises(AudioError, match="1 of 3 samples are NaN or Inf"):
        live.process(np.array([0.0, np.nan, 1.0], np.float32))
    assert live.process(np.zeros(0, np.float32)).shape == (0, 16)
