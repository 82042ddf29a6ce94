"""The equaliser's 13 numbers as a curve in dB, and back: many settings at once, in float64.

A setting is (G1 F1, G2 F2 Q2, G3 F3 Q3, G4 F4 Q4, G5 F5) in dB, Hz and Q, as `Eq` takes it. Curves
are those of the filters that run: R. Bristow-Johnson's cookbook is the bilinear transform of analog
prototypes, so each section is its prototype at the warped frequency tan(π f / fs) / tan(π F / fs).
Thread: control or worker.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

#: Parameters of `Eq` in the order of a setting.
NAMES = (
    "low_gain_db",
    "low_center_hz",
    "band1_gain_db",
    "band1_center_hz",
    "band1_q",
    "band2_gain_db",
    "band2_center_hz",
    "band2_q",
    "band3_gain_db",
    "band3_center_hz",
    "band3_q",
    "high_gain_db",
    "high_center_hz",
)
SIZE = len(NAMES)
GAINS = (0, 2, 5, 8, 11)
CENTERS = (1, 3, 6, 9, 12)
QS = (4, 7, 10)
#: Kind of band, and where its gain, centre and Q stand; shelves have none.
BANDS: tuple[tuple[str, int, int, int | None], ...] = (
    ("low", 0, 1, None),
    ("bell", 2, 3, 4),
    ("bell", 5, 6, 7),
    ("bell", 8, 9, 10),
    ("high", 11, 12, None),
)
SHELF_Q = 0.5**0.5
_TOP = 0.49  # of the sample rate: where `Eq` holds a centre that is higher

#: Ranges of the knobs that the settings were made with (SAFE's equaliser).
LOW = np.array([-12, 22, -12, 82, 0.1, -12, 180, 0.1, -12, 220, 0.1, -12, 580], np.float64)
HIGH = np.array([12, 1000, 12, 3900, 10, 12, 4700, 10, 12, 10000, 10, 12, 20000], np.float64)
#: A flat setting: the knobs' positions in that equaliser.
FLAT = np.array([0, 150, 0, 560, 0.71, 0, 1000, 0.71, 0, 3300, 0.71, 0, 8200], np.float64)
IS_LOG = np.array([i in CENTERS or i in QS for i in range(SIZE)])


def grid(points: int = 96, low_hz: float = 20.0, high_hz: float = 20_000.0) -> F64:
    """Frequencies in equal ratios, both ends included."""
    return np.geomspace(low_hz, high_hz, points)


def band_db(kind: str, gain_db: Any, center_hz: Any, q: Any, freqs_hz: F64, sample_rate: float) -> F64:
    """One section's curve in dB [shape=(…, freqs)] for gains, centres and Qs of any common shape."""
    nyquist = 0.5 * sample_rate
    at = np.tan(0.5 * np.pi * np.minimum(freqs_hz, 0.999999 * nyquist) / nyquist)
    center = np.minimum(np.asarray(center_hz, np.float64), _TOP * sample_rate)
    w2 = (at / np.tan(0.5 * np.pi * center / nyquist)[..., None]) ** 2
    a = 10.0 ** (np.asarray(gain_db, np.float64) / 40.0)[..., None]
    width = w2 / np.asarray(q, np.float64)[..., None] ** 2
    if kind == "bell":
        up, down = (1 - w2) ** 2 + width * a * a, (1 - w2) ** 2 + width / (a * a)
        return np.asarray(10.0 * np.log10(up / down))
    near_one, near_a = (1 - a * w2) ** 2 + a * width, (a - w2) ** 2 + a * width
    ratio = near_a / near_one if kind == "low" else near_one / near_a
    return np.asarray(10.0 * np.log10(a * a * ratio))


def response_db(settings: Any, freqs_hz: F64, sample_rate: float = 48_000.0) -> F64:
    """Curves in dB [shape=(…, freqs)] of settings [shape=(…, 13)].

    Equal to `Eq.response_db` up to rounding; at or above half the sample rate, the value at its edge.
    """
    s = np.asarray(settings, np.float64)
    total = np.zeros((*s.shape[:-1], len(freqs_hz)))
    for kind, gain, center, q in BANDS:
        total += band_db(
            kind,
            s[..., gain],
            s[..., center],
            np.full(s.shape[:-1], SHELF_Q) if q is None else s[..., q],
            freqs_hz,
            sample_rate,
        )
    return total


def to_domain(settings: Any) -> F64:
    """Settings with centres and Qs as log2: where a straight line is a fair way between two."""
    s = np.array(settings, np.float64)
    s[..., IS_LOG] = np.log2(s[..., IS_LOG])
    return s


