"""Models that never end: refused, stopped, named; Python, Ctrl-C and the end of the program do not wait for them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from cspace import _native
from cspace.export.package import PackageError
from cspace.export.runner import Runner
from cspace.modelpackage import read
from cspace.plugins import CspaceError, Gain, OnnxStream
from cspace.realtime import Chain
from tests.export import models

RATE = 48_000
PATIENCE = 100.0  # seconds; what is waited for takes 2 s of computing, on a machine that may be busy
WARM_UP = 3  # runs when a model is opened


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    return models.package(tmp_path / "endless", models.endless(), goldens=()).folder


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """Plays 20 hops."""
    return models.package(tmp_path / "later", models.endless(after=20), goldens=()).folder


def wait_for(what: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def threads(name: str, process: int | str = "self") -> int:
    """Threads of a process, this one by default, that bear a name."""
    count = 0
    for task in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            count += (task / "comm").read_text().strip() == name
    return count


def test_one_that_computes_while_it_is_opened_is_refused_too(tmp_path: Path) -> None:
    """A graph of a few kilobytes whose constants take minutes: the runtime would compute them while it opens it."""
    hop, size, depth = 64, 1500, 2000
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{i}", "m0"], [f"m{i + 1}"]) for i in range(depth)]
    nodes += [
        helper.make_node("ReduceSum", [f"m{depth}"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["audio", "nothing"], ["audio_out"]),
    ]
    constants = {"shape": np.array([size, size], np.int64), "zero": np.array(0.0, np.float32)}
    data = models.model_bytes(nodes, {"audio": (1, hop)}, {"audio_out": (1, hop)}, constants)
    folder = models.package(tmp_path / "fold", (models.manifest("fold", hop), data), goldens=()).folder
    with pytest.raises(CspaceError, match=r"a run of the model, 64 samples, was not done after 2\.000 s of computing"):
        OnnxStream(folder)


def test_it_is_refused_by_name_and_python_runs_on(endless: Path) -> None:
    beats = 0
    done = threading.Event()

    def beat() -> None:
        nonlocal beats
        while not done.wait(0.01):
            beats += 1

    other = threading.Thread(target=beat)
    other.start()
    try:
        with pytest.raises(
            PackageError, match=r"endless: a run of the model, 64 samples, .* 2\.000 s of computing"
        ) as e:
            OnnxStream(endless)
    finally:
        done.set()
        other.join()
    assert "use a smaller one" in str(e.value)
    assert beats > 20, "the GIL was held"
    # ONNX Runtime keeps one thread of its own, which bears the name of the one that opened the library.
    wait_for(lambda: threads("cspace-load") <= 1)


def test_a_package_swapped_for_it_while_sound_plays_changes_nothing(endless: Path, tmp_path: Path) -> None:
    fir = models.package(tmp_path / "fir", models.fir([1.0, 0.5])).folder
    engine = _native.Engine(RATE, 1, 64)
    chain = Chain([OnnxStream(fir)])
    chain.attach(engine)
    with pytest.raises(PackageError, match="it may loop without end"):
        chain["onnx"].package = endless
    assert chain["onnx"].package == fir
    assert engine.stats()["slots"][0]["name"] == "onnx"


def test_live_it_is_stopped_counted_and_gives_way_to_its_input(later: Path) -> None:
    engine = _native.Engine(RATE, 1, 64)
    chain = Chain([OnnxStream(later, spare_ms=0.0), Gain(gain_db=-6.0)])
    link = chain.attach(engine)
    block = np.full((1, 64), 0.5, np.float32)

    def played() -> dict[str, Any]:
        engine.process(block)
        time.sleep(0.001)
        return dict(engine.stats()["slots"][0])

    wait_for(lambda: played()["stopped_hops"] == 1)
    wait_for(lambda: played()["out_of_use"])
    slot = played()
    assert (slot["stopped_hops"], slot["hops"], slot["panics"]) == (3, 20, 0)
    assert slot["fault"].startswith("out of use after 3 hops in a row: a run of the model, 64 samples")
    for _ in range(20):
        heard = engine.process(block)
    np.testing.assert_allclose(heard, 0.5 * 10 ** (-6 / 20), rtol=1e-5)
    wait_for(lambda: threads("cspace-model") == 0)
    assert engine.stats()["stuck_threads"] == 0
    chain["onnx"].package = models.package(later.parent / "fir", models.fir([1.0, 0.0])).folder
    wait_for(lambda: played()["hop_time"]["count"] > 5)
    assert (played()["out_of_use"], played()["fault"]) == (False, "")
    link.close()


def test_removed_while_it_runs_its_thread_ends(later: Path) -> None:
    engine = _native.Engine(RATE, 1, 64)
    for _ in range(3):
        chain = Chain([OnnxStream(later, spare_ms=0.0)])
        chain.attach(engine)
        block = np.zeros((1, 64), np.float32)
        for _ in range(60):
            engine.process(block)
        wait_for(lambda: engine.stats()["slots"][0]["hops"] == 20)
        del chain[0]
        for _ in range(20):
            engine.process(block)
        chain.detach(engine)
    wait_for(lambda: threads("cspace-model") == 0)
    assert engine.stats()["stuck_threads"] == 0


@pytest.mark.parametrize("alone", [True, False])
def test_a_render_with_it_is_an_error(later: Path, alone: bool) -> None:
    x = models.noise(1, 64 * 60)
    plugin = OnnxStream(later)
    with pytest.raises((RuntimeError, CspaceError), match="out of use after 3 hops in a row"):
        plugin(x, RATE) if alone else Chain([plugin])(x, RATE)


def test_the_python_runtime_stops_it_too(endless: Path, later: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"endless: a run of the model, 64 samples, was not done after 2\.000 s"):
        Runner(read(endless)).step(models.noise(1, 64))
    runner, x = Runner(read(later)), models.noise(1, 64 * 20)
    np.testing.assert_array_equal(runner.run(x), x)  # what ends is left alone
    with pytest.raises(PackageError, match="it may loop without end"):
        runner.step(x[:, :64])
    with pytest.raises(PackageError, match="it may loop without end"):  # a golden of it
        models.package(tmp_path / "again", models.endless(after=5))
    assert not (tmp_path / "again").exists()


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", code, *map(str, arguments)]
    # As in a terminal: a test run in the background ignores SIGINT, and children would inherit that.
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


CTRL_C = """
import sys, time
from cspace.plugins import OnnxStream
print("ready", flush=True)
started = time.monotonic()
try:
    OnnxStream(sys.argv[1])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_is_heard_while_it_is_opened(endless: Path) -> None:
    process = run(CTRL_C, endless)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    wait_for(lambda: threads("cspace-load", process.pid) == 1)
    os.kill(process.pid, signal.SIGINT)
    out, errors = process.communicate(timeout=PATIENCE)
    assert (out, errors, process.returncode) == ("interrupted\n", "", 0)


AT_EXIT = """
import sys, numpy as np
from cspace import _native
from cspace.plugins import OnnxStream
from cspace.realtime import Chain
engine = _native.Engine(48_000, 1, 64)
chain = Chain([OnnxStream(sys.argv[1], spare_ms=0.0)])
chain.attach(engine)
stream = None
if sys.argv[2] == "paced":
    stream = _native.PacedStream(engine, 64, null=True)
    stream.start()
while engine.stats()["slots"][0]["hops"] < 20:
    if stream is None:
        engine.process(np.zeros((1, 64), np.float32))
print("endless", flush=True)
"""


@pytest.mark.parametrize("driven", ["by hand", "paced"])
def test_a_program_that_ends_with_it_ends_cleanly(later: Path, driven: str) -> None:
    out, errors = (process := run(AT_EXIT, later, driven)).communicate(timeout=PATIENCE)
    assert (out, errors, process.returncode) == ("endless\n", "", 0)
