"""What the model must beat: continuations of a history without it, in NumPy.

Each takes histories float64 [shape=(batch, frames, channels)] and gives what follows [shape=(batch, gap, channels)].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from .spec import TONES

F64 = NDArray[np.float64]

#: Order of all autoregressive rows, and the ridge as a share of the mean square.
ORDER = 30
RIDGE = 1e-3
#: Frames of each delay vector of the DMD.
DELAYS = 16


def zero(history: F64, gap: int) -> F64:
    """Silence."""
    return np.zeros((len(history), gap, history.shape[2]))


def hold(history: F64, gap: int) -> F64:
    """The last frame again and again."""
    return np.repeat(history[:, -1:], gap, axis=1)


def repeat(history: F64, gap: int) -> F64:
    """The last `gap` frames again, as concealment by repetition does; where fewer are there, those in a loop."""
    period = min(gap, history.shape[1])
    loop = history[:, -period:]
    return np.concatenate([loop] * (-(-gap // period)), axis=1)[:, :gap]


def burg(history: F64, gap: int, order: int = ORDER) -> F64:
    """Autoregression of each channel by Burg's method (Burg 1975), run on."""
    batch, frames, channels = history.shape
    x = history.transpose(0, 2, 1).reshape(-1, frames)
    a = burg_coefficients(x, min(order, max(1, frames // 3)))
    past = x[:, -a.shape[1] :] if a.shape[1] <= frames else np.pad(x, ((0, 0), (a.shape[1] - frames, 0)))
    return _run(past, a, gap).reshape(batch, channels, gap).transpose(0, 2, 1)


def burg_coefficients(x: F64, order: int) -> F64:
    """Prediction x[n] = Σ a[k] x[n − 1 − k] [shape=(rows, order)] of rows [shape=(rows, samples)]."""
    forward, backward = x[:, 1:].copy(), x[:, :-1].copy()
    a = np.zeros((len(x), 0))
    for _ in range(order):
        power = np.sum(forward**2 + backward**2, axis=1)
        k = np.where(power > 0.0, 2.0 * np.sum(forward * backward, axis=1) / np.maximum(power, 1e-300), 0.0)[:, None]
        a = np.concatenate([a - k * a[:, ::-1], k], axis=1)
        forward, backward = (forward - k * backward)[:, 1:], (backward - k * forward)[:, :-1]
    return a


def _run(past: F64, a: F64, gap: int) -> F64:
    """`gap` values that rows of coefficients [shape=(rows, order)] give after rows of past."""
    order = a.shape[1]
    out = np.concatenate([past[:, -order:], np.zeros((len(past), gap))], axis=1)
    newest_first = a[:, ::-1]
    for t in range(gap):
        out[:, order + t] = np.sum(newest_first * out[:, t : t + order], axis=1)
    return out[:, order:]


def projection(x: F64) -> F64:
    """Directions over channels that stand above the noise [shape=(channels, rank)], rank ≥ 1, of one history.

    Singular values are kept above the optimal hard threshold for unknown noise (Gavish and Donoho 2014).
    """
    _, s, vh = np.linalg.svd(x, full_matrices=False)
    beta = min(x.shape) / max(x.shape)
    threshold = (0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43) * float(np.median(s))
    return np.ascontiguousarray(vh[: max(1, int(np.sum(s > threshold)))].T)


def ridge(history: F64, gap: int, order: int = ORDER, strength: float = RIDGE) -> F64:
    """One autoregression for all directions of the projection, by least squares with a ridge, run on."""
    out = np.zeros((len(history), gap, history.shape[2]))
    for x, y in zip(history, out, strict=True):
        directions = projection(x)
        z = (x @ directions).T
        p = min(order, max(1, x.shape[0] // 2))
        rows = np.lib.stride_tricks.sliding_window_view(z, p + 1, axis=1).reshape(-1, p + 1)
        past, following = rows[:, :-1][:, ::-1], rows[:, -1]
        gram = past.T @ past
        gram[np.diag_indices(p)] += strength * np.trace(gram) / p + 1e-12
        a = np.linalg.solve(gram, past.T @ following)
        y[:] = _run(z, np.broadcast_to(a, (len(z), p)), gap).T @ directions.T
    return out


def dmd(history: F64, gap: int) -> F64:
    """Dynamic mode decomposition of delay vectors of the projection (Arbabi and Mezić 2017); no mode may grow."""
    out = np.zeros((len(history), gap, history.shape[2]))
    for x, y in zip(history, out, strict=True):
        directions = projection(x)
        z = x @ directions
        delays = min(DELAYS, max(1, len(x) // 2))
        rank = z.shape[1]
        vectors = np.lib.stride_tricks.sliding_window_view(z, delays, axis=0).transpose(2, 1, 0)
        vectors = vectors.reshape(delays * rank, -1)  # [delay, direction] by time, newest delay last
        if vectors.shape[1] < 3:
            continue
        first, second = vectors[:, :-1], vectors[:, 1:]
        u = projection(first.T)
        modes, values = np.linalg.svd(u.T @ first, full_matrices=False)[:2]
        keep = values > 1e-9 * max(values[0], 1e-300)
        u = u @ modes[:, keep]
        step = (u.T @ second) @ np.linalg.pinv(u.T @ first)
        eigenvalues, vectors_of = np.linalg.eig(step)
        eigenvalues = eigenvalues / np.maximum(np.abs(eigenvalues), 1.0)
        weights = np.linalg.lstsq(vectors_of, u.T @ vectors[:, -1], rcond=None)[0]
        ahead = eigenvalues[:, None] ** np.arange(1, gap + 1)
        z_next = ((u @ vectors_of) @ (weights[:, None] * ahead)).real[-rank:]
        y[:] = z_next.T @ directions.T
    return out


def known_frequencies(history: F64, gap: int, omega: F64) -> F64:
    """Least squares of sines and cosines at the true frequencies on the projection, which is found from the past.

    `omega` [shape=(batch, tones)] in radians per frame.
    """
    frames = history.shape[1]
    out = np.zeros((len(history), gap, history.shape[2]))
    for x, y, w in zip(history, out, omega, strict=True):
        phase = np.arange(frames + gap)[:, None] * w
        basis = np.concatenate([np.sin(phase), np.cos(phase)], axis=1)
        directions = projection(x)
        y[:] = basis[frames:] @ np.linalg.lstsq(basis[:frames], x @ directions, rcond=None)[0] @ directions.T
    return out


#: Rows of every table of gaps, in this order.
ROWS: dict[str, Callable[[F64, int], F64]] = {
    "zero": zero,
    "hold": hold,
    "repeat": repeat,
    "Burg AR": burg,
    "DMD": dmd,
    "ridge AR": ridge,
}


# ---- one frame ahead --------------------------------------------------------------------------


def linear_weights(noisy: F64, clean: F64, order: int) -> list[F64]:
    """Filters for all channels that give clean[t + 1] from noisy[t − n + 1 … t], n = 1 … order, by least squares.

    Near the start, where fewer frames are there, the shorter ones predict.
    """
    return [_fitted(noisy, clean, n) for n in range(1, order + 1)]


def _fitted(noisy: F64, clean: F64, order: int) -> F64:
    windows = np.lib.stride_tricks.sliding_window_view(noisy, order, axis=1)[:, :-1]
    target = clean[:, order:]
    rows, aim = windows.reshape(-1, order), target.reshape(-1)
    gram = rows.T @ rows
    gram[np.diag_indices(order)] += 1e-6 * np.trace(gram) / order
    return np.asarray(np.linalg.solve(gram, rows.T @ aim), np.float64)


def linear(noisy: F64, weights: list[F64]) -> F64:
    """Predictions of frames 1 … of `noisy` [shape=(batch, length − 1, channels)], none from beyond the start."""
    out = np.zeros((len(noisy), noisy.shape[1] - 1, noisy.shape[2]))
    for t in range(min(len(weights) - 1, out.shape[1])):
        out[:, t] = np.einsum("btc,t->bc", noisy[:, : t + 1], weights[t])
    full = len(weights)
    if noisy.shape[1] > full:
        out[:, full - 1 :] = np.lib.stride_tricks.sliding_window_view(noisy[:, :-1], full, axis=1) @ weights[-1]
    return out


def bayes_chords(noisy: F64, noise: float) -> F64:
    """The exact causal predictor of `chords` data: all 60 chords, weighted by how well they explain the past.

    No model can do better in mean square; its spectral distances are the floors to compare with.
    """
    chords = _chords(*noisy.shape[1:])
    return np.stack([np.einsum("kt,ktc->tc", belief, chords[:, 1:]) for belief in _beliefs(noisy, noise, chords)])


def bayes_oracle(noisy: F64, noise: float, order: str) -> F64:
    """The exact causal estimate of the oracle of `chords` data [shape=(batch, length − 1, 6)], at unit norm.

    The belief's mean, put on the sphere, is the point of least mean squared distance: the encoder's floor.
    `order` as in `DataSpec.oracle_order`.
    """
    phase = np.linspace(0.0, 4.0 * np.pi, noisy.shape[1])[:-1, None]
    tones = [sorted(c) if order == "lowest" else c for c in permutations(TONES, 3)]
    states = np.stack([np.stack([np.sin(phase * c), np.cos(phase * c)], axis=2).reshape(-1, 6) for c in tones])
    beliefs = _beliefs(noisy, noise, _chords(*noisy.shape[1:]))
    mean = np.stack([np.einsum("kt,ktd->td", belief, states) for belief in beliefs])
    return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=2, keepdims=True), 1e-12), np.float64)


def _chords(length: int, channels: int) -> F64:
    """All 60 chords [shape=(60, length, channels)], in the order of `permutations(TONES, 3)`."""
    from .data import AMPLITUDES

    t = np.linspace(0.0, 4.0 * np.pi, length)
    phase = 2.0 * np.pi * np.arange(channels) / channels
    tone = {f: np.sin(f * t[:, None] + phase) for f in TONES}
    return np.stack([sum(a * tone[f] for a, f in zip(AMPLITUDES, c, strict=True)) for c in permutations(TONES, 3)])


def _beliefs(noisy: F64, noise: float, chords: F64) -> Iterator[F64]:
    """Of each sequence, how probable each chord is by the frames up to t [shape=(chords, length − 1)]."""
    for x in noisy:
        misfit = np.cumsum(np.sum((x[None] - chords) ** 2, axis=2), axis=1)[:, :-1] / (2.0 * max(noise, 1e-6) ** 2)
        belief = np.exp(-(misfit - misfit.min(axis=0)))
        yield belief / belief.sum(axis=0)
