"""Step `fit`: clusters, components and step sizes, from training speakers alone; each file once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...wholefile import write_json
from . import fits
from .config import Phase0Config, fingerprint
from .fits import Conditioner, base
from .frames import Block, Frames
from .kmeans import KMeans, fit_sample, group_sums, nearest, refine
from .pca import Pca, as_tensors, fit_pca, pieces
from .splits import Splits
from .work import Workers

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


class Fitting:
    """All fits of a run. What is there from the same settings is kept, so an interrupted run goes on."""

    def __init__(
        self, config: Phase0Config, frames: Frames, splits: Splits, latents: Path, folder: Path, rate: float, key: str
    ):
        self.config, self.folder, self.latents, self.key = config, folder, str(latents), key
        self.window, self.lags = config.window_frames(rate), config.lag_frames(rate)
        held = set(splits.holdout)
        held_rows = np.array([u in held for u in frames.utterances])[frames.utterance]
        size = config.run.block_windows
        self.train = frames.blocks(size, ~frames.is_eval)
        self.fit = frames.blocks(size, ~frames.is_eval & ~held_rows)
        self.holdout = frames.blocks(size, ~frames.is_eval & held_rows)
        self.frames = frames

    def run(self, workers: Workers, say: Callable[[str], None]) -> None:
        """Fits what is missing, lag by lag."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._norm(workers, say)
        basis: F32 | None = None
        for lag in self.lags:
            if any(c.startswith("pca8") for c in self.config.conditions):
                basis = self._pca(workers, lag, basis, say)
            for condition in self.config.conditions:
                if condition != "random":
                    self._condition(workers, condition, lag, say)

    def _about(self, what: str, speakers: list[str], windows: int, **more: Any) -> dict[str, Any]:
        return {"key": self._key(what), "fitted_to": {"speakers": speakers, "windows": windows}, **more}

    def _key(self, what: str) -> str:
        return fingerprint(self.key, what)

    # ---- the size of steps ----

    def _norm(self, workers: Workers, say: Callable[[str], None]) -> None:
        paths = [self.folder / f"norm_stats_lag{lag}.json" for lag in self.lags]
        if all(fits.finished(p, self._key(p.name)) for p in paths):
            return
        say("steps: mean and standard deviation")
        n, speakers = 0, set[str]()
        total: Any = 0.0
        square: Any = 0.0
        for count, part, part_square, who in workers.map(_step_sums, self.train, self.latents):
            n, total, square, speakers = n + count, total + part, square + part_square, speakers | who
        mean = total / n
        sd = np.maximum(np.sqrt(np.maximum(square / n - mean**2, 0.0)), fits.SD_FLOOR)
        for lag, path in zip(self.lags, paths, strict=True):
            # One set of times serves all lags, so the numbers are the same; each lag has its file all the same.
            about = {"speakers": sorted(speakers), "windows": n}
            fits.save_norm(self.folder, lag, self._key(path.name), np.asarray(mean), sd, about)

    # ---- components ----

    def _pca(self, workers: Workers, lag: int, basis: F32 | None, say: Callable[[str], None]) -> F32:
        wanted = [c for c in self.config.conditions if c.startswith("pca8")]
        paths = [base(self.folder, c, lag, "pca.json") for c in wanted]
        if not all(fits.finished(p, self._key(p.name)) for p in paths):
            say(f"lag {lag}: principal components")
            s = self.config.fit
            pca = fit_pca(
                workers,
                self.fit,
                self.latents,
                lag,
                self.window,
                s.pca_dims,
                most_passes=s.pca_passes,
                seed=self.config.seed,
                basis=basis,
            )
            for path in paths:
                self._save_pca(path, pca)
        held = fits.read_tensors(paths[0].with_suffix(".safetensors"), ["basis"])["basis"]
        return np.asarray(held, np.float32)

    def _save_pca(self, path: Path, pca: Pca) -> None:
        fits.write_tensors(path.with_suffix(".safetensors"), as_tensors(pca))
        write_json(
            path,
            self._about(
                path.name,
                pca.speakers,
                pca.windows,
                explained=pca.explained,
                variances=pca.variances,
                passes=pca.passes,
                converged=pca.converged,
            ),
        )

    # ---- clusters and bins ----

    def _condition(self, workers: Workers, condition: str, lag: int, say: Callable[[str], None]) -> None:
        clusters = base(self.folder, condition, lag, "clusters.json")
        if fits.finished(clusters, self._key(clusters.name)):
            return
        kind = "bins" if condition == "pca8_quartile" else "kmeans"
        path = base(self.folder, condition, lag, f"{kind}.json")
        if not fits.finished(path, self._key(path.name)):
            say(f"lag {lag}: {condition}")
            (self._bins if kind == "bins" else self._kmeans)(workers, condition, lag, path)
        found = fits.load(self.folder, condition, lag, self.window)
        counts = np.zeros(found.most_ids, np.int64)
        for part in workers.map(_counts, self.train, self.latents, found):
            ids, count = part
            counts[ids] += count
        some = np.flatnonzero(counts)
        speakers = fits.read_about(path)["fitted_to"]["speakers"]
        write_json(
            clusters,
            self._about(
                clusters.name, speakers, int(counts.sum()), ids=some, train_counts=counts[some], most_ids=found.most_ids
            ),
        )

    def _features(self, condition: str, lag: int) -> Conditioner:
        """The part before the clusters."""
        if condition == "mean_vq64":
            return Conditioner(condition, lag, self.window)
        pca = fits.read_tensors(base(self.folder, condition, lag, "pca.safetensors"), ["mean", "axes"])
        return Conditioner(condition, lag, self.window, **pca)

    def _kmeans(self, workers: Workers, condition: str, lag: int, path: Path) -> None:
        s, front = self.config.fit, self._features(condition, lag)
        k = s.vq64_clusters if condition == "mean_vq64" else s.vq256_clusters
        everything = sum(b.rows for b in self.fit)
        blocks = self.fit if everything <= s.sample_windows else self._sample(s.sample_windows)
        x, speakers = _gather(workers.map(_feature_rows, blocks, self.latents, front))
        found = fit_sample(
            x, k, starts=s.starts, iterations=s.iterations, seed=self.config.seed, threads=Workers().count
        )
        if everything > len(x):
            # Small features (8 components) are kept; large ones are made again for each pass.
            found = refine(found, partial(_all_sums, workers, self.fit, self.latents, front), s.full_passes)
            speakers = sorted({self.frames.speakers[b.speaker] for b in self.fit} | set(speakers))
        more: dict[str, Any] = {}
        if self.holdout:
            n, square = 0, 0.0
            for _, count, part in _all_sums(workers, self.holdout, self.latents, front, found.centres):
                n, square = n + int(count.sum()), square + part
            more = {"holdout_inertia": square / n, "holdout_windows": n}
        fits.write_tensors(path.with_suffix(".safetensors"), {"centres": found.centres})
        write_json(path, self._about(path.name, speakers, everything, **_told(found, len(x)), **more))

    def _sample(self, size: int) -> list[Block]:
        """Blocks of every n-th row of the fit's, so that each utterance has its share."""
        rows = np.zeros(len(self.frames), bool)
        held = {b for block in self.holdout for b, _ in block.parts}
        ok = np.array([u not in held for u in self.frames.utterances])[self.frames.utterance] & ~self.frames.is_eval
        chosen = np.flatnonzero(ok)
        rows[chosen[np.linspace(0, len(chosen) - 1, size).round().astype(np.int64)]] = True
        return self.frames.blocks(self.config.run.block_windows, rows)

    def _bins(self, workers: Workers, condition: str, lag: int, path: Path) -> None:
        """Quartiles of each component: 8 numbers to a window are few enough to hold."""
        x, speakers = _gather(workers.map(_feature_rows, self.fit, self.latents, self._features(condition, lag)))
        edges = np.quantile(x, [0.25, 0.5, 0.75], axis=0).T.astype(np.float32)
        fits.write_tensors(path.with_suffix(".safetensors"), {"edges": edges})
        write_json(path, self._about(path.name, speakers, len(x), edges=edges))


