"""`cspace lab landscape`: all criteria at the same positions, with verdicts and a picture."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...clitools import progress
from ...plugins._errors import ParameterError
from ..audio import audio_files
from ..bank import BankSpec
from ..config import LabConfig
from . import landscape_tune
from .landscape import (
    F64,
    FARTHEST,
    RANGES,
    Place,
    basin_figures,
    both_ways,
    changed_copy,
    curve,
    direction_figures,
    find_places,
    grid,
    split_sides,
)
from .landscape_criteria import Criterion, States, WeightedWaveform, rivals
from .tables import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Compared by default: 171 ms at 24 kHz, two windows of the longest spectrum.
WINDOW = 4096
LEAST_WINDOW = 2048
_DRAWS = 2000
#: Figures of each position that have a verdict, and their words.
KINDS = {
    "first_failure": "first wrong direction",
    "first_failure_past_4": "the same past 4 samples",
    "width": "basin width",
}


@dataclass
class Asked:
    """What the command was asked for."""

    clips: Sequence[Path]
    positions: int = 50
    noise_db: float | None = 20.0
    window: int = WINDOW
    #: Positions for choosing a bank; 0 leaves the choice out.
    tuning: int = 20
    magnitudes: bool = True

    def check(self) -> None:
        """ParameterError for what cannot be."""
        for name, value, low, high in (
            ("positions", self.positions, 2, 5000),
            ("window", self.window, LEAST_WINDOW, 16_384),
            ("tuning", self.tuning, 0, 1000),
        ):
            if not low <= value <= high:
                raise ParameterError(f"{name} is {value}; {low} to {high} can be used")
        if self.window % 2:
            raise ParameterError(f"window is {self.window}; an even number is needed")
        if self.noise_db is not None and not -20.0 <= self.noise_db <= 120.0:
            raise ParameterError(f"noise_db is {self.noise_db:g}; -20 to 120 dB below the sound can be used")


def places_of(
    asked: Asked, sample_rate: int, seed: int, tick: Any, conversions: Counter[str]
) -> tuple[list[Place], list[Place]]:
    """Tuning and held-out positions, evenly over the clips given; `conversions` counts what was changed.

    A clip that is a folder of at least two files gives both from different files; one file gives
    both from windows that do not overlap.
    """
    tuning: list[Place] = []
    held_out: list[Place] = []
    for k, clip in enumerate(asked.clips):
        share = [
            (n * (k + 1)) // len(asked.clips) - (n * k) // len(asked.clips) for n in (asked.tuning, asked.positions)
        ]
        files = audio_files(clip)

        def find(paths: list[Path], count: int, seed: int = seed + k) -> list[Place]:
            return find_places(paths, count, asked.window, sample_rate, seed, tick, conversions)

        if len(files) == 1 or not share[0]:
            found = find(files, sum(share))
            mixed = [found[i] for i in np.random.default_rng(seed).permutation(len(found))]
            tuning += mixed[: share[0]]
            held_out += mixed[share[0] :]
            continue
        order = np.random.default_rng(seed + k).permutation(len(files))
        cut = max(1, min(len(files) - 1, round(len(files) * share[0] / sum(share))))
        tuning += find([files[i] for i in order[:cut]], share[0])
        held_out += find([files[i] for i in order[cut:]], share[1])
    return tuning, held_out


def verdict(ours: F64, theirs: F64, seed: int) -> dict[str, Any]:
    """Won, level or lost, position by position: the 95 % interval of the mean paired difference against 0."""
    difference = ours - theirs
    rng = np.random.default_rng(seed)
    means = difference[rng.integers(len(difference), size=(_DRAWS, len(difference)))].mean(axis=1)
    low, high = (float(v) for v in np.percentile(means, [2.5, 97.5]))
    word = "won" if low > 0 else "lost" if high < 0 else "level"
    return {"verdict": word, "mean_difference_samples": float(difference.mean()), "interval_95": [low, high]}


def study(asked: Asked, config: LabConfig) -> tuple[dict[str, Any], Figure, list[str]]:
    """Figures, picture and notes. Raises ParameterError, FileError, AudioError."""
    asked.check()
    rate, window, seed = config.sample_rate, asked.window, config.seed
    distances = grid()
    distances = distances[distances <= FARTHEST]
    shifts = both_ways(distances)
    notes = [f"a copy with noise {asked.noise_db:g} dB below" if asked.noise_db is not None else "the same samples"]
    conversions: Counter[str] = Counter()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with progress() as bar:
            task = bar.add_task("positions", total=None)
            tuning, held_out = places_of(asked, rate, seed, lambda: bar.advance(task), conversions)
            notes += [f"{n} file{'s' * (n > 1)} {words}" for words, n in sorted(conversions.items())]
            bar.remove_task(task)
            rng = np.random.default_rng(seed)
            bank = config.bank
            # Made one after the other: the matrices of several banks together would fill the memory.
            makers: list[Callable[[], Criterion]] = [
                lambda: States("cspace", f"CSpace states ({_words(bank, 0.0)})", bank, rate, window),
                lambda: States("cspace_legacy", "CSpace states (legacy bank)", BankSpec.original(), rate, window),
            ]
            tried: list[dict[str, Any]] = []
            if tuning:
                copies = [changed_copy(p, window, asked.noise_db, rng) for p in tuning]
                task = bar.add_task("banks", total=None)
                bests, tried = landscape_tune.tune(
                    tuning,
                    copies,
                    distances[::3],
                    bank,
                    rate,
                    window,
                    magnitudes=asked.magnitudes,
                    tick=lambda done, total: bar.update(task, completed=done, total=total),
                )
                for best in reversed(bests):
                    words = _words(BankSpec.model_validate(best["spec"]), best["tilt"])
                    name, label = f"cspace_{best['part']}", f"CSpace {best['part']}, tuned ({words})"
                    makers.insert(0, lambda b=best, n=name, x=label: landscape_tune.build(b, rate, window, n, x))  # type: ignore[misc]
                    if best["part"] == "states":
                        spec, tilt = BankSpec.model_validate(best["spec"]), best["tilt"]
                by_filter = "waveform L2 through the tuned states' filter"
                makers.append(lambda: WeightedWaveform("waveform_weighted", by_filter, spec, rate, window, tilt))
            makers += [lambda c=c: c for c in rivals(rate)]  # type: ignore[misc]
            copies = [changed_copy(p, window, asked.noise_db, rng) for p in held_out]
            rows: dict[str, dict[str, Any]] = {}
            task = bar.add_task("held-out positions", total=len(held_out) * len(makers))
            for make in makers:
                criterion = make()
                curves = []
                for place, copy in zip(held_out, copies, strict=True):
                    curves.append(curve(criterion, copy, place.segment, shifts, window))
                    bar.advance(task)
                rows[criterion.name] = _row(criterion.label, curves, distances)
                del criterion
    finally:
        torch.set_num_threads(threads)
    # The first row: what won on the tuning positions, or the settings' bank without tuning.
    ours = next(iter(rows.values()))
    for name, row in rows.items():
        if row is not ours:
            for kind in KINDS:
                row[f"cspace_against_it_{kind}"] = verdict(ours[f"{kind}_samples"], row[f"{kind}_samples"], seed)
        row["name"] = name
    results = {
        "distances": distances,
        "positions": [{"clip": p.path.name, "start": p.start} for p in held_out],
        "tuning_positions": [{"clip": p.path.name, "start": p.start} for p in tuning],
        "tried": sorted(tried, key=lambda r: (-r["reach_samples"], -r["first_failure_median"])),
        "criteria": rows,
    }
    return results, draw(rows, distances, rate, len(held_out), asked.noise_db), notes


def _row(label: str, curves: list[tuple[F64, F64]], distances: F64) -> dict[str, Any]:
    losses, slopes = (np.array(part) for part in zip(*curves, strict=True))
    row = {"label": label} | direction_figures(slopes, distances) | basin_figures(losses, distances)
    sides = split_sides(losses / row["far"][:, None])
    both = sides.transpose(0, 2, 1).reshape(-1, len(distances))
    return row | {"loss_over_far": np.percentile(both, [25, 50, 75], axis=0)}


def tables(found: dict[str, Any]) -> str:
    """The study's figures as Markdown: distances, directions by range, verdicts."""
    rows = found["criteria"]
    ours = next(iter(rows.values()))
    first, second, third = [], [], []
    for row in rows.values():
        spans = [f"{row[f'{k}_median']:.1f} [{row[f'{k}_q1']:.1f}, {row[f'{k}_q3']:.1f}]" for k in KINDS]
        first.append([row["label"], f"{row['reach_samples']:g}", *spans, f"{row['contrast_median']:.3g}"])
        second.append([row["label"], *(f"{100 * s:.0f}" for s in row["share_by_range"])])
        if row is not ours:
            third.append([row["label"], *(_outcome(row[f"cspace_against_it_{k}"]) for k in KINDS)])
    ranges = [f"{a:g}–{b:g}" for a, b in itertools.pairwise(RANGES)]
    return "\n\n".join([
        "Samples; median [quartiles] over positions:",
        markdown(["criterion", "95 % right up to", *KINDS.values(), "far/floor"], first),
        "Gradients that point home, %, by distance in samples:",
        markdown(["criterion", *ranges], second),
        f"{ours['label']} against each: verdict, mean difference and its 95 % interval, samples:",
        markdown(["against", *KINDS.values()], third),
    ])  # fmt: skip


