"""A latent store and its splits, as the trainings of Tier 1 read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....plugins._errors import ParameterError
from ..splits import Splits, read_splits
from ..store import LatentStore
from .moments import Moments, moments
from .rows import Cached, Corpus, Rows, Scaled, Utterance, choose, grouped, median_energy
from .spec import DataSpec

#: Rows of the train split the moments are taken from, at most.
MOMENT_ROWS = 50_000


class StoreCorpus:
    """The utterances of a store (`cspace phase0 latents`)."""

    def __init__(self, folder: Path):
        self.store = LatentStore.open(folder)
        self.name = self.store.encoder
        self.dim, self.frame_rate_hz = self.store.dim, self.store.frame_rate_hz
        self.utterances = [Utterance(e.utterance_id, e.speaker_id, e.n_frames) for e in self.store.index]

    def read(self, utterance_id: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Frames and energies. Raises FileError."""
        found = self.store.read(utterance_id)
        return found.x, found.energy


@dataclass(frozen=True)
class Data:
    """Train and evaluation rows, with the moments of the train rows."""

    corpus: Corpus
    splits: Splits
    spec: DataSpec
    train: Rows
    eval: Rows
    #: Held-out utterances of train speakers: what is gained there but not in `eval` does not pass to other voices.
    holdout: Rows | None
    moments: Moments
    energy_median: float | None


def open_data(folder: Path, splits_folder: Path, spec: DataSpec) -> Data:
    """The rows of a store. Raises FileError, SplitError, ParameterError."""
    return data_of(StoreCorpus(folder), read_splits(splits_folder), spec)


def data_of(corpus: Corpus, splits: Splits, spec: DataSpec) -> Data:
    """The rows of a corpus; nothing of the evaluation speakers goes into moments or medians."""
    speakers = {u.id: u.speaker for u in corpus.utterances}
    both = {speakers[i] for i in splits.train_utterances if i in speakers} & {
        speakers[i] for i in splits.eval_utterances if i in speakers
    }
    if both:
        raise ParameterError(
            f"{corpus.name}: speaker {min(both)} is in train and in evaluation; split again by speaker"
        )
    seen = grouped(corpus, spec)
    median = median_energy(seen, splits.fit) if spec.slice == "high_energy" else None
    train = choose(seen, splits.fit, spec, cap=spec.max_samples, seed=spec.seed, energy_median=median)
    m = moments_of(train, spec.seed)
    if spec.scale == "steps":
        seen = Cached(Scaled(seen, np.maximum(m.dx_sd, 1e-6 * m.dx_sd.max())), spec.cache_mib)
        train = Rows(seen, train.window, train.lag, train.utterance, train.t)
        m = moments_of(train, spec.seed)

    def held_out(ids: list[str]) -> Rows:
        return choose(seen, ids, spec, cap=spec.max_eval_samples, seed=spec.seed + 1, energy_median=median)

    least = max(spec.window + max(1, *spec.lags) + 1, spec.min_utterance_s * seen.frame_rate_hz)
    kept = [u.id for u in seen.utterances if u.frames >= least and u.id in set(splits.holdout)]
    holdout = held_out(kept) if kept and spec.slice != "high_energy" else None
    return Data(seen, splits, spec, train, held_out(splits.eval_utterances), holdout, m, median)


def moments_of(rows: Rows, seed: int) -> Moments:
    """Moments of train rows, over `MOMENT_ROWS` of them."""
    index = np.arange(len(rows))
    if len(rows) > MOMENT_ROWS:
        index = np.sort(np.random.default_rng([seed, 3]).choice(len(rows), MOMENT_ROWS, replace=False))
    return moments(_pairs(rows.frames(index[k : k + 1024], 1)) for k in range(0, len(index), 1024))


def _pairs(frames: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The newest frame and its step."""
    return frames[:, -1], frames[:, -1] - frames[:, -2]
