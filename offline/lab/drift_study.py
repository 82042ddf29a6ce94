"""`cspace lab drift`: one run over bank and network, its figures, verdicts and picture."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...clitools import progress
from ...plugins._errors import ParameterError
from ..config import LabConfig
from . import drift, drift_esn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

F32 = NDArray[np.float32]

LEAST_S = 60.0
FORGETTING_S = 40.0
#: Late errors may be this much larger than early ones before they are called growing.
GROWTH = 2.0


def verdict(summary: dict[str, Any]) -> str:
    """In words: whether the errors stay below the target, and whether they grow."""
    growth = summary["late_over_early"]
    grows = growth is not None and growth > GROWTH
    return ("holds" if summary["holds"] else "fails") + (", growing with time" if grows else ", not growing with time")


def study(
    clip: Path | None, seconds: float, config: LabConfig, *, esn: bool = True
) -> tuple[dict[str, Any], Figure, list[str]]:
    """Figures, picture and notes of a run of `seconds` of sound (the clip again and again, or made sound).

    Memory does not grow with `seconds`. Raises ParameterError below 60 s, AudioError for a silent clip.
    """
    if not LEAST_S <= seconds <= 48 * 3600:
        raise ParameterError(f"seconds is {seconds:g}; drift is looked for over {LEAST_S:.0f} s to 48 h")
    rate = config.sample_rate

    def sound(conversions: list[str] | None = None) -> Iterator[F32]:
        return drift.tiled(clip, seconds, rate, conversions) if clip else drift.made_sound(seconds, rate, config.seed)

    def opening(length: float) -> F32:
        wanted = round(length * rate)
        have = itertools.accumulate(sound(), lambda a, b: np.concatenate([a, b]))
        return next(x for x in have if len(x) >= wanted)[:wanted]

    results: dict[str, Any] = {"target": drift.TARGET, "seconds": seconds}
    notes: list[str] = []
    with progress() as bar:

        def ticker(words: str) -> Callable[[float], None]:
            task = bar.add_task(words, total=seconds)
            return lambda done: bar.update(task, completed=done)

        results["reference_check"] = drift.reference_check(opening(3.0), config.bank, rate)
        runs = drift.compare(sound(notes), config.bank, rate, ticker("bank"))
        contenders = dict(runs)
        forgetting: list[dict[str, Any]] = []
        if esn:
            contenders["esn"], results["esn"] = drift_esn.compare(sound(), config.esn, rate, seconds, ticker("network"))
            heard = opening(min(FORGETTING_S, seconds))
            radii = sorted({*drift_esn.RADII, config.esn.spectral_radius})
            task = bar.add_task("forgetting", total=len(radii))
            for radius in radii:
                spec = config.esn.model_copy(update={"spectral_radius": radius})
                forgetting.append({
                    "sound": drift_esn.forgetting(heard, spec, rate),
                    "silence": drift_esn.forgetting(np.zeros_like(heard), spec, rate),
                })  # fmt: skip
                bar.advance(task)
    for name, errors in contenders.items():
        summary = errors.summary()
        at_60 = int(np.searchsorted(errors.seconds, LEAST_S * 0.999))
        summary["vector_at_60_s"] = errors.vector[min(at_60, len(errors.vector) - 1)]
        summary["verdict"] = verdict(summary)
        results[name] = results.get(name, {}) | summary
        results[name]["over_time"] = {"seconds": errors.seconds, "vector": errors.vector, "worst": errors.worst}
    results["forgetting"] = [
        {
            "achieved_radius": row["sound"]["achieved_radius"],
            **{
                f"{key}_{name}": row[name][key]
                for name in ("sound", "silence")
                for key in ("forgets", "time_constant_s", "last_share")
            },
        }
        for row in forgetting
    ]
    control = results["float32_poles"]
    if not clip:
        notes.append(f"made sound: noise in bursts, gliding tones and pauses, seed {config.seed}")
    if control["holds"]:
        notes.append(
            "the negative control (poles rounded to float32) passes too: with this bank the test says nothing; "
            "a higher q or a lower low_hz makes it sharp"
        )
    return results, draw(contenders, forgetting), notes


def draw(contenders: dict[str, drift.Errors], forgetting: list[dict[str, Any]]) -> Figure:
    """Relative error over time of all contenders, and how the network forgets its start."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8 if forgetting else 4.2), layout="constrained")
    axes = list(figure.subplots(2 if forgetting else 1, 1, squeeze=False)[:, 0])
    words = {
        "rust": ("Rust bank, float32", "tab:blue"),
        "esn": ("Rust network, float32", "tab:green"),
        "float32_poles": ("control: poles rounded to float32", "tab:red"),
    }
    for name, errors in contenders.items():
        label, color = words[name]
        minutes = np.array(errors.seconds) / 60
        marker = "o" if name == "esn" else None
        axes[0].semilogy(minutes, errors.worst, color=color, marker=marker, ms=3, label=f"{label}: worst state")
        axes[0].semilogy(minutes, errors.vector, color=color, ls=":", marker=marker, ms=3, label="… whole vector")
    axes[0].axhline(drift.TARGET, color="black", lw=0.8, ls="--", label=f"target {drift.TARGET:g}")
    axes[0].set_ylim(1e-8, None)
    axes[0].set_xlabel("time (min)")
    axes[0].set_ylabel("error over rms, against float64")
    axes[0].set_title("Drift of the streaming states")
    axes[0].legend(fontsize=8, ncols=2, loc="lower right")
    if forgetting:
        for k, row in enumerate(forgetting):
            for name, style in (("sound", "-"), ("silence", ":")):
                curve = row[name]
                axes[1].semilogy(
                    curve["seconds"],
                    np.maximum(curve["share"], 1e-9),
                    style,
                    color=f"C{k}",
                    label=f"radius {curve['achieved_radius']:.3g}" if name == "sound" else None,
                )
        axes[1].set_ylim(1e-8, 2)
        axes[1].set_xlabel("time (s)")
        axes[1].set_ylabel("distance over first distance")
        axes[1].set_title("Echo state: two runs from opposite corners (lines: the sound; dotted: silence)")
        axes[1].legend(fontsize=8)
    return figure
