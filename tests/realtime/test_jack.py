"""The live path for real: JACK with the dummy driver, the native callback, and Python that holds the GIL.

Each scenario runs in a process of its own, so that a hang of PortAudio costs a time-out, not the run.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.jackd import available
from cspace.realtime import Chain

pytestmark = [
    pytest.mark.skipif(not available(), reason="needs jackd (apt install jackd2)"),
    pytest.mark.skipif(importlib.util.find_spec("jack") is None, reason="needs JACK-Client"),
    pytest.mark.timeout(180),
]
ROOT = Path(__file__).parents[2]
RATE = 48_000


def scenario(*args: str, timeout: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.realtime.jack_scenario", *args]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


class Twin:
    """The chain as bare processors whose state can be kept and brought back."""

    def __init__(self, chain: Chain, channels: int):
        self.parts = [s.native._build() for s in chain.slots if s.native]
        for p in self.parts:
            p.prepare(RATE, 1024, channels)

    def process(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        for p in self.parts:
            x = p.process(np.ascontiguousarray(x))
        return x

    def save(self) -> list[bytes]:
        return [p.save_state() for p in self.parts]

    def load(self, state: list[bytes]) -> None:
        for p, s in zip(self.parts, state, strict=True):
            p.load_state(s)


def seen_and_heard(
    twin: Twin, x: NDArray[np.float32], y: NDArray[np.float32], period: int, lag: int
) -> tuple[list[int], list[tuple[int, int]], int]:
    """Follows a recording block by block, through blocks that were missed.

    Returns the blocks of `x` the engine saw, the pairs (number among those, block of `y`) that are
    equal, and how many blocks were left when the trail was lost for good (0 if it never was).
    """

    def block(a: NDArray[np.float32], i: int) -> NDArray[np.float32]:
        return a[:, i * period : (i + 1) * period]

    blocks = x.shape[1] // period - lag
    seen: list[int] = []
    heard: list[tuple[int, int]] = []
    i = 0
    while i < blocks:
        state = twin.save()
        span = min(64, blocks - i)
        out = twin.process(x[:, i * period : (i + span) * period])
        equal = [np.array_equal(block(out, k), block(y, i + lag + k)) for k in range(span)]
        good = equal.index(False) if False in equal else span
        heard += [(len(seen) + k, i + lag + k) for k in range(good)]
        seen += range(i, i + good)
        i += good
        if good == span:
            continue
        # Block i was missed somewhere, and perhaps some after it: the engine saw the first `kept` of the
        # `gone` blocks. The right guess makes the next two blocks equal.
        twin.load(state)
        if good:
            twin.process(x[:, (i - good) * period : i * period])
        at_gap = twin.save()
        found = False
        for gone in range(1, 40):
            if i + gone + 2 > blocks:
                break
            for kept in range(gone + 1):
                for skip_first in (False, True) if 0 < kept < gone else (False,):
                    taken = range(i + gone - kept, i + gone) if skip_first else range(i, i + kept)
                    twin.load(at_gap)
                    for k in taken:
                        twin.process(block(x, k))
                    before = twin.save()
                    trial = twin.process(x[:, (i + gone) * period : (i + gone + 2) * period])
                    if np.array_equal(trial, y[:, (i + gone + lag) * period : (i + gone + 2 + lag) * period]):
                        twin.load(before)
                        seen += taken
                        i += gone
                        found = True
                        break
                if found:
                    break
            if found:
                break
        if not found:
            return seen, heard, blocks - i
    return seen, heard, 0


@pytest.mark.parametrize("period", [64, 128])
def test_native_callback_never_waits_and_equals_the_render(period: int, tmp_path: Path) -> None:
    from tests.realtime.jack_peer import signal
    from tests.realtime.jack_scenario import chain

    seconds = 20.0
    out = tmp_path / "peer.npz"
    r = scenario("loop", "--period", str(period), "--seconds", str(seconds), "--out", str(out), timeout=120)
    print(json.dumps(r))

    # What noise of a busy machine cannot flip; the benchmark reports the share itself.
    assert r["longest_c_call_s"] > 0.1
    assert r["share"] >= 2 * r["python"]["share"]
    assert r["panics"] == 0

    data = np.load(out)
    blocks, x, y = int(data["blocks"]), signal(seconds + 3), data["y"]
    n = blocks * period
    assert n >= seconds * RATE
    x, y = x[:, :n], y[:, :n]
    start = r["start"]
    assert start is not None
    live = chain()
    # The peer hears its own loop one period late or in the same one, as JACK orders the clients.
    for lag in (1, 0, 2):
        twin = Twin(live, 2)
        twin.process(np.zeros((2, start), np.float32))
        seen, heard, lost = seen_and_heard(twin, x, y, period, lag)
        if len(heard) > 50:
            break
    print(f"{len(heard)} of {blocks} blocks equal, {blocks - len(seen)} not seen, {lost} after the trail was lost")
    assert len(heard) >= 500  # a very busy machine may lose the trail

    # The offline render of what the engine saw, against the recording, bit for bit.
    fed = np.concatenate([np.zeros((2, start), np.float32), *(x[:, i * period : (i + 1) * period] for i in seen)], 1)
    rendered = live.process(fed, RATE)
    for k, j in heard:
        ours = rendered[:, start + k * period : start + (k + 1) * period]
        assert np.array_equal(ours, y[:, j * period : (j + 1) * period])
    assert np.abs(rendered).max() > 0.05


def test_a_killed_server_is_reported_and_reopened() -> None:
    r = scenario("vanish", timeout=100)
    assert r["played"] > 0
    assert r["reported"]
    assert r["after_s"] < 5
    assert "can be reopened" in r["lost"]
    assert "no sound input" in r["while_away"]
    assert len(r["again"]) == 2
    assert min(r["again"]) > 0.3 * RATE
