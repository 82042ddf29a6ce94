"""How well a filled gap keeps the frequencies of its tones: found in what was filled in, beside the true ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

#: Sequences that are looked at, and steps of the fit: it is exact after a few where the tones are there.
SEQUENCES = 16
STEPS = 20
#: A tone weaker than this share of the true one (−20 dB) is not there.
LEAST_SHARE = 0.1


def tone_errors(filled: F64, clean: F64, omega: F64) -> F64:
    """|found − true| / true frequency of each tone [shape=(sequences, tones)], 0.01 being 1 %.

    Parameters
    ----------
    filled, clean : what was put in, and the truth [shape=(batch, frames, channels)]
    omega : true frequencies in radians per frame [shape=(batch, tones)]

    The frequencies that explain `filled` best are found from the true ones on by variable projection (Golub and
    Pereyra 1973, the Jacobian of Kaufman 1975), amplitudes and phases of each channel free. They may go away by
    half a turn over the gap at most; a tone that does, or that is hardly there, counts with that much.
    """
    filled, clean, omega = filled[:SEQUENCES], clean[:SEQUENCES], omega[:SEQUENCES]
    limit = np.pi / filled.shape[1]
    found, strength = _fit(filled, omega, limit)
    true = _strength(_amplitudes(clean, omega)[1])
    away = np.where(strength < LEAST_SHARE * true, limit, np.minimum(np.abs(found - omega), limit))
    return np.asarray(away / omega, np.float64)


def _basis(frames: int, omega: F64) -> F64:
    """Sines, then cosines [shape=(batch, frames, 2 · tones)]; time runs from the gap's middle."""
    phase = _time(frames)[None, :, None] * omega[:, None]
    return np.asarray(np.concatenate([np.sin(phase), np.cos(phase)], axis=2), np.float64)


def _time(frames: int) -> F64:
    return np.asarray(np.arange(frames) - 0.5 * (frames - 1), np.float64)


def _amplitudes(y: F64, omega: F64) -> tuple[F64, F64, F64]:
    """The basis, orthogonal, the amplitudes [shape=(batch, 2 · tones, channels)], and what they leave of `y`."""
    basis = _basis(y.shape[1], omega)
    q, r = np.linalg.qr(basis)
    inner = q.transpose(0, 2, 1) @ y
    # Close tones in a short gap: held by a little of the diagonal, not by chance.
    r = r + 1e-9 * np.eye(r.shape[-1])
    return q, np.linalg.solve(r, inner), y - q @ inner


def _strength(amplitudes: F64) -> F64:
    tones = amplitudes.shape[1] // 2
    power = (amplitudes**2).sum(2)
    return np.asarray(np.sqrt(power[:, :tones] + power[:, tones:]), np.float64)


def _fit(y: F64, omega: F64, limit: float) -> tuple[F64, F64]:
    """Frequencies and strengths that explain `y`, by damped Gauss-Newton steps of each sequence alone."""
    at, damping = omega.copy(), np.full(len(y), 1e-3)
    q, amplitudes, rest = _amplitudes(y, at)
    left = (rest**2).sum((1, 2))
    tones, t = omega.shape[1], _time(y.shape[1])[None, :, None]
    for _ in range(STEPS):
        phase = t * at[:, None]
        sines, cosines = np.sin(phase), np.cos(phase)
        jacobian = np.empty((len(y), tones, y[0].size))
        for k in range(tones):
            change = t * (
                cosines[:, :, k, None] * amplitudes[:, None, k] - sines[:, :, k, None] * amplitudes[:, None, tones + k]
            )
            jacobian[:, k] = (change - q @ (q.transpose(0, 2, 1) @ change)).reshape(len(y), -1)
        square = jacobian @ jacobian.transpose(0, 2, 1)
        aim = (jacobian @ rest.reshape(len(y), -1, 1))[:, :, 0]
        scale = np.einsum("bkk->bk", square).max(1) + 1e-30
        step = np.linalg.solve(square + (damping * scale)[:, None, None] * np.eye(tones), aim[:, :, None])[:, :, 0]
        tried = np.clip(at + step, omega - limit, omega + limit)
        q_new, amplitudes_new, rest_new = _amplitudes(y, tried)
        left_new = (rest_new**2).sum((1, 2))
        better = left_new < left
        at = np.where(better[:, None], tried, at)
        q, rest = (np.where(better[:, None, None], a, b) for a, b in ((q_new, q), (rest_new, rest)))
        amplitudes = np.where(better[:, None, None], amplitudes_new, amplitudes)
        left = np.where(better, left_new, left)
        damping = np.clip(np.where(better, 0.2 * damping, 10.0 * damping), 1e-9, 1e3)
    return at, _strength(amplitudes)
