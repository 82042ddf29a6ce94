"""`cspace phase0`: the commands. Each loads what it needs when it runs; this file stays light."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...clioutputs import FOLDER, claim_folder
from ...clitools import clear_errors, progress, say, say_text
from .tier1.cli import app as tier1_app

if TYPE_CHECKING:
    from .config import Phase0Config

app = typer.Typer(
    name="phase0",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Has the motion of codec latents structure a lookup could reuse? Exit code 0: yes, 1: no, 2: an error.",
)
app.add_typer(tier1_app)

Config = Annotated[Path | None, typer.Option("--config", "-c", help="Settings (YAML); without it, the defaults.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run, over the settings'."), FOLDER]
RunId = Annotated[
    str | None, typer.Option("--run-id", help="A sub-folder of that name, so that runs lie side by side.")
]
Data = Annotated[Path | None, typer.Option("--data", help="Where the speech is, over the settings'.")]
EncoderName = Annotated[str | None, typer.Option("--encoder", help="synthetic, logmel, codec, mimi or encodec.")]
Weights = Annotated[str | None, typer.Option("--weights", help="Weights of mimi or encodec: a file, or hub.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1 …")]
MaxSamples = Annotated[int | None, typer.Option("--max-samples", help="At most so many windows, evenly drawn.")]
Scheduler = Annotated[str | None, typer.Option("--scheduler", help="Address of a dask scheduler; without it, threads.")]
NumWorkers = Annotated[int | None, typer.Option("--workers", min=1, help="Threads; by default one per core.")]
Force = Annotated[bool, typer.Option("--force", help="Make again what is there.")]


def _settings(
    config: Path | None,
    out: Path | None,
    run_id: str | None,
    data: Path | None,
    encoder: str | None,
    weights: str | None,
    device: str | None,
    max_samples: int | None,
) -> Phase0Config:
    from .config import load_config

    changes: dict[str, Any] = {
        "out": None if out is None else str(out),
        "data__path": None if data is None else str(data),
        "encoder__name": encoder,
        "encoder__weights": weights,
        "encoder__device": device,
        "max_samples": max_samples,
    }
    loaded = load_config(config, **{k: v for k, v in changes.items() if v is not None})
    return loaded if run_id is None else loaded.model_copy(update={"out": loaded.out / run_id})


def _go(config: Phase0Config, step: str, scheduler: str | None, workers: int | None, force: bool) -> None:
    from .study import Study
    from .work import connect

    claim_folder(config.out, ("manifest.jsonl", "utterances.parquet"), "run of phase 0", empties=True)
    with connect(scheduler, workers or config.run.workers) as crew, progress() as bar:
        task = bar.add_task(step, total=None)

        def told(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        def line(text: str) -> None:
            bar.update(task, description=text, completed=0, total=None)
            say(text)

        study = Study(config, crew, force=force, say=line, progress=told)
        if step == "run":
            study.run()
        else:
            study.step(step)
    if study.decision is not None:
        say(study.decision["summary"])
        raise typer.Exit(0 if study.decision["pass"] else 1)


def _add(step: str, text: str) -> None:
    @clear_errors
    def command(
        config: Config = None,
        out: Out = None,
        run_id: RunId = None,
        data: Data = None,
        encoder: EncoderName = None,
        weights: Weights = None,
        device: Device = None,
        max_samples: MaxSamples = None,
        scheduler: Scheduler = None,
        workers: NumWorkers = None,
        force: Force = False,
    ) -> None:
        _go(
            _settings(config, out, run_id, data, encoder, weights, device, max_samples), step, scheduler, workers, force
        )

    command.__doc__ = text
    app.command(step)(command)


_add("prepare", "Lists utterances and speakers.")
_add("splits", "Divides the speakers into training and evaluation.")
_add("latents", "Runs the encoder; goes on where it was stopped.")
_add("frames", "Lists the frames that are asked about.")
_add("fit", "Fits clusters and components to training speakers.")
_add("evaluate", "Measures what the clusters tell about the next step.")
_add("report", "Decides, and writes report, tables and pictures.")
_add(
    "run",
    """All steps, in order; what is there from the same settings is kept.

    Examples
    --------
        cspace phase0 run --data LibriSpeech/train-clean-100 --encoder mimi --weights hub --device cuda

        cspace phase0 run --config study.yaml --scheduler tcp://10.0.0.1:8786
    """,
)


@app.command("config")
@clear_errors
def show_config(config: Config = None) -> None:
    """Prints all settings as YAML: the defaults, or those of a file, checked.

    Examples
    --------
        cspace phase0 config > study.yaml
    """
    from .config import load_config, to_yaml

    say_text(to_yaml(load_config(config)).rstrip())
