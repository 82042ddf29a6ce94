"""The page of results: sections of docs/phase0-tier1.md, made of what the runs left and the original's figures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ....plugins._errors import FileError
from ....textfile import read_text
from ....wholefile import whole
from ...lab.markdown import table
from .runfolder import METRICS

#: What the original published, on LibriSpeech through Mimi: lag -> (dNLL, cosine), in nats.
PUBLISHED = {
    "mdn": {"1": (-185.4, 0.611), "2": (-131.1, 0.392), "4": (-84.8, 0.107), "8": (-66.8, 0.038)},
    "vmf": {"1": (-2.20, 0.732), "2": (-2.24, 0.444), "4": (-2.28, 0.151), "8": (-2.29, 0.058)},
}


def sections(out: Path) -> dict[str, str]:
    """Section name -> Markdown, for the experiments that are done below `out`. Raises FileError where none is."""
    found: dict[str, str] = {}
    for name, make in (("exp1", _exp1), ("exp2", _exp2), ("rollout", _rollout), ("exp3", _exp3)):
        runs = {p.parent.parent.name: _read(p) for p in sorted(out.glob(f"*/{name}/{METRICS}"))}
        if runs:
            found[f"tier1-{name}"] = make(runs)
    if not found:
        raise FileError(f"{out}: has no finished run of cspace phase0 tier1")
    return found


def copy_pictures(out: Path, images: Path) -> list[Path]:
    """Copies each run's pictures to `images`, as tier1_RUN_NAME.png."""
    copied = []
    for path in sorted(out.glob("*/*/*.png")):
        target = images / f"tier1_{path.parent.parent.name}_{path.stem}.png"
        with whole(target) as part:
            shutil.copyfile(path, part)
        copied.append(target)
    return copied


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(read_text(path))
        return found
    except (OSError, ValueError) as e:
        raise FileError(f"{path}: cannot be read: {e}") from None


def _exp1(runs: dict[str, dict[str, Any]]) -> str:
    parts = []
    for run, m in runs.items():
        d = m["data"]
        parts.append(
            f"**{run}**: {d['latents']}, D = {d['dim']}, {d['frame_rate_hz']:g} frames/s, window {d['window']} frames "
            f"({d['window_s']:.3g} s), scale {d['scale']}; {d['train_rows']} train, "
            f"{d['eval_rows']} evaluation rows, "
            f"{d['train_speakers']} and {d['eval_speakers']} speakers."
        )
        lines = [["model", "lag", "against", "train", "held-out, same voices", "other voices", "median", "better in"]]
        lines[0] += ["cosine, other voices", "its own", "R² of ln |dx|", "published dNLL", "published cosine"]
        for lag, kinds in m["lags"].items():
            for kind, splits in kinds.items():
                e, first = splits["eval"], True
                for base, gain in e["dnll"].items():
                    old = PUBLISHED[kind].get(lag) if first and base in ("gaussian", "factored") else None
                    lines.append(
                        [
                            kind if first else "",
                            lag if first else "",
                            base,
                            f"{splits['train']['dnll'][base]['mean']:+.2f}",
                            f"{splits['holdout']['dnll'][base]['mean']:+.2f}" if "holdout" in splits else "",
                            f"{gain['mean']:+.2f}",
                            f"{gain['median']:+.2f}",
                            f"{100 * e['better_share'][base]:.0f} %",
                            f"{e['cosine']['mean']:.3f}" if first else "",
                            f"{e['expected_cosine']:.3f}" if first and "expected_cosine" in e else "",
                            f"{e['log_magnitude_r2']:.2f}" if first else "",
                            f"{old[0]:+.1f}" if old else "",
                            f"{old[1]:.3f}" if old else "",
                        ]
                    )
                    first = False
        parts.append(table(lines))
    return "\n\n".join(parts)


def _modes(rows: list[dict[str, Any]], before: list[str]) -> list[list[str]]:
    lines = []
    for r in rows:
        gains = [v for k, v in r.items() if k.startswith("dnll_") and k != "dnll_median"]
        lines.append(
            [
                *before,
                r["mode"],
                f"{gains[0]:+.2f}",
                f"{r['dnll_median']:+.2f}",
                f"{gains[-1]:+.2f}",
                f"{r['cosine']:.3f}",
                f"{r['magnitude_ratio']:.2f}",
                f"{r['state_error_steps']:.2f}",
                f"{r['rollout_gap']:+.2f}",
            ]
        )
    return lines


_MODE_HEAD = [
    "mode",
    "dNLL, factored",
    "its median",
    "dNLL, mixture",
    "cosine",
    "magnitude ratio",
    "state error, rms steps",
    "gap",
]


def _exp2(runs: dict[str, dict[str, Any]]) -> str:
    lines = [["latents", "segments", *_MODE_HEAD]]
    for run, m in runs.items():
        lines += _modes(m["totals"], [run, str(m["segments"])])
    return table(lines)


def _rollout(runs: dict[str, dict[str, Any]]) -> str:
    lines = [["latents", "trained by", *_MODE_HEAD, "state error at the end"]]
    for run, m in runs.items():
        for training in ("teacher", "rollout"):
            ends = {
                r["mode"]: r["state_error_steps"]
                for r in m["per_step"]
                if r["training"] == training and r["step"] == 16
            }
            rows = _modes(m[training]["totals"], [run, training])
            lines += [[*line, f"{ends[line[2]]:.1f}" if line[2] in ends else ""] for line in rows]
    return table(lines)


def _exp3(runs: dict[str, dict[str, Any]]) -> str:
    parts = []
    for m in runs.values():
        rows = m["summary"]
        kinds = [k.removesuffix("_cosine") for k in rows[0] if k in ("vmf_cosine", "mdn_cosine")]
        head = ["representation", "D", "frames joined", "window, s", "lag, s"]
        for kind in kinds:
            head += [f"{kind}: dNLL per dimension, " + b for b in _bases(rows[0], kind)] + [f"{kind}: cosine"]
        head += ["rollout gap", "state error after 15 steps, rms steps"]
        lines = [head]
        for r in rows:
            line = [r["representation"], str(r["dim"]), str(r["group"]), f"{r['window_s']:g}", f"{r['lag_s']:g}"]
            for kind in kinds:
                line += [f"{r[f'{kind}_dnll_{b}_per_dim']:+.4f}" for b in _bases(r, kind)]
                line.append(f"{r[f'{kind}_cosine']:.3f}")
            lines.append([*line, f"{r['rollout_gap']:+.2f}", f"{r['end_state_error_steps']:.1f}"])
        parts.append(table(lines))
    return "\n\n".join(parts)


def _bases(row: dict[str, Any], kind: str) -> list[str]:
    """The baselines of a kind, by their columns."""
    start, end = f"{kind}_dnll_", "_per_dim"
    return [k[len(start) : -len(end)] for k in row if k.startswith(start) and k.endswith(end)]
