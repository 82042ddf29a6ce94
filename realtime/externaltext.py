"""Settings of plugins from elsewhere in chain files: bytes as base64, arrays and long states in files beside.

`plugins.external` makes plain data of a plugin and a plugin of plain data; this is its form in TOML.
Thread: control.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plugins.external import STATE_KEYS, external_state
from .besidefile import Beside
from .errors import ChainFileError, CspaceError, ParameterError

_INLINE_BYTES = 4096  # of a VST3 plugin's state kept in the text; a longer one goes to a file beside
_SLOT_KEYS = ("type", "name", "bypass")
RESERVED = (*_SLOT_KEYS, *STATE_KEYS, "parameters")
ReadArray = Callable[[str, str], NDArray[Any]]  # key and file name to array


def dump_external(
    plugin: Any, name: str, head: dict[str, Any], beside: Beside | None, folder: Path | None
) -> dict[str, Any]:
    """The table of a plugin; what is too long for it is put into `beside` and named.

    Paths inside `folder` become relative to it. Raises ChainFileError for a plugin that cannot be written down.
    """
    try:
        state = external_state(plugin)
    except CspaceError as e:
        raise ChainFileError(f"{name}: {e}") from None
    table = _dump(state, name, beside, folder)
    return {"type": table.pop("type"), **head, **table}


def _dump(state: dict[str, Any], prefix: str, beside: Beside | None, folder: Path | None) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in state.items():
        if key == "plugins":
            out[key] = [_dump(p, f"{prefix}.{i}", beside, folder) for i, p in enumerate(value)]
        elif isinstance(value, bytes) and (beside is None or len(value) <= _INLINE_BYTES):
            out[key] = base64.b64encode(value).decode()
        elif isinstance(value, bytes | np.ndarray):
            if beside is None:
                raise ChainFileError(f"{prefix}.{key} has too many numbers for text; save to a file")
            data = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
            out[key] = beside.put(f"{prefix}.{key}", data)
        elif key in ("path", "impulse_response") and folder is not None:
            out[key] = _relative(value, folder)
        elif key != "parameters":
            out[key] = value
    parameters = state.get("parameters", {})
    # A VST3 plugin may have a parameter called bypass or name: those stand in a table of their own.
    hidden = {k: v for k, v in parameters.items() if k in RESERVED}
    return out | {k: v for k, v in parameters.items() if k not in RESERVED} | ({"parameters": hidden} if hidden else {})


def _relative(path: str, folder: Path) -> str:
    """`path` from `folder` on if it lies inside, else as it is."""
    whole, inside = Path(path), folder.absolute()
    return whole.relative_to(inside).as_posix() if whole.is_relative_to(inside) else path


def load_external(table: dict[str, Any], array: ReadArray) -> dict[str, Any]:
    """The state in a table of a chain file, without the flat parameters. Raises ParameterError."""
    state = {k: v for k, v in table.items() if k in ("type", "parameters", *STATE_KEYS)}
    if "plugins" in state:
        inner = state["plugins"]
        if not isinstance(inner, list) or not all(isinstance(p, dict) for p in inner):
            raise ParameterError('plugins is not a list of tables, such as [{ class = "Gain", gain_db = 3.0 }]')
        state["plugins"] = [_inner(p, array) for p in inner]
    if "state" in state:
        state["state"] = _bytes(state["state"], array)
    found = state.get("impulse_response")
    if isinstance(found, str) and found.endswith(".npy"):
        state["impulse_response"] = _audio(array("impulse_response", found), found)
    elif isinstance(found, list):
        state["impulse_response"] = _audio(found, "the list")
    return state


def _audio(data: Any, where: str) -> NDArray[np.float32]:
    try:
        x = np.asarray(data)
    except ValueError:  # lists of uneven lengths
        x = np.zeros(0, object)
    if x.dtype.kind not in "fiu" or x.ndim not in (1, 2) or x.size == 0 or not np.isfinite(x).all():
        raise ParameterError(f"impulse_response: {where} is no finite audio [shape=(channels, frames) or (frames,)]")
    return x.astype(np.float32)


def _inner(table: dict[str, Any], array: ReadArray) -> dict[str, Any]:
    """A plugin in a container: its flat keys that are no others are parameters."""
    state = load_external(table, array)
    if table.get("type") != "dry":
        state.setdefault("type", "pedalboard")
        flat = {k: v for k, v in table.items() if k not in RESERVED}
        inner = state.get("parameters", {})
        state["parameters"] = {**flat, **inner} if isinstance(inner, dict) else inner
    return state


def _bytes(text: Any, array: ReadArray) -> bytes:
    if not isinstance(text, str):
        raise ParameterError("state is not a text in base64")
    if text.endswith(".npy"):
        data = array("state", text)
        if data.dtype != np.uint8 or data.ndim != 1:
            raise ParameterError(f"state: {text} does not hold bytes")
        return data.tobytes()
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ParameterError("state is not a text in base64") from None
