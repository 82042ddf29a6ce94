"""Step `frames`: which frames are asked about. Windows are built from them when they are needed, never stored.

The rows go by split, speaker, utterance and time, and work is cut into blocks that hold one speaker each: sums for a
speaker, for a split and for all then have one order, whoever computes them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import CspaceError, FileError
from ...wholefile import whole
from . import windows
from .config import Phase0Config
from .splits import Splits
from .store import INDEX, LatentStore
from .work import Workers, chunks

FRAMES = "phase0_frames.parquet"
I32 = NDArray[np.int32]
F32 = NDArray[np.float32]
Bools = NDArray[np.bool_]


class FramesError(CspaceError, ValueError):
    """The latents leave nothing to ask about."""


@dataclass(frozen=True)
class Block:
    """Rows of one speaker that are worked on together: utterances with their times."""

    first: int
    rows: int
    speaker: int
    parts: list[tuple[str, I32]]


@dataclass(frozen=True)
class Frames:
    """The table, by columns [shape=(rows,) each]; `utterance` and `speaker` point into the lists of names."""

    utterances: list[str]
    speakers: list[str]
    utterance: I32
    speaker: I32
    t: I32
    pos_frac: F32
    energy: F32
    is_eval: Bools
    is_high_energy: Bools

    def __len__(self) -> int:
        return len(self.t)

    def blocks(self, size: int, keep: Bools | None = None) -> list[Block]:
        """Blocks of about `size` rows, of one split and speaker each; with `keep`, only the rows it names.

        `first` counts the rows that are kept.
        """
        chosen = np.arange(len(self)) if keep is None else np.flatnonzero(keep)
        out: list[Block] = []
        if not len(chosen):
            return out
        who = self.speaker[chosen].astype(np.int64) * 2 + self.is_eval[chosen]
        for a, b in _runs(who):
            for start in range(a, b, size):
                rows = chosen[start : min(start + size, b)]
                spoken = self.utterance[rows]
                parts = [(self.utterances[spoken[i]], self.t[rows[i:j]]) for i, j in _runs(spoken)]
                out.append(Block(start, len(rows), int(self.speaker[rows[0]]), parts))
        return out


def _runs(x: NDArray[Any]) -> Iterator[tuple[int, int]]:
    edges = [0, *(np.flatnonzero(np.diff(x)) + 1).tolist(), len(x)]
    return pairwise(edges)


def build(config: Phase0Config, store: LatentStore, splits: Splits, workers: Workers) -> Frames:
    """All rows. High energy: above the median of the training frames.

    Raises FramesError where a split has no utterance long enough for a window.
    """
    rate = store.frame_rate_hz
    window, lags = config.window_frames(rate), config.lag_frames(rate)
    entries = {e.utterance_id: e for e in store.index}
    groups = [(ids, is_eval) for ids, is_eval in ((splits.train_utterances, False), (splits.eval_utterances, True))]
    missing = [u for ids, _ in groups for u in ids if u not in entries]
    if missing:
        raise FileError(f"{store.folder}: has no latents of {missing[0]!r}; run `cspace phase0 latents` again")
    chosen = _chosen(config, {u: entries[u].n_frames for ids, _ in groups for u in ids}, window, max(lags))
    order = [
        (u, is_eval)
        for ids, is_eval in groups
        for u in sorted(ids, key=lambda u: (entries[u].speaker_id, u))
        if len(chosen[u])
    ]
    for is_eval, name in ((False, "training"), (True, "evaluation")):
        if not any(e == is_eval for _, e in order):
            raise FramesError(
                f"no {name} utterance has the {window + max(lags) + 1} frames that window {window} and lag {max(lags)} "
                f"need at {rate:g} Hz"
            )
    energy: list[F32] = []
    for part in workers.map(_energies, chunks([(u, chosen[u]) for u, _ in order], 32), str(store.folder)):
        energy += part
    counts = [len(chosen[u]) for u, _ in order]
    speakers = sorted({entries[u].speaker_id for u, _ in order})
    place = {s: i for i, s in enumerate(speakers)}
    level = np.concatenate(energy)
    is_eval_rows = np.repeat([e for _, e in order], counts)
    length = np.repeat([entries[u].n_frames for u, _ in order], counts)
    t = np.concatenate([chosen[u] for u, _ in order]).astype(np.int32)
    return Frames(
        [u for u, _ in order],
        speakers,
        np.repeat(np.arange(len(order), dtype=np.int32), counts),
        np.repeat(np.array([place[entries[u].speaker_id] for u, _ in order], np.int32), counts),
        t,
        (t / length).astype(np.float32),
        level,
        is_eval_rows,
        level > np.median(level[~is_eval_rows]),
    )


def _chosen(config: Phase0Config, frames: dict[str, int], window: int, max_lag: int) -> dict[str, I32]:
    """Times of each utterance; with `max_samples` the same share of every utterance's, drawn by the seed and its id."""
    times = {u: windows.valid_times(n, window, max_lag).astype(np.int32) for u, n in frames.items()}
    total = sum(map(len, times.values()))
    if config.max_samples is None or total <= config.max_samples:
        return times
    # Largest remainders: the shares add up to what was asked for, and no utterance is preferred by its place.
    exact = {u: config.max_samples * len(t) / total for u, t in times.items()}
    share = {u: int(e) for u, e in exact.items()}
    rest = config.max_samples - sum(share.values())
    for u in sorted(exact, key=lambda u: (share[u] - exact[u], u))[:rest]:
        share[u] += 1
    out = {}
    for u, t in times.items():
        digest = hashlib.sha256(f"{config.seed}\n{u}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:16], "little"))
        out[u] = np.sort(rng.permutation(t)[: share[u]])
    return out


def _energies(parts: list[tuple[str, I32]], folder: str) -> list[F32]:
    store = opened(folder)
    return [store.read(u).energy[t] for u, t in parts]


def opened(folder: str) -> LatentStore:
    """The store of a folder, opened once in each process, with its cache, until its index is written anew."""
    try:
        version = os.stat(Path(folder) / INDEX).st_mtime_ns
    except OSError:
        version = 0
    return _opened(folder, version)


@lru_cache(maxsize=1)
def _opened(folder: str, version: int) -> LatentStore:
    return LatentStore.open(folder)


def write_frames(folder: Path, frames: Frames) -> None:
    """Writes the table, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def names(index: I32, words: list[str]) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(index, pa.int32()), pa.array(words, pa.string()))

    split = names(frames.is_eval.astype(np.int32), ["train", "eval"])
    table = pa.table(
        {
            "utterance_id": names(frames.utterance, frames.utterances),
            "speaker_id": names(frames.speaker, frames.speakers),
            "t": frames.t,
            "pos_frac": frames.pos_frac,
            "energy": frames.energy,
            "split": split,
            "is_high_energy": frames.is_high_energy,
        }
    )
    with whole(folder / FRAMES) as part:
        pq.write_table(table, part)


def read_frames(folder: Path) -> Frames:
    """The table that `frames` wrote. Raises FileError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / FRAMES
    if not path.is_file():
        raise FileError(f"{path}: is not there; run `cspace phase0 frames` first")
    try:
        table = pq.read_table(path, read_dictionary=["utterance_id", "speaker_id", "split"]).combine_chunks()
        utterance, utterances = _coded(table["utterance_id"])
        speaker, speakers = _coded(table["speaker_id"])
        split, kinds = _coded(table["split"])
        columns = {k: table[k].to_numpy() for k in ("t", "pos_frac", "energy", "is_high_energy")}
    except (OSError, KeyError, pa.ArrowException) as e:
        raise FileError(f"{path}: is not a table of frames: {e}") from None
    is_eval = np.array([k == "eval" for k in kinds])[split]
    return Frames(utterances, speakers, utterance, speaker, **columns, is_eval=is_eval)


def _coded(column: Any) -> tuple[I32, list[str]]:
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if hasattr(array, "chunk"):
        array = array.chunk(0)
    return array.indices.to_numpy().astype(np.int32), array.dictionary.to_pylist()
