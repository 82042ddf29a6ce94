"""Trained networks to a model package and back: weights, words, music's spectrum, goldens, card.

The settings' half (`cspace train eq`) is a folder with `eq.safetensors` and `eq.json`; the whole
package (`cspace train audio-encoder`) is what `cspace.plugins._adaptive.model` reads.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ... import __version__
from ...plugins._adaptive.curve import F64
from ...plugins._adaptive.model import CARD, GOLDENS, MANIFEST, SCHEMA, WEIGHTS, Model, array_bytes, load, read_arrays
from ...plugins._adaptive.spectrum import spectrum_of
from ...plugins._errors import FileError
from ...textfile import read_text
from ...wholefile import whole, write_json
from .audioencoder import SAMPLE_RATE, AudioNet, AudioSpec
from .signals import ensemble
from .vae import EqVae, VaeSpec
from .words import PULL, LearntWord

EQ_ARRAYS, EQ_ABOUT = "eq.safetensors", "eq.json"
PARITY = 2e-5  # largest difference allowed between torch and NumPy


def layers(net: nn.Module, name: str) -> dict[str, NDArray[np.float32]]:
    """Dense layers as arrays `name.i.weight` and `name.i.bias`."""
    dense = [m for m in net.modules() if isinstance(m, nn.Linear)]
    out = {}
    for i, m in enumerate(dense):
        out[f"{name}.{i}.weight"] = m.weight.detach().numpy().astype(np.float32)
        out[f"{name}.{i}.bias"] = m.bias.detach().numpy().astype(np.float32)
    return out


def _fill(net: nn.Module, name: str, arrays: dict[str, Any]) -> None:
    with torch.no_grad():
        for i, m in enumerate(m for m in net.modules() if isinstance(m, nn.Linear)):
            m.weight.copy_(torch.from_numpy(arrays[f"{name}.{i}.weight"]))
            m.bias.copy_(torch.from_numpy(arrays[f"{name}.{i}.bias"]))


def save_eq(folder: Path, model: EqVae, spec: VaeSpec, about: dict[str, Any]) -> list[Path]:
    """Writes the settings' half; gives the paths."""
    arrays = layers(model.encoder, "encoder") | layers(model.decoder, "decoder")
    with whole(folder / EQ_ARRAYS) as part:
        part.write_bytes(array_bytes(arrays))
    write_json(folder / EQ_ABOUT, {"schema": SCHEMA, "kind": "eq-vae", "spec": spec.model_dump(), **about})
    return [folder / EQ_ARRAYS, folder / EQ_ABOUT]


def load_eq(folder: str | os.PathLike[str]) -> tuple[EqVae, dict[str, Any]]:
    """Reads the settings' half. Raises FileError."""
    base = Path(folder)
    try:
        about = json.loads(read_text(base / EQ_ABOUT))
        spec = VaeSpec.model_validate(about["spec"])
    except FileError as e:
        raise FileError(f"{e}; make it with cspace train eq") from None
    except (ValueError, KeyError, TypeError) as e:
        raise FileError(f"{base / EQ_ABOUT}: is no trained EQ model: {str(e).splitlines()[0]}") from None
    model = EqVae(spec.latent, spec.hidden)
    arrays = read_arrays(base / EQ_ARRAYS)
    try:
        _fill(model.encoder, "encoder", arrays)
        _fill(model.decoder, "decoder", arrays)
    except (KeyError, RuntimeError) as e:
        raise FileError(f"{base / EQ_ARRAYS}: does not fit its settings: {e}") from None
    return model.eval(), about


# ---- what music is like ----------------------------------------------------------------------


@dataclass(frozen=True)
class Music:
    """What long-term spectra of music are like."""

    mean_db: F64  # [shape=(bands,)]
    covariance: F64  # [shape=(bands, bands)], dB²
    known: NDArray[np.bool_]  # bands that most pieces reach [shape=(bands,)]
    clips: int
    source: str
    pieces: tuple[str, ...] = ()  # names of their files, so that a test can leave them out


