"""`cspace lab search`: one query on one sound, its distance curves, what was found and how surely."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...plugins._errors import ParameterError
from ..audio import F32, Clip, normalise_peak, require_index, require_sound
from ..config import LabConfig
from .descriptors import Descriptor
from .perturb import Change, change
from .search import Curve, distance_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GUARD_S = 0.001


@dataclass
class Outcome:
    """What `cspace lab search` reports. Samples are those of the target at the laboratory's rate."""

    match: int
    match_s: float
    distance: float
    #: Where the sample asked for truly lies; None across files.
    truth: float | None
    error_samples: float | None
    #: Rank of the true sample: how many samples of the target are nearer to the query.
    nearer_than_truth: int | None
    #: Mean distance one sample either side of the match (the original's sharpness) …
    beside_distance: float
    #: … and how far that is above the match, in medians of the whole curve: 0 is flat.
    sharpness: float
    #: Smallest distance more than 1 ms away from the match.
    next_best_distance: float
    next_best_sample: int
    median_distance: float
    #: The very samples asked for are among those searched: a match says nothing.
    circular: bool


@dataclass
class SearchStudy:
    """An outcome with what its picture needs."""

    outcome: Outcome
    curve: Curve
    target: F32
    sample_rate: int
    descriptor: Descriptor
    change: Change
    names: tuple[str, str]
    notes: list[str]


def search_study(
    query: Clip,
    target: Clip | None,
    index: int,
    what: Change,
    descriptor: Descriptor,
    *,
    exclude_ms: float | None = None,
    circular: bool = False,
    advance: Callable[[int], None] | None = None,
) -> SearchStudy:
    """Searches sample `index` of a changed copy of `query` in `target`, or, without one, in `query` itself.

    exclude_ms : own neighbourhood that may not be matched (same file only): the next such place is looked for
    circular : allow the same samples as query and database; the outcome is marked

    Raises AudioError for a silent or short sound or an index outside it, ParameterError for a query
    that would be circular without being allowed to.
    """
    same = target is None or target.path.resolve() == query.path.resolve()
    if same and what.nothing and exclude_ms is None and not circular:
        raise ParameterError(
            "the query would be one of the samples searched, and distance 0 there says nothing: change the copy "
            "(--noise-db, --gain-db, --resample-ppm, --codec), give another file, --exclude-ms, or --circular"
        )
    original = query.samples
    require_sound(original, str(query.path), at_least=64)
    require_index(index, len(original), str(query.path))
    original = normalise_peak(original)
    if target is None or same:
        searched = original
    else:
        require_sound(target.samples, str(target.path), at_least=64)
        searched = normalise_peak(target.samples)
    copy = change(original, query.sample_rate, what)
    place = min(max(0, round(copy.to_copy(index))), len(copy.samples) - 1)
    truth = copy.to_original(place) if same else None
    row = descriptor.at(copy.samples, np.array([place], np.int64))[0]
    copy.samples = np.zeros(0, np.float32)  # not needed again; long sounds need the room
    if not np.any(row):
        raise ParameterError(f"{query.path}: around sample {index} is nothing but silence, which is everywhere alike")
    exclude = None
    if exclude_ms is not None and truth is not None:
        reach = exclude_ms / 1000 * query.sample_rate
        exclude = (int(np.ceil(truth - reach)), int(np.floor(truth + reach)) + 1)
        if exclude[0] <= 0 and exclude[1] >= len(searched):
            raise ParameterError(f"--exclude-ms {exclude_ms:g} leaves nothing of {len(searched)} samples to search")
    notes = [*query.conversions, *copy.notes]
    curve = distance_curve(descriptor, searched, row, exclude=exclude, advance=advance)
    guard = round(_GUARD_S * query.sample_rate)
    out = _outcome(curve, truth, exclude, guard, query.sample_rate, same and what.nothing and exclude is None)
    name = query.path.name
    return SearchStudy(
        out,
        curve,
        searched,
        query.sample_rate,
        descriptor,
        what,
        (name, name if target is None else target.path.name),
        notes,
    )


