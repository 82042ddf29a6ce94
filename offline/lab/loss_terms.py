"""Which term of a loss dominates: every loss, term by term, of a clip against changed copies of it.

Beside each term's value stands how hard it pulls: the length of its gradient with respect to the
changed sound. Terms that are large and terms that steer need not be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...plugins._errors import AudioError, ParameterError
from .. import losses
from ..config import LabConfig
from .tables import markdown
from .transform_sounds import Recording, counted, listen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

F32 = NDArray[np.float32]

#: Losses are means over segments: states with their gradients take 100 MB and more for one of this length.
SEGMENT_S = 0.5
MOST_DB = 120.0
#: Every segment is read with as much beside it.
MOST_DELAY_S = 2
#: Those that have a bank of their own keep it: the original's losses are shown as published.
OWN_BANK = ("v1", "v2")


#: Makes the changed segment out of a window, its reach, and the number of the segment.
Change = Callable[[F32, int, int], F32]


def changes(sound: Recording, *, noise_db: float, gain_db: float, delay_samples: int, seed: int) -> dict[str, Change]:
    """The changed copies by name: white noise so far below the whole clip's level, a gain, a delay."""
    for name, db in (("noise_db", noise_db), ("gain_db", gain_db)):
        if not abs(db) <= MOST_DB:
            raise ParameterError(f"{name} is {db}; {-MOST_DB:g} to {MOST_DB:g} dB can be used")
    if abs(delay_samples) > MOST_DELAY_S * sound.sample_rate:
        raise ParameterError(
            f"delay_samples is {delay_samples}; at most {MOST_DELAY_S * sound.sample_rate:g} can be used"
        )
    if abs(delay_samples) >= sound.frames:
        raise ParameterError(f"delay_samples is {delay_samples}; the clip has {sound.frames} samples")
    noise_level = sound.level * 10.0 ** (-noise_db / 20.0)
    gain = np.float32(10.0 ** (gain_db / 20.0))

    def noisy(window: F32, reach: int, number: int) -> F32:
        x = own(window, reach)
        out: F32 = (x + noise_level * np.random.default_rng([seed, number]).standard_normal(len(x))).astype(np.float32)
        return out

    def louder(window: F32, reach: int, number: int) -> F32:
        return own(window, reach) * gain

    def delayed(window: F32, reach: int, number: int) -> F32:
        first = reach - delay_samples
        return window[first : first + len(window) - 2 * reach].copy()

    return {
        f"noise {noise_db:g} dB below": noisy,
        f"gain {gain_db:+g} dB": louder,
        f"delay {delay_samples} sample{'' if abs(delay_samples) == 1 else 's'}": delayed,
    }


def own(window: F32, reach: int) -> F32:
    """The segment itself."""
    return window[reach : len(window) - reach].copy()


def terms(loss: losses.Loss, windows: Iterable[F32], reach: int, change: Change) -> dict[str, dict[str, float]]:
    """Term -> value and length of gradient, means over the segments."""
    sums: dict[str, dict[str, float]] = {}
    count = 0
    for number, window in enumerate(windows):
        x = torch.from_numpy(change(window, reach, number))[None].requires_grad_()
        _, named = loss(x, torch.from_numpy(own(window, reach))[None])
        for i, (name, term) in enumerate(named.items()):
            (gradient,) = torch.autograd.grad(term, x, retain_graph=i + 1 < len(named))
            sum_ = sums.setdefault(name, {"value": 0.0, "gradient": 0.0})
            sum_["value"] += term.item()
            sum_["gradient"] += float(gradient.norm())
        count += 1
    return {name: {key: v / count for key, v in sum_.items()} for name, sum_ in sums.items()}