def music_statistics(
    clips: Iterable[NDArray[np.float32]], bands: int, source: str, pieces: tuple[str, ...] = ()
) -> Music:
    """Mean and covariance of the pieces' levels, each piece about its own mean. Raises FileError for few pieces."""
    rows = []
    for x in clips:
        found = spectrum_of(x, SAMPLE_RATE, bands)
        level = np.where(found.valid, found.levels_db, np.nan)
        rows.append(level - np.nanmean(level))
    if len(rows) < 8:
        raise FileError(f"{len(rows)} clips of music are too few to say what music is like; at least 8 are needed")
    levels = np.array(rows)
    there = np.isfinite(levels)
    known = there.mean(axis=0) >= 0.5
    mean = np.where(there, levels, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    dev = np.where(there, levels - mean, 0.0)
    covariance = dev.T @ dev / len(rows)
    # Few clips know few directions: a tenth of the mean variance in every one.
    covariance += 0.1 * np.trace(covariance) / bands * np.eye(bands)
    return Music(np.where(known, mean, 0.0), covariance, known, len(rows), source, pieces)


SYNTHETIC = "synthetic pieces"


def synthetic_music(count: int = 48) -> Iterable[NDArray[np.float32]]:
    """Pieces for synthetic instruments, where no music is at hand."""
    return (ensemble(8.0, SAMPLE_RATE, 900_000 + i) for i in range(count))


# ---- the package -----------------------------------------------------------------------------


def write_package(
    folder: Path,
    model: EqVae,
    eq_about: dict[str, Any],
    net: AudioNet,
    spec: AudioSpec,
    words: list[LearntWord],
    music: Music,
    *,
    figures: dict[str, Any],
) -> Model:
    """Writes the package, reads it back, and holds NumPy to torch on the goldens. Raises FileError."""
    arrays: dict[str, NDArray[Any]] = (
        layers(model.encoder, "encoder") | layers(model.decoder, "decoder") | layers(net, "audio")
    )
    for name, rows in (
        ("z", [w.z for w in words]),
        ("curve_db", [w.curve_db for w in words]),
        ("spread_db", [w.spread_db for w in words]),
    ):
        arrays[f"words.{name}"] = np.array(rows, np.float32)
    for name, value in (("mean_db", music.mean_db), ("covariance", music.covariance), ("known", music.known)):
        arrays[f"music.{name}"] = value.astype(np.float32)
    goldens = _goldens(model, net, spec)
    card = card_text(eq_about, spec, words, music, figures, arrays)
    files = {WEIGHTS: array_bytes(arrays), GOLDENS: array_bytes(goldens), CARD: card.encode()}
    for name, data in files.items():
        with whole(folder / name) as part:
            part.write_bytes(data)
    about = {
        "schema": SCHEMA,
        "kind": "adaptive-eq",
        "made_by": f"cspace {__version__}",
        "latent": model.latent,
        "bands": spec.bands,
        "sample_rate": SAMPLE_RATE,
        "licence": "MIT OR Apache-2.0 for the weights; the settings they were trained on are SAFE's",
        "audio_encoder": spec.model_dump(),
        "eq": {k: v for k, v in eq_about.items() if k not in ("schema", "kind")},
        "music": {"source": music.source, "clips": music.clips, "pieces": list(music.pieces)},
        "words": [
            {
                "name": w.name,
                "count": w.count,
                "family": w.family,
                "pull_to_family": round(PULL / (w.count + PULL), 3),
                "agreement": round(w.agreement, 3),
            }
            for w in words
        ],
        "figures": figures,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    write_json(folder / MANIFEST, about)
    made = load(folder)
    worst = parity(made, read_arrays(folder / GOLDENS))
    if not worst <= PARITY:
        raise FileError(f"{folder}: NumPy differs from torch by {worst:.2g}, {PARITY:g} is allowed")
    return made


@torch.no_grad()
def _goldens(model: EqVae, net: AudioNet, spec: AudioSpec) -> dict[str, NDArray[np.float32]]:
    """Inputs and torch's outputs of the three networks."""
    rng = torch.Generator().manual_seed(1)
    unit = torch.rand(16, 13, generator=rng)
    z = torch.randn(16, model.latent, generator=rng)
    x = torch.randn(16, 2 * spec.bands, generator=rng)
    latents, errors = net(x)
    out = {
        "unit": unit,
        "encoded": model.encode(unit)[0],
        "z": z,
        "decoded": model.decode(z),
        "features": x,
        "heard": torch.cat([latents, errors[:, None]], dim=1),
    }
    return {k: v.numpy().astype(np.float32) for k, v in out.items()}


def parity(model: Model, goldens: dict[str, NDArray[Any]]) -> float:
    """Largest difference between the NumPy networks and torch's recorded outputs, relative to their size."""
    pairs = (
        (model._run("encoder", 2.0 * goldens["unit"] - 1.0)[:, : model.latent], goldens["encoded"]),
        (np.clip(model._run("decoder", goldens["z"]), 0.0, 1.0), goldens["decoded"]),
        (model._run("audio", goldens["features"]), goldens["heard"]),
    )
    return max(float(np.max(np.abs(a - b)) / max(1.0, float(np.max(np.abs(b))))) for a, b in pairs)


def _figure_lines(eq_about: dict[str, Any], figures: dict[str, Any]) -> list[str]:
    """The figures of `model.json` as two tables."""
    lines = ["| settings through encoder and decoder | curve, dB | gains, dB | centres, octaves |", "|---|---|---|---|"]
    rows = {"this model": eq_about["held_out"], **eq_about.get("baselines", {})}
    for name, row in rows.items():
        cells = [row.get(k) for k in ("response_mae_db", "gain_mae_db", "frequency_mae_octaves")]
        lines.append(f"| {name} | " + " | ".join("" if c is None else f"{c:.3f}" for c in cells) + " |")
    lines += [
        "",
        "Mean absolute errors on settings held out; centres where the band has 0.5 dB or more.",
        "",
        "| settings heard in sound | curve up to its level, dB | 90 % below | with its level | rivals |",
        "|---|---|---|---|---|",
    ]
    for name, row in figures.items():
        if "shape_mae_db" in row:
            rivals = ", ".join(f"{k} {v['shape_mae_db']:.2f}" for k, v in row["rivals"].items())
            cells = [f"{row[k]:.2f}" for k in ("shape_mae_db", "shape_p90_db", "absolute_mae_db")]
            lines.append(f"| {name} | {' | '.join(cells)} | {rivals} |")
        else:
            errors = ", ".join(f"{v:.2f}" for v in row["total_error_db"])
            lines.append(
                f"| {name}: total error | {errors} | | | doing nothing {row['doing_nothing_db']:.2f}, "
                f"the original's step {row['originals_step_db']:.2f} |"
            )
    return lines


def card_text(
    eq_about: dict[str, Any],
    spec: AudioSpec,
    words: list[LearntWord],
    music: Music,
    figures: dict[str, Any],
    arrays: dict[str, NDArray[Any]],
) -> str:
    """The model card: what it is for, what it was made of, how good it is, and where it is not."""
    nets = {n: sum(v.size for k, v in arrays.items() if k.startswith(n + ".")) for n in ("encoder", "decoder", "audio")}
    lines = [
        "# Adaptive EQ: model card",
        "",
        "Turns words (`warm`, `bright`, …) into settings of a five-band equaliser, and hears which setting a sound "
        "carries. For tone shaping by ear; no measure of quality.",
        "",
        f"- Settings: {eq_about['data']['source']}, {eq_about['data']['rows']} rows, "
        f"{eq_about['data']['train']} for training, {eq_about['data']['test']} held out "
        "(exact duplicates on one side). Words are learnt from all rows. No personal columns are read.",
        f"- Weights: encoder {nets['encoder']:,}, decoder {nets['decoder']:,}, audio encoder {nets['audio']:,}.",
        f"- Audio encoder: {spec.bands} bands, trained on synthetic sound only; music's mean spectrum from "
        f"{music.clips} clips ({music.source}).",
        "- Not for: telling the setting of a finished piece without its dry self (it says so by its confidence); "
        "languages other than the English of the table; words outside the list.",
        "",
        "## Made by",
        "",
        "```sh",
        f"cspace train eq --data TABLE --seed {eq_about['spec']['seed']} --split-seed {eq_about['data']['split_seed']}",
        f"cspace train audio-encoder --data TABLE --seed {spec.seed}"
        + ("" if music.source == SYNTHETIC else " --music FOLDER --every 2"),
        "```",
        "",
        "## Held-out figures",
        "",
        *_figure_lines(eq_about, figures),
        "",
        "## Words",
        "",
        "| word | settings | family | pull to the family | agreement of people |",
        "|---|---|---|---|---|",
    ]
    for w in words:
        pull = PULL / (w.count + PULL)
        lines.append(f"| {w.name} | {w.count} | {w.family} | {100 * pull:.0f} % | {w.agreement:.2f} |")
    lines += [
        "",
        "Agreement: mean cosine between people's curves and the word's; near 0, the word means many things.",
        "",
    ]
    return "\n".join(lines)
