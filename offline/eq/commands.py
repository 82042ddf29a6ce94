"""The commands `cspace train eq` and `cspace train audio-encoder`; `train_cli` takes them in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...clioutputs import FOLDER, claim_folder
from ...clitools import clear_errors, say

Data = Annotated[
    str, typer.Option("--data", help="SAFE's table of settings (CSV, raw or cleaned), or the word synthetic.")
]
Seed = Annotated[int, typer.Option(min=0)]
Threads = Annotated[int, typer.Option(min=0, help="torch's threads; 0: its own choice.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to `cspace train`."""
    app.command("eq")(train_eq)
    app.command("audio-encoder")(train_audio_encoder)


def _threads(count: int) -> None:
    import torch

    if count:
        torch.set_num_threads(count)


@clear_errors
def train_eq(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the result."), FOLDER] = Path("runs/eq"),
    steps: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Seed = 0,
    split_seed: Annotated[int, typer.Option(min=0, help="Draws the held-out settings.")] = 0,
    threads: Threads = 0,
) -> None:
    """Trains the autoencoder of equaliser settings and says how it does on settings held out.

    A stopped run goes on from its checkpoint in the same folder.

    Examples
    --------
        cspace train eq --data safe_eq.csv

        cspace train eq --data synthetic --out runs/eq-synthetic
    """
    from .build import EQ_ABOUT
    from .traincli import CHECKPOINT_EQ
    from .traincli import train_eq as run
    from .vae import VaeSpec

    begun = (out / CHECKPOINT_EQ).exists()
    claim_folder(out, (EQ_ABOUT, CHECKPOINT_EQ), "training of settings", again=not begun)
    _threads(threads)
    spec = VaeSpec.model_validate({"seed": seed} | ({} if steps is None else {"steps": steps}))
    for path in run(data, out, spec, split_seed):
        say(f"written: {path}")


@clear_errors
def train_audio_encoder(
    data: Data,
    eq: Annotated[Path, typer.Option(help="The folder that `cspace train eq` wrote.")] = Path("runs/eq"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model package."), FOLDER] = Path(
        "runs/adaptive-eq"
    ),
    preset: Annotated[str, typer.Option(help="fast (24 bands), standard (48) or high (96).")] = "standard",
    music: Annotated[
        Path | None, typer.Option(help="A folder of music: what average music is like; else synthetic pieces.")
    ] = None,
    every: Annotated[
        int,
        typer.Option(min=1, help="Of its pieces, take every Nth; the others stay unknown, for `cspace eq evaluate`."),
    ] = 1,
    steps: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Seed = 0,
    threads: Threads = 0,
) -> None:
    """Trains the audio encoder, learns the words, and writes the package that the adaptive EQ loads.

    Examples
    --------
        cspace train audio-encoder --data safe_eq.csv --music data/recordings/music --every 2
    """
    from ...plugins._adaptive.model import MANIFEST
    from .traincli import CHECKPOINT_AUDIO, audio_spec
    from .traincli import train_audio as run

    begun = (out / CHECKPOINT_AUDIO).exists()
    claim_folder(out, (MANIFEST, CHECKPOINT_AUDIO), "model of the adaptive EQ", again=not begun)
    _threads(threads)
    made, figures = run(data, eq, out, audio_spec(preset, steps, seed), music, every=every)
    for name, row in figures.items():
        if "shape_mae_db" in row:
            rivals = ", ".join(f"{k} {v['shape_mae_db']:.2f}" for k, v in row["rivals"].items())
            say(
                f"{name}: curve heard within {row['shape_mae_db']:.2f} dB up to a common level "
                f"({row['absolute_mae_db']:.2f} dB with it); {rivals}"
            )
        else:
            errors = ", ".join(f"{v:.2f}" for v in row["total_error_db"])
            say(f"{name}: total error {errors} dB; doing nothing {row['doing_nothing_db']:.2f} dB, ")
            say(f"  the original's step {row['originals_step_db']:.2f} dB")
    say(f"written: {out} ({len(made.words)} words)")
