"""Losses by name, for settings files and commands."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ...plugins._errors import ParameterError, near
from ..bank import BankSpec
from .base import Loss
from .original import V1Loss, V2Loss, V3EmbeddingLoss, V3Loss
from .spectral import MelLoss, MultiScaleMelLoss, MultiScaleSpectralLoss, WaveformLoss
from .states import CSpaceLoss, SpectralCSpaceLoss

_LOSSES: dict[str, tuple[Callable[..., Loss], dict[str, Any], str]] = {
    "cspace": (CSpaceLoss, {}, "states only, L1"),
    "cspace_l2": (CSpaceLoss, {"distance": "l2"}, "states only, mean square"),
    "cspace_ratio": (CSpaceLoss, {"distance": "l2", "level": "ratio_db"}, "states only, noise to signal in dB"),
    "cspace_spectral": (SpectralCSpaceLoss, {}, "cspace_l2 over all time by one FFT"),
    "cspace_spectral_ratio": (SpectralCSpaceLoss, {"level": "ratio_db"}, "cspace_ratio over all time by one FFT"),
    "v1": (V1Loss, {}, "the original's first: states, magnitudes, mel, waveform"),
    "v2": (V2Loss, {}, "the original's second: states at three rates, mel, waveform"),
    "v3": (V3Loss, {}, "the original's third: spectra, embedding, waveform"),
    "v3_embedding": (V3EmbeddingLoss, {}, "the embedding of v3 alone"),
    "mel": (MelLoss, {}, "log-mel L1"),
    "mel_multi": (MultiScaleMelLoss, {}, "log-mel L1 at three window lengths"),
    "spectral_multi": (MultiScaleSpectralLoss, {}, "magnitude and log-magnitude L1 at three window lengths"),
    "waveform": (WaveformLoss, {}, "L1 of samples"),
}


def names() -> list[str]:
    """All names that `make` takes."""
    return list(_LOSSES)


def describe(name: str) -> str:
    """What a loss is, in a few words. Raises ParameterError for a name that is not there."""
    return _find(name)[2]


def make(name: str, *, sample_rate: float = 24_000, spec: BankSpec | None = None, **options: Any) -> Loss:
    """A loss by name.

    Parameters
    ----------
    name : one of `names()`
    sample_rate : Hz of the sounds; given to those that depend on it
    spec : which bank; given to those that have one to choose (None: the loss's own default)
    options : passed on, such as `gain="energy"` for the CSpace losses

    Raises ParameterError naming a name, an option or a value that cannot be taken.

    >>> make("cspace_ratio", sample_rate=16_000, gain="energy")
    """
    build, fixed, _ = _find(name)
    known = inspect.signature(build).parameters
    for option in options:
        if option not in known or option in fixed:
            free = [k for k in known if k not in fixed]
            fixed_here = f" (here {fixed[option]!r})" if option in fixed else ""
            raise ParameterError(
                f"loss {name!r} has no option {option!r}{fixed_here}{near(option, free)}; it has {', '.join(free)}"
            )
    given = {"sample_rate": sample_rate, "spec": spec}
    return build(**{k: v for k, v in given.items() if k in known}, **fixed, **options)


def _find(name: str) -> tuple[Callable[..., Loss], dict[str, Any], str]:
    if name not in _LOSSES:
        raise ParameterError(f"there is no loss {name!r}{near(name, _LOSSES)}; there are {', '.join(_LOSSES)}")
    return _LOSSES[name]
