"""Experiments 1, 2, 3 and 1B: what is trained, on what, and what is written down."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....clitools import note, say
from ....plugins._errors import ParameterError
from ....wholefile import whole, write_json
from . import checkpoint, plots
from .baselines import Baseline, GaussianMixture
from .corpus import Data
from .evaluate import baselines, expected_cosine, score, summary
from .fit import RowStream, fabric_for, fit
from .heads import Model, VmfModel
from .moments import Moments
from .rows import Rows, choose
from .runfolder import RunFolder, write_csv
from .segments import RolloutLoss, SegmentStream, diagnose, totals
from .spec import DataSpec, DiagSpec, MatchSpec, Tier1Spec

#: Train rows that are scored beside the evaluation rows, at most.
_TRAIN_SCORED = 5000


def exp1(run: RunFolder, data: Data, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Direction x magnitude and MDN at every lag, each beside its context-free baselines."""
    spec = run.spec
    metrics: dict[str, Any] = {"data": about(data), "lags": {}}
    table: list[dict[str, Any]] = []
    fabric = fabric_for(spec.train)
    # Of the steps alone, so one for all lags.
    beside = {kind: baselines(kind, data.train, data.moments, spec.model, spec.data.seed) for kind in kinds}
    for lag in spec.data.lags:
        metrics["lags"][str(lag)] = {}
        for kind in kinds:
            model = train(run, data, kind, lag, fabric, beside[kind])
            found = judged(model, data, lag, spec, beside[kind])
            metrics["lags"][str(lag)][kind] = found
            table += table_rows(kind, lag, found)
            say(line(kind, lag, found["eval"]))
            run.log(line(kind, lag, found["eval"]))
    run.results(metrics, table)
    with whole(run.folder / "exp1.png") as part:
        plots.by_lag(metrics["lags"], data.corpus.name).savefig(part, dpi=120)
    return metrics


def about(data: Data) -> dict[str, Any]:
    """What the rows are."""
    return {
        "latents": data.corpus.name,
        "dim": data.corpus.dim,
        "frame_rate_hz": data.corpus.frame_rate_hz,
        "window": data.spec.window,
        "window_s": data.spec.window / data.corpus.frame_rate_hz,
        "slice": data.spec.slice,
        "group": data.spec.group,
        "scale": data.spec.scale,
        "train_rows": len(data.train),
        "eval_rows": len(data.eval),
        "train_speakers": len(data.splits.train_speakers),
        "eval_speakers": len(data.splits.eval_speakers),
        "median_magnitude": float(np.exp(data.moments.ln_m_mean)),
        "ln_magnitude_sd": data.moments.ln_m_sd,
        "free_kappa": data.moments.kappa,
    }


def train(run: RunFolder, data: Data, kind: str, lag: int, fabric: Any, beside: dict[str, Baseline]) -> Model:
    """The model of a lag: loaded where it is finished, gone on with where it is begun.

    An MDN begins at the context-free mixture of its size.
    """
    spec = run.spec
    path = checkpoint.final(run.folder, kind, lag)
    if path.exists():
        return checkpoint.load_final(path)[0]
    free = beside[f"free_{spec.model.components}"]
    start = free if isinstance(free, GaussianMixture) else None
    model = checkpoint.build(kind, spec.data.window, spec.model, data.moments, seed=spec.train.seed, start=start)
    stream = RowStream(
        data.train.with_lag(lag), spec.train.batch, spec.train.seed, spec.data.shuffle_rows, data.moments.least_step
    )
    name = checkpoint.name(kind, lag)
    history = fit(
        model,
        stream,
        spec.train,
        state=path.with_name(f"{name}_training"),
        identity={**run.identity, "kind": kind, "lag": lag},
        fabric=fabric,
        label=name,
        log=run.log,
    )
    if run.writes:
        checkpoint.save_final(path, model, lag, data.moments, history=history, units=units(data.spec))
    return model


def units(spec: DataSpec) -> dict[str, Any]:
    """What frames a model was trained on: it can be used on no others."""
    return {"group": spec.group, "group_by": spec.group_by, "scale": spec.scale}


