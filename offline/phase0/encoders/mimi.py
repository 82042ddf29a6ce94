"""Kyutai's Mimi, before quantisation, by the `moshi` package.

The loader is `moshi.models.loaders.get_mimi`; sample rate, frame rate and dimension are the model's own. Without
weights it runs with random ones, and every output says so.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....plugins._errors import FileError
from ....regularfile import open_regular
from ..config import EncoderSettings, fingerprint
from ..store import EncoderInfo
from .base import AudioEncoder

F32 = NDArray[np.float32]


class Mimi(AudioEncoder):
    """The encoder and its transformer; `encode_to_latent(quantize=False)`."""

    def __init__(self, settings: EncoderSettings):
        import torch
        from moshi.models import loaders
        from safetensors import SafetensorError

        weights = _weights(settings.weights)
        device = torch_device(settings.device)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.seed)
                self._model: Any = loaders.get_mimi(None if weights is None else str(weights), device=device)
        except (OSError, RuntimeError, KeyError, ValueError, SafetensorError) as e:
            raise FileError(f"{weights}: Mimi cannot be loaded: {(str(e).splitlines() or [''])[0]}") from None
        m = self._model
        self._device = device
        self.info = EncoderInfo(
            "mimi",
            f"random weights, seed {settings.seed}" if weights is None else weights.name,
            int(m.sample_rate),
            int(m.frame_size),
            int(m.dimension),
            float(m.frame_rate),
            fingerprint("mimi", settings.seed if weights is None else _sha256(weights)),
        )

    def encode(self, samples: F32) -> F32:
        """Latents of the whole utterance at once; the model is causal."""
        import torch

        hop = self.info.hop
        filled = np.zeros(-(-len(samples) // hop) * hop, np.float32)
        filled[: len(samples)] = samples
        with torch.no_grad():
            x = torch.from_numpy(filled)[None, None].to(self._device)
            z: F32 = self._model.encode_to_latent(x, quantize=False)[0].T.float().cpu().numpy()
        return z


def _weights(name: str | None) -> Path | None:
    if name is None:
        return None
    if name == "hub":
        from huggingface_hub import hf_hub_download
        from moshi.models import loaders

        try:
            return Path(hf_hub_download(loaders.DEFAULT_REPO, loaders.MIMI_NAME))
        except Exception as e:  # the hub's, its HTTP client's and the system's errors share no other base
            raise FileError(
                f"hub: Mimi's weights cannot be had from {loaders.DEFAULT_REPO}: {(str(e).splitlines() or [''])[0]}; "
                "give a file with --weights"
            ) from None
    path = Path(name)
    if path.suffix != ".safetensors":
        raise FileError(f"{path}: weights must be a .safetensors file (others are pickles, which can run code)")
    if not path.is_file():
        raise FileError(f"{path}: there is no such file of weights")
    return path


def torch_device(name: str) -> Any:
    """A torch device by name. Raises FileError for one that is not here."""
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as e:
        raise FileError(f"encoder.device {name!r} cannot be used here: {(str(e).splitlines() or [''])[0]}") from None
    return device


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(open_regular(path), "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
