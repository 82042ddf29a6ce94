"""The Python face of a processor that hosts a streaming model: a package on disk, run by the engine's worker.

A subclass says under which word it stands in chain files and where its package comes from; all else
is here. Thread: control.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .. import _native
from ._base import NativePlugin
from ._errors import CspaceError, MissingExtraError, ParameterError, near
from ._params import Value

if TYPE_CHECKING:
    from ..modelmanifest import Manifest


class HostedPlugin(NativePlugin):
    """Base of plugins around a model: `class OnnxStream(HostedPlugin, hosted="onnx", doc="…")`.

    Parameters of the model become parameters of the instance, after those that every hosted model has:
    `wet`, `conceal`, `drop_rate`, `drop_seed`, `spare_ms`. Setting `package` while sound plays
    cross-fades to the new model; one that is refused changes nothing.
    """

    _shared: ClassVar[frozenset[str]] = frozenset({"_arrays", "_package", "_manifest", "_model", "_params"})

    #: Keys of a chain file that are no parameters, handed to the constructor as texts.
    file_words: ClassVar[tuple[str, ...]] = ("package",)

    def __init_subclass__(cls, hosted: str | None = None, doc: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hosted is not None:
            cls._declare(_native.hosted_info(hosted, doc))

    def __init__(self, package: str | os.PathLike[str], **settings: Any) -> None:
        self._open(package)
        super().__init__(**settings)

    @classmethod
    def file_of(cls, words: dict[str, str], folder: Path) -> Path | None:
        """The package that `from_file` would open; None for one that comes with this program."""
        return folder / words["package"]

    @classmethod
    def from_file(cls, words: dict[str, str], folder: Path | None) -> HostedPlugin:
        """The plugin of a chain file that lies in `folder`; paths are relative to that."""
        package = Path(words["package"])
        return cls(package if folder is None else folder / package)

    def to_file(self, folder: Path | None) -> dict[str, str]:
        """The words `from_file` needs: the package relative to `folder` if it lies inside."""
        path = self.package.resolve()
        inside = folder is not None and path.is_relative_to(folder.resolve())
        return {"package": path.relative_to(folder.resolve()).as_posix() if folder and inside else str(path)}

    # ---- the model ---------------------------------------------------------------------------

    def _open(self, package: str | os.PathLike[str]) -> None:
        """Verifies a package and opens it; nothing is changed if it is refused."""
        from ..modelpackage import PackageError, read  # these import this folder's errors
        from ..ortruntime import library

        found = read(package)
        info = type(self).info
        try:
            model = _native.Model(str(library()), self.native_name, info["doc"], found.manifest, found.model)
        except MissingExtraError:
            raise
        except ValueError as e:
            raise PackageError(f"{found.folder}: {e}") from None
        self._package = found.folder
        self._manifest = found.manifest
        self._model = model
        self.__dict__["_params"] = {
            p["name"]: p for p in model.info["params"]
        }  # over the class's, which has those of every model

    @property
    def package(self) -> Path:
        """The model's folder. Setting it swaps the model, cross-faded where it plays; raises PackageError."""
        return self._package

    @package.setter
    def package(self, path: str | os.PathLike[str]) -> None:
        self._swap(path, dict(self._settled()))

    @property
    def manifest(self) -> Manifest:
        """What the package says of its model."""
        return self._manifest

    def _swap(self, path: str | os.PathLike[str], values: dict[str, float]) -> None:
        """Another model, with these values where it has such parameters and allows them."""
        names = ("_package", "_manifest", "_model", "_params", "_values", "_made_of")
        before = {name: self.__dict__[name] for name in names}
        try:
            self._open(path)
            self._values = {
                n: values[n] if n in values and p["min"] <= values[n] <= p["max"] else p["default"]
                for n, p in self._params.items()
            }
            self._rebuild()
        except (ValueError, RuntimeError, OSError, ImportError) as e:
            self.__dict__.update(before)
            if isinstance(e, CspaceError):
                raise
            raise ParameterError(f"{self.native_name}: {e}") from None

    def take(self, other: NativePlugin) -> None:
        """Takes over all settings of another plugin of the same kind, its model too."""
        if isinstance(other, HostedPlugin) and other.native_name == self.native_name:
            if other._manifest.files != self._manifest.files:
                self._swap(other._package, dict(other._settled()))
                return
            self._package = other._package
        super().take(other)

    def _build(self) -> _native.Processor:
        core = _native.Processor.of_model(self._model)
        for name, x in self._settled().items():
            core.set(name, x)
        return core

    # ---- parameters of this model ------------------------------------------------------------

    def __getattr__(self, name: str) -> Value:
        # Only for what is no attribute: parameters that the model brought along.
        if not name.startswith("_") and name in self.__dict__.get("_params", {}):
            return self.get_param(name)
        hint = near(name, self.__dict__.get("_params", {})) if not name.startswith("_") else ""
        raise AttributeError(f"{type(self).__name__} has no parameter {name!r}{hint}")

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name) and name in self.__dict__.get("_params", {}):
            self.set_param(name, value)
        else:
            super().__setattr__(name, value)

    # ---- identity ----------------------------------------------------------------------------

    @property
    def latency_samples(self) -> int:
        """Delay alone or rendered: one hop and the model's own. Live, the engine adds buffering: docs/neural.md."""
        return self._manifest.hop + self._manifest.latency_samples

    @property
    def tail_samples(self) -> int:
        """How long sound goes on after the input ends."""
        return self._manifest.tail_samples + self.latency_samples

    def to_dict(self) -> dict[str, Any]:
        """All settings, `type` first, then the package."""
        settings = super().to_dict()
        return {"type": settings.pop("type"), "package": str(self._package), **settings}

    def __eq__(self, other: object) -> bool:
        same = super().__eq__(other)
        if same is not True or not isinstance(other, HostedPlugin):
            return same
        return self._manifest.files == other._manifest.files

    __hash__ = None  # as for every plugin

    def __getstate__(self) -> dict[str, Any]:
        """Settings and the package's path: a pickle does not hold the model itself."""
        state = super().__getstate__()
        del state["_model"], state["_params"], state["_manifest"]
        return {**state, "_files": self._manifest.files, "_package": self._package.absolute()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({n: v for n, v in state.items() if n != "_files"})
        if "_files" not in state:
            return  # a copy, which shares the open model
        self._open(self._package)
        if self._manifest.files != state["_files"]:
            raise ParameterError(
                f"{self.native_name}: {self._package} holds another model than when this was pickled; make it anew"
            )

    def __repr__(self) -> str:
        settings = super().__repr__().partition("(")[2]
        return f"{type(self).__name__}({str(self._package)!r}{', ' if settings != ')' else ''}{settings}"