def study(
    clip: Path,
    config: LabConfig,
    *,
    names: Sequence[str],
    seconds: float,
    noise_db: float,
    gain_db: float,
    delay_samples: int,
    advance: Callable[[float], None],
) -> tuple[dict[str, Any], Figure, str, list[str]]:
    """Results, picture, table and notes; `advance` is called with parts that sum to 1 per loss and change.

    The recording is read again for each of them: it may be of any length, and is never held.
    """
    sound = listen(clip, config.sample_rate, seconds)
    notes = [f"{clip.name}: {c}" for c in sound.conversions]
    size = min(round(SEGMENT_S * config.sample_rate), sound.frames)
    if rest := sound.frames % size:
        notes.append(f"{clip.name}: the last {rest} samples do not fill a segment and are left out")
    copies = changes(sound, noise_db=noise_db, gain_db=gain_db, delay_samples=delay_samples, seed=config.seed)
    reach = abs(delay_samples)
    rows = []
    for name in names:
        spec = None if name in OWN_BANK else config.bank
        loss = losses.make(name, sample_rate=config.sample_rate, spec=spec)
        if size < loss.shortest_samples:
            raise AudioError(
                f"{clip}: segments of {size} samples are too short for the loss {name}, which needs "
                f"{loss.shortest_samples}; take a longer clip or a higher sample rate, or leave the loss out"
            )
        for title, change in copies.items():
            windows = counted(sound.windows(size, reach), sound.frames // size, advance)
            found = terms(loss, windows, reach, change)
            rows += [{"loss": name, "change": title, "term": t, **v} for t, v in _shares(found).items()]
        del loss  # its tables, before the next one makes its own
    results = {"segments": sound.frames // size, "segment_samples": size, "rows": rows}
    return results, _draw(rows, list(copies)), _table(rows), notes


def _shares(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """With each term's share of the sums of magnitudes."""
    for key in ("value", "gradient"):
        total = sum(abs(v[key]) for v in found.values())
        for v in found.values():
            v[f"{key}_share"] = abs(v[key]) / total if total > 0.0 else 0.0
    return found


def _table(rows: list[dict[str, Any]]) -> str:
    head = ["loss: term", "change", "value", "of total", "gradient", "of gradients"]
    lines = [
        [
            f"{r['loss']}: {r['term']}",
            r["change"],
            f"{r['value']:.3g}",
            f"{100 * r['value_share']:.0f} %",
            f"{r['gradient']:.3g}",
            f"{100 * r['gradient_share']:.0f} %",
        ]
        for r in rows
    ]
    return markdown(head, lines)


#: Kinds of terms have one colour in all losses.
_KINDS = {
    "states": "#08306b",
    "full": "#2171b5",
    "half": "#6baed6",
    "quarter": "#c6dbef",
    "magnitude": "C9",
    "embedding": "C2",
    "mel": "C1",
    "spectral": "C3",
    "waveform": "C7",
}


def _kind(term: str) -> str:
    if term.startswith(("mel", "spectral")) or term in ("magnitude", "log_magnitude"):
        return "mel" if term.startswith("mel") else "spectral"
    return term.rpartition(".")[2]


def _draw(rows: list[dict[str, Any]], copies: Sequence[str]) -> Figure:
    """Losses of terms of several kinds as stacked bars: shares of the value, and of the gradients."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    kinds: dict[str, set[str]] = {}
    for r in rows:
        kinds.setdefault(r["loss"], set()).add(_kind(r["term"]))
    names = [n for n, k in kinds.items() if len(k) > 1] or list(kinds)
    figure = Figure(figsize=(10, 1.1 + 0.62 * len(names) * len(copies)), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    labels = [f"{n}: {c}" for n in names for c in copies]
    shown = set()
    for axis, key in zip(axes, ("value_share", "gradient_share"), strict=True):
        for y, (name, change) in enumerate((n, c) for n in names for c in copies):
            left = 0.0
            for r in rows:
                if r["loss"] == name and r["change"] == change:
                    kind = _kind(r["term"])
                    shown.add(kind)
                    axis.barh(y, 100 * r[key], left=left, color=_KINDS[kind], edgecolor="white", linewidth=0.5)
                    left += 100 * r[key]
        axis.set_xlim(0, 100)
        axis.set_yticks(range(len(labels)), labels)
    axes[0].set_ylim(len(labels) - 0.5, -0.5)
    axes[0].set_xlabel("share of the total (%)")
    axes[1].set_xlabel("share of the terms' gradients (%)")
    patches = [Patch(color=c, label=k) for k, c in _KINDS.items() if k in shown]
    figure.legend(handles=patches, loc="outside upper center", ncols=len(patches), fontsize=8)
    return figure
