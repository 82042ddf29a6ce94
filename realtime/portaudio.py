"""Devices through PortAudio, with the engine's own native callback.

`sounddevice` is used for all but one thing: its private `_StreamBase` is handed the address of the
engine's `PaStreamCallback`, the way python-rtmixer does it, so that no Python runs on the audio
thread, and the stream is started and closed through `_lib`. This file is the only one that knows.

Thread: control, for everything here.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .errors import CspaceError, near

if TYPE_CHECKING:
    from .._native import Engine

CLOSE_TIMEOUT_S = 3.0
_lock = threading.RLock()
_abandoned: list[Any] = []  # dead streams, engines and libraries: native code may still hold their addresses


class DeviceError(CspaceError, OSError):
    """A device is missing or refuses the settings; the message names it and what there is."""

    def __str__(self) -> str:  # OSError would print its arguments as a tuple
        return str(self.args[0]) if self.args else ""


class DeviceLost(DeviceError):  # noqa: N818  (an event first, an error second)
    """A device went away while it played."""

    exit_code = 1


@dataclass(frozen=True)
class Device:
    """One device as people choose it."""

    index: int
    name: str
    host_api: str
    inputs: int
    outputs: int
    sample_rate: float
    default_input: bool
    default_output: bool


# ---- the library -----------------------------------------------------------------------------


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keeps ALSA's and JACK's chatter off the terminal; C libraries write straight to descriptor 2."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    try:
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _sounddevice() -> Any:
    """The sounddevice module. DeviceError if PortAudio is not installed."""
    # PortAudio asks JACK for its devices, and libjack would start a server of its own for that.
    os.environ.setdefault("JACK_NO_START_SERVER", "1")
    with _lock, quiet_stderr():
        try:
            import sounddevice as sd
        except OSError as e:
            raise DeviceError(f"PortAudio cannot be loaded ({e}); on Debian: apt install libportaudio2") from None
        if not getattr(sd, "_cspace_exit", False):
            # Pa_Terminate aborts the whole process if a JACK server died in the meantime (an assertion
            # in PortAudio 19.6); at exit the system takes back everything anyway.
            atexit.unregister(sd._exit_handler)
            sd._cspace_exit = True
        if not sd._initialized:
            _initialize(sd)
    return sd


def _initialize(sd: Any) -> None:
    try:
        sd._initialize()
    except sd.PortAudioError as e:
        raise DeviceError(f"PortAudio cannot start: {_reason(e)}") from None


def _has_jack(sd: Any) -> bool:
    return any(_is_jack(api["name"]) for api in sd.query_hostapis())


def _is_jack(host_api: str) -> bool:
    return host_api.startswith("JACK")


def refresh() -> None:
    """Looks for devices anew. Only while no stream is open."""
    with _lock:
        sd = _sounddevice()
        with quiet_stderr():
            if _has_jack(sd):
                _abandon_library(sd)  # its server may have died, and then Pa_Terminate aborts the process
            else:
                sd._terminate()
        _sounddevice()


def _abandon_library(sd: Any) -> None:
    """Leaves the loaded PortAudio as it is, for ever, and loads a fresh copy of the same file.

    After a JACK server died, PortAudio 19.6 hangs in Pa_AbortStream and Pa_CloseStream and fails an
    assertion in Pa_Terminate. A copy under another name is a library of its own to the loader.
    """
    global _library_path
    _library_path = _library_path or _loaded_library()
    if _library_path is None:
        raise DeviceError("the sound system died and PortAudio cannot be loaded anew here; restart Python")
    with tempfile.TemporaryDirectory(prefix="cspace-") as folder:
        copy = shutil.copy(_library_path, Path(folder, f"portaudio-{len(_abandoned)}{Path(_library_path).suffix}"))
        fresh = sd._ffi.dlopen(str(copy))
    _abandoned.append(sd._lib)
    sd._lib = fresh
    sd._initialized = 0


_library_path: str | None = None


def _loaded_library() -> str | None:
    """The file of the PortAudio in use (Linux)."""
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            path = line.split(maxsplit=5)[-1].strip()
            if "portaudio" in Path(path).name and os.path.exists(path):
                return path
    return None


def _text(lib: Any, code: int) -> str:
    import sounddevice as sd

    return str(sd._ffi.string(lib.Pa_GetErrorText(code)).decode(errors="replace"))


def _reason(error: BaseException) -> str:
    """A PortAudioError in words, without its numbers."""
    return str(error.args[0]) if error.args else type(error).__name__


# ---- devices ---------------------------------------------------------------------------------


def devices() -> list[Device]:
    """All devices PortAudio sees; an empty list on a machine without sound."""
    sd = _sounddevice()
    with quiet_stderr():
        apis = sd.query_hostapis()
        listed = sd.query_devices()
        ins, outs = sd.default.device
        if ins < 0 or outs < 0:  # no default of the user's: that of the first API that has one
            ins = next((a["default_input_device"] for a in apis if a["default_input_device"] >= 0), -1)
            outs = next((a["default_output_device"] for a in apis if a["default_output_device"] >= 0), -1)
    return [
        Device(
            index=i,
            name=d["name"],
            host_api=apis[d["hostapi"]]["name"],
            inputs=d["max_input_channels"],
            outputs=d["max_output_channels"],
            sample_rate=d["default_samplerate"],
            default_input=i == ins,
            default_output=i == outs,
        )
        for i, d in enumerate(listed)
    ]


def find(which: int | str | None, kind: str, channels: int) -> Device:
    """The device with this number or name (or a unique part of "API: name").

    Parameters
    ----------
    which : None means the default device
    kind : "input" or "output"
    channels : how many the stream needs
    """
    able = [d for d in devices() if _channels(d, kind) > 0]
    if not able:
        raise DeviceError(f"this machine has no sound {kind}")
    if which is None:
        device = next((d for d in able if getattr(d, f"default_{kind}")), able[0])
    elif isinstance(which, int) or which.isdecimal():
        number = int(which)
        found = [d for d in able if d.index == number]
        if not found:
            raise DeviceError(f"there is no {kind} device number {number}; `cspace devices` lists them")
        device = found[0]
    else:
        device = _named(which, kind, able)
    if _channels(device, kind) < channels:
        raise DeviceError(
            f"device {device.name!r} has {_channels(device, kind)} {kind} channels, not {channels}; use --channels"
        )
    return device


def _channels(device: Device, kind: str) -> int:
    return device.inputs if kind == "input" else device.outputs


def _named(which: str, kind: str, able: list[Device]) -> Device:
    def full(d: Device) -> str:
        return f"{d.host_api}: {d.name}"

    word = which.lower()
    exact = [d for d in able if word in (d.name.lower(), full(d).lower())]
    part = exact or [d for d in able if word in full(d).lower()]
    if len(part) == 1:
        return part[0]
    if not part:
        known = near(which, [d.name for d in able]) or "; there are " + ", ".join(repr(full(d)) for d in able)
        raise DeviceError(f"there is no {kind} device {which!r}{known}")
    raise DeviceError(f"{which!r} fits several {kind} devices: " + ", ".join(f"{d.index} {full(d)!r}" for d in part))


# ---- the stream ------------------------------------------------------------------------------


class DeviceStream:
    """A running device stream whose callback is the engine's.

    Parameters
    ----------
    engine : attached from the start until `close`
    input, output : see `find`
    block : frames per callback; best the period of the device
    kind : "input" drops what the engine plays, "output" gives it silence
    on_lost : called once, from the watchdog thread, when the device stops asking for blocks
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
        self._closed = threading.Event()
        self._closing = threading.Lock()
        self._watch: threading.Thread | None = None
        with _lock:
            sd = _sounddevice()
            self.input = None if kind == "output" else find(input, "input", engine.channels)
            self.output = None if kind == "input" else find(output, "output", engine.channels)
            self._kind, self._used = kind, [d for d in (self.input, self.output) if d is not None]
            self._stream = self._open(sd, block)
            self._lib = sd._lib  # another stream's loss may replace the module's one

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
            raise DeviceError(
                f"{self.name} refuses {self.engine.sample_rate:g} Hz, {self.engine.channels} channels, blocks of "
                f"{block}: {_reason(e)}"
            ) from None

    @property
    def name(self) -> str:
        """The devices in words."""
        a, b = self._used[0], self._used[-1]
        return f"{a.name} ({a.host_api})" if a == b else f"{a.name} → {b.name} ({b.host_api})"

    @property
    def device_latency_s(self) -> tuple[float, float]:
        """Input and output latency as the device states them, in seconds; of the one there is, twice."""
        stated = self._stream.latency
        a, b = stated if self._kind == "duplex" else (stated, stated)
        return float(a), float(b)

    def start(self) -> None:
        """Starts audio and the watchdog."""
        with quiet_stderr():
            code = self._lib.Pa_StartStream(self._stream._ptr)
        if code != 0:
            raise DeviceError(f"{self.name} does not start: {_text(self._lib, code)}")
        self._watch = threading.Thread(target=self._watchdog, name="cspace-watchdog", daemon=True)
        self._watch.start()

    # A lost device shows in one of two ways: PortAudio calls the stream inactive although nobody
    # stopped it (JACK server gone), or it just asks for no more blocks (a cable pulled out).
    def _watchdog(self) -> None:
        step = min(0.1, self._lost_after_s / 4)
        still, last = 0.0, self.engine.sample_time
        while not self._closed.wait(step):
            now = self.engine.sample_time
            still = 0.0 if now != last else still + step
            last = now
            if still == 0.0 or (still < self._lost_after_s and self._active()):
                continue
            if not self._active():
                why = "the device stopped"
            else:
                why = f"the device has asked for no sound for {self._lost_after_s:g} s"
            self._report(DeviceLost(f"{self.name}: {why}; it can be reopened when it is back"))
            return

    def _active(self) -> bool:
        return bool(self._lib.Pa_IsStreamActive(self._stream._ptr) == 1)

    def _report(self, lost: DeviceLost) -> None:
        if self._closed.is_set():
            return
        self.lost = lost
        self.close()
        if self._on_lost is not None:
            self._on_lost(lost)

    def close(self) -> None:
        """Stops and closes; never hangs, whatever state the device is in. Idempotent."""
        with self._closing:
            if self._closed.is_set():
                return
            self._closed.set()
            dead_jack = _is_jack(self._used[-1].host_api) and not self._active()
            if dead_jack or not self._close_in_time():
                # Native code may call back or read its userdata for ever after: nothing may be freed.
                _abandoned.extend((self._stream, self.engine))
                with _lock:
                    sd = _sounddevice()
                    if sd._lib is self._lib:
                        _abandon_library(sd)
            else:
                self.engine.detach()
        if self._watch is not None and self._watch is not threading.current_thread():
            self._watch.join(timeout=1.0)

    def _close_in_time(self) -> bool:
        done = threading.Event()

        def close() -> None:
            self._lib.Pa_AbortStream(self._stream._ptr)
            self._lib.Pa_CloseStream(self._stream._ptr)
            done.set()

        threading.Thread(target=close, name="cspace-close", daemon=True).start()
        return done.wait(CLOSE_TIMEOUT_S)