def judged(model: Model, data: Data, lag: int, spec: Tier1Spec, beside: dict[str, Baseline]) -> dict[str, Any]:
    """Figures on a part of the train rows, on held-out utterances of train speakers, and on evaluation rows."""
    found: dict[str, Any] = {}
    splits = {"train": part_of(data.train, _TRAIN_SCORED, spec.data.seed), "holdout": data.holdout, "eval": data.eval}
    for split, rows in splits.items():
        if rows is None:
            continue
        seen = rows.with_lag(lag)
        scores = score(model, seen, beside, data.moments)
        found[split] = summary(scores, seen)
        if (expected := expected_cosine(model, scores)) is not None:
            found[split]["expected_cosine"] = expected
    return found


def part_of(rows: Rows, count: int, seed: int) -> Rows:
    """At most `count` rows, drawn evenly, in their order."""
    if len(rows) <= count:
        return rows
    index = np.sort(np.random.default_rng([seed, 9]).choice(len(rows), count, replace=False))
    return Rows(rows.corpus, rows.window, rows.lag, rows.utterance[index], rows.t[index])


def table_rows(kind: str, lag: int, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Lines of tables.csv."""
    rows = []
    for split, f in found.items():
        row: dict[str, Any] = {"model": kind, "lag": lag, "split": split, "n": f["n"], "nll": f["nll"]["model"]["mean"]}
        for name, gain in f["dnll"].items():
            row |= {f"dnll_{name}": gain["mean"], f"dnll_{name}_median": gain["median"]}
        row |= {
            "cosine": f["cosine"]["mean"],
            "expected_cosine": f.get("expected_cosine"),
            "log_magnitude_r2": f["log_magnitude_r2"],
            "magnitude_ratio_median": f["magnitude_ratio"]["median"],
            "kappa_median": f.get("kappa", {}).get("median"),
            "sigma_median": f.get("sigma", {}).get("median"),
            "still": f["still"],
        }
        rows.append(row)
    return rows


def line(kind: str, lag: int, f: dict[str, Any]) -> str:
    """One line on the terminal and in the log."""
    gains = ", ".join(f"{n} {v['mean']:+.2f}" for n, v in f["dnll"].items())
    return f"{kind} lag {lag}: dNLL against {gains} nats; cosine {f['cosine']['mean']:.3f}, n {f['n']}"


# ---- experiment 2 ---------------------------------------------------------------------------------


def segments(data: Data, ids: list[str], spec: DiagSpec, lag: int) -> NDArray[np.float32]:
    """True frames of evaluation segments [n, W + lag + K, D], from utterances drawn over all speakers alike."""
    seen: DataSpec = data.spec.model_copy(update={"lags": (lag,), "slice": "all"})
    rows = choose(data.corpus, ids, seen, cap=0, seed=spec.seed, margin=spec.frames - 1)
    rng = np.random.default_rng([spec.seed, 11])
    inside = rows.t + spec.frames <= spec.max_frames_per_utt
    by_speaker: dict[str, list[int]] = {}
    for u in np.unique(rows.utterance[inside]):
        by_speaker.setdefault(data.corpus.utterances[u].speaker, []).append(int(u))
    queues = [list(rng.permutation(us)) for _, us in sorted(by_speaker.items())]
    chosen: list[int] = []
    while len(chosen) < spec.n_eval_utterances and any(queues):
        chosen += [int(q.pop()) for q in queues if q]
    picked = []
    for u in chosen[: spec.n_eval_utterances]:
        at = np.flatnonzero((rows.utterance == u) & inside)
        picked.append(np.sort(rng.choice(at, min(len(at), spec.segments_per_utt), replace=False)))
    if not picked:
        raise ParameterError(f"{data.corpus.name}: no utterance is long enough for segments of {spec.frames} steps")
    return rows.frames(np.concatenate(picked), spec.frames)


def exp2(run: RunFolder, data: Data, model: Model, lag: int, m: Moments, title: str) -> dict[str, Any]:
    """The injection diagnostic: per_step.csv, totals and four plots."""
    per_step, total, count = injection(data, model, lag, m, run.spec)
    write_csv(run.folder / "per_step.csv", per_step)
    metrics = {"data": about(data), "segments": count, "frames": run.spec.diag.frames, "lag": lag, "totals": total}
    for name, figure in plots.injection(per_step, title).items():
        with whole(run.folder / f"{name}.png") as part:
            figure.savefig(part, dpi=120)
    run.results({**metrics, "per_step": per_step}, total)
    for row in total:
        say(mode_line(row))
        run.log(mode_line(row))
    return metrics


def injection(
    data: Data, model: Model, lag: int, m: Moments, spec: Tier1Spec
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """Rows by mode and step, rows by mode, and the number of segments."""
    frames = segments(data, data.splits.eval_utterances, spec.diag, lag)
    beside = baselines(model.kind, data.train, m, spec.model, spec.data.seed)
    per_step = diagnose(model, frames, lag, m, beside, spec.diag)
    return per_step, totals(per_step), len(frames)


def mode_line(row: dict[str, Any]) -> str:
    """One line for a mode."""
    gain = next(v for k, v in row.items() if k.startswith("dnll_"))
    return (
        f"{row['mode']}: dNLL {gain:+.2f} nats, cosine {row['cosine']:.3f}, magnitude ratio "
        f"{row['magnitude_ratio']:.2f}, state error {row['state_error_steps']:.1f} steps, gap {row['rollout_gap']:+.2f}"
    )


# ---- experiment 1B --------------------------------------------------------------------------------


def rollout(run: RunFolder, data: Data, start: Model, lag: int, m: Moments) -> dict[str, Any]:
    """Goes on from a teacher-forced model through its own rollouts, and compares the two in the diagnostic."""
    spec, r = run.spec, run.spec.rollout
    if not isinstance(start, VmfModel):
        raise ParameterError(f"rollout training takes a vmf checkpoint; this one is of kind {start.kind}")
    path = checkpoint.final(run.folder, "vmf", lag)
    if path.exists():
        model = checkpoint.load_final(path)[0]
    else:
        model = checkpoint.build("vmf", start.window, start.spec, m, ln_sigma_above=r.ln_sigma_above)
        model.load_state_dict(start.state_dict())
        seen = data.spec.model_copy(update={"lags": (lag,)})
        rows = choose(
            data.corpus,
            data.splits.fit,
            seen,
            cap=data.spec.max_samples,
            seed=data.spec.seed,
            margin=r.frames - 1,
            energy_median=data.energy_median,
        )
        stream = SegmentStream(rows, r.frames, r.batch, spec.train.seed, data.spec.shuffle_rows)
        settings = spec.train.model_copy(
            update={"max_steps": r.max_steps, "batch": r.batch, "learning_rate": r.learning_rate}
        )
        history = fit(
            model,
            stream,
            settings,
            state=path.with_name(f"{checkpoint.name('vmf', lag)}_training"),
            identity={**run.identity, "lag": lag},
            loss_of=RolloutLoss(r, lag, start.window, m, spec.train.seed),
            label="rollout",
            log=run.log,
        )
        if run.writes:
            checkpoint.save_final(
                path, model, lag, m, history=history, ln_sigma_above=r.ln_sigma_above, units=units(data.spec)
            )
    metrics: dict[str, Any] = {"data": about(data), "lag": lag}
    table: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    beside = baselines("vmf", data.train, m, spec.model, spec.data.seed)
    for name, each in (("teacher", start), ("rollout", model)):
        per_step, total, count = injection(data, each, lag, m, spec)
        metrics[name] = {"totals": total, "segments": count, "eval": judged(each, data, lag, spec, beside)["eval"]}
        table += [{"training": name, **row} for row in total]
        steps += [{"training": name, **row} for row in per_step]
        say(f"{name}-trained:")
        for row in total:
            say("  " + mode_line(row))
            run.log(f"{name}: {mode_line(row)}")
    write_csv(run.folder / "per_step.csv", steps)
    with whole(run.folder / "rollout.png") as part:
        plots.trainings(steps, data.corpus.name).savefig(part, dpi=120)
    run.results({**metrics, "per_step": steps}, table)
    return metrics


# ---- experiment 3 ---------------------------------------------------------------------------------


def matched(spec: DataSpec, match: MatchSpec, frame_rate_hz: float, name: str) -> DataSpec:
    """Grouping, window and lag in frames of this representation, equal in seconds within the tolerance.

    Raises ParameterError where its frames cannot be put together to that.
    """
    group = max(1, round(match.frame_s * frame_rate_hz))
    seconds = group / frame_rate_hz
    if abs(seconds / match.frame_s - 1.0) > match.tolerance:
        raise ParameterError(
            f"{name}: frames of {1e3 / frame_rate_hz:.4g} ms do not make {1e3 * match.frame_s:g} ms within "
            f"{match.tolerance:.0%}; set match.frame_s to a multiple of them, or widen match.tolerance"
        )
    window, lag = max(1, round(match.window_s / seconds)), max(0, round(match.lag_s / seconds))
    return spec.model_copy(update={"group": group, "window": window, "lags": (lag,)})


def exp3(run: RunFolder, sets: dict[str, Data], kinds: tuple[str, ...]) -> dict[str, Any]:
    """The same two experiments on every representation, at equal seconds; a folder for each."""
    summaries: list[dict[str, Any]] = []
    diagnostics: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    curves: dict[str, list[dict[str, Any]]] = {}
    for name, data in sets.items():
        lag = data.spec.lags[0]
        inner_spec = run.spec.model_copy(update={"data": data.spec})
        inner = RunFolder(run.out, run.run_id, f"{run.experiment}/{name}", inner_spec, run.about, force=False)
        with inner:
            found = exp1(inner, data, kinds)
            figures = found["lags"][str(lag)]
            row: dict[str, Any] = {"representation": data.corpus.name, **_sizes(found["data"], lag)}
            for kind, f in figures.items():
                for base, gain in f["eval"]["dnll"].items():
                    row[f"{kind}_dnll_{base}"] = gain["mean"]
                    row[f"{kind}_dnll_{base}_per_dim"] = gain["mean"] / data.corpus.dim
                row |= {
                    f"{kind}_cosine": f["eval"]["cosine"]["mean"],
                    f"{kind}_log_magnitude_r2": f["eval"]["log_magnitude_r2"],
                }
            model, _, m, _ = checkpoint.load_final(checkpoint.final(inner.folder, kinds[0], lag))
            per_step, total, count = injection(data, model, lag, m, inner_spec)
        write_csv(inner.folder / "per_step.csv", per_step)
        diagnostics[name] = {"segments": count, "totals": total, "per_step": per_step}
        curves[data.corpus.name] = per_step
        last = [r for r in per_step if r["mode"] == "D_rollout"][-1]
        row |= {"teacher_cosine": total[0]["cosine"], "rollout_cosine": total[3]["cosine"]}
        row |= {"rollout_gap": total[3]["rollout_gap"], "end_state_error_steps": last["state_error_steps"]}
        summaries.append(row)
        metrics[name] = {"data": found["data"], **figures}
        note(f"{name}: done")
    write_csv(run.folder / "summary.csv", summaries)
    write_json(run.folder / "injection_diag.json", diagnostics)
    with whole(run.folder / "exp3.png") as part:
        plots.representations(summaries, curves).savefig(part, dpi=120)
    run.results({"representations": metrics, "summary": summaries}, summaries)
    return metrics


def _sizes(found: dict[str, Any], lag: int) -> dict[str, Any]:
    rate = found["frame_rate_hz"]
    return {
        "dim": found["dim"],
        "frames_per_s": rate,
        "group": found["group"],
        "window_s": found["window"] / rate,
        "lag_s": lag / rate,
        "eval_rows": found["eval_rows"],
    }
