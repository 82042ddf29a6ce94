"""One file per processor: what it is, its parameters, its docs.

A new one is a file in this folder with a class in it; see `_template.py`.
"""

from __future__ import annotations

from functools import cache

from ._base import NativePlugin
from ._errors import AudioError, CspaceError, CspaceWarning, MissingExtraError, ParameterError
from ._hosted import HostedPlugin
from .adaptive_eq import AdaptiveEq
from .codec import Codec
from .cspace import CSpace
from .eq import Eq
from .esn import Esn
from .gain import Gain
from .heal import Heal
from .kuramoto import Kuramoto
from .limiter import Limiter
from .mix import Mix
from .onnx import OnnxStream

__all__ = [
    "AdaptiveEq",
    "AudioError",
    "CSpace",
    "Codec",
    "CspaceError",
    "CspaceWarning",
    "Eq",
    "Esn",
    "Gain",
    "Heal",
    "HostedPlugin",
    "Kuramoto",
    "Limiter",
    "MissingExtraError",
    "Mix",
    "NativePlugin",
    "OnnxStream",
    "ParameterError",
    "all_plugins",
    "by_name",
    "composed_by_name",
    "hosted_by_name",
]


def all_plugins() -> list[type[NativePlugin]]:
    """The plugin class of every native processor, in the order of the registry."""
    return list(by_name().values())


@cache
def by_name() -> dict[str, type[NativePlugin]]:
    """Native name -> plugin class, as in `type = "gain"` of a chain file."""
    names = set(__all__)
    found = {c.native_name: c for c in NativePlugin.__subclasses__() if c.__name__ in names}
    return {name: found[name] for name in NativePlugin.registry() if name in found}


@cache
def composed_by_name() -> dict[str, type[NativePlugin]]:
    """Processors made of native ones and a control thread: name -> class, as in `type = "adaptive_eq"`."""
    return {AdaptiveEq.native_name: AdaptiveEq}


@cache
def hosted_by_name() -> dict[str, type[HostedPlugin]]:
    """Processors around a model on disk: name -> class, as in `type = "onnx"` of a chain file."""
    names = set(__all__)
    return {c.native_name: c for c in HostedPlugin.__subclasses__() if c.__name__ in names}
