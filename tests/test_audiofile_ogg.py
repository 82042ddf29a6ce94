"""Chained Ogg files: one after another, as radio recordings are and `cat` makes them; and audio that is no file."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from cspace.audiofile import FileError, Reader
from cspace.realtime import Chain, render
from tests.audiofile_made import RATE, noise, read

KINDS = [{"format": "OGG"}, {"format": "OGG", "subtype": "OPUS"}]


def ogg(path: Path, seconds: float, channels: int = 2, rate: int = RATE, seed: int = 0, **how: str) -> np.ndarray:
    """Writes an Ogg file; gives what it decodes to."""
    t = np.arange(round(seconds * rate)) / rate
    x = 0.3 * np.sin(2 * np.pi * (300 + 100 * seed) * t)[:, None] * np.linspace(1.0, 0.5, channels)
    sf.write(path, x, rate, **how)
    return sf.read(path, dtype="float32", always_2d=True)[0]


@pytest.mark.parametrize("how", KINDS, ids=["vorbis", "opus"])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_all_links_of_one_kind_are_read(tmp_path: Path, how: dict[str, str], count: int) -> None:
    parts = [ogg(tmp_path / f"{k}.ogg", 0.3 + 0.2 * k, seed=k, **how) for k in range(count)]
    path = tmp_path / "chain.ogg"
    path.write_bytes(b"".join((tmp_path / f"{k}.ogg").read_bytes() for k in range(count)))
    x = np.concatenate(parts)
    y, warnings = read(path)
    np.testing.assert_array_equal(y, x)
    assert warnings == []
    with Reader(path) as file:
        assert file.frames == len(x)
        for at in (0, len(parts[0]) - 1, len(parts[0]), len(parts[0]) + 5, len(x) - 1, len(x)):
            file.seek(at)
            assert file.frames_read == at
        file.seek(len(parts[0]))
        np.testing.assert_array_equal(file.read(100), parts[1][:100])
    assert render(Chain(), path, tmp_path / "out.wav").frames == len(x)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"channels": 1}, "number 2 (1 channels at 24000 Hz)"),
        ({"rate": 48_000}, "number 2 (2 channels at 48000 Hz)"),
        ({"rate": 8_000, "channels": 1}, "number 2 (1 channels at 8000 Hz)"),
        ({"channels": 4}, "number 2 (4 channels at 24000 Hz)"),
        ({"format": "OGG", "subtype": "OPUS", "rate": 48_000}, "number 2 (2 channels at 48000 Hz)"),
    ],
)
def test_links_of_other_kinds_are_converted_and_named(tmp_path: Path, second: dict, said: str) -> None:
    first = ogg(tmp_path / "a.ogg", 0.5, format="OGG")
    other = ogg(tmp_path / "b.ogg", 0.5, seed=1, **({"format": "OGG"} | second))
    path = tmp_path / "chain.ogg"
    path.write_bytes(b"".join((tmp_path / n).read_bytes() for n in ("a.ogg", "b.ogg", "a.ogg")))
    y, warnings = read(path)
    assert warnings == [
        "is a chain of 3 Ogg files; converted to the first's 2 channels at 24000 Hz: " + said,
    ]
    # Half a second each; a resampler may round a frame.
    assert abs(len(y) - 3 * len(first)) <= 2
    np.testing.assert_array_equal(y[: len(first)], first)
    np.testing.assert_array_equal(y[-len(first) :], first)
    middle = y[len(first) : -len(first)]
    assert np.sqrt(np.mean(middle[:, 0] ** 2)) == pytest.approx(np.sqrt(np.mean(other[:, 0] ** 2)), rel=0.02)
    with Reader(path) as file:
        file.seek(len(y) - 50)
        np.testing.assert_array_equal(file.read(99), first[-50:])
        file.seek(len(first) + 1000)
        np.testing.assert_allclose(file.read(100), middle[1000:1100], atol=1e-6)  # the resampler starts anew


def test_a_link_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    first = ogg(tmp_path / "a.ogg", 0.5, format="OGG")
    page = b"OggS\0\2" + bytes(8) + struct.pack("<III", 7, 0, 0) + b"\1\x08\x80theora "
    page += page[:5] + b"\4" + page[6:]
    (tmp_path / "c.ogg").write_bytes((tmp_path / "a.ogg").read_bytes() + page + (tmp_path / "a.ogg").read_bytes())
    y, warnings = read(tmp_path / "c.ogg")
    np.testing.assert_array_equal(y, np.concatenate([first, first]))
    assert len(warnings) == 1
    assert "is a chain of 3 Ogg files; left out: number 2 (cannot be read as audio" in warnings[0]


def test_garbage_between_and_behind_links_does_no_harm(tmp_path: Path) -> None:
    first = ogg(tmp_path / "a.ogg", 0.5, format="OGG")
    whole = (tmp_path / "a.ogg").read_bytes()
    for data, count in (
        (whole + b"junk" * 999, 1),
        (whole + bytes(70_000) + whole, 2),
        (whole + b"TAG" + bytes(125), 1),
    ):
        (tmp_path / "c.ogg").write_bytes(data)
        y, warnings = read(tmp_path / "c.ogg")
        assert len(y) == count * len(first)
        assert warnings == []


def test_the_last_link_cut_off(tmp_path: Path) -> None:
    sf.write(tmp_path / "a.ogg", noise(6 * RATE), RATE)
    first = sf.read(tmp_path / "a.ogg")[0]
    whole = (tmp_path / "a.ogg").read_bytes()
    (tmp_path / "c.ogg").write_bytes(whole + whole[: len(whole) // 2])
    y, warnings = read(tmp_path / "c.ogg")
    assert len(first) < len(y) < 2 * len(first)
    assert len(warnings) == 1
    assert "is cut off after" in warnings[0]


# ---- what is no file ---------------------------------------------------------------------------


def test_pipes_and_devices_are_no_audio_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.wav")
    (tmp_path / "z.wav").symlink_to("/dev/zero")
    (tmp_path / "l.wav").symlink_to("l.wav")
    (tmp_path / "d.wav").mkdir()
    for name, said in (
        ("p.wav", "is a pipe"),
        ("z.wav", "is a device"),
        ("d.wav", "is a folder"),
        ("l.wav", "Too many levels"),
        ("no.wav", r"no such file; did you mean 'l\.wav'|did you mean"),
        ("d.wav/x.wav", "no such file"),
        ("a\0b.wav", "is not a file name"),
    ):
        with pytest.raises(FileError, match=said):
            Reader(tmp_path / name)


def test_names_that_are_no_text_are_opened(tmp_path: Path) -> None:
    for name in (b"caf\xe9.wav", b"\xff\xfe.flac", "ü\n.wav".encode()):
        path = os.fsdecode(os.path.join(os.fsencode(tmp_path), name))
        sf.write(os.fsencode(path), noise(), RATE, format="FLAC" if name.endswith(b"flac") else "WAV")
        with Reader(path) as file:
            assert len(file.read(99_999)) == 24_000
        assert render(Chain(), path, tmp_path / "o.wav").frames == 24_000
