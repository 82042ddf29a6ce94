"""`cspace lab robustness`: every row of the original's two suites, on a changed copy, beside the baselines.

The original asked each configuration for a sample that was in its own database; every row matched,
whatever the network. Here the query comes from a changed copy, at the sample asked for and at many
active places, so that a row can fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio import F32, normalise_peak, require_index, require_sound
from ..bank import BankSpec
from ..config import LabConfig
from .choose import BEST_BANK, CSPACE_ROWS, ESN_ROWS, baselines
from .descriptors import BankStates, Descriptor, EsnStates, Weighting
from .perturb import Change, change
from .recall import NEAR, wilson
from .search import nearest, places_asked

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Row:
    """One configuration: what it found for the sample asked for, and how often it is right elsewhere."""

    suite: str
    name: str
    dims: int
    #: Spectral radius of W as it runs (ESN only); 0 for a nilpotent W.
    achieved_radius: float | None
    match: int
    error_samples: float
    distance: float
    beside_distance: float
    next_best_distance: float
    queries: int
    exact: int
    near: int

    @property
    def words(self) -> str:
        """Name, with what is to be known of the network."""
        if self.achieved_radius is None:
            return self.name
        kind = "nilpotent W" if self.achieved_radius == 0.0 else f"radius {self.achieved_radius:.4f}"
        return f"{self.name} ({kind})"


def configurations(config: LabConfig) -> list[tuple[str, Descriptor]]:
    """Suite and descriptor of each row; the suites run at the settings' sample rate and ESN radius."""
    rate = config.sample_rate
    rows: list[tuple[str, Descriptor]] = []
    for spec in ESN_ROWS:
        with_radius = spec.model_copy(update={"spectral_radius": config.esn.spectral_radius})
        esn = EsnStates(with_radius, rate)
        esn.name = f"{spec.nodes} nodes, seed {spec.seed}, density {spec.density:g}"
        rows.append(("ESN", esn))
    for bank in CSPACE_ROWS:
        name = (
            f"{bank.oscillators} nodes, {bank.low_hz:g}–{bank.high_hz:g} Hz, "
            f"r {bank.legacy_r_low:g}–{bank.legacy_r_high:g}"
        )
        rows.append(("CSpace, legacy", BankStates(bank, rate, name=name)))
    here: tuple[tuple[BankSpec, Weighting], ...] = ((config.bank, "none"), (config.bank, "white"), (BEST_BANK, "white"))
    for bank, weighting in here:
        rows.append(("CSpace, here", BankStates(bank, rate, weighting=weighting, name=_bank_name(bank, weighting))))
    best = BankStates(BEST_BANK, rate, weighting="white", unit=True, name=_bank_name(BEST_BANK, "white, cosine"))
    rows.append(("CSpace, here", best))
    return rows + [("baseline", b) for b in baselines(rate)]


def _bank_name(bank: BankSpec, weighting: str) -> str:
    law = f"q {bank.q:g}" if bank.decay_law == "constant_q" else "legacy"
    return f"{bank.oscillators} nodes, {bank.low_hz:g}–{bank.high_hz:g} Hz, {law}, weighting {weighting}"


def robustness(
    x: F32,
    index: int,
    what: Change,
    config: LabConfig,
    chosen: list[tuple[str, Descriptor]] | None = None,
    *,
    name: str = "clip",
    queries: int = 40,
    advance: Callable[[], None] | None = None,
) -> tuple[list[Row], list[str]]:
    """All rows for one recording, and what was measured of the copy, in words.

    Parameters
    ----------
    x : float32 [shape=(samples,)] at the settings' sample rate
    index : sample of the original that each row is asked for
    chosen : suites and descriptors, all of `configurations` if None
    queries : further active places, drawn by the settings' seed, for the shares found
    advance : called after each row

    Raises AudioError for a silent or short sound, or an index outside it.
    """
    require_sound(x, name, at_least=4096)
    require_index(index, len(x), name)
    x = normalise_peak(x)
    copy = change(x, config.sample_rate, what)
    wanted, truth = places_asked(x, copy, config, index, queries)
    rows = []
    for suite, descriptor in configurations(config) if chosen is None else chosen:
        asked = descriptor.at(copy.samples, wanted)
        found = nearest(descriptor, x, asked, rivals=1)
        off = np.abs(found.match - truth)
        m = int(found.match[0])
        beside = np.array([i for i in (m - 1, m + 1) if 0 <= i < len(x)], np.int64)
        distances = np.linalg.norm(descriptor.at(x, beside).astype(np.float64) - asked[0], axis=1)
        rows.append(
            Row(
                suite=suite,
                name=descriptor.name,
                dims=descriptor.dims,
                achieved_radius=descriptor.achieved_radius() if isinstance(descriptor, EsnStates) else None,
                match=m,
                error_samples=float(m - truth[0]),
                distance=float(found.distance[0]),
                beside_distance=float(distances.mean()),
                next_best_distance=float(found.next_best[0]),
                queries=len(wanted) - 1,
                exact=int(np.sum(off[1:] <= 0.5)),
                near=int(np.sum(off[1:] <= NEAR + 0.5)),
            )
        )
        if advance is not None:
            advance()
    return rows, copy.notes


def table(rows: list[Row]) -> list[list[str]]:
    """Cells for people: a header and one line per row."""
    lines = [["suite", "row", "numbers", "match", "error", "distance", "sharpness", "next best", "exact %", "± 2 %"]]
    for r in rows:
        share = [f"{100 * k / r.queries:.0f}" if r.queries else "" for k in (r.exact, r.near)]
        ratio = [f"{v / r.distance:.2f}×" if r.distance > 0 else "∞" for v in (r.beside_distance, r.next_best_distance)]
        lines.append(
            [
                r.suite,
                r.words,
                str(r.dims),
                str(r.match),
                f"{r.error_samples:+.2f}",
                f"{r.distance:.3g}",
                *ratio,
                *share,
            ]
        )
    return lines


def results(rows: list[Row]) -> list[dict[str, Any]]:
    """For the JSON: every row, with 95 % intervals of its shares."""
    out = []
    for r in rows:
        low, high = wilson(r.exact, r.queries)
        near_low, near_high = wilson(r.near, r.queries)
        out.append(
            vars(r)
            | {
                "nilpotent": r.achieved_radius == 0.0 if r.achieved_radius is not None else None,
                "exact_interval": [low, high],
                "near_interval": [near_low, near_high],
            }
        )
    return out


def picture(rows: list[Row], title: str) -> Figure:
    """Shares found, row by row, with 95 % intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.36 * len(rows) + 1.8), layout="constrained")
    axes = figure.subplots()
    colors = {"ESN": "#7b4ea3", "CSpace, legacy": "#c05a00", "CSpace, here": "#1f4e79", "baseline": "#777777"}
    for y, r in enumerate(rows):
        share = 100 * r.exact / max(1, r.queries)
        low, high = (100 * v for v in wilson(r.exact, r.queries))
        axes.barh(y, 100 * r.near / max(1, r.queries), color=colors[r.suite], alpha=0.3)
        axes.barh(y, share, color=colors[r.suite], alpha=0.75)
        axes.plot([low, high], [y, y], color="black", linewidth=1.4)
    axes.set_yticks(range(len(rows)), [f"{r.suite}: {r.words}" for r in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set(
        xlim=(0, 100), xlabel="found, % of active places (dark: exact sample with 95 % interval; light: within ± 2)"
    )
    axes.set_title(title, fontsize=10)
    return figure
