"""Equaliser settings with the words people gave them: SAFE's table, or a synthetic one without it.

The table is that of the SAFE project (R. Stables et al., "SAFE: A system for the extraction and
retrieval of semantic audio descriptors", ISMIR 2014). It is not part of this repository: the user
names the file, either SAFE's raw CSV or the cleaned form. The raw one holds addresses and free text
of its contributors; those columns are dropped as the lines are read, never kept or printed.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...plugins._adaptive.curve import FLAT, GAINS, HIGH, IS_LOG, LOW, SIZE, from_domain, to_domain
from ...plugins._errors import FileError
from ...textfile import read_text

F64 = NDArray[np.float64]

#: Columns of the cleaned form, in order.
CLEAN = (
    "descriptor",
    "low_shelf_gain_db",
    "low_shelf_freq_hz",
    *(f"bell{i}_{what}" for i in (1, 2, 3) for what in ("gain_db", "freq_hz", "q")),
    "high_shelf_gain_db",
    "high_shelf_freq_hz",
)
_RAW_COLUMNS, _RAW_LABEL, _RAW_FIRST = 25, 1, 5
#: Labels that name no tone colour: trials, gear, sources.
NOT_TONAL = frozenset(("test", "testing", "re27", "vocals", "vocal", "drums", "guitar", "piano", "default", "none"))
#: One word for several spellings.
SAME = {"brighter": "bright", "warmer": "warm", "bassy": "bass", "toppy": "airy"}
_LABEL = re.compile(r"[a-z][a-z +&,/-]{0,40}")
_MOST_ROWS = 1_000_000


@dataclass(frozen=True)
class Settings:
    """Labelled settings: `values` [shape=(n, 13)] in dB, Hz and Q, and the words of each, often one."""

    values: F64
    words: tuple[tuple[str, ...], ...]
    #: Where they come from, for the model card.
    source: str
    #: Lines that were left out, by reason.
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.words)

    def counts(self) -> Counter[str]:
        """Settings per word; one with two words counts for both."""
        return Counter(w for words in self.words for w in words)

    def only(self, index: NDArray[np.intp]) -> Settings:
        """A part of it."""
        return Settings(self.values[index], tuple(self.words[i] for i in index), self.source, self.left_out)


def load(path: str | os.PathLike[str]) -> Settings:
    """Settings of a CSV file, SAFE's raw form or the cleaned one (recognised by its header).

    Raises FileError naming file and line for what is no such table.
    """
    file = Path(path)
    values: list[list[float]] = []
    words: list[tuple[str, ...]] = []
    left_out: Counter[str] = Counter()
    try:
        # SAFE's labels are in many encodings; the numbers and the words that are kept are ASCII.
        with io.StringIO(read_text(file, strict=False), newline="") as text:
            rows = csv.reader(text)
            clean = False
            for number, row in enumerate(rows, 1):
                if number == 1 and row and row[0] == CLEAN[0]:
                    if tuple(row) != CLEAN:
                        raise FileError(f"{file}, line 1: the columns are not {', '.join(CLEAN)}")
                    clean = True
                    continue
                if number > _MOST_ROWS:
                    raise FileError(f"{file}: has more than {_MOST_ROWS} lines; this is no table of settings")
                if not row:
                    continue
                if len(row) != (len(CLEAN) if clean else _RAW_COLUMNS):
                    expected = f"{len(CLEAN)} (cleaned)" if clean else f"{_RAW_COLUMNS} (SAFE's raw table)"
                    raise FileError(f"{file}, line {number}: has {len(row)} columns, expected {expected}")
                label = row[0 if clean else _RAW_LABEL]
                numbers = row[1:] if clean else row[_RAW_FIRST : _RAW_FIRST + SIZE]
                try:
                    setting = [float(v) for v in numbers]
                except ValueError:
                    raise FileError(f"{file}, line {number}: a parameter is not a number") from None
                found = split_label(label)
                if not found:
                    left_out["label names no tone colour"] += 1
                elif not _inside(np.array(setting)):
                    left_out["a parameter is outside the equaliser's range"] += 1
                else:
                    values.append(setting)
                    words.append(found)
    except OSError as e:
        if isinstance(e, FileError):
            raise
        raise FileError(f"{file}: cannot be read: {e.strerror or e}") from None
    except csv.Error as e:
        raise FileError(f"{file}: is no CSV file: {e}") from None
    if not values:
        raise FileError(f"{file}: holds no labelled settings")
    return Settings(np.clip(np.array(values), LOW, HIGH), tuple(words), f"SAFE ({file.name})", dict(left_out))


def split_label(label: str) -> tuple[str, ...]:
    """The tone words of a label, such as ("crisp", "thin") of "Crisp & thin"; none if it names none."""
    text = label.strip().lower()
    if not _LABEL.fullmatch(text):
        return ()
    parts = [p for p in re.split(r"[ +&,/-]+|\band\b", text) if p]
    found = dict.fromkeys(SAME.get(p, p) for p in parts)
    return tuple(w for w in found if w not in NOT_TONAL and len(w) > 2)


def _inside(x: F64) -> bool:
    slack = 1e-3 * np.abs(HIGH)
    return bool(np.isfinite(x).all() and (x >= LOW - slack).all() and (x <= HIGH + slack).all())


# ---- a table without SAFE --------------------------------------------------------------------

#: Rules of the synthetic table: word -> gains in dB of the five bands (low shelf … high shelf).
#: Textbook descriptions of mixing engineers; spreads are added to every number.
RULES: dict[str, tuple[float, float, float, float, float]] = {
    "warm": (2.0, 4.0, 0.5, -1.0, -3.0),
    "bright": (-3.0, -1.0, 1.0, 4.5, 4.0),
    "bass": (7.0, 2.0, 0.0, 0.0, -1.0),
    "thin": (-8.0, -4.0, 1.0, 2.0, 2.0),
    "full": (3.0, 3.0, 1.0, 0.0, 0.5),
    "muddy": (3.0, 6.0, 1.0, -3.0, -5.0),
    "clear": (-3.0, -3.0, 1.0, 3.0, 2.0),
    "airy": (-1.0, -1.0, 0.0, 1.0, 6.0),
    "boomy": (7.0, 5.0, -1.0, -2.0, -3.0),
    "deep": (6.0, 2.0, -2.0, -1.0, -1.0),
    "tinny": (-10.0, -6.0, 3.0, 5.0, 2.0),
    "harsh": (-3.0, -2.0, 2.0, 8.0, 4.0),
    "dark": (1.0, 1.0, 0.0, -3.0, -7.0),
    "boxy": (-2.0, 5.0, 4.0, -2.0, -3.0),
    "hollow": (2.0, -5.0, -7.0, 0.0, 2.0),
    "presence": (-1.0, -1.0, 1.0, 4.0, 1.0),
}


def synthetic(rows: int = 1_600, seed: int = 0) -> Settings:
    """Labelled settings drawn from `RULES`, so that all works where SAFE's table is not at hand.

    A word's gains get a common strength (0.5 to 1.5) and 1.5 dB of spread each; a fifth of the bands
    is off; centres spread by a third of an octave about the equaliser's own, Qs by half an octave.
    """
    rng = np.random.default_rng(seed)
    names = list(RULES)
    picks = rng.integers(len(names), size=rows)
    x = np.tile(to_domain(FLAT), (rows, 1))
    x += np.where(IS_LOG, 0.33, 0.0) * rng.standard_normal((rows, SIZE))
    gains = np.array([RULES[names[p]] for p in picks]) * rng.uniform(0.5, 1.5, (rows, 1))
    gains = (gains + 1.5 * rng.standard_normal(gains.shape)) * (rng.random(gains.shape) > 0.2)
    x[:, list(GAINS)] = gains
    values = np.clip(from_domain(x), LOW, HIGH)
    return Settings(values, tuple((names[p],) for p in picks), "synthetic rules", {})


# ---- parts -----------------------------------------------------------------------------------


def split(settings: Settings, held_out: float = 0.15, seed: int = 0) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices for training and for testing: exact duplicates of a setting stay on one side.

    Within each word (the rarest of a setting's words) the same share is held out, as far as its
    count allows; groups are drawn by `seed`.
    """
    _, group = np.unique(settings.values.round(6), axis=0, return_inverse=True)
    group = group.ravel()
    counts = settings.counts()
    rarest = [min(words, key=lambda w: (counts[w], w)) for words in settings.words]
    rng = np.random.default_rng(seed)
    test_groups: set[int] = set()
    for word in sorted(set(rarest)):
        mine = sorted({int(group[i]) for i in range(len(settings)) if rarest[i] == word})
        rng.shuffle(mine)
        test_groups.update(mine[: round(held_out * len(mine))])
    test = np.array([g in test_groups for g in group])
    return np.flatnonzero(~test), np.flatnonzero(test)
