"""Arguments of OSC messages as values of parameters, switches and buttons. Thread: control."""

from __future__ import annotations

import math
from typing import Any

from .control import Knob, Value
from .oscpacket import IMPULSE


class BadMessage(Exception):  # noqa: N818
    """Why a message changes nothing; `kind` is the counter it adds to."""

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind = kind


def one(args: list[Any]) -> Any:
    """The only argument."""
    if len(args) != 1:
        raise BadMessage("wrong_count", f"takes one argument, not {len(args)}")
    return args[0]


def pressed(args: list[Any]) -> bool:
    """Whether an action is meant: by no argument, N, I, or a button that went down. One let go is no error."""
    if not args:
        return True
    arg = args[0]
    if len(args) > 1:
        raise BadMessage("wrong_count", f"takes no arguments, or that of a button, not {len(args)}")
    if arg is None or arg is IMPULSE:
        return True
    if not isinstance(arg, (bool, int, float)):
        raise BadMessage("wrong_type", f"takes nothing, N, I, T, F or a number, not {kind_of(arg)}")
    if not math.isfinite(arg):
        raise BadMessage("out_of_range", f"{arg} is not a value")
    return bool(arg)


def switch(arg: Any) -> bool:
    """T, F, 0 or 1."""
    if isinstance(arg, bool):
        return arg
    if isinstance(arg, (int, float)):
        x = _whole(arg)
        if x in (0, 1):
            return bool(x)
        raise BadMessage("out_of_range", f"{arg:.9g} is not allowed, use 0 or 1")
    raise BadMessage("wrong_type", f"takes T, F, 0 or 1, not {kind_of(arg)}")


def word(arg: Any) -> str:
    """A name."""
    if not isinstance(arg, str):
        raise BadMessage("wrong_type", f"takes a name, not {kind_of(arg)}")
    return arg


def value_of(knob: Knob, arg: Any) -> Value:
    """The argument, if it is of a type that the parameter takes."""
    allowed: tuple[type, ...] = {
        "toggle": (bool, int, float),
        "choice": (str, int, float),
        "text": (str,),
    }.get(knob["scale"], (int, float))
    if not isinstance(arg, allowed) or (isinstance(arg, bool) and bool not in allowed):
        words = {"toggle": "T, F, 0 or 1", "choice": "a name or its number", "text": "a string"}
        raise BadMessage("wrong_type", f"takes {words.get(knob['scale'], 'a number')}, not {kind_of(arg)}")
    if isinstance(arg, float) and not math.isfinite(arg):
        raise BadMessage("out_of_range", f"{arg} is not a value")
    assert isinstance(arg, (bool, int, float, str))  # said above; mypy cannot follow
    return float(arg) if isinstance(arg, float) else arg


def last_bit(knob: Knob, value: Value) -> Value:
    """The limit or whole number that a value misses by two bits of a float at most, else the value.

    Controllers calculate in float32: a fader for -120 to 24 ends at 24.000002.
    """
    if not isinstance(value, float):
        return value
    if knob["scale"] in ("toggle", "choice", "int"):
        return _whole(value)
    for limit in (knob["min"], knob["max"]):
        if limit is not None and abs(value - limit) <= 2 * _ulp(limit):
            return limit
    return value


def _whole(x: float) -> float:
    if not math.isfinite(x):
        return x
    near = round(x)
    return float(near) if abs(x - near) <= 2 * _ulp(near) else x


def _ulp(x: float) -> float:
    """The last bit of float32 at `x`, at 0 that at 0.5."""
    return math.ldexp(1.0, (math.frexp(x)[1] if x else 0) - 24)


def kind_of(arg: Any) -> str:
    """The type of an argument in words."""
    if isinstance(arg, bool):
        return "T or F"
    if isinstance(arg, (int, float)):
        return "a number"
    if arg is IMPULSE:
        return "an impulse"
    kinds: dict[type, str] = {str: "a string", bytes: "a blob", list: "a list", type(None): "nil"}
    return kinds.get(type(arg), "that type")
