"""A device stream whose callback is the engine's own.

`sounddevice` is used for all but one thing: its private `_StreamBase` is handed the address of the
engine's `PaStreamCallback`, the way python-rtmixer does it, so that no Python runs on the audio
thread, and the stream is started and closed through `_lib`. This file is the only one that knows.

Thread: control, for everything here.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from . import soundlibrary
from .errors import DeviceError, DeviceLost, RateRefused
from .portaudio import Device, find
from .soundlibrary import CALL_TIMEOUT_S, quiet_stderr

if TYPE_CHECKING:
    from .._native import Engine

INVALID_SAMPLE_RATE = -9997  # paInvalidSampleRate
_FADE_PATIENCE_S = 0.1  # beyond the blocks of the fade: a device may be late
_DEVICE_BUFFER_S = 0.5  # what a device may still hold when it is silent; longer is not waited for


class _Handle:
    """The native stream and the engine it calls: all that must outlive the Python stream."""

    def __init__(self, engine: Engine, stream: Any, lib: Any, *, jack: bool, plays: bool, block: int, latency_s: float):
        self.closing = threading.Event()
        self._engine, self._stream, self._lib = engine, stream, lib  # another stream's loss may replace sd._lib
        self._jack, self._plays = jack, plays
        self._block_s, self._latency_s = block / engine.sample_rate, min(latency_s, _DEVICE_BUFFER_S)
        self._lock = threading.RLock()
        self._closed = self._started = self._aborted = False
        soundlibrary.open_handles.add(self)

    def start(self) -> int:
        """PortAudio's result."""
        with quiet_stderr():
            code = int(self._lib.Pa_StartStream(self._stream._ptr))
        self._started = code == 0
        return code

    def active(self) -> bool:
        """Whether PortAudio still calls the stream running."""
        with self._lock:
            return not self._closed and not self._aborted and bool(self._lib.Pa_IsStreamActive(self._stream._ptr) == 1)

    def close(self) -> None:
        """Fades out, stops and closes; never hangs, whatever state the device is in. Idempotent.

        One that was interrupted goes on where it was. In a forked child it does nothing.
        """
        with self._lock:
            if self._closed or self not in soundlibrary.open_handles:
                return
            self.closing.set()
            active = self._started and self.active()
            dead_jack = self._jack and self._started and not active and not self._aborted
            # A suspended server asks for no blocks, and every call on it would wait.
            silent = not (active and self._plays) or self._fade_out()
            if dead_jack or not soundlibrary.call(self._abort, CALL_TIMEOUT_S if silent else CALL_TIMEOUT_S / 2):
                # Native code may call back or read its userdata for ever after: nothing may be freed.
                soundlibrary.abandoned.extend((self._stream, self._engine))
                soundlibrary.open_handles.discard(self)
                with contextlib.suppress(DeviceError), soundlibrary.lock:
                    sd = soundlibrary.sounddevice()
                    if sd._lib is self._lib:
                        soundlibrary.abandon(sd)
            else:
                soundlibrary.open_handles.discard(self)
                self._engine.detach()
            self._closed = True

    def _fade_out(self) -> bool:
        """A device stopped in the middle of a sound would click."""
        if not self._engine.fade_out(0.01 + 3 * self._block_s + _FADE_PATIENCE_S):
            return False
        time.sleep(self._latency_s)
        return True

    def _abort(self) -> None:
        if self._aborted:
            return  # by a close that was interrupted: the pointer is dead
        self._aborted = True
        self._lib.Pa_AbortStream(self._stream._ptr)
        self._lib.Pa_CloseStream(self._stream._ptr)


