"""Step `evaluate`: what the ids of each condition tell about the step to come. Nothing is fitted here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import FileError
from ...textfile import read_text
from ...wholefile import write_json
from . import fits
from .config import Phase0Config, fingerprint
from .frames import Frames
from .moments import VARIANCE_FLOOR, Labels, Spread, Sums, dimension_parts, spread, sum_by_group
from .work import Workers

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

SLICES = ("all", "high_energy", "utterance_medial", "initial", "final")
SPLITS = ("train", "eval")
#: A row's class: place in its utterance (initial, medial, final) × 2 + high energy. Slices are sums of classes.
CLASSES = 6
_OF_SLICE = {"all": range(6), "high_energy": (1, 3, 5), "initial": (0, 1), "utterance_medial": (2, 3), "final": (4, 5)}
#: Steps of the curve of kept confidence.
LEVELS = 10
#: Seeds of the permuted ids, over the run's.
PERMUTED_SEED = {"train": 1000, "eval": 2000}
RANDOM_SEED = 3000


@dataclass(frozen=True)
class Half:
    """One split of a cell: rows, their effective ids (−1: left out), classes and confidence."""

    name: str
    blocks: list[Any]
    speakers: list[str]
    ids: I32
    classes: I32
    level: I32 | None


class Evaluation:
    """All cells of a run; one that is there from the same fits is kept, so an interrupted run goes on."""

    def __init__(
        self, config: Phase0Config, frames: Frames, latents: Path, folder: Path, fitted: Path, rate: float, key: str
    ):
        self.config, self.frames, self.folder, self.fitted, self.key = config, frames, folder, fitted, key
        self.latents = str(latents)
        self.window, self.lags = config.window_frames(rate), config.lag_frames(rate)
        self.rows = {"train": np.flatnonzero(~frames.is_eval), "eval": np.flatnonzero(frames.is_eval)}
        size = config.run.block_windows
        self.blocks = {"train": frames.blocks(size, ~frames.is_eval), "eval": frames.blocks(size, frames.is_eval)}
        d = config.decision
        place = np.where(frames.pos_frac < d.medial_low, 0, np.where(frames.pos_frac > d.medial_high, 2, 1))
        self.classes = (place * 2 + frames.is_high_energy).astype(np.int32)

    def run(self, workers: Workers, say: Callable[[str], None]) -> list[dict[str, Any]]:
        """All cells, condition by condition."""
        cells = []
        for condition in self.config.conditions:
            for lag in self.lags:
                path = self.folder / f"{condition}_lag{lag}.json"
                key = fingerprint(self.key, condition, lag)
                if not fits.finished(path, key):
                    say(f"{condition}, lag {lag}")
                    write_json(path, {"key": key, **self._cell(workers, condition, lag)})
                cells.append(_read(path))
        return cells

    # ---- ids -----------------------------------------------------------------------------------

    def _ids(self, workers: Workers, condition: str, lag: int) -> tuple[dict[str, I32], dict[str, F32] | None, I64]:
        """Ids and distances of each split's rows, and the number of training rows of each id."""
        if condition == "random":
            k = self.config.fit.vq64_clusters
            ids = {
                s: np.random.default_rng([self.config.seed, RANDOM_SEED, lag, i])
                .integers(0, k, len(self.rows[s]))
                .astype(np.int32)
                for i, s in enumerate(SPLITS)
            }
            return ids, None, np.bincount(ids["train"], minlength=k)
        found = fits.load(self.fitted, condition, lag, self.window)
        out, far = {}, {}
        for s in SPLITS:
            parts = list(workers.map(fits.conditioned, self.blocks[s], self.latents, found))
            out[s] = np.concatenate([p[0] for p in parts])
            far[s] = np.concatenate([p[1] for p in parts])
        path = fits.base(self.fitted, condition, lag, "clusters.json")
        about = fits.read_about(path)
        counts = np.zeros(found.most_ids, np.int64)
        counts[np.array(about["ids"], np.int64)] = about["train_counts"]
        if not np.array_equal(np.bincount(out["train"], minlength=found.most_ids), counts):
            raise FileError(f"{path}: counts other rows than there are now; run `cspace phase0 fit --force`")
        return out, None if found.centres is None else far, counts

    def _halves(self, workers: Workers, condition: str, lag: int) -> tuple[dict[str, Half], I64, I64]:
        ids, far, counts = self._ids(workers, condition, lag)
        kept = np.flatnonzero(counts >= self.config.decision.min_cluster)
        place = np.full(len(counts), -1, np.int32)
        place[kept] = np.arange(len(kept), dtype=np.int32)
        effective = {s: place[ids[s]] for s in SPLITS}
        curve = far is not None and lag == min(self.lags) and len(kept) > 0
        level: dict[str, I32 | None] = dict.fromkeys(SPLITS)
        if curve and far is not None:
            edges = np.quantile(far["train"][effective["train"] >= 0], np.arange(1, LEVELS) / LEVELS)
            level = {s: np.searchsorted(edges, far[s], side="left").astype(np.int32) for s in SPLITS}
        halves = {
            s: Half(s, self.blocks[s], self.frames.speakers, effective[s], self.classes[self.rows[s]], level[s])
            for s in SPLITS
        }
        return halves, kept, counts

    # ---- a cell --------------------------------------------------------------------------------

    def _cell(self, workers: Workers, condition: str, lag: int) -> dict[str, Any]:
        halves, kept, counts = self._halves(workers, condition, lag)
        norm = fits.load_norm(self.fitted, lag)
        out: dict[str, Any] = {
            "condition": condition,
            "lag": lag,
            "effective_clusters": len(kept),
            "used_clusters": int((counts > 0).sum()),
            "slices": {s: {} for s in SLICES},
        }
        if not len(kept):
            return {**out, "note": f"no id has {self.config.decision.min_cluster} training rows"}
        labels = {s: self._labels(halves[s], len(kept)) for s in SPLITS}
        summed = {s: Summed(self, halves[s], len(kept)) for s in SPLITS}
        variance = np.zeros(len(kept))
        means: list[F64] = []
        for part in dimension_parts(len(norm[0]), labels["train"]):
            sums = summed["train"].add(workers, self.latents, norm, labels["train"], part, None)
            n = np.maximum(sums.n, 1)[:, None]
            centroids = (sums.sums / n, sums.sums.sum(axis=0) / max(sums.n.sum(), 1.0))
            if sums.squares is not None:
                variance += np.maximum(sums.squares / n - (sums.sums / n) ** 2, VARIANCE_FLOOR).sum(axis=1)
            means.append(centroids[0].astype(np.float32))
            summed["eval"].add(workers, self.latents, norm, labels["eval"], part, centroids)
        for s in SLICES:
            for split in SPLITS:
                out["slices"][s][split] = summed[split].figures(s)
            a, b = (out["slices"][s][split]["vr_debiased"] for split in SPLITS)
            out["slices"][s]["degradation"] = (b - a) / a if a > 0 else float("nan")
        out["confidence"] = {s: summed[s].curve() for s in SPLITS if halves[s].level is not None}
        out["speakers"] = {s: summed[s].speakers() for s in SPLITS}
        if lag == min(self.lags):
            where = np.concatenate(means, axis=1)
            out["clusters"] = {
                "ids": kept,
                "train_counts": counts[kept],
                "variance": variance / where.shape[1],
                "mean_xy": _plane(where, counts[kept]),
            }
        return out

    def _labels(self, half: Half, k: int) -> list[Labels]:
        """By class, by permuted id within each slice, and by confidence."""
        real = np.where(half.ids >= 0, half.ids * CLASSES + half.classes, -1).astype(np.int32)
        out = [Labels(real, k * CLASSES, True)]
        for i, s in enumerate(SLICES):
            rows = np.flatnonzero((half.ids >= 0) & np.isin(half.classes, list(_OF_SLICE[s])))
            rng = np.random.default_rng([self.config.seed + PERMUTED_SEED[half.name], i])
            mixed = np.full(len(half.ids), -1, np.int32)
            mixed[rows] = half.ids[rows][rng.permutation(len(rows))]
            out.append(Labels(mixed, k, True))
        if half.level is not None:
            ranked = np.where(half.ids >= 0, half.ids * LEVELS + half.level, -1).astype(np.int32)
            out.append(Labels(ranked, k * LEVELS, False))
        return out


