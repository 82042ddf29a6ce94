"""Which term of a loss dominates: every loss, term by term, of a clip against changed copies of it.

Beside each term's value stands how hard it pulls: the length of its gradient with respect to the
changed sound. Terms that are large and terms that steer need not be the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...plugins._errors import AudioError, ParameterError
from .. import losses
from ..config import LabConfig
from .tables import markdown
from .transform_sounds import recordings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

F32 = NDArray[np.float32]

#: Losses are means over segments as long as those the codec is trained on.
SEGMENT_S = 1.0
#: Those that have a bank of their own keep it: the original's losses are shown as published.
OWN_BANK = ("v1", "v2")


def noisy(x: F32, db: float, seed: int) -> F32:
    """White noise added, `db` below the clip's energy."""
    noise = np.random.default_rng(seed).standard_normal(len(x))
    level = np.sqrt(np.mean(np.square(x, dtype=np.float64))) * 10.0 ** (-db / 20.0)
    out: F32 = (x + level * noise).astype(np.float32)
    return out


def delayed(x: F32, samples: int) -> F32:
    """Later by `samples` (earlier, below 0), with silence where nothing was."""
    out = np.zeros_like(x)
    if samples >= 0:
        out[samples:] = x[: len(x) - samples]
    else:
        out[:samples] = x[-samples:]
    return out


def changes(x: F32, *, noise_db: float, gain_db: float, delay_samples: int, seed: int) -> dict[str, F32]:
    """The changed copies by name."""
    if not all(np.isfinite([noise_db, gain_db])):
        raise ParameterError(f"noise_db is {noise_db}, gain_db {gain_db}; both must be finite")
    if abs(delay_samples) >= len(x):
        raise ParameterError(f"delay_samples is {delay_samples}; the clip has {len(x)} samples")
    return {
        f"noise {noise_db:g} dB below": noisy(x, noise_db, seed),
        f"gain {gain_db:+g} dB": (x * 10.0 ** (gain_db / 20.0)).astype(np.float32),
        f"delay {delay_samples} sample{'' if abs(delay_samples) == 1 else 's'}": delayed(x, delay_samples),
    }


def segments(x: F32, sample_rate: int) -> list[slice]:
    """Whole segments of 1 s; a shorter clip is one segment."""
    size = round(SEGMENT_S * sample_rate)
    if len(x) < size:
        return [slice(0, len(x))]
    return [slice(i, i + size) for i in range(0, len(x) - size + 1, size)]


def terms(loss: losses.Loss, changed: F32, target: F32, parts: Sequence[slice]) -> dict[str, dict[str, float]]:
    """Term -> value and length of gradient, means over the segments."""
    value: dict[str, float] = {}
    pull: dict[str, float] = {}
    for part in parts:
        x = torch.from_numpy(changed[part].copy())[None].requires_grad_()
        _, named = loss(x, torch.from_numpy(target[part].copy())[None])
        for i, (name, term) in enumerate(named.items()):
            (gradient,) = torch.autograd.grad(term, x, retain_graph=i + 1 < len(named))
            value[name] = value.get(name, 0.0) + term.item() / len(parts)
            pull[name] = pull.get(name, 0.0) + float(gradient.norm()) / len(parts)
    return {name: {"value": value[name], "gradient": pull[name]} for name in value}


def study(
    clip: Path,
    config: LabConfig,
    *,
    names: Sequence[str],
    seconds: float,
    noise_db: float,
    gain_db: float,
    delay_samples: int,
    advance: Callable[[], None],
) -> tuple[dict[str, Any], Figure, str, list[str]]:
    """Results, picture, table and notes; `advance` is called once per loss and change."""
    notes: list[str] = []
    (sound,) = recordings([clip], config, seconds, notes)
    x, rate = sound.samples, config.sample_rate
    parts = segments(x, rate)
    if len(x) > parts[-1].stop:
        notes.append(f"{clip.name}: the last {len(x) - parts[-1].stop} samples do not fill a segment and are left out")
    copies = changes(x, noise_db=noise_db, gain_db=gain_db, delay_samples=delay_samples, seed=config.seed)
    rows = []
    for name in names:
        spec = None if name in OWN_BANK else config.bank
        loss = losses.make(name, sample_rate=rate, spec=spec)
        if parts[0].stop < loss.shortest_samples:
            raise AudioError(
                f"{clip}: {parts[0].stop} samples are too short for the loss {name}, which needs "
                f"{loss.shortest_samples}; take a longer clip, or leave the loss out"
            )
        for change, copy in copies.items():
            found = terms(loss, copy, x, parts)
            rows += [{"loss": name, "change": change, "term": t, **v} for t, v in _shares(found).items()]
            advance()
    results = {"segments": len(parts), "segment_samples": parts[0].stop, "rows": rows}
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
