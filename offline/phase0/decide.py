"""Pass or fail, with reasons. The whole passes if one condition passes every check at the first lag."""

from __future__ import annotations

import math
from typing import Any

from .config import Phase0Config
from .evaluate import SLICES
from .store import EncoderInfo

#: Slices that could be where a good figure of the whole comes from.
CONFOUNDS = SLICES[1:]
FEW_SPEAKERS = 10
FEW_ROWS = 10


def decide(
    config: Phase0Config, info: EncoderInfo, cells: list[dict[str, Any]], speakers: dict[str, int]
) -> dict[str, Any]:
    """What decision.json holds: pass, reasons, warnings, best_condition, summary, and each condition's checks.

    `cells` as `evaluate` gives them; `speakers` are the numbers of train and eval speakers.
    """
    lag = min(c["lag"] for c in cells)
    first = [c for c in cells if c["lag"] == lag and c["condition"] != "random"]
    conditions = {c["condition"]: _condition(config, c) for c in first}
    warnings = _warnings(config, info, cells, speakers)
    # Ids that leave most rows out may look best on the few that are left.
    ranked = sorted(
        (c for c in first if "eval" in c["slices"]["all"]),
        key=lambda c: (
            _or_inf(c["slices"]["all"]["eval"]["excluded_mass"]) > config.decision.max_excluded,
            _or_inf(c["slices"]["all"]["eval"]["transfer_vr"]),
        ),
    )
    passed = [name for name, found in conditions.items() if found["pass"]]
    best = passed[0] if len(passed) == 1 else ranked[0]["condition"] if ranked else None
    if len(passed) > 1:
        best = next(c["condition"] for c in ranked if c["condition"] in passed)
    reasons = [
        f"{name}: {check['reason']}"
        for name, found in conditions.items()
        if name in passed or not passed
        for check in found["checks"]
        if check["ok"] == bool(passed)
    ]
    return {
        "pass": bool(passed),
        "reasons": reasons,
        "warnings": warnings,
        "best_condition": best,
        "summary": _summary(config, info, first, best, bool(passed)),
        "encoder": info.name,
        "encoder_note": info.note,
        "lag": lag,
        "conditions": conditions,
    }


def _or_inf(x: float | None) -> float:
    return math.inf if x is None or not math.isfinite(x) else x


def _text(x: float | None) -> str:
    return "not defined" if x is None or not math.isfinite(x) else f"{x:.3f}"


def _condition(config: Phase0Config, cell: dict[str, Any]) -> dict[str, Any]:
    d = config.decision
    checks: list[dict[str, Any]] = []

    def check(name: str, value: float | None, limit: float, says: str) -> None:
        ok = value is not None and math.isfinite(value) and value < limit
        verdict = "below" if ok else "not below"
        checks.append(
            {
                "name": name,
                "value": value,
                "limit": limit,
                "ok": ok,
                "reason": f"{says} is {_text(value)}, {verdict} {limit:g}",
            }
        )

    halves = cell["slices"]["all"]
    if "eval" not in halves:
        return {"pass": False, "checks": [{"name": "clusters", "ok": False, "value": 0, "reason": cell["note"]}]}
    train, other = halves["train"], halves["eval"]
    check("vr_train", train["vr_debiased"], d.max_vr, "the variance ratio on training speakers")
    check(
        "vr_eval", other["vr_debiased"], d.max_vr, "the variance ratio on evaluation speakers, with means of their own,"
    )
    check(
        "transfer_vr",
        other["transfer_vr"],
        d.max_transfer_vr,
        "the transfer variance ratio (evaluation speakers by the training speakers' means)",
    )
    check("degradation", halves["degradation"], d.max_degradation, "the loss from training to evaluation speakers")
    for split, half in (("train", train), ("eval", other)):
        found, wanted = half["permuted_vr"], half["permuted_expected"]
        off = None if found is None or wanted is None else abs(found - wanted)
        check(f"random_{split}", off, d.random_tolerance, f"permuted ids' distance from their expectation ({split})")
        check(f"excluded_{split}", half["excluded_mass"], d.max_excluded + 1e-12, f"the excluded mass ({split})")
    for s in CONFOUNDS:
        if s in cell["slices"] and cell["slices"][s].get("eval", {}).get("n"):
            worst = max((cell["slices"][s][k]["vr_debiased"] for k in ("train", "eval")), key=_or_inf)
            check(
                f"slice_{s}", worst, d.max_vr + d.slice_allowance, f"the variance ratio of slice {s} (the worse split)"
            )
    return {"pass": all(c["ok"] for c in checks), "checks": checks}


def _warnings(
    config: Phase0Config, info: EncoderInfo, cells: list[dict[str, Any]], speakers: dict[str, int]
) -> list[str]:
    out = []
    if "random weights" in info.note:
        out.append(f"the encoder is {info.name} with {info.note}: a control, not a result about {info.name}")
    if info.name == "synthetic":
        out.append("the latents are synthetic")
    if speakers["train"] + speakers["eval"] < 2 * FEW_SPEAKERS:
        out.append(
            f"{speakers['train']} training and {speakers['eval']} evaluation speakers are few: an interval over so few "
            "is wide, and one odd voice can turn the transfer either way"
        )
    for c in (c for c in cells if c["condition"] != "random"):
        for s, halves in c["slices"].items():
            for split, half in halves.items():
                if split != "degradation" and 0 < half["n"] < FEW_ROWS * half["clusters"]:
                    out.append(
                        f"{c['condition']}, lag {c['lag']}, slice {s}, {split}: {half['n']} rows for "
                        f"{half['clusters']} clusters"
                    )
    for c in cells:
        if c["condition"] == "random" and "eval" in c["slices"]["all"]:
            half = c["slices"]["all"]["train"]
            if abs(half["vr"] - half["permuted_expected"]) > config.decision.random_tolerance:
                out.append(
                    f"random ids give {half['vr']:.3f} at lag {c['lag']}: something is wrong with the evaluation"
                )
    return out


def _summary(config: Phase0Config, info: EncoderInfo, first: list[dict[str, Any]], best: str | None, ok: bool) -> str:
    cell = next((c for c in first if c["condition"] == best), None)
    if cell is None or "eval" not in cell["slices"]["all"]:
        return "FAIL: no condition has clusters large enough to count"
    train, other = cell["slices"]["all"]["train"], cell["slices"]["all"]["eval"]
    own, shared = other["vr_debiased"], other["transfer_vr"]
    limit, shared_limit = config.decision.max_vr, config.decision.max_transfer_vr
    if ok:
        what = "the key predicts the next step, and one rule serves all speakers (type 2)"
    elif _or_inf(train["vr_debiased"]) < limit and _or_inf(shared) >= shared_limit:
        what = (
            "the key predicts the next step of speakers it was learned from (type 1), but the rule does not transfer "
            "to others (type 2)"
        )
    elif _or_inf(own) < limit:
        what = "the key predicts the next step, but another check fails"
    else:
        what = "the key does not predict the next step well enough for a lookup"
    return (
        f"{'PASS' if ok else 'FAIL'}: {what}. Best condition {best}, lag {cell['lag']}, {info.name}: variance ratio "
        f"{_text(train['vr_debiased'])} train, {_text(own)} eval, {_text(shared)} transfer"
    )
