"""The codec as it runs: NumPy only, in blocks of any size and bounded memory."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ...models import CODEC as MODELS
from ...plugins._errors import FileError, near
from ...regularfile import read_bytes
from ...wholefile import whole
from ..config import parse
from . import entropy
from .entropy import ContextModel
from .quantise import dequantise, quantise, smallest_step
from .spec import PRESETS, CodecSpec

F32 = NDArray[np.float32]
I16 = NDArray[np.int16]

MODEL_FILE = "codec.safetensors"
_MOST_BYTES = 1 << 30
_ARRAYS = ("analysis", "synthesis", "weights", "offsets", "tables")


class CodecInfo(BaseModel):
    """What stands in a model file beside its arrays."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = 1
    name: str
    spec: CodecSpec
    #: Rounding: magnitudes round up from 0.5 + deadzone; codes mean `shrink` steps less than they say.
    deadzone: float = Field(0.12, ge=0.0, le=0.5)
    shrink: float = Field(0.04, ge=0.0, le=0.4)
    #: How much of a packet's quietness its step follows: 0 gives the best ratio over a file, 1 the same in each packet.
    level_follow: float = Field(0.15, ge=0.0, le=1.0)
    training: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Codec:
    """A model, ready to run. `hash` is the SHA-256 of its file."""

    info: CodecInfo
    analysis: F32
    synthesis: F32
    context: ContextModel
    hash: bytes

    @cached_property
    def analysis_wide(self) -> NDArray[np.float64]:
        """The analysis matrix as the encoder multiplies by it [shape=(encoder_taps · hop, dims)]."""
        return np.ascontiguousarray(self.analysis.T, np.float64)

    @property
    def spec(self) -> CodecSpec:
        """Shape and rate."""
        return self.info.spec

    def quantise(self, z: F32, step: int) -> tuple[I16, int]:
        """Codes of a packet's values, with the step that was taken: never one too small for the codes."""
        step = max(step, smallest_step(float(np.abs(z).max(initial=0.0))))
        return quantise(z, step, self.info.deadzone), step

    def values(self, codes: I16, step: int) -> F32:
        """What the decoder makes of codes."""
        return dequantise(codes, step, self.info.shrink)


def models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.parent.name for p in MODELS.glob(f"*/{MODEL_FILE}"))


#: Presets that run on another one's model, at their own rate.
ALIASES = {"phase144": "phase96", "rate8": "rate24", "rate16": "rate24"}


def find(name: str) -> Path:
    """The model file of a shipped name, a folder or a file. Raises FileError."""
    path = Path(name)
    shipped = ALIASES.get(name, name)
    for choice in (path, path / MODEL_FILE, MODELS / shipped / MODEL_FILE):
        if choice.is_file():
            return choice
    known = models()
    raise FileError(
        f"{name}: there is no such codec model{near(name, known)}; shipped: {', '.join(known) or 'none'}, "
        f"or give a folder with {MODEL_FILE}"
    )


def rate_of(name: str, codec: Codec) -> float:
    """The rate that goes with a name: the preset's, where it is one; else the model's own [kbit/s]."""
    return PRESETS[name].kbps if name in ALIASES else codec.spec.kbps


def by_hash(half: bytes) -> Codec | None:
    """The shipped model whose hash starts so."""
    return next((c for c in map(load, models()) if c.hash[:16] == half), None)


def save(path: Path, info: CodecInfo, analysis: F32, synthesis: F32, context: ContextModel) -> None:
    """Writes a model file: matrices as float16, integers as they are, the rest as JSON in its metadata."""
    from safetensors.numpy import save as to_bytes

    arrays: dict[str, NDArray[Any]] = {
        "analysis": np.ascontiguousarray(analysis, np.float16),
        "synthesis": np.ascontiguousarray(synthesis, np.float16),
        "weights": context.weights,
        "offsets": context.offsets,
        "tables": context.tables,
    }
    text = json.dumps(info.model_dump(mode="json"), sort_keys=True)
    with whole(path) as part:
        part.write_bytes(to_bytes(arrays, metadata={"codec": text}))


