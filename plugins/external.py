"""Plugins from elsewhere: pedalboard's own effects and VST3 files, their parameters and their settings as data.

How they run in a chain stands in `externalstage`. pedalboard is GPLv3 and therefore an optional
extra: `pip install 'cspace[pedalboard]'`; nothing here imports it before a chain holds one of its plugins.
Thread: control.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import numpy as np

from .. import _native
from ..regularfile import check_regular
from ._errors import CspaceError, MissingExtraError, ParameterError, near
from .externalgate import gate_of
from .externalimpulse import check_file, check_length, check_rate
from .externalthread import run_there

_PATH = "__cspace_path__"  # where we note the file of a VST3 plugin: pedalboard itself does not keep it
_MAPS = Path("/proc/self/maps")


def require_pedalboard() -> Any:
    """The pedalboard module, or MissingExtraError that says how to get it."""
    try:
        return importlib.import_module("pedalboard")
    except ImportError as e:
        raise MissingExtraError(
            f"this needs pedalboard ({e}); install it with: pip install 'cspace[pedalboard]'"
        ) from None


def pedalboard_class(name: str) -> type:
    """The effect class of pedalboard called `name`, as in chain files. Raises ParameterError."""
    module = require_pedalboard()
    bases = (module.Plugin, module.PluginContainer, module.ExternalPlugin)
    known = sorted(
        n for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, module.Plugin) and c not in bases
    )
    if name not in known:
        raise ParameterError(f"pedalboard has no effect {name!r}{near(name, known)}")
    return getattr(module, name)  # type: ignore[no-any-return]


def load_vst3(path: str | Path, plugin_name: str | None = None, **parameters: Any) -> Any:
    """Loads a VST3 file as a pedalboard plugin. Raises ParameterError naming file and reason."""
    module = require_pedalboard()
    file = Path(path)
    if not file.exists():
        raise ParameterError(f"there is no VST3 file {str(path)!r}")
    if not file.is_dir():  # a bundle is a folder
        check_regular(file)
    file = _as_named(file)
    try:
        # Loading a file built with -ffast-math turns denormals off for the whole thread.
        plugin = run_there(
            lambda: _native.keep_float_mode(
                lambda: module.load_plugin(str(file), parameter_values=parameters, plugin_name=plugin_name)
            )
        )
    except CancelledError:
        raise ParameterError(f"VST3 file {str(path)!r} was not loaded: the host ends") from None
    except (ImportError, ValueError, RuntimeError, AttributeError) as e:
        why = str(e)
        if "on the main thread" in why:
            why = "pedalboard loads VST3 files only on the thread that loaded the first one"
        raise ParameterError(f"VST3 file {str(path)!r} cannot be used: {why}") from None
    if plugin_name is not None and plugin.name != plugin_name:  # pedalboard takes any name where a file has one plugin
        raise ParameterError(f"VST3 file {str(path)!r} cannot be used: it holds {plugin.name!r}, not {plugin_name!r}")
    vars(plugin)[_PATH] = str(file)
    return plugin


def is_external(plugin: Any) -> bool:
    """Whether `plugin` has pedalboard's `process(audio, sample_rate, buffer_size, reset)` and `reset()`."""
    return callable(getattr(plugin, "process", None)) and callable(getattr(plugin, "reset", None))


def external_name(plugin: Any) -> str:
    """The word for `plugin` in chain files and OSC addresses: lower case letters and digits."""
    word = str(getattr(plugin, "name", "") or type(plugin).__name__)
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in word.lower()).strip("_") or "external"


def external_params(plugin: Any) -> dict[str, float | bool | str]:
    """The settable numbers, switches and texts of a pedalboard plugin by name, with their values.

    A value that was set while the plugin is at work is shown at once. Thread: any.
    """
    listed = getattr(plugin, "parameters", None)
    names = (
        list(listed)
        if listed is not None
        else [n for n in dir(type(plugin)) if not n.startswith("_") and isinstance(getattr(type(plugin), n), property)]
    )
    left = gate_of(plugin).left()  # before the plugin is asked: a value moves from here to there
    out: dict[str, float | bool | str] = {}
    for name in names:
        prop = getattr(type(plugin), name, None)
        if isinstance(prop, property) and prop.fset is None:
            continue
        try:
            value = getattr(plugin, name)
        except Exception:  # a property of a foreign plugin may fail in any way; it is then left out
            continue
        shown = _shown(value)
        if shown is not None:
            out[name] = _as(shown, left[name]) if name in left else shown
    return out


def _shown(value: Any) -> float | bool | str | None:
    """A value of a parameter as plain data; None if it is none."""
    if hasattr(value, "name") and not isinstance(value, (int, float, str)):
        value = value.name  # an enum, as in LadderFilter.mode
    if isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) or hasattr(value, "__float__"):
        x = float(value)  # most are float32 inside: 0.3, not 0.30000001192
        return float(str(np.float32(x))) if np.float32(x) == x else x
    return None


