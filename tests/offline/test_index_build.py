"""Building: goes on where it was killed, follows the folder, leaves out what cannot be read, in bounded memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.index import build as module
from cspace.offline.index.build import build
from cspace.offline.index.search import Searcher
from cspace.offline.index.spec import IndexSpec
from cspace.offline.index.store import Index
from cspace.plugins import AudioError, ParameterError
from cspace.plugins._errors import FileError
from tests.memory import PEAK_MIB
from tests.offline.index_clips import F32, RATE, voice, write_folder


def invoke(*args: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["index", *map(str, args)])
    return result.exit_code, result.stdout, result.stderr


def all_rows(folder: Path) -> dict[str, F32]:
    """Features of each recording as stored, its pieces put together."""
    index = Index(folder)
    found: dict[str, dict[int, F32]] = {}
    for shard in index.manifest.shards:
        rows, quantiser = index.rows(shard), shard.quantiser()
        for p in shard.pieces:
            if p.path not in index.sources:  # begun when the build was killed; readers pass over it
                continue
            part = rows[p.row : p.row + p.frames]
            values = part if quantiser is None else quantiser.dequantise(part)
            for k, row in enumerate(values):
                found.setdefault(p.path, {})[p.first_frame + k] = row
    for rows in found.values():
        assert sorted(rows) == list(range(len(rows)))
    return {path: np.array([rows[k] for k in range(len(rows))]) for path, rows in found.items()}


KILLED = """
import os, signal, sys
from cspace.offline.index import build
from cspace.offline.index.store import Index
build.SHARD_ROWS = 100  # a shard after every file or so
def step(done, total, seconds):
    # A file is in the manifest once a shard was written after its end; when that is depends on the threads.
    if done and Index(sys.argv[2]).sources:
        os.kill(os.getpid(), signal.SIGKILL)
