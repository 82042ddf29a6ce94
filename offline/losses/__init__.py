"""Losses of the codec and of the studies, chosen by name.

>>> from cspace.offline import losses
>>> loss = losses.make("cspace", sample_rate=24_000, gain="energy")
>>> total, terms = loss(estimate, target)  # both (batch, T)
>>> total.backward()
>>> log({name: term.item() for name, term in terms.items()})
"""

from .base import Loss, Terms, WeightedSum
from .original import V1Loss, V2Loss, V3EmbeddingLoss, V3Loss
from .registry import describe, make, names
from .spectral import MelLoss, MultiScaleMelLoss, MultiScaleSpectralLoss, WaveformLoss
from .states import CSpaceLoss, SpectralCSpaceLoss

__all__ = [
    "CSpaceLoss",
    "Loss",
    "MelLoss",
    "MultiScaleMelLoss",
    "MultiScaleSpectralLoss",
    "SpectralCSpaceLoss",
    "Terms",
    "V1Loss",
    "V2Loss",
    "V3EmbeddingLoss",
    "V3Loss",
    "WaveformLoss",
    "WeightedSum",
    "describe",
    "make",
    "names",
]