def _outcome(
    curve: Curve, truth: float | None, exclude: tuple[int, int] | None, guard: int, sample_rate: int, circular: bool
) -> Outcome:
    d, m = curve.total, curve.match
    beside = float(np.mean([d[i] for i in (m - 1, m + 1) if 0 <= i < len(d)]))
    median = float(np.median(d))
    spans = [(0, m - guard), (m + guard + 1, len(d))]
    if exclude is not None:
        spans = [part for a, b in spans for part in ((a, min(b, exclude[0])), (max(a, exclude[1]), b))]
    rivals = [a + int(np.argmin(d[a:b])) for a, b in spans if b > a >= 0]
    rival = min(rivals, key=lambda i: float(d[i])) if rivals else m
    nearest_truth = None if truth is None else min(max(0, round(truth)), len(d) - 1)
    return Outcome(
        match=m,
        match_s=m / sample_rate,
        distance=float(d[m]),
        truth=truth,
        error_samples=None if truth is None else m - truth,
        nearer_than_truth=None if nearest_truth is None else int(np.count_nonzero(d < d[nearest_truth])),
        beside_distance=beside,
        sharpness=(beside - float(d[m])) / median if median > 0.0 else 0.0,
        next_best_distance=float(d[rival]),
        next_best_sample=rival,
        median_distance=median,
        circular=circular,
    )


def results(study: SearchStudy) -> dict[str, Any]:
    """For the JSON."""
    return {
        **asdict(study.outcome),
        "query": study.names[0],
        "target": study.names[1],
        "descriptor": study.descriptor.name,
        "dims": study.descriptor.dims,
        "change": study.change.words(),
        "samples_searched": len(study.curve.total),
    }


def picture(study: SearchStudy, config: LabConfig) -> Figure:
    """The sound searched, its whole curve, and the curves near the match: total, forward, backward."""
    from matplotlib.figure import Figure

    o, d, rate = study.outcome, study.curve.total, study.sample_rate
    figure = Figure(figsize=(11, 9), layout="constrained")
    sound, whole, close = figure.subplots(3, 1, height_ratios=[1, 1.6, 1.8])
    edges = np.linspace(0, len(d), min(len(d), 3000), endpoint=False).astype(int)
    t = edges / rate
    sound.fill_between(
        t,
        np.minimum.reduceat(study.target, edges),
        np.maximum.reduceat(study.target, edges),
        color="#777777",
        linewidth=0.4,
    )
    sound.set(ylabel="searched sound", xlim=(0, len(d) / rate), ylim=(-1.05, 1.05))
    whole.plot(t, np.minimum.reduceat(d, edges), color="#1f4e79", linewidth=0.8)
    whole.set(xlabel="time, s", ylabel="distance\n(smallest per pixel)", xlim=(0, len(d) / rate), ylim=(0, None))
    half = min(config.window_samples // 16, 400)
    low, high = max(0, o.match - half), min(len(d), o.match + half + 1)
    part, n = slice(low, high), np.arange(low, high) - o.match
    close.plot(n, d[part], color="#1f4e79", linewidth=1.6, label="total")
    backward = study.curve.backward(part)
    if study.curve.forward is not None and backward is not None:
        close.plot(n, study.curve.forward[part], color="#c05a00", linewidth=1.0, label="forward half")
        close.plot(n, backward, color="#2e7d32", linewidth=1.0, label="backward half")
    close.axhline(o.next_best_distance, color="#888888", linestyle=":", label="next best, more than 1 ms away")
    close.set(
        xlabel=f"samples from the match (sample {o.match})", ylabel="distance", xlim=(n[0], n[-1]), ylim=(0, None)
    )
    for axes, at in ((sound, o.match / rate), (close, 0)):
        axes.axvline(at, color="#b00020", linewidth=0.8, label="match")
    whole.plot(o.match / rate, o.distance, "v", color="#b00020", label="match")
    if o.truth is not None:
        whole.plot(o.truth / rate, d[min(max(0, round(o.truth)), len(d) - 1)], "kx", label="truth")
        sound.axvline(o.truth / rate, color="black", linestyle="--", linewidth=0.8)
        if low <= o.truth < high:
            close.axvline(o.truth - o.match, color="black", linestyle="--", linewidth=0.8, label="truth")
    for axes in (whole, close):
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=6, frameon=False, fontsize=9, borderaxespad=0.1)
    error = "" if o.error_samples is None else f", error {o.error_samples:+.2f} samples"
    across = "" if study.names[0] == study.names[1] else f" in {study.names[1]}"
    figure.suptitle(
        f"{study.names[0]}{across} · {study.descriptor.name} · {study.change.words()}\n"
        + ("CIRCULAR: the query is one of the samples searched; " if o.circular else "")
        + f"match {o.match}{error}, distance {o.distance:.3g}, next best {o.next_best_distance:.3g}"
    )
    return figure