build.build(sys.argv[1], sys.argv[2], jobs=2, progress=step)
"""


def test_killed_builds_go_on(tmp_path: Path) -> None:
    clips = write_folder(tmp_path / "s", files=7, seconds=2.5)
    target = tmp_path / "i"
    ended = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "s", target], check=False)
    assert ended.returncode == -9
    before = all_rows(target)  # a good index of what was done
    assert 1 <= len(Index(target).sources) < 7
    # What a kill in the middle of writing leaves behind.
    for stray in (".rows-00.npy.part.npy", "rows-0123456789abcdef.npy"):
        (target / stray).write_bytes(b"half")
    report = build(tmp_path / "s", target)
    assert report.unchanged == len(before)
    assert (report.added, report.skipped, report.removed) == (7 - len(before), [], 0)
    after = all_rows(target)
    assert set(after) == set(clips)
    assert all(np.array_equal(after[name], rows) for name, rows in before.items())
    kept = {s.name for s in Index(target).manifest.shards}
    assert {p.name for p in target.iterdir()} == kept | {"manifest.json", ".lock"}
    again = build(tmp_path / "s", target)
    assert (again.added, again.unchanged) == (0, 7)


def test_interrupted_builds_keep_what_was_done(tmp_path: Path) -> None:
    write_folder(tmp_path / "s", files=8, seconds=1.0)

    def stop(done: int, total: int, seconds: float) -> None:
        if done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "s", tmp_path / "i", jobs=1, progress=stop)
    done = len(all_rows(tmp_path / "i"))
    assert 2 <= done < 8
    assert build(tmp_path / "s", tmp_path / "i").unchanged == done


def test_index_follows_the_folder(tmp_path: Path) -> None:
    clips = write_folder(tmp_path / "s", files=4, seconds=2.0)
    target = tmp_path / "i"
    build(tmp_path / "s", target)
    (tmp_path / "s/b/1.flac").unlink()
    new, changed = voice(2.0, 30), voice(2.2, 31)
    sf.write(tmp_path / "s/new.wav", new, RATE)
    sf.write(tmp_path / "s/a/0.flac", changed, RATE)
    report = build(tmp_path / "s", target)
    assert (report.added, report.unchanged, report.removed) == (2, 2, 1)
    assert set(all_rows(target)) == {"a/0.flac", "a/2.flac", "b/3.flac", "new.wav"}
    searcher = Searcher(Index(target))
    for name, x in (("new.wav", new), ("a/0.flac", changed), ("b/3.flac", clips["b/3.flac"])):
        best = searcher.query(x[10_001:30_000]).matches[0]
        assert (best.path, best.sample) == (name, 10_001)
    assert not searcher.query(clips["b/1.flac"][10_000:30_000]).found
    # When most of a shard is gone, it is written anew without the lost rows.
    size = Index(target).bytes
    for name in ("a/2.flac", "b/3.flac", "new.wav"):
        (tmp_path / "s" / name).unlink()
    build(tmp_path / "s", target)
    assert set(all_rows(target)) == {"a/0.flac"}
    assert Index(target).bytes < 0.6 * size


def test_long_recordings_are_cut_into_pieces_that_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_FRAMES", 64)
    monkeypatch.setattr(module, "SHARD_ROWS", 500)
    (tmp_path / "s").mkdir()
    x = voice(31.0, 2)
    sf.write(tmp_path / "s/long.flac", x, RATE, subtype="PCM_24")
    build(tmp_path / "s", tmp_path / "f", IndexSpec(dtype="float32"))
    spec = IndexSpec()
    assert len(Index(tmp_path / "f").manifest.shards) > 3
    assert np.allclose(all_rows(tmp_path / "f")["long.flac"], spec.features(x), atol=1e-4)
    searcher = Searcher(Index(tmp_path / "f"), window_s=9.5, candidates=4)
    for start in (0, 63 * spec.hop + 17, 200 * spec.hop + 240, len(x) - 10 * RATE):
        matches = searcher.query(x[start : start + 10 * RATE], top=2).matches
        assert (matches[0].path, matches[0].sample) == ("long.flac", start)
        assert len(matches) < 2 or matches[1].sample != start  # pieces overlap, answers do not


def test_unreadable_files_are_left_out_and_counted(tmp_path: Path) -> None:
    write_folder(tmp_path / "s", files=2, seconds=1.5)
    (tmp_path / "s/text.wav").write_text("no sound")
    (tmp_path / "s/empty.flac").write_bytes(b"")
    whole = (tmp_path / "s/b/1.flac").read_bytes()
    (tmp_path / "s/cut.flac").write_bytes(whole[:2000])
    sf.write(tmp_path / "s/none.wav", np.zeros(0, np.float32), RATE)
    sf.write(tmp_path / "s/loud.wav", 3e4 * voice(1.0, 5), RATE, subtype="FLOAT")
    sf.write(tmp_path / "s/huge.wav", np.full(9000, 3e38, np.float32), 44_100, subtype="FLOAT")
    with open(os.fsencode(tmp_path / "s") + b"/\xff.wav", "wb") as file:
        file.write(b"a name that is no text")
    code, text, error = invoke("build", tmp_path / "s", tmp_path / "i")
    assert code == 1
    assert "Traceback" not in error
    assert "2 added, 0 unchanged, 0 removed, 7 left out" in text + error
    for line in (
        "text.wav: left out: cannot be read as audio",
        "empty.flac: left out: ",
        "cut.flac: left out: ",
        "none.wav: left out: has no samples",
        "loud.wav: left out: is more than 40 dB above full scale",
        "huge.wav: left out: is more than 40 dB above full scale",
        "\\xff.wav: left out: cannot be read as audio",
    ):
        assert line in error.replace("\n", " ")
    assert set(all_rows(tmp_path / "i")) == {"a/0.flac", "b/1.flac"}
    facts = json.loads(invoke("info", tmp_path / "i", "--json")[1])
    assert (facts["recordings"], facts["left_out"]) == (2, 7)
    # They are tried again, and taken in once they can be read.
    (tmp_path / "s/cut.flac").write_bytes(whole)
    code, text, error = invoke("build", tmp_path / "s", tmp_path / "i")
    assert "1 added, 2 unchanged, 0 removed, 6 left out" in text + error


def test_silence_stereo_and_nan_are_taken_in(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    x = voice(3.0, 6, 44_100)
    sf.write(tmp_path / "s/silent.wav", np.zeros(2 * RATE), RATE)
    bad = np.stack([x, 0.5 * x], 1)
    bad[70_000] = np.nan, np.inf
    sf.write(tmp_path / "s/stereo.wav", bad, 44_100, subtype="FLOAT")
    assert build(tmp_path / "s", tmp_path / "i").skipped == []
    source = Index(tmp_path / "i").sources["stereo.wav"]
    assert source.conversions == [
        "resampled from 44100 to 24000 Hz",
        "2 channels averaged to one",
        "2 NaN or Inf samples set to 0",
    ]
    assert (all_rows(tmp_path / "i")["silent.wav"] < 1e-3).all()
    sf.write(tmp_path / "clip.wav", x[44_100:88_200], 44_100)
    answer = json.loads(invoke("query", tmp_path / "i", tmp_path / "clip.wav", "--json")[1])["clips"][0]
    assert (answer["matches"][0]["path"], answer["matches"][0]["sample"]) == ("stereo.wav", 44_100)


def test_what_cannot_be_built_is_said_in_one_line(tmp_path: Path) -> None:
    write_folder(tmp_path / "s", files=1, seconds=1.0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/letter.txt").write_text("dear")
    build(tmp_path / "s", tmp_path / "i")
    (tmp_path / "other").mkdir()
    for arguments, message in (
        ((tmp_path / "empty", tmp_path / "j"), "no audio files in it"),
        ((tmp_path / "nowhere", tmp_path / "j"), "there is no such folder"),
        ((tmp_path / "s/a/0.flac", tmp_path / "j"), "is a file; an index is built over a folder"),
        ((tmp_path / "s", tmp_path / "full"), "is not empty and holds no index"),
        ((tmp_path / "s", tmp_path / "i", "--hop-ms", 10), "was built with other settings: hop_ms 20.0"),
        ((tmp_path / "s", tmp_path / "j", "--hop-ms", 0), "hop_ms"),
        ((tmp_path / "s", tmp_path / "j", "--sample-rate", 10), "sample_rate"),
        ((tmp_path / "s", tmp_path / "j", "--jobs", 0), "jobs is 0; it is 1 or more"),
    ):
        code, _, error = invoke("build", *arguments)
        assert (code, error.count("\n")) == (2, 1), error
        assert message in error
        assert not (tmp_path / "j").exists()
    sf.write(tmp_path / "other/x.wav", voice(1.0, 1), RATE)
    with pytest.raises(ParameterError, match="is an index of"):
        build(tmp_path / "other", tmp_path / "i")
    with pytest.raises(AudioError, match="no audio files"):
        build(tmp_path / "empty", tmp_path / "i")
    assert len(all_rows(tmp_path / "i")) == 1


def test_two_builds_at_once_do_not_mix(tmp_path: Path) -> None:
    write_folder(tmp_path / "s", files=2, seconds=1.0)
    inner: list[str] = []

    def second(done: int, total: int, seconds: float) -> None:
        if done == 0:
            with pytest.raises(FileError) as e:
                build(tmp_path / "s", tmp_path / "i")
            inner.append(str(e.value))

    build(tmp_path / "s", tmp_path / "i", progress=second)
    assert "another build is writing to this index" in inner[0]
    assert len(all_rows(tmp_path / "i")) == 2


LONG = (
    PEAK_MIB
    + """
