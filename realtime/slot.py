"""A place in a chain: a plugin with its name, whatever kind of plugin it is. Thread: control."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..plugins import by_name
from ..plugins._base import NativePlugin
from ..plugins._params import Value
from ..plugins.external import (
    external_from,
    external_name,
    external_params,
    external_state,
    is_external,
    set_external,
)
from ..plugins.externalstage import External
from .errors import CspaceError, ParameterError

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


class Moving(NamedTuple):
    """What of a processor can move while it plays, at one moment: a set-up parameter builds it anew instead."""

    bypass: bool
    values: dict[str, float]  # of a native processor, as its core has them


class Slot:
    """One processor of a chain under its OSC name (`eq`, `eq2`, …). Compared by identity."""

    def __init__(self, plugin: Any, name: str, bypass: bool = False):
        check_plugin(plugin)
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ParameterError(
                f"processor name {name!r} is not allowed, use up to 32 of a-z, 0-9, - and _ (it is an OSC address)"
            )
        self.plugin = plugin
        self.name = name
        self.bypass = bypass

    @property
    def native(self) -> NativePlugin | None:
        """The plugin if it is a native one, else None."""
        return self.plugin if isinstance(self.plugin, NativePlugin) else None

    @property
    def type_name(self) -> str:
        """`eq`, `gain`, … for native plugins; the plugin's own name in lower case for others."""
        return type_name(self.plugin)

    def params(self) -> list[str]:
        """Names of the parameters that can be set."""
        native = self.native
        return list(native._params) if native else list(external_params(self.plugin))

    def get(self, name: str) -> Value:
        """The value of a parameter. Raises ParameterError for an unknown name."""
        native = self.native
        if native:
            return native.get_param(name)
        known = external_params(self.plugin)
        if name not in known:
            raise ParameterError(f"{self.name} has no parameter {name!r}")
        return known[name]

    def set(self, name: str, value: Any, *, time: int | None = None) -> None:
        """Sets a parameter, at sample `time` of the engine's clock if given (native plugins only)."""
        native = self.native
        if native:
            native.set_param(name, value, time=time)
        elif time is not None:
            raise ParameterError(
                f"{self.name}.{name} cannot be timed live: a plugin from elsewhere takes it at its next hop; set it "
                "without a time, or render with automation"
            )
        else:
            set_external(self.plugin, name, value)

    def moving(self) -> Moving:
        """What can move, as it is now. Of a plugin from elsewhere only the switch: it may not answer."""
        native = self.native
        now = {} if native is None else native._settled()
        live = [] if native is None else [n for n, p in native._params.items() if not p["setup"]]
        return Moving(self.bypass, {n: now[n] for n in live})

    def external(self, sample_rate: float, channels: int) -> External:
        """The stage that runs a plugin from elsewhere at a constant latency."""
        return External.of(self.plugin, sample_rate, channels)

    def __repr__(self) -> str:
        return f"<{self.name}: {self.plugin!r}{' (bypassed)' if self.bypass else ''}>"


def check_plugin(plugin: Any) -> None:
    """Raises ParameterError, with what to write instead, for what cannot be in a chain."""
    if isinstance(plugin, type):
        raise ParameterError(f"{plugin.__name__} is a class; put an object of it in the chain: {plugin.__name__}()")
    if isinstance(plugin, str):
        kind = by_name().get(plugin)
        like = f"{kind.__name__}()" if kind else "Gain()"
        raise ParameterError(f"{plugin!r} is a text; put a plugin in the chain, such as {like} of cspace.plugins")
    # By its class alone: a VST3 plugin that is asked for an attribute it has not may forget its settings.
    if hasattr(type(plugin), "slots") and not isinstance(plugin, NativePlugin):
        raise ParameterError("a Chain cannot be in a chain; add its plugins: chain.extend(other), or [*other]")
    if not isinstance(plugin, NativePlugin) and not is_external(plugin):
        raise ParameterError(
            f"a {type(plugin).__name__} cannot be in a chain: it is neither a cspace plugin nor a pedalboard one"
        )


@dataclass(frozen=True)
class Written:
    """A plugin of pedalboard as its settings: itself it can neither be copied nor pickled."""

    settings: dict[str, Any]


def written(plugin: Any) -> Any:
    """What stands for a plugin in copies and pickles. Raises CspaceError for one that cannot be made again."""
    return Written(external_state(plugin)) if type(plugin).__module__.startswith("pedalboard") else plugin


def read_back(plugin: Any) -> Any:
    """The plugin that `written` stands for."""
    return external_from(plugin.settings) if isinstance(plugin, Written) else plugin


def type_name(plugin: Any) -> str:
    """The word a plugin's slot is named after."""
    return plugin.native_name if isinstance(plugin, NativePlugin) else external_name(plugin)


def usual_name(plugin: Any) -> str:
    """The name a plugin gets in a chain if it is free and nobody asks for another."""
    return (plugin.slot_name if isinstance(plugin, NativePlugin) else "") or type_name(plugin)


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """`wanted`, or with the first number from 2 that is free."""
    wanted = re.sub(r"[^a-z0-9_-]", "_", wanted.lower())[:28].lstrip("_-") or "plugin"
    used = set(taken)
    name, n = wanted, 2
    while name in used:
        name, n = f"{wanted}{n}", n + 1
    return name


def alike(a: Any, b: Any) -> bool:
    """Whether two plugins have equal settings; pedalboard itself compares by identity alone."""
    if a is b or a == b:
        return True
    if type(a).__name__ != type(b).__name__ or not (is_external(a) and is_external(b)):
        return False
    try:
        return _equal(external_state(a), external_state(b))
    except CspaceError:  # one that cannot be written down is like itself alone
        return False


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_equal(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(_equal, a, b))
    return bool(np.array_equal(a, b))