class DeviceStream:
    """A running device stream whose callback is the engine's.

    It fades in over 10 ms when it starts and out when it is closed. One that nobody holds any more
    is closed.

    Parameters
    ----------
    engine : attached from the start until `close`
    input, output : see `find`
    block : frames per callback; best the period of the device
    kind : "input" drops what the engine plays, "output" gives it silence
    on_lost : called once, from the watchdog thread, when the device stops asking for blocks; that
        thread keeps it alive, so it must not hold the stream
    lost_after_s : how long it may be silent before it counts as lost
    """

    def __init__(
        self,
        engine: Engine,
        *,
        input: int | str | None = None,
        output: int | str | None = None,
        block: int = 64,
        kind: Literal["duplex", "input", "output"] = "duplex",
        on_lost: Callable[[DeviceLost], None] | None = None,
        lost_after_s: float = 1.0,
    ):
        self.engine = engine
        self.lost: DeviceLost | None = None
        self._on_lost = on_lost
        self._lost_after_s = lost_after_s
        self._watch: threading.Thread | None = None
        with soundlibrary.lock:
            sd = soundlibrary.sounddevice()
            self.input = None if kind == "output" else find(input, "input", engine.channels)
            self.output = None if kind == "input" else find(output, "output", engine.channels)
            self._kind, self._used = kind, [d for d in (self.input, self.output) if d is not None]
            self._stream = self._open(sd, block)
            self._handle = _Handle(
                engine,
                self._stream,
                sd._lib,
                jack=soundlibrary.is_jack(self._used[-1].host_api),
                plays=kind != "input",
                block=block,
                latency_s=self.device_latency_s[1],
            )
        self._let_go = weakref.finalize(self, self._handle.close)
        self._let_go.atexit = False  # soundlibrary.leave closes what is open then

    def _open(self, sd: Any, block: int) -> Any:
        numbers = [d.index for d in self._used]
        callback, userdata = self.engine.attach()
        try:
            with quiet_stderr():
                return sd._StreamBase(
                    kind=self._kind,
                    samplerate=self.engine.sample_rate,
                    blocksize=block,
                    device=numbers if len(numbers) == 2 else numbers[0],
                    channels=self.engine.channels,
                    dtype="float32",
                    latency="low",
                    clip_off=True,
                    dither_off=True,
                    callback=sd._ffi.cast("PaStreamCallback *", callback),
                    userdata=sd._ffi.cast("void *", userdata),
                )
        except (sd.PortAudioError, ValueError) as e:
            self.engine.detach()
            raise self._refused(e, block) from None

    def _refused(self, error: BaseException, block: int) -> DeviceError:
        rate, own = self.engine.sample_rate, self._used[-1].sample_rate
        if len(error.args) > 1 and error.args[1] == INVALID_SAMPLE_RATE and own != rate:
            refused = RateRefused(
                f"{self.name} runs at {own:g} Hz and refuses {rate:g} Hz; use --sample-rate {own:g}, or --follow-rate"
            )
            refused.device_rate = own
            return refused
        why = str(error.args[0]) if error.args else type(error).__name__
        return DeviceError(
            f"{self.name} refuses {rate:g} Hz, {self.engine.channels} channels, blocks of {block}: {why}"
        )

    @property
    def name(self) -> str:
        """The devices in words."""
        return _in_words(self._used)

    @property
    def device_latency_s(self) -> tuple[float, float]:
        """Input and output latency as the device states them, in seconds; of the one there is, twice."""
        stated = self._stream.latency
        a, b = stated if self._kind == "duplex" else (stated, stated)
        return float(a), float(b)

    def start(self) -> None:
        """Starts audio and the watchdog."""
        code = self._handle.start()
        if code != 0:
            raise DeviceError(f"{self.name} does not start: {soundlibrary.text_of(self._handle._lib, code)}")
        arguments = (weakref.ref(self), self._handle, self._lost_after_s)
        self._watch = threading.Thread(target=_watchdog, args=arguments, name="cspace-watchdog", daemon=True)
        self._watch.start()

    def _report(self, lost: DeviceLost) -> None:
        self.lost = lost
        self._handle.close()
        if self._on_lost is not None:
            self._on_lost(lost)

    def close(self) -> None:
        """Fades out, stops and closes; never hangs, whatever state the device is in. Idempotent."""
        self._handle.close()
        if self._watch is not None and self._watch is not threading.current_thread():
            self._watch.join(timeout=1.0)


def _in_words(used: list[Device]) -> str:
    a, b = used[0], used[-1]
    return f"{a.name} ({a.host_api})" if a == b else f"{a.name} → {b.name} ({b.host_api})"


# A lost device shows in one of two ways: PortAudio calls the stream inactive although nobody
# stopped it (JACK server gone), or it just asks for no more blocks (a cable pulled out).
def _watchdog(stream_of: weakref.ref[DeviceStream], handle: _Handle, lost_after_s: float) -> None:
    step = min(0.1, lost_after_s / 4)
    still, last = 0.0, -1
    while not handle.closing.wait(step):
        stream = stream_of()
        if stream is None:
            return
        now = stream.engine.sample_time
        still = 0.0 if now != last else still + step
        last = now
        if still == 0.0 or (still < lost_after_s and handle.active()):
            del stream
            continue
        if not handle.active():
            why = "the device stopped"
        else:
            why = f"the device has asked for no sound for {lost_after_s:g} s"
        if not handle.closing.is_set():
            stream._report(DeviceLost(f"{stream.name}: {why}; it can be reopened when it is back"))
        return