import sys
import numpy as np, soundfile as sf
from typer.testing import CliRunner
from cspace.cli import app
folder, index, clip = sys.argv[1:]
def run(*arguments):
    result = CliRunner().invoke(app, ["index", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout
run("build", folder, index, "--jobs", "2")
print(peak_mib())
out = run("query", index, clip, "--window", "10")
print(peak_mib())
print(run("query", index, folder + "/0.flac", "-k", "1", "--json"))
print(peak_mib())
print(out)
"""
)


@pytest.mark.heavy
def test_20_minutes_stay_below_1_gib(tmp_path: Path) -> None:
    """Two files of 20 minutes at a time, stereo at 44.1 kHz; then a clip of 10 s, and one of 20 minutes."""
    (tmp_path / "s").mkdir()
    part = voice(20.0, 4, 44_100)
    for k in range(2):
        with sf.SoundFile(tmp_path / f"s/{k}.flac", "w", 44_100, 2) as file:
            for minute in range(60):  # tiles that differ, so that there is one right answer
                tile = (0.2 + 0.8 * np.random.default_rng([k, minute]).random(400)).astype(np.float32)
                tile = part * np.interp(np.arange(len(part)), np.linspace(0, len(part), 400), tile)
                file.write(np.stack([tile, 0.5 * tile], 1))
            if k == 1:
                sf.write(tmp_path / "clip.wav", tile[44_100 : 11 * 44_100], 44_100)
    ran = subprocess.run(
        [sys.executable, "-c", LONG, tmp_path / "s", tmp_path / "i", tmp_path / "clip.wav"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    built, asked = int(lines[0]), int(lines[1])
    rest = next(int(line) for line in lines[2:] if line.isdigit())
    print(f"resident MiB: build {built}, query {asked}, 20-minute query {rest}")
    assert max(built, asked, rest) < 1024
    assert f"1.flac, sample {59 * 20 * 44_100 + 44_100} (" in ran.stdout
