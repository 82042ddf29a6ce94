"""`cspace manifold`: the commands. Each loads torch when it runs; this file stays light."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...clitools import clear_errors, say

if TYPE_CHECKING:
    from .checkpoint import Run

app = typer.Typer(
    name="manifold",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="A sequence model whose states move on a sphere: it continues many channels at once and fills gaps.",
)

Kind = Annotated[str, typer.Option(help="chords, tones, random, scattered or loops.")]
Folder = Annotated[Path | None, typer.Option(help="Recordings, for loops.")]
Frames = Annotated[str, typer.Option(help="What a frame of a loop is: cspace or stft.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same result.")]
Threads = Annotated[int, typer.Option(min=0, help="torch's threads; 0: its own choice.")]
Results = Annotated[Path, typer.Option("--results", "-r", help="Folder for pictures and JSON.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training.")]


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
    batch = Source(spec).batch(count, seed, held_out=held_out)
    base = results / f"manifold_data_{kind}"
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
    out: Annotated[Path | None, typer.Option(help="Folder; by default runs/manifold-KIND.")] = None,
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
    from . import evaluate, plots, settings
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
def impute(
    run: RunFolder,
    input: Annotated[
        Path | None, typer.Option("--input", "-i", help="safetensors with frames [length, channels].")
    ] = None,
    start: Annotated[int | None, typer.Option(min=0, help="First lost frame; by default the middle.")] = None,
    gap: Annotated[int, typer.Option(min=1, help="Lost frames.")] = 32,
    seed: Seed = 0,
    results: Results = Path("results"),
) -> None:
    """Fills a gap: `manifold_impute.safetensors` with a picture, a JSON and channel 0 as sound.

    Without an input, a held-out sequence of the model's own data is taken, and what was filled in is
    measured against the truth, beside the baselines.

    Examples
    --------
        cspace manifold impute runs/manifold-chords --gap 32

        cspace manifold impute runs/manifold-chords --input frames.safetensors --start 100 --gap 20
    """
    import numpy as np
    from safetensors.torch import save_file

    from ...plugins._errors import ParameterError
    from ...wholefile import whole, write_json
    from . import checkpoint, metrics, plots
    from .impute import fill

    trained = checkpoint.load(run)
    frames, clean = _sequence(trained, input, seed)
    at = len(frames) // 2 if start is None else start
    if at + gap > len(frames):
        raise ParameterError(
            f"a gap of {gap} frames from {at} passes the end; the sequence has {len(frames)} frames, so at most "
            f"{len(frames) - at} can be lost from there"
        )
    lost = np.zeros(len(frames), bool)
    lost[at : at + gap] = True
    normalise = trained.spec.data.kind == "loops"
    filled = fill(trained.model, frames, lost, window=trained.spec.data.length, normalise=normalise)
    base = results / "manifold_impute"
    about: dict[str, Any] = {"run": run.name, "start": at, "gap": gap, "frames": len(frames)}
    others = {}
    if clean is not None:
        from . import baselines

        history = frames[None, :at].astype(np.float64)
        truth = clean[None].astype(np.float64)
        ways = {name: way(history, gap) for name, way in baselines.ROWS.items()}
        ways["manifold"] = filled[None, at : at + gap].astype(np.float64)
        about["figures"] = {k: metrics.gap_figures(v, truth, at).to_json() for k, v in ways.items()}
        for name in ("Burg AR", "ridge AR"):
            other = frames.astype(np.float64)
            other[lost] = ways[name][0]
            others[name] = other
        for name, row in about["figures"].items():
            say(f"{name}: {row['snr_db']:.1f} dB, amplitude {row['amplitude_ratio']:.3f}")
    shown = clean if clean is not None else frames
    figure = plots.gap(shown.astype(float), filled.astype(float), lost, others, f"{run.name}: {gap} frames from {at}")
    with whole(base.with_suffix(".png")) as part:
        figure.savefig(part, dpi=110)
    import torch

    with whole(base.with_suffix(".safetensors")) as part:
        save_file({"frames": torch.from_numpy(filled), "lost": torch.from_numpy(lost)}, part)
    _sound(base.with_suffix(".wav"), filled)
    write_json(base.with_suffix(".json"), about)
    for suffix in (".safetensors", ".png", ".wav", ".json"):
        say(f"written: {base.with_suffix(suffix)}")


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
    names = [part.strip() for part in rows.split(",")] if rows else list(study.LADDER)
    names = _joined(names, study.LADDER)
    for name in names:
        if name not in study.LADDER:
            raise ParameterError(f"--rows has {name!r}{near(name, study.LADDER)}; rungs are {', '.join(study.LADDER)}")
    size = {"channels": channels, "length": length}
    base = settings.run_spec(kind, None, None, "cspace", oracle_order="loudest", **size)
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

    trained = checkpoint.load(run)
    spec, model = trained.spec.data, trained.model.eval()
    source = Source(spec.model_copy(update={"folder": folder}) if folder is not None else spec)
    batch = source.batch(count, seed, held_out=True)
    with torch.no_grad():
        z = model.encode(batch.noisy)
        on = model.rollout(z[:, : spec.length // 2], frames, window=spec.length)
    tracks = {f"encoder, sequence {i}": z[i].double().numpy() for i in range(count)}
    tracks |= {f"dynamics alone, sequence {i}": on[i].double().numpy() for i in range(count)}
    base = results / "manifold_portrait"
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
    output: Annotated[Path, typer.Option("--output", "-o", help="The Markdown file to write.")] = Path("diary.md"),
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


def _sequence(trained: Run, path: Path | None, seed: int) -> tuple[Any, Any]:
    """Frames to fill, and the clean ones where they are known [shape=(length, channels)]."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from ...plugins._errors import FileError
    from .data import Source

    if path is not None:
        try:
            tensors = load_file(path)
            return tensors["frames"].float().numpy(), None
        except (OSError, SafetensorError) as e:
            raise FileError(f"{path}: cannot be read: {str(e).splitlines()[0]}") from None
        except KeyError:
            raise FileError(f"{path}: has no tensor named frames; it has {', '.join(tensors) or 'none'}") from None
    spec = trained.spec.data
    if spec.kind == "loops":
        raise FileError("the model was trained on recordings; say which frames to fill with --input")
    batch = Source(spec).batch(1, seed, held_out=True)
    return batch.noisy[0].numpy(), batch.clean[0].numpy()


def _sound(path: Path, frames: Any) -> None:
    """Channel 0 at 22,050 Hz, peak at −1 dB, as the original wrote it."""
    import numpy as np

    from ...audiofile import Writer

    x = np.asarray(frames[:, :1], np.float32)
    peak = float(np.max(np.abs(x))) or 1.0
    with Writer(path, 22_050, 1, frames=len(x)) as out:
        out.write(np.ascontiguousarray(x * np.float32(0.891 / peak)))
