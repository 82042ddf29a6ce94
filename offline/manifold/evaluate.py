"""The table of a trained model: its figures on held-out data beside those of what needs no model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import metrics
from .checkpoint import Run
from .data import Batch, Source
from .train import HELD_OUT, HELD_OUT_SEED

GAPS = (16, 32, 64)
MODEL = "manifold"


@torch.no_grad()
def table(run: Run, source: Source, *, size: int = HELD_OUT, gaps: tuple[int, ...] = GAPS) -> dict[str, Any]:
    """One frame ahead, oracle and gaps, model and baselines; gaps start at half the sequence.

    Held-out sequences, fresh noise, no sampling noise. Gaps that do not fit behind the half are left out.
    """
    run.model.eval()
    spec, batch = run.spec.data, source.batch(size, HELD_OUT_SEED, held_out=True)
    fit = source.batch(size, HELD_OUT_SEED + 1)
    passed = run.model(batch.noisy[:, :-1])
    ahead = metrics.one_ahead_rows(batch, fit, noise=spec.noise, chords=spec.kind == "chords")
    ahead[MODEL] = metrics.one_ahead(passed.prediction, batch)
    found: dict[str, Any] = {"one_frame_ahead": ahead, "latent": metrics.latent_figures(run.model, batch)}
    if batch.oracle is not None and passed.mean.shape[2] >= batch.oracle.shape[2]:
        z, oracle = passed.mean, batch.oracle[:, :-1]
        found["oracle"] = metrics.oracle_rows(oracle, z.shape[2])
        if spec.kind == "chords":
            found["oracle"] |= metrics.bayes_oracle_rows(batch, spec.noise, spec.oracle_order, z.shape[2])
        found["oracle"] |= {
            MODEL: metrics.procrustes_rmse(z, oracle),
            f"{MODEL}, after {metrics.SETTLED_FRAMES} frames": metrics.procrustes_rmse(
                z, oracle, metrics.SETTLED_FRAMES
            ),
        }
    start = spec.length // 2
    found["gap_start"] = start
    found["gaps"] = {str(gap): gap_table(run, batch, start, gap) for gap in gaps if start + gap <= spec.length}
    return found


def gap_table(run: Run, batch: Batch, start: int, gap: int) -> dict[str, dict[str, float]]:
    """One gap: the baselines and the model, row by row."""
    rows = metrics.gap_rows(batch, start, gap)
    clean = batch.clean.double().numpy()
    rows[MODEL] = metrics.gap_figures(metrics.model_gap(run.model, batch, start, gap), clean, start, batch.omega)
    return {name: row.to_json() for name, row in rows.items()}


def lines(found: dict[str, Any]) -> list[str]:
    """The table as Markdown."""
    out = ["| one frame ahead | energy-weighted | original's loss | MSE |", "|---|---|---|---|"]
    for name, row in found["one_frame_ahead"].items():
        out.append(f"| {name} | {row['energy_weighted']:.4f} | {row['original']:.3f} | {row['mse']:.5f} |")
    if "oracle" in found:
        out += ["", "| oracle distance | RMSE |", "|---|---|"]
        out += [f"| {name} | {value:.4f} |" for name, value in found["oracle"].items()]
    gaps = found["gaps"]
    for title, cell in _CELLS.items():
        rows = {name: [cell(g[name]) for g in gaps.values()] for name in next(iter(gaps.values()), {})}
        if any(any(cells) for cells in rows.values()):
            out += ["", f"| {title} | " + " | ".join(f"{g} frames" for g in gaps) + " |", "|---|" + "---|" * len(gaps)]
            out += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    return out


def _percent(value: float | None) -> str:
    """Empty where it is not known: NaN, or what JSON makes of it."""
    return "" if value is None or value != value else f"{100.0 * round(value, 7):.2g} %"


#: What is said of a gap, a table each. Older results have fewer.
_CELLS: dict[str, Callable[[dict[str, Any]], str]] = {
    "gap of": lambda row: f"{row['snr_db']:.1f} dB, amplitude {row['amplitude_ratio']:.2f}",
    "edge: first jump over the true one": lambda row: f"{row['edge_ratio']:.2f}",
    "frequencies: median error": lambda row: _percent(row.get("frequency_error")),
}
