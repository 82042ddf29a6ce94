"""`cspace manifold`: the commands. Each loads torch when it runs; this file stays light."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ...clioutputs import FOLDER, PAGE, claim, claim_folder
from ...clitools import clear_errors, say
from .cli_packages import Results, RunFolder, Seed, check, export, impute

app = typer.Typer(
    name="manifold",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="A sequence model whose states move on a sphere: it continues many channels at once and fills gaps.",
)

Kind = Annotated[str, typer.Option(help="chords, tones, random, scattered or loops.")]
Folder = Annotated[Path | None, typer.Option(help="Recordings, for loops.")]
Frames = Annotated[str, typer.Option(help="What a frame of a loop is: cspace or stft.")]
Threads = Annotated[int, typer.Option(min=0, help="torch's threads; 0: its own choice.")]


@app.command()
@clear_errors
def data(
    kind: Kind = "chords",
    count: Annotated[int, typer.Option(min=1, max=100_000, help="Sequences.")] = 64,
    seed: Seed = 0,
    channels: Annotated[int, typer.Option(help="Channels of a frame.")] = 64,
    length: Annotated[int, typer.Option(help="Frames of a sequence.")] = 128,
    noise: Annotated[float, typer.Option(help="Standard deviation on the input.")] = 0.1,
    folder: Folder = None,
    frames: Frames = "cspace",
    held_out: Annotated[bool, typer.Option("--held-out", help="Sequences that no training sees.")] = False,
    results: Results = Path("results"),
) -> None:
    """Makes sequences: `manifold_data_KIND.safetensors` (noisy, clean, oracle) with a picture and a JSON.

    Examples
    --------
        cspace manifold data --kind random --count 256

        cspace manifold data --kind loops --folder data/recordings/music --frames stft
    """
    from safetensors.torch import save_file

    from ...wholefile import whole, write_json
    from . import plots, settings
    from .data import Source

    asked = {"kind": kind, "channels": channels, "length": length, "noise": noise, "folder": folder, "frames": frames}
    spec = settings.data_spec(asked)
    base = results / f"manifold_data_{kind}"
    claim(*(base.with_suffix(s) for s in (".safetensors", ".png", ".json")))
    batch = Source(spec).batch(count, seed, held_out=held_out)
    tensors = {"noisy": batch.noisy, "clean": batch.clean}
    if batch.oracle is not None:
        tensors["oracle"] = batch.oracle
    with whole(base.with_suffix(".safetensors")) as part:
        save_file({k: v.contiguous() for k, v in tensors.items()}, part)
    figure = plots.sequences(batch.noisy.double().numpy(), batch.clean.double().numpy(), f"{kind}, seed {seed}")
    with whole(base.with_suffix(".png")) as part:
        figure.savefig(part, dpi=110)
    about = {
        "data": settings.without_path(spec.model_dump(mode="json")),
        "count": count,
        "seed": seed,
        "held_out": held_out,
        "rms_clean": float(batch.clean.square().mean().sqrt()),
        "rms_noise": float((batch.noisy - batch.clean).square().mean().sqrt()),
    }
    write_json(base.with_suffix(".json"), about)
    for suffix in (".safetensors", ".png", ".json"):
        say(f"written: {base.with_suffix(suffix)}")


@app.command()
@clear_errors
def train(
    kind: Kind = "chords",
    out: Annotated[Path | None, typer.Option(help="Folder; by default runs/manifold-KIND."), FOLDER] = None,
    preset: Annotated[
        str, typer.Option(help="manifold, rotor (linear, for random), or original (as it was).")
    ] = "manifold",
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Settings (TOML) instead of kind and preset.")
    ] = None,
    dynamics: Annotated[str | None, typer.Option(help="identity, residual, memory, kuramoto, full or rotor.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of an epoch.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Sequences to a step.")] = None,
    seed: Seed = 0,
    folder: Folder = None,
    frames: Frames = "cspace",
    threads: Threads = 0,
    resume: Annotated[bool, typer.Option(help="Go on from the folder's last epoch.")] = True,
) -> None:
    """Trains a model and says how it stands beside the baselines; `table.json` and `curves.png` go to its folder.

    Examples
    --------
        cspace manifold train --kind chords --epochs 5 --steps 280

        cspace manifold train --preset original --out runs/original

        cspace manifold train --kind loops --folder data/recordings/music
    """
    import torch

    from ...wholefile import whole, write_json
    from . import checkpoint, evaluate, plots, settings
    from .data import Source
    from .train import train as fit

    if threads:
        torch.set_num_threads(threads)
    asked = {"epochs": epochs, "steps": steps, "batch": batch}
    spec = settings.loaded(config, folder) if config else settings.run_spec(kind, preset, folder, frames)
    spec = settings.replaced(spec, "train", {"seed": seed, **{k: v for k, v in asked.items() if v is not None}})
    if dynamics is not None:
        spec = settings.replaced(spec, "model", {"dynamics": dynamics})
    target = out or Path("runs") / f"manifold-{spec.data.kind}"
    claim_folder(target, (checkpoint.STATE,), "training of a manifold", again=not resume)
    source = Source(spec.data)
    run = fit(spec, target, resume=resume, source=source, on_epoch=_say_epoch)
    found = evaluate.table(run, source)
    write_json(target / "table.json", found)
    with whole(target / "curves.png") as part:
        plots.curves(run.history, f"{target.name}: {spec.model.dynamics}, {spec.data.kind}").savefig(part, dpi=110)
    for line in evaluate.lines(found):
        say(line)
    say(f"written: {target}")


def _say_epoch(epoch: int, row: dict[str, float]) -> None:
    gap = f", gap of 16 {row['gap_16_snr_db']:.1f} dB" if "gap_16_snr_db" in row else ""
    say(
        f"epoch {epoch}: loss {row['loss']:.4f}, held out: energy-weighted {row['held_out_energy_weighted']:.4f}, "
        f"MSE {row['held_out_mse']:.5f}{gap} ({row['seconds']:.0f} s, {row['cpu_seconds']:.0f} s of CPU)"
    )


@app.command()
@clear_errors
def ablate(
    rows: Annotated[str, typer.Option(help="Rungs such as A,B,E zero; empty: all.")] = "",
    kind: Kind = "chords",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Runs of each rung.")] = 3,
    epochs: Annotated[int, typer.Option(min=1)] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of an epoch.")] = 100,
    batch: Annotated[int, typer.Option(min=1, help="Sequences to a step.")] = 16,
    channels: Annotated[int, typer.Option(help="Channels of a frame.")] = 16,
    length: Annotated[int, typer.Option(help="Frames of a sequence.")] = 128,
    threads: Threads = 0,
    results: Results = Path("results"),
) -> None:
    """The original's ladder A to E and the changes made here, over several seeds, beside the trivial rows.

    Examples
    --------
        cspace manifold ablate --seeds 3 --steps 100

        cspace manifold ablate --rows "A,B,C,final" --epochs 5 --steps 10
    """
    import torch

    from ...plugins._errors import ParameterError, near
    from ...wholefile import write_json, write_text
    from . import ablate as study
    from . import settings

    if threads:
        torch.set_num_threads(threads)
    claim(results / "manifold_ablate.json", results / "manifold_ablate.md")
    names = [part.strip() for part in rows.split(",")] if rows else list(study.LADDER)
    names = _joined(names, study.LADDER)
    for name in names:
        if name not in study.LADDER:
            raise ParameterError(f"--rows has {name!r}{near(name, study.LADDER)}; rungs are {', '.join(study.LADDER)}")
    size = {"channels": channels, "length": length}
    base = settings.run_spec(kind, None, None, "cspace", **size)
    base = settings.replaced(base, "train", {"epochs": epochs, "steps": steps, "batch": batch})

    def tell(name: str, seed: int, row: dict[str, float]) -> None:
        said = ", ".join(f"{k.removeprefix('held_out_')} {v:.4f}" for k, v in list(row.items())[:5])
        say(f"{name}, seed {seed}: {said or 'diverged'}")

    found = study.ladder(base, names, list(range(seeds)), tell)
    table = study.lines(found)
    write_json(results / "manifold_ablate.json", {"spec": base.model_dump(mode="json"), **found})
    write_text(results / "manifold_ablate.md", "\n".join(table) + "\n")
    for line in table:
        say(line)
    say(f"written: {results / 'manifold_ablate.json'}")
    say(f"written: {results / 'manifold_ablate.md'}")


def _joined(parts: list[str], known: dict[str, Any]) -> list[str]:
    """Names that hold a comma, such as `rotor, long`, put together again."""
    out: list[str] = []
    for part in parts:
        if out and f"{out[-1]}, {part}" in known:
            out[-1] = f"{out[-1]}, {part}"
        else:
            out.append(part)
    return out


@app.command()
@clear_errors
def heal(
    folder: Annotated[Path, typer.Option(help="Where speech/ and music/ lie; make recordings fetches them.")] = Path(
        "data/recordings"
    ),
    model: Annotated[Path | None, typer.Option(help="A training on loops at 24 kHz, for a row of its own.")] = None,
    seconds: Annotated[float, typer.Option(min=1.0, max=60.0, help="Of each clip.")] = 2.0,
    seed: Seed = 0,
    results: Results = Path("results"),
) -> None:
    """Heals losses of 5 to 40 ms at 1 to 20 % in twelve real clips in every way there is, and compares.

    Examples
    --------
        cspace manifold heal

        cspace manifold heal --model runs/manifold-loops --seconds 5
    """
    from ...audiofile import Writer
    from ...clitools import progress
    from ...wholefile import whole, write_json, write_text
    from . import checkpoint, heal_page
    from . import heal as study

    base = results / "manifold_heal"
    claim(*(base.with_suffix(s) for s in (".json", ".md", ".png")))
    run = checkpoint.load(model) if model is not None else None
    if run is not None and (run.spec.data.kind, run.spec.data.sample_rate) != ("loops", study.SAMPLE_RATE):
        from ...plugins._errors import ParameterError

        raise ParameterError(
            f"--model {model} was trained on {run.spec.data.kind} at {run.spec.data.sample_rate} Hz; "
            f"loops at {study.SAMPLE_RATE} Hz are needed"
        )
    sounds = list(study.load(folder, study.CLIPS, seconds))
    with progress() as bar:
        task = bar.add_task("healing", total=len(sounds))
        records, heard = study.study(sounds, run, seed, lambda _: bar.advance(task))
    every = [r for r in study.summary(records, study.RATES) if r["row"] in _at_all_rates(records, len(study.RATES))]
    at_one = study.summary(records, (study.CANDIDATE_RATE,))
    page: list[str] = []
    for key, what in (("gap_snr_db", "SNR in the gaps, dB"), ("gap_si_snr_db", "SI-SNR in the gaps, dB")):
        page += heal_page.lines(every, key, f"{what}, mean of 1, 5, 10 and 20 % lost:")
    page += heal_page.lines(every, "si_snr_db", "SI-SNR over all, dB, mean of 1, 5, 10 and 20 % lost:")
    page += heal_page.lines(every, "stft_db", "Difference of levels around gaps, dB, mean of the four rates:")
    for key, what in (("gap_snr_db", "SNR in the gaps, dB"), ("stft_db", "Difference of levels, dB")):
        page += heal_page.lines(at_one, key, f"{what}, 10 % lost, candidates as well:")
        for kind in ("speech", "music"):
            of_kind = study.summary(records, (study.CANDIDATE_RATE,), kind)
            page += heal_page.lines(of_kind, key, f"{what}, 10 % lost, {kind}:")
    write_json(
        base.with_suffix(".json"),
        {"seed": seed, "seconds": seconds, "clips": study.CLIPS, "summary": every, "at_10": at_one, "records": records},
    )
    write_text(base.with_suffix(".md"), "\n".join(page) + "\n")
    with whole(base.with_suffix(".png")) as part:
        heal_page.picture(at_one, "Losses healed: 12 clips, 10 % lost, mean and 95 % over clips").savefig(part, dpi=110)
    (results / "heal").mkdir(parents=True, exist_ok=True)
    for name, y in heard.items():
        with Writer(results / "heal" / f"{name.replace(' ', '_').replace(',', '')}.wav", study.SAMPLE_RATE, 1) as out:
            out.write(y[:, None])
    for line in page:
        say(line)
    for suffix in (".json", ".md", ".png"):
        say(f"written: {base.with_suffix(suffix)}")
    say(f"written: {len(heard)} sounds in {results / 'heal'}")


def _at_all_rates(records: list[dict[str, Any]], rates: int) -> set[str]:
    """Rows that were measured at every rate."""
    rows: dict[str, set[float]] = {}
    for r in records:
        rows.setdefault(r["row"], set()).add(r["rate"])
    return {name for name, found in rows.items() if len(found) == rates}


@app.command()
@clear_errors
def portrait(
    run: RunFolder,
    seed: Seed = 0,
    count: Annotated[int, typer.Option(min=1, max=6, help="Sequences.")] = 3,
    frames: Annotated[int, typer.Option(min=2, max=10_000, help="Frames that the dynamics go on for.")] = 128,
    folder: Folder = None,
    results: Results = Path("results"),
) -> None:
    """Phase portraits: the encoder's tracks and the dynamics' own, rolled on from half a sequence.

    Examples
    --------
        cspace manifold portrait runs/manifold-chords
    """
    import torch

    from ...wholefile import whole, write_json
    from . import checkpoint, metrics, plots
    from .data import Source

    base = results / "manifold_portrait"
    claim(base.with_suffix(".png"), base.with_suffix(".json"))
    trained = checkpoint.load(run)
    spec, model = trained.spec.data, trained.model.eval()
    source = Source(spec.model_copy(update={"folder": folder}) if folder is not None else spec)
    batch = source.batch(count, seed, held_out=True)
    with torch.no_grad():
        z = model.encode(batch.noisy)
        on = model.rollout(z[:, : spec.length // 2], frames, window=spec.length)
    tracks = {f"encoder, sequence {i}": z[i].double().numpy() for i in range(count)}
    tracks |= {f"dynamics alone, sequence {i}": on[i].double().numpy() for i in range(count)}
    with whole(base.with_suffix(".png")) as part:
        plots.portrait(tracks, f"{run.name}: states in the plane of their largest components").savefig(part, dpi=100)
    figures = metrics.latent_figures(model, source.batch(64, seed, held_out=True))
    write_json(base.with_suffix(".json"), {"run": run.name, "seed": seed, "figures": figures})
    say(f"effective rank {figures['latent_rank']:.1f}, entropy of the spectrum {figures['latent_entropy']:.2f} nepers")
    for suffix in (".png", ".json"):
        say(f"written: {base.with_suffix(suffix)}")


@app.command()
@clear_errors
def diary(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Folders of trainings, in the order to tell.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The Markdown file to write."), PAGE] = Path(
        "diary.md"
    ),
) -> None:
    """Writes the experiment diary from the logs: what was tried, figures by epoch, targets met and missed.

    Examples
    --------
        cspace manifold diary runs/original runs/manifold-chords -o diary.md
    """
    from ...wholefile import write_text
    from .diary import diary as write

    write_text(output, write(runs))
    say(f"written: {output}")


for command in (impute, export, check):
    app.command()(command)
