"""Training: the CSpace loss at a fixed rate, nothing else. Resumable, seeded, with progress and a log."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from ...audiofile import Writer
from ...clitools import note, progress, say
from ...plugins._errors import ParameterError
from ...wholefile import write_json, write_text
from ..bank import BankSpec
from ..losses import SpectralCSpaceLoss
from .cards import CARD, card
from .checkpoint import load_best, load_training, save_best, save_training
from .codec import load
from .data import Mixture, open_sources
from .fidelity import si_snr_db
from .finish import finish
from .model import Init, Transform
from .packages import export
from .quantise import proxy_bits, step_for_rate
from .spec import CodecSpec

#: Chooses what the loss compares: states of the bank, or the waveform (for the ablation).
Domain = Literal["cspace", "time"]


@dataclass(frozen=True)
class TrainOptions:
    """What a run depends on; the same options give the same model on the same machine."""

    data: tuple[str, ...]
    out: Path
    steps: int = 2000
    seed: int = 0
    batch: int = 8
    seconds: float = 1.0
    optimiser: Literal["muon", "adamw"] = "muon"
    learning_rate: float = 3e-4
    warmup: int = 100
    init: Init = "mdct"
    domain: Domain = "cspace"
    gain: Literal["drive", "one", "energy"] = "drive"
    log_ratio: bool = True
    #: How rounding is trained through: `noise`, the Gaussian test channel; `straight`, rounding whose gradient is 1.
    rounding: Literal["noise", "straight"] = "noise"
    bank: BankSpec = field(default_factory=BankSpec)
    log_every: int = 10
    checkpoint_every: int = 500
    held_out: float = 0.05
    accelerator: str = "auto"
    precision: str = "32-true"
    resume: bool = True
    #: Whether the streaming packages are made as well; they need as many values as samples to a hop.
    packages: bool = True


def schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the learning rate: a straight rise, then half a cosine to 1 %."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


class Objective:
    """Sound -> loss at the preset's rate: transform, real rounding, back, CSpace noise-to-signal ratio in dB."""

    def __init__(self, spec: CodecSpec, options: TrainOptions):
        self.spec, self.options = spec, options
        self.bits = spec.bits_per_frame / spec.dims
        ratio = SpectralCSpaceLoss(
            options.bank, spec.sample_rate, gain=options.gain, level="ratio_db", check_finite=False
        )
        self._ratio = ratio
        self._absolute = SpectralCSpaceLoss(
            options.bank, spec.sample_rate, gain=options.gain, level="absolute", check_finite=False
        )

    def __call__(self, transform: Transform, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and what the log shows beside it."""
        noisy = self.options.rounding == "noise" and torch.is_grad_enabled()
        estimate, reference, z, step = reconstruct(transform, x, self.bits, noisy)
        cspace_db = self._ratio.terms(estimate, reference)["states"]
        noise = (estimate - reference).square().mean(-1)
        signal = reference.square().mean(-1).clamp_min(1e-10)
        time_db = 10.0 * torch.log10(noise / signal + 1e-10).mean()
        if self.options.domain == "time":
            loss = time_db if self.options.log_ratio else 1e3 * noise.mean()
        elif self.options.log_ratio:
            loss = cspace_db
        else:
            loss = 1e3 * self._absolute.terms(estimate, reference)["states"]
        terms = {"cspace_nsr_db": cspace_db, "time_nsr_db": time_db, "proxy_bits": proxy_bits(z, step).mean()}
        return loss, {k: v.detach() for k, v in terms.items()}


def reconstruct(
    transform: Transform, x: Tensor, bits: float, noisy: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sound at `bits` per value: what comes out, what went in at the same places, the values, their step."""
    delay = transform.spec.delay_samples
    z = transform.encode(x)
    step = step_for_rate(z.float(), bits)
    y = transform.decode(test_channel(z, step) if noisy else rounded(z, step))
    return y[:, delay:].float(), x[:, : x.shape[1] - delay].float(), z, step


def rounded(z: Tensor, step: Tensor) -> Tensor:
    """Values rounded to the step; the gradient passes the rounding as if it were not there."""
    scaled = z / step
    return (scaled + (scaled.round() - scaled).detach()) * step


def test_channel(z: Tensor, step: Tensor) -> Tensor:
    """What a Gaussian test channel gives at the rate of `proxy_bits`: g (z + n), g = z² / (z² + s²), s² = step² / 12.

    Its error, z² s² / (z² + s²), is that of ideal coding at ½ log2(1 + z² / s²) bits (reverse water-filling;
    Cover and Thomas, Elements of Information Theory, 10.3): s² for large values, z² for those that vanish.
    It has gradients where rounding has none.
    """
    power = step.square() / 12.0
    share = z.square() / (z.square() + power)
    return share * (z + torch.randn_like(z) * power.sqrt())


def optimisers(transform: Transform, options: TrainOptions) -> torch.optim.Optimizer:
    """Muon for the matrices (torch ≥ 2.9), or AdamW."""
    if options.optimiser == "muon":
        if not hasattr(torch.optim, "Muon"):
            raise ParameterError(f"torch {torch.__version__} has no Muon; take --optimiser adamw or torch ≥ 2.9")
        return torch.optim.Muon(transform.parameters(), lr=options.learning_rate, weight_decay=0.0, momentum=0.95)
    return torch.optim.AdamW(transform.parameters(), lr=options.learning_rate, weight_decay=0.0)


@torch.no_grad()
def validate(
    transform: Transform, objective: Objective, clips: Tensor
) -> tuple[dict[str, float], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """SI-SNR and terms over the validation clips, with the first clip and its reconstruction."""
    loss, terms = objective(transform, clips)
    estimate, reference, _, _ = reconstruct(transform, clips, objective.bits)
    est, ref = estimate.cpu().numpy(), reference.cpu().numpy()
    ratios = [si_snr_db(e, r) for e, r in zip(est, ref, strict=True)]
    found = {k: float(v) for k, v in terms.items()} | {"loss": float(loss), "si_snr_db": float(np.nanmean(ratios))}
    return found, ref[0], est[0]


def train(
    spec: CodecSpec, options: TrainOptions, on_step: Callable[[int, dict[str, float]], None] | None = None
) -> Path:
    """Trains a transform; leaves model, record, card and streaming packages in the folder `options.out`.

    The model is the checkpoint that did best on the validation clips, really rounded; that can be the start.

    Raises AudioError for an empty corpus, ParameterError for options that do not go together, FileError
    for a checkpoint of other options.
    """
    torch.manual_seed(options.seed)
    fabric = Fabric(accelerator=options.accelerator, devices=1, precision=options.precision)  # type: ignore[arg-type]
    fabric.launch()
    samples = max(4, round(options.seconds * spec.sample_rate / spec.hop)) * spec.hop
    sources = open_sources(options.data, spec.sample_rate, options.seed, held_out=options.held_out)
    kept = open_sources(options.data, spec.sample_rate, options.seed, held_out=options.held_out, validation=True)
    batches = Mixture(sources, samples, options.batch, options.seed)
    heldout = Mixture(kept or sources, samples, 16, options.seed + 1)
    transform = Transform(spec, options.init, options.seed)
    objective = Objective(spec, options)
    model, optimiser = fabric.setup(transform, optimisers(transform, options))
    model.mark_forward_method("encode")
    model.mark_forward_method("decode")
    options.out.mkdir(parents=True, exist_ok=True)
    first, history = 0, list[dict[str, float]]()
    if options.resume:
        first, history = load_training(options.out, transform, optimiser, identity(spec, options))
        if first:
            note(f"resumed at step {first} from {options.out}")
    writer = _log(options.out, first)
    clips = fabric.to_device(torch.from_numpy(heldout.at(0)))
    began = time.monotonic()
    if not history:
        history.append({"step": 0.0, **validate(transform, objective, clips)[0]})
        save_best(options.out, transform)
        say(f"before training: SI-SNR {history[0]['si_snr_db']:.2f} dB")
    with progress() as bar:
        task = bar.add_task("train", total=options.steps, completed=first)
        for step in range(first, options.steps):
            for group in optimiser.param_groups:
                group["lr"] = options.learning_rate * schedule(step, options.steps, options.warmup)
            x = fabric.to_device(torch.from_numpy(batches.at(step)))
            torch.manual_seed(options.seed * 1_000_003 + step)  # the same noise after a resume
            loss, terms = objective(model, x)
            if not bool(torch.isfinite(loss)):
                raise ParameterError(f"the loss is {float(loss)} at step {step}; try a smaller --learning-rate")
            optimiser.zero_grad(set_to_none=True)
            fabric.backward(loss)
            fabric.clip_gradients(model, optimiser, max_norm=1e3, error_if_nonfinite=True)
            optimiser.step()
            bar.update(task, advance=1, description=f"train {float(loss.detach()):6.2f} dB")
            done = step + 1
            if done % options.log_every == 0:
                for key, value in ({"loss": loss.detach()} | terms).items():
                    writer.add_scalar(f"train/{key}", float(value), done)
            if done % options.checkpoint_every == 0 or done == options.steps:
                found, ref, est = validate(transform, objective, clips)
                for key, number in found.items():
                    writer.add_scalar(f"validation/{key}", number, done)
                _write_clip(options.out / "validation_reference.wav", ref, spec.sample_rate)
                _write_clip(options.out / f"step_{done:06d}_reconstruction.wav", est, spec.sample_rate)
                if found["loss"] < min(h["loss"] for h in history):
                    save_best(options.out, transform)
                history.append({"step": float(done), **found})
                save_training(options.out, transform, optimiser, done, history, identity(spec, options))
                say(f"step {done}: SI-SNR {found['si_snr_db']:.2f} dB, CSpace {found['cspace_nsr_db']:.2f} dB")
                if on_step is not None:
                    on_step(done, found)
    writer.close()
    for source in sources:
        for name, problem in getattr(source, "problems", {}).items():
            note(f"left out: {name}: {problem}")
    load_best(options.out, transform.cpu())
    best = min(history, key=lambda h: h["loss"])
    finish(
        transform,
        sources,
        options.out,
        options.out.name,
        options.seed,
        {"steps": options.steps, "seed": options.seed, "best_step": int(best["step"]), "validation": best},
    )
    write_json(
        options.out / "train.json",
        {
            "spec": spec.model_dump(mode="json"),
            "options": identity(spec, options)["options"],
            "sources": [{"name": Path(s.name).name, **dict(getattr(s, "counts", {}))} for s in sources],
            "resumed_at": first,
            "seconds": round(time.monotonic() - began, 1),
            "cpu_seconds": round(time.process_time(), 1),
            "history": history,
        },
    )
    if options.packages and spec.dims == spec.hop:
        export(load(options.out), options.out)
    write_text(options.out / CARD, card(options.out))
    return options.out


#: Options that a resumed run may change, and those that are written down below in another form.
_NO_MATTER = {"out", "resume", "packages", "accelerator", "precision", "log_every", "checkpoint_every", "bank", "data"}


def identity(spec: CodecSpec, options: TrainOptions) -> dict[str, Any]:
    """All that a checkpoint must share with the run that goes on from it."""
    plain = {k: v for k, v in vars(options).items() if k not in _NO_MATTER}
    plain["data"] = [Path(d).name if not d.startswith("hf:") else d for d in options.data]
    plain["bank"] = options.bank.model_dump(mode="json")
    return json.loads(json.dumps({"spec": spec.model_dump(mode="json"), "options": plain}))  # type: ignore[no-any-return]


def _log(folder: Path, first: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(log_dir=str(folder / "log"), purge_step=first or None)


def _write_clip(path: Path, x: np.ndarray[Any, Any], sample_rate: int) -> None:
    with Writer(path, sample_rate, 1, frames=len(x)) as file:
        file.write(np.ascontiguousarray(x, np.float32)[:, None])
