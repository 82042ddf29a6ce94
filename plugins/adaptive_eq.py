"""Adaptive equaliser: words instead of knobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ._alone import PlayedAlone
from ._audio import as_audio, check_rate
from ._base import NativePlugin
from ._calls import Sounding
from ._errors import CspaceError, ParameterError, near
from .eq import Eq

if TYPE_CHECKING:
    from ._adaptive.live import LivePilot
    from ._adaptive.model import Model
    from ._adaptive.pilot import Orders, Pilot, Stage
    from ._adaptive.spectrum import Sound


def _param(
    name: str, doc: str, low: float, high: float, default: float, unit: str = "", scale: str = "linear"
) -> _native.ParamInfo:
    return {
        "name": name,
        "unit": unit,
        "min": low,
        "max": high,
        "default": default,
        "scale": scale,
        "choices": [],
        "smooth_ms": 0.0,
        "setup": False,
        "doc": doc,
    }


def _text(name: str, doc: str) -> _native.ParamInfo:
    # A text has no range; its default is no text.
    return {**_param(name, doc, 0.0, 0.0, 0.0, scale="text"), "default": ""}  # type: ignore[typeddict-item]


_MODES = ["gated", "residual", "static"]
_INFO: _native.ProcessorInfo = {
    "name": "adaptive_eq",
    "doc": "Adaptive equaliser: words such as warm in place of knobs, by what is heard; the eq does the filtering.",
    "params": [
        _text("word", "The word to move towards, such as warm; empty for no change. `cspace eq words` lists them."),
        _text("blend", "Words with shares, such as warm:0.6 + bright:0.4; takes the place of the word."),
        _param("intensity", "How far: 1 all the way, 0 no change, below 0 away from the word.", -1.0, 1.0, 0.7),
        {
            **_param(
                "mode",
                "How: by how much the sound has the word already, by the setting heard in it, or blindly.",
                0,
                2,
                0,
            ),
            "scale": "choice",
            "choices": _MODES,
        },
        _param("match_loudness", "Makes up for the change of loudness.", 0, 1, 0, scale="toggle"),
        _param(
            "freeze", "Keeps what was heard so far; the word and the intensity still move.", 0, 1, 0, scale="toggle"
        ),
        _param("first_analysis_s", "Sound to hear before the first decision.", 0.5, 30.0, 1.0, "s", "log"),
        _param("period_s", "Time between decisions.", 0.1, 60.0, 1.0, "s", "log"),
        _param("memory_s", "How long sound is remembered: a time constant.", 0.5, 120.0, 10.0, "s", "log"),
        _param("glide_ms", "Time in which the knobs move to a new decision.", 20.0, 5_000.0, 300.0, "ms", "log"),
    ],
    "taps": [
        {"name": "confidence", "doc": "How sure the encoder is of the setting that the sound carries, 0 to 1."},
        {"name": "likeness", "doc": "How much of the word the sound has, in standard deviations of music."},
        {"name": "gate", "doc": "Share of the word's curve in use."},
        {"name": "setting", "doc": "The knobs of the eq, 14 numbers in its order."},
    ],
    "arrays": [],
}


class AdaptiveEq(NativePlugin):
    """An equaliser that is told a word and listens: `warm`, `bright`, `warm:0.6 + airy:0.4`.

    The `eq` does the filtering, without delay. What it hears (a long-term spectrum in 48 bands) is
    judged on another thread: after `first_analysis_s`, then every `period_s`. Three ways: `gated`
    gives a sound less of a word the more it has of it; `residual` hears which setting the sound
    carries and applies the difference to the word's, and falls back to gated, saying so in `status`,
    where it cannot know; `static` applies the word as it is. Words are learnt from people's settings
    (SAFE, R. Stables et al., ISMIR 2014). Offline, decisions fall on fixed samples.

    >>> from cspace.plugins import AdaptiveEq
    >>> warm = AdaptiveEq(word="warm", intensity=0.7, mode="static")
    >>> y = warm(x, sample_rate=48_000)
    >>> warm.status
    'static'
    """

    word: str
    blend: str
    intensity: float
    mode: str
    match_loudness: bool
    freeze: bool
    first_analysis_s: float
    period_s: float
    memory_s: float
    glide_ms: float

    #: The name it takes in a chain, and so in OSC addresses: `/chain/eq/word`.
    slot_name: ClassVar[str] = "eq"
    staged: ClassVar[bool] = True
    _running: ClassVar[frozenset[str]] = PlayedAlone._running | {"_orders_now", "_stage", "_live", "_last"}
    _shared: ClassVar[frozenset[str]] = frozenset({"_arrays", "_model_folder", "_known", "_dry"})

    def __init__(self, *, model: str | Path | None = None, **settings: Any) -> None:
        self._model_folder = model
        self._known: Model | None = None
        self._dry: Sound | None = None
        self._start_steering()
        super().__init__(**settings)

    def _start_steering(self) -> None:
        self._orders_now: Orders | None = None
        self._stage: Stage | None = None
        self._live: dict[int, LivePilot] = {}  # by the engine's identity
        self._last: Pilot | None = None  # whose decision `status` and taps tell of

    @property
    def model(self) -> Model:
        """What words mean; loaded when first needed."""
        if self._known is None:
            from ._adaptive import model as models

            self._known = models.default() if self._model_folder is None else models.load(self._model_folder)
        return self._known

    # ---- control -----------------------------------------------------------------------------

    def update(self, **settings: Any) -> None:
        """Sets several parameters at once, or none of them if one is wrong.

        A word takes the place of a blend, and a blend that of a word.
        """
        values: dict[str, Any] = {}
        for name, value in settings.items():
            info = self._param(name)
            values[name] = self._checked_text(name, value) if info["scale"] == "text" else self._number(name, value)
        if values.get("blend"):
            values["word"] = ""
        elif values.get("word"):
            values["blend"] = ""
        self._values.update(values)
        self._orders_now = None

    def _number(self, name: str, value: Any) -> float:
        from ._params import to_native

        return to_native(self.native_name, self._param(name), value)

    def _checked_text(self, name: str, value: Any) -> str:
        from ._adaptive import words

        if not isinstance(value, str):
            kind = type(value).__name__
            raise ParameterError(f"{self.native_name}.{name} is set to a {kind}, which is not allowed; use a text")
        text = value.strip().lower()
        if name == "word" and text:
            return self.model.word(text).name
        words.parse(text, self.model)
        return text

    def check(self, name: str, value: Any) -> None:
        """Raises what setting this would, and changes nothing."""
        if self._param(name)["scale"] == "text":
            self._checked_text(name, value)
        else:
            self._number(name, value)

    def set_param(self, name: str, value: Any, *, time: int | None = None) -> None:
        """Sets one parameter. Decisions are made every 20 ms, so a `time` is not kept to the sample."""
        self.update(**{name: value})

    def get_param(self, name: str) -> Any:
        """The value of a parameter, as it was set."""
        if self._param(name)["scale"] == "text":
            return self._values[name]
        return super().get_param(name)

    def take(self, other: NativePlugin) -> None:
        """Takes over all settings of another adaptive EQ."""
        if not isinstance(other, AdaptiveEq):
            raise ParameterError(f"a {self.native_name} cannot take the settings of a {other.native_name}")
        self._values.update(other._values)
        self._orders_now = None

    def set_reference(self, audio: Any, sample_rate: float) -> None:
        """For `residual`: the same sound without the setting it carries [shape=(channels, n) or (n,)].

        Give the passage that will be heard, or one like it: the two long-term spectra are compared.
        None in place of the audio forgets it. Raises AudioError for silence and less than half a second.
        """
        from ._adaptive.spectrum import spectrum_of

        self._dry = (
            None if audio is None else spectrum_of(as_audio(audio)[0], check_rate(sample_rate), self.model.bands)
        )
        self._orders_now = None

    def _orders(self) -> Orders:
        """What is asked for now, made anew only after a change."""
        from ._adaptive.pilot import Orders

        made = self._orders_now
        if made is None:
            v = self._values
            made = self._orders_now = Orders(
                text=str(v["blend"] or v["word"]),
                intensity=float(v["intensity"]),
                mode=_MODES[int(v["mode"])],
                match_loudness=v["match_loudness"] >= 0.5,
                freeze=v["freeze"] >= 0.5,
                first_analysis_s=float(v["first_analysis_s"]),
                period_s=float(v["period_s"]),
                memory_s=float(v["memory_s"]),
                glide_ms=float(v["glide_ms"]),
                reference=self._dry,
            )
        return made

    # ---- what it does, and why ---------------------------------------------------------------

    @property
    def status(self) -> str:
        """The way in use, and why where it is not the one asked for; `idle` before any sound."""
        made = None if self._last is None else self._last.decision
        if made is None:
            return "idle"
        return made.mode + (f": {made.reason}" if made.reason else "")

    @property
    def analysis_ms(self) -> float:
        """Worker time of the last decision."""
        return 0.0 if self._last is None else self._last.analysis_ms

    def tap(self, name: str) -> NDArray[np.float32]:
        """`confidence`, `likeness`, `gate` [shape=(1,)] or `setting` [shape=(14,)] of the last decision."""
        names = [t["name"] for t in self.info["taps"]]
        if name not in names:
            raise ParameterError(f"{self.native_name} has no tap {name!r}{near(name, names)}")
        pilot = self._last
        if pilot is None or pilot.decision is None:
            raise CspaceError(f"{self.native_name} has no tap values yet: process some audio first")
        if name == "setting":
            return np.array(list(pilot.values.values()), np.float32)
        return np.array([getattr(pilot.decision, name)], np.float32)

    def eq(self) -> Eq:
        """A plain `Eq` with the knobs where they are now."""
        values = {} if self._last is None else self._last.values
        limits = Eq._params
        return Eq(**{n: float(np.clip(v, limits[n]["min"], limits[n]["max"])) for n, v in values.items()})

    # ---- audio -------------------------------------------------------------------------------

    def _pilot(self, sample_rate: float) -> Pilot:
        from ._adaptive.pilot import Pilot

        self._last = Pilot(self.model, sample_rate, self._orders)
        return self._last

    def offline_stage(self, sample_rate: float, channels: int) -> Stage:
        """A processor for the offline block loop: decisions at fixed samples, no delay."""
        from ._adaptive.pilot import Stage

        return Stage(self._pilot(sample_rate), channels)

    def _sounding(self, sample_rate: float, channels: int) -> tuple[Sounding, _native.Processor]:
        stage = self._stage
        if stage is None or self._core_spec != (sample_rate, channels):
            stage = self._stage = self.offline_stage(sample_rate, channels)
            self._core_spec = (sample_rate, channels)
        self._last = stage.pilot
        return stage, stage.core

    def _silence(self) -> None:
        if self._stage is not None:
            self._stage.reset()

    def reset(self) -> None:
        """Forgets all sound heard, alone and live; parameters stay."""
        super().reset()
        for live in list(self._live.values()):
            live.reset()

    @property
    def latency_samples(self) -> int:
        """0: sound never waits for the analysis."""
        return 0

    @property
    def tail_samples(self) -> int:
        """How long the filters ring as they stand."""
        return self.eq().tail_samples

    def save_state(self) -> bytes:
        """Not offered: parameters are what `to_dict`, chain files and presets keep."""
        raise CspaceError(f"{self.native_name} has no state to save; its parameters are kept by presets")

    def load_state(self, state: bytes) -> None:
        """Not offered, see `save_state`."""
        raise CspaceError(f"{self.native_name} has no state to load; its parameters are kept by presets")

    # ---- life with an engine -----------------------------------------------------------------

    def _build(self) -> _native.Processor:
        return self.eq()._build()

    def _bind(self, engine: _native.Engine, slot: int) -> None:
        from ._adaptive.live import LivePilot

        super()._bind(engine, slot)
        if engine.live:
            pilot = self._pilot(engine.sample_rate)
            self._live[id(engine)] = LivePilot(pilot, engine, slot)

    def _unbind(self, engine: _native.Engine) -> None:
        super()._unbind(engine)
        live = self._live.pop(id(engine), None)
        if live is not None:
            live.stop()

    @property
    def trajectory(self) -> list[tuple[int, str, float]]:
        """Events sent live: sample of the engine's clock, knob of `eq`, value; the last 50,000."""
        return [e for live in self._live.values() for e in list(live.trajectory)]

    @property
    def late_events(self) -> int:
        """How many of them came after their sample had passed, and so took effect later than `trajectory` says."""
        return sum(live.late_events for live in self._live.values())

    def __getstate__(self) -> dict[str, Any]:
        """Settings and the folder of the model, which is read again where it is needed."""
        return {**super().__getstate__(), "_known": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._start_steering()
        super().__setstate__(state)


AdaptiveEq._declare(_INFO)

__all__ = ["AdaptiveEq"]
