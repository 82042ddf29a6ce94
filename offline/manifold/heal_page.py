"""The tables and the picture of the healing study."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from .heal import LENGTHS_MS, REFERENCE


def lines(rows: list[dict[str, Any]], key: str, title: str) -> list[str]:
    """A table of one figure, mean ± 95 % over clips; bold where better than the reference beyond doubt."""
    names = list(dict.fromkeys(r["row"] for r in rows))
    out = [
        title,
        "",
        "| | " + " | ".join(f"{ms:g} ms" for ms in LENGTHS_MS) + " |",
        "|---|" + "---:|" * len(LENGTHS_MS),
    ]
    better = -1.0 if key == "stft_db" else 1.0
    for name in names:
        cells = []
        for ms in LENGTHS_MS:
            row = next(r for r in rows if r["row"] == name and r["ms"] == ms)
            cell = f"{row[key]:.2f} ± {row[key + '_ci']:.2f}"
            sure = name != REFERENCE and better * row[key + "_apart"] > row[key + "_apart_ci"]
            cells.append(f"**{cell}**" if sure else cell)
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*out, ""]


def picture(rows: list[dict[str, Any]], title: str) -> Figure:
    """Gap SI-SNR and STFT distance over the length of the losses."""
    figure = Figure(figsize=(11.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = list(dict.fromkeys(r["row"] for r in rows))
    for axis, key, label in (
        (left, "gap_snr_db", "SNR in the gaps [dB]"),
        (right, "stft_db", "difference of levels [dB], less is better"),
    ):
        for i, name in enumerate(names):
            own = [r for r in rows if r["row"] == name]
            at = [r["ms"] * 1.02 ** (i - len(names) / 2) for r in own]
            axis.errorbar(at, [r[key] for r in own], [r[key + "_ci"] for r in own], marker="o", capsize=2, label=name)
        axis.set_xscale("log")
        axis.set_xticks(LENGTHS_MS, [f"{ms:g}" for ms in LENGTHS_MS])
        axis.minorticks_off()
        axis.set_xlabel("length of a lost packet [ms]")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(title)
    return figure
