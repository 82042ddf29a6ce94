"""Twenty minutes of sound through the commands of per-sample search, each in a process of its own, under 1 GiB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

RATE = 24_000
SECONDS = 1200

# The CLI itself; its last line is the most memory the process ever held (VmHWM, KiB).
RUN = """
import sys
from cspace.cli import app
app(sys.argv[1:], standalone_mode=False)
(line,) = [s for s in open("/proc/self/status") if s.startswith("VmHWM")]
print(line.split()[1])
"""

COMMANDS = {
    "search": ["search", "CLIP", "20000000", "--noise-db", "20", "--resample-ppm", "100", "--codec", "mp3"],
    "search pink": ["search", "CLIP", "20000000", "--noise-db", "20", "--noise-color", "pink", "-d", "waveform"],
    "quantize": ["quantize", "CLIP", "20000000", "--seconds", "1200", "--queries", "200"],
    "robustness": [
        *("robustness", "CLIP", "20000000", "--seconds", "1200", "--queries", "200"),
        *("--only", "16 nodes,waveform 257 cosine"),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise that swells and fades, 20 minutes of it."""
    path = tmp_path_factory.mktemp("long") / "long.flac"
    rng = np.random.default_rng(5)
    with sf.SoundFile(path, "w", RATE, 1) as file:
        for k in range(SECONDS):
            t = k + np.arange(RATE) / RATE
            file.write(0.2 * (1.2 + np.sin(2.1 * t)) * rng.standard_normal(RATE).astype(np.float32) / 3)
    return path


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", COMMANDS)
def test_twenty_minutes_stay_under_a_gibibyte(long_clip: Path, tmp_path: Path, name: str) -> None:
    args = [str(long_clip) if a == "CLIP" else a for a in COMMANDS[name]]
    run = subprocess.run(
        [sys.executable, "-c", RUN, "lab", *args, "-r", str(tmp_path)], capture_output=True, text=True, check=True
    )
    peak = int(run.stdout.split()[-1]) // 1024
    print(f"{name}: {peak} MiB")
    assert peak < 1024
    assert any(tmp_path.glob("*.json"))
