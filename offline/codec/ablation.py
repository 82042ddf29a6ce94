"""What in the loss matters: form × weighting × number of oscillators, and the waveform instead of states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bank import BankSpec
from .data import Mixture, open_sources
from .model import Transform
from .spec import CodecSpec
from .train import Objective, TrainOptions, optimisers, schedule, validate

F32 = NDArray[np.float32]
Gain = Literal["drive", "one", "energy"]

FORMS = {"log ratio": True, "squared error": False}
GAINS: tuple[Gain, ...] = ("drive", "one", "energy")
OSCILLATORS = (16, 64, 256)
GAIN_WORDS = {"drive": "flat, b = 1 − abs(λ)", "one": "b = 1", "energy": "same energy of each state"}


@dataclass(frozen=True)
class Case:
    """One loss."""

    domain: Literal["cspace", "time"]
    form: str
    gain: Gain = "drive"
    oscillators: int = 64

    def options(self, base: TrainOptions) -> TrainOptions:
        """The training options of this case."""
        bank = base.bank.model_copy(update={"oscillators": self.oscillators})
        return replace(base, domain=self.domain, log_ratio=FORMS[self.form], gain=self.gain, bank=bank)


@dataclass(frozen=True)
class Result:
    """Validation figures of a case, one for each seed."""

    case: Case
    si_snr_db: tuple[float, ...]
    cspace_nsr_db: tuple[float, ...]


def cases() -> Iterator[Case]:
    """All of them: 18 on states, 2 on the waveform."""
    for form in FORMS:
        yield Case("time", form)
        for gain in GAINS:
            for n in OSCILLATORS:
                yield Case("cspace", form, gain, n)


def base_options(data: Sequence[str], steps: int, learning_rate: float) -> TrainOptions:
    """From a random start, since from the lapped start there is little left to learn."""
    return TrainOptions(
        data=tuple(data),
        out=Path(),
        steps=steps,
        batch=4,
        seconds=0.5,
        learning_rate=learning_rate,
        warmup=max(1, steps // 20),
        init="random",
    )


def study(
    spec: CodecSpec,
    base: TrainOptions,
    seeds: Sequence[int],
    chosen: Sequence[Case] | None = None,
    tell: Callable[[str, float], None] | None = None,
) -> list[Result]:
    """Trains every case from every seed on the same batches, and measures all on the same held-out clips."""
    chosen = list(cases()) if chosen is None else chosen
    samples = round(base.seconds * spec.sample_rate / spec.hop) * spec.hop
    sources = open_sources(base.data, spec.sample_rate, 0, held_out=base.held_out)
    kept = open_sources(base.data, spec.sample_rate, 0, held_out=base.held_out, validation=True)
    clips = torch.from_numpy(Mixture(kept, samples, 16, 1).at(0))
    judge = Objective(spec, replace(base, bank=BankSpec()))  # one measure for all
    found: dict[Case, list[dict[str, float]]] = {case: [] for case in chosen}
    for i, seed in enumerate(seeds):
        mixture = Mixture(sources, samples, base.batch, seed)
        batches = [torch.from_numpy(mixture.at(step)) for step in range(base.steps)]
        for j, case in enumerate(chosen):
            if tell is not None:
                tell(f"seed {seed}, {words(case)}", (i + j / len(chosen)) / len(seeds))
            transform = fit(spec, replace(case.options(base), seed=seed), batches)
            found[case].append(validate(transform, judge, clips)[0])
    return [
        Result(case, tuple(f["si_snr_db"] for f in rows), tuple(f["cspace_nsr_db"] for f in rows))
        for case, rows in found.items()
    ]


def fit(spec: CodecSpec, options: TrainOptions, batches: Sequence[Tensor]) -> Transform:
    """A transform trained on these batches, without checkpoints."""
    torch.manual_seed(options.seed)
    transform = Transform(spec, options.init, options.seed)
    objective, optimiser = Objective(spec, options), optimisers(transform, options)
    for step, x in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * schedule(step, len(batches), options.warmup)
        loss, _ = objective(transform, x)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return transform


def words(case: Case) -> str:
    """A case as people say it."""
    if case.domain == "time":
        return f"waveform, {case.form}"
    return f"CSpace, {case.form}, {GAIN_WORDS[case.gain]}, N = {case.oscillators}"


def page(results: Sequence[Result], spec: CodecSpec, base: TrainOptions, command: str) -> str:
    """The page docs/codec-ablation.md, best first."""
    seeds = len(results[0].si_snr_db)
    lines = [
        "# Which loss trains the codec",
        "",
        "Made by this command:",
        "",
        "```sh",
        command,
        "```",
        "",
        f"Every loss trained the same transform ({spec.dims} values to a hop of {spec.hop}, {spec.kbps:g} kbit/s) from "
        f"the same random starts on the same batches: {base.steps} steps of {base.batch} clips of {base.seconds:g} s, "
        f"{base.optimiser}, learning rate {base.learning_rate:g} (its steps do not depend on the scale of a loss), "
        f"{seeds} seeds. Measured on 16 clips held out of the same sources, really rounded, at the rate by the "
        "training's estimate; mean ± standard deviation over seeds. *CSpace* is the noise-to-signal ratio of the "
        "default bank's states, whichever loss was trained on. Short trainings: the order says something, the "
        "level does not.",
        "",
        "| trained on | form | weighting | N | SI-SNR dB | CSpace dB |",
        "|---|---|---|---|---|---|",
    ]
    for r in sorted(results, key=lambda r: -float(np.mean(r.si_snr_db))):
        c = r.case
        states = ("CSpace", c.form, GAIN_WORDS[c.gain], str(c.oscillators))
        cells = states if c.domain == "cspace" else ("waveform", c.form, "", "")
        lines.append("| " + " | ".join((*cells, _spread(r.si_snr_db), _spread(r.cspace_nsr_db))) + " |")
    lines += ["", "Means over all else:", "", "| factor | SI-SNR dB |", "|---|---|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in means(results)]
    return "\n".join(lines) + "\n"


def means(results: Sequence[Result]) -> Iterator[tuple[str, float]]:
    """Mean SI-SNR of each value of each factor, over the losses on states."""
    states = [r for r in results if r.case.domain == "cspace"]
    for form in FORMS:
        yield f"form: {form}", _mean(r for r in states if r.case.form == form)
    for gain in GAINS:
        yield f"weighting: {GAIN_WORDS[gain]}", _mean(r for r in states if r.case.gain == gain)
    for n in OSCILLATORS:
        yield f"N = {n}", _mean(r for r in states if r.case.oscillators == n)


def _mean(results: Iterable[Result]) -> float:
    values = [v for r in results for v in r.si_snr_db]
    return float(np.mean(values)) if values else float("nan")


def as_json(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The same for machines."""
    return [{**vars(r.case), "si_snr_db": r.si_snr_db, "cspace_nsr_db": r.cspace_nsr_db} for r in results]


def _spread(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} ± {np.std(values):.2f}"
