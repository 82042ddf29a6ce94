"""The file device: files at real-time pace, for machines without sound hardware, and for tests.

A native thread drives the engine at the pace of a sound card; a reader thread keeps its input ring
full and a writer thread empties its output ring. Nothing is lost when they are late: the native
thread waits and counts a stall. Without files this is the null device: silence in, nothing out.

Thread: control, for everything here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr
from numpy.typing import NDArray

from .. import _native
from .errors import AudioError, CspaceError
from .files import Reader, Writer

if TYPE_CHECKING:
    from .._native import Engine

PIECE = 4096  # frames in hand at once
RING_S = 10.0
AHEAD_S = 1.0  # input queued before the clock starts
_NAP_S = 0.005


class FileDevice:
    """Plays a file through an engine in real time, into another file.

    Parameters
    ----------
    engine : the engine to drive
    input : an audio file, or None for silence without end
    output : the file to write at the engine's rate, or None to drop the sound. It appears under its
        name when the stream is closed. Latency is taken out, so that it lies on the input as a
        render does
    block : frames per step of the clock
    loop : start over when the file ends
    tail_s : seconds to go on after the file ends
    on_error : called from a thread of the device with what stopped it, such as a full disk

    A file at another rate is resampled; a mono file goes to all channels of the engine.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        input: str | os.PathLike[str] | None = None,
        output: str | os.PathLike[str] | None = None,
        block: int = 64,
        loop: bool = False,
        tail_s: float = 0.0,
        on_error: Callable[[CspaceError], None] | None = None,
    ):
        self.engine = engine
        self.input = None if input is None else Path(input)
        self.output = None if output is None else Path(output)
        self.block = block
        self.error: CspaceError | None = None
        self._loop = loop
        self._tail = round(tail_s * engine.sample_rate)
        self._on_error = on_error
        self._stop = threading.Event()
        self._fed = threading.Event()  # enough is queued to start, or all of it
        self._ended = threading.Event()  # the end of the input is queued
        self._drained = threading.Event()
        self._frames_fed = 0
        self._writer: Writer | None = None
        self._threads: list[threading.Thread] = []
        if self.input is not None:
            with Reader(self.input) as reader:
                _check_channels(reader, engine.channels)
        if self.output is not None:
            self._writer = Writer(self.output, round(engine.sample_rate), engine.channels)
        endless = self.input is None
        try:
            self._paced = _native.PacedStream(engine, block, RING_S, null=endless and self.output is None)
        except (ValueError, RuntimeError) as e:
            self._discard()
            raise CspaceError(f"the file device cannot start: {e}") from None

    @property
    def name(self) -> str:
        """The device in words."""
        source = "silence" if self.input is None else self.input.name
        return f"{source} → {'nowhere' if self.output is None else self.output.name}"

    @property
    def finished(self) -> bool:
        """All input was played and all output was written."""
        return self._drained.is_set()

    @property
    def stalls(self) -> int:
        """Blocks that waited for the reader or the writer."""
        return self._paced.stalls

    @property
    def late_starts(self) -> int:
        """Blocks that started more than one block period late."""
        return self._paced.late_starts

    def start(self) -> None:
        """Queues the first second of input, then starts the clock."""
        if self.input is not None or self._writer is not None:
            self._spawn(self._read, "cspace-reader")
            self._fed.wait(timeout=10.0)
            self._spawn(self._drain, "cspace-writer")
        self._paced.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for the end of the file; True when all is written."""
        return self._drained.wait(timeout_s)

    def close(self) -> None:
        """Stops, writes what was played, and gives the output file its name. Idempotent.

        Raises FileError if the output file cannot be finished; there is none then.
        """
        self._stop.set()
        self._paced.stop()
        for thread in self._threads:
            thread.join(timeout=10.0)
        if self._writer is not None:
            if self.error is None:
                writer, self._writer = self._writer, None
                writer.__exit__(None, None, None)
            else:
                self._discard()

    # ---- threads -----------------------------------------------------------------------------

    def _spawn(self, work: Callable[[], None], name: str) -> None:
        def guarded() -> None:
            try:
                work()
            except CspaceError as e:
                self.error = e
                self._stop.set()
                self._drained.set()
                if self._on_error is not None:
                    self._on_error(e)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _read(self) -> None:
        rate, latency = self.engine.sample_rate, int(self.engine.latency_samples)
        try:
            for x in self._source():
                if not self._feed(x):
                    return
                if self._frames_fed >= AHEAD_S * rate:
                    self._fed.set()
            # The last sample of the input leaves the chain one latency later.
            self._feed(np.zeros((self.engine.channels, latency + self._tail), np.float32))
            self._paced.end()
        finally:
            self._ended.set()
            self._fed.set()

    def _feed(self, x: NDArray[np.float32]) -> bool:
        """Queues (channels, n) as room comes; False when the device was closed meanwhile."""
        at = 0
        while at < x.shape[1]:
            taken = self._paced.feed(np.ascontiguousarray(x[:, at : at + PIECE]))
            at += taken
            self._frames_fed += taken
            if taken == 0:
                self._fed.set()  # the ring is full
                if self._stop.wait(_NAP_S):
                    return False
        return not self._stop.is_set()

    def _source(self) -> Iterator[NDArray[np.float32]]:
        """The input at the engine's rate and channels: float32 [shape=(channels, n)]."""
        if self.input is None:
            while True:
                yield np.zeros((self.engine.channels, PIECE), np.float32)
        while True:
            with Reader(self.input) as reader:
                empty = True
                for x in _at_rate(reader, self.engine.sample_rate):
                    empty = empty and len(x) == 0
                    yield np.ascontiguousarray(_spread(x, self.engine.channels).T)
            if empty or not self._loop:
                return

    def _drain(self) -> None:
        skip = int(self.engine.latency_samples)
        stopped_at: float | None = None
        while True:
            done = self._paced.finished and self._ended.is_set()
            y = self._paced.drain(PIECE)
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
                self._drained.set()
                return
            time.sleep(_NAP_S)

    def _discard(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.__exit__(CspaceError, None, None)


def _check_channels(reader: Reader, channels: int) -> None:
    if reader.channels not in (1, channels):
        raise AudioError(
            f"{reader.path}: has {reader.channels} channels, the stream {channels}; use --channels {reader.channels}"
        )


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
