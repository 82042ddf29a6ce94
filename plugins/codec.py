"""The codec as an effect: sound as it comes back from so many kbit/s, and as it sounds when hops are lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from ..models import CODEC
from ._errors import ParameterError, near
from ._hosted import HostedPlugin

#: Presets that are another one's model at a rate of their own [kbit/s].
_AT = {"phase144": ("phase96", 144.0), "rate16": ("rate24", 16.0), "rate8": ("rate24", 8.0)}


_DOC = "Encodes and decodes as it plays. Its `model` and its `quality` in kbit/s: docs/codec.md."


class Codec(HostedPlugin, hosted="codec", doc=_DOC):
    """Plays sound through the neural codec: `Codec("phase96", quality=48)`.

    `model` is a shipped model (`phase96`: 5.3 ms algorithmic latency, `rate24`: 32 ms), a preset of one
    (`phase144`, `rate16`, `rate8`), or a folder with a model's `live` package in it. `quality` is the rate
    of each channel in kbit/s, estimated to about a tenth; bits themselves are made by `cspace codec
    encode`. `drop_rate` loses that share of the hops, chosen by `drop_seed`; `conceal` says what is heard
    instead: "fade" or "dry". `wet` mixes with the input, delayed alike. `spare_ms`: as in `OnnxStream`,
    whose host this runs on.

    The models run at 24 kHz, so the chain must too. Needs the extra `neural`.

    Raises ParameterError for a model that is not there, PackageError for one that is damaged.

    >>> from cspace.plugins import Codec
    >>> codec = Codec("phase96", quality=48.0, drop_rate=0.02)
    >>> y = codec(x, sample_rate=24_000)
    """

    file_words: ClassVar[tuple[str, ...]] = ("model",)

    wet: float
    conceal: str
    drop_rate: float
    drop_seed: int
    spare_ms: float

    def __init__(self, model: str = "phase96", **settings: Any) -> None:
        folder, kbps = _find(str(model))
        super().__init__(folder, **({} if kbps is None else {"quality": kbps}) | settings)

    @property
    def model(self) -> str:
        """Name of a shipped model, or a folder. Setting it swaps the model, cross-faded where it plays."""
        return _name(self._package)

    @model.setter
    def model(self, model: str) -> None:
        folder, kbps = _find(str(model))
        own = {} if kbps is None else {"quality": kbps}
        kept = {n: x for n, x in self._settled().items() if n != "quality"}  # a rate belongs to its model
        self._swap(folder, kept | own)

    @classmethod
    def file_of(cls, words: dict[str, str], folder: Path) -> Path | None:
        """The model that `from_file` would open; None for one that comes with this program."""
        model = words["model"]
        return None if model in _AT or model in shipped_models() else folder / model

    @classmethod
    def from_file(cls, words: dict[str, str], folder: Path | None) -> Codec:
        """The plugin of a chain file that lies in `folder`; paths of models are relative to that."""
        model = words["model"]
        shipped = model in _AT or model in shipped_models()
        return cls(model if shipped or folder is None else str(folder / model))

    def to_file(self, folder: Path | None) -> dict[str, str]:
        """The word `from_file` needs."""
        if self.model in shipped_models():
            return {"model": self.model}
        return {"model": super().to_file(folder)["package"]}

    def to_dict(self) -> dict[str, Any]:
        """All settings, `type` first, then the model."""
        settings = super().to_dict()
        del settings["package"]
        return {"type": settings.pop("type"), "model": self.model, **settings}

    def __repr__(self) -> str:
        return super().__repr__().replace(repr(str(self._package)), repr(self.model), 1)


def shipped_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.parent.parent.name for p in CODEC.glob("*/live/model.json"))


def _find(model: str) -> tuple[Path, float | None]:
    """The `live` package of a name or folder, and the rate that goes with a preset."""
    name, kbps = _AT.get(model, (model, None))
    known = shipped_models()
    if name in known:
        return CODEC / name / "live", kbps
    path = Path(model)
    if (path / "live" / "model.json").is_file():
        return path / "live", None
    if (path / "model.json").is_file():
        return path, None
    names = [*known, *(n for n, (of, _) in _AT.items() if of in known)]
    raise ParameterError(
        f"codec.model = {model!r} is not there{near(model, names)}; use {', '.join(names) or 'a trained model'}, "
        "or a folder with the package 'live' in it"
    )


def _name(package: Path) -> str:
    if package.parent.parent == CODEC:
        return package.parent.name
    return str(package)
