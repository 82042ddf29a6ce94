"""A training as a package: weights, goldens, card, streaming ONNX. `cspace.manifoldpackage` reads it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ... import __version__
from ...export.package import whole_package
from ...manifoldpackage import CARD, GOLDENS, LIVE, MANIFEST, WEIGHTS, Manifest, Package, PackageError, is_package, read
from ...wholefile import write_json
from . import evaluate
from .checkpoint import Run
from .data import Source
from .spec import PRESETS, DataSpec, preset
from .streams import LOST, Live

F32 = NDArray[np.float32]

LICENCE = "MIT OR Apache-2.0"
#: Largest difference between runtimes that the goldens allow, frames being at about unit level.
TOLERANCE = 1e-4
GOLDEN_FRAMES = 96
_GOLDEN_SEED = 77
#: Rate that stands in the streaming package of data without one, in frames per second.
_FRAMES_PER_SECOND = 250
_LOWEST_RATE = 8_000


def export(
    run: Run,
    folder: Path,
    *,
    name: str,
    table: dict[str, Any] | None = None,
    onnx: bool = True,
    overwrite: bool = False,
) -> Package:
    """Writes a package of a trained model, whole or not at all, and reads it back.

    Parameters
    ----------
    name : a word for it: a-z, 0-9, ., - and _
    table : its figures, as `evaluate.table` gives them; measured here if there are none and the data is made by code
    onnx : also write the streaming ONNX package `live`
    overwrite : replace a package that is there; another folder is never replaced

    Raises PackageError; then the place is as it was. ParameterError for a model that cannot step.
    """
    if folder.exists() and not (overwrite and is_package(folder)):
        why = "exists and is no package" if overwrite else "exists already; say --force to replace it"
        raise PackageError(f"{folder}: {why}")
    run.model.eval()
    window = run.spec.data.length
    live = Live(run.model, window)
    tensors = {k: v.detach().cpu().float().contiguous().numpy() for k, v in run.model.state_dict().items()}
    if table is None and run.spec.data.tones:
        table = evaluate.table(run, Source(run.spec.data))
    goldens = _goldens(run, live)
    files = {WEIGHTS: _bytes(tensors), GOLDENS: _bytes(goldens)}
    training = run.spec.model_dump(mode="json", exclude={"model"})
    if training["data"]["folder"]:
        training["data"]["folder"] = Path(training["data"]["folder"]).name
    manifest = Manifest(
        name=name,
        description=f"CSpace manifold: {run.spec.model.dynamics} dynamics, trained on {run.spec.data.kind}",
        licence=LICENCE,
        spec=run.spec.model.model_dump(mode="json"),
        history_frames=window,
        normalise=run.spec.data.kind == "loops",
        tolerance=TOLERANCE,
        tensors={k: v.shape for k, v in tensors.items()},
        files={k: hashlib.sha256(v).hexdigest() for k, v in files.items()},
        training={**training, "steps_done": run.step, "version": __version__, "command": command(run)},
        metrics=table or {},
    )
    files[CARD] = card(manifest, sum(v.size for v in tensors.values()), onnx).encode()
    manifest.files[CARD] = hashlib.sha256(files[CARD]).hexdigest()
    with whole_package(folder) as part:
        for key, data in files.items():
            (part / key).write_bytes(data)
        write_json(part / MANIFEST, manifest.to_json())
        worst = read(part).worst()
        if not worst <= TOLERANCE:
            raise PackageError(
                f"{folder}: Rust's steps differ from torch's by {worst:.3g}; {TOLERANCE:g} is allowed. A model whose "
                "rollouts are chaotic does that"
            )
        if onnx:
            _export_live(run, live, part / LIVE, manifest, goldens["frames"])
    return read(folder)


def _bytes(arrays: dict[str, F32]) -> bytes:
    from safetensors.numpy import save

    data: bytes = save({k: np.array(v, np.float32, order="C") for k, v in arrays.items()})
    return data


@torch.no_grad()
def _goldens(run: Run, live: Live) -> dict[str, F32]:
    """A stream with frames lost at its start, one by one, and in two gaps; what torch makes of it."""
    own = run.spec.data if run.spec.data.tones else DataSpec(kind="random", channels=run.spec.data.channels)
    data = own.model_copy(update={"length": GOLDEN_FRAMES})
    frames = Source(data).batch(1, _GOLDEN_SEED, held_out=True).noisy[0].numpy()
    lost = np.zeros(GOLDEN_FRAMES, np.float32)
    for a, b in ((0, 2), (20, 21), (40, 56), (80, 88)):
        lost[a:b] = 1.0
    states, out = [torch.zeros(s) for s in live.states.values()], []
    for frame, gone in zip(frames, lost, strict=True):
        y, *states = live(torch.from_numpy(frame[None, None]), *states, torch.tensor([float(gone)]))
        out.append(y[0, 0].numpy())
    return {"frames": frames, "lost": lost, "output": np.stack(out)}


def _export_live(run: Run, live: Live, folder: Path, manifest: Manifest, frames: F32) -> None:
    from ...export.onnx_export import export_stream
    from ...export.package import Parameter

    data, channels = run.spec.data, run.spec.model.channels
    per_second = data.sample_rate / data.hop if data.kind == "loops" else _FRAMES_PER_SECOND
    export_stream(
        live,
        folder,
        name=f"{manifest.name}-live",
        sample_rate=max(_LOWEST_RATE, round(per_second * channels)),
        hop=channels,
        states=live.states,
        licence=LICENCE,
        parameters=[
            Parameter(
                LOST,
                LOST,
                0.0,
                1.0,
                0.0,
                smooth_ms=0.0,
                doc="Above 0.5 the frame did not come: its state is rolled on.",
            )
        ],
        description=f"{manifest.description}; a frame's {channels} values in the place of a hop's samples",
        training=manifest.training,
        extra={"weights_sha256": manifest.files[WEIGHTS]},
        goldens=[frames.reshape(1, -1)],
        tolerance=TOLERANCE,
    )


def command(run: Run) -> str:
    """What trains the same again, where a preset with a few options does; else empty, and the settings tell."""
    spec = run.spec
    folder = f" --folder data/recordings/{spec.data.folder}" if spec.data.folder else ""
    train = spec.train
    for name in PRESETS:
        try:
            like = preset(name, kind=spec.data.kind, folder=spec.data.folder, frames=spec.data.frames)
        except ValueError:
            continue
        asked = {option: getattr(train, option) for option in ("epochs", "steps", "batch", "seed")}
        if like.model_copy(update={"train": like.train.model_copy(update=asked)}) != spec:
            continue
        said = [f" --{option} {value}" for option, value in asked.items() if value != getattr(like.train, option)]
        return f"cspace manifold train --kind {spec.data.kind} --preset {name}{folder}{''.join(said)}"
    return ""


def card(manifest: Manifest, weights: int, onnx: bool) -> str:
    """The text of `CARD.md`."""
    spec, data, train = manifest.spec, manifest.training["data"], manifest.training["train"]
    lines = [
        f"# {manifest.name}",
        "",
        f"A music manifold of the CSpace project ({spec['dynamics']} dynamics, {spec['encoder']} encoder of "
        f"{spec['layers']} layers): {spec['channels']} channels to a state of {spec['latent']} numbers "
        f"{'off' if spec['space'] == 'euclid' else 'on'} the unit sphere and back. It fills frames that did not come.",
        "",
        f"- looks back on {manifest.history_frames} frames" + ("; frames at unit rms" if manifest.normalise else ""),
        f"- files: `{WEIGHTS}` ({weights:,} weights), `{GOLDENS}`"
        + (f", the streaming ONNX package `{LIVE}`" if onnx else ""),
        f"- SHA-256 of `{WEIGHTS}`: `{manifest.files[WEIGHTS]}`",
        f"- licence: {manifest.licence}",
        "",
        "## Training",
        "",
        f"Data: `{data['kind']}`" + (f" of `{data['folder']}`" if data.get("folder") else ", made by code") + f", "
        f"{data['length']} frames, noise {data['noise']:g}; held-out sequences kept for the figures. "
        f"{train['epochs']} epochs of {train['steps']} steps of {train['batch']} sequences, "
        f"{train.get('optimiser', 'adamw')} {train['learning_rate']:g}, {train['schedule']}, seed {train['seed']}.",
        "",
    ]
    said = manifest.training.get("command")
    lines += ["```sh", said, "```"] if said else [f"Its settings, for `--config`, stand in `{MANIFEST}`."]
    if manifest.metrics.get("gaps"):
        lines += ["", "Held out:", "", *evaluate.lines(manifest.metrics)]
    lines += [
        "",
        "## Limits",
        "",
        "It goes on with tones that it was trained on the likes of; on recordings, linear prediction is better "
        "(docs/manifold.md). A rollout is only as long-lived as its training made it.",
        "",
    ]
    return "\n".join(lines)
