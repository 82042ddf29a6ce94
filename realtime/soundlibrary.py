"""The loaded PortAudio: started, looked at anew, and left without a crash at the end of the process.

PortAudio 19.6 does not survive its JACK server: after the server died, Pa_AbortStream and Pa_CloseStream
hang and Pa_Terminate fails an assertion; while the server is suspended they all wait. And when the
interpreter ends, cffi unloads the library under the feet of libjack's threads. Three rules keep that from
any user:

- a loaded library stays in memory until the process is gone (RTLD_NODELETE);
- a call that may never come back is made on a thread made for it beforehand, and waited for in bounds;
- a library that hung or whose server died is abandoned: never called again, never unloaded, and replaced
  by a fresh copy of the same file. A process that has abandoned one leaves without C destructors, which
  could wait for its threads.

Thread: control, for everything here.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import queue
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .errors import DeviceError

CALL_TIMEOUT_S = 3.0
START_TIMEOUT_S = 15.0
lock = threading.RLock()
abandoned: list[Any] = []  # dead streams, engines and libraries: native code may still hold their addresses
open_handles: set[Any] = set()  # of device streams, so that none is open when PortAudio is ended

_library_path: str | None = None
_INHERITED = -1
_process = 0  # that started PortAudio; a forked child has its memory, but not its threads
_leaving_at_once = False


class Calls:
    """A thread for calls that may never come back; made beforehand, since none can be made at exit."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(self._jobs,), name="cspace-portaudio", daemon=True).start()

    @staticmethod
    def _run(jobs: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]]) -> None:
        with contextlib.suppress(AttributeError, ValueError):  # no signal may wake a call that was given up
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            work, done = jobs.get()
            work()
            done.set()

    def run(self, work: Callable[[], None], timeout_s: float) -> bool:
        """Whether `work`, which must not raise, came back in time."""
        done = threading.Event()
        self._jobs.put((work, done))
        return done.wait(timeout_s)


_calls: Calls | None = None


def call(work: Callable[[], None], timeout_s: float = CALL_TIMEOUT_S) -> bool:
    """Makes a call that may hang; False if it has not come back by then. The thread is new after that."""
    global _calls
    with lock:
        calls = _calls = _calls or Calls()
    if calls.run(work, timeout_s):
        return True
    with lock:
        if _calls is calls:
            _calls = None
            with contextlib.suppress(RuntimeError):  # at exit: no new threads, and no further calls
                _calls = Calls()
    return False


# ---- starting ----------------------------------------------------------------------------------


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keeps ALSA's and JACK's chatter off the terminal; C libraries write straight to descriptor 2."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
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


def sounddevice() -> Any:
    """The sounddevice module with PortAudio started. DeviceError if that is not possible."""
    global _process
    # PortAudio asks JACK for its devices, and libjack would start a server of its own for that.
    os.environ.setdefault("JACK_NO_START_SERVER", "1")
    with lock:
        sd: Any = sys.modules.get("sounddevice") or _import()
        if not getattr(sd, "_cspace_exit", False):
            atexit.unregister(sd._exit_handler)  # it ends PortAudio without asking whether that is safe
            atexit.register(leave)
            sd._cspace_exit = True
            _pin(_loaded_library())
        if _process == _INHERITED:
            abandon(sd)
        _process = os.getpid()
        if not sd._initialized:
            _start(sd)
    return sd


def _import() -> Any:
    """Imports sounddevice, which starts PortAudio: that waits for ever for a JACK server that is suspended."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            import sounddevice  # noqa: F401
        except BaseException as e:
            failed.append(e)

    with quiet_stderr():
        came_back = call(work, START_TIMEOUT_S)
    if not came_back:
        _leave_at_once()
        raise DeviceError(_NO_ANSWER)
    if failed:
        if isinstance(failed[0], OSError):
            raise DeviceError(
                f"PortAudio cannot be loaded ({failed[0]}); on Debian: apt install libportaudio2"
            ) from None
        raise failed[0]
    return sys.modules["sounddevice"]


_NO_ANSWER = f"the sound system has not answered for {START_TIMEOUT_S:g} s (is a JACK server suspended?)"


def _start(sd: Any) -> None:
    codes: list[int] = []
    with quiet_stderr():
        came_back = call(lambda: codes.append(sd._lib.Pa_Initialize()), START_TIMEOUT_S)
    if not came_back:
        abandon(sd)
        raise DeviceError(_NO_ANSWER)
    if codes[0] != 0:
        raise DeviceError(f"PortAudio cannot start: {text_of(sd._lib, codes[0])}")
    sd._initialized = 1


def text_of(lib: Any, code: int) -> str:
    """PortAudio's words for a result."""
    import sounddevice as sd

    return str(sd._ffi.string(lib.Pa_GetErrorText(code)).decode(errors="replace"))


