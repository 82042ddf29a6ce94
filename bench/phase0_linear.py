"""What a linear prediction makes of the same windows: a ceiling for reading a study that failed.

    python -m bench.phase0_linear RESULTS

Ridge regression of the z-scored step on the flattened context, fitted to the training speakers of a finished run of
`cspace phase0`, measured on its evaluation speakers. All windows are in memory: for small studies.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cspace.offline.phase0 import windows
from cspace.offline.phase0.config import load_config
from cspace.offline.phase0.frames import Frames, read_frames
from cspace.offline.phase0.store import LatentStore

F64 = NDArray[np.float64]
RIDGES = (10.0, 1e3, 1e4)


def rows(store: LatentStore, frames: Frames, lag: int, window: int) -> tuple[F64, F64]:
    """Contexts and steps of all rows, z-scored with the training rows' mean and sd."""
    parts = []
    for i, name in enumerate(frames.utterances):
        x, t = store.read(name).x, frames.t[frames.utterance == i]
        parts.append((windows.flattened(x, t, lag, window), windows.targets(x, t)))
    out = []
    for k in (0, 1):
        x = np.concatenate([p[k] for p in parts]).astype(np.float64)
        train = x[~frames.is_eval]
        out.append((x - train.mean(axis=0)) / np.maximum(train.std(axis=0), 1e-6))
    return out[0], out[1]


def explained(x: F64, y: F64, train: NDArray[np.bool_], ridge: float) -> tuple[float, float]:
    """Share of the squares that is explained, on training and on evaluation rows."""
    w = np.linalg.solve(x[train].T @ x[train] + ridge * np.eye(x.shape[1]), x[train].T @ y[train])
    left = y - x @ w
    a, b = (1 - float(np.sum(left[k] ** 2) / np.sum(y[k] ** 2)) for k in (train, ~train))
    return a, b


def main() -> None:
    """Prints a line for each lag and ridge."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("results", type=Path)
    folder = ask.parse_args().results
    config = load_config(folder / "config.yaml")
    store, frames = LatentStore.open(folder / "latents"), read_frames(folder)
    rate = store.frame_rate_hz
    for lag in config.lag_frames(rate):
        x, y = rows(store, frames, lag, config.window_frames(rate))
        for ridge in RIDGES:
            a, b = explained(x, y, ~frames.is_eval, ridge)
            print(f"{store.encoder}, lag {lag}, ridge {ridge:g}: explained {100 * a:.2f} % train, {100 * b:.2f} % eval")


if __name__ == "__main__":
    main()
