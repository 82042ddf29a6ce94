"""Pictures of Tier 1."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .segments import MODES

_LABELS = {
    "A_teacher": "A: true state always",
    "B_periodic": "B: put back every 4 steps",
    "C_one_shot": "C: put back after step 1",
    "D_rollout": "D: never put back",
}
#: What each per-step picture shows: key, label, zero line, logarithmic.
_MEASURES = (
    ("dnll", "dNLL against the factored baseline (nats)", 0.0, False),
    ("cosine", "cosine of predicted and true step", 0.0, False),
    ("magnitude_ratio", "|predicted| / |true step|, median", 1.0, True),
    ("state_error_steps", "state error before the step (rms steps)", None, False),
)


def _key(measure: str, rows: list[dict[str, Any]]) -> str:
    """The column of a measure; dnll is that of the first baseline."""
    if measure != "dnll":
        return measure
    return next(k for k in rows[0] if k.startswith("dnll_"))


def _tidy(axis: Axes, label: str, reference: float | None, logarithmic: bool) -> None:
    axis.set_xlabel("step of the segment")
    axis.set_ylabel(label)
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if logarithmic:
        axis.set_yscale("log")
    if reference is not None:
        axis.axhline(reference, color="0.5", lw=1.0, zorder=1)


def _symlog_if_wild(axis: Axes) -> None:
    """A symmetric logarithm where some values would flatten all the others."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axis.get_lines()] or [np.zeros(1)])
    values = values[np.isfinite(values)]
    if len(values) and np.abs(values).max() > 30.0 * max(1.0, float(np.median(np.abs(values)))):
        axis.set_yscale("symlog", linthresh=max(1.0, float(np.median(np.abs(values)))))


def injection(rows: list[dict[str, Any]], title: str) -> dict[str, Figure]:
    """Four pictures by file name: dNLL, cosine, magnitude ratio, state error; one line for each mode."""
    found = {}
    for measure, label, reference, logarithmic in _MEASURES:
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axis = figure.subplots()
        key = _key(measure, rows)
        for j, mode in enumerate(MODES):
            mine = [r for r in rows if r["mode"] == mode]
            values = [r[key] for r in mine]
            axis.plot([r["step"] for r in mine], values, marker="osv^"[j], ms=4, color=f"C{j}", label=_LABELS[mode])
        _tidy(axis, label, reference, logarithmic)
        if not logarithmic:
            _symlog_if_wild(axis)
        axis.legend(fontsize=8)
        figure.suptitle(title, fontsize=10)
        found[f"injection_{measure.removesuffix('_steps')}"] = figure
    return found


def trainings(rows: list[dict[str, Any]], title: str) -> Figure:
    """1B: teacher-forced against rollout-trained, under true and under self-made contexts, in all four measures."""
    figure = Figure(figsize=(10.0, 7.0), layout="constrained")
    for axis, (measure, label, reference, logarithmic) in zip(figure.subplots(2, 2).ravel(), _MEASURES, strict=True):
        key = _key(measure, rows)
        for j, training in enumerate(("teacher", "rollout")):
            for mode, dash in (("A_teacher", "--"), ("D_rollout", "-")):
                mine = [r for r in rows if r["training"] == training and r["mode"] == mode]
                name = f"{training}-trained, {'true' if mode == 'A_teacher' else 'own'} context"
                axis.plot([r["step"] for r in mine], [r[key] for r in mine], dash, color=f"C{j}", label=name)
        _tidy(axis, label, reference, logarithmic)
        if not logarithmic:
            _symlog_if_wild(axis)
    figure.axes[0].legend(fontsize=8)
    figure.suptitle(f"Training through the rollout: {title}", fontsize=11)
    return figure


