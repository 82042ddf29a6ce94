"""Parameters of plugins from elsewhere that are set while another thread is inside the plugin."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from cspace import _native
from cspace.plugins import ParameterError
from cspace.plugins.externalstage import External
from cspace.plugins.externalways import call
from cspace.realtime import Chain
from cspace.realtime.control import Control

RATE = 48_000
TONE = np.full((1, 512), 0.25, np.float32)


class Standing:
    """Stands still in `process` until it is let go, and notes who set it meanwhile."""

    def __init__(self) -> None:
        self.inside, self.go = threading.Event(), threading.Event()
        self.settings: list[tuple[float, bool]] = []  # what was set, and whether a call was under way
        self._busy, self._mix = False, 0.5
        self.mixes: list[float] = []  # of each call

    @property
    def mix(self) -> float:
        return self._mix

    @mix.setter
    def mix(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError("from 0 to 1")
        self.settings.append((value, self._busy))
        self._mix = float(value)

    def process(self, audio: Any, sample_rate: float, buffer_size: int = 8192, reset: bool = True) -> Any:
        self._busy = True
        self.mixes.append(self._mix)
        self.inside.set()
        self.go.wait(10)
        self._busy = False
        return audio

    def reset(self) -> None:
        assert not self._busy


@contextmanager
def at_work(plugin: Any) -> Iterator[None]:
    """Another thread is inside `plugin`."""
    thread = threading.Thread(target=call, args=(plugin, TONE, RATE, 512, False))
    thread.start()
    try:
        assert plugin.inside.wait(10)
        yield
    finally:
        plugin.go.set()
        thread.join(10)


def test_a_value_set_while_the_plugin_is_at_work_waits_for_the_end_of_the_call() -> None:
    plugin = Standing()
    chain = Chain([plugin])
    with at_work(plugin):
        for value in (0.1, 0.2, 0.7):
            chain.set("standing.mix", value)
            assert chain.slot("standing").get("mix") == value, "shown at once"
        assert plugin.settings == []
    assert plugin.settings == [(0.7, False)], "the last one wins, and between two calls"
    assert chain.slot("standing").get("mix") == 0.7
    chain.set("standing.mix", 0.3)
    assert plugin.mix == 0.3, "at once where nobody is inside"


def test_a_value_of_the_wrong_type_is_refused_while_the_plugin_is_at_work() -> None:
    plugin = Standing()
    chain = Chain([plugin])
    with at_work(plugin):
        for value in ("loud", float("nan")):
            with pytest.raises(ParameterError, match=r"standing\.mix"):
                chain.set("standing.mix", value)
        chain.set("standing.mix", 7.0)  # no range is declared: it cannot be known yet
    assert plugin.mix == 0.5
    assert chain.slot("standing").get("mix") == 0.5


def test_what_waits_is_set_before_the_next_call() -> None:
    plugin = Standing()
    plugin.go.set()
    call(plugin, TONE, RATE, 512, False)
    Chain([plugin]).set("standing.mix", 0.25)
    call(plugin, TONE, RATE, 512, False)
    assert plugin.mixes == [0.5, 0.25]


def test_the_plugin_is_never_set_inside_process_by_remote_control_of_a_live_engine() -> None:
    plugin = Standing()
    plugin.go.set()
    chain = Chain([plugin])
    engine = _native.Engine(RATE, 1, 64)
    chain.attach(engine)
    control = Control(chain, lambda: engine)
    plugin.inside.clear()
    plugin.go.clear()
    for _ in range(20):
        engine.process(np.full((1, 64), 0.25, np.float32))
    assert plugin.inside.wait(10), "its worker is inside"
    plugin.settings.clear()
    for n in range(100):
        control.set("standing", "mix", n / 100)
    assert control.get("standing", "mix") == 0.99
    assert plugin.settings == []
    plugin.go.set()
    chain.detach(engine)
    assert plugin.settings == [(0.99, False)]


def test_pedalboard_refuses_at_once_what_it_does_not_allow() -> None:
    pedalboard = pytest.importorskip("pedalboard")
    from cspace.plugins.externalgate import gate_of

    chain = Chain([pedalboard.MP3Compressor(), pedalboard.LadderFilter()])
    inside, go = threading.Event(), threading.Event()

    def stay() -> None:
        with gate_of(chain[0]).alone(), gate_of(chain[1]).alone():
            inside.set()
            go.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    assert inside.wait(10)
    for address, value in [("mp3compressor.vbr_quality", 11.0), ("ladderfilter.resonance", 5.0)]:
        with pytest.raises(ParameterError, match=rf"{address} = .* is not allowed"):
            chain.set(address, value)
    chain.set("mp3compressor.vbr_quality", 9.0)
    chain.set("ladderfilter.mode", "HPF24")
    assert (chain[0].vbr_quality, chain[1].mode.name) == (2.0, "LPF12"), "not while somebody is inside"
    assert chain.slot(0).get("vbr_quality") == 9.0
    assert chain.slot(1).get("mode") == "HPF24"
    go.set()
    thread.join(10)
    assert (chain[0].vbr_quality, chain[1].mode.name) == (9.0, "HPF24")


# ---- panic -----------------------------------------------------------------------------------


class Echo(Standing):
    """Gives what it heard before all over again, and notes from when on it starts from silence."""

    def __init__(self) -> None:
        super().__init__()
        self.again = threading.Event()
        self.heard: list[float] = []  # since then

    def process(self, audio: Any, sample_rate: float, buffer_size: int = 8192, reset: bool = True) -> Any:
        self.heard.append(float(np.abs(audio).max()))
        return super().process(audio, sample_rate, buffer_size, reset)

    def reset(self) -> None:
        super().reset()
        self.heard.clear()
        self.again.set()


def test_a_panic_never_waits_for_a_plugin_and_what_came_before_it_is_never_heard() -> None:
    plugin = Echo()
    plugin.go.set()
    chain = Chain([plugin])
    engine = _native.Engine(RATE, 1, 64)
    chain.attach(engine)
    control = Control(chain, lambda: engine)
    plugin.inside.clear()
    plugin.go.clear()
    for _ in range(100):  # 12 hops, of which the first stands still
        engine.process(np.full((1, 64), 0.25, np.float32))
    assert plugin.inside.wait(10)
    plugin.again.clear()
    control.panic()
    assert plugin._busy, "nobody waited for it"
    plugin.go.set()
    assert plugin.again.wait(10)
    plugin.inside.clear()
    y = []
    for _ in range(2000):
        y.append(engine.process(np.zeros((1, 64), np.float32)))
        if plugin.inside.wait(0.001):
            break
    chain.detach(engine)
    assert plugin.heard, "it plays on"
    assert max(plugin.heard) == 0.0
    assert np.abs(np.concatenate(y, axis=1)[:, 2048:]).max(initial=0.0) == 0.0


def test_a_stage_that_forgets_stays_in_step() -> None:
    """A plugin that withholds 700 samples: what it held is silence, what comes after is where it was."""

    class Late:
        held = np.zeros((1, 0), np.float32)

        def process(self, audio: Any, sample_rate: float, buffer_size: int = 8192, reset: bool = True) -> Any:
            self.held = np.concatenate([self.held, audio], axis=1)
            ready = max(0, self.held.shape[1] - 700)
            out, self.held = self.held[:, :ready], self.held[:, ready:]
            return out

        def reset(self) -> None:
            self.held = self.held[:, :0]

    stage = External.of(Late(), RATE, 1)
    x = np.arange(1, 512 * 30 + 1, dtype=np.float32)[None]
    out = []
    for n in range(30):
        if n == 10:
            stage.forget()
        hop = x[:, n * 512 : (n + 1) * 512]
        out += stage.skip(hop) if stage.forgotten() else stage.work(hop)
    y = np.concatenate(out, axis=1)[0]
    assert len(y) >= 512 * 28
    heard = np.flatnonzero(y)
    np.testing.assert_array_equal(y[heard], x[0, heard])
    gap = np.setdiff1d(np.arange(len(y)), heard)
    assert gap[0] >= 512 * 8, "from before the panic, and out by then"
    assert gap[-1] == 512 * 11 - 1
