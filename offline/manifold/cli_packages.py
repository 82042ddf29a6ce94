"""`cspace manifold impute`, `export` and `check`: what works on a trained model, by torch or as a package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...clioutputs import FOLDER, PACKAGE, Force, claim
from ...clitools import clear_errors, fail, note, say

if TYPE_CHECKING:
    from ...manifoldpackage import Package
    from .model import Manifold

Seed = Annotated[int, typer.Option(min=0, help="Same seed, same result.")]
Results = Annotated[Path, typer.Option("--results", "-r", help="Folder for pictures and JSON."), FOLDER]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training.")]


@clear_errors
def impute(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A training's folder, a package's, or a shipped model.")],
    input: Annotated[
        Path | None, typer.Option("--input", "-i", help="safetensors with frames [length, channels].")
    ] = None,
    start: Annotated[int | None, typer.Option(min=0, help="First lost frame; by default the middle.")] = None,
    gap: Annotated[int, typer.Option(min=1, help="Lost frames.")] = 32,
    seed: Seed = 0,
    results: Results = Path("results"),
) -> None:
    """Fills a gap: `manifold_impute.safetensors` with a picture, a JSON and channel 0 as sound.

    A package is run by Rust; with `--input` that needs no torch.

    Without an input, a held-out sequence of the model's own data is taken, and what was filled in is
    measured against the truth, beside the baselines.

    Examples
    --------
        cspace manifold impute runs/manifold-chords --gap 32

        cspace manifold impute rotor --input frames.safetensors --start 100 --gap 20
    """
    import numpy as np
    from safetensors.numpy import save_file

    from ...manifoldpackage import find, is_package, read, shipped
    from ...plugins._errors import FileError, ParameterError
    from ...wholefile import whole, write_json
    from . import plots
    from .impute import fill

    base = results / "manifold_impute"
    claim(*(base.with_suffix(s) for s in (".safetensors", ".png", ".wav", ".json")))
    model: Manifold | Package
    run = find(run)
    if not run.exists():
        raise FileError(f"{run}: there is no such folder; models that come along are {', '.join(shipped())}")
    if is_package(run):
        model = read(run)
        window, normalise = model.manifest.history_frames, model.manifest.normalise
        data = model.manifest.training["data"]
    else:
        from . import checkpoint

        trained = checkpoint.load(run)
        model, window = trained.model, trained.spec.data.length
        data = trained.spec.data.model_dump()
        normalise = data["kind"] == "loops"
    frames, clean, omega = _sequence(data, input, seed)
    at = len(frames) // 2 if start is None else start
    if at + gap > len(frames):
        raise ParameterError(
            f"a gap of {gap} frames from {at} passes the end; the sequence has {len(frames)} frames, so at most "
            f"{len(frames) - at} can be lost from there"
        )
    lost = np.zeros(len(frames), bool)
    lost[at : at + gap] = True
    filled = fill(model, frames, lost, window=window, normalise=normalise)
    about: dict[str, Any] = {"run": run.name, "start": at, "gap": gap, "frames": len(frames)}
    others = {}
    if clean is not None:
        from . import baselines, metrics

        history = frames[None, :at].astype(np.float64)
        truth = clean[None].astype(np.float64)
        ways = {name: way(history, gap) for name, way in baselines.ROWS.items()}
        ways["manifold"] = filled[None, at : at + gap].astype(np.float64)
        about["figures"] = {k: metrics.gap_figures(v, truth, at, omega).to_json() for k, v in ways.items()}
        for name in ("Burg AR", "ridge AR"):
            other = frames.astype(np.float64)
            other[lost] = ways[name][0]
            others[name] = other
        for name, row in about["figures"].items():
            say(
                f"{name}: {row['snr_db']:.1f} dB, amplitude {row['amplitude_ratio']:.3f}, "
                f"edge {row['edge_ratio']:.2f}, frequencies off by {100.0 * row['frequency_error']:.2g} %"
            )
    shown = clean if clean is not None else frames
    figure = plots.gap(shown.astype(float), filled.astype(float), lost, others, f"{run.name}: {gap} frames from {at}")
    with whole(base.with_suffix(".png")) as part:
        figure.savefig(part, dpi=110)
    with whole(base.with_suffix(".safetensors")) as part:
        save_file({"frames": filled, "lost": lost}, part)
    _sound(base.with_suffix(".wav"), filled)
    write_json(base.with_suffix(".json"), about)
    for suffix in (".safetensors", ".png", ".wav", ".json"):
        say(f"written: {base.with_suffix(suffix)}")


@clear_errors
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The package's folder."), PACKAGE],
    name: Annotated[str | None, typer.Option(help="a-z, 0-9, ., - and _; by default the folder's name.")] = None,
    onnx: Annotated[bool, typer.Option(help="Also a streaming ONNX package, in OUT/live.")] = True,
    force: Force = False,
) -> None:
    """Makes a package of a training: weights, manifest with figures and hashes, goldens, card, streaming ONNX.

    Examples
    --------
        cspace manifold export runs/manifold-random models/rotor
    """
    import json

    from ...plugins._errors import FileError
    from ...textfile import read_text
    from . import checkpoint, packages

    trained = checkpoint.load(run)
    table = run / "table.json"
    try:
        figures = json.loads(read_text(table)) if table.is_file() else None
    except (ValueError, FileError):
        note(f"{table}: is no JSON; the figures are measured again")
        figures = None
    if onnx:
        say("the streaming ONNX package takes up to a minute; --no-onnx leaves it out")
    made = packages.export(trained, out, name=name or out.name, table=figures, onnx=onnx, overwrite=force)
    say(f"{made.manifest.name}: Rust's steps equal torch's goldens to {made.worst():.2g}")
    say(f"written: {out}")


@clear_errors
def check(
    package: Annotated[Path, typer.Argument(metavar="PACKAGE", help="A package's folder, or a shipped model.")],
    alone: Annotated[int, typer.Option(min=0, max=10_000_000, help="Frames to go on for alone, to see it hold.")] = 0,
) -> None:
    """Verifies a package and runs its goldens by Rust; leaves with 1 if they differ by more than is allowed.

    `cspace export check PACKAGE/live` does the same for its streaming ONNX package.

    Examples
    --------
        cspace manifold check rotor --alone 100000
    """
    from ...manifoldpackage import find, read

    found = read(find(package))
    m, worst = found.manifest, found.worst()
    say(f"{m.name}: {m.description}")
    say(
        f"  {found.channels} channels, states of {m.spec['latent']}, looks back on {m.history_frames} frames, "
        f"licence {m.licence}"
    )
    say(f"  goldens: largest difference {worst:.2g}, allowed {m.tolerance:g}")
    if alone:
        held = found.alone(alone)
        say(
            f"  alone for {alone} frames: rms {held['rms']:.3f} at first, {held['rms_end']:.3f} at the end; states off "
            f"length 1 by {held['norm_error']:.1g} at most"
        )
    if not worst <= m.tolerance:
        fail(f"{package}: Rust's steps differ from the goldens by {worst:.3g}; {m.tolerance:g} is allowed", 1)


def _sequence(data: dict[str, Any], path: Path | None, seed: int) -> tuple[Any, Any, Any]:
    """Frames to fill, the clean ones where they are known [shape=(length, channels)], and their tones' frequencies."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from ...plugins._errors import FileError
    from ...regularfile import check_regular

    if path is not None:
        try:
            check_regular(path)
            tensors = load_file(path)
            return np.asarray(tensors["frames"], np.float32), None, None
        except FileError:
            raise
        except (OSError, ValueError, SafetensorError) as e:
            raise FileError(f"{path}: cannot be read: {str(e).splitlines()[0]}") from None
        except KeyError:
            raise FileError(f"{path}: has no tensor named frames; it has {', '.join(tensors) or 'none'}") from None
    from .data import Source
    from .spec import DataSpec

    spec = DataSpec.model_validate(data)
    if spec.kind == "loops":
        raise FileError("the model was trained on recordings; say which frames to fill with --input")
    batch = Source(spec).batch(1, seed, held_out=True)
    return batch.noisy[0].numpy(), batch.clean[0].numpy(), batch.omega


def _sound(path: Path, frames: Any) -> None:
    """Channel 0 at 22,050 Hz, peak at −1 dB, as the original wrote it."""
    import numpy as np

    from ...audiofile import Writer

    x = np.asarray(frames[:, :1], np.float32)
    peak = float(np.max(np.abs(x))) or 1.0
    with Writer(path, 22_050, 1, frames=len(x)) as out:
        out.write(np.ascontiguousarray(x * np.float32(0.891 / peak)))