def _as(shown: float | bool | str, value: Any) -> float | bool | str:
    """What the plugin will show of `value` in place of `shown`."""
    try:
        data = _shown(type(shown)(value) if isinstance(shown, (bool, float)) else value)
    except (TypeError, ValueError):  # a text for a number, such as "3 dB"
        return str(value)
    return shown if data is None else data


def set_external(plugin: Any, name: str, value: Any) -> None:
    """Sets a parameter of a pedalboard plugin: at once, or after the call it is in. Never waits for that call.

    Raises ParameterError for a wrong name or value. While a call is under way, a value is checked
    against what the plugin declares, or against another plugin of its class. Thread: any.
    """
    value = _taken(plugin, name, value)
    gate_of(plugin).set(name, value, lambda: _put(plugin, name, value), lambda: _check_declared(plugin, name, value))


def check_external(plugin: Any, name: str, value: Any) -> None:
    """Raises ParameterError where `set_external` would, as far as that can be known, and changes nothing."""
    _check_declared(plugin, name, _taken(plugin, name, value))


def _taken(plugin: Any, name: str, value: Any) -> Any:
    """The value to set, a member of an enum for its name. Raises ParameterError for a wrong one."""
    known = external_params(plugin)
    if name not in known:
        raise ParameterError(f"{external_name(plugin)} has no parameter {name!r}{near(name, known)}")
    current = getattr(plugin, name)
    if isinstance(value, str) and not isinstance(current, str) and hasattr(type(current), "__members__"):
        members = type(current).__members__
        if value not in members:
            raise ParameterError(f"{external_name(plugin)}.{name} = {value!r} is not allowed, use {', '.join(members)}")
        return members[value]
    if isinstance(value, float) and not np.isfinite(value):
        raise ParameterError(f"{external_name(plugin)}.{name} = {value} is not allowed")
    return value


def _put(plugin: Any, name: str, value: Any, called: str = "") -> None:
    called = called or external_name(plugin)
    try:
        setattr(plugin, name, value)
    except TypeError:
        raise ParameterError(f"{called}.{name} cannot be set to {value!r}") from None
    except (ValueError, AttributeError, RuntimeError) as e:
        reason = str(e).split("\n")[0]
        raise ParameterError(f"{called}.{name} = {value!r} is not allowed: {reason}") from None


_spares: dict[type, Any] = {}  # of each class of pedalboard one that plays nowhere; None where none can be made
_spares_lock = threading.Lock()


def _check_declared(plugin: Any, name: str, value: Any) -> None:
    """Raises ParameterError for a value outside of what is known of the parameter, without touching the plugin."""
    called = external_name(plugin)
    listed = getattr(plugin, "parameters", None)
    asked = getattr(listed.get(name), "get_raw_value_for", None) if isinstance(listed, Mapping) else None
    if asked is not None:  # VST3
        try:
            asked(value)
        except (TypeError, ValueError, RuntimeError) as e:
            reason = str(e).split("\n")[0]
            raise ParameterError(f"{called}.{name} = {value!r} is not allowed: {reason}") from None
        return
    if type(plugin).__module__.startswith("pedalboard"):
        with _spares_lock:
            if type(plugin) not in _spares:
                try:
                    _spares[type(plugin)] = type(plugin)()
                except Exception:  # such as Convolution, which needs an impulse response
                    _spares[type(plugin)] = None
            spare = _spares[type(plugin)]
            if spare is not None:
                _put(spare, name, value, called)
                return
    if isinstance(getattr(plugin, name), (int, float)) and not isinstance(value, (int, float)):
        raise ParameterError(f"{called}.{name} cannot be set to {value!r}")


def set_externals(plugin: Any, parameters: dict[str, Any]) -> None:
    """Sets those parameters that differ from what the plugin shows: a value shown is rounded, one kept is not."""
    shown = external_params(plugin)
    for name, value in parameters.items():
        if name not in shown or shown[name] != value:
            set_external(plugin, name, value)


# ---- settings as data ------------------------------------------------------------------------


