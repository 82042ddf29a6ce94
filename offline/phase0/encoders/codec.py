"""The codec of this project, before quantisation, by the ONNX package of its encoder."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....export.package import read
from ....export.runner import Runner
from ..config import EncoderSettings, fingerprint
from ..store import EncoderInfo
from .base import AudioEncoder

F32 = NDArray[np.float32]


class OurCodec(AudioEncoder):
    """Values of each hop, as the streaming encoder gives them."""

    def __init__(self, settings: EncoderSettings):
        from ....models import CODEC

        named = Path(settings.codec.model)
        folder = named if (named / "encoder").is_dir() else CODEC / settings.codec.model
        package: Any = read(folder / "encoder")
        self._runner = Runner(package)
        self._lock = Lock()  # the runner holds the state of one stream
        m = package.manifest
        self.info = EncoderInfo(
            "codec",
            f"{m.name}, trained",
            m.sample_rate,
            m.hop,
            m.hop,  # an encoder package gives as many values as it takes samples
            m.sample_rate / m.hop,
            fingerprint("codec", m.name, dict(m.files)),
        )

    def encode(self, samples: F32) -> F32:
        """The encoder's values [shape=(frames, hop)], from rest."""
        hop = self.info.hop
        filled = np.zeros((1, -(-len(samples) // hop) * hop), np.float32)
        filled[0, : len(samples)] = samples
        with self._lock:
            self._runner.reset()
            return self._runner.run(filled).reshape(-1, hop)
