"""The engine and Python's threads: nobody waits with the GIL, nothing is kept of what is gone."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from cspace import _native
from tests.export import models

RATE = 48_000


def test_times_of_slots_that_are_gone_are_let_go() -> None:
    """Each takes 230 KB: 300 of them would be 69 MB."""
    engine = _native.Engine(RATE, 1, 64)
    fade = np.zeros((1, 2 * 480), np.float32)

    def come_and_go(times: int) -> None:
        for _ in range(times):
            slot = engine.insert(0, _native.Processor("gain"))
            engine.process(fade)
            engine.remove(slot)
            engine.process(fade)

    def resident_mb() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096 / 1e6

    come_and_go(20)
    before = resident_mb()
    come_and_go(300)
    assert engine.stats()["histograms"] == 1
    assert resident_mb() - before < 20.0


def test_one_processor_in_many_threads_gives_right_results_one_after_the_other() -> None:
    core = _native.Processor("cspace")
    core.prepare(RATE, 1024, 1)
    x = models.noise(1, 48_000)
    whole = core.process(np.concatenate([x] * 8, axis=1))
    core.reset()
    parts: list[np.ndarray] = []
    lock = threading.Lock()

    def work() -> None:
        for _ in range(2):
            y = core.process(x)
            with lock:
                parts.append(y)

    workers = [threading.Thread(target=work) for _ in range(4)]
    [w.start() for w in workers]  # type: ignore[func-returns-value]
    [w.join() for w in workers]  # type: ignore[func-returns-value]
    wanted = np.split(whole, 8, axis=1)
    # All input is alike, so whoever came in turn n has part n.
    assert sum(any(np.array_equal(y, w) for y in parts) for w in wanted) == 8


def test_a_processor_that_waits_for_another_thread_does_not_hold_python_up() -> None:
    """A long call holds the processor; a getter of a second thread waits, a third thread runs on."""
    core = _native.Processor("esn")
    core.set("nodes", 2048)
    core.set("density", 1.0)
    core.prepare(8000, 1024, 1)
    x = models.noise(1, 4000)
    started, ended = threading.Event(), threading.Event()

    def long_call() -> None:
        started.set()
        core.process(x)
        ended.set()

    asked: list[float] = []
    a, b = threading.Thread(target=long_call), threading.Thread(target=lambda: asked.append(core.get("nodes")))
    a.start()
    started.wait()
    time.sleep(0.01)
    b.start()
    beats = 0
    while not ended.is_set():
        time.sleep(0.001)
        beats += 1
    a.join()
    b.join()
    assert asked == [2048]
    assert beats > 10, "this thread stood still while the second one waited"


def test_a_worker_is_asked_while_another_thread_waits_for_its_input() -> None:
    engine = _native.Engine(RATE, 1, 64)
    worker = engine.insert_worker(0, 64, 512, 0, "w")
    waiting = threading.Thread(target=lambda: worker.pull(60.0))
    waiting.start()
    time.sleep(0.05)
    assert (worker.closed, worker.hop, worker.channels, worker.latency_samples) == (False, 64, 1, 512)
    engine.process(np.zeros((1, 64), np.float32))  # lets it go
    waiting.join()


def answer(core: _native.Processor, channels: int) -> str:
    try:
        return "right" if core.process(np.zeros((channels, 64), np.float32)).shape == (channels, 64) else "wrong"
    except (ValueError, RuntimeError) as e:
        return str(e)


def test_a_processor_prepared_anew_by_another_thread_never_breaks() -> None:
    """Channels change under a running call: it is right or refused, not a fault inside."""
    core = _native.Processor("eq")
    core.prepare(RATE, 256, 2)
    stop = threading.Event()

    def prepare() -> None:
        channels = 1
        while not stop.is_set():
            core.prepare(RATE, 256, channels)
            channels = 3 - channels

    other = threading.Thread(target=prepare)
    other.start()
    try:
        answers = [answer(core, 1 + i % 2) for i in range(400)]
    finally:
        stop.set()
        other.join()
    assert not [a for a in answers if "inside" in a]
    assert "right" in answers


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _native.Engine(RATE, 1, 64).insert_worker(0, 2**62, 2**63, 0, "w"), "a worker has a hop up to"),
        (lambda: _native.Engine(RATE, 1, 64).insert_worker(0, 64, 2**40, 0, "w"), "a worker has a hop up to"),
        (lambda: _native.Processor("gain").prepare(RATE, 2**60, 2), "max_block is 1 to"),
        (lambda: _native.Processor("gain").prepare(RATE, 64, 2**60), "channels 1 to"),
        (lambda: _native.Engine(RATE, 1, 2**40), "largest block"),
        (lambda: _native.Engine(RATE, 2**40), "channels"),
        (lambda: _native.Engine(RATE, 1).insert_player(0, 1e300), "ring_seconds"),
        (lambda: _native.Engine(RATE, 1).listen(1, float("nan")), "ring_seconds"),
        (lambda: _native.Engine(192_000, 64).insert_player(0, 600.0), "more than 1 GiB for 64 channels"),
        (lambda: _native.PacedStream(_native.Engine(192_000, 64, 64), 64, 600.0), "more than 1 GiB"),
        (lambda: _native.LookaheadBank(np.array([1e-3]), np.array([0.1]), 2**62), "1 oscillators can look"),
        (lambda: _native.LookaheadBank(np.array([1e-3]), np.array([0.1]), 2**40), "1 oscillators can look"),
    ],
)
def test_sizes_that_are_slips_are_errors_and_not_the_end_of_the_program(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
