"""`cspace train`: what makes models. Each command loads torch when it runs; this file stays light."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..clioutputs import FOLDER, claim_folder
from ..clitools import clear_errors, say
from .eq.commands import register as register_eq

app = typer.Typer(
    name="train",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Training of the models: seeded, resumable, with a log for TensorBoard.",
)
register_eq(app)


@app.command("codec")
@clear_errors
def codec(
    data: Annotated[
        list[str],
        typer.Option("--data", help="A folder, hf:NAME, or synthetic; several with commas or by repeating it."),
    ],
    preset: Annotated[str, typer.Option(help="phase96, phase144, rate8, rate16 or rate24.")] = "phase96",
    out: Annotated[Path | None, typer.Option(help="Folder; by default runs/codec-PRESET."), FOLDER] = None,
    steps: Annotated[int, typer.Option(min=1)] = 2000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Clips to a step.")] = 8,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of a clip.")] = 1.0,
    learning_rate: Annotated[float, typer.Option(min=0.0)] = 3e-4,
    optimiser: Annotated[str, typer.Option(help="muon or adamw.")] = "muon",
    init: Annotated[str, typer.Option(help="Where the matrices start: mdct or random.")] = "mdct",
    loss: Annotated[str, typer.Option(help="cspace, or time for the ablation.")] = "cspace",
    rounding: Annotated[str, typer.Option(help="How rounding is trained through: noise or straight.")] = "noise",
    checkpoint_every: Annotated[int, typer.Option(min=1)] = 500,
    accelerator: Annotated[str, typer.Option(help="Lightning Fabric's: auto, cpu, cuda, mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="Lightning Fabric's: 32-true, bf16-mixed …")] = "32-true",
    threads: Annotated[int, typer.Option(min=0, help="torch's threads; 0: its own choice.")] = 0,
    packages: Annotated[bool, typer.Option(help="Also write the streaming ONNX packages.")] = True,
    resume: Annotated[bool, typer.Option(help="Go on from the folder's checkpoint.")] = True,
) -> None:
    """Trains a codec's transform with the CSpace loss alone, at the preset's rate.

    Examples
    --------
        cspace train codec --data data/recordings/speech/en,synthetic --preset phase96

        cspace train codec --data hf:openslr/librispeech_asr --preset rate24 --steps 20000 --accelerator cuda
    """
    import torch

    from .codec.checkpoint import STATE
    from .codec.codec import MODEL_FILE
    from .codec.spec import preset as find
    from .codec.train import TrainOptions, train

    for value, name, allowed in (
        (optimiser, "optimiser", ("muon", "adamw")),
        (init, "init", ("mdct", "random")),
        (rounding, "rounding", ("noise", "straight")),
        (loss, "loss", ("cspace", "time")),
    ):
        _one_of(value, name, allowed)
    spec = find(preset)
    target = out or Path("runs") / f"codec-{preset}"
    claim_folder(target, (STATE, MODEL_FILE), "training of a codec", again=not resume)
    if threads:
        torch.set_num_threads(threads)
    names = tuple(part for entry in data for part in entry.split(",") if part)
    folder = train(
        spec,
        TrainOptions(
            data=names,
            out=target,
            steps=steps,
            seed=seed,
            batch=batch,
            seconds=seconds,
            optimiser=optimiser,  # type: ignore[arg-type]
            learning_rate=learning_rate,
            init=init,  # type: ignore[arg-type]
            domain=loss,  # type: ignore[arg-type]
            rounding=rounding,  # type: ignore[arg-type]
            checkpoint_every=checkpoint_every,
            accelerator=accelerator,
            precision=precision,
            resume=resume,
            packages=packages,
        ),
    )
    say(f"written: {folder}")


def _one_of(value: str, name: str, allowed: tuple[str, ...]) -> None:
    from ..plugins._errors import ParameterError, near

    if value not in allowed:
        raise ParameterError(f"--{name} is {value!r}{near(value, allowed)}; it can be {', '.join(allowed)}")
