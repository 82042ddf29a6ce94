"""The recall study's descriptors, its tables of shares and verdicts, and its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..bank import BankSpec
from ..config import LabConfig
from .choose import BEST_BANK, WIDE_BANK
from .descriptors import BankStates, Descriptor, EsnStates, LogMel, MultiStft, WaveformWindow
from .markdown import table
from .quantise import StoredRows
from .recall import CONDITIONS, Study, verdict, wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHAMPION = "CSpace best, cosine"
WIDE = "CSpace wide, cosine"
_KINDS = ("exact", "near")


def descriptors(config: LabConfig) -> list[Descriptor]:
    """All of the study, at the settings' sample rate: CSpace as found best, as built before, and every baseline."""
    rate = config.sample_rate
    best = BankStates(BEST_BANK, rate, weighting="white", unit=True, name=CHAMPION)
    return [
        best,
        BankStates(BEST_BANK, rate, weighting="white", name="CSpace best, plain"),
        StoredRows(best, "int8 per channel", name="CSpace best, cosine, int8"),
        BankStates(WIDE_BANK, rate, weighting="white", unit=True, name=WIDE),
        BankStates(config.bank, rate, name="bank of the settings, unweighted"),
        BankStates(BankSpec.original(), rate, name="legacy bank of the original"),
        WaveformWindow(257, rate),
        WaveformWindow(257, rate, unit=True),
        WaveformWindow(513, rate),
        WaveformWindow(513, rate, unit=True),
        WaveformWindow(1025, rate),
        WaveformWindow(1025, rate, unit=True),
        WaveformWindow(2049, rate, unit=True),
        LogMel(rate),
        MultiStft(rate),
        EsnStates(config.esn, rate),
    ]


def grid(config: LabConfig) -> list[Descriptor]:
    """What was tried on the tuning set to find CHAMPION (256 numbers) and WIDE (any number)."""
    rate = config.sample_rate
    found: list[Descriptor] = [WaveformWindow(n, rate, unit=u) for n in (257, 1025) for u in (False, True)]
    found.append(WaveformWindow(2049, rate, unit=True))
    tried: list[tuple[int, float, float, float, dict[str, Any]]] = [
        (n, low, high, q, {"unit": unit})
        for n, low, high, q in (
            (64, 40, 11_000, 8), (64, 80, 6000, 8), (64, 80, 6000, 20), (64, 80, 6000, 40),
            (64, 150, 4000, 10), (64, 150, 4000, 20), (64, 150, 4000, 40),
        )
        for unit in (False, True)
    ]  # fmt: skip
    tried += [
        (n, low, high, q, {"unit": True})
        for n, low, high, q in (
            (64, 100, 5000, 60), (128, 80, 6000, 20), (128, 80, 6000, 40), (128, 80, 8000, 40),
            (256, 80, 6000, 40), (256, 80, 8000, 80),
        )
    ]  # fmt: skip
    tried.append((64, 80, 6000, 20, {"unit": True, "weighting": "diagonal"}))
    tried.append((64, 80, 6000, 20, {"unit": True, "ridge": 0.1}))
    tried.append((64, 150, 4000, 20, {"unit": True, "halves": "forward"}))
    for n, low, high, q, options in tried:
        extra = [f"{k} {v}" for k, v in options.items() if k != "unit"] + ["cosine"] * options["unit"]
        name = f"{n} oscillators, {low:g}–{high:g} Hz, q {q:g}{''.join(', ' + e for e in extra)}"
        bank = BankSpec(oscillators=n, low_hz=low, high_hz=high, q=q)
        found.append(BankStates(bank, rate, name=name, **({"weighting": "white"} | options)))
    return found


#: What settings were chosen by: the mean share of exact samples over these, at active places.
CRITERION = [c for c in CONDITIONS if c != "GSM"]


def ranking(study: Study) -> list[list[str]]:
    """Descriptors by their mean share of exact samples over the changes of CRITERION, best first."""
    means = {
        name: [100 * float(np.mean([study.hits("active", name, c, k).mean() for c in CRITERION])) for k in _KINDS]
        for name in study.dims
    }
    lines = [["descriptor", "numbers", "exact, mean %", "± 2, mean %", *study.conditions]]
    for name in sorted(means, key=lambda n: -means[n][0]):
        each = [f"{100 * study.hits('active', name, c, 'exact').mean():.1f}" for c in study.conditions]
        lines.append([name, str(study.dims[name]), *(f"{m:.1f}" for m in means[name]), *each])
    return lines


