"""The steps joined: from recordings to a model, and from a model to a piece."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...audiofile import Reader
from ...plugins._errors import FileError
from . import modelfile as mf
from .analysis import Reading, combine, read
from .oscillators import Performance
from .score import Score, compose, perform
from .som import train
from .symbols import block_grid
from .synth import Renderer, Sound, write_sound

#: Called with a part's name, how much of it is done, and how much there is (None if unknown).
Report = Callable[[str, float, float | None], None]


def _quiet(part: str, done: float, total: float | None) -> None:
    return


def analyse(
    sources: Sequence[str | os.PathLike[str]], settings: mf.Settings, *, report: Report = _quiet
) -> tuple[mf.Model, list[Reading]]:
    """Reads one recording or an album. Raises what `analysis.read` raises."""
    readings = []
    for k, source in enumerate(sources, 1):
        name, length = f"{Path(source).name} ({k}/{len(sources)})", _length(source)
        done = functools.partial(_tell, report, name, length)
        readings.append(read(source, settings, report=done))
    return combine(readings, settings), readings


def _tell(report: Report, part: str, total: float | None, done: float) -> None:
    report(part, done, total)


def _length(path: str | os.PathLike[str]) -> float | None:
    try:
        with Reader(path) as file:
            return file.frames / file.sample_rate if file.frames else None
    except FileError:
        return None


def grid_of(model: mf.Model, kind: str) -> list[str]:
    """The symbol grid: of the map's nodes (`som`) or of the first track's spectrogram (`block`)."""
    if kind == "block" or model.map is None:
        return block_grid(model.tracks[0].blocks)
    return model.map.symbols


def train_map(model: mf.Model, seed: int, *, report: Report = _quiet) -> mf.Model:
    """The model with its map trained."""
    return train(model, seed=seed, report=lambda part: report("map", part, 1.0))


def synthesise(
    score: Score, path: str | os.PathLike[str], *, subtype: str | None = None, report: Report = _quiet
) -> Sound:
    """Plays a score into a file."""
    bank, levels = perform(score)
    renderer = Renderer(bank, levels, score.play)
    return write_sound(renderer, path, subtype=subtype, report=lambda s: report("sound", s, score.play.seconds))


def trace(score: Score, *, report: Report = _quiet) -> Renderer:
    """Runs a score's oscillators without keeping the sound; the renderer has the trace."""
    bank, levels = perform(score)
    renderer = Renderer(bank, levels, score.play)
    done = 0
    for y in renderer.blocks():
        done += y.shape[1]
        report("oscillators", done / score.play.sample_rate, score.play.seconds)
    return renderer


def report_of(model: mf.Model, score: Score, sound: Sound, target: Path, grid: Sequence[str]) -> dict[str, Any]:
    """What was made: the original's four fields first."""
    r, bands = sound.trace, score.play.mode == "bands"
    voices = len(score.bands) if bands else len(score.voices.notes_hz) * score.play.voices
    return {
        "peaks": sum(t.peaks for t in model.tracks),
        "oscillators": voices,
        "grid": list(grid),
        "output": target.name,
        "seconds": sound.frames / score.play.sample_rate,
        "sources": [
            {
                "name": t.name,
                "seconds": t.seconds,
                "tempo_bpm": t.tempo_bpm,
                "pulse": t.pulse,
                "tuning_cents": t.tuning_cents,
                "steps": len(t.steps.time_s),
                "conversions": t.conversions,
            }
            for t in model.tracks
        ],
        "tempo_bpm": score.tempo_bpm,
        "nodes_used": len(set(score.node)),
        "map": model.map.quality.model_dump() if model.map else None,
        "rms_db": sound.rms_db,
        "sample_peak_db": sound.sample_peak_db,
        "order_parameter": {name: _mean(getattr(r, name)) for name in ("r", "note_r", "locking")},
        "performance": score.play.model_dump(),
    }


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / max(1, len(values)), 4)


__all__ = [
    "Performance",
    "Report",
    "analyse",
    "compose",
    "grid_of",
    "report_of",
    "synthesise",
    "trace",
    "train_map",
]
