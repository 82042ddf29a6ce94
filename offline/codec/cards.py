"""The card of a codec model: what it is, what it was trained on and with which command, what it is not for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...plugins._errors import FileError
from ...textfile import read_text
from .codec import load
from .spec import PRESETS

CARD = "CARD.md"
RECORD = "train.json"


def card(folder: Path) -> str:
    """The text of `CARD.md` for a folder with a model and the `train.json` of its training. Raises FileError."""
    codec = load(folder)
    try:
        record = json.loads(read_text(folder / RECORD))
        options, history = record["options"], record["history"]
    except (OSError, ValueError, KeyError) as e:
        raise FileError(f"{folder / RECORD}: is no record of a training ({e})") from None
    spec = codec.spec
    best = min(history, key=lambda h: h["loss"])
    milliseconds = 1000.0 / spec.sample_rate
    lines = [
        f"# {codec.info.name}",
        "",
        f"A codec of the CSpace project: a learned lapped transform ({spec.dims} values to a hop of {spec.hop} samples "
        f"at {spec.sample_rate} Hz, no biases), uniform rounding, a range coder with a context model. Trained for "
        f"{spec.kbps:g} kbit/s; other rates work, since the rate is only a step size.",
        "",
        f"- algorithmic latency: {spec.latency_samples} samples, {spec.latency_samples * milliseconds:.2f} ms",
        f"- files: `codec.safetensors` (float16, {codec.analysis.size + codec.synthesis.size:,} weights), the "
        "streaming packages `live`, `encoder`, `decoder`",
        f"- SHA-256 of `codec.safetensors`: `{codec.hash.hex()}`",
        "- licence: MIT OR Apache-2.0 (weights); the sounds it was trained on are not in it",
        "",
        "## Training",
        "",
        f"Data: {_data(options)}. Only loss: the noise-to-signal ratio of CSpace states in dB"
        + ("" if options["domain"] == "cspace" else " — no: of the waveform, for an ablation")
        + f". {options['steps']} steps of {options['batch']} clips of {options['seconds']:g} s, "
        f"{options['optimiser']}, learning rate {options['learning_rate']:g}, start `{options['init']}`, rounding "
        f"trained through by `{options['rounding']}`, seed {options['seed']}. The step that did best on "
        f"validation clips was kept: {best['step']:.0f}.",
        "",
        "```sh",
        command(codec.info.name, options),
        "```",
        "",
        "Validation (clips held out of the same sources, at the training's rate by its estimate):",
        "",
        "| step | SI-SNR dB | CSpace dB |",
        "|---|---|---|",
        *(f"| {h['step']:.0f} | {h['si_snr_db']:.2f} | {h['cspace_nsr_db']:.2f} |" for h in history),
        "",
        "Figures on speech and music that it never met, from real files, are in docs/codec-figures.md.",
        "",
        "## Limits",
        "",
        f"It aims at the waveform, not at the ear. It hears nothing above {spec.sample_rate // 2000} kHz. Each channel "
        "is coded by itself. It was trained on read speech and on music made by code.",
        "",
    ]
    return "\n".join(lines)


def command(name: str, options: dict[str, Any]) -> str:
    """What makes the model again, in a checkout with the recordings."""
    data = ",".join(d if d in ("synthetic",) or ":" in d else f"data/recordings/speech/{d}" for d in options["data"])
    preset = name if name in PRESETS else "phase96"
    return (
        f"cspace train codec --data {data} --preset {preset} --steps {options['steps']} --seed {options['seed']} "
        f"--optimiser {options['optimiser']} --learning-rate {options['learning_rate']:g} "
        f"--rounding {options['rounding']}"
    )


def _data(options: dict[str, Any]) -> str:
    names = list(dict.fromkeys(options["data"]))
    shares = [f"{n} ({options['data'].count(n)} of {len(options['data'])} parts)" for n in names]
    return ", ".join(shares) + f"; every {round(1 / options['held_out'])}th file of a folder kept for validation"
