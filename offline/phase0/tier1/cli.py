"""`cspace phase0 tier1`: the commands. Each loads torch when it runs; this file stays light."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ....clioutputs import FOLDER, SECTION, claim
from ....clitools import clear_errors, note, say, say_text

if TYPE_CHECKING:
    from .corpus import Data
    from .heads import Model
    from .moments import Moments
    from .runfolder import RunFolder
    from .spec import Tier1Spec

app = typer.Typer(
    name="tier1",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Is the next latent step predictable? Direction and magnitude, injection, representations, rollouts.",
)

Latents = Annotated[Path, typer.Argument(metavar="LATENTS", help="A store of `cspace phase0 latents`.")]
SplitsFolder = Annotated[
    Path | None, typer.Option("--splits", help="Folder of `cspace phase0 splits`; by default found beside LATENTS.")
]
Config = Annotated[Path | None, typer.Option("--config", "-c", help="Settings (YAML); without it, the defaults.")]
Sets = Annotated[list[str] | None, typer.Option("--set", help="One setting over the file's: train.max_steps=500.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of all runs, with manifest.jsonl."), FOLDER]
RunId = Annotated[str | None, typer.Option("--run-id", help="Folder of this run; by default from the latents' name.")]
Force = Annotated[bool, typer.Option("--force", help="Begin again where the folder holds a run.")]
Resume = Annotated[
    bool, typer.Option("--resume/--no-resume", help="Go on with a begun run; without it, that is an error.")
]
Device = Annotated[str | None, typer.Option("--device", help="Lightning Fabric's accelerator: cpu, cuda, mps, auto.")]
Devices = Annotated[int | None, typer.Option("--devices", min=1, help="How many of them.")]
Precision = Annotated[str | None, typer.Option("--precision", help="Fabric's: 32-true, bf16-mixed …")]
Slice = Annotated[
    str | None, typer.Option("--slice", help="all, high_energy, utterance_medial, initial or final frames.")
]
MaxSamples = Annotated[
    int | None, typer.Option("--max-samples", min=0, help="Train rows, drawn over all speakers alike; 0: all.")
]
Threads = Annotated[int, typer.Option("--threads", min=0, help="torch's threads; 0: its own choice.")]
Checkpoint = Annotated[
    Path | None, typer.Option("--checkpoint", help="A vmf_k<k>_final.safetensors; by default exp1's of this run.")
]
Models = Annotated[str, typer.Option("--models", help="vmf, mdn, or both with a comma.")]


def _spec(config: Path | None, sets: list[str] | None, threads: int, **options: Any) -> Tier1Spec:
    import torch

    from .settings import load

    if threads:
        torch.set_num_threads(threads)
    return load(config, sets or (), **options)


def _shared(
    device: str | None, devices: int | None, precision: str | None, slice_: str | None, max_samples: int | None
) -> dict[str, Any]:
    return {
        "train__accelerator": device,
        "train__devices": devices,
        "train__precision": precision,
        "data__slice": slice_,
        "data__max_samples": max_samples,
    }


def _splits_of(latents: Path, asked: Path | None) -> Path:
    if asked is not None:
        return asked
    for folder in (latents.parent / "splits", latents.parent, latents):
        if (folder / "train_speakers.txt").is_file():
            return folder
    return latents.parent / "splits"


def _kinds(models: str) -> tuple[str, ...]:
    from ....plugins._errors import ParameterError

    kinds = tuple(dict.fromkeys(k.strip() for k in models.split(",") if k.strip()))
    if not kinds or any(k not in ("vmf", "mdn") for k in kinds):
        raise ParameterError(f"--models is {models!r}; it can be vmf, mdn, or vmf,mdn")
    return kinds


def _open(latents: Path, splits: Path | None, spec: Tier1Spec) -> Data:
    from .corpus import open_data

    found = open_data(latents, _splits_of(latents, splits), spec.data)
    say(f"{found.corpus.name}: {len(found.train)} train and {len(found.eval)} evaluation rows, D {found.corpus.dim}")
    return found


def _run(run: RunFolder, force: bool, resume: bool, work: Callable[[], Any]) -> None:
    """Does the work in the run's folder; a finished run is only named."""
    from ....plugins._errors import FileError

    if run.finished and not force:
        note(f"{run.folder}: is done already; --force makes it again")
        return
    if not resume and run.begun:
        raise FileError(f"{run.folder}: holds a begun run; give another --run-id, --resume or --force")
    from .fit import fabric_for

    device = fabric_for(run.spec.train).device
    say(f"device: {device}")
    # What a scheduler sends before it kills ends a run as Ctrl-C does: with its end in the manifest.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with run:
            run.log(f"device {device}")
            work()
    finally:
        signal.signal(signal.SIGTERM, before)
    say(f"written: {run.folder}")


def _id(run_id: str | None, latents: Path) -> str:
    return run_id or (latents.parent.name if latents.name == "latents" else latents.name) or "run"


