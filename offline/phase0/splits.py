"""Who is learned from and who is asked: no speaker is in both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...plugins._errors import CspaceError, FileError
from ...textfile import read_text
from ...wholefile import write_text
from .config import SplitSettings
from .data import Utterance

FILES = {
    "train_speakers": "train_speakers.txt",
    "eval_speakers": "eval_speakers.txt",
    "train_utterances": "train_utt_ids.txt",
    "eval_utterances": "eval_utt_ids.txt",
    "fit": "train_fit_utt_ids.txt",
    "holdout": "train_holdout_utt_ids.txt",
}


class SplitError(CspaceError, ValueError):
    """The data cannot be divided by speakers, or a division is not one."""


@dataclass(frozen=True)
class Splits:
    """Ids, sorted. `holdout` are training utterances that no fit uses; `fit` the others."""

    train_speakers: list[str]
    eval_speakers: list[str]
    train_utterances: list[str]
    eval_utterances: list[str]
    holdout: list[str]

    @property
    def fit(self) -> list[str]:
        """Training utterances that clusters and components are fitted to."""
        held = set(self.holdout)
        return [u for u in self.train_utterances if u not in held]


def make_splits(utterances: list[Utterance], settings: SplitSettings, seed: int) -> Splits:
    """Shuffles the speakers by the seed and gives a share of them to evaluation.

    Raises SplitError for fewer than two speakers, or more evaluation speakers than can be spared.
    """
    speakers = sorted({u.speaker_id for u in utterances})
    if len(speakers) < 2:
        raise SplitError(
            f"the data have {len(speakers)} speaker{'' if len(speakers) == 1 else 's'} "
            f"({', '.join(speakers) or 'none'}); at least 2 are needed, one of them for evaluation"
        )
    count = settings.eval_speakers or max(1, round(settings.eval_share * len(speakers)))
    if count >= len(speakers):
        raise SplitError(
            f"splits.eval_speakers is {count}; of {len(speakers)} speakers at most {len(speakers) - 1} can be"
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(speakers))
    asked = {speakers[i] for i in order[:count]}
    train = sorted(u.utterance_id for u in utterances if u.speaker_id not in asked)
    held = round(settings.holdout_share * len(train)) if len(train) > 1 else 0
    holdout = [train[i] for i in sorted(rng.permutation(len(train))[: min(held, len(train) - 1)])]
    return Splits(
        [s for s in speakers if s not in asked],
        sorted(asked),
        train,
        sorted(u.utterance_id for u in utterances if u.speaker_id in asked),
        holdout,
    )


def write_splits(folder: Path, splits: Splits) -> None:
    """Writes one id a line, a file for each list."""
    for name, file in FILES.items():
        ids: list[str] = getattr(splits, name)
        write_text(folder / file, "".join(f"{i}\n" for i in ids))


def read_splits(folder: Path) -> Splits:
    """The lists of a folder, checked. Raises FileError for a missing one, SplitError for lists that overlap."""
    lists = {name: _lines(folder / file) for name, file in FILES.items()}
    for a, b, what in (
        ("train_speakers", "eval_speakers", "speaker"),
        ("train_utterances", "eval_utterances", "utterance"),
        ("fit", "holdout", "utterance"),
        ("fit", "eval_utterances", "utterance"),
        ("holdout", "eval_utterances", "utterance"),
    ):
        both = sorted(set(lists[a]) & set(lists[b]))
        if both:
            raise SplitError(f"{folder}: {what} {both[0]!r} is in {FILES[a]} and in {FILES[b]}; they must not overlap")
    for name in ("train_speakers", "eval_speakers", "train_utterances", "eval_utterances"):
        if not lists[name]:
            raise SplitError(f"{folder / FILES[name]}: is empty")
    lists.pop("fit")
    return Splits(**lists)


def _lines(path: Path) -> list[str]:
    if not path.exists():
        raise FileError(f"{path}: is not there; run `cspace phase0 splits` first")
    return read_text(path).split("\n")[:-1]
