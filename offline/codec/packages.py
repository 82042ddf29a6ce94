"""A codec model as streaming ONNX packages: `live`, `encoder` and `decoder`, beside its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ...export.onnx_export import export_stream
from ...export.package import Parameter
from ...plugins._errors import ParameterError
from .codec import Codec
from .streams import Decoder, Encoder, Live

F32 = NDArray[np.float32]
KINDS = ("live", "encoder", "decoder")
LICENCE = "MIT OR Apache-2.0"
GOLDEN_SECONDS = 0.12


def module(codec: Codec, kind: str) -> nn.Module:
    """The torch module of a kind. Raises ParameterError for a model whose frames are wider than its hops."""
    if codec.spec.dims != codec.spec.hop:
        raise ParameterError(
            f"{codec.info.name} has {codec.spec.dims} values to a hop of {codec.spec.hop}; packages need as many"
        )
    return {"live": Live, "encoder": Encoder, "decoder": Decoder}[kind](codec)


def export(codec: Codec, folder: Path) -> list[Path]:
    """Writes the three packages into a folder, each checked against torch; those that are there are replaced."""
    return [_export(codec, folder / kind, kind) for kind in KINDS]


def _export(codec: Codec, folder: Path, kind: str) -> Path:
    spec = codec.spec
    heard, values = (1, (spec.encoder_taps - 1) * spec.hop), (1, (spec.decoder_taps - 1) * spec.dims)
    states: dict[str, Any] = {"heard": heard} if kind == "encoder" else {"values": values}
    parameters: list[Parameter] = []
    if kind == "live":
        states = {"heard": heard, "values": values, "saved": (1,)}
        low, high = _range(spec.kbps)
        parameters = [
            Parameter(
                "quality",
                "quality",
                low,
                high,
                spec.kbps,
                "kbit/s",
                doc="What each channel may cost, about as the range coder would need.",
            )
        ]
    what = {
        "live": "what the codec loses, as an effect",
        "encoder": "sound to the codec's values",
        "decoder": "the codec's values to sound",
    }
    return export_stream(
        module(codec, kind),
        folder,
        name=f"{codec.info.name}-{kind}",
        sample_rate=spec.sample_rate,
        hop=spec.hop,
        states=states,
        licence=LICENCE,
        latency_samples=spec.delay_samples if kind == "live" else 0,
        tail_samples=0 if kind == "encoder" else (spec.decoder_taps - 1) * spec.hop,
        parameters=parameters,
        description=f"CSpace codec {codec.info.name}: {what[kind]}",
        training=codec.info.training,
        extra={"codec_sha256": codec.hash.hex()},
        goldens=[golden(codec)],
        overwrite=True,
    ).folder


def _range(kbps: float) -> tuple[float, float]:
    """Lowest and highest rate that makes sense beside the trained one."""
    return kbps / 12.0, kbps * 3.0


def golden(codec: Codec, seed: int = 5) -> F32:
    """An impulse, noise, and noise 60 dB quieter [shape=(1, whole hops)]."""
    hop = codec.spec.hop
    hops = max(4, round(GOLDEN_SECONDS * codec.spec.sample_rate / hop))
    rng = np.random.default_rng(seed)
    parts = [np.zeros(hops * hop), rng.uniform(-0.7, 0.7, hops * hop), rng.uniform(-7e-4, 7e-4, hops * hop)]
    parts[0][0] = 0.5
    return np.concatenate(parts).astype(np.float32)[None]
