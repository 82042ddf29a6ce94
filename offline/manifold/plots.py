"""Pictures: sequences, curves of a training, a filled gap, phase portraits."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def sequences(noisy: F64, clean: F64, title: str) -> Figure:
    """The first sequences of a batch [shape=(batch, length, channels)]: channels as an image, and channel 0."""
    count = min(3, len(clean))
    figure = Figure(figsize=(4.0 * count, 5.0), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False, sharex=True)
    for i in range(count):
        limit = float(np.max(np.abs(clean[i]))) or 1.0
        image = axes[0, i].imshow(clean[i].T, aspect="auto", origin="lower", cmap="RdBu", vmin=-limit, vmax=limit)
        axes[0, i].set_title(f"sequence {i}")
        axes[1, i].plot(noisy[i, :, 0], color="0.7", label="noisy (input)")
        axes[1, i].plot(clean[i, :, 0], color="C0", label="clean (target)")
        axes[1, i].set_xlabel("frame")
    axes[0, 0].set_ylabel("channel")
    axes[1, 0].set_ylabel("channel 0")
    axes[1, 0].legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=8, frameon=False)
    figure.colorbar(image, ax=axes[0], label="value")
    figure.suptitle(title)
    return figure


def curves(history: list[dict[str, float]], title: str) -> Figure:
    """Every term of the loss, and the held-out figures, over epochs."""
    figure = Figure(figsize=(12.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(history) + 1)
    aside = ("step", "seconds", "cpu_seconds", "loss", "norm_error", "latent_rank", "latent_entropy")
    for key in history[0]:
        values = [row.get(key, np.nan) for row in history]
        if key.startswith(("held_out", "oracle_rmse")):
            right.plot(epochs, values, marker="o", label=key.removeprefix("held_out_").replace("_", " "))
        elif key not in aside and not key.startswith(("gradient", "gap")):
            left.plot(epochs, values, marker="o", label=key.replace("_", " "))
    for axis, name in ((left, "terms of the loss (training, unweighted)"), (right, "held-out figures")):
        axis.set_yscale("log")
        axis.set_xlabel("epoch")
        axis.set_title(name)
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
        if axis.get_lines():
            axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.suptitle(title)
    return figure


def gap(clean: F64, filled: F64, lost: NDArray[np.bool_], others: dict[str, F64], title: str) -> Figure:
    """A sequence with a gap [shape=(length, channels)]: truth, gap and filling, channel 0 and the error."""
    figure = Figure(figsize=(10.0, 6.0), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    frames = np.arange(len(clean))
    inside = np.where(lost, 1.0, np.nan)
    top.plot(frames, clean[:, 0], color="k", lw=2.5, alpha=0.35, label="clean")
    top.plot(frames, filled[:, 0] * inside, color="C3", label="manifold")
    for name, other in others.items():
        top.plot(frames, other[:, 0] * inside, lw=1.0, ls="--", label=name)
    for name, value in {"manifold": filled, **others}.items():
        error = np.sqrt(np.mean((value - clean) ** 2, axis=1))
        colour = "C3" if name == "manifold" else None
        bottom.plot(frames, error * inside, color=colour, label=name, ls="-" if name == "manifold" else "--")
    bottom.set_yscale("log")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(int))).reshape(-1, 2)
    for axis in (top, bottom):
        for a, b in edges:
            axis.axvspan(a - 0.5, b - 0.5, color="0.92", zorder=0)
        axis.set_xlim(-0.5, len(clean) - 0.5)
        axis.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, frameon=False)
    top.set_ylabel("channel 0")
    bottom.set_ylabel("error over channels (rms)")
    bottom.set_xlabel("frame; the gap is grey")
    figure.suptitle(title)
    return figure


def portrait(tracks: dict[str, F64], title: str) -> Figure:
    """Latent tracks [shape=(length, latent)] in the plane of their two largest components, with ten arrows each."""
    rows = 2 if len(tracks) % 2 == 0 else 1
    figure = Figure(figsize=(4.0 * len(tracks) / rows, 4.2 * rows), layout="constrained")
    axes = figure.subplots(rows, len(tracks) // rows, squeeze=False).ravel()
    for axis, (name, z) in zip(axes, tracks.items(), strict=True):
        centred = z - z.mean(axis=0)
        _, s, vh = np.linalg.svd(centred, full_matrices=False)
        p: Any = centred @ vh[:2].T
        axis.plot(p[:, 0], p[:, 1], lw=0.8, color="C0")
        at = np.linspace(0, len(p) - 2, 10).astype(int)
        step = p[at + 1] - p[at]
        axis.quiver(
            p[at, 0],
            p[at, 1],
            step[:, 0],
            step[:, 1],
            angles="xy",
            color="C1",
            width=0.008,
            scale_units="xy",
            scale=1.0,
        )
        axis.plot(*p[0], "o", color="C2", label="start")
        axis.plot(*p[-1], "s", color="C3", label="end")
        share = float(np.sum(s[:2] ** 2) / max(float(np.sum(s**2)), 1e-20))
        axis.set_title(f"{name}\n{100 * share:.0f} % of the variance", fontsize=9)
        axis.set_xlabel("component 1")
        axis.set_aspect("equal", "datalim")
    axes[0].set_ylabel("component 2")
    axes[0].legend(fontsize=8)
    figure.suptitle(title)
    return figure
