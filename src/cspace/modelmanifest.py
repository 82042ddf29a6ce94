"""`model.json`: what is known of a streaming model, as types, and read from JSON with every entry checked.

The entries are described in docs/neural.md.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .plugins._errors import FileError, near

FORMAT = "cspace-model"
SCHEMA = 1
MANIFEST = "model.json"
MODEL = "model.onnx"
MAX_HOP = 65_536
MAX_CHANNELS = 64
MAX_STATE_VALUES = 1 << 26  # 256 MB of state is no streaming model any more
# Words of every hosted model; its own parameters must be called something else.
RESERVED = frozenset(
    """
    package model wet drop_rate drop_seed conceal spare_ms
    type name bypass class path plugin_name
    process reset tap update take info latency_samples tail_samples native_name save_state load_state to_dict manifest
    check offline_stage slot_name staged
    file_of file_words from_file get_array get_param registry set_array set_param to_file
    """.split()  # noqa: SIM905 - a column of quoted words is harder to read
)
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,31}")


class PackageError(FileError):
    """A model package cannot be used; the message names the folder, the thing and the reason."""


@dataclass(frozen=True)
class Tensor:
    """A float32 input or output of the graph. `shape` is fixed: every dimension a number."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class State:
    """What a hop hands on to the next: `output` of one run is `input` of the next; zeros at the start."""

    input: str
    output: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Parameter:
    """A number the model takes besides audio: input tensor of one value, constant within a hop."""

    name: str
    input: str
    min: float
    max: float
    default: float
    unit: str = ""
    smooth_ms: float = 20.0
    shape: tuple[int, ...] = (1,)
    doc: str = ""


@dataclass(frozen=True)
class Golden:
    """Files of input and output [shape=(channels, frames)], frames whole hops, from a fresh state."""

    input: str
    output: str
    tolerance: float = 1e-5  # largest difference of any sample, full scale 1.0
    parameters: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """`model.json`.

    `latency_samples` is the delay of the output against the input when hops are joined end to end: 0
    for a causal model, its look-ahead otherwise. What collecting a hop costs comes on top, in the host.
    """

    name: str
    sample_rate: int
    hop: int
    channels: int
    latency_samples: int
    audio_in: Tensor
    audio_out: Tensor
    states: tuple[State, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    goldens: tuple[Golden, ...] = ()
    tail_samples: int = 0
    description: str = ""
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)  # free for the model's own tools
    files: dict[str, str] = field(default_factory=dict)  # name -> sha256, of every file but model.json

    def to_json(self) -> dict[str, Any]:
        """What stands in the file."""
        return {"format": FORMAT, "schema": SCHEMA, **asdict(self)}


# ---- reading it ----------------------------------------------------------------------------


def parse(text: str, where: str) -> Manifest:
    """The manifest in a JSON text, every entry checked; `where` stands for the package in errors."""
    return _Reader(where).manifest(entries(text, where, MANIFEST, "CSpace model", FORMAT, SCHEMA))


def entries(text: str, where: str, manifest: str, what: str, kind: str, schema: int) -> dict[str, Any]:
    """The entries of a manifest of this format and schema, not looked at further. Raises PackageError.

    Parameters
    ----------
    text : JSON
    where, manifest, what : the package, the file in it and what it is of, as errors name them
    kind, schema : what its entries `format` and `schema` must be
    """

    def no_json(word: str) -> Any:
        raise PackageError(f"{where}: {manifest}: {word} is no JSON")

    try:
        data = json.loads(text, parse_constant=no_json)
    except (json.JSONDecodeError, RecursionError) as e:
        raise PackageError(f"{where}: {manifest} is not valid JSON: {e}") from None
    if not isinstance(data, dict) or data.get("format") != kind:
        raise PackageError(f"{where}: {manifest} is not the manifest of a {what} (no format = {kind!r})")
    found = data.get("schema")
    if found != schema or isinstance(found, bool):
        newer = isinstance(found, int) and found > schema
        fix = "update cspace" if newer else "export the model again with this version"
        raise PackageError(f"{where}: {manifest} has schema {found!r}, this version reads {schema}; {fix}")
    return data


def shape_text(shape: Iterable[int | str | None]) -> str:
    """A shape as people write it; ? where any size fits."""
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"


