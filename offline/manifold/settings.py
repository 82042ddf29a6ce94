"""Settings of the commands: presets, TOML files and single options, checked, with one line for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..config import ConfigError, parse, read_toml
from .spec import DataSpec, RunSpec
from .spec import preset as find


def data_spec(asked: dict[str, Any]) -> DataSpec:
    """What `cspace manifold data` asks for, checked."""
    try:
        return DataSpec.model_validate(asked)
    except ValidationError as e:
        raise ConfigError(_first(e)) from None


def run_spec(kind: str, preset: str | None, folder: Path | None, frames: str, **more: Any) -> RunSpec:
    """The preset with these data settings; what is wrong in one line."""
    try:
        return find(preset or "manifold", kind=kind, folder=folder, frames=frames, **more)
    except ValidationError as e:
        raise ConfigError(_first(e)) from None


def replaced(spec: RunSpec, part: str, values: dict[str, Any]) -> RunSpec:
    """`spec` with values of one part replaced, checked as a whole."""
    whole = spec.model_dump()
    whole[part] |= values
    try:
        return RunSpec.model_validate(whole)
    except ValidationError as e:
        raise ConfigError(_first(e)) from None


def loaded(path: Path, folder: Path | None) -> RunSpec:
    """A RunSpec from TOML; the folder of recordings may be given apart."""
    table = read_toml(path)
    if folder is not None:
        table.setdefault("data", {})["folder"] = str(folder)
    return parse(RunSpec, table, str(path))


def _first(error: Any) -> str:
    """The first thing pydantic found, as `data.kind is 'x': …`."""
    one = error.errors()[0]
    where = ".".join(str(p) for p in one["loc"])
    message = str(one["msg"]).removeprefix("Value error, ")
    return f"{where} is {one['input']!r}: {message}" if where else message


def without_path(table: dict[str, Any]) -> dict[str, Any]:
    """Data settings with the folder's name alone, for files that go elsewhere."""
    if table.get("folder"):
        table["folder"] = Path(table["folder"]).name
    return table
