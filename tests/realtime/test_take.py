"""A take between two of its steps: interrupted, in another's way, on a disk that fills up or stands still."""

import os
import resource
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from cspace.audiofile import About, Take, TakeError, Writer
from cspace.plugins import Gain
from cspace.realtime import Chain, Stream
from cspace.realtime.errors import DeviceError
from cspace.realtime.filedevice import FileDevice

RATE = 48_000
SOUND = np.full((RATE, 2), 0.1, np.float32)
CHUNKS = [(b"bext", b"A" * 602), (b"iXML", b"z" * 4000)]


def about(**more: Any) -> About:
    return About(chunks=list(CHUNKS), sample_rate=RATE, **more)


def test_a_disk_that_fills_up_within_a_chunk_leaves_the_sound_as_it_was(tmp_path: Path) -> None:
    take = Take(tmp_path / "take.wav", RATE, 2, about=about())
    take.write(SOUND)
    room = os.fstat(take._fd).st_size + 2000  # for one chunk and a half
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(TakeError, match=r"1\.00 s are kept"):
            take.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    np.testing.assert_array_equal(sf.read(tmp_path / "take.wav", dtype="float32")[0], SOUND)


def test_a_finish_that_was_interrupted_writes_each_chunk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Take(tmp_path / "take.wav", RATE, 2, about=about())
    take.write(SOUND)
    ordinary, calls = os.fsync, []

    def once(fd: int) -> None:
        ordinary(fd)
        calls.append(fd)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", once)
    with pytest.raises(KeyboardInterrupt):
        take.finish()
    take.finish()
    data = (tmp_path / "take.wav").read_bytes()
    assert [data.count(name) for name, _ in CHUNKS] == [1, 1]
    np.testing.assert_array_equal(sf.read(tmp_path / "take.wav", dtype="float32")[0], SOUND)


def test_two_takes_of_one_name_are_both_kept(tmp_path: Path) -> None:
    first, second = (Take(tmp_path / "take.wav", RATE, 2) for _ in range(2))
    first.write(SOUND)
    second.write(SOUND[:100])
    first.finish()
    with pytest.raises(TakeError, match=r"another file came there meanwhile; this recording is in .*recovered"):
        second.finish()
    assert sf.info(tmp_path / "take.wav").frames == RATE
    (other,) = tmp_path.glob("take (*.wav")
    assert sf.info(other).frames == 100
    assert not list(tmp_path.glob(".*part*"))


def test_a_take_that_replaces_an_older_one_still_does(tmp_path: Path) -> None:
    sf.write(tmp_path / "take.wav", SOUND[:10], RATE)
    with Take(tmp_path / "take.wav", RATE, 2) as take:
        take.write(SOUND)
    assert sf.info(tmp_path / "take.wav").frames == RATE
    assert os.listdir(tmp_path) == ["take.wav"]


def test_a_start_that_fails_leaves_the_older_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("take.wav", "in.wav"):
        sf.write(tmp_path / name, SOUND, RATE)

    def refuses(_: FileDevice) -> None:
        raise DeviceError("does not start")

    monkeypatch.setattr(FileDevice, "start", refuses)
    with pytest.raises(DeviceError):
        Stream(Chain([Gain()]), input=tmp_path / "in.wav", output=tmp_path / "take.wav").open()
    assert sf.info(tmp_path / "take.wav").frames == RATE
    assert sorted(os.listdir(tmp_path)) == ["in.wav", "take.wav"]


def test_a_flush_that_fails_loses_no_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Take(tmp_path / "take.wav", RATE, 2)
    take.write(SOUND)
    take._synced -= 10

    def fails(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fails)
    take.write(SOUND)
    assert take.error is not None
    assert (take.frames_written, take.frames_lost) == (2 * RATE, 0)


def test_a_take_with_a_speaker_layout_keeps_its_header_up_to_date(tmp_path: Path) -> None:
    """It is WAVE_FORMAT_EXTENSIBLE then, which libsndfile calls by another name."""
    take = Take(tmp_path / "take.wav", RATE, 6, about=about(layout=(2, 3, 4, 11, 9, 10)))
    take.write(np.full((RATE, 6), 0.1, np.float32))
    take._synced -= 10
    take.write(np.full((RATE, 6), 0.1, np.float32))
    with sf.SoundFile(os.fspath(take._part)) as so_far:
        assert so_far.frames == 2 * RATE
    take.finish()
    assert sf.info(tmp_path / "take.wav").frames == 2 * RATE


def test_a_disk_that_stands_still_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sf.write(tmp_path / "in.wav", SOUND, RATE)
    ordinary, stuck, go = Writer.write, threading.Event(), threading.Event()

    def slow(self: Writer, x: np.ndarray) -> None:
        if self.frames_written > 2000:
            stuck.set()
            assert go.wait(60)
        ordinary(self, x)

    monkeypatch.setattr(Writer, "write", slow)
    monkeypatch.setattr("cspace.realtime.transfer.JOIN_S", 0.1)
    stream = Stream(Chain([Gain()]), input=tmp_path / "in.wav", output=tmp_path / "take.wav", loop=True).open()
    assert stuck.wait(60)
    while (played := stream.engine.sample_time) < RATE:
        stream.wait(0.05)
    closing = threading.Thread(target=stream.close)
    closing.start()
    closing.join(1.0)  # far longer than the patience with the other threads
    assert closing.is_alive()
    go.set()
    closing.join(60)
    assert sf.info(tmp_path / "take.wav").frames >= played
