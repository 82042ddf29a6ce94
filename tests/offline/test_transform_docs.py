"""The examples of the transform and its losses, on their page and in their docstrings, do what they say."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch

from cspace.offline import losses
from cspace.offline.audio import stream_mono
from cspace.offline.bank import BankSpec
from cspace.offline.transform import CSpace, StreamingCSpace
from cspace.realtime.clip import clip

PAGE = Path(__file__).resolve().parents[2] / "docs" / "lab-transform.md"


def test_the_page() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    printed = io.StringIO()
    torch.manual_seed(0)
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    promised = re.search(r"# (\{.*\})$", code, re.MULTILINE)
    assert promised
    assert printed.getvalue().splitlines() == ["torch.Size([2, 6000])", promised[1]]
    assert float(names["sound"].grad.abs().max()) > 0
    assert names["gain"].grad < 0  # a larger gain lessens the loss


@pytest.mark.parametrize("of", [losses, CSpace, CSpace.chunks, StreamingCSpace])
def test_docstrings(of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sf.write("long.flac", clip(1.0, 24_000).T, 24_000)
    sound = torch.from_numpy(clip(0.1, 24_000))
    known = {
        "torch": torch,
        "losses": losses,
        "BankSpec": BankSpec,
        "CSpace": CSpace,
        "StreamingCSpace": StreamingCSpace,
        "stream_mono": stream_mono,
        "cspace": CSpace(BankSpec(oscillators=8), 24_000),
        "estimate": (0.9 * sound).requires_grad_(),
        "target": sound,
        "log": lambda values: None,
        "block": np.zeros(480, np.float32),
        "energy": 0.0,
    }
    example = doctest.DocTestParser().get_doctest(of.__doc__, known, of.__name__, None, None)
    assert example.examples
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert result.failed == 0, "".join(said)
