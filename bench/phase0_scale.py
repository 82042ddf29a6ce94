"""The study of latents at 100,000 frames × 512 dimensions, W = 8: memory and time of each step.

    python -m bench.phase0_scale [--frames 100000] [--dim 512] [--workers 2]

Latents are the synthetic generator's. Prints a line of JSON: most memory ever resident (VmHWM) and seconds of each
step, wall and CPU.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from cspace.offline.phase0.config import load_config
from cspace.offline.phase0.study import STEPS, Study
from cspace.offline.phase0.work import Workers

UTTERANCES = 200


def peak_mib() -> int:
    """The most memory this process ever held."""
    (line,) = [s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def measure(frames: int, dim: int, workers: int, folder: Path) -> dict[str, Any]:
    """Runs all steps in this process; frames are those with a whole window."""
    config = load_config(
        None,
        out=str(folder),
        data__kind="synthetic",
        encoder__name="synthetic",
        encoder__synthetic__speakers=10,
        encoder__synthetic__utterances_per_speaker=UTTERANCES // 10,
        encoder__synthetic__frames=-(-frames // UTTERANCES) + 12,
        encoder__synthetic__dim=dim,
        max_samples=frames,
    )
    seconds = {}
    with Workers(workers) as crew:
        study = Study(config, crew)
        for step in STEPS:
            wall, cpu = time.perf_counter(), time.process_time()
            study.step(step)
            seconds[step] = [round(time.perf_counter() - wall, 1), round(time.process_time() - cpu, 1)]
    assert study.decision is not None
    return {
        "frames": frames,
        "dim": dim,
        "workers": workers,
        "peak_mib": peak_mib(),
        "wall_s": round(sum(s[0] for s in seconds.values()), 1),
        "cpu_s": round(sum(s[1] for s in seconds.values()), 1),
        "steps_wall_cpu_s": seconds,
        "transfer_vr": [
            (c["name"], round(c["value"], 4))
            for c in study.decision["conditions"]["mean_vq64"]["checks"]
            if c["name"] == "transfer_vr"
        ],
    }


def main() -> None:
    """Measures and prints."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--frames", type=int, default=100_000)
    ask.add_argument("--dim", type=int, default=512)
    ask.add_argument("--workers", type=int, default=2)
    asked = ask.parse_args()
    with tempfile.TemporaryDirectory(prefix="phase0-") as folder:
        print(json.dumps(measure(asked.frames, asked.dim, asked.workers, Path(folder))))


if __name__ == "__main__":
    main()