def load(name: str | Path) -> Codec:
    """A model by name or path. Raises FileError naming what is wrong with the file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_arrays

    path = find(str(name))
    try:
        data = read_bytes(path, _MOST_BYTES)
        arrays = load_arrays(data)
        (size,) = struct.unpack("<Q", data[:8])
        text = json.loads(data[8 : 8 + size])["__metadata__"]["codec"]
        fields = json.loads(text)
    except FileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as e:
        raise FileError(f"{path}: is not a codec model ({e})") from None
    missing = [a for a in _ARRAYS if a not in arrays]
    if missing:
        raise FileError(f"{path}: lacks {', '.join(missing)}")
    info = parse(CodecInfo, fields, str(path))
    s = info.spec
    for key, shape in (
        ("analysis", (s.dims, s.encoder_taps * s.hop)),
        ("synthesis", (s.hop, s.decoder_taps * s.dims)),
    ):
        if arrays[key].shape != shape or not np.all(np.isfinite(arrays[key])):
            raise FileError(f"{path}: {key} is {arrays[key].shape} or not finite; it must be {shape}")
    context = ContextModel(arrays["weights"], arrays["offsets"], arrays["tables"])
    analysis, synthesis = (arrays[k].astype(np.float32) for k in ("analysis", "synthesis"))
    return Codec(info, analysis, synthesis, context, hashlib.sha256(data).digest())


class Analyser:
    """Sound in blocks of any size -> values of whole packets [shape=(packet_frames, dims)], one channel.

    Sums run over whole packets and in double precision, rounded once: neither the sizes of the blocks nor
    the machine change a bit, and the values are those of the streaming package `encoder`.
    """

    def __init__(self, codec: Codec):
        self.codec = codec
        s = codec.spec
        self._past = np.zeros((s.encoder_taps - 1) * s.hop, np.float32)
        self._wait: list[F32] = []
        self._held = 0
        self._need = s.packet_frames * s.hop

    def push(self, x: F32) -> list[F32]:
        """Takes in sound [shape=(samples,)] and gives the packets it completes."""
        self._wait.append(np.asarray(x, np.float32))
        self._held += len(x)
        if self._held < self._need:
            return []
        data = np.concatenate(self._wait)
        count = len(data) // self._need
        out = [self._packet(data[i * self._need : (i + 1) * self._need]) for i in range(count)]
        self._wait = [data[count * self._need :].copy()]
        self._held = len(self._wait[0])
        return out

    def flush(self) -> list[F32]:
        """Silence until all that went in can come out again; gives the last packets. Then it is at its start."""
        out = self.push(np.zeros(self.codec.spec.delay_samples, np.float32))
        out += self.push(np.zeros(-self._held % self._need, np.float32))
        self._past[:] = 0.0
        return out

    def _packet(self, x: F32) -> F32:
        s = self.codec.spec
        seen = np.concatenate([self._past, x])
        frames = seen.reshape(-1, s.hop)
        count = len(x) // s.hop
        lead = s.encoder_taps - 1
        stacked = np.concatenate([frames[lead - k : lead - k + count] for k in range(s.encoder_taps)], axis=1)
        self._past = seen[len(x) :].copy()
        return (stacked.astype(np.float64) @ self.codec.analysis_wide).astype(np.float32)


class Synthesiser:
    """Values of whole packets -> sound, one channel; starts `delay_samples` before the first sample that went in."""

    def __init__(self, codec: Codec):
        self.codec = codec
        s = codec.spec
        self._past = np.zeros((s.decoder_taps - 1, s.dims), np.float32)

    def push(self, z: F32) -> F32:
        """Sound [shape=(packet_frames · hop,)] of values [shape=(packet_frames, dims)]."""
        s = self.codec.spec
        seen = np.concatenate([self._past, z])
        lead = s.decoder_taps - 1
        stacked = np.concatenate([seen[lead - k : lead - k + len(z)] for k in range(s.decoder_taps)], axis=1)
        self._past = seen[len(z) :].copy()
        return (stacked @ self.codec.synthesis.T).ravel()


def encode_codes(codec: Codec, codes: I16) -> bytes:
    """Codes of a packet as bytes."""
    return entropy.encode(codec.context, codes)


def decode_codes(codec: Codec, data: bytes) -> I16:
    """Codes of a packet's bytes. Raises FileError."""
    return entropy.decode(codec.context, data, codec.spec.packet_frames, codec.spec.dims)
