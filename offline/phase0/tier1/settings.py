"""Settings of a run: the defaults, a YAML file over them, single values over that; checked as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...config import ConfigError, parse
from ..config import put, read_yaml
from .spec import Tier1Spec


def load(path: Path | None, sets: Sequence[str] = (), **options: Any) -> Tier1Spec:
    """The settings of a YAML file with `sets` ("train.max_steps=500") and options ("data__slice") over them.

    Options that are None are left alone. Raises ConfigError naming key, value and what is allowed.
    """
    data: dict[str, Any] = {} if path is None else read_yaml(path)
    for entry in sets:
        key, found, value = entry.partition("=")
        if not found:
            raise ConfigError(f"--set {entry!r}: must be key=value, such as train.max_steps=500")
        put(data, key.strip().split("."), _value(value), f"--set {entry}")
    for name, value in options.items():
        if value is not None:
            put(data, name.split("__"), value, f"--{name}")
    return parse(Tier1Spec, data, "settings" if path is None else str(path))


def _value(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ConfigError(f"--set: {text!r} is not a value: {' '.join(str(e).split())}") from None