def from_domain(x: Any) -> F64:
    """Inverse of `to_domain`."""
    s = np.array(x, np.float64)
    s[..., IS_LOG] = np.exp2(s[..., IS_LOG])
    return s


# Fits may use more gain than one setting of the data: a correction can be a difference of two.
_FIT_LOW = to_domain(np.where(IS_LOG, LOW, -24.0))
_FIT_HIGH = to_domain(np.where(IS_LOG, HIGH, 24.0))
_FIT_LOW[list(QS)], _FIT_HIGH[list(QS)] = np.log2(0.15), np.log2(8.0)
_STEP = np.where(IS_LOG, 1e-4, 1e-3)


def _jacobian(x: F64, freqs_hz: F64, sample_rate: float) -> tuple[F64, F64]:
    """Curve [shape=(freqs,)] and its derivative [shape=(freqs, 13)] at `x` in the domain of `to_domain`."""
    total = np.zeros(len(freqs_hz))
    jac = np.empty((len(freqs_hz), SIZE))
    for kind, *where in BANDS:
        ids = [i for i in where if i is not None]
        points = np.tile(x[ids], (len(ids) + 1, 1))
        points[np.arange(1, len(ids) + 1), np.arange(len(ids))] += _STEP[ids]
        q = np.exp2(points[:, 2]) if len(ids) == 3 else np.full(len(points), SHELF_Q)
        db = band_db(kind, points[:, 0], np.exp2(points[:, 1]), q, freqs_hz, sample_rate)
        total += db[0]
        jac[:, ids] = ((db[1:] - db[0]) / _STEP[ids, None]).T
    return total, jac


def fit(
    target_db: F64,
    freqs_hz: F64,
    sample_rate: float = 48_000.0,
    *,
    start: F64 | None = None,
    weights: F64 | None = None,
    stay: float = 1e-3,
    rounds: int = 40,
) -> tuple[F64, float]:
    """A setting whose curve is close to `target_db`: Levenberg and Marquardt's method within the knobs' ranges.

    Parameters
    ----------
    target_db : wanted curve [shape=(freqs,)]
    start : setting to set out from, by default flat. From where the knobs are, the way is short and
        the new setting stays near the old one: a moving target does not make bands change places.
    weights : of the frequencies, 1 by default
    stay : pull back to `start`, in dB² per dB² or octave²; it also settles what the curve leaves open

    Returns
    -------
    The setting [shape=(13,)] and the root mean square error left, in dB.
    """
    w = np.ones(len(freqs_hz)) if weights is None else np.sqrt(weights / np.mean(weights))
    home = np.clip(to_domain(FLAT if start is None else start), _FIT_LOW, _FIT_HIGH)
    if float(np.max(np.abs(target_db), initial=0.0)) == 0.0:
        home[list(GAINS)] = 0.0
        return from_domain(home), 0.0
    x, damp = home.copy(), 0.1
    pull = stay * len(freqs_hz) / SIZE
    curve, jac = _jacobian(x, freqs_hz, sample_rate)

    def loss(c: F64, at: F64) -> float:
        return float(np.sum((w * (target_db - c)) ** 2) + pull * np.sum((at - home) ** 2))

    now = loss(curve, x)
    for _ in range(rounds):
        wj = w[:, None] * jac
        gradient = wj.T @ (w * (target_db - curve)) - pull * (x - home)
        held = ((x <= _FIT_LOW) & (gradient < 0)) | ((x >= _FIT_HIGH) & (gradient > 0))
        free = ~held
        normal = wj[:, free].T @ wj[:, free] + pull * np.eye(int(free.sum()))
        normal[np.diag_indices_from(normal)] *= 1.0 + damp
        step = np.zeros(SIZE)
        step[free] = np.clip(np.linalg.solve(normal + 1e-9 * np.eye(len(normal)), gradient[free]), -4.0, 4.0)
        there = np.clip(x + step, _FIT_LOW, _FIT_HIGH)
        trial, trial_jac = _jacobian(there, freqs_hz, sample_rate)
        after = loss(trial, there)
        if after < now:
            small = now - after < 1e-4 * now
            x, curve, jac, now, damp = there, trial, trial_jac, after, max(damp * 0.3, 1e-6)
            if small:
                break
        else:
            damp *= 4.0
            if damp > 1e6:
                break
    rms = float(np.sqrt(np.average((target_db - curve) ** 2, weights=w * w)))
    return from_domain(x), rms
