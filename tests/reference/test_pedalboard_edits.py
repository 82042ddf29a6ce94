"""A chain with plugins of pedalboard that is edited, copied, called and rendered at the same time, live and offline."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from cspace import _native
from cspace.plugins import Gain, Limiter
from cspace.realtime import Chain, CspaceError, render
from cspace.realtime.control import Control

pedalboard = pytest.importorskip("pedalboard", reason="optional, GPLv3: pip install 'cspace[pedalboard]'")
RATE = 48_000
F32 = NDArray[np.float32]


def noise(frames: int = 9600, channels: int = 2) -> F32:
    return np.random.default_rng(0).uniform(-0.3, 0.3, (channels, frames)).astype(np.float32)


# ---- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
@pytest.mark.parametrize("calls", [[], [True], [True, False], [False], [True, False, True]])
def test_copies_can_be_made_after_any_call(how: Any, calls: list[bool]) -> None:
    chain = Chain([Gain(gain_db=-3.0), pedalboard.Delay(0.01), Limiter()])
    for reset in calls:
        chain(noise(), RATE, reset=reset)
    twin = how(chain)
    want = chain(noise(), RATE)
    np.testing.assert_array_equal(twin(noise(), RATE), want)
    # A piece that follows is each one's own.
    after = chain(noise(), RATE, reset=False)
    np.testing.assert_array_equal(twin(noise(), RATE, reset=False), after)


# ---- bypass between pieces -----------------------------------------------------------------------


@pytest.mark.parametrize("compensate", [None, False])
@pytest.mark.parametrize("piece", [64, 100, 4800])
def test_bypass_between_pieces_fades(compensate: bool | None, piece: int) -> None:
    """A gain of 2 switched off and on again in the middle of its fade: no step larger than a fade of 10 ms makes."""
    chain = Chain([Gain(), pedalboard.Gain(20 * np.log10(2)), Gain()])
    x = np.full((1, piece), 0.1, np.float32)
    out = [chain(np.full((1, 9600), 0.1, np.float32), RATE, compensate=compensate)]
    for switch in (True, None, False, None, True, True, True, False, *[None] * (9600 // piece)):
        if switch is not None:
            chain.bypass("gain2", switch)
        out.append(chain(x, RATE, reset=False))
    y = np.concatenate(out, axis=1)[0, 4800:]  # pedalboard's own gain glides to its value at the start
    assert np.abs(np.diff(y)).max() < 0.001, "0.1 in 480 samples, and twice that where the engine's fade is a curve"
    assert y[-1] == pytest.approx(0.2, rel=1e-3)


def test_what_was_passed_by_forgets_its_sound() -> None:
    chain = Chain([pedalboard.Delay(0.05, feedback=0.9, mix=1.0)])
    chain(noise(), RATE)
    chain.bypass(0)
    chain(np.zeros((2, 9600), np.float32), RATE, reset=False)
    chain.bypass(0, False)
    y = chain(np.zeros((2, 9600), np.float32), RATE, reset=False)
    assert np.abs(y[:, 960:]).max() == 0.0, "an echo from before it was switched off"


# ---- moves ---------------------------------------------------------------------------------------


def test_dense_automation_loses_nothing(tmp_path: Path) -> None:
    """3,000 moves in a tenth of a second, beside a plugin from elsewhere: the last one holds, and each is heard."""
    x = np.full((1, RATE // 2), 0.5, np.float32)
    soundfile.write(tmp_path / "in.wav", x.T, RATE, subtype="FLOAT")
    rng = np.random.default_rng(1)
    moves = [((1000 + i) / RATE, "gain.gain_db", float(g)) for i, g in enumerate(rng.uniform(-60, 0, 3000))]
    moves.append((4000 / RATE, "gain.gain_db", -20.0))
    heard = {}
    for name, chain in {
        "alone": Chain([Gain()]),
        "beside": Chain([Gain(), pedalboard.Invert()]),
    }.items():
        render(chain, tmp_path / "in.wav", tmp_path / f"{name}.wav", automation=moves)
        heard[name] = soundfile.read(tmp_path / f"{name}.wav", dtype="float32")[0]
    assert heard["alone"][-1] == pytest.approx(0.05, rel=1e-4)
    np.testing.assert_allclose(heard["beside"], -heard["alone"], atol=1e-7)
    # Many at one sample: the last of them holds.
    same = [(0.25, "gain.gain_db", float(g)) for g in rng.uniform(-60, 0, 2500)] + [(0.25, "gain.gain_db", -6.0)]
    render(Chain([Gain()]), tmp_path / "in.wav", tmp_path / "same.wav", automation=same)
    y = soundfile.read(tmp_path / "same.wav", dtype="float32")[0]
    assert y[12_000] == pytest.approx(0.5, rel=0.01)
    assert y[-1] == pytest.approx(0.5 * 10 ** (-6 / 20), rel=1e-4)


def test_a_refused_render_leaves_the_plugins_as_they_were(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", noise().T, RATE, subtype="FLOAT")
    chorus, shift = pedalboard.Chorus(mix=0.5), pedalboard.PitchShift(semitones=1.0)
    for moves in (
        [(0.0, "pitchshift.semitones", 5.0), (0.1, "pitchshift.semitones", 2.0)],
        [(0.0, "chorus.mix", 1.0), (0.1, "pitchshift.semitones", 2.0)],
        [(0.0, "chorus.mix", 1.0), (0.0, "chorus.rate_hz", 1e9)],
    ):
        with pytest.raises(CspaceError):
            render(Chain([chorus, shift]), tmp_path / "in.wav", tmp_path / "out.wav", automation=moves)
        assert (shift.semitones, chorus.mix) == (1.0, 0.5)
        assert not (tmp_path / "out.wav").exists()


def test_a_timed_move_of_a_live_chain_is_heard_in_its_calls_too() -> None:
    chain = Chain([Gain()])
    engine = _native.Engine(RATE, 1, 128)
    chain.attach(engine)
    ones = np.ones((1, 4800), np.float32)
    chain(ones, RATE, reset=False)
    chain.set("gain.gain_db", -20.0, time=24_000)
    assert chain(ones, RATE, reset=False)[0, -1] == pytest.approx(0.1, rel=1e-4), "a call has no clock to wait for"
    y = engine.process(np.ones((1, 28_800), np.float32))[0]
    assert np.all(y[:24_000] == 1.0)
    assert y[24_001] < 1.0
    chain.detach(engine)


# ---- threads -------------------------------------------------------------------------------------


def test_two_threads_that_render_one_chain_write_the_same_files(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "in.wav", noise(4 * RATE).T, RATE, subtype="FLOAT")
    chain = Chain([Gain(), pedalboard.Chorus(rate_hz=3.0), pedalboard.Delay(0.01, feedback=0.5)])
    render(chain, tmp_path / "in.wav", tmp_path / "want.wav")
    want = soundfile.read(tmp_path / "want.wav", dtype="float32")[0]
    failed: list[BaseException] = []

    def work(i: int) -> None:
        try:
            for n in range(3):
                render(chain, tmp_path / "in.wav", tmp_path / f"{i}-{n}.wav")
                chain(noise(), RATE)
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
    assert not failed
    for i in range(3):
        for n in range(3):
            np.testing.assert_array_equal(soundfile.read(tmp_path / f"{i}-{n}.wav", dtype="float32")[0], want)


def test_edits_beside_calls_raise_nothing() -> None:
    """One thread calls piece by piece, others edit the list and set: no error but those that name a cause."""
    chain = Chain([Gain(), Limiter(), Gain()])
    over, failed = threading.Event(), []

    def until_over(step: Any) -> None:
        try:
            while not over.is_set():
                step()
        except BaseException as e:
            failed.append(e)

    def lists() -> None:
        chain.insert(1, Gain(), name="guest")
        chain.move(1, 2)
        chain.pop("guest")

    def sets() -> None:
        for plugin in list(chain):
            if isinstance(plugin, Gain):
                plugin.gain_db = -3.0

    threads = [
        threading.Thread(target=until_over, args=(step,))
        for step in (lists, sets, lambda: chain(noise(256), RATE, reset=False), lambda: chain(noise(256), RATE))
    ]
    for t in threads:
        t.start()
    over.wait(3.0)
    over.set()
    for t in threads:
        t.join(60)
    assert not failed


# ---- panic ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("live", [False, True])
def test_panic_silences_plugins_from_elsewhere(live: bool) -> None:
    """A delay with much feedback rings on for seconds; after a panic nothing of it comes back."""
    chain = Chain([Gain(), pedalboard.Delay(0.1, feedback=0.95, mix=1.0), Gain()])
    engine = _native.Engine(RATE, 1, 128)
    chain.attach(engine, live=live)
    control = Control(chain, lambda: engine)

    def played(level: float, seconds: float) -> F32:
        out = []
        for _ in range(round(seconds * RATE / 128)):
            out.append(engine.process(np.full((1, 128), level, np.float32)))
            if live:
                time.sleep(128 / RATE)  # its worker keeps up
        return np.concatenate(out, axis=1)

    played(0.5, 0.3)
    assert np.abs(played(0.0, 0.3)).max() > 0.3, "it rings"
    control.panic()
    played(0.0, 0.2)  # the fade, and what was under way
    assert np.abs(played(0.0, 0.5)).max() == 0.0
    assert np.abs(played(0.5, 0.5)).max() > 0.3, "it plays on"
    chain.detach(engine)