class Summed:
    """The figures of one split of a cell, added up over parts of the dimensions."""

    def __init__(self, evaluation: Evaluation, half: Half, k: int):
        self.half, self.k = half, k
        self.least = evaluation.config.decision.min_speaker_samples
        self.real = {s: Spread() for s in SLICES}
        self.mixed = {s: Spread() for s in SLICES}
        self.kept = [Spread() for _ in range(LEVELS)]
        self.spoken: dict[str, dict[int, Spread]] = {s: {} for s in SLICES}

    def _of_slice(self, sums: Sums, name: str) -> Sums:
        first = np.arange(self.k) * CLASSES
        return sums.gathered([first + c for c in _OF_SLICE[name]])

    def add(
        self,
        workers: Workers,
        latents: str,
        norm: tuple[F64, F64],
        labels: list[Labels],
        part: slice,
        centroids: tuple[F64, F64] | None,
    ) -> Sums:
        """Adds a part of the dimensions; gives the sums of slice `all`."""

        def spoken(speaker: int, sums: Sums) -> None:
            plain = Sums(sums.n, sums.square, sums.sums, None)
            for s in SLICES:
                found = spread(self._of_slice(plain, s), centroids)
                self.spoken[s][speaker] = self.spoken[s].get(speaker, Spread()) + found

        totals = sum_by_group(workers, self.half.blocks, latents, norm, labels, part, spoken)
        for i, s in enumerate(SLICES):
            self.real[s] = self.real[s] + spread(self._of_slice(totals[0], s), centroids)
            self.mixed[s] = self.mixed[s] + spread(totals[1 + i])
        if self.half.level is not None:
            first = np.arange(self.k) * LEVELS
            for j in range(LEVELS):
                self.kept[j] = self.kept[j] + spread(totals[-1].gathered([first + i for i in range(j + 1)]), centroids)
        return self._of_slice(totals[0], "all")

    def figures(self, name: str) -> dict[str, Any]:
        """What metrics.json holds of a slice."""
        f, r = self.real[name], self.mixed[name]
        inside = np.isin(self.half.classes, list(_OF_SLICE[name]))
        rows = int(inside.sum())
        out = {
            "n": f.n,
            "rows": rows,
            "excluded_mass": 1 - f.n / rows if rows else float("nan"),
            "clusters": f.groups,
            "vr": f.vr,
            "vr_debiased": f.vr_debiased,
            "variance_explained": 1 - f.vr_debiased,
            "permuted_vr": r.vr,
            "permuted_vr_debiased": r.vr_debiased,
            "permuted_expected": r.expected,
            "permuted_expected_sd": r.expected_sd,
            "nats_per_dim": f.nats,
            "permuted_nats_per_dim": r.nats,
            "net_nats_per_dim": f.nats - r.nats,
            "speakers": interval([s.vr_debiased for s in self._enough(name)]),
        }
        if self.half.name == "eval":
            out["transfer_vr"] = f.transfer_vr
            out["speakers_transfer"] = interval([s.transfer_vr for s in self._enough(name)])
        return out

    def _enough(self, name: str) -> list[Spread]:
        return [s for _, s in sorted(self.spoken[name].items()) if s.n >= self.least and s.n > s.groups]

    def curve(self) -> list[dict[str, Any]]:
        """VR of the most confident share of the rows, thresholds from training rows."""
        out = []
        for j, s in enumerate(self.kept):
            point = {"kept_quantile": (j + 1) / LEVELS, "n": s.n, "vr_debiased": s.vr_debiased}
            if self.half.name == "eval":
                point["transfer_vr"] = s.transfer_vr
            out.append(point)
        return out

    def speakers(self) -> dict[str, Any]:
        """Each speaker's own figures, slice `all`."""
        out = {}
        for index, s in sorted(self.spoken["all"].items()):
            figures = {"n": s.n, "clusters": s.groups, "vr_debiased": s.vr_debiased}
            if self.half.name == "eval":
                figures["transfer_vr"] = s.transfer_vr
            out[self.half.speakers[index]] = figures
        return out


