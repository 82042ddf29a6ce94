"""The pictures of docs/adaptive-eq.md behind `cspace eq pictures`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ...audiofile import Reader
from ...plugins._adaptive.brain import Brain
from ...plugins._adaptive.model import Model
from ...plugins._errors import AudioError, ParameterError
from . import plots
from .evaluate import filtered
from .study import listen
from .traincli import settings_of

_SHOWN = 12  # words in the pictures
_WAYS = (("warm", 0.7), ("bright", 0.7))
_EXCERPT_S = 20.0


NAMES = ("eq_words", "eq_latents", "eq_before_after")


def draw(
    model: Model, data: str, pieces: Sequence[Path], progress: Callable[[int, int], None] | None = None
) -> dict[str, Figure]:
    """`eq_words`, `eq_latents` and `eq_before_after`; the last one filters each piece and measures what came out."""
    found = settings_of(data, int(model.about["eq"]["data"]["split_seed"]))
    if len(found) != model.about["eq"]["data"]["rows"]:
        raise ParameterError(f"{data} is not the table that the model was trained with")
    names = sorted(model.words, key=lambda w: -model.words[w].count)[:_SHOWN]
    labels = [next((w for w in words if w in ("warm", "bright")), words[0]) for words in found.words]
    rows = []
    for i, path in enumerate(pieces):
        rows += _before_after(model, path, _WAYS[i % len(_WAYS)])
        if progress is not None:
            progress(i + 1, len(pieces))
    return {
        "eq_words": plots.word_curves(model, names),
        "eq_latents": plots.latent_map(model, model.encode(found.values), labels, names),
        "eq_before_after": plots.before_after(rows),
    }


def _before_after(model: Model, path: Path, way: tuple[str, float]) -> list[plots.Column]:
    from ...plugins._adaptive.spectrum import spectrum_of

    word, intensity = way
    before = listen(path, model.bands).sound()
    if before is None:
        raise AudioError(f"{path}: is silent; choose another piece")
    with Reader(path) as file:
        rate = file.sample_rate
        block = file.read(math.ceil(_EXCERPT_S * rate))
    x = np.ascontiguousarray(block.T)
    made = Brain(model, rate).decide(before, {word: 1.0}, intensity, "gated")
    heard = [spectrum_of(v, rate, model.bands) for v in (x, filtered(x, made.setting, rate))]
    title = f"{path.stem}: {word}, {intensity:+.1f}\nlikeness before {made.likeness:+.1f}, gate {made.gate:.2f}"
    return [(title, heard[0], heard[1], made.setting, float(rate))]
