"""The self-organising map (Kohonen 1982) of a model's steps, trained with MiniSom."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from . import modelfile as mf
from .symbols import node_grid

F64 = NDArray[np.float64]

FEATURES = [*("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"), "level", "centroid", "onset"]
#: How far level, centroid and onset go, next to a pitch-class profile of length 1.
_LEVEL, _CENTROID, _ONSET = 0.5, 0.5, 0.25
#: Times each step is shown, and the bounds of the number of showings.
EPOCHS, FEWEST, MOST = 20, 4_000, 60_000
#: Share of the steps that is left out of the training to measure the map.
_TESTED = 0.1
_RATE = (0.5, 0.02)
_LAST_RADIUS = 1.0

Report = Callable[[float], None]


def features(model: mf.Model) -> list[F64]:
    """What the map sees of each track's steps [shape=(steps, 15) each].

    The pitch-class profile has length 1 (0 in silence); level (dB), centroid (octaves) and onset
    strength are scaled by the album's 5th to 95th percentile, so the loudness of a recording does
    not decide where it lies on the map.
    """
    level = [np.maximum(t.steps.level_db, t.level_db - 60.0) - t.level_db for t in model.tracks]
    centroid = [np.log2(np.maximum(t.steps.centroid_hz, 20.0)) for t in model.tracks]
    out = []
    for track, lev, cen in zip(model.tracks, _spread(level), _spread(centroid), strict=True):
        chroma = np.array(track.steps.chroma, np.float64)
        chroma = chroma / np.maximum(np.linalg.norm(chroma, axis=1, keepdims=True), 1e-9)
        rest = np.stack([_LEVEL * lev, _CENTROID * cen, _ONSET * np.array(track.steps.onset)], axis=1)
        out.append(np.concatenate([chroma, rest], axis=1))
    return out


def _spread(values: list[F64]) -> list[F64]:
    low, high = np.percentile(np.concatenate(values), [5, 95])
    return [np.clip((v - low) / max(high - low, 1e-6), -0.25, 1.25) for v in values]


def train(model: mf.Model, *, seed: int = 7, report: Report | None = None) -> mf.Model:
    """The model with a trained map, symbols, quality figures, and each track's path over the map.

    On-line training: Gaussian neighbourhood, radius from half the map to 1 node, rate 0.5 to
    0.02, every step shown 20 times (4,000 to 60,000 showings in all), from weights drawn out of the
    steps. A tenth of the steps is kept out of training and measures the map; the paths use all of them.
    The same seed gives the same map.
    """
    rows, columns = model.settings.map_rows, model.settings.map_columns
    per_track = features(model)
    data = np.concatenate(per_track)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data))
    held = order[: int(_TESTED * len(data))] if len(data) >= 50 else order
    shown = order[len(held) :] if len(data) >= 50 else order
    weights, start = fit(data[shown], rows, columns, seed, report)
    weights = _upright(weights)
    quality = mf.Quality(
        steps_tested=len(held),
        quantisation_error=round(quantisation_error(weights, data[held]), 5),
        topographic_error=round(topographic_error(weights, data[held]), 5),
        untrained_quantisation_error=round(quantisation_error(rng.standard_normal(weights.shape), data[held]), 5),
        sampled_quantisation_error=round(quantisation_error(start, data[held]), 5),
        sampled_topographic_error=round(topographic_error(start, data[held]), 5),
    )
    paths = [best_nodes(weights, x).tolist() for x in per_track]
    trained = mf.Map(
        rows=rows,
        columns=columns,
        seed=seed,
        features=FEATURES,
        weights=mf.rounded(weights.reshape(rows * columns, -1), 4),
        symbols=node_grid(model, paths, rows, columns),
        quality=quality,
    )
    tracks = [t.model_copy(update={"path": p}) for t, p in zip(model.tracks, paths, strict=True)]
    return model.model_copy(update={"map": trained, "tracks": tracks})


def fit(data: F64, rows: int, columns: int, seed: int, report: Report | None = None) -> tuple[F64, F64]:
    """Trained weights, and those the training started from [shape=(rows, columns, features) each]."""
    from minisom import MiniSom

    showings = int(np.clip(EPOCHS * len(data), FEWEST, MOST))
    radius = max(rows, columns) / 2

    # MiniSom's radius falls in a line to 1; counted to a later end, it is _LAST_RADIUS at the last showing.
    # A fall like 1/t fits 15 % closer, but then fewer steps share a node, and the walk copies more (docs/ksom.md).
    end = showings * (radius - 1) / max(radius - _LAST_RADIUS, 1e-9) if radius > _LAST_RADIUS else showings * 1e9

    def slow(first: float, t: int, _: float) -> float:
        return float(first * (_RATE[1] / _RATE[0]) ** (t / showings))

    som = MiniSom(
        rows,
        columns,
        data.shape[1],
        sigma=radius,
        learning_rate=_RATE[0],
        decay_function=slow,
        sigma_decay_function="linear_decay_to_one",
        random_seed=seed,
    )
    som.random_weights_init(data)
    start = som.get_weights().copy()
    order = np.random.default_rng(seed).integers(0, len(data), showings)
    for t, k in enumerate(order):
        x = data[k]
        som.update(x, som.winner(x), t, end)
        if report is not None and t % 500 == 0:
            report(t / showings)
    return som.get_weights().copy(), start


def _distances(weights: F64, data: F64) -> F64:
    flat = weights.reshape(-1, weights.shape[-1])
    square = (data**2).sum(1)[:, None] - 2 * data @ flat.T + (flat**2).sum(1)
    out: F64 = np.sqrt(np.maximum(square, 0.0))
    return out


def best_nodes(weights: F64, data: F64) -> NDArray[np.int64]:
    """Nearest node of each vector, row · columns + column [shape=(vectors,)]."""
    parts = [_distances(weights, data[i : i + 4096]).argmin(axis=1) for i in range(0, len(data), 4096)]
    return np.concatenate(parts)


def quantisation_error(weights: F64, data: F64) -> float:
    """Mean distance of a vector from its nearest node."""
    return float(np.mean([_distances(weights, x[None]).min() for x in data]))


def topographic_error(weights: F64, data: F64) -> float:
    """Share of vectors whose two nearest nodes are not among each other's eight neighbours."""
    two = np.argsort(_distances(weights, data), axis=1)[:, :2]
    row, column = np.divmod(two, weights.shape[1])
    apart = np.maximum(abs(np.diff(row, axis=1)), abs(np.diff(column, axis=1)))
    return float((apart > 1).mean())


def _upright(weights: F64) -> F64:
    """Turned over, where needed, so that bright sounds lie in the high rows and loud ones to the right."""
    brightness = weights[:, :, FEATURES.index("centroid")].mean(axis=1)
    if np.polyfit(np.arange(len(brightness)), brightness, 1)[0] < 0:
        weights = weights[::-1]
    level = weights[:, :, FEATURES.index("level")].mean(axis=0)
    if np.polyfit(np.arange(len(level)), level, 1)[0] < 0:
        weights = weights[:, ::-1]
    return np.ascontiguousarray(weights)
