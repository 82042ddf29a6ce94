"""Both halves of CSpace at every sample: with gradients and over files (torch), or live (Rust)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .streaming import StreamingCSpace

if TYPE_CHECKING:
    from .module import CSpace

__all__ = ["CSpace", "StreamingCSpace"]


def __getattr__(name: str) -> Any:  # torch is loaded when the module that needs it is asked for
    if name == "CSpace":
        from .module import CSpace

        return CSpace
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
