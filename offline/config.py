"""Settings of the laboratory: one TOML file for all its commands, checked as a whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..plugins._errors import CspaceError, FileError, near
from ..textfile import MOST_SETTINGS_BYTES, read_text
from .bank import BankSpec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


Model = TypeVar("Model", bound=BaseModel)


class ConfigError(CspaceError, ValueError):
    """A settings file is wrong; the message names file, key, value and what is allowed."""


class EsnSpec(BaseModel):
    """The echo state network of the studies (defaults of the original, with true eigenvalues)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: int = Field(64, ge=1, le=4096)
    seed: int = Field(42, ge=0)
    spectral_radius: float = Field(0.99, ge=0.0, le=2.0)
    density: float = Field(0.1, ge=0.0, le=1.0)
    leak_low: float = Field(1e-4, gt=0.0, le=1.0)
    leak_high: float = Field(1.0, gt=0.0, le=1.0)


class LabConfig(BaseModel):
    """What every command of `cspace lab` starts from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_rate: int = Field(24_000, ge=8_000, le=192_000)
    seed: int = Field(42, ge=0)
    #: Samples shown in pictures: 0.25 s.
    window_samples: int = Field(6_000, ge=64)
    results: Path = Path("results")
    bank: BankSpec = BankSpec()
    esn: EsnSpec = EsnSpec()


def load_config(path: Path | None = None) -> LabConfig:
    """The settings of a TOML file; without one, the defaults. Raises ConfigError."""
    if path is None:
        return LabConfig()
    return parse(LabConfig, read_toml(path), str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a TOML file. Raises ConfigError."""
    try:
        return tomllib.loads(read_text(path, most_bytes=MOST_SETTINGS_BYTES))
    except FileError as e:
        raise ConfigError(str(e)) from None
    except tomllib.TOMLDecodeError as e:
        raise ConfigError(f"{path}: is not TOML: {e}") from None


def to_toml(config: BaseModel) -> str:
    """The settings as TOML text that `load_config` reads back to the same."""
    lines: list[str] = []
    tables: list[tuple[str, dict[str, Any]]] = [("", config.model_dump(mode="json"))]
    while tables:
        name, table = tables.pop(0)
        if name:
            lines.append(f"\n[{name}]")
        for key, value in table.items():
            if isinstance(value, dict):
                tables.append((f"{name}.{key}" if name else key, value))
            else:
                lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"


def parse(model: type[Model], data: dict[str, Any], where: str) -> Model:
    """`data` as a pydantic `model`; all that is wrong in one ConfigError, key by key."""
    try:
        return model.model_validate(data)
    except ValidationError as e:
        raise ConfigError(f"{where}: " + "; ".join(_line(model, d) for d in e.errors())) from None


def _line(model: type[BaseModel], error: Any) -> str:
    key = ".".join(str(p) for p in error["loc"])
    if error["type"] == "extra_forbidden":
        *outer, last = error["loc"]
        for part in outer:
            inner = model.model_fields[str(part)].annotation
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
        names = list(model.model_fields)
        return f"unknown key {key}{near(str(last), names)}; known here: {', '.join(names)}"
    return f"{key} is {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
