"""The picture of `cspace lab spectrogram`."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from ..config import LabConfig

#: Shown below the strongest state.
RANGE_DB = 70.0
_COLUMNS = 1200


def thin(rows: NDArray[Any]) -> NDArray[Any]:
    """At most about 1200 rows, evenly spaced: a picture has no more columns."""
    return rows[:: max(1, len(rows) // _COLUMNS)]


def draw(
    config: LabConfig,
    window: NDArray[np.float32],
    halves: dict[str, NDArray[np.float32]],
    centers_hz: NDArray[np.float64],
    nodes: NDArray[np.float32] | None,
    index: int,
    results: dict[str, Any],
) -> Figure:
    """Waveform, magnitudes of both halves in dB over Hz, and the network's nodes, over milliseconds."""
    rate = config.sample_rate
    ms = (np.arange(len(window)) - len(window) // 2) / rate * 1000
    rows = 3 + (nodes is not None)
    figure = Figure(figsize=(10, 2.3 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, height_ratios=[0.6] + [1.0] * (rows - 1))
    axes[0].plot(ms, window, linewidth=0.6, color="black")
    axes[0].set_ylabel("sample value")
    axes[0].set_title(f"Around sample {index} ({index / rate:.3f} s, {rate} Hz)")
    top = max(results["forward_peak_db"], results["backward_peak_db"])
    for axis, (name, magnitude) in zip(axes[1:3], halves.items(), strict=True):
        level = 20 * np.log10(np.maximum(thin(magnitude), 1e-12)) - top
        mesh = axis.pcolormesh(
            thin(ms), centers_hz, level.T, vmin=-RANGE_DB, vmax=0.0, cmap="magma", shading="nearest", rasterized=True
        )
        axis.set_yscale("log")
        axis.set_ylabel("centre (Hz)")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda hz, _: f"{hz:g}"))
        axis.set_title(f"CSpace, {name}: |state|", fontsize=10)
        figure.colorbar(mesh, ax=axis, label="dB below the strongest", pad=0.01)
    if nodes is not None:
        mesh = axes[3].pcolormesh(
            thin(ms),
            np.arange(nodes.shape[1]),
            thin(nodes).T,
            norm=SymLogNorm(linthresh=0.01, vmin=-1.0, vmax=1.0),
            cmap="RdBu_r",
            shading="nearest",
            rasterized=True,
        )
        axes[3].set_ylabel("node, slow to fast")
        axes[3].set_title(
            f"Echo state network: {nodes.shape[1]} nodes, leak {config.esn.leak_low:g} to {config.esn.leak_high:g} "
            f"a sample, radius {results['esn_radius']:.4f}",
            fontsize=10,
        )
        figure.colorbar(mesh, ax=axes[3], label="state (logarithmic past ±0.01)", pad=0.01)
    for axis in axes:
        axis.axvline(0.0, color="tab:cyan", linewidth=0.8)
    axes[-1].set_xlim(ms[0], ms[-1])
    axes[-1].set_xlabel("time from the sample (ms)")
    return figure