def _model(
    checkpoint_file: Path | None, out: Path, run_id: str, lag: int, window: int, data: Data
) -> tuple[Path, Model, int, Moments]:
    """The model to go on from, checked against the latents."""
    from ....plugins._errors import ParameterError
    from . import checkpoint
    from .experiments import units

    path = checkpoint_file or checkpoint.final(out / run_id / "exp1", "vmf", lag)
    model, found, m, about = checkpoint.load_final(path)
    if about.get("units") != units(data.spec):
        raise ParameterError(f"{path}: was trained with {about.get('units')}; give these data settings")
    if m.dim != data.corpus.dim or model.window != window:
        raise ParameterError(
            f"{path}: is for {model.window} frames of {m.dim} values; these are {window} of {data.corpus.dim}: "
            "give the settings it was trained with"
        )
    return path, model, found, m


@app.command("config")
@clear_errors
def show_config(config: Config = None, sets: Sets = None) -> None:
    """Prints all settings as YAML: the defaults, or those of a file, checked.

    Examples
    --------
        cspace phase0 tier1 config > tier1.yaml
    """
    from ..config import to_yaml

    say_text(to_yaml(_spec(config, sets, 0)).rstrip())


@app.command()
@clear_errors
def exp1(
    latents: Latents,
    splits: SplitsFolder = None,
    config: Config = None,
    sets: Sets = None,
    models: Models = "vmf,mdn",
    out: Out = Path("runs/tier1"),
    run_id: RunId = None,
    device: Device = None,
    devices: Devices = None,
    precision: Precision = None,
    slice_: Slice = None,
    max_samples: MaxSamples = None,
    threads: Threads = 0,
    resume: Resume = True,
    force: Force = False,
) -> None:
    """Direction x magnitude, and the MDN, at every lag, beside context-free baselines of their own size.

    Examples
    --------
        cspace phase0 tier1 exp1 results/phase0/latents --set train.max_steps=1500 --set model.width=128
    """
    from .experiments import exp1 as work
    from .runfolder import RunFolder

    kinds = _kinds(models)
    spec = _spec(config, sets, threads, **_shared(device, devices, precision, slice_, max_samples))
    about = {"latents": latents.name, "models": list(kinds)}
    run = RunFolder(out, _id(run_id, latents), "exp1", spec, about, force=force)
    _run(run, force, resume, lambda: work(run, _open(latents, splits, spec), kinds))


@app.command()
@clear_errors
def exp2(
    latents: Latents,
    splits: SplitsFolder = None,
    config: Config = None,
    sets: Sets = None,
    checkpoint_file: Checkpoint = None,
    out: Out = Path("runs/tier1"),
    run_id: RunId = None,
    threads: Threads = 0,
    force: Force = False,
) -> None:
    """The injection diagnostic: 16 steps in four modes, from the true state always to never.

    Examples
    --------
        cspace phase0 tier1 exp2 results/phase0/latents
    """
    from .experiments import exp2 as work
    from .runfolder import RunFolder

    spec = _spec(config, sets, threads)
    name = _id(run_id, latents)
    about = {"latents": latents.name, "checkpoint": checkpoint_file.name if checkpoint_file else None}
    run = RunFolder(out, name, "exp2", spec, about, force=force)

    def go() -> None:
        data = _open(latents, splits, spec)
        path, model, lag, m = _model(checkpoint_file, out, name, spec.diag.lag, spec.data.window, data)
        run.log(f"model {path.name}")
        work(run, data, model, lag, m, f"{data.corpus.name}, {model.kind}, lag {lag}")

    _run(run, force, True, go)


@app.command()
@clear_errors
def rollout(
    latents: Latents,
    splits: SplitsFolder = None,
    config: Config = None,
    sets: Sets = None,
    checkpoint_file: Checkpoint = None,
    out: Out = Path("runs/tier1"),
    run_id: RunId = None,
    device: Device = None,
    devices: Devices = None,
    precision: Precision = None,
    max_samples: MaxSamples = None,
    threads: Threads = 0,
    resume: Resume = True,
    force: Force = False,
) -> None:
    """1B: goes on from exp 1's model, training through its own rollouts, and compares the two.

    Examples
    --------
        cspace phase0 tier1 rollout results/phase0/latents --set rollout.max_steps=300 --set rollout.batch=64
    """
    from ....plugins._errors import ParameterError
    from .experiments import rollout as work
    from .runfolder import RunFolder

    spec = _spec(config, sets, threads, **_shared(device, devices, precision, None, max_samples))
    if not spec.rollout.enabled:
        raise ParameterError("rollout.enabled is false in these settings; set it to true")
    name = _id(run_id, latents)
    about = {"latents": latents.name, "checkpoint": checkpoint_file.name if checkpoint_file else None}
    run = RunFolder(out, name, "rollout", spec, about, force=force)

    def go() -> None:
        data = _open(latents, splits, spec)
        _, model, lag, m = _model(checkpoint_file, out, name, spec.diag.lag, spec.data.window, data)
        work(run, data, model, lag, m)

    _run(run, force, resume, go)


