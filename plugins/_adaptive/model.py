"""The adaptive EQ's model at run time: small dense networks in NumPy, words, and what music is like.

A package is a folder: `weights.safetensors` (all arrays), `model.json` (schema, sizes, words with
their counts, training data, figures, sha256 of the other files), `goldens.safetensors` (inputs with
the outputs that torch gave) and `card.md`. Nothing is pickled, and torch is not needed.
Thread: control or worker.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...regularfile import read_bytes
from ...textfile import read_text
from .._errors import FileError, ParameterError, near
from .curve import F64, HIGH, LOW, fit, from_domain, response_db, to_domain
from .spectrum import Sound, centers

F32 = NDArray[np.float32]
SCHEMA = 1
MANIFEST, WEIGHTS, GOLDENS, CARD = "model.json", "weights.safetensors", "goldens.safetensors", "card.md"
DEFAULT = Path(__file__).parent / "default"
#: Expected error from which the encoder is not believed. Settings of the training part on fresh noise stay below it
#: (149 of 150), pieces of music above (the least of 60 was 3.6 dB).
DOUBT_DB = 2.0
FEW = 10  # examples: a word with fewer leans on its family
_LOW = to_domain(LOW)
_SPAN = to_domain(HIGH) - _LOW
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
_MOST_BYTES = 64 * 1024 * 1024


# ---- safetensors -----------------------------------------------------------------------------


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a safetensors file. Raises FileError naming the file and what is wrong with it."""
    data = read_bytes(path, _MOST_BYTES)
    try:
        length = int.from_bytes(data[:8], "little")
        head = json.loads(data[8 : 8 + length])
        body = memoryview(data)[8 + length :]
        out = {}
        for name, about in head.items():
            if name == "__metadata__":
                continue
            start, end = about["data_offsets"]
            if not 0 <= start <= end <= len(body):
                raise ValueError(f"{name} reaches beyond the end")
            out[name] = np.frombuffer(body[start:end], _DTYPES[about["dtype"]]).reshape(about["shape"]).copy()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise FileError(f"{path}: is no safetensors file of this model: {e}") from None
    return out


def array_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays as a safetensors file; float32 and float64 only."""
    names = {np.dtype("f4"): "F32", np.dtype("f8"): "F64"}
    head: dict[str, Any] = {}
    parts, at = [], 0
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
        head[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [at, at + len(raw)]}
        parts.append(raw)
        at += len(raw)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


# ---- the model -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Word:
    """What a word stands for."""

    name: str
    z: F64  # latent [shape=(latent,)]
    curve_db: F64  # of its setting, per band [shape=(bands,)]
    spread_db: F64  # standard deviation of people's curves about it [shape=(bands,)]
    count: int  # settings with this word
    family: str
    agreement: float  # mean cosine between people's curves and the word's, -1 to 1

    @property
    def is_rare(self) -> bool:
        """Too few examples: the curve leans on the word's family."""
        return self.count < FEW


@dataclass(frozen=True)
class Heard:
    """What the audio encoder makes of a sound."""

    z: F64
    setting: F64  # [shape=(13,)]
    curve_db: F64  # of that setting, per band [shape=(bands,)]
    #: Mean absolute error of the network's curve: as it expects it, or as the sound shows it. An upper guess where
    #: the curve was refined.
    expected_error_db: float

    @property
    def confidence(self) -> float:
        """1 for no expected error, 0.5 at `DOUBT_DB`, towards 0 where the encoder does not know."""
        return 1.0 / (1.0 + (self.expected_error_db / DOUBT_DB) ** 2)


