"""Values of parameters: from Python to the float the core takes, and back, with errors that help."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._errors import ParameterError, near, refused

if TYPE_CHECKING:
    from .._native import ParamInfo
    from ._base import NativePlugin

Value = float | int | bool | str


def number(x: float) -> str:
    """A number as people write it: no float32 tails such as 0.10000000149."""
    whole = abs(x) < 1e9 and x == int(x)
    return str(int(x)) if whole else f"{x:.7g}"


def allowed(info: ParamInfo) -> str:
    """The allowed values of a parameter, in words: `"-120 to 24 dB"`, `"'free' or 'entrained'"`."""
    if info["scale"] == "choice":
        return " or ".join(repr(c) for c in info["choices"])
    if info["scale"] == "toggle":
        return "true or false"
    if info["scale"] == "text":
        return "a text"
    whole = "whole numbers from " if info["scale"] == "int" else ""
    return f"{whole}{number(info['min'])} to {number(info['max'])} {info['unit']}".rstrip()


def to_native(owner: str, info: ParamInfo, value: Any) -> float:
    """The float the core takes for `value`.

    Raises ParameterError, naming parameter, value and range, for anything outside the range: a
    value typed by a person is never bent in silence.
    """
    where = f"{owner}.{info['name']}"
    scale = info["scale"]
    if isinstance(value, str):
        if scale == "choice" and value in info["choices"]:
            return float(info["choices"].index(value))
        hint = near(value, info["choices"])
        raise ParameterError(f"{where} = {value!r} is not allowed, use {allowed(info)}{hint}")
    if isinstance(value, (bool, np.bool_)):
        if scale != "toggle":
            raise ParameterError(f"{where} = {bool(value)} is not allowed, use {allowed(info)}")
        return 1.0 if value else 0.0
    try:
        x = float(value)
    except (TypeError, ValueError, OverflowError):
        kind = type(value).__name__
        raise ParameterError(f"{where} is set to a {kind}, which is not allowed; use {allowed(info)}") from None
    # Ranges are float32 in the core: 0.9999 typed by a person must not lie above float32(0.9999).
    with np.errstate(over="ignore"):
        inside = np.float32(info["min"]) <= np.float32(x) <= np.float32(info["max"])
    whole = scale not in ("int", "toggle", "choice") or x == round(x) if math.isfinite(x) else False
    if not (inside and whole):
        told = number(x) if whole or not math.isfinite(x) else refused(x, round(x))
        if told in (number(info["min"]), number(info["max"])):
            told = refused(x, info["min"], info["max"])
        raise ParameterError(f"{where} = {told} is not allowed, use {allowed(info)}")
    return x


def to_python(info: ParamInfo, x: float) -> Value:
    """What a property returns: bool for a toggle, str for a choice or text, int or float else."""
    scale = info["scale"]
    if scale == "text":
        return str(x)
    if scale == "choice":
        return info["choices"][int(x)]
    if scale == "toggle":
        return x >= 0.5
    return int(x) if scale == "int" else float(x)


def to_array(owner: str, name: str, data: Any) -> NDArray[np.float32]:
    """A private float32 copy of `data`, 1-D or 2-D and finite. Raises ParameterError."""
    try:
        array = np.array(data, dtype=np.float32, order="C")
    except (TypeError, ValueError) as e:
        raise ParameterError(f"{owner}.{name} must be an array of numbers: {e}") from None
    if array.ndim not in (1, 2):
        raise ParameterError(f"{owner}.{name} must have 1 or 2 dimensions, not {array.ndim}")
    if not np.isfinite(array).all():
        raise ParameterError(f"{owner}.{name} holds NaN or Inf")
    array.flags.writeable = False
    return array


class ParamProperty:
    """A parameter as a property of the plugin class."""

    def __init__(self, info: ParamInfo):
        self.info = info
        setup = "\n\nA set-up parameter: changing it builds the processor anew." if info["setup"] else ""
        default = to_python(info, info["default"])
        shown = number(default) if isinstance(default, float) else repr(default)
        self.__doc__ = f"{info['doc']}\n\nAllowed: {allowed(info)}. Default: {shown}.{setup}"

    def __get__(self, plugin: NativePlugin | None, owner: type | None = None) -> Any:
        return self if plugin is None else plugin.get_param(self.info["name"])

    def __set__(self, plugin: NativePlugin, value: Any) -> None:
        plugin.set_param(self.info["name"], value)


class ArrayProperty:
    """An array as a property of the plugin class; None where it was never set."""

    def __init__(self, name: str, doc: str):
        self.name = name
        self.__doc__ = doc

    def __get__(self, plugin: NativePlugin | None, owner: type | None = None) -> Any:
        return self if plugin is None else plugin.get_array(self.name)

    def __set__(self, plugin: NativePlugin, data: Any) -> None:
        plugin.set_array(self.name, data)
