"""The live stream: a chain played through devices, files, or nothing.

Thread: control, for everything here.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypedDict

from .. import _native
from ..audiofile import FORMATS
from ..outputs import settled
from ..plugins._audio import MAX_CHANNELS, check_rate
from ..standardio import STANDARD
from .chain import Chain
from .chaininputs import inputs_of
from .devicestream import DeviceStream
from .errors import AudioError, CspaceError, DeviceError, DeviceLost, RateRefused
from .filedevice import FileDevice
from .mixeddevice import MixedDevice
from .playing import Playing
from .transfer import named

if TYPE_CHECKING:
    from .._native import EngineStats
    from .link import Link

Port = int | str | os.PathLike[str] | None
BLOCKS = (1, 8192)
NULL = "null"


class StreamStats(TypedDict):
    """What a stream did so far."""

    engine: EngineStats
    kind: Literal["device", "file", "null"]
    name: str  # the devices or files in words
    sample_rate: float
    block: int
    latency_samples: int  # of the chain
    late_blocks: int  # of all worker processors together
    file_gaps: int  # a file with a device: blocks the disk was too late for; sound is missing there
    stalls: int  # file device: blocks that waited for disk; nothing lost
    late_starts: int  # file device: blocks begun more than a block late
    lost: str  # why the device went away, else empty
    news: list[str]  # what people should know: a full disk, a loop whose file is gone
    frames_lost: int  # frames of the recording that the output file had no room for


class Stream:
    """A chain that plays. Use it with `with`; edits of the chain and its plugins are heard at once.

    >>> from cspace.realtime import Chain, Stream
    >>> from cspace.plugins import Gain
    >>> chain = Chain([Gain()])
    >>> with Stream(chain, input="in.wav", output="out.wav") as stream:
    ...     chain["gain"].gain_db = -6.0
    ...     stream.wait()

    Parameters
    ----------
    chain : stays yours; it is attached to the stream's engine while the stream is open
    input, output : a device (name, number, or None for the default), an audio file, or "null".
        With a device, the other may be a file: it plays to the device, or records from it. A file
        as input and no output plays to nowhere, at real-time pace. The output may not be the
        input, since a stream that is stopped early would leave a part of it, nor a file that the
        chain is made from (an impulse response, a model)
    sample_rate : Hz; None for the chain's wish, else 48000
    block : frames per callback; None for the chain's wish, else 64
    channels : of input and output alike
    loop, tail_s : see FileDevice
    on_lost : called once, from another thread, when a device goes away; see `reopen`. An exception
        of it ends the stream, and `wait` raises it as a StreamError
    follow_rate : play at the device's rate where it refuses the stream's; `sample_rate` is then that

    A device fades in over 10 ms at the start and out at the end; a recording and any other file holds
    the sound without these fades. A stream that is dropped, or still open when the interpreter ends,
    is closed, and its file completed. docs/recording.md lists every way to end.
    """

    def __init__(
        self,
        chain: Chain,
        *,
        input: Port = None,
        output: Port = None,
        sample_rate: float | None = None,
        block: int | None = None,
        channels: int = 2,
        loop: bool = False,
        tail_s: float = 0.0,
        on_lost: Callable[[DeviceLost], None] | None = None,
        follow_rate: bool = False,
    ):
        self.chain = chain
        self.lock = threading.RLock()  # held by whoever edits the chain: OSC, you
        self.sample_rate = check_rate(_first(sample_rate, chain.wanted_rate, 48_000))
        self.block = int(_first(block, chain.block, 64))
        self.channels = int(channels)
        if not BLOCKS[0] <= self.block <= BLOCKS[1]:
            raise AudioError(f"block = {self.block} is not allowed, use {BLOCKS[0]} to {BLOCKS[1]} frames")
        if not 1 <= self.channels <= MAX_CHANNELS:
            raise AudioError(f"channels = {self.channels} is not allowed, use 1 to {MAX_CHANNELS}")
        self.input, self.output = input, output
        self.kind = _kind(input, output)
        self._check_output()
        self.lost: DeviceLost | None = None
        self._loop, self._tail_s = loop, tail_s
        self._on_lost = on_lost
        self._follow_rate = follow_rate
        self._error: CspaceError | None = None  # of a callback
        self._playing: Playing | None = None
        self._let_go: weakref.finalize[..., Stream] | None = None
        self._ended = threading.Event()
        #: What is wrong with the input file, and what of it the output cannot hold; there once the stream is closed.
        self.warnings: list[str] = []

    def _check_output(self) -> None:
        """Raises FileError for an output file that cannot be, is the input, or is one the chain is made from."""
        if is_file(self.output):
            source = [_path(self.input)] if is_file(self.input) else []
            settled(_path(self.output), inputs=[*source, *inputs_of(self.chain)])

    # ---- life --------------------------------------------------------------------------------

    def open(self) -> Stream:
        """Builds the engine, opens the devices and starts. Nothing stays open if that fails."""
        if self._playing is not None:
            return self
        with self.lock:
            self.lost = self._error = None
            self._ended = threading.Event()
            try:
                self._start()
            except RateRefused as e:
                if not self._follow_rate:
                    raise
                self.sample_rate = check_rate(e.device_rate)
                self._start()
        return self

    def _start(self) -> None:
        self._check_output()  # the chain may be another by now
        engine = _native.Engine(self.sample_rate, self.channels, self.block)
        playing = Playing(self.chain, engine, self.chain.attach(engine))
        try:
            playing.device = self._make_device(playing)
            playing.device.start()
        except BaseException:
            with contextlib.suppress(CspaceError):  # the first error is the one to tell
                playing.close()
            raise
        self._playing = playing
        self._let_go = weakref.finalize(self, playing.dropped)
        self._let_go.atexit = False  # `playing` closes all at the interpreter's end

    def _make_device(self, playing: Playing) -> DeviceStream | FileDevice | MixedDevice:
        # The device's threads hold what they call, so none of it may hold the stream.
        stream_of, ended = weakref.ref(self), self._ended

        def on_lost(lost: DeviceLost) -> None:
            stream = stream_of()
            if stream is not None:
                stream._device_lost(lost, ended)

        engine, link = playing.engine, playing.link
        plays, records = is_device(self.output), is_device(self.input)
        if self.kind == "device" and not (plays and records):
            return MixedDevice(
                engine,
                link,
                device=_device(self.output if plays else self.input),
                play=plays,
                file=_file(self.input if plays else self.output),
                block=self.block,
                loop=self._loop,
                tail_s=self._tail_s,
                on_lost=on_lost,
                on_end=ended.set,
            )
        if self.kind == "device":
            return DeviceStream(
                engine,
                input=_device(self.input),
                output=_device(self.output),
                block=self.block,
                on_lost=on_lost,
            )
        return FileDevice(
            engine,
            input=_file(self.input),
            output=_file(self.output),
            block=self.block,
            loop=self._loop,
            tail_s=self._tail_s,
        )

    def reopen(self) -> Stream:
        """After a loss: looks for the devices anew and plays on, from silence, with the chain as it is now.

        A file as input starts over. Raises DeviceError while the devices are still missing, and
        RateRefused, which names both rates, where they are back at another one and the stream does
        not follow; it may be called again. Raises CspaceError for a recording, which the loss completed.
        """
        self.close()
        if self.kind == "device" and is_file(self.output):
            raise CspaceError(f"{self.output}: holds what was recorded until the loss; record on into another file")
        if self.kind == "device":
            from . import soundlibrary

            soundlibrary.refresh()
        return self.open()

    def close(self) -> None:
        """Fades out, stops, lets go of devices and chain, completes the output file. Idempotent.

        Raises TakeError if the output file could not be written to its end; what was written is kept.
        A close that an exception interrupted (Ctrl-C) may be called again and goes on.
        """
        with self.lock:
            playing = self._playing
            self._ended.set()
            try:
                if playing is not None:
                    playing.close()
            except CspaceError:
                self._forget()
                raise
            self._forget()

    def _forget(self) -> None:
        device = self._device
        self.warnings = [] if device is None or isinstance(device, DeviceStream) else list(device.warnings)
        self._playing = None
        if self._let_go is not None:
            self._let_go.detach()
            self._let_go = None

    def __enter__(self) -> Stream:
        return self.open()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
            return
        with contextlib.suppress(CspaceError):  # the first error is the one to tell
            self.close()

    def _device_lost(self, lost: DeviceLost, ended: threading.Event) -> None:
        self.lost = lost
        try:
            if self._on_lost is not None:
                self._on_lost(lost)
        except Exception as e:
            self._error = named(e, "on_lost")
        finally:
            ended.set()

    # ---- watching it -------------------------------------------------------------------------

    @property
    def engine(self) -> _native.Engine:
        """The engine that plays. Raises CspaceError while the stream is closed."""
        return self._open_playing().engine

    @property
    def link(self) -> Link:
        """Where the chain's slots are in the engine. Raises CspaceError while the stream is closed."""
        return self._open_playing().link

    def _open_playing(self) -> Playing:
        if self._playing is None:
            raise CspaceError("the stream is not open; use `with Stream(...)` or stream.open()")
        return self._playing

    @property
    def _device(self) -> DeviceStream | FileDevice | MixedDevice | None:
        device = None if self._playing is None else self._playing.device
        assert device is None or isinstance(device, DeviceStream | FileDevice | MixedDevice)
        return device

    @property
    def running(self) -> bool:
        """Open, the device there, and not at the end of the file."""
        return self._device is not None and self.lost is None and not self.finished

    @property
    def finished(self) -> bool:
        """A file was played to its end."""
        return isinstance(self._device, FileDevice | MixedDevice) and self._device.finished

    @property
    def name(self) -> str:
        """The devices or files in words."""
        device = self._device
        return device.name if device is not None else "closed"

    @property
    def news(self) -> list[str]:
        """What people should know and the sound survived: a full disk, a loop whose file is gone."""
        device = self._device
        return device.news if isinstance(device, FileDevice | MixedDevice) else []

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits for the end of the file, or for the loss of the device, or for `close`.

        Returns False on time-out. Raises DeviceLost, or the error that ended the stream: a TakeError,
        FileError or StreamError. A recording from a device plays on when its file cannot: see `news`.
        """
        device = self._device
        if isinstance(device, FileDevice):
            done = device.wait(timeout_s)
            if device.error is not None:
                raise device.error
            return done
        done = self._ended.wait(timeout_s)
        if isinstance(device, MixedDevice) and device.error is not None:
            raise device.error
        if self._error is not None:
            raise self._error
        if self.lost is not None:
            raise self.lost
        return done

    def stats(self) -> StreamStats:
        """Everything counted so far. Raises CspaceError while the stream is closed."""
        engine, device = self.engine, self._device
        counted = engine.stats()
        paced = device if isinstance(device, FileDevice) else None
        late = {s["slot"]: s["late_blocks"] for s in counted["slots"]}
        gaps = late.pop(device.slot, 0) if isinstance(device, MixedDevice) and device.slot is not None else 0
        return StreamStats(
            engine=counted,
            kind=self.kind,
            name=self.name,
            sample_rate=self.sample_rate,
            block=self.block,
            latency_samples=int(engine.latency_samples),
            late_blocks=sum(late.values()),
            file_gaps=gaps,
            stalls=paced.stalls if paced else 0,
            late_starts=paced.late_starts if paced else 0,
            lost=str(self.lost) if self.lost else "",
            news=[] if isinstance(device, DeviceStream) or device is None else device.news,
            frames_lost=0 if isinstance(device, DeviceStream) or device is None else device.frames_lost,
        )


def _first(*choices: float | None) -> float:
    """The first that is given."""
    return next(c for c in choices if c is not None)


# ---- what input and output mean --------------------------------------------------------------


def is_file(port: Port) -> bool:
    """Whether `port` names an audio file rather than a device."""
    if port is None or isinstance(port, int):
        return False
    if isinstance(port, os.PathLike):
        return True
    return port == STANDARD or Path(port).suffix.lower() in FORMATS or os.sep in port or Path(port).is_file()


def is_device(port: Port) -> bool:
    """Whether `port` names a device; None is the default one."""
    return port != NULL and not is_file(port)


def _kind(input: Port, output: Port) -> Literal["device", "file", "null"]:
    if input == NULL and output in (NULL, None):
        return "null"
    if not is_device(input) and (output is None or not is_device(output)):
        return "file"
    return "device"


def _device(port: Port) -> int | str | None:
    return port if port is None or isinstance(port, int) else str(port)


def _path(port: Port) -> str | os.PathLike[str]:
    return os.fspath(port) if isinstance(port, os.PathLike) else str(port)


def _file(port: Port) -> str | os.PathLike[str] | None:
    return None if port is None or port == NULL or isinstance(port, int) else port


__all__ = ["DeviceError", "DeviceLost", "Stream", "StreamStats", "is_file"]
