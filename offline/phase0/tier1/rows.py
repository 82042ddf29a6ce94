"""Rows of a training: contexts and steps gathered on the fly, shuffled with few utterances open at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ....plugins._errors import ParameterError
from .. import windows
from .spec import DataSpec

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Utterance:
    """What is known of a recording before its latents are read."""

    id: str
    speaker: str
    frames: int


class Corpus(Protocol):
    """Latents by utterance."""

    @property
    def name(self) -> str:
        """What made the latents."""
        ...

    @property
    def dim(self) -> int:
        """D."""
        ...

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        ...

    @property
    def utterances(self) -> Sequence[Utterance]:
        """In a fixed order."""
        ...

    def read(self, utterance_id: str) -> tuple[Float, Float]:
        """Frames float32 [T, D] and energies float32 [T]."""
        ...


@dataclass(frozen=True)
class ArrayCorpus:
    """Latents in memory, as tests and the synthetic checks make them: id -> (speaker, frames [T, D])."""

    name: str
    frame_rate_hz: float
    arrays: dict[str, tuple[str, Float]]

    @property
    def dim(self) -> int:
        """D."""
        return int(next(iter(self.arrays.values()))[1].shape[1])

    @property
    def utterances(self) -> list[Utterance]:
        """In the order given."""
        return [Utterance(k, s, len(x)) for k, (s, x) in self.arrays.items()]

    def read(self, utterance_id: str) -> tuple[Float, Float]:
        """Frames, and their root mean square as energy."""
        x = self.arrays[utterance_id][1]
        return x, np.sqrt(np.square(x).mean(1))


class Cached:
    """A corpus whose last-read utterances stay in memory, up to a size."""

    def __init__(self, corpus: Corpus, mib: int):
        self.corpus, self.limit = corpus, mib << 20
        self.name, self.dim, self.frame_rate_hz = corpus.name, corpus.dim, corpus.frame_rate_hz
        self.utterances = corpus.utterances
        self._held: OrderedDict[str, tuple[Float, Float]] = OrderedDict()
        self._bytes = 0

    def read(self, utterance_id: str) -> tuple[Float, Float]:
        """From memory where it is there."""
        found = self._held.pop(utterance_id, None)
        if found is None:
            found = self.corpus.read(utterance_id)
            if not np.isfinite(found[0]).all():
                raise ParameterError(f"{self.name}: utterance {utterance_id} has NaN or Inf; make its latents again")
            self._bytes += found[0].nbytes
        self._held[utterance_id] = found
        while self._bytes > self.limit and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1][0].nbytes
        return found


class Grouped:
    """A corpus at a lower frame rate: `factor` frames become one, their mean or one behind the other; rests are cut."""

    def __init__(self, corpus: Corpus, factor: int, by: str):
        self.corpus, self.factor, self.by = corpus, factor, by
        self.name = corpus.name
        self.frame_rate_hz = corpus.frame_rate_hz / factor
        self.dim = corpus.dim * (factor if by == "stack" else 1)
        self.utterances = [Utterance(u.id, u.speaker, u.frames // factor) for u in corpus.utterances]

    def read(self, utterance_id: str) -> tuple[Float, Float]:
        """Grouped frames and the root mean square of their energies."""
        x, energy = self.corpus.read(utterance_id)
        n = len(x) // self.factor
        blocks = x[: n * self.factor].reshape(n, self.factor, -1)
        power = np.square(energy[: n * self.factor]).reshape(n, self.factor).mean(1)
        return (blocks.reshape(n, -1) if self.by == "stack" else blocks.mean(1)), np.sqrt(power)


class Scaled:
    """A corpus whose dimensions are divided by these numbers [D]; energies stay."""

    def __init__(self, corpus: Corpus, by: NDArray[np.float64]):
        self.corpus, self.by = corpus, by.astype(np.float32)
        self.name, self.dim, self.frame_rate_hz = corpus.name, corpus.dim, corpus.frame_rate_hz
        self.utterances = corpus.utterances

    def read(self, utterance_id: str) -> tuple[Float, Float]:
        """Scaled frames and the energies."""
        x, energy = self.corpus.read(utterance_id)
        return x / self.by, energy


def grouped(corpus: Corpus, spec: DataSpec) -> Corpus:
    """The corpus as the settings want it seen, its last-read utterances kept."""
    seen: Corpus = Grouped(corpus, spec.group, spec.group_by) if spec.group > 1 else corpus
    return Cached(seen, spec.cache_mib)


@dataclass(frozen=True)
class Rows:
    """Chosen (utterance, t) pairs of a corpus, by utterance; contexts have `window` frames and end at t - lag."""

    corpus: Corpus
    window: int
    lag: int
    #: Index of the utterance in `corpus.utterances`, and t; both int32 [n].
    utterance: NDArray[np.int32]
    t: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.t)

    def with_lag(self, lag: int) -> Rows:
        """The same places seen at another lag, so that lags compare like with like."""
        return Rows(self.corpus, self.window, lag, self.utterance, self.t)

    def gather(self, index: NDArray[Any]) -> tuple[Float, Float]:
        """Contexts [n, W, D] (x[t-lag-W .. t-lag-1]) and steps x[t] - x[t-1] [n, D] of these rows, in their order."""
        lag, dim = self.lag, self.corpus.dim
        # Lag 0, which sees x[t-1] too, is lag 1 of the frame after.
        context = self._each(index, (self.window, dim), lambda x, t: windows.contexts(x, t + 1 - lag, 1, self.window))
        return context, self.steps(index)

    def steps(self, index: NDArray[Any]) -> Float:
        """Only the steps [n, D]."""
        return self._each(index, (self.corpus.dim,), windows.targets)

    def frames(self, index: NDArray[Any], ahead: int) -> Float:
        """Frames t-lag-W .. t+ahead-1 of these rows [n, W+lag+ahead, D]; `choose` with a margin."""
        before = self.lag + self.window
        shape = (before + ahead, self.corpus.dim)
        return self._each(index, shape, lambda x, t: x[(t - before)[:, None] + np.arange(before + ahead)])

    def _each(
        self, index: NDArray[Any], shape: tuple[int, ...], found: Callable[[Float, NDArray[np.int64]], Float]
    ) -> Float:
        out = np.empty((len(index), *shape), np.float32)
        which = self.utterance[index]
        for u in np.unique(which):
            at = np.flatnonzero(which == u)
            x = self.corpus.read(self.corpus.utterances[u].id)[0]
            out[at] = found(x, self.t[index[at]].astype(np.int64))
        return out

    def in_order(self, batch: int) -> Iterator[tuple[NDArray[np.int64], Float, Float]]:
        """All rows once: their indexes, contexts, steps."""
        for start in range(0, len(self), batch):
            index = np.arange(start, min(start + batch, len(self)))
            yield (index, *self.gather(index))

    def shuffled(self, epoch: int, seed: int, buffer: int) -> Iterator[int]:
        """Indexes of all rows once: utterances in random order run through a buffer from which rows are drawn.

        Only the utterances of the buffer's rows are wanted at any time.
        """
        rng = np.random.default_rng([seed, epoch])
        starts = np.flatnonzero(np.diff(self.utterance, prepend=-1))
        ends = np.append(starts[1:], len(self))
        held: list[int] = []
        for u in rng.permutation(len(starts)):
            held.extend(range(starts[u], ends[u]))
            while len(held) >= buffer:
                yield _take(held, rng)
        while held:
            yield _take(held, rng)

    def batches(self, size: int, seed: int, buffer: int, first: int = 0) -> Iterator[NDArray[np.int64]]:
        """Batches of indexes for ever, from batch `first`: the same ones whether or not a run was interrupted."""
        held: list[int] = []
        skip, epoch = first * size, 0
        while True:
            if skip >= len(self):
                skip, epoch = skip - len(self), epoch + 1
                continue
            for index in self.shuffled(epoch, seed, buffer):
                if skip:
                    skip -= 1
                    continue
                held.append(index)
                if len(held) == size:
                    yield np.array(held)
                    held = []
            epoch += 1


def _take(held: list[int], rng: np.random.Generator) -> int:
    j = int(rng.integers(len(held)))
    held[j], held[-1] = held[-1], held[j]
    return held.pop()


def choose(
    corpus: Corpus,
    ids: Sequence[str],
    spec: DataSpec,
    *,
    cap: int,
    seed: int,
    margin: int = 0,
    energy_median: float | None = None,
) -> Rows:
    """Rows of these utterances: every valid t of the slice, or `cap` of them drawn over all speakers alike.

    Valid are t from window + the greatest lag (at least 1) in utterances of `min_utterance_s`, so that every lag
    sees the same rows; `margin` frames are left at the end for rollouts. `energy_median` is the train frames', for
    the slice high_energy. Raises ParameterError for an empty choice.
    """
    wanted = set(ids)
    first = windows.first_time(spec.window, max(1, *spec.lags))
    least = spec.min_utterance_s * corpus.frame_rate_hz
    pairs: list[tuple[int, NDArray[np.int32]]] = []
    speakers: dict[str, list[int]] = {}
    for u, entry in enumerate(corpus.utterances):
        if entry.id not in wanted or entry.frames - margin <= first or entry.frames < least:
            continue
        t = windows.valid_times(entry.frames, spec.window, max(1, *spec.lags), margin=margin).astype(np.int32)
        t = t[_in_slice(t, entry, corpus, spec, energy_median)]
        if len(t):
            speakers.setdefault(entry.speaker, []).append(len(pairs))
            pairs.append((u, t))
    if not pairs:
        raise ParameterError(
            f"{corpus.name}: none of {len(wanted)} utterances has frames for window {spec.window}, lag "
            f"{max(spec.lags)}, slice {spec.slice}, {spec.min_utterance_s:g} s or more; "
            "give longer ones or a shorter window"
        )
    total = sum(len(t) for _, t in pairs)
    if 0 < cap < total:
        rng = np.random.default_rng([seed, 77])
        quota = _quotas({s: sum(len(pairs[p][1]) for p in ps) for s, ps in speakers.items()}, cap)
        for speaker, ps in speakers.items():
            counts = np.array([len(pairs[p][1]) for p in ps])
            chosen = np.sort(rng.choice(int(counts.sum()), quota[speaker], replace=False))
            bounds = np.concatenate([[0], np.cumsum(counts)])
            for p, low, high in zip(ps, bounds[:-1], bounds[1:], strict=True):
                mine = chosen[(chosen >= low) & (chosen < high)] - low
                pairs[p] = (pairs[p][0], pairs[p][1][mine])
    utterance = np.concatenate([np.full(len(t), u, np.int32) for u, t in pairs])
    return Rows(corpus, spec.window, max(spec.lags), utterance, np.concatenate([t for _, t in pairs]))


def _in_slice(
    t: NDArray[np.int32], entry: Utterance, corpus: Corpus, spec: DataSpec, energy_median: float | None
) -> NDArray[np.bool_]:
    place = t / entry.frames
    if spec.slice == "utterance_medial":
        found = (place >= 0.17) & (place <= 0.83)
    elif spec.slice == "initial":
        found = place < 0.17
    elif spec.slice == "final":
        found = place > 0.83
    elif spec.slice == "high_energy":
        if energy_median is None:
            raise ParameterError("the slice high_energy needs the median energy of the train frames")
        found = corpus.read(entry.id)[1][t] > energy_median
    else:
        found = np.ones(len(t), bool)
    return np.asarray(found, bool)


def _quotas(counts: dict[str, int], cap: int) -> dict[str, int]:
    """`cap` rows shared evenly; what a speaker does not have goes to the others."""
    quota, left = dict.fromkeys(counts, 0), cap
    while left > 0:
        open_ = [s for s in counts if quota[s] < counts[s]]
        if not open_:
            break
        each, extra = divmod(left, len(open_))
        for k, s in enumerate(open_):
            more = min(each + (k < extra), counts[s] - quota[s])
            quota[s] += more
            left -= more
    return quota


def median_energy(corpus: Corpus, ids: Sequence[str]) -> float:
    """Of all frames of these utterances."""
    known = {u.id for u in corpus.utterances}
    found = [corpus.read(i)[1] for i in ids if i in known]
    if not found:
        raise ParameterError(f"{corpus.name}: has none of the {len(ids)} train utterances")
    return float(np.median(np.concatenate(found)))