def has_jack(sd: Any) -> bool:
    """Whether the loaded PortAudio is a client of a JACK server."""
    return any(is_jack(api["name"]) for api in sd.query_hostapis())


def is_jack(host_api: str) -> bool:
    """Whether a host API's name is JACK's."""
    return host_api.startswith("JACK")


# ---- looking anew and giving up ----------------------------------------------------------------


def refresh() -> None:
    """Looks for devices anew."""
    with lock:
        sd = sounddevice()
        if open_handles or not _ended(sd):
            abandon(sd)  # another stream plays through it, or it cannot be ended
        sounddevice()


def abandon(sd: Any) -> None:
    """Leaves the loaded PortAudio as it is, for ever, and loads a fresh copy of the same file.

    A copy under another name is a library of its own to the loader.
    """
    global _library_path
    with lock:
        _leave_at_once()
        _library_path = _library_path or _loaded_library()
        if _library_path is None:
            raise DeviceError("the sound system died and PortAudio cannot be loaded anew here; restart Python")
        with tempfile.TemporaryDirectory(prefix="cspace-") as folder:
            copy = shutil.copy(_library_path, Path(folder, f"portaudio-{len(abandoned)}{Path(_library_path).suffix}"))
            fresh = sd._ffi.dlopen(str(copy), os.RTLD_NOW | getattr(os, "RTLD_NODELETE", 0))
        abandoned.append(sd._lib)
        sd._lib = fresh
        sd._initialized = 0


def _loaded_library() -> str | None:
    """The file of the PortAudio in use (Linux)."""
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            path = line.split(maxsplit=5)[-1].strip()
            if "portaudio" in Path(path).name and os.path.exists(path):
                return path
    return None


def _pin(path: str | None) -> None:
    """Keeps a library loaded, whoever closes it: its threads run until the process is gone."""
    if path is not None and hasattr(os, "RTLD_NODELETE"):
        with contextlib.suppress(OSError):
            ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_NODELETE)


# ---- the end -----------------------------------------------------------------------------------


def leave() -> None:
    """At the interpreter's end: closes what is open and ends PortAudio, where that can be done.

    A forked child leaves PortAudio alone: the streams and the JACK client are its parent's.
    """
    sd = sys.modules.get("sounddevice")
    if sd is None or _process != os.getpid():
        return
    for handle in [*open_handles]:
        handle.close()
    if not lock.acquire(timeout=CALL_TIMEOUT_S):
        _leave_at_once()
        return
    try:
        with contextlib.suppress(Exception):
            if sd._last_callback:  # of the user's own sounddevice.play
                call(lambda: sd.stop(ignore_errors=True))
            if abandoned or not _ended(sd):
                _leave_at_once()
    finally:
        lock.release()


def _ended(sd: Any) -> bool:
    """Ends PortAudio if it is safe to; False leaves it as it is."""
    if not sd._initialized:
        return True
    jack = sys.platform.startswith("linux") and has_jack(sd)
    if jack and not _jack_answers():
        return False
    with quiet_stderr(), _asserts_wait() if jack else contextlib.nullcontext():
        for _ in range(sd._initialized):
            if not call(sd._lib.Pa_Terminate):
                return False
    sd._initialized = 0
    return True


def _jack_answers() -> bool:
    """Whether all servers this process is a client of are alive, as the kernel sees their sockets."""
    found = False
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    continue
                with socket.socket(fileno=os.dup(int(name))) as s:
                    if s.family != socket.AF_UNIX or "jack" not in str(s.getpeername()):
                        continue
                    found = True
                    poll = select.poll()
                    poll.register(s, 0)
                    if poll.poll(0):  # hung up
                        return False
    return found


@contextlib.contextmanager
def _asserts_wait() -> Iterator[None]:
    """A failed assertion stops its thread for good instead of the process: a server may die at any time."""
    libc = ctypes.CDLL(None)
    libc.signal.restype = ctypes.c_void_p
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    before = libc.signal(signal.SIGABRT, ctypes.cast(libc.pause, ctypes.c_void_p))
    try:
        yield
    finally:
        libc.signal(signal.SIGABRT, before)


def _leave_at_once() -> None:
    """After the interpreter's end this process leaves without C destructors (glibc)."""
    global _leaving_at_once
    if _leaving_at_once:
        return
    _leaving_at_once = True
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        # on_exit hands the status to the function, and `_exit` asks for nothing else.
        libc.on_exit.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        libc.on_exit(ctypes.cast(libc._exit, ctypes.c_void_p), None)


def _forked() -> None:
    """A child starts from nothing: the parent's threads, streams and JACK clients are not its own."""
    global lock, _calls, _process
    lock = threading.RLock()
    _calls = None
    open_handles.clear()
    if _process:
        _process = _INHERITED


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