def external_state(plugin: Any) -> dict[str, Any]:
    """All settings of a pedalboard plugin as plain data, for chain files, `pickle` and copies; no sound.

    The dict holds bools, numbers, texts, lists, `bytes` (the state of a VST3 plugin) and float32
    arrays (an impulse response). Its keys: `type` ("pedalboard" or "vst3"), `parameters` and, where they
    apply, `class`, `plugins` (of a container; type "dry" for a None in it), `impulse_response`,
    `impulse_response_rate`, `path`, `plugin_name`, `state`, `raw_values`.
    Raises CspaceError, naming plugin and reason, for one that could not be made again.
    """
    kind = type(plugin).__name__
    if not type(plugin).__module__.startswith("pedalboard"):
        raise CspaceError(f"a {kind} cannot be written down: it is none of pedalboard's own plugins")
    module = require_pedalboard()
    if isinstance(plugin, module.ExternalPlugin):
        return _vst3_state(plugin)
    if getattr(module, kind, None) is not type(plugin):
        raise CspaceError(f"a {kind} cannot be written down: pedalboard does not export such a class")
    state: dict[str, Any] = {"type": "pedalboard", "class": kind}
    if isinstance(plugin, module.PluginContainer):
        state["plugins"] = [{"type": "dry"} if p is None else external_state(p) for p in plugin]
    if hasattr(plugin, "impulse_response_filename"):
        state |= _impulse_response(plugin)
    state["parameters"] = external_params(plugin)
    lost = _arguments(type(plugin)) - _ARGUMENT_KEYS.keys() - state["parameters"].keys()
    if lost:
        raise CspaceError(f"a {kind} cannot be written down: pedalboard does not tell its {', '.join(sorted(lost))}")
    return {k: v for k, v in state.items() if k != "parameters" or v}


def external_from(state: dict[str, Any], folder: Path | None = None) -> Any:
    """A new plugin with the settings of `external_state`; relative paths are taken from `folder`.

    Raises CspaceError for what cannot be made. With type "vst3" this loads the library at `path`:
    code of its own. Do not call it with data that strangers sent.
    """
    rest = dict(state)
    kind = rest.pop("type", "pedalboard")
    if kind == "vst3":
        return _vst3_from(rest, folder)
    if kind != "pedalboard" or not isinstance(rest.get("class"), str):
        raise ParameterError(f'a pedalboard plugin needs class = "…", not {rest.get("class")!r} of type {kind!r}')
    cls = pedalboard_class(rest.pop("class"))
    made: dict[str, Any] = {}
    if "plugins" in rest:
        inner = rest.pop("plugins")
        if not isinstance(inner, list) or not all(isinstance(p, dict) for p in inner):
            raise ParameterError(f"plugins of a {cls.__name__} is not a list of tables, each with a class")
        made["plugins"] = [None if p == {"type": "dry"} else external_from(p, folder) for p in inner]
    if "impulse_response" in rest:
        found = rest.pop("impulse_response")
        if not isinstance(found, str | np.ndarray) or (isinstance(found, str) and ("\0" in found or not found)):
            raise ParameterError(f"impulse_response of a {cls.__name__} is neither a path nor an array")
        made["impulse_response_filename"] = str(_inside(folder, found)) if isinstance(found, str) else found
        if "impulse_response_rate" in rest:
            made["sample_rate"] = check_rate(rest.pop("impulse_response_rate"), "impulse_response_rate")
        if isinstance(found, str):
            check_file(_inside(folder, found))
        elif "sample_rate" in made:
            check_length(max(found.shape, default=0), made["sample_rate"], "impulse_response:")
    parameters = _table(rest.pop("parameters", {}))
    for key in rest:
        raise ParameterError(f"pedalboard's {cls.__name__} has no {key!r}{near(key, STATE_KEYS)}")
    plugin = _make(cls, made)
    set_externals(plugin, parameters)
    return plugin


#: All keys of a state but `type` and `parameters`.
STATE_KEYS = (
    "class",
    "plugins",
    "impulse_response",
    "impulse_response_rate",
    "path",
    "plugin_name",
    "state",
    "raw_values",
)
#: Constructor arguments of pedalboard that stand under another key in a state.
_ARGUMENT_KEYS = {
    "plugins": "plugins",
    "impulse_response_filename": "impulse_response",
    "sample_rate": "impulse_response_rate",
}


def _arguments(cls: Any) -> set[str]:
    """The names of a pedalboard class's constructor arguments, as its docstring gives them."""
    first = (cls.__init__.__doc__ or "").split("\n")[0]
    return set(re.findall(r"[(,] (\w+): ", first))


def _make(cls: type, made: dict[str, Any]) -> Any:
    allowed = _arguments(cls) if made else set()
    wrong = [_ARGUMENT_KEYS[a] for a in made if allowed and a not in allowed]
    if wrong:
        raise ParameterError(f"pedalboard's {cls.__name__} has no {wrong[0]}")
    try:
        return cls(**made)
    except TypeError:
        known = _ARGUMENT_KEYS.items()
        missing = [key for a, key in known if a not in made and a != "sample_rate" and a in _arguments(cls)]
        why = f"it needs {' and '.join(missing)}" if missing else "it cannot be made by itself"
        if hasattr(cls, "get_plugin_names_for_file"):
            why = 'write it with type = "vst3" and its path'
        raise ParameterError(f"pedalboard's {cls.__name__}: {why}") from None
    except Exception as e:  # pedalboard raises many kinds for files and values
        reason = str(e).split("\n")[0]
        raise ParameterError(f"pedalboard's {cls.__name__} cannot be made: {reason}") from None


