"""A small study that takes seconds, and what it left."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cspace.offline.phase0 import work
from cspace.offline.phase0.config import Phase0Config, load_config
from cspace.offline.phase0.study import Study

SMALL: dict[str, Any] = {
    "data__kind": "synthetic",
    "encoder__name": "synthetic",
    "encoder__synthetic__utterances_per_speaker": 4,
    "encoder__synthetic__frames": 200,
    "fit__vq256_clusters": 32,
    "fit__pca_dims": 3,
    "fit__starts": 2,
    "decision__min_cluster": 20,
    "run__block_windows": 512,
}


def config(out: Path, **changes: Any) -> Phase0Config:
    return load_config(None, out=str(out), **{**SMALL, **changes})


def run(settings: Phase0Config, workers: int = 1, **more: Any) -> dict[str, Any]:
    with work.Workers(workers) as crew:
        return Study(settings, crew, **more).run()


def files(folder: Path) -> dict[str, str]:
    """Hashes of all files but the one that holds times of day."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in ("manifest.jsonl", "config.yaml")
    }