def _outcome(found: dict[str, Any]) -> str:
    low, high = found["interval_95"]
    return f"{found['verdict']}, {found['mean_difference_samples']:+.1f} [{low:+.1f}, {high:+.1f}]"


def _words(spec: BankSpec, tilt: float) -> str:
    law = f"Q {spec.q:g}" if spec.decay_law == "constant_q" else "legacy"
    return f"{law}, {spec.low_hz:g} Hz up" + (f", weight f^-{tilt:g}" if tilt else "")


def draw(rows: dict[str, dict[str, Any]], distances: F64, rate: int, count: int, noise_db: float | None) -> Figure:
    """Right directions, losses on one scale, and both spreads, over the distance."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 10), layout="constrained")
    axes = figure.subplots(2, 2)
    colors = {name: f"C{k}" if k < 10 else "black" for k, name in enumerate(rows)}
    for name, row in rows.items():
        axes[0, 0].semilogx(distances, 100 * row["share"], color=colors[name], label=row["label"], lw=1.2)
        low, middle, high = row["loss_over_far"]
        axes[0, 1].semilogx(distances, middle, color=colors[name], lw=1.2)
        axes[0, 1].fill_between(distances, low, high, color=colors[name], alpha=0.08, lw=0)
    axes[0, 0].axhline(95, color="black", lw=0.8, ls="--")
    axes[0, 0].axhline(50, color="black", lw=0.8, ls=":")
    axes[0, 0].set_ylabel("gradients that point home (%)")
    axes[0, 0].set_title("Direction (dashed: 95 %; dotted: a coin)")
    axes[0, 1].set_ylim(0, None)
    axes[0, 1].set_ylabel("loss / loss far away")
    axes[0, 1].set_title("Median loss and quartiles; 0 is 0 for all")
    for axis in axes[0]:
        axis.set_xlabel(f"distance (samples at {rate} Hz)")
    names = list(rows)
    for axis, key, title in (
        (axes[1, 0], "first_failure_samples", "First wrong direction, by position"),
        (axes[1, 1], "width_samples", "Basin width (half way from floor to far), by position"),
    ):
        boxes = axis.boxplot([rows[n][key] for n in names], orientation="horizontal", patch_artist=True, widths=0.6)
        for box, name in zip(boxes["boxes"], names, strict=True):
            box.set_facecolor(colors[name])
            box.set_alpha(0.5)
        axis.set_yticks(range(1, len(names) + 1), names)
        axis.set_xscale("symlog", linthresh=1)
        axis.set_xlim(0.0, 2.5 * FARTHEST)
        axis.invert_yaxis()
        axis.set_xlabel("samples")
        axis.set_title(title)
    noise = f"copy with noise {noise_db:g} dB below" if noise_db is not None else "the same samples"
    figure.suptitle(f"Shift landscape at {count} positions, {noise}")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    return figure
