"""What a study leaves: a picture, and beside it a JSON with its settings, figures and notes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...wholefile import whole, write_json
from ..config import LabConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(
    config: LabConfig,
    name: str,
    results: dict[str, Any],
    figure: Figure | None = None,
    *,
    settings: dict[str, Any] | None = None,
    notes: list[str] | None = None,
) -> list[Path]:
    """Writes `<results>/<name>.json` and, with a figure, `<name>.png`; gives their paths.

    Parameters
    ----------
    name : file name without suffix, such as `search_q1200`
    results : the figures found; NumPy values are taken, NaN and Inf become null
    settings : what the command was asked for, beyond the configuration
    notes : conversions and warnings, in words
    """
    base = config.results / name
    written = []
    if figure is not None:
        with whole(base.with_name(base.name + ".png")) as part:
            figure.savefig(part, dpi=130)
        written.append(base.with_name(base.name + ".png"))
    target = base.with_name(base.name + ".json")
    write_json(
        target,
        {
            "version": __version__,
            "command": name,
            "config": config.model_dump(mode="json", exclude={"results"}),
            "settings": settings or {},
            "notes": notes or [],
            "results": results,
        },
    )
    return [*written, target]
