"""What turns sound into latents. Frame rate, dimension and hop are read from the model."""

from __future__ import annotations

from pathlib import Path

from ..config import EncoderSettings
from .base import AudioEncoder, Encoder

__all__ = ["AudioEncoder", "Encoder", "make"]


def make(settings: EncoderSettings, fitted: Path | None = None) -> Encoder:
    """The encoder of the settings; `fitted` is the folder where one that must be fitted keeps its numbers.

    Raises FileError or ParameterError for weights that cannot be loaded, ModuleNotFoundError for a package that is
    not installed.
    """
    if settings.name == "synthetic":
        from .synthetic import Synthetic

        return Synthetic(settings)
    if settings.name == "logmel":
        from .logmel import Logmel

        return Logmel(settings, fitted)
    if settings.name == "codec":
        from .codec import OurCodec

        return OurCodec(settings)
    if settings.name == "mimi":
        from .mimi import Mimi

        return Mimi(settings)
    from .encodec import Encodec

    return Encodec(settings)
