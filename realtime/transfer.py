"""Threads that carry sound between files and the engine's rings.

Thread: control creates them; each runs on a thread of its own.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from ..audiofile import About, Reader, Take
from .errors import AudioError, CspaceError, FileError, StreamError

if TYPE_CHECKING:
    from .._native import Engine

PIECE = 4096  # frames in hand at once
RING_S = 10.0
AHEAD_S = 1.0  # input queued before the sound starts
NAP_S = 0.005
JOIN_S = 10.0  # a disk may stand still for that long


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

    def spawn(self, work: Callable[[], None], name: str, what: str) -> None:
        """Starts `work`, `what` in messages; any exception of it ends the stream with that error."""

        def guarded() -> None:
            try:
                work()
            except BaseException as e:
                self.fail(e, what)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def fail(self, error: BaseException, what: str) -> None:
        """Ends the stream with this error; the first one is told."""
        told = named(error, what)
        self.error = self.error or told
        self.stop.set()
        self._on_error(told)

    def here(self) -> bool:
        """Whether the calling thread is one of these."""
        return threading.current_thread() in self._threads

    def join(self) -> None:
        """Stops and waits for all."""
        self.stop.set()
        for thread in self._threads:
            if thread is not threading.current_thread() and thread.is_alive():
                # Nobody may close a take that is being written; the third signal ends a wait without end.
                thread.join(timeout=None if thread.name == "cspace-writer" else JOIN_S)


def named(error: BaseException, what: str) -> CspaceError:
    """An error of ours as it is; any other as a StreamError that names it and where it happened."""
    if isinstance(error, CspaceError):
        return error
    told = StreamError(f"{what} ended by {type(error).__name__}: {error}".rstrip(": "))
    told.__cause__ = error
    return told


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
        self.news: list[str] = []  # what people should know, such as a loop whose file is gone
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
        if self._path is not None:
            with contextlib.closing(_Rounds(self._path, self._engine.sample_rate, self._told)) as rounds:
                while not self._stop.is_set():
                    empty = True
                    for x in rounds.one():
                        empty = empty and len(x) == 0
                        yield np.ascontiguousarray(_spread(x, channels).T)
                    self.warnings = rounds.warnings
                    if not self._loop or (empty and not rounds.lost):
                        return
                    if rounds.lost:
                        break
        while True:
            yield np.zeros((channels, PIECE), np.float32)

    def _told(self, news: str) -> None:
        if news not in self.news:
            self.news.append(news)


class _Rounds:
    """A file read again and again from one open descriptor: it may be deleted or replaced meanwhile.

    A file that was replaced is taken from the next round on. `lost` says that no further round can be
    read, which is told; the first one raises instead.
    """

    def __init__(self, path: Path, rate: float, tell: Callable[[str], None]):
        self.lost = False
        self.warnings: list[str] = []
        self._path, self._rate, self._tell = path, rate, tell
        self._reader = Reader(path)
        self._stamp = _stamp(path)
        self._done = 0
        self._missing = False

    def one(self) -> Iterator[NDArray[np.float32]]:
        """One round: blocks (n, channels)."""
        read = 0
        try:
            if self._done:
                self._rewind()
            for x in _at_rate(self._reader, self._rate):
                read += len(x)
                yield x
        except FileError as e:
            if not self._done:
                raise
            self._give_up(str(e))
        self.warnings = [f"{self._reader.path}: {words}" for words in self._reader.warnings]
        if self._done and not read and not self.lost:
            self._give_up(f"{self._path}: is empty now")
        self._done += 1

    def _give_up(self, why: str) -> None:
        self.lost = True
        self._tell(f"{why}; the loop ends, and silence plays on")

    def _rewind(self) -> None:
        stamp = _stamp(self._path)
        if stamp is None and not self._missing:
            self._missing = True
            self._tell(f"{self._path}: is gone; the loop plays on from what is still open")
        elif stamp is not None and stamp != self._stamp:
            self._stamp, self._missing = stamp, False
            with contextlib.suppress(FileError):  # half written: the old one plays on
                newer = Reader(self._path)
                if newer.channels == self._reader.channels and newer.frames != 0:
                    self._reader.close()
                    self._reader = newer
                    return
                newer.close()
        self._reader.seek(0)

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    """What changes when a file is replaced; None if it is gone."""
    try:
        s = path.stat()
    except OSError:
        return None
    return s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns


class Collector:
    """Empties a source into a file, without the chain's latency at its beginning.

    Parameters
    ----------
    take : None throws the sound away
    finished : whether the source will give no more; asked before it is emptied
    ends_with_take : a take that cannot be written on ends the stream; else the sound plays on
    """

    def __init__(
        self,
        engine: Engine,
        source: Source,
        take: Take | None,
        stop: threading.Event,
        finished: Callable[[], bool] = lambda: False,
        *,
        ends_with_take: bool = False,
    ):
        self.drained = threading.Event()
        self.news: list[str] = []  # what people should know, such as a full disk
        self._ends_with_take = ends_with_take
        self._source, self._take, self._stop, self._finished = source, take, stop, finished
        self._skip = int(engine.latency_samples)

    def run(self) -> None:
        """Until the source is finished, or shortly after it is stopped."""
        skip = self._skip
        stopped_at: float | None = None
        while True:
            done = self._finished()
            y = self._source.drain(PIECE)
            if y.shape[1]:
                if self._take is not None and skip < y.shape[1]:
                    self._write(self._take, np.ascontiguousarray(y[:, skip:].T))
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

    def _write(self, take: Take, x: NDArray[np.float32]) -> None:
        well = take.error is None
        take.write(x)
        if well and take.error is not None:
            if self._ends_with_take:
                raise take.error
            self.news.append(str(take.error))


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