def shares(study: Study, places: str, kind: str) -> list[list[str]]:
    """Percent found with its 95 % interval: a line per descriptor, a column per change."""
    lines = [["descriptor", "numbers", *study.conditions]]
    for name, dims in study.dims.items():
        cells = []
        for c in study.conditions:
            hits = study.hits(places, name, c, kind)
            low, high = wilson(int(hits.sum()), len(hits))
            cells.append(f"{100 * hits.mean():.1f} ({100 * low:.0f}–{100 * high:.0f})")
        lines.append([name, str(dims), *cells])
    return lines


def verdicts(study: Study, ours: str, places: str, kind: str) -> list[list[str]]:
    """Of `ours` against each other descriptor: won, level or lost and the difference in points."""
    lines = [[f"{ours} against", "numbers", *study.conditions]]
    for name, dims in study.dims.items():
        if name == ours:
            continue
        cells = []
        for c in study.conditions:
            a, b = study.hits(places, ours, c, kind), study.hits(places, name, c, kind)
            cells.append(f"{verdict(a, b, study.piece_of[places])} {100 * (a.mean() - b.mean()):+.1f}")
        lines.append([name, str(dims), *cells])
    return lines


def picture(study: Study, places: str, title: str) -> Figure:
    """A panel per change: shares of the exact sample, descriptor by descriptor, with 95 % intervals."""
    from matplotlib.figure import Figure

    names = list(study.dims)
    columns = 4
    rows = -(-len(study.conditions) // columns)
    figure = Figure(figsize=(15, 0.27 * len(names) * rows + 1.6), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, c in zip(panels, study.conditions, strict=False):
        for y, name in enumerate(names):
            exact, near = (study.hits(places, name, c, k) for k in ("exact", "near"))
            color = "#1f4e79" if name.startswith("CSpace") else "#c05a00" if "bank" in name else "#777777"
            low, high = wilson(int(exact.sum()), len(exact))
            axes.barh(y, 100 * near.mean(), color=color, alpha=0.3)
            axes.barh(y, 100 * exact.mean(), color=color, alpha=0.75)
            axes.plot([100 * low, 100 * high], [y, y], color="black", linewidth=1.4)
        axes.set(xlim=(0, 100), title=c)
        axes.set_yticks(range(len(names)), [f"{n} ({study.dims[n]})" for n in names], fontsize=8)
    for axes in panels[len(study.conditions) :]:
        axes.set_visible(False)
    panels[0].invert_yaxis()
    figure.supxlabel("found, % (dark: exact sample, with 95 % interval; light: within ± 2 samples)")
    figure.suptitle(title)
    return figure


def _about(study: Study, which: str, piece_s: float) -> str:
    queries = {p: len(v) for p, v in study.piece_of.items()}
    groups = ", ".join(sorted({p.group or "all files" for p in study.pieces}))
    return (
        f"{len(study.pieces)} recordings ({which} set: {groups}), {piece_s:g} s of each searched; "
        f"{queries['active']} queries per cell at active places, {queries['anywhere']} at any places."
    )


def ranked_page(study: Study, which: str, piece_s: float) -> str:
    """The settings tried, best first, as Markdown."""
    head = f"{_about(study, which, piece_s)} Percent of exact samples at active places; the means are over all but GSM."
    return f"{head}\n\n{table(ranking(study))}"


def page(study: Study, which: str, piece_s: float) -> str:
    """All tables as Markdown."""
    queries = {p: len(v) for p, v in study.piece_of.items()}
    parts = [f"{_about(study, which, piece_s)} Percent found, with 95 % intervals (Wilson)."]
    for places in ("active", "anywhere"):
        if not queries[places]:
            continue
        where = "active places" if places == "active" else "any places, pauses and fades included"
        parts += [f"**Exact sample, {where}**", table(shares(study, places, "exact"))]
        parts += [f"**Within ± 2 samples, {where}**", table(shares(study, places, "near"))]
    for ours in (CHAMPION, WIDE):
        if ours in study.dims and len(study.dims) > 1:
            for kind, words in (("exact", "exact sample"), ("near", "within ± 2 samples")):
                parts += [
                    f"**{ours}, {words}, active places: won, level or lost, and the difference in points** "
                    "(95 % interval of the difference by drawing whole recordings)",
                    table(verdicts(study, ours, "active", kind)),
                ]
    return "\n\n".join(parts)