def _inside(folder: Path | None, path: str) -> Path:
    return _as_named(Path(path) if folder is None else folder / path)


def _as_named(path: Path) -> Path:
    """An absolute path without `..`: pedalboard takes `~/x` for a file of the home folder, and `link/..` for `.`."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _impulse_response(plugin: Any) -> dict[str, Any]:
    path = plugin.impulse_response_filename
    if path:
        return {"impulse_response": str(Path(path).absolute())}
    rate = re.search(r"audio at ([\d.]+) Hz", repr(plugin))  # the only place where pedalboard tells it
    if rate is None or plugin.impulse_response is None:
        raise CspaceError("a Convolution cannot be written down: pedalboard does not tell its impulse response")
    response = np.array(plugin.impulse_response, np.float32)
    hz = check_rate(float(rate[1]), "a Convolution cannot be written down: impulse_response_rate")
    check_length(max(response.shape), hz, "a Convolution cannot be written down:")
    return {"impulse_response": response, "impulse_response_rate": hz}


def _vst3_state(plugin: Any) -> dict[str, Any]:
    state: dict[str, Any] = {"type": "vst3", "path": str(vst3_path(plugin)), "plugin_name": str(plugin.name)}
    raw = getattr(plugin, "raw_state", None)
    if raw:
        state["state"] = bytes(raw)
    parameters = dict(plugin.parameters)
    if parameters:
        state["raw_values"] = {n: float(p.raw_value) for n, p in parameters.items()}
    return state | {"parameters": external_params(plugin)}


def _vst3_from(rest: dict[str, Any], folder: Path | None) -> Any:
    path, name = rest.pop("path", None), rest.pop("plugin_name", None)
    if not isinstance(path, str) or not path or "\0" in path or not isinstance(name, str | None):
        raise ParameterError('a vst3 plugin needs path = "…", and plugin_name is a text')
    raw, values = rest.pop("state", None), rest.pop("raw_values", {})
    if not isinstance(values, dict) or not all(isinstance(v, (int, float)) and 0 <= v <= 1 for v in values.values()):
        raise ParameterError("raw_values of a vst3 plugin is not a table of numbers from 0 to 1")
    plugin = load_vst3(_inside(folder, path), name)
    if raw is not None:
        try:
            plugin.raw_state = bytes(raw)
        except Exception as e:  # the plugin's own reader
            raise ParameterError(f"{external_name(plugin)}: its state is not taken: {e}") from None
    # A state may be older than the knobs, which a plugin often takes over only when it plays.
    for key, value in values.items():
        if key in plugin.parameters and plugin.parameters[key].raw_value != value:
            plugin.parameters[key].raw_value = float(value)
    set_externals(plugin, _table(rest.pop("parameters", {})))
    for key in rest:
        raise ParameterError(f"a vst3 plugin has no {key!r}{near(key, STATE_KEYS)}")
    return plugin


def _table(parameters: Any) -> dict[str, Any]:
    if not isinstance(parameters, dict):
        raise ParameterError("parameters is not a table, such as { gain_db = 3.0 }")
    return parameters


def vst3_path(plugin: Any) -> Path:
    """The file a VST3 plugin came from. Raises CspaceError where that cannot be found out.

    `load_vst3` notes it. For plugins that pedalboard itself loaded, the files that this process has
    loaded already are asked for a plugin of that name.
    """
    noted = vars(plugin).get(_PATH)
    if noted is not None:
        return Path(noted)
    name = str(plugin.name)
    try:
        lines = _MAPS.read_text(errors="replace").splitlines()
    except OSError:  # no Linux
        lines = []
    files = {m[1] for line in lines if (m := re.search(r"(/.*?\.vst3)(?:/|$)", line))}
    try:
        found = [f for f in sorted(files) if name in type(plugin).get_plugin_names_for_file(f)]
    except Exception:  # a file that was replaced or removed meanwhile
        found = []
    if len(found) != 1:
        raise CspaceError(
            f"the file of the VST3 plugin {name!r} is not known; load it with cspace.plugins.external.load_vst3"
        )
    vars(plugin)[_PATH] = found[0]
    return Path(found[0])


__all__ = [
    "STATE_KEYS",
    "check_external",
    "external_from",
    "external_name",
    "external_params",
    "external_state",
    "is_external",
    "load_vst3",
    "pedalboard_class",
    "require_pedalboard",
    "set_external",
    "set_externals",
    "vst3_path",
]
