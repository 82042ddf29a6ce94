"""The files that a chain is made from: plugins, models, impulse responses, arrays. Thread: control."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..plugins.external import vst3_path
from .errors import CspaceError

if TYPE_CHECKING:
    from .chain import Chain

MAX_FILES = 1000  # in a model package or a plugin's folder


def inputs_of(chain: Chain) -> list[Path]:
    """Every file that the chain was read from, all in packages and plugin folders too: no output may replace one."""
    found = [*chain.read_from, *(path for slot in chain.slots for path in files_of(slot.plugin))]
    return [p for path in found for p in itertools.islice(all_in(path), MAX_FILES) if p.is_file()]


def files_of(plugin: object) -> list[Path]:
    """The files and folders a plugin was made from, those of plugins inside it too."""
    found = [getattr(plugin, n, None) for n in ("package", "impulse_response_filename")]
    paths = [Path(p) for p in found if isinstance(p, (str, os.PathLike))]
    elsewhere = type(plugin).__module__.startswith("pedalboard")
    if elsewhere and hasattr(type(plugin), "get_plugin_names_for_file"):  # pedalboard keeps no path of it
        with contextlib.suppress(CspaceError):
            paths.append(vst3_path(plugin))
    inside = plugin if elsewhere and isinstance(plugin, Iterable) else ()
    return paths + [p for child in inside for p in files_of(child)]


def all_in(path: Path) -> Iterator[Path]:
    """A file, or a folder and all that is in it, what links lead to as well."""
    yield path
    for at, folders, files in os.walk(path, followlinks=True):
        for name in sorted([*folders, *files]):
            yield Path(at, name)
