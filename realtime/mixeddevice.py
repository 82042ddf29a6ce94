"""A device at one end of the chain and a file, or nothing, at the other.

The device drives the engine. A file that plays goes through a slot in front of the chain, a file that
records through one behind it; threads of their own read and write. Unlike the file device, a device
does not wait: what the disk is too late for is missing, and counted in `gaps`.

Thread: control, for everything here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..audiofile import Take
from .devicestream import DeviceStream
from .errors import CspaceError, DeviceLost
from .transfer import NAP_S, RING_S, Collector, Feeder, Threads

if TYPE_CHECKING:
    from .._native import Engine, Player, Recorder
    from .link import Link

Device = int | str | None


class MixedDevice:
    """Plays a file, or silence, to a device, or records a device into a file.

    Exactly one of `play` and `record` is True.

    Parameters
    ----------
    engine, link : of the chain, already in the engine; slots for the file are put around it
    device : see portaudio.find
    play : the device is the output
    file : to play, or to write at the engine's rate; None for silence in, or nothing out
    block, loop, tail_s : see DeviceStream and FileDevice
    on_lost : see DeviceStream
    on_end : called from a thread of the device when the file was played, or with `error` set
    """

    def __init__(
        self,
        engine: Engine,
        link: Link,
        *,
        device: Device,
        play: bool,
        file: str | os.PathLike[str] | None,
        block: int,
        loop: bool = False,
        tail_s: float = 0.0,
        on_lost: Callable[[DeviceLost], None],
        on_end: Callable[[], None],
    ):
        self.finished = False
        self._file = None if file is None else Path(file)
        self._play = play
        self._on_end = on_end
        self._threads = Threads(lambda error: on_end())
        self._engine = engine
        self._player: Player | None = None
        self._recorder: Recorder | None = None
        self._feeder: Feeder | None = None
        self._collector: Collector | None = None
        self._take: Take | None = None
        try:
            if self._file is not None and play:
                self._player = engine.insert_player(0, RING_S)
                link.offset = 1
            elif self._file is not None:
                self._recorder = engine.insert_recorder(len(engine.slots()), RING_S)
        except (ValueError, RuntimeError) as e:
            raise CspaceError(f"{self._file}: no place for it in the chain: {e}") from None
        if self._player is not None:
            tail = round(tail_s * engine.sample_rate)
            self._feeder = Feeder(engine, self._player, self._file, self._threads.stop, loop=loop, tail=tail)
        self._device = DeviceStream(
            engine,
            input=None if play else device,
            output=device if play else None,
            block=block,
            kind="output" if play else "input",
            on_lost=on_lost,
        )
        if self._recorder is not None and self._file is not None:
            try:
                self._take = Take(self._file, round(engine.sample_rate), engine.channels)
            except BaseException:
                self._device.close()
                raise
            self._collector = Collector(engine, self._recorder, self._take, self._threads.stop)

    @property
    def name(self) -> str:
        """Device and file in words."""
        device = self._device.name
        if self._play:
            return f"{'silence' if self._file is None else self._file.name} → {device}"
        return f"{device} → {'nowhere' if self._file is None else self._file.name}"

    @property
    def error(self) -> CspaceError | None:
        """What stopped the file; a full disk does not stop the sound, see `news`."""
        return self._threads.error

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the file that plays; complete when it was played to its end."""
        return [] if self._feeder is None else self._feeder.warnings

    @property
    def slot(self) -> int | None:
        """The engine's slot of the file."""
        end = self._player or self._recorder
        return None if end is None else end.slot

    def start(self) -> None:
        """Queues the first second of a file, then starts the device."""
        if self._feeder is not None:
            self._threads.spawn(self._play_file, "cspace-reader", f"the reader of {self._file}")
            self._feeder.fed.wait(timeout=10.0)
        if self._collector is not None:
            self._threads.spawn(self._collector.run, "cspace-writer", f"the writer of {self._file}")
        self._device.start()

    @property
    def news(self) -> list[str]:
        """What people should know, such as a full disk; grows while it plays."""
        ends = (self._feeder, self._collector)
        return [line for end in ends if end is not None for line in end.news]

    @property
    def frames_lost(self) -> int:
        """Frames that the output file has no room for."""
        return 0 if self._take is None else self._take.frames_lost

    def here(self) -> bool:
        """Whether the calling thread is one of the device's own, which cannot close it."""
        return self._threads.here()

    def close(self) -> None:
        """Closes the device, writes what was recorded, and gives the file its name. Idempotent.

        Raises TakeError if the file could not be written to its end; what was written is kept.
        """
        self._device.close()
        self._threads.join()
        if self._take is not None:
            self._take.finish()

    def _play_file(self) -> None:
        assert self._feeder is not None
        assert self._player is not None
        self._feeder.run()
        while not self._player.finished:
            if self._threads.stop.wait(NAP_S):
                return
        # What the engine has played is still on its way through the device.
        self._threads.stop.wait(self._device.device_latency_s[1])
        self.finished = True
        self._on_end()
