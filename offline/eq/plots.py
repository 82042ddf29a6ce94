"""Pictures of the adaptive EQ: curves of words, the latent map, before and after. Object interface only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...plugins._adaptive.curve import F64, grid, response_db
from ...plugins._adaptive.model import Model
from ...plugins._adaptive.spectrum import Sound, centers

_BESIDE = ((4, 3), (4, -11), (4, 14), (4, -22), (4, 25), (4, -33))  # places of a name beside its mark, in points
_BLUE, _RED, _GREY, _GREEN = "#1f5fa8", "#c23b22", "#777777", "#2e7d32"


def _frequency_axis(axes: Any) -> None:
    axes.set_xscale("log")
    axes.set_xlim(20, 20_000)
    ticks = [20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000]
    axes.set_xticks(ticks, [f"{t // 1000} k" if t >= 1000 else str(t) for t in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def word_curves(model: Model, names: Sequence[str]) -> Figure:
    """The curve of each word with the spread of people's settings about it."""
    columns = 3
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(11, 2.6 * rows), layout="constrained")
    for i, axes in enumerate(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()):
        if i >= len(names):
            axes.set_visible(False)
            continue
        word = model.word(names[i])
        freqs = grid(200)
        curve = response_db(model.decode(word.z), freqs)
        axes.fill_between(
            model.centers_hz, word.curve_db - word.spread_db, word.curve_db + word.spread_db, color=_BLUE, alpha=0.15
        )
        axes.plot(freqs, curve, color=_BLUE, linewidth=2)
        axes.axhline(0, color=_GREY, linewidth=0.8)
        few = f", leans on {word.family!r}" if word.is_rare else ""
        axes.set_title(f"{word.name}: {word.count} settings{few}", fontsize=10)
        axes.set_ylim(-16, 16)
        _frequency_axis(axes)
        axes.tick_params(axis="x", labelsize=8, rotation=45)
        if i % columns == 0:
            axes.set_ylabel("gain, dB")
        if i + columns >= len(names):
            axes.set_xlabel("frequency, Hz")
    figure.suptitle("Words as curves (true response of the setting), with ±1 standard deviation of people's curves")
    return figure


def latent_map(model: Model, latents: F64, labels: Sequence[str], shown: Sequence[str]) -> Figure:
    """Settings and words in the plane of the two directions in which the latents differ most."""
    centre = latents.mean(axis=0)
    _, size, axes_of = np.linalg.svd(latents - centre, full_matrices=False)
    flat = (latents - centre) @ axes_of[:2].T
    share = 100 * size[:2] ** 2 / (size**2).sum()
    figure = Figure(figsize=(8.5, 7), layout="constrained")
    axes = figure.subplots()
    label = np.array(labels)
    for name, colour in (("warm", _RED), ("bright", _BLUE)):
        mine = label == name
        axes.scatter(
            flat[mine, 0],
            flat[mine, 1],
            s=9,
            color=colour,
            alpha=0.35,
            label=f"people's settings: {name}",
            linewidths=0,
        )
    other = ~np.isin(label, ["warm", "bright"])
    axes.scatter(flat[other, 0], flat[other, 1], s=9, color=_GREY, alpha=0.5, label="other words", linewidths=0)
    spots = [(name, *(model.word(name).z - centre) @ axes_of[:2].T) for name in shown]
    placed: list[tuple[float, float]] = []
    for name, x, y in spots:
        axes.plot(x, y, "k+", markersize=8)
        free = (p for p in _BESIDE if all(abs(x - u) > 0.9 or abs(y + p[1] / 50 - v) > 0.18 for u, v in placed))
        offset = next(free, _BESIDE[0])
        placed.append((x, y + offset[1] / 50))
        axes.annotate(name, (x, y), xytext=offset, textcoords="offset points", fontsize=10, weight="bold")
    axes.set_xlabel(f"first principal direction of the latents ({share[0]:.0f} % of their variance)")
    axes.set_ylabel(f"second ({share[1]:.0f} %)")
    axes.set_title("Latent map: settings, and where the words stand")
    axes.legend(loc="best")
    axes.grid(alpha=0.3)
    return figure


Column = tuple[str, Sound, Sound, F64, float]  # title, spectrum before and after, setting, sample rate


def before_after(rows: Sequence[Column]) -> Figure:
    """Spectra before and after, and the filter between them; one column per piece."""
    figure = Figure(figsize=(4.6 * max(len(rows), 1.4), 6.2), layout="constrained")
    grid_of = figure.subplots(2, len(rows), sharex=True, sharey="row", squeeze=False)
    for i, (title, before, after, setting, rate) in enumerate(rows):
        top, bottom = grid_of[0, i], grid_of[1, i]
        hz = centers(len(before.levels_db))
        for sound, colour, name in ((before, _GREY, "before"), (after, _RED, "after")):
            level = np.where(sound.valid, sound.levels_db, np.nan)
            top.plot(hz, level - np.nanmax(before.levels_db), color=colour, linewidth=1.8, label=name)
        top.set_title(title, fontsize=10)
        top.set_ylim(-70, 10)
        freqs = grid(200, 20.0, min(20_000.0, 0.49 * rate))
        bottom.plot(freqs, response_db(setting, freqs, rate), color=_GREEN, linewidth=2)
        bottom.axhline(0, color=_GREY, linewidth=0.8)
        bottom.set_ylim(-12, 12)
        bottom.set_xlabel("frequency, Hz")
        for axes in (top, bottom):
            _frequency_axis(axes)
            axes.tick_params(axis="x", labelsize=8, rotation=45)
        if i == 0:
            top.set_ylabel("band level, dB re loudest band before")
            bottom.set_ylabel("filter (true response), dB")
            top.legend(loc="lower left")
    return figure


def profiles(rows: Sequence[tuple[str, dict[str, float]]], count: int = 12) -> Figure:
    """The likeness of each file to the words: bars in standard deviations of music."""
    figure = Figure(figsize=(4.6 * max(len(rows), 1.2), 0.32 * count + 1.6), layout="constrained")
    for axes, (title, found) in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        best = sorted(found.items(), key=lambda x: -abs(x[1]))[:count]
        best.sort(key=lambda x: x[1])
        axes.barh([n for n, _ in best], [v for _, v in best], color=[_BLUE if v > 0 else _RED for _, v in best])
        axes.axvline(0, color=_GREY, linewidth=0.8)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("likeness, standard deviations of music (0: average)")
        axes.grid(alpha=0.3, axis="x")
    return figure


def timeline(rows: Sequence[dict[str, Any]], names: Sequence[str], title: str) -> Figure:
    """Likeness to some words over the length of a file."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    times = [r["start_s"] for r in rows]
    for name in names:
        axes.plot(times, [np.nan if r["profile"] is None else r["profile"][name] for r in rows], label=name)
    axes.axhline(0, color=_GREY, linewidth=0.8)
    axes.set_xlabel("start of the window, s")
    axes.set_ylabel("likeness, standard deviations of music")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="best", ncols=2)
    axes.grid(alpha=0.3)
    return figure
