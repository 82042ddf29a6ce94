"""ONNX Runtime, found and opened one way for everybody: one thread, no spinning, no denormals.

The extra `neural` brings it. The same wheel serves Python (`session`) and the engine's own worker
(`library`, the shared object that the Rust core loads), so both compute the same samples.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import Any

from . import _native
from .plugins._errors import CspaceError, MissingExtraError

# What a session is told, here and in rust/neural/src/session.rs: a difference would be heard as one.
OPTIONS = {"session.set_denormal_as_zero": "1", "session.intra_op.allow_spinning": "0"}


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


def reason(error: Exception) -> str:
    """The first line of a runtime's error, without its number."""
    text = str(error).strip().split("\n")[0]
    return text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text