def by_lag(lags: dict[str, Any], title: str) -> Figure:
    """Experiment 1: dNLL against every baseline, and cosine, over the lag; evaluation speakers."""
    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    kinds = list(next(iter(lags.values())))
    at = np.arange(len(lags))
    bars = [(k, b) for k in kinds for b in next(iter(lags.values()))[k]["eval"]["dnll"]]
    width = 0.8 / len(bars)
    for j, (kind, base) in enumerate(bars):
        values = [lags[lag][kind]["eval"]["dnll"][base]["mean"] for lag in lags]
        left.bar(at + (j - (len(bars) - 1) / 2) * width, values, width, label=f"{kind} against {base}")
    left.axhline(0.0, color="0.3", lw=1.0)
    left.set_xticks(at, list(lags))
    left.set_ylabel("dNLL (nats per step); below 0 is better")
    left.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, frameon=False)
    for kind in kinds:
        each = [lags[lag][kind]["eval"]["cosine_by_speaker"] for lag in lags]
        means = np.array([e["mean"] for e in each])
        spread = np.array([[e["mean"] - e.get("low", e["mean"]), e.get("high", e["mean"]) - e["mean"]] for e in each])
        right.errorbar(at, means, spread.T, marker="o", capsize=3, label=f"{kind}, mean of speakers, 95 %")
        if "expected_cosine" in lags[next(iter(lags))][kind]["eval"]:
            expected = [lags[lag][kind]["eval"]["expected_cosine"] for lag in lags]
            right.plot(at, expected, "x--", color="0.5", label=f"{kind}, as it expects itself")
    right.axhline(0.0, color="0.3", lw=1.0)
    right.set_xticks(at, list(lags))
    right.set_ylabel("cosine of predicted and true step")
    right.legend(fontsize=7)
    for axis in (left, right):
        axis.set_xlabel("lag (frames)")
        axis.grid(alpha=0.3, axis="y")
    figure.suptitle(f"Speakers not trained on: {title}", fontsize=11)
    return figure


def representations(summary: list[dict[str, Any]], curves: dict[str, list[dict[str, Any]]]) -> Figure:
    """Experiment 3: cosine, dNLL per dimension against the context-free mixture, and state error of rollouts."""
    figure = Figure(figsize=(13.0, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    names = [row["representation"] for row in summary]
    at = np.arange(len(names))
    kinds = [k.removesuffix("_cosine") for k in summary[0] if k in ("vmf_cosine", "mdn_cosine")]
    for j, kind in enumerate(kinds):
        shift = (j - (len(kinds) - 1) / 2) * 0.35
        left.bar(at + shift, [row[f"{kind}_cosine"] for row in summary], 0.33, label=kind)
        keys = [k for k in summary[0] if k.startswith(f"{kind}_dnll_free_") and k.endswith("_per_dim")]
        middle.bar(at + shift, [row[keys[-1]] for row in summary], 0.33, label=kind)
    left.set_ylabel("cosine of predicted and true step")
    middle.set_ylabel("dNLL against the context-free mixture\n(nats per dimension); below 0 is better")
    for axis in (left, middle):
        axis.axhline(0.0, color="0.3", lw=1.0)
        axis.set_xticks(at, [textwrap.fill(n, 18) for n in names], fontsize=7)
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3, axis="y")
    for j, (name, rows) in enumerate(curves.items()):
        mine = [r for r in rows if r["mode"] == "D_rollout"]
        right.plot([r["step"] for r in mine], [r["state_error_steps"] for r in mine], marker="osv^"[j % 4], label=name)
    _tidy(right, "state error of the rollout (rms steps)", None, False)
    _symlog_if_wild(right)
    right.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.13), frameon=False)
    figure.suptitle("Window, lag and step equal in seconds", fontsize=11)
    return figure


def check(rows: list[dict[str, Any]]) -> Figure:
    """The known answers: share of the analytic gain reached and fitted kappa over the true one."""
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [f"D {r['dim']}, kappa {r['kappa']:g}" for r in rows]
    at = np.arange(len(rows))
    for axis, key, label, margin in (
        (left, "gain_share", "gain found / analytic gain", 0.05),
        (right, "kappa_share", "fitted / true kappa", 0.1),
    ):
        axis.bar(at, [r[key] for r in rows], 0.6)
        axis.axhspan(1.0 - margin, 1.0 + margin, color="C2", alpha=0.2, label=f"within {margin:.0%}")
        axis.axhline(1.0, color="0.3", lw=1.0)
        axis.set_ylim(0.8, 1.15)
        axis.set_xticks(at, names, fontsize=7)
        axis.set_ylabel(label)
        axis.legend(fontsize=8)
    figure.suptitle("Synthetic steps whose direction the context decides", fontsize=11)
    return figure