def _told(found: KMeans, sample: int) -> dict[str, Any]:
    return {
        "clusters": len(found.centres),
        "inertia": found.inertia,
        "best_start": found.best_start,
        "iterations": found.iterations,
        "full_passes": found.full_passes,
        "sample_windows": sample,
    }


def _gather(parts: Iterator[tuple[F32, set[str]]]) -> tuple[F32, list[str]]:
    rows, speakers = [], set[str]()
    for x, who in parts:
        rows.append(x)
        speakers |= who
    return np.concatenate(rows), sorted(speakers)


def _all_sums(
    workers: Workers, blocks: list[Block], folder: str, front: Conditioner, centres: F32
) -> Iterator[tuple[F64, F64, float]]:
    return workers.map(_cluster_sums, blocks, folder, front, centres)


# ---- what workers do -------------------------------------------------------------------------


def _step_sums(block: Block, folder: str) -> tuple[int, F64, F64, set[str]]:
    dx, speakers = fits.steps(block, folder)
    wide = dx.astype(np.float64)
    return len(dx), wide.sum(axis=0), np.einsum("ij,ij->j", wide, wide), speakers


def _feature_rows(block: Block, folder: str, front: Conditioner) -> tuple[F32, set[str]]:
    rows, speakers = [], set()
    for _, found, who in pieces(block, folder, front.lag, front.window):
        rows.append(front.features(found))
        speakers.add(who)
    return np.concatenate(rows), speakers


def _cluster_sums(block: Block, folder: str, front: Conditioner, centres: F32) -> tuple[F64, F64, float]:
    x, _ = _feature_rows(block, folder, front)
    ids, distance = nearest(x, centres)
    counts = np.bincount(ids, minlength=len(centres)).astype(np.float64)
    return group_sums(x, ids, len(centres)), counts, float(distance.sum(dtype=np.float64))


def _counts(block: Block, folder: str, found: Conditioner) -> tuple[NDArray[Any], NDArray[Any]]:
    ids, _ = fits.conditioned(block, folder, found)
    return np.unique(ids, return_counts=True)
