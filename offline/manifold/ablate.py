"""The original's ladder A to E, its last run, and what was added here: same data, same steps, several seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...plugins._errors import ParameterError
from . import metrics
from .data import Source
from .spec import RunSpec
from .train import HELD_OUT, HELD_OUT_SEED, evaluate, train

#: Terms that every row has: none.
_NONE: dict[str, float] = {
    **dict.fromkeys(("spectral", "rollout", "mse", "oracle", "original", "entropy"), 0.0),
    **dict.fromkeys(("rollout_mse", "reconstruction", "consistency", "rollout_consistency"), 0.0),
    "oracle_rise": 1.0,
}
_BOTH = {**_NONE, "mse": 1.0, "original": 1.0}
_ENERGY = {**_NONE, "mse": 2.0, "spectral": 1.0}
_EUCLID = {"space": "euclid", "dynamics": "identity"}
_FULL = {"dynamics": "full", "memory": "free", "divide_by_count": False, "alpha_start": 0.0}

#: Name: (what it is, model settings, loss settings). A to E and `final` by the original's losses, all with the
#: encoder that sees 9 frames; then one change at a time.
LADDER: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "A": ("no sphere, no dynamics, MSE", {"encoder": "original", **_EUCLID}, {**_NONE, "mse": 1.0}),
    "B": ("A with the original's spectral loss", {"encoder": "original", **_EUCLID}, {**_NONE, "original": 1.0}),
    "C": ("sphere, no dynamics, both", {"encoder": "original", "dynamics": "identity"}, _BOTH),
    "D": ("sphere, residual recurrent network, both", {"encoder": "original", "dynamics": "residual"}, _BOTH),
    "E random": ("memory and coupling, random start, both", {"encoder": "original", **_FULL, "start": "random"}, _BOTH),
    "E zero": ("the same, zero start", {"encoder": "original", **_FULL}, _BOTH),
    "E zero, mean": (
        "E zero, coupling divided by the length of the past",
        {"encoder": "original", **_FULL, "divide_by_count": True},
        _BOTH,
    ),
    "E random, mean": (
        "E random, coupling divided by the length of the past",
        {"encoder": "original", **_FULL, "start": "random", "divide_by_count": True},
        _BOTH,
    ),
    "final": (
        "the original's last: sampled sphere (sigma 0.69), zero start, spectral and entropy",
        {"encoder": "original", **_FULL, "space": "sampled", "sigma_start": 0.69},
        {**_NONE, "original": 1.0, "entropy": 0.05},
    ),
    "energy": ("E zero, mean, by the energy-weighted loss", {"encoder": "original"}, _ENERGY),
    "long": ("energy, with the encoder that sees 127 frames", {}, _ENERGY),
    "long, identity": ("long without dynamics", {"dynamics": "identity"}, _ENERGY),
    "rollout": ("long, with the loss of a rollout", {}, {**_ENERGY, "rollout": 1.0}),
    "manifold": ("rollout, with the oracle", {}, {**_ENERGY, "rollout": 1.0, "oracle": 10.0}),
    "manifold, Euclid": ("manifold off the sphere", {"space": "euclid"}, {**_ENERGY, "rollout": 1.0, "oracle": 10.0}),
    "muon": ("manifold, the encoder by Muon", {}, {**_ENERGY, "rollout": 1.0, "oracle": 10.0}),
    "preset": ("all as `cspace manifold train` has it for chords, with Muon", {}, {}),
    "rotor": (
        "manifold with the rotor in place of memory and coupling",
        {"dynamics": "rotor"},
        {**_ENERGY, "rollout": 1.0, "oracle": 10.0},
    ),
}

#: Rungs that are not trained by AdamW alone.
_MUON = {"optimiser": "muon", "muon_rate": 4.0}
TRAIN: dict[str, dict[str, Any]] = {"muon": _MUON, "preset": {**_MUON, "schedule": "linear"}}

#: Figures of the table, as they are named in a training's log.
FIGURES = (
    "held_out_energy_weighted",
    "held_out_original",
    "held_out_mse",
    "oracle_rmse_settled",
    "gap_16_snr_db",
    "gap_16_amplitude",
    "latent_rank",
    "latent_entropy",
    "gradient_encoder",
    "gradient_dynamics",
)


def row_spec(name: str, base: RunSpec, seed: int) -> RunSpec:
    """The run of a rung: `base` with the rung's model and loss settings and this seed."""
    _, model, loss = LADDER[name]
    table = base.model_dump()
    table["model"] |= model
    table["loss"] |= loss
    table["train"] |= {"optimiser": "adamw", "schedule": "onecycle", **TRAIN.get(name, {}), "seed": seed}
    return RunSpec.model_validate(table)


