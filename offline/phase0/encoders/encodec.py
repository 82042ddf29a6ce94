"""Meta's EnCodec at 24 kHz through `transformers`: the encoder's features, not codebook indices.

It gives 75 frames a second, six times Mimi's: compare by `window_seconds` and `lags_seconds`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....plugins._errors import FileError
from ..config import EncoderSettings, fingerprint
from ..store import EncoderInfo
from .base import AudioEncoder
from .mimi import torch_device

F32 = NDArray[np.float32]


class Encodec(AudioEncoder):
    """`EncodecModel.encoder`; random weights without a folder or hub name, as every output then says."""

    def __init__(self, settings: EncoderSettings):
        import torch
        from transformers import EncodecConfig, EncodecModel

        self._device = torch_device(settings.device)
        name = settings.weights
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.seed)
                model: Any = (
                    EncodecModel(EncodecConfig())
                    if name is None
                    else EncodecModel.from_pretrained(
                        "facebook/encodec_24khz" if name == "hub" else name, use_safetensors=True
                    )
                )
        except (OSError, RuntimeError, ValueError) as e:
            raise FileError(f"{name}: EnCodec cannot be loaded: {(str(e).splitlines() or [''])[0]}") from None
        self._model = model.eval().to(self._device)
        c = model.config
        hop = int(np.prod(c.upsampling_ratios))
        self.info = EncoderInfo(
            "encodec",
            f"random weights, seed {settings.seed}" if name is None else Path(name).name,
            int(c.sampling_rate),
            hop,
            int(c.hidden_size),
            c.sampling_rate / hop,
            fingerprint("encodec", settings.seed if name is None else _digest(model)),
        )

    def encode(self, samples: F32) -> F32:
        """Features of the whole utterance at once."""
        import torch

        hop = self.info.hop
        filled = np.zeros(-(-len(samples) // hop) * hop, np.float32)
        filled[: len(samples)] = samples
        with torch.no_grad():
            x = torch.from_numpy(filled)[None, None].to(self._device)
            z: F32 = self._model.encoder(x)[0].T.float().cpu().numpy()
        return z


def _digest(model: Any) -> str:
    import hashlib

    digest = hashlib.sha256()
    for key, value in sorted(model.encoder.state_dict().items()):
        digest.update(key.encode() + value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
