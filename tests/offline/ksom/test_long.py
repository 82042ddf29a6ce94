"""Memory does not grow with the length of a piece, nor with that of a recording beyond its notes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from cspace.offline.ksom import modelfile as mf
from cspace.offline.ksom import pipeline as pl
from tests.memory import PEAK_MIB

from . import clips

_RUN = (
    PEAK_MIB
    + """
import sys
from pathlib import Path
from cspace.offline.ksom import modelfile as mf, pipeline as pl
from cspace.offline.ksom.oscillators import Performance
from cspace.offline.ksom.score import compose
score = compose(mf.load_model(sys.argv[1]), Performance(seconds=float(sys.argv[2])))
pl.synthesise(score, sys.argv[3], subtype="PCM_16")
print(peak_mib())
"""
)
_READ = (
    PEAK_MIB
    + """
import sys
from cspace.offline.ksom import modelfile as mf, pipeline as pl
model = pl.analyse([sys.argv[1]], mf.Settings())[0]
print(peak_mib(), model.tracks[0].seconds, len(model.tracks[0].steps.time_s))
"""
)


def _python(code: str, *args: object) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stderr
    return [float(w) for w in done.stdout.split()]


@pytest.mark.heavy
def test_half_an_hour_needs_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    model = pl.train_map(pl.analyse([clips.write(tmp_path / "a.wav", clips.melody())], mf.Settings())[0], 7)
    mf.save_model(tmp_path / "m.json", model)
    used = {s: _python(_RUN, tmp_path / "m.json", s, tmp_path / "o.wav")[0] for s in (60, 1800)}
    print(f"{used[60]:.0f} MB for 1 minute, {used[1800]:.0f} MB for 30")
    assert sf.info(tmp_path / "o.wav").frames == 1800 * 48_000
    # The states that the report draws, ten a second, are all that is kept.
    assert used[1800] < used[60] + 60


@pytest.mark.heavy
def test_an_hour_is_read_in_bounded_memory(tmp_path: Path) -> None:
    minute = np.concatenate([clips.melody(), np.zeros(clips.RATE // 2, np.float32)])
    times = int(3600 * clips.RATE / len(minute)) + 1
    with sf.SoundFile(tmp_path / "hour.wav", "w", clips.RATE, 1, subtype="PCM_16") as file:
        for _ in range(times):
            file.write(minute)
    sf.write(tmp_path / "minute.wav", np.tile(minute, 5), clips.RATE)
    short = _python(_READ, tmp_path / "minute.wav")
    long = _python(_READ, tmp_path / "hour.wav")
    print(f"{short[0]:.0f} MB for {short[1]:.0f} s, {long[0]:.0f} MB for {long[1]:.0f} s")
    assert long[1] == pytest.approx(times * len(minute) / clips.RATE, abs=0.001)
    # Steps of an eighth, of which ends and beginnings fall out.
    assert long[2] == pytest.approx(3600 * 8, rel=0.05)
    assert long[0] < short[0] + 300
