"""Every native processor has a plugin class that says the same as the registry. Found, not listed."""

import copy
import importlib
import pkgutil

import numpy as np
import pytest

from cspace import _native, plugins
from cspace.plugins import NativePlugin

REGISTRY = {p["name"]: p for p in _native.processors()}
RESERVED = {"type", "name", "bypass", "class", "path", "plugin_name", "package"}  # words of chain files
KINDS = {"int": int, "toggle": bool, "choice": str}

every_plugin = pytest.mark.parametrize("kind", plugins.all_plugins(), ids=lambda c: c.native_name)


def test_every_processor_has_a_class() -> None:
    assert list(plugins.by_name()) == list(REGISTRY)


def test_every_file_holds_one_class_that_is_exported() -> None:
    for module in pkgutil.iter_modules(plugins.__path__):
        if module.name.startswith(("_", "external")):  # plugins from elsewhere have no class of ours
            continue
        file = importlib.import_module(f"cspace.plugins.{module.name}")
        classes = [c for c in vars(file).values() if isinstance(c, type) and issubclass(c, NativePlugin)]
        (found,) = [c for c in classes if c.__module__ == file.__name__]
        assert found.native_name == module.name
        assert getattr(plugins, found.__name__) is found
        assert found.__name__ in plugins.__all__


@every_plugin
def test_annotations_follow_the_registry(kind: type[NativePlugin]) -> None:
    info = REGISTRY[kind.native_name]
    expected = {p["name"]: KINDS.get(p["scale"], float).__name__ for p in info["params"]}
    expected |= {a["name"]: "Any" for a in info["arrays"]}
    assert kind.__annotations__ == expected
    assert list(kind.__annotations__) == list(expected), "the order of the registry"


@every_plugin
def test_class_is_documented_and_names_are_free(kind: type[NativePlugin]) -> None:
    info = REGISTRY[kind.native_name]
    assert kind.__doc__
    assert ">>>" in kind.__doc__, "a docstring shows an example"
    names = [p["name"] for p in info["params"]] + [a["name"] for a in info["arrays"]]
    assert not RESERVED & set(names)
    for name in names:
        assert getattr(kind, name).__doc__


@every_plugin
def test_examples_in_the_docs_run(kind: type[NativePlugin]) -> None:
    code = [line.strip()[4:] for line in (kind.__doc__ or "").splitlines() if line.strip().startswith((">>> ", "... "))]
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4800)).astype(np.float32)
    exec("\n".join(code), {"x": x, "np": np})


@every_plugin
def test_defaults_and_round_trip(kind: type[NativePlugin]) -> None:
    plugin = kind()
    for p in REGISTRY[kind.native_name]["params"]:
        value = getattr(plugin, p["name"])
        assert isinstance(value, KINDS.get(p["scale"], float))
        setattr(plugin, p["name"], value)  # what a property returns can be set again
        top = p["choices"][-1] if p["scale"] == "choice" else p["max"]
        setattr(plugin, p["name"], top)
        assert getattr(plugin, p["name"]) == top
    settings = plugin.to_dict()
    assert settings.pop("type") == kind.native_name
    twin = kind(**settings)
    assert twin == plugin
    assert copy.copy(plugin) == plugin
    assert copy.deepcopy(plugin) == plugin
    assert plugin != kind()
    assert repr(twin).startswith(kind.__name__ + "(")


@every_plugin
def test_values_outside_the_range_are_refused(kind: type[NativePlugin]) -> None:
    plugin = kind()
    before = plugin.to_dict()
    for p in REGISTRY[kind.native_name]["params"]:
        wild = [np.nan, np.inf, -np.inf, p["max"] + max(1.0, abs(p["max"])), "no such choice", None, [1.0], {}, 10**400]
        if p["scale"] in KINDS:
            wild.append(p["min"] + 0.5)
        for value in wild:
            with pytest.raises(ValueError, match=rf"{kind.native_name}\.{p['name']}.*use "):
                setattr(plugin, p["name"], value)
    with pytest.raises(ValueError, match="has no parameter"):
        kind(no_such_parameter=1.0)
    with pytest.raises(AttributeError, match="has no parameter"):
        plugin.no_such_parameter = 1.0
    assert repr(plugin.to_dict()) == repr(before), "a refused value changes nothing"
