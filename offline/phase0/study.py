"""The steps of a run, in order, each skipped where its files are there from the same settings.

OUT/config.yaml, manifest.jsonl      settings; what ran when (the only file with times of day)
    utterances.parquet, splits/, latents/, phase0_frames.parquet, fits/, cells/
    metrics.json, tables.csv, decision.json, report.txt, plots/
    done/<step>.json                 the settings each step was finished with
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable
from typing import Any

from ... import __version__
from ...plugins._errors import CspaceError
from ...textfile import read_text
from ...wholefile import write_json, write_text
from . import frames as frames_
from . import report
from .config import Phase0Config, fingerprint, to_yaml
from .data import prepare, read_utterances, write_utterances
from .evaluate import Evaluation
from .fit import Fitting
from .fits import check_leaks
from .latents import extract
from .splits import make_splits, read_splits, write_splits
from .store import LatentStore
from .work import Workers

#: As `wholefile` names what it writes; other hidden files are not ours.
_LEFT = re.compile(r"\..+\.[0-9a-f]{8}\.part(\.\w+)?")
STEPS = ("prepare", "splits", "latents", "frames", "fit", "evaluate", "report")


class StepError(CspaceError, RuntimeError):
    """A step was asked for before those it needs."""


class Study:
    """A run in a folder.

    Parameters
    ----------
    say : gets a line for each thing that is begun
    progress : gets (what, done, total) during long work
    """

    def __init__(
        self,
        config: Phase0Config,
        workers: Workers,
        *,
        force: bool = False,
        say: Callable[[str], None] = lambda line: None,
        progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    ):
        self.config, self.workers, self.force, self.say, self.progress = config, workers, force, say, progress
        self.out = config.out
        self.decision: dict[str, Any] | None = None

    # ---- which settings a step depends on ----

    def keys(self) -> dict[str, str]:
        """A hash for each step of the settings it and those before it depend on, and of the list of utterances."""
        c = self.config
        listed = [vars(u) for u in read_utterances(self.out)] if (self.out / "utterances.parquet").is_file() else []
        lags = {"window": c.window, "lags": c.lags, "ws": c.window_seconds, "ls": c.lags_seconds}
        used = c.encoder.model_dump(mode="json")
        used = {k: v for k, v in used.items() if k in ("name", "weights", "seed", c.encoder.name)}
        parts: dict[str, list[Any]] = {
            "prepare": [c.data, c.encoder.synthetic if c.data.kind == "synthetic" else None, c.seed],
            "splits": [listed, c.splits],
            "latents": [used],
            "frames": [lags, c.max_samples],
            "fit": [c.fit, c.run.block_windows, c.conditions],
            "evaluate": [
                c.decision.min_cluster,
                c.decision.medial_low,
                c.decision.medial_high,
                c.decision.min_speaker_samples,
            ],
            "report": [c.decision],
        }
        out, before = {}, ""
        for step in STEPS:
            before = out[step] = fingerprint(before, *parts[step])
        return out

    def _done(self, step: str) -> bool:
        try:
            held = json.loads(read_text(self.out / "done" / f"{step}.json"))
            return bool(held["key"] == self.keys()[step])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    # ---- running ----

    def run(self) -> dict[str, Any]:
        """All steps; gives the decision. What is there is kept, unless forced."""
        for step in STEPS:
            self.step(step, again=step == "prepare", needs=False)
        return self._decision()

    def step(self, name: str, *, again: bool = False, needs: bool = True) -> None:
        """One step. Raises StepError where one before it was not finished with these settings."""
        if needs:
            for before in STEPS[: STEPS.index(name)]:
                if not self._done(before):
                    raise StepError(
                        f"{self.out}: step {before} is not finished with these settings; "
                        f"run `cspace phase0 {before}` first, or `cspace phase0 run` for all"
                    )
        if self._done(name) and not self.force and not again:
            self.say(f"{name}: is there")
            return
        write_text(self.out / "config.yaml", to_yaml(self.config))
        self._log({"step": name, "event": "start", "version": __version__, "workers": self.workers.count})
        getattr(self, f"_{name}")()
        write_json(self.out / "done" / f"{name}.json", {"step": name, "key": self.keys()[name]})
        self._log({"step": name, "event": "end"})
        self._tidy()

    def _tidy(self) -> None:
        """Removes what a killed run left half written: hidden files beside those that are whole by now."""
        for folder in (self.out, *(self.out / f for f in ("splits", "latents", "fits", "cells", "plots", "done"))):
            for left in folder.glob(".*.part*"):
                if left.is_file() and _LEFT.fullmatch(left.name):
                    left.unlink(missing_ok=True)

    def _log(self, line: dict[str, Any]) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        stamped = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **line}
        with open(self.out / "manifest.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(stamped) + "\n")

    def _decision(self) -> dict[str, Any]:
        if self.decision is None:
            self.decision = json.loads(read_text(self.out / "decision.json"))
        return self.decision

    # ---- the steps ----

    def _prepare(self) -> None:
        found = prepare(self.config)
        write_utterances(self.out, found.utterances)
        speakers = len({u.speaker_id for u in found.utterances})
        minutes = sum(u.duration_sec for u in found.utterances) / 60
        self.say(f"prepare: {len(found.utterances)} utterances of {speakers} speakers, {minutes:.1f} min")
        for line in found.left_out:
            self.say(f"prepare: {line}")

    def _splits(self) -> None:
        splits = make_splits(read_utterances(self.out), self.config.splits, self.config.seed)
        write_splits(self.out / "splits", splits)
        self.say(
            f"splits: {len(splits.train_speakers)} training speakers, {len(splits.eval_speakers)} for evaluation "
            f"({', '.join(splits.eval_speakers[:8])}{' …' if len(splits.eval_speakers) > 8 else ''})"
        )

    def _latents(self) -> None:
        def done(count: int, total: int) -> None:
            self.progress("latents", count, total)

        utterances, splits = read_utterances(self.out), read_splits(self.out / "splits")
        store = extract(self.config, utterances, splits, self.out / "latents", self.workers, done, force=self.force)
        self.say(f"latents: {store.encoder}, {store.dim} values at {store.frame_rate_hz:g} Hz, on {self._device()}")

    def _device(self) -> str:
        return self.config.encoder.device if self.config.encoder.name in ("mimi", "encodec") else "cpu"

    def _frames(self) -> None:
        store, splits = LatentStore.open(self.out / "latents"), read_splits(self.out / "splits")
        made = frames_.build(self.config, store, splits, self.workers)
        frames_.write_frames(self.out, made)
        self.say(f"frames: {int((~made.is_eval).sum())} training, {int(made.is_eval.sum())} evaluation")

    def _fit(self) -> None:
        if self.force:
            shutil.rmtree(self.out / "fits", ignore_errors=True)
        store, splits = LatentStore.open(self.out / "latents"), read_splits(self.out / "splits")
        made = frames_.read_frames(self.out)
        fitting = Fitting(
            self.config, made, splits, store.folder, self.out / "fits", store.frame_rate_hz, self.keys()["fit"]
        )
        fitting.run(self.workers, lambda line: self.say(f"fit: {line}"))

    def _evaluation(self) -> tuple[LatentStore, Evaluation]:
        store, splits = LatentStore.open(self.out / "latents"), read_splits(self.out / "splits")
        check_leaks(self.out / "fits", store.folder, splits.eval_speakers)
        evaluation = Evaluation(
            self.config,
            frames_.read_frames(self.out),
            store.folder,
            self.out / "cells",
            self.out / "fits",
            store.frame_rate_hz,
            self.keys()["evaluate"],
        )
        return store, evaluation

    def _evaluate(self) -> None:
        if self.force:
            shutil.rmtree(self.out / "cells", ignore_errors=True)
        _, evaluation = self._evaluation()
        evaluation.run(self.workers, lambda line: self.say(f"evaluate: {line}"))

    def _report(self) -> None:
        from .plots import draw

        store, evaluation = self._evaluation()
        cells = evaluation.run(self.workers, lambda line: self.say(f"evaluate: {line}"))
        rows = {s: len(evaluation.rows[s]) for s in ("train", "eval")}
        splits = read_splits(self.out / "splits")
        self.decision = report.write(self.out, self.config, store.info, cells, splits, rows)
        draw(self.out / "plots", cells, store.encoder)
        self.say(f"report: {self.out / 'report.txt'}")
