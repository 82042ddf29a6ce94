"""Instructions per unit of work of the inner loops, counted by callgrind: they do not jitter.

Each processor runs at two lengths; the difference of the two counts leaves set-up out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .common import Row

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "target" / "release" / "examples" / "instructions"
RATE = 48_000
SHORT_S, LONG_S = 0.1, 0.3

CASES = [
    # processor, parameters, units per sample, unit
    ("cspace", {"oscillators": 256}, 256, "instr/osc-sample"),
    ("cspace", {"oscillators": 256, "resynthesis": 1}, 256, "instr/osc-sample"),
    ("kuramoto", {"oscillators": 256}, 256, "instr/osc-sample"),
    ("esn", {"nodes": 1000, "density": 0.1}, 1, "instr/step"),
    ("esn", {"nodes": 1000, "density": 0.1, "topology": 1}, 1, "instr/step"),
    (
        "eq",
        {"low_gain_db": 3, "band1_gain_db": 3, "band2_gain_db": 3, "band3_gain_db": 3, "high_gain_db": 3},
        1,
        "instr/sample",
    ),
    ("limiter", {}, 1, "instr/sample"),
]


def count(name: str, params: dict[str, float], seconds: float) -> int:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={folder}/out",
            str(BINARY),
            name,
            str(seconds),
        ]
        command += [f"{k}={v}" for k, v in params.items()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        raise RuntimeError(f"callgrind failed on {name}: {done.stderr[-300:]}")
    return int(found[1])


def run(quick: bool) -> Iterator[Row]:
    for tool in ("valgrind", "cargo"):
        if shutil.which(tool) is None:
            raise ImportError(f"{tool} is not installed")
    subprocess.run(
        ["cargo", "build", "-q", "--release", "-p", "cspace-dsp", "--example", "instructions"], cwd=ROOT, check=True
    )
    for name, params, units, unit in CASES:
        difference = count(name, params, LONG_S) - count(name, params, SHORT_S)
        what = ", ".join([name, *(f"{k} {v}" for k, v in params.items())])
        per = difference / ((LONG_S - SHORT_S) * RATE * units)
        yield Row(bench="instructions", what=what, unit=unit, ours=per, how="callgrind, difference of two lengths")
