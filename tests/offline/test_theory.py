"""`cspace lab theory`: the statements stand, their checks can fail, and the page in docs is the one printed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.bank import BankSpec
from cspace.offline.config import LabConfig
from cspace.offline.lab import theory

PAGE = Path(__file__).resolve().parents[2] / "docs" / "theory.md"


FIGURE = r"-?\d\.\de[+-]\d\d"


def without_figures(text: str) -> str:
    return re.sub(FIGURE, "#", text)


def figures(text: str) -> list[float]:
    return [float(f) for f in re.findall(FIGURE, text)]


@pytest.mark.parametrize("bank", [BankSpec(), BankSpec(oscillators=5, q=30.0), BankSpec.original()])
def test_every_check_holds(bank: BankSpec) -> None:
    for check in theory.CHECKS:
        result = check(LabConfig(bank=bank))
        assert result.holds, f"{result.name}: {result.value} past {result.limit}"


def test_checks_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not theory.Check("x", 1.1, 1.0, "").holds
    assert not theory.Check("x", float("nan"), 1.0, "").holds
    # Poles a thousandth off: kernel, inverse and Parseval compare what is no longer the same bank.
    honest = theory.by_sample
    monkeypatch.setattr(theory, "by_sample", lambda pole, drive, x: honest(pole * 0.999, drive, x))
    assert not theory.check_kernel(LabConfig()).holds
    assert not theory.check_inverse(LabConfig()).holds


def test_directions_past_the_bound_are_wrong_somewhere() -> None:
    # The half period is no loose statement: just past it one tone points away.
    omega = np.array([2 * np.pi / 48.0])
    assert theory.landscape_slope(np.ones(1), omega, np.array([23.9]))[0] > 0
    assert theory.landscape_slope(np.ones(1), omega, np.array([24.1]))[0] < 0


def test_the_page_in_docs_is_the_page_printed(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["lab", "theory", "--page", str(tmp_path / "t.md"), "-r", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    made = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert without_figures(made) == without_figures(PAGE.read_text(encoding="utf-8")), (
        "run cspace lab theory --page docs/theory.md --force"
    )
    assert "FAILS" not in made
    # The figures too: to the page's digits, and those of rounding, which machines differ in, as such.
    for now, then in zip(figures(made), figures(PAGE.read_text(encoding="utf-8")), strict=True):
        if abs(then) < 1e-5:
            assert abs(now) < 1e-5
        else:
            # The page has two digits.
            assert now == pytest.approx(then, rel=0.1)


def test_failing_checks_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = theory.Check("bounded", 2.0, 1.0, "largest state")
    monkeypatch.setattr(theory, "CHECKS", tuple(
        (lambda _: broken) if c is theory.check_bounded else c for c in theory.CHECKS
    ))  # fmt: skip
    result = CliRunner().invoke(app, ["lab", "theory", "-r", str(tmp_path)])
    assert result.exit_code == 1
    assert "these checks fail with this bank: bounded" in result.stderr
