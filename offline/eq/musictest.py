"""The test on real music behind `cspace eq evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...plugins._adaptive.model import Model
from ...plugins._errors import ParameterError
from ..audio import audio_files
from . import audioencoder, evaluate
from . import data as table
from .audioencoder import AudioSpec
from .signals import excerpts
from .traincli import settings_of


def run(
    model: Model,
    data: str,
    music: Path,
    count: int,
    seconds: float,
    each: int,
    progress: evaluate.Progress | None = None,
) -> dict[str, Any]:
    """Acts on and listens to excerpts of pieces that the model does not know; `lines` of the result are for people."""
    seed = int(model.about["eq"]["data"]["split_seed"])
    found = settings_of(data, seed)
    if len(found) != model.about["eq"]["data"]["rows"]:
        raise ParameterError(f"{data} is not the table that the model was trained with")
    train, test = table.split(found, seed=seed)
    held = found.only(test)
    known = set(model.about["music"].get("pieces", []))
    files = [f for f in audio_files(music) if f.name not in known]
    clips = [x for _, _, x in excerpts(files, seconds, evaluate.RATE, each=each, limit=count)]
    if len(clips) < 3:
        raise ParameterError(f"{music} has {len(clips)} usable excerpts; at least 3 are needed")
    already = {w: held.values[[w in ws for ws in held.words]] for w in ("warm", "bright")}
    acted = evaluate.on_music(model, clips, already, progress)
    spec = AudioSpec.model_validate(model.about["audio_encoder"])
    lib = audioencoder.record(spec.model_copy(update={"noise_s": 120.0, "pieces": 12}))
    ridge = evaluate.ridge_weights(found.values[train], lib, spec)
    values = held.values[: len(clips)]
    clips = clips[: len(values)]
    blind = evaluate.hearing(model, values, found.values[train], clips, ridge=ridge)
    beside = evaluate.hearing(model, values, found.values[train], clips, with_reference=True, ridge=ridge)
    lines = []
    for word in ("warm", "bright"):
        r = acted[word]
        lines.append(
            f"{word}: {r['right_way']} of {len(clips)} the right way at 0.7, {r['monotonic']} monotonic; already so "
            f"moved less in {100 * r['pairs_moved_less']:.0f} % of pairs, rank correlation "
            f"{r['rank_correlation_of_likeness_and_movement']:.2f} "
            f"({r['rank_correlation_clips_as_they_are']:.2f} without made versions)"
        )
    for name, r in (("blind", blind), ("beside the dry", beside)):
        rivals = ", ".join(f"{k} {v['shape_mae_db']:.2f}" for k, v in r["rivals"].items())
        lines.append(
            f"setting heard in music, {name}: {r['shape_mae_db']:.2f} dB ({rivals}); "
            f"believed in {100 * r['believed_share']:.0f} %, it expected {r['expected_error_db']:.1f} dB"
        )
    return {
        "lines": lines,
        "acting": acted,
        "blind": blind,
        "with_reference": beside,
        "excerpts": len(clips),
        "pieces": len(files),
    }
