"""Pictures of every step. Matplotlib's object interface only, so that nothing global is touched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...wholefile import whole
from ..audio import load_mono
from . import modelfile as mf
from .analysis import NAMES, Reading
from .compare import compare
from .score import Score
from .spectra import amplitudes, hann
from .symbols import EMPTY, MEANINGS
from .synth import Sound, Trace

F32 = NDArray[np.float32]

_SHOWN_S = 20.0
_RANGE_DB = 80.0


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Writes a picture, whole or not at all; the suffix chooses the format."""
    with whole(path) as part:
        figure.savefig(part, dpi=130)


def _spectrum_db(path: str | os.PathLike[str], seconds: float, rate: int = 22_050) -> F32:
    """Spectrogram in dB below its top [shape=(bins, frames)] of the first seconds."""
    x = load_mono(path, rate, seconds=seconds).samples
    n, hop = 2048, 512
    x = np.pad(x, n // 2)
    frames = np.lib.stride_tricks.sliding_window_view(x, n)[::hop] if len(x) >= n else np.pad(x, (0, n - len(x)))[None]
    db = 20 * np.log10(np.maximum(amplitudes(np.ascontiguousarray(frames), hann(n)), 1e-6))
    out: F32 = np.maximum(db - db.max(), -_RANGE_DB).T
    return out


def _draw_spectrum(ax: Any, db: F32, seconds: float, top_hz: float, rate: int = 22_050) -> Any:
    image = ax.imshow(
        db, origin="lower", aspect="auto", extent=(0, seconds, 0, rate / 2000), cmap="magma", interpolation="nearest"
    )
    ax.set_ylim(0, top_hz / 1000)
    ax.set_ylabel("frequency (kHz)")
    return image


def peaks_figure(path: Path, reading: Reading, settings: mf.Settings) -> Figure:
    """Spectral peaks over the spectrogram, and the onsets of the steps below, of the first 20 s."""
    seconds = min(_SHOWN_S, reading.track.seconds)
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    image = _draw_spectrum(top, _spectrum_db(path, seconds), seconds, settings.high_hz)
    figure.colorbar(image, ax=top, label="level (dB below the loudest)", pad=0.01)
    time = reading.peaks.frame * settings.hop / settings.sample_rate
    shown = time < seconds
    top.scatter(time[shown], reading.peaks.freq_hz[shown] / 1000, s=1.5, c="cyan", linewidths=0, label="peaks")
    top.legend(loc="upper right", markerscale=5)
    top.set_title(f"{reading.track.name}: peaks over the spectrogram")
    steps = reading.track.steps
    low.vlines(steps.time_s, 0, steps.onset, color="tab:blue")
    low.set(xlim=(0, seconds), ylim=(0, 1.05), xlabel="time (s)", ylabel="onset strength")
    low.set_title(f"steps: quarter beats at {reading.track.tempo_bpm:.1f} beats a minute", fontsize=10)
    return figure


def grid_figure(model: mf.Model, symbols: Sequence[str], kind: str) -> Figure:
    """The symbol grid, coloured by symbol; for the map also its pitch classes and how often each node is used."""
    som = kind == "som" and model.map is not None
    figure = Figure(figsize=(12, 9 if som else 5.5), layout="constrained")
    if som:
        boxes = figure.subplots(2, 2, height_ratios=[1.2, 1])
        ax = figure.add_subplot(boxes[0, 0].get_gridspec()[0, :])
        boxes[0, 0].remove()
        boxes[0, 1].remove()
    else:
        ax = figure.subplots()
    _draw_symbols(ax, symbols)
    if not som:
        ax.set_title(f"{model.tracks[0].name}: blocks of the spectrogram")
        ax.set(xlabel="time, from beginning to end", ylabel="frequency, high at the top")
        return figure
    m = model.require_map()
    ax.set_title("The map: a symbol for each node")
    ax.set(xlabel="column (louder to the right)", ylabel="row (brighter to the top)")
    weights = np.array(m.weights).reshape(m.rows, m.columns, -1)
    strongest = weights[:, :, :12].argmax(axis=2)
    cmap = ListedColormap([matplotlib.colormaps["hsv"](k / 12) for k in range(12)])
    image = boxes[1, 0].imshow(strongest, origin="lower", aspect="auto", cmap=cmap, vmin=-0.5, vmax=11.5)
    bar = figure.colorbar(image, ax=boxes[1, 0], ticks=range(12))
    bar.ax.set_yticklabels(NAMES)
    boxes[1, 0].set_title("strongest pitch class", fontsize=10)
    count = np.bincount(np.concatenate([t.path for t in model.tracks]), minlength=m.rows * m.columns)
    image = boxes[1, 1].imshow(count.reshape(m.rows, m.columns), origin="lower", aspect="auto", cmap="viridis")
    figure.colorbar(image, ax=boxes[1, 1], label="steps")
    boxes[1, 1].set_title("steps of the music in each node", fontsize=10)
    for box in boxes[1]:
        box.set(xlabel="column", ylabel="row")
    return figure


def _draw_symbols(ax: Any, symbols: Sequence[str]) -> None:
    known = [*MEANINGS, EMPTY]
    cells = np.array([[known.index(c) for c in row] for row in symbols])
    colours = ["#7a0403", "#e4632d", "#f3c63a", "#6ccf7f", "#a8d3f0", "#f4f4f4"]
    ax.imshow(cells, aspect="auto", cmap=ListedColormap(colours), vmin=-0.5, vmax=5.5)
    # The bundled font has no treble clef; its place is taken by words in the legend and the colour.
    for r, row in enumerate(symbols):
        for c, sign in enumerate(row):
            if sign != EMPTY:
                ink = "white" if sign == known[0] else "black"
                ax.text(c, r, sign if ord(sign) < 0x10000 else "G", ha="center", va="center", fontsize=9, color=ink)
    ax.set_yticks(range(len(symbols)), range(len(symbols) - 1, -1, -1), fontsize=7)
    handles = [
        matplotlib.patches.Patch(color=colours[k], label=f"{s if ord(s) < 0x10000 else 'G clef'}  {MEANINGS[s]}")
        for k, s in enumerate(MEANINGS)
    ]
    handles.append(matplotlib.patches.Patch(facecolor=colours[-1], edgecolor="0.6", label="no step here"))
    ax.figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9)


