"""Threads that carry sound between files and the engine's rings.

Thread: control creates them; each runs on a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from ..audiofile import About, Reader, Writer
from .errors import AudioError, CspaceError

if TYPE_CHECKING:
    from .._native import Engine

PIECE = 4096  # frames in hand at once
RING_S = 10.0
AHEAD_S = 1.0  # input queued before the sound starts
NAP_S = 0.005


class Sink(Protocol):
    """Where a file goes: a paced stream, or the player slot of a device's chain."""

    def feed(self, audio: NDArray[np.float32], /) -> int:
        """Queues (channels, n); returns how many frames fitted."""

    def end(self) -> None:
        """No more will come."""


class Source(Protocol):
    """Where a recording comes from: a paced stream, or the recorder slot of a device's chain."""

    def drain(self, max_frames: int, /) -> NDArray[np.float32]:
        """What waits, up to max_frames: (channels, n)."""


class Threads:
    """Threads that stop together, and the first error of any.

    Parameters
    ----------
    on_error : called from the thread that failed
    """

    def __init__(self, on_error: Callable[[CspaceError], None]):
        self.stop = threading.Event()
        self.error: CspaceError | None = None
        self._on_error = on_error
        self._threads: list[threading.Thread] = []

    def spawn(self, work: Callable[[], None], name: str) -> None:
        """Starts `work`; an error of ours stops the others."""

        def guarded() -> None:
            try:
                work()
            except CspaceError as e:
                self.error = self.error or e
                self.stop.set()
                self._on_error(e)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        """Stops and waits for all."""
        self.stop.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=10.0)


class Feeder:
    """Reads a file into a sink, at the engine's rate and channels.

    Parameters
    ----------
    path : an audio file, or None for silence without end
    loop : start over when the file ends
    tail : frames of silence after the latency of the chain
    """

    def __init__(self, engine: Engine, sink: Sink, path: Path | None, stop: threading.Event, *, loop: bool, tail: int):
        self.fed = threading.Event()  # enough is queued to start, or all of it
        self.ended = threading.Event()  # the end of the input is queued
        self._engine, self._sink, self._path, self._stop = engine, sink, path, stop
        self._loop, self._tail = loop, tail
        self._frames = 0
        #: What is wrong with the file, in words; complete when it was played to its end.
        self.warnings: list[str] = []
        #: What it holds besides its sound.
        self.about: About | None = None
        if path is not None:
            with Reader(path) as reader:
                self.about = reader.about()
                if reader.channels not in (1, engine.channels):
                    raise AudioError(
                        f"{reader.path}: has {reader.channels} channels, the stream {engine.channels}; "
                        f"use --channels {reader.channels}"
                    )

    def run(self) -> None:
        """To the end of the file, or until stopped."""
        rate, latency = self._engine.sample_rate, int(self._engine.latency_samples)
        try:
            for x in self._blocks():
                if not self._feed(x):
                    return
                if self._frames >= AHEAD_S * rate:
                    self.fed.set()
            # The last sample of the input leaves the chain one latency later.
            self._feed(np.zeros((self._engine.channels, latency + self._tail), np.float32))
            self._sink.end()
        finally:
            self.ended.set()
            self.fed.set()

    def _feed(self, x: NDArray[np.float32]) -> bool:
        """Queues (channels, n) as room comes; False when stopped meanwhile."""
        at = 0
        while at < x.shape[1]:
            taken = self._sink.feed(np.ascontiguousarray(x[:, at : at + PIECE]))
            at += taken
            self._frames += taken
            if taken == 0:
                self.fed.set()  # the ring is full
                if self._stop.wait(NAP_S):
                    return False
        return not self._stop.is_set()

    def _blocks(self) -> Iterator[NDArray[np.float32]]:
        """The input at the engine's rate and channels: float32 [shape=(channels, n)]."""
        channels = self._engine.channels
        if self._path is None:
            while True:
                yield np.zeros((channels, PIECE), np.float32)
        while True:
            with Reader(self._path) as reader:
                empty = True
                for x in _at_rate(reader, self._engine.sample_rate):
                    empty = empty and len(x) == 0
                    yield np.ascontiguousarray(_spread(x, channels).T)
                self.warnings = [f"{reader.path}: {words}" for words in reader.warnings]
            if empty or not self._loop:
                return


class Collector:
    """Empties a source into a file, without the chain's latency at its beginning.

    Parameters
    ----------
    writer : None throws the sound away
    finished : whether the source will give no more; asked before it is emptied
    """

    def __init__(
        self,
        engine: Engine,
        source: Source,
        writer: Writer | None,
        stop: threading.Event,
        finished: Callable[[], bool] = lambda: False,
    ):
        self.drained = threading.Event()
        self._source, self._writer, self._stop, self._finished = source, writer, stop, finished
        self._skip = int(engine.latency_samples)

    def run(self) -> None:
        """Until the source is finished, or shortly after it is stopped."""
        skip = self._skip
        stopped_at: float | None = None
        while True:
            done = self._finished()
            y = self._source.drain(PIECE)
            if y.shape[1]:
                if self._writer is not None and skip < y.shape[1]:
                    self._writer.write(np.ascontiguousarray(y[:, skip:].T))
                skip = max(0, skip - y.shape[1])
                continue
            if self._stop.is_set():
                # The clock stops within a block; what it still gave is written too.
                now = time.monotonic()
                stopped_at = stopped_at or now
                done = done or now - stopped_at > 0.1
            if done:
                self.drained.set()
                return
            time.sleep(NAP_S)


def _spread(x: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Mono (n, 1) to all channels."""
    return x if x.shape[1] == channels else np.repeat(x, channels, axis=1)


def _at_rate(reader: Reader, rate: float) -> Iterator[NDArray[np.float32]]:
    """Blocks (n, channels) of the file at `rate`."""
    if rate == reader.sample_rate:
        yield from reader.blocks(PIECE)
        return
    stream = soxr.ResampleStream(reader.sample_rate, rate, reader.channels, dtype="float32", quality="VHQ")
    for x in reader.blocks(PIECE):
        yield stream.resample_chunk(x).reshape(-1, reader.channels)
    yield stream.resample_chunk(np.zeros((0, reader.channels), np.float32), last=True).reshape(-1, reader.channels)
