"""What watches a live stream: a device that comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cspace.cli import watch
from cspace.cli.signals import Request
from cspace.realtime import Chain, CspaceError, DeviceError
from tests.realtime.osctools import Ear, msg, text


class Returning:
    """A stream whose device is back after some refusals."""

    sample_rate = 48_000.0

    def __init__(self, *refusals: CspaceError):
        self.refusals = list(refusals)

    def reopen(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)


def test_whatever_refuses_the_return_is_said_once_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(watch, "tell", lambda line, *_: said.append(line))
    monkeypatch.setattr(watch, "RETRY_S", 0.0)
    cannot = CspaceError("codec: phase96 wants another rate")
    stream: Any = Returning(DeviceError("it is missing"), cannot, cannot)
    seen: Any = watch.Watch(stream, None, "", Request(), 60.0, False, lambda: None)  # type: ignore[arg-type]
    assert seen._come_back()
    assert said == [
        "waiting for it; Ctrl-C stops",
        "it is missing",
        "codec: phase96 wants another rate",
        "it is back",
    ]


def test_a_preset_that_cannot_play_is_refused_while_the_device_is_away(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('[[processor]]\ntype = "codec"\nmodel = "phase96"\n')
    chain = Chain()
    ear = Ear(chain, presets=tmp_path, format=lambda: (44_100.0, 2))  # its engine is gone
    replies = ear.say(msg("/preset/load", "s", text("bad")))
    assert [r[0] for r in replies] == ["/error"]
    assert "44100 Hz" in replies[0][1][1]
    assert len(chain) == 0