def states_figure(score: Score, trace: Trace) -> Figure:
    """Phases of the oscillators, the order parameters, and the walk's nodes over time."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    top, middle, low = figure.subplots(3, 1, sharex=True, height_ratios=[1.3, 1, 1])
    phases = np.array(trace.phases_rad)
    time = np.array(trace.time_s)
    end = float(time[-1]) if len(time) else 0.0
    image = top.imshow(
        phases.T,
        aspect="auto",
        origin="lower",
        cmap="twilight",
        extent=(0, end, 0, phases.shape[1]),
        vmin=-np.pi,
        vmax=np.pi,
    )
    figure.colorbar(image, ax=top, label="phase (rad)", pad=0.01)
    top.set(ylabel="oscillator")
    top.set_title(f"coupling {score.play.coupling:g} (1 is the locking border), perturbation {score.play.perturb:g}")
    middle.plot(time, trace.note_r, label="r over the voices of a note, mean")
    middle.plot(time, trace.locking, label="locking of the coupled pairs, mean")
    middle.plot(time, trace.r, label="r over all oscillators", alpha=0.6)
    middle.set(ylim=(0, 1.05), ylabel="order parameter")
    middle.legend(loc="center right", fontsize=8)
    step_s = 60.0 / score.tempo_bpm / score.steps_per_beat
    low.scatter(np.arange(len(score.node)) * step_s, score.node, c=score.track, s=5, cmap="tab10", vmin=0, vmax=9)
    low.set(xlabel="time (s)", ylabel="node of the map", xlim=(0, max(end, 1e-3)))
    low.set_title("the walk; colours are tracks", fontsize=10)
    return figure


def compare_figure(source: Path, result: Path, found: dict[str, Any]) -> Figure:
    """Spectrograms and pitch-class profiles of source and result side by side."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    boxes = figure.subplots(2, 2, height_ratios=[1.4, 1])
    image: Any = None
    for ax, path, side in zip(boxes[0], (source, result), ("source", "result"), strict=True):
        seconds = min(_SHOWN_S, found[side]["seconds"])
        image = _draw_spectrum(ax, _spectrum_db(path, seconds), seconds, 5000.0)
        ax.set_title(f"{side}: {found[side]['name']}")
        ax.set_xlabel("time (s)")
    figure.colorbar(image, ax=boxes[0, :].tolist(), label="level (dB below the loudest)", pad=0.01)
    for ax, side, colour in zip(boxes[1], ("source", "result"), ("tab:blue", "tab:orange"), strict=True):
        ax.bar(NAMES, found[side]["pitch_classes"], color=colour)
        ax.set(ylabel="mean chroma", ylim=(0, None))
        ax.set_title(f"{side}: {found[side]['tempo_bpm']:.1f} beats a minute", fontsize=10)
    figure.suptitle(
        f"pitch-class correlation {found['pitch_class_correlation']:.2f}, tempo ratio {found['tempo_ratio']:.3f}, "
        f"best aligned waveform correlation {found['waveform_correlation']:.2f}"
    )
    return figure


def all_pictures(
    folder: Path,
    model: mf.Model,
    readings: Sequence[Reading],
    score: Score,
    sound: Sound,
    sources: Sequence[Path],
    result: Path,
    symbols: Sequence[str],
) -> list[Path]:
    """All four pictures into a folder: peaks, grid, states, compare."""
    kind = "som" if model.map is not None and symbols == model.map.symbols else "block"
    pictures = {
        "peaks": peaks_figure(sources[0], readings[0], model.settings),
        "grid": grid_figure(model, symbols, kind),
        "states": states_figure(score, sound.trace),
        "compare": compare_figure(sources[0], result, compare(sources[0], result).to_json()),
    }
    paths = []
    for name, figure in pictures.items():
        paths.append(folder / f"{name}.png")
        save(figure, paths[-1])
    return paths
