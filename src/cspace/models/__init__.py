"""Models that come with the package: folders of weights, packages and model cards, by kind."""

from __future__ import annotations

from pathlib import Path

#: Codec models: a folder each, with `codec.safetensors` and the packages `live`, `encoder` and `decoder`.
CODEC = Path(__file__).parent / "codec"
#: Manifolds: a package each, with its streaming form `live` inside.
MANIFOLD = Path(__file__).parent / "manifold"
