"""ONNX Runtime, found and opened one way for everybody: one thread, no spinning, no denormals.

The extra `neural` brings it. The same wheel serves Python (`session`) and the engine's own worker
(`library`, the shared object that the Rust core loads), so both compute the same samples.
"""

from __future__ import annotations

import importlib
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from . import _native
from .plugins._errors import CspaceError, MissingExtraError

# What a session is told, here and in rust/neural/src/session.rs: a difference would be heard as one.
OPTIONS = {"session.set_denormal_as_zero": "1", "session.intra_op.allow_spinning": "0"}

RUN_SECONDS = 2.0  # a run may compute for this long at least, ...
RUN_HOPS = 16  # ... and for this many hops;
RUN_WAITING = 5  # one that waits instead of computing is stopped after this many times as long


def require_onnxruntime() -> Any:
    """The onnxruntime module, or MissingExtraError that says how to get it."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as e:
        raise MissingExtraError(
            f"neural models need onnxruntime ({e}); install it with: pip install 'cspace[neural]'"
        ) from None


@cache
def library() -> Path:
    """The shared library inside the onnxruntime wheel. Raises MissingExtraError or CspaceError."""
    module = require_onnxruntime()
    folder = Path(module.__file__).parent / "capi"
    for pattern in ("libonnxruntime.so*", "libonnxruntime*.dylib", "onnxruntime.dll"):
        found = sorted(folder.glob(pattern))
        if found:
            return found[0]
    raise CspaceError(
        f"onnxruntime {module.__version__} has no libonnxruntime in {folder}; install 1.19 or later: "
        "pip install 'cspace[neural]'"
    )


def session(model: bytes) -> Any:
    """An InferenceSession of a model's bytes. Raises CspaceError with the runtime's reason."""
    ort = require_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # errors come as exceptions; nothing is printed beside them
    for key, value in OPTIONS.items():
        options.add_session_config_entry(key, value)
    try:
        # Opening one flushes denormals for the whole thread, and so for all of Python's arithmetic.
        return _native.keep_float_mode(lambda: ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
    except Exception as e:  # its exceptions share no base but Exception
        raise CspaceError(f"ONNX Runtime cannot open the model: {reason(e)}") from None


class Limited:
    """Runs a session, and stops a run that computes for too long. Thread: one at a time.

    The limits are those of the engine's workers (rust/engine/src/hosted/watch.rs): 2 s, or 16 hops where that is
    longer, of computing, since a busy machine makes no model slow.
    """

    def __init__(self, session: Any, hop: int, sample_rate: float):
        self.session = session
        self.limit_s = max(RUN_SECONDS, RUN_HOPS * hop / sample_rate)
        self._options = require_onnxruntime().RunOptions()

    def run(self, wanted: list[str], feed: dict[str, Any]) -> Any:
        """The outputs by these names. Raises TimeoutError, or what the runtime raises."""
        run = _Run(self._options, self.limit_s)
        self._options.terminate = False
        with _changed:
            _runs.append(run)
            if not (_watching and _watching[0].is_alive()):  # a fork has none
                _watching[:] = [threading.Thread(target=_watch, name="cspace-ort-watch", daemon=True)]
                _watching[0].start()
            _changed.notify()
        try:
            made = self.session.run(wanted, feed, self._options)
        except Exception:
            if run.stopped:
                raise TimeoutError(f"was not done after {self.limit_s:.3f} s of computing") from None
            raise
        finally:
            with _changed:
                _runs.remove(run)
        return made


class _Run:
    """One run under way, on this thread."""

    def __init__(self, options: Any, limit_s: float):
        self.options = options
        self.stopped = False
        self._clock = getattr(time, "pthread_getcpuclockid", lambda _: time.CLOCK_MONOTONIC)(threading.get_ident())
        self._end = time.clock_gettime(self._clock) + limit_s
        self._late = time.monotonic() + RUN_WAITING * limit_s

    def look(self) -> None:
        if time.clock_gettime(self._clock) > self._end or time.monotonic() > self._late:
            self.stopped = True
            self.options.terminate = True


_runs: list[_Run] = []
_watching: list[threading.Thread] = []
_changed = threading.Condition()


def _watch() -> None:
    while True:
        with _changed:
            while not _runs:
                _changed.wait()
            for run in _runs:
                run.look()
        time.sleep(0.05)


def reason(error: Exception) -> str:
    """The first line of a runtime's error, without its number."""
    text = str(error).strip().split("\n")[0]
    return text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text
