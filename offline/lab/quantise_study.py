"""`cspace lab quantize`: what a smaller database costs, asked by float32 rows of a changed copy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio import F32, normalise_peak, require_index, require_sound
from ..config import LabConfig
from .descriptors import Descriptor
from .perturb import Change, change
from .quantise import FORMS, StoredRows
from .recall import NEAR, wilson
from .search import nearest, places_asked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HALF = 60  # samples of the landscape either side


@dataclass
class FormResult:
    """One form of the database."""

    form: str
    bytes_per_row: int
    queries: int
    exact: int
    near: int
    #: Queries whose match is another than float32's.
    moved: int
    #: Largest difference of the landscape from float32's, as a share of float32's largest value there.
    landscape_difference: float
    match: int
    error_samples: float
    landscape: list[float]


def quantise(
    x: F32,
    index: int,
    what: Change,
    descriptor: Descriptor,
    config: LabConfig,
    *,
    name: str = "clip",
    queries: int = 200,
    advance: Callable[[], None] | None = None,
) -> tuple[list[FormResult], list[str]]:
    """Recall at 1 and the landscape around `index` for float32, float16 and both int8 forms of the database.

    Queries are float32 rows of the changed copy at `queries` active places drawn by the settings' seed.
    Raises AudioError for a silent or short sound, or an index within 60 samples of its ends.
    """
    require_sound(x, name, at_least=4096)
    require_index(index, len(x), name, margin=_HALF)
    x = normalise_peak(x)
    copy = change(x, config.sample_rate, what)
    wanted, truth = places_asked(x, copy, config, index, queries)
    asked = descriptor.at(copy.samples, wanted)
    around = np.arange(round(truth[0]) - _HALF, round(truth[0]) + _HALF + 1, dtype=np.int64)
    around = np.clip(around, 0, len(x) - 1)
    out: list[FormResult] = []
    reference = np.zeros(0)
    for form in FORMS:
        stored = StoredRows(descriptor, form)
        found = nearest(stored, x, asked, rivals=0)
        rows = stored.stored_at(x, around)
        landscape = np.linalg.norm(rows.astype(np.float64) - asked[0], axis=1)
        off = np.abs(found.match - truth)
        if not out:
            reference, first = landscape, found.match
        out.append(
            FormResult(
                form=form,
                bytes_per_row=stored.bytes_per_row,
                queries=len(wanted) - 1,
                exact=int(np.sum(off[1:] <= 0.5)),
                near=int(np.sum(off[1:] <= NEAR + 0.5)),
                moved=int(np.sum(found.match[1:] != first[1:])),
                landscape_difference=float(np.max(np.abs(landscape - reference)) / reference.max()),
                match=int(found.match[0]),
                error_samples=float(found.match[0] - truth[0]),
                landscape=landscape.tolist(),
            )
        )
        if advance is not None:
            advance()
    return out, copy.notes


def table(rows: list[FormResult]) -> list[list[str]]:
    """Cells for people: a header and one line per form."""
    lines = [["database", "bytes a row", "exact %", "95 %", "± 2 %", "other match than float32", "landscape off by"]]
    for r in rows:
        low, high = wilson(r.exact, r.queries)
        lines.append(
            [
                r.form,
                str(r.bytes_per_row),
                f"{100 * r.exact / r.queries:.1f}",
                f"{100 * low:.1f}–{100 * high:.1f}",
                f"{100 * r.near / r.queries:.1f}",
                f"{r.moved} of {r.queries}",
                f"{100 * r.landscape_difference:.2f} %",
            ]
        )
    return lines


def results(rows: list[FormResult]) -> list[dict[str, Any]]:
    """For the JSON."""
    base = rows[0]
    return [
        vars(r)
        | {
            "exact_points_from_float32": 100 * (r.exact - base.exact) / r.queries,
            "exact_interval": wilson(r.exact, r.queries),
        }
        for r in rows
    ]


def picture(rows: list[FormResult], title: str) -> Figure:
    """The landscapes over each other, and what each differs from float32."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    top, low = figure.subplots(2, 1, height_ratios=[2, 1], sharex=True)
    n = np.arange(-_HALF, _HALF + 1)
    styles = {
        "float32": ("#1f4e79", "-"),
        "float16": ("#2e7d32", "--"),
        "int8 per channel": ("#c05a00", "-"),
        "int8 global": ("#b00020", ":"),
    }
    base = np.asarray(rows[0].landscape)
    for r in rows:
        color, style = styles[r.form]
        top.plot(
            n,
            r.landscape,
            style,
            color=color,
            label=f"{r.form}: {100 * r.exact / r.queries:.1f} %",
            linewidth=1.4,
        )
        if r is not rows[0]:
            low.plot(
                n, 100 * (np.asarray(r.landscape) - base) / base.max(), style, color=color, label=r.form, linewidth=1.2
            )
    top.axvline(0, color="black", linewidth=0.6)
    top.set(ylabel="distance from the query", ylim=(0, None))
    low.set(
        xlabel="samples from the true place", ylabel="difference from float32,\n% of its largest", xlim=(-_HALF, _HALF)
    )
    for axes in (top, low):
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=4, frameon=False, fontsize=9, borderaxespad=0.1)
    figure.suptitle(f"{title}\nper cent: exact samples found at all places asked for", fontsize=10)
    return figure
