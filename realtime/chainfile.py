"""Chain files: a chain as TOML, to read, edit and share. Presets have the same form.

    title = "Warm room"
    sample_rate = 48000        # optional: the rate the chain runs at
    block = 64                 # optional: live block size

    [[processor]]
    type = "eq"                # a native processor, "pedalboard" or "vst3"
    name = "tone"              # optional: its OSC name, by default the type
    bypass = false             # optional
    low_gain_db = 3.0          # parameters, as in `cspace plugins`

    [[processor]]
    type = "pedalboard"
    class = "Reverb"
    room_size = 0.4

    [[processor]]
    type = "onnx"
    package = "models/mine"    # a model package, relative to this file
    wet = 0.8

    [[processor]]
    type = "vst3"
    path = "Fancy.vst3"        # relative to this file
    plugin_name = "Fancy"      # optional: for files with several plugins
    state = "VkMyI…"           # optional: the plugin's own state in base64, or the name of a .npy file of bytes

    [[processor]]
    type = "pedalboard"
    class = "Mix"              # "Mix", "Chain" or "Pedalboard": plugins inside are tables on one line
    plugins = [{ class = "Reverb", room_size = 0.4 }, { type = "dry" }]

    [[processor]]
    type = "pedalboard"
    class = "Convolution"
    impulse_response = "hall.wav"  # relative to this file, or a .npy file beside it, with impulse_response_rate

`raw_values` of a VST3 plugin are its parameters as it keeps them, 0 to 1; a parameter written beside them
counts where it differs. Parameters whose name is a key of the file (`bypass`) stand in a table `parameters`.

An array (weights, per-band gains) is a list of numbers, or the name of a `.npy` file beside the
chain file. Every error names the file, the line and what is allowed. Thread: control.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from .. import plugins
from ..arrayfile import read_npy
from ..plugins._base import NativePlugin
from ..plugins._params import to_python
from ..plugins.external import STATE_KEYS, external_from, set_externals
from ..textfile import MOST_SETTINGS_BYTES, read_text
from ..wholefile import write_text
from .besidefile import Beside
from .chain import Chain
from .errors import ChainFileError, CspaceError, FileError, near
from .externaltext import dump_external, load_external
from .slot import Moving, Slot
from .tomltext import Places, check_sizes, check_text, dump_table, dump_value
from .trust import Trust, leads_out, named_files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TOP = ("title", "sample_rate", "block", "processor")
_INLINE = 64  # numbers of an array kept in the text; longer ones go to a .npy file
_WORDS = ("type", "name", "bypass")
_ELSEWHERE = {"pedalboard": "class", "vst3": "path"}  # and the key that each needs


# ---- load ------------------------------------------------------------------------------------


def load(path: str | os.PathLike[str], *, trust: Trust | None = None) -> Chain:
    """The chain in a TOML file. Raises ChainFileError.

    The file may name plugins and models anywhere, as its user chose it; with `trust` only those that it allows.
    """
    file = Path(path)
    try:
        text = read_text(file, most_bytes=MOST_SETTINGS_BYTES)
    except FileError as e:
        raise ChainFileError(str(e)) from None
    chain = loads(text, name=str(file), folder=file.parent, trust=trust)
    chain.read_from = (file.absolute(), *chain.read_from)
    return chain


def loads(
    text: str,
    *,
    name: str = "<text>",
    folder: str | os.PathLike[str] | None = None,
    trust: Trust | None = None,
) -> Chain:
    """The chain in a TOML text; `name` stands for the file in errors, `folder` holds its arrays.

    `trust` as in `load`.
    """
    data, places = _parsed(text, name)
    return _Loader(data, places, name, Path(folder) if folder is not None else None, trust).chain()


def _parsed(text: str, name: str) -> tuple[dict[str, Any], Places]:
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError) as e:
        raise ChainFileError(f"{name}: is not valid TOML: {e}") from None
    except RecursionError:
        raise ChainFileError(f"{name}: is nested too deeply") from None
    places = Places(text)
    check_sizes(data, places, name)
    return data, places


class _Loader:
    """One pass over the parsed file; knows where each key stands."""

    def __init__(self, data: dict[str, Any], places: Places, file: str, folder: Path | None, trust: Trust | None):
        self.trust = trust
        self.data = data
        self.places = places
        self.file = file
        self.folder = folder
        self.arrays: list[Path] = []  # that were read

    def fail(self, message: str, index: int | None = None, key: str | None = None) -> ChainFileError:
        line = self.places.line(index, key)
        return ChainFileError(f"{self.file}{f', line {line}' if line else ''}: {message}")

    @contextlib.contextmanager
    def _at(self, index: int, key: str | None) -> Iterator[None]:
        """Adds file and line to errors raised inside."""
        try:
            yield
        except ChainFileError:
            raise
        except CspaceError as e:
            raise self.fail(str(e), index, key) from None

    def chain(self) -> Chain:
        for key in self.data:
            if key not in _TOP:
                known = near(key, _TOP) or f"; use {', '.join(_TOP)}"
                raise self.fail(f"unknown key {key!r}{known}", key=key)
        title = self.data.get("title", "")
        if not isinstance(title, str):
            raise self.fail("title must be a text", key="title")
        rate = self._number("sample_rate", 8_000, 192_000)
        block = self._number("block", 1, 8192)
        if block is not None and block != int(block):
            raise self.fail(f"block = {block} must be a whole number", key="block")
        chain = Chain(title=title, sample_rate=rate, block=None if block is None else int(block))
        tables = self.data.get("processor", [])
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
            raise self.fail("processors are written as [[processor]] tables", key="processor")
        for i, table in enumerate(tables):
            self._add(chain, i, table)
        chain.read_from = tuple(self.arrays)
        return chain

    def _number(self, key: str, low: float, high: float) -> float | None:
        value = self.data.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self.fail(f"{key} = {_short(value)} is not allowed, use {low:g} to {high:g}", key=key)
        return float(value)

    def _add(self, chain: Chain, i: int, table: dict[str, Any]) -> None:
        kind = table.get("type")
        hosted = plugins.hosted_by_name()
        kinds = [*plugins.by_name(), *plugins.composed_by_name(), *hosted, "pedalboard", "vst3"]
        if kind is None:
            raise self.fail("a processor needs a type", i)
        if not isinstance(kind, str) or kind not in kinds:
            known = near(str(kind), kinds) or f"; use one of {', '.join(kinds)}"
            raise self.fail(f"unknown processor type {_short(kind)}{known}", i, "type")
        name, bypass = table.get("name"), table.get("bypass", False)
        if name is not None and not isinstance(name, str):
            raise self.fail(f"name = {_short(name)} must be a text", i, "name")
        if not isinstance(bypass, bool):
            raise self.fail(f"bypass = {_short(bypass)} is not allowed, use true or false", i, "bypass")
        own = hosted[kind].file_words if kind in hosted else ()
        if kind in _ELSEWHERE:
            own = (_ELSEWHERE[kind], *STATE_KEYS, "parameters")
        words = _WORDS + own
        settings = {k: v for k, v in table.items() if k not in words}
        try:
            plugin = self._make(kind, i, table, settings)
        except ChainFileError:
            raise
        except CspaceError as e:
            raise self.fail(str(e), i, own[0] if own else None) from None
        except OSError as e:  # as many files are open as may be: an import fails, too
            raise self.fail(f"cannot be made: {e.strerror or e}", i) from None
        try:
            chain.insert(len(chain), plugin, name=name, bypass=bypass)
        except CspaceError as e:
            raise self.fail(str(e), i, "name") from None

    def _make(self, kind: str, i: int, table: dict[str, Any], settings: dict[str, Any]) -> Any:
        self._check_trust(kind, i, table)
        if kind in _ELSEWHERE:
            return self._external(kind, i, table, settings)
        if kind in plugins.hosted_by_name():
            hosted = plugins.hosted_by_name()[kind]
            words = {w: self._text(table, i, w) for w in hosted.file_words}
            return self._set(hosted.from_file(words, self.folder), i, settings)
        return self._set((plugins.by_name() | plugins.composed_by_name())[kind](), i, settings)

    def _external(self, kind: str, i: int, table: dict[str, Any], settings: dict[str, Any]) -> Any:
        self._text(table, i, _ELSEWHERE[kind])
        if "plugin_name" in table:
            self._text(table, i, "plugin_name")
        with self._at(i, _ELSEWHERE[kind]):
            plugin = external_from(load_external(table, lambda key, name: self._array(i, key, name)), self.folder)
        for key, value in settings.items():
            with self._at(i, key):
                set_externals(plugin, {key: value})
        return plugin

    def _check_trust(self, kind: str, i: int, table: dict[str, Any]) -> None:
        """Refuses what a preset from elsewhere may not bring along: code, and files outside its folder."""
        if self.trust is None:
            return
        folder = self.folder or Path()
        if kind in plugins.hosted_by_name():
            hosted = plugins.hosted_by_name()[kind]
            words = {w: self._text(table, i, w) for w in hosted.file_words}
            path = hosted.file_of(words, folder)
            self._check_file(i, hosted.file_words[0], path, code=False)
        elif kind in ("pedalboard", "vst3"):
            for key, value, code in named_files(table):
                self._check_file(i, key, folder / value, code=code)

    def _check_file(self, i: int, key: str, path: Path | None, *, code: bool) -> None:
        assert self.trust is not None
        why = self.trust.why_not(path, code=code) if path is not None else ""
        if why:
            raise self.fail(
                f"{key} = {_short(str(path))} cannot be loaded by a remote control: {why}; "
                "load this chain once from the command line or Python",
                i,
                key,
            )

    def _set(self, plugin: NativePlugin, i: int, settings: dict[str, Any]) -> NativePlugin:
        checked: dict[str, Any] = {}
        for key, value in settings.items():
            with self._at(i, key):
                checked[key] = self._array(i, key, value) if key in plugin._array_infos else value
                plugin._twin().update(**{key: checked[key]})
        plugin.update(**checked)
        return plugin

    def _text(self, table: dict[str, Any], i: int, key: str) -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value or "\0" in value:
            kind = ("an " if table["type"][0] in "aeiou" else "a ") + table["type"]
            raise self.fail(f'{kind} processor needs {key} = "…"', i, key if key in table else "type")
        return value

    def _array(self, i: int, key: str, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        parts = PurePosixPath(value).parts
        if self.folder is None or not value.endswith(".npy") or len(parts) != 1 or "\0" in value:
            raise self.fail(f"{key} = {_short(value)} must name a .npy file in the folder of the chain file", i, key)
        file = self.folder / value
        if self.trust is not None and leads_out(file, self.folder):
            raise self.fail(f"{key}: {value} leads out of the preset folder", i, key)
        self.arrays.append(file.absolute())
        try:
            return read_npy(file)
        except FileError as e:
            raise self.fail(f"{key}: {e}", i, key) from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


# ---- save ------------------------------------------------------------------------------------

_saving = threading.Lock()  # two saves of one file: neither may tidy away what the other has just written


def save(chain: Chain, path: str | os.PathLike[str], moving: Mapping[Slot, Moving] | None = None) -> None:
    """Writes the chain as TOML, complete or not at all; long arrays go to `.npy` files beside it.

    The arrays get names that are new, the TOML takes its place last, and arrays of the earlier save that
    nothing names any more are removed then: whatever fails before leaves the old chain as it was. A link
    stays, and the file it leads to is replaced. `moving` is written for what can move in a slot, where it was
    noted before. Raises ChainFileError for a plugin that cannot be written
    down, and for files.
    """
    file = Path(path)
    beside = Beside(file)
    text = dumps(chain, beside=beside, folder=file.parent, moving=moving)
    with _saving:
        before = beside.named_before()
        try:
            beside.write()
            write_text(file, text)
        except FileError as e:
            raise ChainFileError(str(e)) from None
        finally:
            beside.tidy(before)


def dumps(
    chain: Chain,
    *,
    beside: Beside | None = None,
    folder: Path | None = None,
    moving: Mapping[Slot, Moving] | None = None,
) -> str:
    """The chain as TOML text. Arrays of more than 64 numbers are put into `beside` and named in the text.

    Model packages inside `folder` are written relative to it. Only parameters that differ from their
    defaults are written. Raises ChainFileError for what no chain file can hold, such as a path that is no UTF-8.
    """
    head: dict[str, Any] = {"title": chain.title} if chain.title else {}
    if chain.sample_rate is not None:
        head["sample_rate"] = chain.sample_rate
    if chain.block is not None:
        head["block"] = chain.block
    out = [f"{k} = {dump_value(v)}\n" for k, v in head.items()]
    out += [
        dump_table("processor", _table(s, beside, folder, (moving or {}).get(s) or s.moving())) for s in chain.slots
    ]
    text = "\n".join(["".join(out[: len(head)]), *out[len(head) :]]).lstrip("\n")
    check_text(text)
    _parsed(text, "what was to be written")  # containers in containers without end could not be read again
    return text


def _table(slot: Slot, beside: Beside | None, folder: Path | None, moving: Moving) -> dict[str, Any]:
    native = slot.native
    head: dict[str, Any] = {"name": slot.name}
    if moving.bypass:
        head["bypass"] = True
    if native is None:
        return dump_external(slot.plugin, slot.name, head, beside, folder)
    body: dict[str, Any] = dict(native.to_file(folder)) if isinstance(native, plugins.HostedPlugin) else {}
    for name, info in native._params.items():
        value = moving.values.get(name, native._settled()[name])
        if value != info["default"]:
            body[name] = to_python(info, value)
    for name, data in native._arrays.items():
        if data.size <= _INLINE:
            body[name] = data.tolist()
        elif beside is None:
            raise ChainFileError(f"{slot.name}.{name} has {data.size} numbers, too many for text; save to a file")
        else:
            body[name] = beside.put(f"{slot.name}.{name}", data)
    return {"type": native.native_name, **head, **body}