def ladder(
    base: RunSpec,
    names: list[str],
    seeds: list[int],
    on_row: Callable[[str, int, dict[str, float]], None] | None = None,
) -> dict[str, Any]:
    """Trains every rung with every seed; mean and standard deviation of each figure, and the rows without a model."""
    source = Source(base.data)
    rows: dict[str, Any] = {}
    for name in names:
        runs = []
        for seed in seeds:
            try:
                run = train(row_spec(name, base, seed), source=source, label=f"{name}, seed {seed}")
                last = run.history[-1] | evaluate(run.model, source, run.spec, seed=HELD_OUT_SEED)
            except ParameterError:  # the loss is not finite: a finding, not the end of the table
                last = {}
            runs.append({key: last[key] for key in FIGURES if key in last})
            if on_row is not None:
                on_row(name, seed, runs[-1])
        ended = [r for r in runs if r]
        keys = ended[0] if ended else ()
        rows[name] = {
            "what": LADDER[name][0],
            "runs": runs,
            "diverged": len(runs) - len(ended),
            "mean": {k: float(np.mean([r[k] for r in ended])) for k in keys},
            "spread": {k: float(np.std([r[k] for r in ended], ddof=int(len(ended) > 1))) for k in keys},
        }
    batch = source.batch(HELD_OUT, HELD_OUT_SEED, held_out=True)
    fit = source.batch(HELD_OUT, HELD_OUT_SEED + 1)
    trivial = metrics.one_ahead_rows(batch, fit, noise=base.data.noise, chords=base.data.kind == "chords")
    start = base.data.length // 2
    gaps = {k: v.to_json() for k, v in metrics.gap_rows(batch, start, 16).items()}
    return {"rungs": rows, "one_frame_ahead": trivial, "gap_16": gaps, "seeds": seeds}


def lines(found: dict[str, Any]) -> list[str]:
    """The ladder as Markdown, baselines first."""
    out = [
        "| row | energy-weighted | original's loss | MSE | oracle after 16 | gap of 16, dB | latent rank | "
        "latent entropy | gradient of encoder | of dynamics |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in found["one_frame_ahead"].items():
        out.append(f"| {name} | {row['energy_weighted']:.3f} | {row['original']:.3f} | {row['mse']:.4f} | | | | | | |")
    for name, row in found["gap_16"].items():
        out.append(f"| {name} | | | | | {row['snr_db']:.1f} | | | | |")
    for name, row in found["rungs"].items():
        mean, spread = row["mean"], row["spread"]

        def cell(key: str, digits: int, mean: dict[str, float] = mean, spread: dict[str, float] = spread) -> str:
            return f"{mean[key]:.{digits}f} ± {spread[key]:.{digits}f}" if key in mean else ""

        cells = (
            cell("held_out_energy_weighted", 3),
            cell("held_out_original", 3),
            cell("held_out_mse", 4),
            cell("oracle_rmse_settled", 3),
            cell("gap_16_snr_db", 1),
            cell("latent_rank", 1),
            cell("latent_entropy", 2),
            cell("gradient_encoder", 2),
            cell("gradient_dynamics", 2),
        )
        lost = f" ({row['diverged']} of {len(row['runs'])} runs diverged)" if row["diverged"] else ""
        out.append(f"| **{name}**: {row['what']}{lost} | " + " | ".join(cells) + " |")
    return out
