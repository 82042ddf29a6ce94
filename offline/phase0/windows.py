"""The window, defined once: which frames are the context of a frame, and what is asked about it.

With lag L and W frames of context, the context of frame t is x[t−L−W], …, x[t−L−1]: it ends before t−L, so that
with L = 1 the frame t−1, from which the step dx[t] = x[t] − x[t−1] is taken, is not part of it. (The original
had three definitions, one frame apart from each other.)
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from ...plugins._errors import ParameterError

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


def first_time(window: int, max_lag: int) -> int:
    """The first t that has a whole context at every lag up to `max_lag`."""
    _check(window, max_lag)
    return window + max_lag


def valid_times(n_frames: int, window: int, max_lag: int, *, margin: int = 0) -> I64:
    """All t of an utterance: W + max lag ≤ t < n_frames − margin [shape=(n,)]; empty for one that is too short.

    The same t for every lag, so that lags are compared on the same steps. `margin` leaves frames at the end for
    what looks ahead, such as rollouts.
    """
    return np.arange(first_time(window, max_lag), max(n_frames - margin, first_time(window, max_lag)))


def context_span(t: int, lag: int, window: int) -> tuple[int, int]:
    """The frames of t's context as a half-open range: (t−L−W, t−L)."""
    return t - lag - window, t - lag


def contexts(x: F32, t: ArrayLike, lag: int, window: int) -> F32:
    """The contexts of frames t [shape=(n, W, D)], in order of time along the second axis.

    A view where the t follow each other, a copy of n · W · D values otherwise: take t in pieces.

    Parameters
    ----------
    x : float32 [shape=(T, D)], latents of one utterance
    t : whole numbers [shape=(n,)], each from W + L to T (T itself may be asked for: its context is there)

    Raises ParameterError for a t without a whole context.
    """
    _check(window, lag)
    times = _times(t)
    if x.ndim != 2:
        raise ParameterError(f"latents of shape {x.shape}; they are (frames, dimensions)")
    if not len(times):
        return np.zeros((0, window, x.shape[1]), x.dtype)
    low, high = window + lag, len(x) + lag
    if times.min() < low or times.max() > high:
        bad = int(times.min() if times.min() < low else times.max())
        raise ParameterError(
            f"frame {bad} has no whole context; with window {window} and lag {lag}, t is {low} … {high}"
        )
    start = times - lag - window
    if len(times) == times[-1] - times[0] + 1 and bool(np.all(np.diff(times) == 1)):
        seen = x[start[0] : start[-1] + window]
        view: F32 = sliding_window_view(seen, window, axis=0).transpose(0, 2, 1)
        return view
    rows: F32 = x[start[:, None] + np.arange(window)]
    return rows


def targets(x: F32, t: ArrayLike) -> F32:
    """The steps dx[t] = x[t] − x[t−1] [shape=(n, D)]. Raises ParameterError for a t outside 1 … T − 1."""
    times = _times(t)
    if len(times) and (times.min() < 1 or times.max() >= len(x)):
        bad = int(times.min() if times.min() < 1 else times.max())
        raise ParameterError(f"frame {bad} has no step; t is 1 … {len(x) - 1}")
    step: F32 = x[times] - x[times - 1]
    return step


def pooled(x: F32, t: ArrayLike, lag: int, window: int) -> F32:
    """Means of the contexts [shape=(n, D)], summed in double precision."""
    found = contexts(x, t, lag, window)
    mean: F32 = found.mean(axis=1, dtype=np.float64).astype(np.float32)
    return mean


def flattened(x: F32, t: ArrayLike, lag: int, window: int) -> F32:
    """Contexts as rows [shape=(n, W · D)], the oldest frame first."""
    found = contexts(x, t, lag, window)
    return found.reshape(len(found), window * x.shape[1])


def _times(t: ArrayLike) -> I64:
    times = np.atleast_1d(np.asarray(t))
    if times.ndim != 1 or not (np.issubdtype(times.dtype, np.integer) or not len(times)):
        raise ParameterError(f"times of shape {times.shape} and type {times.dtype}; whole numbers in a row are needed")
    return times.astype(np.int64, copy=False)


def _check(window: int, lag: int) -> None:
    if window < 1 or lag < 1:
        raise ParameterError(f"window {window}, lag {lag}; both must be 1 or more")
