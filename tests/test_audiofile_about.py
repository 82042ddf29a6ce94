"""What a file holds besides its sound: kept where the output can hold it, named where it cannot."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from cspace.audiofile import Reader, Writer
from cspace.cli import app
from cspace.plugins import Gain
from cspace.realtime import Chain, render
from tests.audiofile_made import RATE, chunk, fmt, noise, pcm, read, riff

BEXT = (
    b"scene 12".ljust(256, b"\0")
    + b"recorder".ljust(32, b"\0")
    + b"REF1".ljust(32, b"\0")
    + b"2026-11-3022:00:00"
    + struct.pack("<Q", 3_600 * RATE)
    + struct.pack("<H", 2)
    + bytes(range(64))
    + struct.pack("<5h", -2300, 700, -100, -1800, -2000)
    + bytes(180)
    + b"A=PCM,F=24000,W=16,M=stereo\r\n"
)
INFO = b"INFO" + chunk(b"INAM", b"Rain\0") + chunk(b"IART", b"Nobody\0")
CUE = struct.pack("<I", 1) + struct.pack("<II4sIII", 1, 500, b"data", 0, 0, 500)
XML = b"<BWFXML><SCENE>12</SCENE></BWFXML>"
CHUNKS = {b"bext": BEXT, b"iXML": XML, b"cue ": CUE, b"LIST": INFO, b"odd.": b"abc", b"JUNK": bytes(99)}


def source(path: Path, channels: int = 2, mask: int | None = None, **options: bool) -> np.ndarray:
    """A WAV file with all of these chunks, half of them behind the sound."""
    x = noise(1000, channels)
    named = [chunk(k, v) for k, v in CHUNKS.items()] if options.get("chunks", True) else []
    path.write_bytes(riff(*named[:3], fmt(channels, mask=mask), chunk(b"data", pcm(x)), *named[3:]))
    return x


def chunks_of(path: Path) -> dict[bytes, bytes]:
    """The chunks of a WAV file, by a walk of our own; checks that the sizes are true."""
    data = path.read_bytes()
    size = struct.unpack("<I", data[4:8])[0]
    if data[:4] == b"RF64":
        size = struct.unpack("<Q", data[20:28])[0]
    assert size == len(data) - 8
    found, at = {}, 12
    while at < len(data):
        name, length = data[at : at + 4], struct.unpack("<I", data[at + 4 : at + 8])[0]
        if name == b"data" and length == 0xFFFFFFFF:
            length = struct.unpack("<Q", data[28:36])[0]
        found[name] = data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)
    assert at == len(data)
    return found


# ---- chunks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "PCM_U8"])
@pytest.mark.parametrize("suffix", ["wav", "rf64"])
@pytest.mark.parametrize("channels", [1, 2])
def test_chunks_of_a_wav_file_go_on(tmp_path: Path, suffix: str, subtype: str, channels: int) -> None:
    source(tmp_path / "in.wav", channels)
    out = tmp_path / f"out.{suffix}"
    report = render(Chain([Gain(gain_db=0.0)]), tmp_path / "in.wav", out, subtype=subtype)
    assert report.warnings == []
    found = chunks_of(out)
    for name in (b"iXML", b"cue ", b"LIST", b"odd."):
        assert found[name] == CHUNKS[name]
    assert b"JUNK" not in found or suffix == "rf64"
    bext = found[b"bext"]
    assert bext[:412] == BEXT[:412]
    assert bext[412:422] == 5 * b"\xff\x7f"  # loudness that was measured on another sound
    assert bext[422:] == BEXT[422:]
    assert len(read(out)[0]) == 1000
    with sf.SoundFile(out) as file:
        assert file.frames == 1000
        assert file.title == "Rain" or suffix == "rf64"  # there libsndfile does not look behind the sound


def test_an_odd_number_of_bytes_is_padded(tmp_path: Path) -> None:
    source(tmp_path / "in.wav", 1)
    with Reader(tmp_path / "in.wav") as file:
        about = file.about()
    for frames in (999, 1000):
        with Writer(tmp_path / "o.wav", RATE, 1, subtype="PCM_U8", about=about) as out:
            out.write(noise(frames, 1))
        assert chunks_of(tmp_path / "o.wav")[b"iXML"] == XML


def test_times_and_marks_at_another_rate(tmp_path: Path) -> None:
    source(tmp_path / "in.wav")
    with Reader(tmp_path / "in.wav") as file:
        about = file.about()
    with Writer(tmp_path / "o.wav", 2 * RATE, 2, about=about) as out:
        out.write(noise(10))
    found = chunks_of(tmp_path / "o.wav")
    assert struct.unpack_from("<Q", found[b"bext"], 338)[0] == 3_600 * 2 * RATE
    assert b"cue " not in found
    assert out.lost == ["the chunks cue cannot be written at another rate"]


@pytest.mark.parametrize("suffix", ["flac", "w64", "aiff", "caf", "ogg", "au"])
def test_chunks_that_another_format_cannot_hold_are_named(tmp_path: Path, suffix: str) -> None:
    source(tmp_path / "in.wav")
    report = render(Chain(), tmp_path / "in.wav", tmp_path / f"out.{suffix}")
    said = " ".join(report.warnings)
    assert "chunks bext, iXML, cue, odd. cannot be written to" in said
    with sf.SoundFile(tmp_path / f"out.{suffix}") as file:
        assert file.title == "Rain" or "the tags title" in said


def test_tags_of_other_formats_go_on(tmp_path: Path) -> None:
    with sf.SoundFile(tmp_path / "in.flac", "w", RATE, 2) as file:
        file.title, file.artist, file.comment = "Rain", "Nobody", "ü"
        file.write(noise(500))
    assert render(Chain(), tmp_path / "in.flac", tmp_path / "out.wav").warnings == []
    with sf.SoundFile(tmp_path / "out.wav") as file:
        assert (file.title, file.artist, file.comment) == ("Rain", "Nobody", "ü")
    warnings = render(Chain(), tmp_path / "in.flac", tmp_path / "out.au").warnings
    assert "the tags title, artist, comment cannot be written to an AU file" in warnings[0]


# ---- loudspeakers ------------------------------------------------------------------------------

MASKS = [(3, 0x7), (4, 0x33), (4, 0x107), (5, 0x37), (6, 0x3F), (6, 0x60F), (8, 0x63F), (2, 0x30), (1, 0x8)]


@pytest.mark.parametrize(("channels", "mask"), MASKS)
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_the_speaker_layout_of_a_wav_file_goes_on(tmp_path: Path, channels: int, mask: int, subtype: str) -> None:
    x = source(tmp_path / "in.wav", channels, mask)
    report = render(Chain(), tmp_path / "in.wav", tmp_path / "out.wav", subtype=subtype)
    assert report.warnings == []
    form = chunks_of(tmp_path / "out.wav")[b"fmt "]
    assert struct.unpack_from("<H", form)[0] == 0xFFFE
    assert struct.unpack_from("<I", form, 20)[0] == mask
    np.testing.assert_array_equal(read(tmp_path / "out.wav")[0], x)


@pytest.mark.parametrize(("channels", "mask"), [(1, 0x4), (2, 0x3), (6, 0)])
def test_a_layout_that_says_nothing_needs_no_word(tmp_path: Path, channels: int, mask: int) -> None:
    source(tmp_path / "in.wav", channels, mask, chunks=False)
    for suffix in ("wav", "w64", "au"):
        assert render(Chain(), tmp_path / "in.wav", tmp_path / f"out.{suffix}").warnings == []


@pytest.mark.parametrize(
    ("suffix", "mask", "kept"),
    [
        ("flac", 0x3F, True),
        ("flac", 0x60F, False),
        ("caf", 0x3F, True),
        ("caf", 0x60F, False),
        ("aiff", 0x3F, True),
        ("w64", 0x3F, False),
        ("au", 0x3F, False),
        ("ogg", 0x3F, False),
    ],
)
def test_a_layout_that_the_format_cannot_hold_is_named(tmp_path: Path, suffix: str, mask: int, kept: bool) -> None:
    source(tmp_path / "in.wav", 6, mask, chunks=False)
    out = tmp_path / f"out.{suffix}"
    said = " ".join(render(Chain(), tmp_path / "in.wav", out).warnings)
    sides = "BL BR" if mask == 0x3F else "SL SR"
    assert said == "" if kept else f"the speaker layout (L R C LFE {sides}) cannot be written to a" in said
    if kept:  # and back
        assert render(Chain(), out, tmp_path / "back.wav", subtype="PCM_16").warnings == []
        assert struct.unpack_from("<I", chunks_of(tmp_path / "back.wav")[b"fmt "], 20)[0] == mask


def test_other_commands_keep_or_name_it(tmp_path: Path) -> None:
    source(tmp_path / "in.wav", 6, 0x3F)
    done = CliRunner().invoke(app, ["codec", "encode", str(tmp_path / "in.wav"), str(tmp_path / "o.csc")])
    assert done.exit_code == 0, done.output
    assert "the speaker layout (L R C LFE BL BR) has no room in a .csc file" in done.output
    chain = tmp_path / "g.toml"
    chain.write_text('[[processor]]\ntype = "gain"\n')
    rate = ["--sample-rate", str(RATE)]
    for name, said in (("live.wav", ""), ("live.flac", "the chunks bext, iXML, cue, odd. cannot be written")):
        ports = ["-i", str(tmp_path / "in.wav"), "-o", str(tmp_path / name), "--channels", "6", "--osc-port", "0"]
        done = CliRunner().invoke(app, ["live", str(chain), *ports, *rate, "--no-view"])
        assert done.exit_code == 0, done.output
        assert said in done.output
    found = chunks_of(tmp_path / "live.wav")
    assert struct.unpack_from("<I", found[b"fmt "], 20)[0] == 0x3F
    assert (found[b"cue "], found[b"bext"][:412]) == (CUE, BEXT[:412])