@app.command()
@clear_errors
def exp3(
    latents: Annotated[list[Path], typer.Argument(metavar="LATENTS…", help="Stores of the same utterances.")],
    splits: SplitsFolder = None,
    config: Config = None,
    sets: Sets = None,
    models: Models = "vmf,mdn",
    out: Out = Path("runs/tier1"),
    run_id: RunId = None,
    device: Device = None,
    devices: Devices = None,
    precision: Precision = None,
    slice_: Slice = None,
    max_samples: MaxSamples = None,
    threads: Threads = 0,
    resume: Resume = True,
    force: Force = False,
) -> None:
    """Representations beside each other, with window, lag and step equal in seconds.

    Examples
    --------
        cspace phase0 tier1 exp3 results/logmel/latents results/codec/latents results/mimi/latents
    """
    from ....plugins._errors import ParameterError
    from ..splits import read_splits
    from .corpus import StoreCorpus, data_of
    from .experiments import exp3 as work
    from .experiments import matched
    from .runfolder import RunFolder

    kinds = _kinds(models)
    spec = _spec(config, sets, threads, **_shared(device, devices, precision, slice_, max_samples))
    names = [_id(None, path) for path in latents]
    if len(set(names)) != len(names):
        raise ParameterError(f"the stores' folders are named {', '.join(names)}; give them different names")
    about = {"latents": names, "models": list(kinds)}
    run = RunFolder(out, run_id or "representations", "exp3", spec, about, force=force)

    def go() -> None:
        sets_of = {}
        for name, path in zip(names, latents, strict=True):
            corpus = StoreCorpus(path)
            inner = matched(spec.data, spec.match, corpus.frame_rate_hz, corpus.name)
            sets_of[name] = data_of(corpus, read_splits(_splits_of(path, splits)), inner)
        work(run, sets_of, kinds)

    _run(run, force, resume, go)


@app.command()
@clear_errors
def collect(out: Out = Path("runs/tier1")) -> None:
    """Puts the tables of all finished runs into results.csv and results.md.

    Examples
    --------
        cspace phase0 tier1 collect --out runs/tier1
    """
    from .collect import collect as rows_of
    from .collect import write

    claim(out / "results.csv", out / "results.md")
    rows = rows_of(out)
    for path in write(out, rows):
        say(f"written: {path}")


@app.command()
@clear_errors
def page(
    docs: Annotated[Path, typer.Argument(help="The page whose tier1 sections are written."), SECTION],
    out: Out = Path("runs/tier1"),
    images: Annotated[Path | None, typer.Option(help="Also copy the pictures into this folder."), FOLDER] = None,
) -> None:
    """Writes the figures of all finished runs, beside the published ones, into the sections of a page.

    Examples
    --------
        cspace phase0 tier1 page docs/phase0-tier1.md --out runs/tier1 --images docs/images
    """
    from ...lab.markdown import put_section
    from . import page as study

    for name, text in study.sections(out).items():
        put_section(docs, name, text)
        say(f"written: {docs}, section {name}")
    if images is not None:
        for path in study.copy_pictures(out, images):
            say(f"written: {path}")


@app.command()
@clear_errors
def check(
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each case.")] = 1500,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    results: Annotated[Path, typer.Option("--results", "-r", help="Folder for picture and JSON."), FOLDER] = Path(
        "results"
    ),
    docs: Annotated[
        Path | None, typer.Option(help="Also write the table into section tier1-check of this page."), SECTION
    ] = None,
    threads: Threads = 0,
) -> None:
    """Whether the heads find a known answer: kappa 50 and 800 in 64 and 512 dimensions. Exit code 1 if not.

    Examples
    --------
        cspace phase0 tier1 check --docs docs/phase0-tier1.md
    """
    import torch

    from ....wholefile import whole, write_json
    from ...lab.markdown import plain, put_section, table
    from . import check as study
    from . import plots

    if threads:
        torch.set_num_threads(threads)
    claim(results / "tier1_check.json", results / "tier1_check.png")
    rows = []
    for dim, kappa in study.CASES:
        rows.append(study.known_kappa(dim, kappa, steps=steps, seed=seed))
        found = rows[-1]
        say(
            f"D {dim}, kappa {kappa:g}: found {found['kappa_found']:.1f}, gain {found['gain_nats']:.2f} "
            f"of {found['analytic_nats']:.2f} nats"
        )
    say_text(plain(study.lines(rows)))
    write_json(results / "tier1_check.json", {"steps": steps, "seed": seed, "cases": rows})
    with whole(results / "tier1_check.png") as part:
        plots.check(rows).savefig(part, dpi=120)
    if docs is not None:
        put_section(docs, "tier1-check", table(study.lines(rows)))
    if not all(study.passes(r) for r in rows):
        raise typer.Exit(1)
