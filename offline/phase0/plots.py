"""The pictures of a run: one file each, small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...wholefile import whole

NAMES = ("cluster_sizes", "variance_vs_size", "cluster_means", "vr_vs_confidence", "per_speaker")
_COLOURS = {"mean_vq64": "#1f5fa8", "pca8_vq256": "#c8541c", "pca8_quartile": "#3a8a45", "random": "#777777"}


def draw(folder: Path, cells: list[dict[str, Any]], title: str) -> list[Path]:
    """Writes the pictures of the first lag into a folder; gives their paths."""
    lag = min(c["lag"] for c in cells)
    first = [c for c in cells if c["lag"] == lag and "clusters" in c]
    out = []
    for name in NAMES:
        figure = Figure(figsize=(7.5, 2.9 if name == "cluster_means" else 4.4), layout="constrained")
        figure.suptitle(f"{title}, lag {lag}", fontsize=10)
        globals()[f"_{name}"](figure, first)
        with whole(folder / f"{name}.png") as part:
            figure.savefig(part, dpi=100)
        out.append(folder / f"{name}.png")
    return out


def _nothing(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)


def _cluster_sizes(figure: Figure, cells: list[dict[str, Any]]) -> None:
    axes = figure.subplots()
    for c in cells:
        counts = np.sort(c["clusters"]["train_counts"])[::-1]
        axes.plot(
            np.arange(1, len(counts) + 1), counts, ".-", color=_COLOURS[c["condition"]], label=c["condition"], lw=1
        )
    axes.set(xscale="log", yscale="log", xlabel="rank of the cluster", ylabel="training rows")
    if cells:
        axes.legend(fontsize=8)
    else:
        _nothing(axes, "no cluster is large enough")


def _variance_vs_size(figure: Figure, cells: list[dict[str, Any]]) -> None:
    axes = figure.subplots()
    for c in cells:
        k = c["clusters"]
        axes.plot(
            k["train_counts"], k["variance"], ".", color=_COLOURS[c["condition"]], label=c["condition"], ms=4, alpha=0.7
        )
    axes.axhline(1.0, color="black", lw=0.8, ls="--", label="all training rows")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="training rows in the cluster",
        ylabel="variance of the step in it\n(z-scored, mean over dimensions)",
    )
    axes.legend(fontsize=8)


def _cluster_means(figure: Figure, cells: list[dict[str, Any]]) -> None:
    grid = figure.subplots(1, max(1, len(cells)), squeeze=False)[0]
    reach = max((float(np.abs(c["clusters"]["mean_xy"]).max()) for c in cells), default=1.0) * 1.1 or 1.0
    for axes, c in zip(grid, cells, strict=False):
        xy = np.array(c["clusters"]["mean_xy"])
        size = 4 + 60 * np.array(c["clusters"]["train_counts"]) / max(c["clusters"]["train_counts"])
        axes.scatter(xy[:, 0], xy[:, 1], s=size, color=_COLOURS[c["condition"]], alpha=0.6, lw=0)
        axes.axhline(0, color="black", lw=0.5)
        axes.axvline(0, color="black", lw=0.5)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        axes.set_title(c["condition"], fontsize=9)
        axes.tick_params(labelsize=7)
    grid[0].set_ylabel("2nd axis [sd]", fontsize=8)
    figure.supxlabel("1st axis of the clusters' mean steps [sd of all steps]", fontsize=8)
    if not cells:
        _nothing(grid[0], "no cluster is large enough")


def _vr_vs_confidence(figure: Figure, cells: list[dict[str, Any]]) -> None:
    axes = figure.subplots()
    some = [c for c in cells if c.get("confidence")]
    for c in some:
        for split, style in (("train", "-"), ("eval", "--")):
            points = c["confidence"][split]
            q = [100 * p["kept_quantile"] for p in points]
            vr = [np.nan if p["vr_debiased"] is None else p["vr_debiased"] for p in points]
            axes.plot(q, vr, style, marker=".", color=_COLOURS[c["condition"]], label=f"{c['condition']}, {split}")
        shared = [np.nan if p["transfer_vr"] is None else p["transfer_vr"] for p in c["confidence"]["eval"]]
        axes.plot(q, shared, ":", marker="x", ms=4, color=_COLOURS[c["condition"]], label=f"{c['condition']}, transfer")
    axes.axhline(1.0, color="black", lw=0.8)
    axes.set(
        xlabel="rows kept, the nearest to their centre first [% of training rows]", ylabel="variance ratio, debiased"
    )
    if some:
        axes.legend(fontsize=7, ncols=2)
    else:
        _nothing(axes, "no condition with centres")


def _per_speaker(figure: Figure, cells: list[dict[str, Any]]) -> None:
    axes = figure.subplots()
    some = [c for c in cells if c["condition"] != "random"]
    names = [(split, s) for split in ("train", "eval") for s in (some[0]["speakers"][split] if some else ())]
    if len(names) <= 24:
        for i, c in enumerate(some):
            at = np.arange(len(names)) + (i - (len(some) - 1) / 2) * 0.25
            vr = [_value(c, *who, "vr_debiased") for who in names]
            shared = [_value(c, *who, "transfer_vr") for who in names]
            axes.plot(at, vr, "o", ms=5, color=_COLOURS[c["condition"]], label=f"{c['condition']}, own means")
            axes.plot(at, shared, "x", ms=6, color=_COLOURS[c["condition"]], label=f"{c['condition']}, transfer")
        axes.set_xticks(
            range(len(names)), [f"{s}\n({split})" for split, s in names], rotation=40, ha="right", fontsize=7
        )
        axes.set_ylabel("variance ratio")
    else:
        for c in some:
            vr = [_value(c, *who, "vr_debiased") for who in names]
            axes.hist(
                [v for v in vr if np.isfinite(v)],
                bins=30,
                histtype="step",
                color=_COLOURS[c["condition"]],
                label=f"{c['condition']}, own means",
            )
            shared = [v for v in (_value(c, *who, "transfer_vr") for who in names) if np.isfinite(v)]
            axes.hist(
                shared,
                bins=30,
                histtype="step",
                ls=":",
                color=_COLOURS[c["condition"]],
                label=f"{c['condition']}, transfer",
            )
        axes.set(xlabel="variance ratio of a speaker", ylabel="speakers")
    if some:
        axes.legend(fontsize=7)
    else:
        _nothing(axes, "no cluster is large enough")


def _value(cell: dict[str, Any], split: str, speaker: str, key: str) -> float:
    found = cell["speakers"][split].get(speaker, {}).get(key)
    return float("nan") if found is None else float(found)
