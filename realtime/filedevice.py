"""The file device: files at real-time pace, for machines without sound hardware, and for tests.

A native thread drives the engine at the pace of a sound card; a reader thread keeps its input ring
full and a writer thread empties its output ring. Nothing is lost when they are late: the native
thread waits and counts a stall. Without files this is the null device: silence in, nothing out.

Thread: control, for everything here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _native
from ..audiofile import Take
from .errors import CspaceError
from .transfer import RING_S, Collector, Feeder, Threads

if TYPE_CHECKING:
    from .._native import Engine


class FileDevice:
    """Plays a file through an engine in real time, into another file.

    Parameters
    ----------
    engine : the engine to drive
    input : an audio file, or None for silence without end
    output : the file to write at the engine's rate, or None to drop the sound. It appears under its
        name when the stream is closed, however it ends. Latency is taken out, so that it lies on the
        input as a render does, bit for bit: a file is not faded in or out
    block : frames per step of the clock
    loop : start over when the file ends
    tail_s : seconds to go on after the file ends
    on_error : called from a thread of the device with what stopped it, such as a full disk; that
        thread keeps it alive

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
        self._on_error = on_error
        self._threads = Threads(self._failed)
        self._take: Take | None = None
        self._lost: list[str] = []
        endless = self.input is None
        try:
            self._paced = _native.PacedStream(engine, block, RING_S, null=endless and self.output is None)
        except (ValueError, RuntimeError) as e:
            raise CspaceError(f"the file device cannot start: {e}") from None
        tail = round(tail_s * engine.sample_rate)
        try:
            self._feeder = Feeder(engine, self._paced, self.input, self._threads.stop, loop=loop, tail=tail)
            if self.output is not None:
                self._take = Take(
                    self.output,
                    round(engine.sample_rate),
                    engine.channels,
                    inputs=[self.input],
                    about=self._feeder.about,
                )
        except CspaceError:
            self._paced.stop()
            raise
        self._collector = Collector(
            engine, self._paced, self._take, self._threads.stop, self._all_played, ends_with_take=True
        )

    @property
    def name(self) -> str:
        """The device in words."""
        source = "silence" if self.input is None else self.input.name
        return f"{source} → {'nowhere' if self.output is None else self.output.name}"

    @property
    def error(self) -> CspaceError | None:
        """What stopped it, such as a full disk."""
        return self._threads.error

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the input, and what of it the output cannot hold; complete when all is written."""
        return [*self._feeder.warnings, *self._lost]

    @property
    def finished(self) -> bool:
        """All input was played and all output was written."""
        return self._collector.drained.is_set()

    @property
    def stalls(self) -> int:
        """Blocks that waited for the reader or the writer."""
        return self._paced.stalls

    @property
    def late_starts(self) -> int:
        """Blocks that started more than one block period late."""
        return self._paced.late_starts

    @property
    def news(self) -> list[str]:
        """What people should know, such as a loop whose file is gone; grows while it plays."""
        return [*self._feeder.news]

    @property
    def frames_lost(self) -> int:
        """Frames that the output file has no room for."""
        return 0 if self._take is None else self._take.frames_lost

    def start(self) -> None:
        """Queues the first second of input, then starts the clock."""
        if self.input is not None or self._take is not None:
            source = "the reader of silence" if self.input is None else f"the reader of {self.input}"
            self._threads.spawn(self._feeder.run, "cspace-reader", source)
            self._feeder.fed.wait(timeout=10.0)
            self._threads.spawn(self._collector.run, "cspace-writer", f"the writer of {self.output or 'nothing'}")
        self._paced.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for the end of the file; True when all is written."""
        return self._collector.drained.wait(timeout_s)

    def here(self) -> bool:
        """Whether the calling thread is one of the device's own, which cannot close it."""
        return self._threads.here()

    def close(self) -> None:
        """Stops, writes what was played, and gives the output file its name. Idempotent.

        Raises TakeError if the output file could not be written to its end; what was written is kept.
        """
        self._threads.stop.set()
        self._paced.stop()
        self._threads.join()
        if self._take is not None:
            try:
                self._take.finish()
            finally:
                self._lost = [f"{self.output}: {words}" for words in self._take.lost]

    def _all_played(self) -> bool:
        return self._paced.finished and self._feeder.ended.is_set()

    def _failed(self, error: CspaceError) -> None:
        self._collector.drained.set()
        if self._on_error is not None:
            self._on_error(error)
