"""From a trained transform to a codec model: context model and rounding fitted to codes of the training data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...clitools import progress
from .codec import MODEL_FILE, Analyser, Codec, CodecInfo, load, save
from .data import Source
from .fit import fit, flat_model
from .model import Transform
from .quantise import step_for_rate
from .spec import STEP_ZERO, STEPS_PER_OCTAVE

F32 = NDArray[np.float32]
I16 = NDArray[np.int16]

#: The context model meets packets at these shares of the preset's rate, so that it serves them all.
SHARES = (0.3, 0.6, 1.0, 1.6)


def finish(
    transform: Transform, sources: Sequence[Source], folder: Path, name: str, seed: int, training: dict[str, Any]
) -> Path:
    """Writes `codec.safetensors` beside the transform.

    Crops of the training data are coded at several rates; the context model is fitted to the codes. The
    shift of code values towards 0 is the one of least squared error on the same crops.
    """
    spec = transform.spec
    analysis = transform.analysis.detach().cpu().numpy().astype(np.float16).astype(np.float32)
    synthesis = transform.synthesis.detach().cpu().numpy().astype(np.float16).astype(np.float32)
    # 32 k codes are a packet or ten; about 3 M codes in all.
    per_crop = max(2, 32_768 // (spec.packet_frames * spec.dims))
    rng = np.random.default_rng([seed, 77])
    info = CodecInfo(name=name, spec=spec)
    codec = Codec(info, analysis, synthesis, flat_model(), b"")
    packets: list[I16] = []
    miss, count = 0.0, 0
    with progress() as bar:
        for i in bar.track(range(24 * len(SHARES)), description="context model"):
            share = SHARES[i % len(SHARES)]
            x = sources[(i // len(SHARES)) % len(sources)].crop(rng, per_crop * spec.packet_frames * spec.hop)
            values = Analyser(codec).push(x)
            bits = spec.bits_per_frame * share / spec.dims
            z = torch.from_numpy(np.concatenate(values))[None]
            step = step_for_rate(z, bits).item()
            index = int(np.clip(np.round(STEP_ZERO + STEPS_PER_OCTAVE * np.log2(max(step, 1e-9))), 0, 255))
            for z_packet in values:
                codes, taken = codec.quantise(z_packet, index)
                packets.append(codes)
                scaled = np.abs(z_packet) / 2.0 ** ((taken - STEP_ZERO) / STEPS_PER_OCTAVE)
                whole = np.abs(codes.astype(np.float32))
                miss += float(np.sum((whole - scaled)[whole > 0], dtype=np.float64))
                count += int(np.count_nonzero(whole))
    shrink = round(float(np.clip(miss / max(1, count), 0.0, 0.2)), 4)
    context = fit(packets, seed=seed)
    info = info.model_copy(update={"shrink": shrink, "training": training})
    save(folder / MODEL_FILE, info, analysis, synthesis, context)
    load(folder)  # what was written can be read
    return folder / MODEL_FILE