class _Reader:
    """Takes entries out of parsed JSON, each with its type and range."""

    def __init__(self, where: str):
        self.where = where

    def fail(self, message: str) -> PackageError:
        return PackageError(f"{self.where}: {MANIFEST}: {message}")

    def keys(self, data: Any, kind: type, label: str, ignore: Iterable[str] = ()) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise self.fail(f"{label} must be an object")
        known = [f.name for f in fields(kind)]
        for key in data:
            if key not in known and key not in ignore:
                raise self.fail(f"{label} has the unknown entry {key!r}{near(key, known)}")
        return data

    def number(
        self, d: dict[str, Any], key: str, low: float, high: float, *, whole: bool = True, default: Any = None
    ) -> Any:
        value = d.get(key, default)
        ok = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not ok or not (math.isfinite(value) and low <= value <= high):
            raise self.fail(
                f"{key} = {value!r} is not allowed, use {'a whole number from ' if whole else ''}{low:g} to {high:g}"
            )
        return value if whole else float(value)

    def text(self, d: dict[str, Any], key: str, default: str | None = None) -> str:
        value = d.get(key, default)
        if not isinstance(value, str) or (default is None and not value) or len(value) > 10_000:
            raise self.fail(f"{key} must be a text")
        return value

    def table(self, d: dict[str, Any], key: str) -> dict[str, Any]:
        value = d.get(key, {})
        if not isinstance(value, dict):
            raise self.fail(f"{key} must be an object")
        return value

    def items(self, d: dict[str, Any], key: str) -> list[Any]:
        value = d.get(key, [])
        if not isinstance(value, list) or len(value) > 1000:
            raise self.fail(f"{key} must be a list")
        return value

    def shape(self, d: dict[str, Any], default: Any = None) -> tuple[int, ...]:
        value = d.get("shape", default)
        good = isinstance(value, (list, tuple)) and len(value) <= 8
        if not good or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in value):
            raise self.fail(f"shape = {value!r} must be a list of whole numbers from 1")
        if math.prod(value) > MAX_STATE_VALUES:
            raise self.fail(f"shape = {value!r} holds more than {MAX_STATE_VALUES} values")
        return tuple(value)

    def manifest(self, data: dict[str, Any]) -> Manifest:
        d = self.keys(data, Manifest, "the manifest", ("format", "schema"))
        name = self.text(d, "name")
        if not _NAME.fullmatch(name):
            raise self.fail(f"name = {name!r} is not allowed, use up to 64 of a-z, 0-9, ., - and _")
        hop = self.number(d, "hop", 1, MAX_HOP)
        channels = self.number(d, "channels", 1, MAX_CHANNELS)
        return Manifest(
            name=name,
            sample_rate=self.number(d, "sample_rate", 8_000, 192_000),
            hop=hop,
            channels=channels,
            latency_samples=self.number(d, "latency_samples", 0, 10_000_000),
            tail_samples=self.number(d, "tail_samples", 0, 1 << 40, default=0),
            audio_in=self.audio(d, "audio_in", channels, hop),
            audio_out=self.audio(d, "audio_out", channels, hop),
            states=tuple(self.state(s) for s in self.items(d, "states")),
            parameters=self.parameters(self.items(d, "parameters")),
            goldens=tuple(self.golden(g) for g in self.items(d, "goldens")),
            description=self.text(d, "description", ""),
            licence=self.text(d, "licence"),
            training=self.table(d, "training"),
            metrics=self.table(d, "metrics"),
            extra=self.table(d, "extra"),
            files=self.files(d),
        )

    def audio(self, d: dict[str, Any], key: str, channels: int, hop: int) -> Tensor:
        t = self.keys(d.get(key), Tensor, key)
        shape = self.shape(t)
        full = tuple(n for n in shape if n != 1)
        if not shape or shape[-1] != hop or full != tuple(n for n in (channels, hop) if n != 1):
            raise self.fail(
                f"{key} has shape {shape_text(shape)}; with {channels} channels and a hop of {hop} it must be "
                f"({channels}, {hop}), or that with ones in front"
            )
        return Tensor(self.text(t, "name"), shape)

    def state(self, data: Any) -> State:
        s = self.keys(data, State, "a state")
        return State(self.text(s, "input"), self.text(s, "output"), self.shape(s))

    def parameters(self, listed: list[Any]) -> tuple[Parameter, ...]:
        found = tuple(self.parameter(p) for p in listed)
        names = [p.name for p in found]
        for name in names:
            if names.count(name) > 1:
                raise self.fail(f"there are two parameters called {name!r}")
        return found

    def parameter(self, data: Any) -> Parameter:
        p = self.keys(data, Parameter, "a parameter")
        name = self.text(p, "name")
        if not _PARAMETER.fullmatch(name) or name in RESERVED:
            raise self.fail(
                f"parameter name {name!r} is not allowed, use up to 32 of a-z, 0-9 and _, and none of the host's words"
            )
        low = self.number(p, "min", -1e9, 1e9, whole=False)
        high = self.number(p, "max", low, 1e9, whole=False)
        shape = self.shape(p, [1])
        if math.prod(shape) != 1:
            raise self.fail(f"parameter {name!r} has shape {shape_text(shape)}; it must hold one value")
        return Parameter(
            name=name,
            input=self.text(p, "input"),
            min=low,
            max=high,
            default=self.number(p, "default", low, high, whole=False),
            unit=self.text(p, "unit", ""),
            smooth_ms=self.number(p, "smooth_ms", 0, 10_000, whole=False, default=20.0),
            shape=shape,
            doc=self.text(p, "doc", ""),
        )

    def golden(self, data: Any) -> Golden:
        g = self.keys(data, Golden, "a golden")
        values = self.table(g, "parameters")
        for key in values:
            self.number(values, key, -1e9, 1e9, whole=False)
        tolerance = self.number(g, "tolerance", 0, 1, whole=False, default=1e-5)
        return Golden(
            self.text(g, "input"), self.text(g, "output"), tolerance, {k: float(v) for k, v in values.items()}
        )

    def files(self, d: dict[str, Any]) -> dict[str, str]:
        files = self.table(d, "files")
        for name, sha in files.items():
            # One folder, no path: a package cannot reach out of itself.
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", name) or name == MANIFEST:
                raise self.fail(f"files names {name!r}; only plain file names in the package's folder are allowed")
            if not isinstance(sha, str) or not re.fullmatch(r"[0-9a-f]{64}", sha):
                raise self.fail(f"files: the sha256 of {name} is not 64 hexadecimal digits")
        if MODEL not in files:
            raise self.fail(f"files does not list {MODEL}")
        for g in self.items(d, "goldens"):
            for key in ("input", "output"):
                if isinstance(g, dict) and g.get(key) not in files:
                    raise self.fail(f"files does not list the golden {g.get(key)!r}")
        return files
