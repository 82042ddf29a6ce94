"""What can be put into the gaps of a sound, besides the processor `heal`: baselines and candidates, in float64.

A predictor takes what was heard so far, float64 [shape=(samples,)], and says the next `count` samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from ..bank import BankSpec, forward_states
from .baselines import burg_coefficients
from .impute import gaps

if TYPE_CHECKING:
    from .checkpoint import Run

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]
Predictor = Callable[[F64, int], F64]

#: Cross-fade back to sound that is there again, as in the processor.
BACK_SECONDS = 0.002
#: The reference: Burg's method at a generous order.
REFERENCE_ORDER = 512
REFERENCE_SECONDS = 0.060
#: The codec's concealment (rust/engine/src/hosted/conceal.rs).
CONCEAL_AWAY_SECONDS = 0.010
CONCEAL_BACK_SECONDS = 0.005
#: Oscillators of the bank that is turned on, what its weights are fitted to, and their ridge.
OSCILLATORS = 96
FIT_SECONDS = 0.030
RIDGE = 1e-3


def fill(x: F64, lost: Bools, sample_rate: int, predict: Predictor) -> F64:
    """`x` with the lost samples put in from what was heard before each gap, and a cross-fade back after it."""
    heard = np.array(x, np.float64)
    heard[lost] = 0.0
    back = round(BACK_SECONDS * sample_rate)
    for start, end in gaps(lost):
        if start == 0:
            continue
        y = predict(heard[:start], end - start + back)
        heard[start:end] = y[: end - start]
        there = min(back, len(x) - end)
        share = np.arange(1, there + 1) / (back + 1)
        heard[end : end + there] = (1 - share) * y[end - start :][:there] + share * x[end : end + there]
    return heard


def zero(past: F64, count: int) -> F64:
    """Silence."""
    return np.zeros(count)


def burg(order: int, samples: int) -> Predictor:
    """Autoregression by Burg's method (Burg 1975) of the last `samples`, run on."""

    def predict(past: F64, count: int) -> F64:
        window = past[-samples:]
        p = min(order, max(1, len(window) // 3))
        a = burg_coefficients(window[None], p)[0]
        state = signal.lfiltic([1.0], np.concatenate([[1.0], -a]), window[: -p - 1 : -1])
        y = signal.lfilter([1.0], np.concatenate([[1.0], -a]), np.zeros(count), zi=state)[0]
        bound = 1.5 * float(np.max(np.abs(window)))
        return np.asarray(np.clip(np.nan_to_num(y), -bound, bound), np.float64)

    return predict


def reference(sample_rate: int) -> Predictor:
    """Waveform Burg AR at a generous order."""
    return burg(REFERENCE_ORDER, round(REFERENCE_SECONDS * sample_rate))


def conceal(decoded: F64, lost: Bools, sample_rate: int) -> F64:
    """The codec's own concealment: the last sound backwards on its way to silence, and a cross-fade back."""
    heard = np.array(decoded, np.float64)
    away, back = round(CONCEAL_AWAY_SECONDS * sample_rate), round(CONCEAL_BACK_SECONDS * sample_rate)
    for start, end in gaps(lost):
        until = min(end + back, len(heard))
        stand_in = np.zeros(until - start)
        known = min(away, start, until - start)
        backwards = heard[start - known : start][::-1]
        stand_in[:known] = backwards * (1.0 - np.arange(known) / away)
        heard[start:end] = stand_in[: end - start]
        share = np.arange(1, until - end + 1) / back
        heard[end:until] = stand_in[end - start :] * (1 - share) + decoded[end:until] * share
    return heard


# ---- oscillators turned on --------------------------------------------------------------------


def _features(states: NDArray[np.complex128]) -> F64:
    return np.concatenate([states.real, -states.imag], axis=-1)


def _weights(features: F64, x: F64) -> F64:
    gram = features.T @ features
    gram[np.diag_indices(len(gram))] += RIDGE * np.trace(gram) / len(gram) + 1e-12
    return np.asarray(np.linalg.solve(gram, features.T @ x), np.float64)


def oscillators(sample_rate: int) -> Predictor:
    """The CSpace bank turned on: each oscillator at its measured frequency and held amplitude.

    Frequencies are mean phase steps of the last 5 ms, weights of the sum are fitted to the last 30 ms.
    """
    spec = BankSpec(oscillators=OSCILLATORS, low_hz=50.0, high_hz=0.45 * sample_rate)
    fit, steps = round(FIT_SECONDS * sample_rate), round(0.005 * sample_rate)

    def predict(past: F64, count: int) -> F64:
        window = past[-4 * fit :].astype(np.float32)
        flat = forward_states(window, spec, sample_rate).astype(np.float64)
        states = flat[:, :OSCILLATORS] + 1j * flat[:, OSCILLATORS:]
        last = states[-fit:]
        weights = _weights(_features(last), past[-len(last) :])
        turn = np.angle(np.sum(states[-steps:] * np.conj(states[-steps - 1 : -1]), axis=0))
        on = states[-1] * np.exp(1j * turn * np.arange(1, count + 1)[:, None])
        return np.asarray(_features(on) @ weights, np.float64)

    return predict


def manifold(run: Run) -> Predictor:
    """A trained manifold on frames of the CSpace bank, rolled on; between frames each turns at its centre."""
    from .data import frames_of
    from .impute import fill as fill_frames

    data = run.spec.data
    half, hop, rate = data.channels // 2, data.hop, data.sample_rate
    centres = BankSpec(oscillators=half, low_hz=60.0, high_hz=0.45 * rate).centers_hz(rate)
    within = np.exp(2j * np.pi * centres / rate * np.arange(hop)[:, None])

    def waves(frames: Any) -> F64:
        flat = np.asarray(frames, np.float64)
        states = flat[:, :half] + 1j * flat[:, half:]
        return _features((states[:, None, :] * within).reshape(-1, half))

    def predict(past: F64, count: int) -> F64:
        usable = min(len(past), 8192) // hop * hop
        frames = frames_of(past[len(past) - usable :].astype(np.float32), data)
        # The last frame lies hop − 1 samples before the end, so the first new one is what comes next.
        more = -(-count // hop)
        known = len(frames)
        lost = np.arange(known + more) >= known
        long = np.concatenate([frames, np.zeros((more, data.channels), np.float32)])
        filled = fill_frames(run.model, long, lost, window=data.length, normalise=True)
        recent = round(FIT_SECONDS * rate) // hop
        weights = _weights(waves(frames[-recent:]), past[-recent * hop :])
        return np.asarray((waves(filled[known:]) @ weights)[:count], np.float64)

    return predict
