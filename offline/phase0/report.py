"""Step `report`: metrics.json, tables.csv, decision.json, report.txt."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

from ...wholefile import write_json, write_text
from ..lab.markdown import plain
from .config import Phase0Config, to_yaml
from .decide import decide
from .evaluate import SLICES
from .splits import Splits
from .store import EncoderInfo

_COLUMNS = (
    "n",
    "excluded_mass",
    "clusters",
    "vr",
    "vr_debiased",
    "permuted_vr",
    "permuted_expected",
    "permuted_expected_sd",
    "nats_per_dim",
    "permuted_nats_per_dim",
    "net_nats_per_dim",
)


def write(
    folder: Path,
    config: Phase0Config,
    info: EncoderInfo,
    cells: list[dict[str, Any]],
    splits: Splits,
    frames: dict[str, Any],
) -> dict[str, Any]:
    """Writes all but the pictures; gives the decision."""
    speakers = {"train": len(splits.train_speakers), "eval": len(splits.eval_speakers)}
    decision = decide(config, info, cells, speakers)
    nested: dict[str, Any] = {}
    for c in cells:
        nested.setdefault(c["condition"], {})[f"lag{c['lag']}"] = {
            k: v for k, v in c.items() if k not in ("key", "clusters")
        }
    about = {
        "encoder": vars(info),
        "speakers": speakers,
        "frames": frames,
        "window_frames": config.window_frames(info.frame_rate_hz),
        "window_seconds": config.window_frames(info.frame_rate_hz) / info.frame_rate_hz,
    }
    write_json(folder / "metrics.json", {**about, "conditions": nested})
    write_text(folder / "tables.csv", _table(info, cells))
    write_json(folder / "decision.json", decision)
    write_text(folder / "report.txt", _report(config, info, cells, decision, about))
    return decision


def _table(info: EncoderInfo, cells: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    head = ["encoder", "encoder_note", "condition", "lag", "slice", "effective_clusters", "degradation"]
    for split in ("train", "eval"):
        head += [f"{split}_{c}" for c in _COLUMNS]
        head += [f"{split}_speakers_{k}" for k in ("count", "mean", "sd", "low", "high")]
    head += ["transfer_vr", *(f"transfer_speakers_{k}" for k in ("count", "mean", "sd", "low", "high"))]
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(head)
    for c in cells:
        for s in SLICES:
            halves = c["slices"][s]
            row: list[Any] = [info.name, info.note, c["condition"], c["lag"], s, c["effective_clusters"]]
            row.append(halves.get("degradation"))
            for split in ("train", "eval"):
                half = halves.get(split, {})
                row += [half.get(k) for k in _COLUMNS]
                row += [half.get("speakers", {}).get(k) for k in ("count", "mean", "sd", "low", "high")]
            other = halves.get("eval", {})
            row.append(other.get("transfer_vr"))
            row += [other.get("speakers_transfer", {}).get(k) for k in ("count", "mean", "sd", "low", "high")]
            rows.writerow([_cell(v) for v in row])
    return out.getvalue()


def _cell(v: Any) -> Any:
    if v is None or (isinstance(v, float) and not math.isfinite(v)):
        return ""
    return f"{v:.6g}" if isinstance(v, float) else v


def number(x: float | None, digits: int = 3) -> str:
    """A figure for people; a dash where there is none."""
    return "—" if x is None or not math.isfinite(x) else f"{x:.{digits}f}"


def main_rows(cells: list[dict[str, Any]]) -> list[list[str]]:
    """The table of slice `all`: a row for each condition and lag."""
    rows = [
        ["condition", "lag", "K", "VR train", "VR eval", "transfer VR", "permuted", "expected", "net nats", "excl. %"]
    ]
    for c in cells:
        a, b = (c["slices"]["all"].get(k, {}) for k in ("train", "eval"))
        rows.append(
            [
                c["condition"],
                str(c["lag"]),
                str(c["effective_clusters"]),
                number(a.get("vr_debiased")),
                number(b.get("vr_debiased")),
                number(b.get("transfer_vr")),
                number(b.get("permuted_vr")),
                number(b.get("permuted_expected")),
                number(b.get("net_nats_per_dim"), 4),
                number(None if not b else 100 * b["excluded_mass"], 1),
            ]
        )
    return rows


def _report(
    config: Phase0Config,
    info: EncoderInfo,
    cells: list[dict[str, Any]],
    decision: dict[str, Any],
    about: dict[str, Any],
) -> str:
    window = about["window_frames"]
    lines = [
        decision["summary"],
        "",
        f"encoder   {info.name}" + (f" ({info.note})" if info.note else ""),
        f"frames    {info.frame_rate_hz:g} a second, {info.dim} values; window {window} frames, "
        f"{about['window_seconds']:.2f} s",
        f"speakers  {about['speakers']['train']} training, {about['speakers']['eval']} evaluation",
        f"rows      {about['frames']['train']} training, {about['frames']['eval']} evaluation",
        "",
        "Variance ratios are debiased: 1 where the ids mean nothing, 0 where they say all. Transfer: evaluation",
        "speakers by the training speakers' means. Permuted, expected: plain ratio of shuffled ids, evaluation rows.",
        "",
        plain(main_rows(cells)),
        "",
        "Reasons",
        *(f"  {r}" for r in decision["reasons"]),
        "",
        "Warnings",
        *(f"  {w}" for w in decision["warnings"] or ["none"]),
        "",
        f"Slices at lag {decision['lag']} (VR train / VR eval / transfer VR)",
        plain(_slices(cells, decision["lag"])),
        "",
        "Over speakers, slice all: mean and 95 % t interval",
        plain(_speakers(cells, decision["lag"])),
        "",
        "Settings",
        *(f"  {line}" for line in to_yaml(config).splitlines() if not line.startswith("out:")),
    ]
    return "\n".join(lines) + "\n"


def _slices(cells: list[dict[str, Any]], lag: int) -> list[list[str]]:
    rows = [["condition", *SLICES]]
    for c in cells:
        if c["lag"] == lag:
            row = [c["condition"]]
            for s in SLICES:
                a, b = (c["slices"][s].get(k, {}) for k in ("train", "eval"))
                row.append(
                    " / ".join(number(x) for x in (a.get("vr_debiased"), b.get("vr_debiased"), b.get("transfer_vr")))
                )
            rows.append(row)
    return rows


def _speakers(cells: list[dict[str, Any]], lag: int) -> list[list[str]]:
    rows = [["condition", "VR train", "VR eval", "transfer VR"]]

    def told(x: dict[str, Any]) -> str:
        if not x.get("count"):
            return "—"
        reach = f" ({number(x['low'])} … {number(x['high'])})" if "low" in x else ""
        return f"{number(x['mean'])}{reach}, {x['count']} speakers"

    for c in cells:
        if c["lag"] == lag:
            a, b = (c["slices"]["all"].get(k, {}) for k in ("train", "eval"))
            rows.append(
                [
                    c["condition"],
                    told(a.get("speakers", {})),
                    told(b.get("speakers", {})),
                    told(b.get("speakers_transfer", {})),
                ]
            )
    return rows
