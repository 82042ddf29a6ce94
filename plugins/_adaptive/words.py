"""Words and blends, as people type them: `warm`, or `warm:0.6 + bright:0.4`. Thread: control."""

from __future__ import annotations

import re

import numpy as np

from .._errors import ParameterError
from .curve import F64
from .model import Model

_PART = re.compile(r"\s*([A-Za-z][A-Za-z-]*)\s*(?::\s*([0-9]*\.?[0-9]+))?\s*")
_MOST = 8
_LENGTH = 200


def parse(text: str, model: Model) -> dict[str, float]:
    """Words with their shares, which add up to 1; an empty blend is {} and stands for no change.

    Shares left out are 1. Raises ParameterError for what cannot be read, unknown words (with near
    ones), shares that are all 0, and more than 8 words.
    """
    if len(text) > _LENGTH:
        raise ParameterError(f"a blend of {len(text)} characters is too long, at most {_LENGTH} are read")
    if not text.strip():
        return {}
    shares: dict[str, float] = {}
    for part in text.split("+"):
        found = _PART.fullmatch(part)
        if found is None:
            raise ParameterError(
                f"{part.strip()!r} in the blend {text!r} is no word with a share; write warm:0.6 + bright:0.4"
            )
        word = model.word(found[1].lower()).name
        shares[word] = shares.get(word, 0.0) + (1.0 if found[2] is None else float(found[2]))
    if len(shares) > _MOST:
        raise ParameterError(f"the blend {text!r} has {len(shares)} words, at most {_MOST} are mixed")
    total = sum(shares.values())
    if not total > 0.0:
        raise ParameterError(f"all shares of the blend {text!r} are 0; give one word a share above 0")
    return {w: s / total for w, s in shares.items() if s > 0.0}


def latent_of(shares: dict[str, float], model: Model) -> F64:
    """The point in latent space that a blend stands for [shape=(latent,)]."""
    return np.asarray(sum(s * model.words[w].z for w, s in shares.items()))


def written(shares: dict[str, float]) -> str:
    """A blend as text."""
    if len(shares) == 1:
        return next(iter(shares))
    return " + ".join(f"{w}:{s:.3g}" for w, s in shares.items())
