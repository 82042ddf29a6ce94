"""The window, seen on latents that say their own time."""

from __future__ import annotations

import numpy as np
import pytest

from cspace.offline.phase0 import windows
from cspace.plugins import ParameterError


def clock(frames: int, dim: int = 1) -> np.ndarray:
    return np.repeat(np.arange(frames, dtype=np.float32)[:, None], dim, axis=1)


@pytest.mark.parametrize("lag", [1, 2, 4, 7])
@pytest.mark.parametrize("window", [1, 3, 8])
def test_context_is_the_frames_from_t_minus_lag_minus_window_to_t_minus_lag_minus_one(lag: int, window: int) -> None:
    x = clock(40)
    t = windows.valid_times(40, window, 7)
    assert t[0] == window + 7
    assert t[-1] == 39
    got = windows.contexts(x, t, lag, window)
    assert got.shape == (len(t), window, 1)
    for k, time in enumerate(t):
        assert got[k, :, 0].tolist() == list(range(time - lag - window, time - lag))
        assert windows.context_span(int(time), lag, window) == (time - lag - window, time - lag)
    # The step's own frames, t and t − 1, are never seen, and the earliest t uses frame 0 at the longest lag.
    assert got.max(axis=(1, 2)).max() <= 39 - lag - 1
    assert windows.contexts(x, t[:1], 7, window)[0, 0, 0] == 0.0


def test_chosen_times_give_the_rows_of_all_times() -> None:
    x = np.random.default_rng(1).standard_normal((60, 5)).astype(np.float32)
    every = windows.valid_times(60, 8, 4)
    some = every[[3, 0, 17, 17, 40]]
    for lag in (1, 4):
        rows = windows.contexts(x, every, lag, 8)
        assert np.array_equal(windows.contexts(x, some, lag, 8), rows[some - every[0]])
        assert np.array_equal(windows.flattened(x, some, lag, 8), rows[some - every[0]].reshape(5, -1))
        # Summed in float64, stored as float32: frames below 40, of which 2⁻²⁵ is 1e-6 at most; 1e-8 seen.
        assert np.allclose(windows.pooled(x, some, lag, 8), rows[some - every[0]].mean(axis=1), atol=1e-6)
    assert windows.contexts(x, every, 1, 8).base is not None  # a view: W times the memory is not taken


def test_targets_are_steps_into_the_frame() -> None:
    x = clock(10) ** 2
    assert windows.targets(x, [1, 5, 9])[:, 0].tolist() == [1.0, 9.0, 17.0]


@pytest.mark.parametrize(("frames", "count"), [(0, 0), (11, 0), (12, 0), (13, 1), (14, 2)])
def test_short_utterances_have_no_times(frames: int, count: int) -> None:
    assert len(windows.valid_times(frames, 8, 4)) == count
    assert windows.contexts(clock(frames), windows.valid_times(frames, 8, 4), 4, 8).shape == (count, 8, 1)


def test_times_outside_are_named() -> None:
    x = clock(20)
    with pytest.raises(ParameterError, match=r"frame 8 has no whole context; with window 8 and lag 1, t is 9 … 21"):
        windows.contexts(x, [8, 9], 1, 8)
    with pytest.raises(ParameterError, match=r"frame 22 has no whole context"):
        windows.contexts(x, [22], 1, 8)
    with pytest.raises(ParameterError, match=r"frame 0 has no step; t is 1 … 19"):
        windows.targets(x, [0])
    with pytest.raises(ParameterError, match="frame 20 has no step"):
        windows.targets(x, [20])
    with pytest.raises(ParameterError, match="both must be 1 or more"):
        windows.valid_times(20, 0, 4)
    with pytest.raises(ParameterError, match="whole numbers"):
        windows.targets(x, [1.5])
