"""The table of settings: both forms read, personal columns dropped, duplicates on one side, bad lines named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cspace.offline.eq import data
from cspace.plugins._adaptive.curve import FLAT, HIGH, LOW
from cspace.plugins._errors import FileError


def raw_line(label: str, setting: list[float], secret: str = "192.0.2.77") -> str:
    return ",".join(["9", label, secret, "1", "2", *map(str, setting), *[f"me {secret}"] * 7])


def settings(count: int, seed: int = 0) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [list(np.round(rng.uniform(LOW, HIGH), 3)) for _ in range(count)]


def test_both_forms_say_the_same_and_nothing_personal_is_kept(tmp_path: Path) -> None:
    rows = settings(4)
    labels = ["Warm ", "crisp & thin", "test", "BRIGHTER"]
    (tmp_path / "raw.csv").write_text("\n".join(raw_line(n, r) for n, r in zip(labels, rows, strict=True)))
    clean = [",".join(data.CLEAN), *(",".join([n, *map(str, r)]) for n, r in zip(labels, rows, strict=True))]
    (tmp_path / "clean.csv").write_text("\n".join(clean))
    raw, cleaned = data.load(tmp_path / "raw.csv"), data.load(tmp_path / "clean.csv")
    np.testing.assert_array_equal(raw.values, cleaned.values)
    np.testing.assert_array_equal(raw.values, np.array(rows)[[0, 1, 3]])
    assert raw.words == cleaned.words == (("warm",), ("crisp", "thin"), ("bright",))
    assert raw.left_out == {"label names no tone colour": 1}
    assert "192.0.2" not in repr(raw)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a,b,c\n", "line 1: has 3 columns, expected 25"),
        (",".join(data.CLEAN) + "\nwarm,1,2\n", "line 2: has 3 columns, expected 14"),
        (",".join(("descriptor", *data.CLEAN[:0:-1])) + "\n", "line 1: the columns are not"),
        (raw_line("warm", [1.0] * 12 + ["x"]), "line 1: a parameter is not a number"),  # type: ignore[list-item]
        (raw_line("warm", [99.0, *FLAT[1:]]), "holds no labelled settings"),
        (raw_line("warm", [float("nan"), *FLAT[1:]]), "holds no labelled settings"),
        ("", "holds no labelled settings"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(text)
    with pytest.raises(FileError, match=rf"table\.csv.*{reason}"):
        data.load(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.csv: there is no such file"):
        data.load(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("  WARM ", ("warm",)),
        ("warm and full", ("warm", "full")),
        ("brighter, bright", ("bright",)),
        ("re27", ()),
        ("my kick 12", ()),
        ("a" * 60, ()),
        ("", ()),
    ],
)
def test_labels(label: str, words: tuple[str, ...]) -> None:
    assert data.split_label(label) == words


def test_duplicates_stay_on_one_side_and_every_word_is_held_out() -> None:
    rng = np.random.default_rng(1)
    once = np.array(settings(200))
    values = once[rng.integers(200, size=400)]  # many twice or more
    words = tuple(("warm",) if i % 3 else ("airy",) for i in range(400))
    table = data.Settings(values, words, "made", {})
    train, test = data.split(table, 0.2, seed=3)
    assert sorted([*train, *test]) == list(range(400))
    assert not {tuple(r) for r in values[train]} & {tuple(r) for r in values[test]}
    assert 0.1 < len(test) / 400 < 0.35
    assert set(table.only(test).counts()) == {"warm", "airy"}
    again, other = data.split(table, 0.2, seed=3)[1], data.split(table, 0.2, seed=4)[1]
    np.testing.assert_array_equal(test, again)
    assert not np.array_equal(test, other)


def test_the_synthetic_table_follows_its_rules() -> None:
    made = data.synthetic(800, seed=5)
    assert (made.values >= LOW).all()
    assert (made.values <= HIGH).all()
    dark = made.values[[w == ("dark",) for w in made.words]]
    assert dark[:, 11].mean() < -3.0, "the high shelf goes down"
    assert made.counts().keys() == data.RULES.keys()
