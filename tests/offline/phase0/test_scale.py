"""Memory at the size the study was given: 100,000 frames of 512 values. Times are printed by the bench, not judged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.memory import PEAK_MIB

ROOT = Path(__file__).parents[3]


@pytest.mark.heavy
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_frames_take_less_than_2_gib() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.phase0_scale"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    print(done.stdout)
    found = json.loads(done.stdout)
    assert (found["frames"], found["dim"]) == (100_000, 512)
    assert found["peak_mib"] < 2048


def test_memory_does_not_grow_with_the_frames() -> None:
    code = (
        PEAK_MIB
        + """
import json, sys, tempfile
from pathlib import Path
from bench.phase0_scale import measure
from cspace.offline.phase0 import store
store.CACHE_BYTES = 4 << 20
found = []
for frames in (2_000, 24_000):
    with tempfile.TemporaryDirectory() as folder:
        measure(frames, 64, 1, Path(folder))
    found.append(peak_mib())
print(json.dumps(found))
"""
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    small, large = json.loads(done.stdout)
    # All contexts at once would be 24,000 · 8 · 64 · 4 bytes = 47 MiB, and as much again for each copy.
    assert large - small < 60