@dataclass
class Model:
    """Encoder, decoder, audio encoder, words and the long-term spectrum of music.

    `arrays` as in the package: `encoder.*`, `decoder.*`, `audio.*` (weights and biases of dense
    layers with SiLU between them), `words.z`, `words.curve_db`, `words.spread_db`, `music.mean_db`,
    `music.covariance`, `music.known` (bands that most pieces reach).
    """

    arrays: dict[str, NDArray[Any]]
    about: dict[str, Any]
    words: dict[str, Word] = field(init=False)

    def __post_init__(self) -> None:
        self.latent = int(self.about["latent"])
        self.bands = int(self.about["bands"])
        self.centers_hz = centers(self.bands)
        self._nets = {n: self._layers(n) for n in ("encoder", "decoder", "audio")}
        a = self.arrays
        self.words = {
            w["name"]: Word(
                w["name"],
                a["words.z"][i].astype(np.float64),
                a["words.curve_db"][i].astype(np.float64),
                a["words.spread_db"][i].astype(np.float64),
                int(w["count"]),
                str(w["family"]),
                float(w["agreement"]),
            )
            for i, w in enumerate(self.about["words"])
        }
        self.music_mean_db = a["music.mean_db"].astype(np.float64)
        self.music_covariance = a["music.covariance"].astype(np.float64)
        self.music_known = a["music.known"] > 0.5

    def _layers(self, net: str) -> list[tuple[F32, F32]]:
        out: list[tuple[F32, F32]] = []
        while f"{net}.{len(out)}.weight" in self.arrays:
            i = len(out)
            w, b = self.arrays[f"{net}.{i}.weight"], self.arrays[f"{net}.{i}.bias"]
            if w.ndim != 2 or b.shape != w.shape[:1] or (out and w.shape[1] != out[-1][0].shape[0]):
                raise ParameterError(f"layer {i} of {net} does not fit: {w.shape}, {b.shape}")
            out.append((w.astype(np.float32), b.astype(np.float32)))
        sizes = {
            "encoder": (13, 2 * self.latent),
            "decoder": (self.latent, 13),
            "audio": (2 * self.bands, self.latent + 1),
        }
        if not out or (out[0][0].shape[1], out[-1][0].shape[0]) != sizes[net]:
            raise ParameterError(f"{net} does not lead from {sizes[net][0]} to {sizes[net][1]} numbers")
        return out

    def _run(self, net: str, x: Any) -> F32:
        layers = self._nets[net]
        y = np.asarray(x, np.float32)
        for i, (weight, bias) in enumerate(layers):
            y = y @ weight.T + bias
            if i + 1 < len(layers):
                y = np.asarray(y / (1.0 + np.exp(-np.clip(y, -60.0, 60.0))), np.float32)
        return y

    def encode(self, settings: Any) -> F64:
        """Latents [shape=(…, latent)] of settings [shape=(…, 13)] in dB, Hz and Q."""
        unit = (to_domain(settings) - _LOW) / _SPAN
        return self._run("encoder", 2.0 * unit - 1.0)[..., : self.latent].astype(np.float64)

    def decode(self, z: Any) -> F64:
        """Settings [shape=(…, 13)] of latents [shape=(…, latent)]; always inside the knobs' ranges."""
        return from_domain(_LOW + np.clip(self._run("decoder", z).astype(np.float64), 0.0, 1.0) * _SPAN)

    def curve(self, z: Any) -> F64:
        """Curves in dB at the band centres, at 48 kHz [shape=(…, bands)]."""
        return response_db(self.decode(z), self.centers_hz)

    def hear(self, sound: Sound, reference: Sound | None = None) -> Heard:
        """Which setting a sound carries, against pink noise or against the same sound without it."""
        deviation, valid = sound.against(reference)
        y = self._run("audio", features(deviation, valid))
        z = y[: self.latent].astype(np.float64)
        setting = self.decode(z)
        curve = response_db(setting, self.centers_hz)
        expected = float(np.exp(np.clip(y[self.latent], -6.0, 4.0)))
        error = max(expected, self._unexplained(deviation - curve, valid))
        if error < DOUBT_DB:
            z = self._refined(setting, deviation + curve[valid].mean(), valid)
            setting = self.decode(z)
            curve = response_db(setting, self.centers_hz)
        return Heard(z, setting, curve, error)

    def _refined(self, setting: F64, wanted_db: F64, valid: NDArray[np.bool_]) -> F64:
        """The latent of a setting near this one that explains the deviation better: analysis by synthesis.

        The network finds the neighbourhood, where a fit alone would take bands for one another.
        """
        hz = self.centers_hz[valid]
        weights = np.minimum(1.0, hz / 500.0)  # the power of noise scatters more in narrow bands
        return self.encode(fit(wanted_db[valid], hz, start=setting, weights=weights, stay=1e-2, rounds=4)[0])

    def _unexplained(self, left_db: F64, valid: NDArray[np.bool_]) -> float:
        """What a setting leaves of the deviation it should explain, as a mean absolute difference in dB.

        Where the filter is all that makes a sound deviate, little is left; more says that it is not, however sure
        the network is. Below 150 Hz short noise differs by itself.
        """
        judged = valid & (self.centers_hz > 150.0)
        if judged.sum() < 4:
            return float("inf")
        left = left_db[judged]
        return float(np.abs(left - left.mean()).mean())

    def word(self, name: str) -> Word:
        """The word called `name`. Raises ParameterError with near words."""
        if name not in self.words:
            some = sorted(self.words, key=lambda w: -self.words[w].count)
            hint = near(name, self.words) or f"; known are {', '.join(some[:12])} …"
            raise ParameterError(f"the adaptive EQ does not know the word {name!r}{hint}")
        return self.words[name]


def features(deviation_db: F64, valid: NDArray[np.bool_]) -> F32:
    """What the audio encoder takes [shape=(2 bands,)]: deviations in 10 dB, and which bands are known."""
    known = valid.astype(np.float32)
    return np.concatenate([np.clip(deviation_db / 10.0, -4.0, 4.0).astype(np.float32) * known, known], axis=-1)


# ---- packages --------------------------------------------------------------------------------


def load(folder: str | os.PathLike[str]) -> Model:
    """A model package, its files checked against the manifest. Raises FileError."""
    base = Path(folder)
    manifest = base / MANIFEST
    try:
        about = json.loads(read_text(manifest))
    except (json.JSONDecodeError, RecursionError) as e:
        raise FileError(f"{manifest}: is not JSON: {e}") from None
    if not isinstance(about, dict) or about.get("schema") != SCHEMA or about.get("kind") != "adaptive-eq":
        raise FileError(f"{manifest}: is no adaptive EQ model of schema {SCHEMA}")
    for name, wanted in dict(about.get("sha256", {})).items():
        if Path(name).name != name:
            raise FileError(f"{manifest}: names a file outside its folder: {name!r}")
        found = hashlib.sha256(read_bytes(base / name, _MOST_BYTES)).hexdigest()
        if found != wanted:
            raise FileError(f"{base / name}: is not the file the manifest was written for (sha256 differs)")
    try:
        return Model(read_arrays(base / WEIGHTS), about)
    except (KeyError, TypeError, ValueError, IndexError) as e:
        if isinstance(e, FileError):
            raise
        raise FileError(f"{base}: the model does not fit together: {e}") from None


@functools.cache
def default() -> Model:
    """The model that comes with the package; loaded once."""
    return load(DEFAULT)