def interval(values: list[float]) -> dict[str, Any]:
    """Mean over speakers with its 95 % t interval; an interval needs two speakers."""
    x = np.array([v for v in values if np.isfinite(v)])
    out: dict[str, Any] = {"count": len(x)}
    if len(x):
        out |= {"mean": x.mean(), "min": x.min(), "max": x.max()}
    if len(x) > 1:
        from scipy.special import stdtrit  # scipy.stats takes seconds to load

        sd = float(x.std(ddof=1))
        reach = float(stdtrit(len(x) - 1, 0.975)) * sd / np.sqrt(len(x))
        out |= {"sd": sd, "low": x.mean() - reach, "high": x.mean() + reach}
    return out


def _plane(means: F64, weights: I64) -> F64:
    """The groups' means on their two leading axes [shape=(groups, 2)]."""
    w = weights / weights.sum()
    centred = means.astype(np.float64) - w @ means
    _, _, axes = np.linalg.svd(centred * np.sqrt(w)[:, None], full_matrices=False)
    two = axes[:2] * np.sign(axes[:2][np.arange(len(axes[:2])), np.argmax(np.abs(axes[:2]), axis=1)])[:, None]
    xy = np.zeros((len(means), 2))
    xy[:, : len(two)] = centred @ two.T
    return xy


def _read(path: Path) -> dict[str, Any]:
    try:
        cell: dict[str, Any] = json.loads(read_text(path))
    except (OSError, ValueError) as e:
        raise FileError(f"{path}: cannot be read: {e}") from None
    return cell
