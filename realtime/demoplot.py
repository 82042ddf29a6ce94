"""The picture of the demo. Thread: control."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..wholefile import whole

if TYPE_CHECKING:
    from .demo import Gesture, Result

_COLOURS = ("#3b6fb6", "#c8553d", "#3a8f6b", "#8d5fa8", "#b8862b", "#4a8fa8")
_FFT, _HOP = 4096, 480


def _spectrogram(x: NDArray[np.float32], rate: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Seconds, Hz, dB of the mean of the channels; 0 dB is a full-scale sine."""
    mono = np.pad(x.mean(axis=0), (_FFT // 2, _FFT // 2))
    frames = np.lib.stride_tricks.sliding_window_view(mono, _FFT)[::_HOP]
    window = np.hanning(_FFT).astype(np.float32)
    spectrum = np.abs(np.fft.rfft(frames * window, axis=1)) / (window.sum() / 2)
    times = np.arange(len(frames)) * _HOP / rate
    return times, np.fft.rfftfreq(_FFT, 1 / rate), 20 * np.log10(spectrum.T + 1e-6)


def save_picture(result: Result, gestures: list[Gesture], path: Path) -> None:
    """Input and output spectrograms, CSpace bands, order parameter and OSC moves over one time axis."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: Any = {"font.size": 10, "axes.titlesize": 11, "axes.titlelocation": "left", "axes.titleweight": "bold"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(14, 13), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(
            5, 2, sharex="col", gridspec_kw={"height_ratios": [3, 3, 3, 1.6, 1.6], "width_ratios": [1, 0.012]}
        )
        axes, side = grid[:, 0], grid[:, 1]
        for ax, bar, x, title in (
            (axes[0], side[0], result.dry, "Input"),
            (axes[1], side[1], result.wet, "Output"),
        ):
            times, freqs, db = _spectrogram(x, result.rate)
            mesh = ax.pcolormesh(times, freqs[1:], db[1:], vmin=-95, vmax=-25, cmap="magma", rasterized=True)
            _log_hz(ax)
            ax.set_title(title)
            figure.colorbar(mesh, cax=bar, label="dB")
        times, db = result.bands
        mesh = axes[2].pcolormesh(
            times, result.centers_hz, db.T, vmin=-80, vmax=-20, cmap="viridis", shading="nearest", rasterized=True
        )
        _log_hz(axes[2])
        axes[2].set_title("CSpace: magnitude of the oscillator states")
        figure.colorbar(mesh, cax=side[2], label="dB")
        _order(axes[3], result)
        _moves(axes[4], result, gestures)
        for bar in side[3:]:
            bar.axis("off")
        for i, g in enumerate(gestures):
            for ax in axes:
                for t in (g.begin, g.end):
                    ax.axvline(t * result.seconds, color="white" if ax in axes[:3] else _colour(i), lw=0.8, ls=":")
        axes[-1].set_xlim(0, result.seconds)
        axes[-1].set_xlabel("time (s)")
        figure.suptitle(
            "CSpace demo: the bundled clip through ESN → CSpace → EQ → Kuramoto → limiter, moved by OSC", fontsize=13
        )
        with whole(path) as part:
            figure.savefig(part)


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]


def _log_hz(ax: Any) -> None:
    ax.set_yscale("log")
    ax.set_ylim(40, 16_000)
    ax.set_yticks([50, 100, 200, 500, 1000, 2000, 5000, 10_000], ["50", "100", "200", "500", "1k", "2k", "5k", "10k"])
    ax.minorticks_off()
    ax.set_ylabel("frequency (Hz)")


def _order(ax: Any, result: Result) -> None:
    times, r = result.order[0], result.order[1][:, 0]
    ax.plot(times, r, color="#c8553d", lw=1.2)
    ax.fill_between(times, r, color="#c8553d", alpha=0.15)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("r (0 to 1)")
    ax.set_title("Kuramoto: order parameter")
    ax.grid(alpha=0.25)


def _moves(ax: Any, result: Result, gestures: list[Gesture]) -> None:
    """Every OSC message as a tick, under the name of what it does."""
    for i, g in enumerate(gestures):
        addresses = {m.address for m in g.moves}
        first = min(m.at for m in g.moves) * result.seconds - 1e-6
        last = max(m.at for m in g.moves) * result.seconds + 1e-6
        times = [t for t, address, _ in result.moves if address in addresses and first <= t <= last]
        ax.axvspan(g.begin * result.seconds, g.end * result.seconds, color=_colour(i), alpha=0.15, lw=0)
        ax.vlines(times, 0.08, 0.45, color=_colour(i), lw=1.0)
        middle = (g.begin + g.end) / 2 * result.seconds
        ax.text(middle, 0.74, g.label.replace(" ", "\n", 1), ha="center", va="center", color=_colour(i), weight="bold")
    ax.set_ylim(0, 1)
    ax.set_yticks([])
    ax.set_title(f"OSC: {len(result.moves)} moves (ticks)")
