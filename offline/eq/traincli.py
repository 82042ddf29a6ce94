"""`cspace train eq` and `cspace train audio-encoder`: the work behind the two commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...clitools import note, progress, say
from ...plugins._adaptive.model import Model
from ...plugins._errors import ParameterError, near
from ..audio import audio_files
from . import audioencoder, build, evaluate, vae
from . import data as table
from . import words as vocabulary
from .audioencoder import PRESETS, AudioSpec
from .signals import excerpts
from .vae import VaeSpec

CHECKPOINT_EQ, CHECKPOINT_AUDIO = "eq.part.safetensors", "audio.part.safetensors"
_TESTED = 100  # held-out settings that noise is filtered with


def settings_of(data: str, seed: int) -> table.Settings:
    """The table a user names: a CSV file, or the word `synthetic`."""
    return table.synthetic(seed=seed) if data == "synthetic" else table.load(data)


def train_eq(data: str, out: Path, spec: VaeSpec, split_seed: int) -> list[Path]:
    """Trains the settings' half; prints and writes its held-out figures."""
    found = settings_of(data, split_seed)
    for reason, count in found.left_out.items():
        note(f"{count} rows left out: {reason}")
    train, test = table.split(found, seed=split_seed)
    say(f"{len(found)} settings, {len(train)} for training, {len(test)} held out; {len(found.counts())} words")
    values, held = found.values[train], found.values[test]
    checkpoint = out / CHECKPOINT_EQ
    with progress() as bar:
        task = bar.add_task("settings", total=spec.steps)
        model = vae.train(values, spec, lambda i, n, _: bar.update(task, completed=i), checkpoint=checkpoint)
    figures = vae.report(model, held)
    rivals = vae.baselines(values, held)
    latents = vae.encode(model, found.values)
    accuracy = {}
    counts = found.only(train).counts()
    usable = [w for w, n in counts.most_common() if n >= 5 and w in vocabulary.FAMILY]
    for name, chosen in (("warm or bright", ["warm", "bright"]), ("all words", usable)):
        if all(w in counts for w in chosen) and len(chosen) > 1:
            halves = (latents[train], latents[test])
            accuracy[name] = vocabulary.balanced_accuracy(found.only(train), found.only(test), halves, chosen)
    about: dict[str, Any] = {
        "data": {
            "source": found.source,
            "rows": len(found),
            "train": len(train),
            "test": len(test),
            "split_seed": split_seed,
        },
        "held_out": figures,
        "baselines": rivals,
        "published_original": {"originals_mse": 0.148},
        "balanced_accuracy": accuracy,
    }
    paths = build.save_eq(out, model, spec, about)
    checkpoint.unlink(missing_ok=True)
    _eq_table(figures, rivals)
    for name, row in accuracy.items():
        say(
            f"balanced accuracy, {name}: {row['logistic on latents']:.3f} (latents), "
            f"{row['nearest mean curve']:.3f} (nearest mean curve), chance {row['chance']:.3f}"
        )
    return paths


def _eq_table(figures: dict[str, float], rivals: dict[str, dict[str, float]]) -> None:
    from rich.table import Table

    from ...clitools import out

    shown = Table("held out", "curve, dB", "gains, dB", "centres, octaves", box=None)
    for name, row in {"this model": figures, **rivals}.items():
        cells = [row.get(k) for k in ("response_mae_db", "gain_mae_db", "frequency_mae_octaves")]
        shown.add_row(name, *("" if c is None else f"{c:.3f}" for c in cells))
    out.print(shown)


def audio_spec(preset: str, steps: int | None, seed: int) -> AudioSpec:
    """The preset, changed. Raises ParameterError for an unknown one."""
    if preset not in PRESETS:
        raise ParameterError(f"preset {preset!r} is not allowed, use {', '.join(PRESETS)}{near(preset, PRESETS)}")
    changes: dict[str, Any] = {"seed": seed} | ({} if steps is None else {"steps": steps})
    return AudioSpec.model_validate(PRESETS[preset].model_dump() | changes)


def train_audio(
    data: str, eq: Path, out: Path, spec: AudioSpec, music: Path | None, *, every: int = 1, tested: int = _TESTED
) -> tuple[Model, dict[str, Any]]:
    """Trains the audio encoder on the settings that `eq` was trained on, and writes the package.

    Of the pieces in `music`, sorted, every `every`th one says what music is like; the others stay for testing.
    """
    pieces = [] if music is None else audio_files(music)
    model, about = build.load_eq(eq)
    found = settings_of(data, about["data"]["split_seed"])
    if len(found) != about["data"]["rows"]:
        raise ParameterError(
            f"{data} has {len(found)} settings, but {eq} was trained on {about['data']['rows']}; give the same table"
        )
    train, test = table.split(found, seed=about["data"]["split_seed"])
    checkpoint = out / CHECKPOINT_AUDIO
    with progress() as bar:
        task = bar.add_task("sounds", total=None)
        lib = audioencoder.record(spec, lambda i, n: bar.update(task, completed=i, total=n))
        task = bar.add_task("audio encoder", total=spec.steps)
        net = audioencoder.train(
            model, found.values[train], lib, spec, lambda i, n, _: bar.update(task, completed=i), checkpoint=checkpoint
        )
        task = bar.add_task("music", total=None)
        if not pieces:
            statistics = build.music_statistics(build.synthetic_music(), spec.bands, build.SYNTHETIC)
        else:
            statistics = music_of(pieces, every, spec.bands)
        task = bar.add_task("words", total=None)
        learnt = vocabulary.learn(model, found, spec.bands)
        if not learnt:
            raise ParameterError(
                f"{data} has no word of the curated families with {vocabulary.FEWEST} settings or more"
            )
        made = build.write_package(out, model, about, net, spec, learnt, statistics, figures={})
        task = bar.add_task("test", total=None)
        figures = measure(made, found.values[train], found.values[test], lib, spec, tested)
        made = build.write_package(out, model, about, net, spec, learnt, statistics, figures=figures)
    checkpoint.unlink(missing_ok=True)
    return made, figures


def music_of(pieces: list[Path], every: int, bands: int) -> build.Music:
    """What music is like, of five excerpts of every `every`th piece."""
    taken = pieces[::every]
    clips = (x for _, _, x in excerpts(taken, 10.0, audioencoder.SAMPLE_RATE, each=5))
    source = f"{len(taken)} of {len(pieces)} pieces of music"
    return build.music_statistics(clips, bands, source, tuple(p.name for p in taken))


def measure(
    model: Model,
    train: np.ndarray[Any, np.dtype[np.float64]],
    test: np.ndarray[Any, np.dtype[np.float64]],
    lib: audioencoder.Library,
    spec: AudioSpec,
    count: int,
) -> dict[str, Any]:
    """Held-out settings on unseen pink noise: heard curves at three lengths, and residual mode repeated."""
    chosen = test[np.random.default_rng(3).permutation(len(test))[:count]]
    ridge = evaluate.ridge_weights(train, lib, spec)
    out: dict[str, Any] = {}
    for seconds in (2.0, 5.0, 10.0):
        sounds = evaluate.noises(len(chosen), seconds)
        out[f"pink noise, {seconds:g} s"] = evaluate.hearing(model, chosen, train, sounds, ridge=ridge)
    strong = [w for w in ("warm", "bright") if w in model.words] or list(model.words)[:2]
    out["residual, 5 passes on 10 s of pink noise"] = evaluate.passes(model, chosen[: max(8, count // 4)], strong, 10.0)
    return out
