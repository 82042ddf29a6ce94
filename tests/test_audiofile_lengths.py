"""Files whose header has no length, or a wrong one, and files that are cut off."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from typer.testing import CliRunner

from cspace.audiofile import FileError, Reader
from cspace.cli import app
from cspace.offline.audio import load_mono
from cspace.offline.codec.data import read_crop
from cspace.offline.eq.signals import excerpts
from cspace.offline.index.clips import load_clip
from cspace.offline.index.exact import read_passage
from cspace.offline.ksom.pipeline import _length
from cspace.offline.phase0.config import Phase0Config
from cspace.offline.phase0.data import prepare
from cspace.plugins import Gain
from cspace.realtime import Chain, render
from tests.audiofile_made import RATE, chunk, fmt, noise, pcm, read, riff, written

FRAMES = 24_000


def without_length(flac: bytes) -> bytes:
    """The same FLAC file as an encoder writes it to a pipe: the total of samples in STREAMINFO is 0."""
    data = bytearray(flac)
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    return bytes(data)


# ---- no length in the header -------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_a_flac_file_without_a_length_gives_all_its_samples(tmp_path: Path, channels: int, subtype: str) -> None:
    x, path = noise(FRAMES, channels), tmp_path / "u.flac"
    path.write_bytes(without_length(written(path, x, subtype=subtype)))
    with Reader(path) as file:
        assert file.frames is None
        assert file.length() == FRAMES
        np.testing.assert_array_equal(file.read(FRAMES + 1), x)
        assert file.warnings == []
        for at in (0, 1, 4095, 4096, 17_001, FRAMES - 1, FRAMES, FRAMES + 9):
            file.seek(at)
            assert file.frames_read == min(at, FRAMES)
            np.testing.assert_array_equal(file.read(700), x[at : at + 700])


def test_a_tag_behind_a_flac_file_is_no_damage(tmp_path: Path) -> None:
    x, path = noise(), tmp_path / "t.flac"
    whole = written(path, x)
    tag = b"TAG" + b"a title".ljust(125, b"\0")
    for data in (whole + tag, without_length(whole), without_length(whole) + tag):
        path.write_bytes(data)
        y, warnings = read(path)
        np.testing.assert_array_equal(y, x)
        assert warnings == []


def streamed(kind: str, x: np.ndarray) -> bytes:
    """A file as a program writes it that cannot go back to its header."""
    data, form = pcm(x), fmt(2)
    big = x.astype(">f4").tobytes()
    return {
        "ffmpeg": riff(form, chunk(b"data", data, size=0xFFFFFFFF), size=0xFFFFFFFF),
        "gstreamer": riff(form, chunk(b"data", data, size=0), size=0),
        "sox": riff(form, chunk(b"data", data, size=0x7FFFF000), size=0x7FFFF024),
        "arecord": riff(form, chunk(b"data", data, size=0x80000000), size=0x80000024),
        "odd": riff(form, chunk(b"data", data, size=0x7FFFFFFC), size=0x80000020),
        "rf64": riff(
            chunk(b"ds64", struct.pack("<QQQI", 0, 0, 0, 0)), form, chunk(b"data", data, size=0xFFFFFFFF), name=b"RF64"
        ),
        "au": struct.pack(">4sIIIII", b".snd", 24, 0xFFFFFFFF, 6, RATE, 2) + big,
        "au0": struct.pack(">4sIIIII", b".snd", 24, 0, 6, RATE, 2) + big,
        "caf": caf(big, -1),
    }[kind]


def caf(big: bytes, size: int | None = None) -> bytes:
    """A CAF file of float32."""
    desc = struct.pack(">d4sIIIII", RATE, b"lpcm", 1, 8, 1, 2, 32)
    return (
        b"caff\0\1\0\0"
        + b"desc"
        + struct.pack(">q", len(desc))
        + desc
        + b"data"
        + struct.pack(">q", len(big) + 4 if size is None else size)
        + bytes(4)
        + big
    )


@pytest.mark.parametrize("kind", ["ffmpeg", "gstreamer", "sox", "arecord", "odd", "rf64", "au", "au0", "caf"])
def test_a_file_written_to_a_pipe_is_whole(tmp_path: Path, kind: str) -> None:
    x, path = noise(), tmp_path / "streamed"
    path.write_bytes(streamed(kind, x))
    y, warnings = read(path)
    np.testing.assert_array_equal(y, x)
    assert warnings == []
    with Reader(path) as file:
        file.seek(12_345)
        np.testing.assert_array_equal(file.read(100), x[12_345:12_445])


@pytest.mark.parametrize("command", ["render", "live", "index", "query", "encode", "analyze"])
def test_every_command_takes_a_flac_file_without_a_length(tmp_path: Path, command: str) -> None:
    sounds = tmp_path / "lib"
    sounds.mkdir()
    path, out = sounds / "u.flac", tmp_path / "out.wav"
    x = noise(RATE)
    path.write_bytes(without_length(written(path, x)))
    chain = tmp_path / "g.toml"
    chain.write_text('[[processor]]\ntype = "gain"\n')
    index = str(tmp_path / "x")
    if command == "query":
        assert CliRunner().invoke(app, ["index", "build", str(sounds), index]).exit_code == 0
    arguments = {
        "render": ["render", str(chain), str(path), str(out)],
        "live": ["live", str(chain), "-i", str(path), "-o", str(out), "--osc-port", "0", "--no-view"],
        "index": ["index", "build", str(sounds), index],
        "query": ["index", "query", index, str(path), "--start", "0.2", "--seconds", "0.7", "--window", "0.5"],
        "encode": ["codec", "encode", str(path), str(tmp_path / "o.csc")],
        "analyze": ["eq", "analyze", str(path)],
    }[command]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    if command == "render":
        np.testing.assert_array_equal(sf.read(out, dtype="float32")[0], x)


def test_the_studies_take_a_flac_file_without_a_length(tmp_path: Path) -> None:
    x, path = noise(2 * RATE, 1), tmp_path / "anna" / "u.flac"
    path.parent.mkdir()
    path.write_bytes(without_length(written(path, x)))
    np.testing.assert_array_equal(load_mono(path, RATE).samples, x[:, 0])
    np.testing.assert_array_equal(read_crop(path, RATE, 5000, 0.5), x[21_468 : 21_468 + 5000, 0])
    np.testing.assert_array_equal(read_passage(path, RATE, 30_000, 800), x[30_000:30_800, 0])
    np.testing.assert_array_equal(load_clip(path, RATE, 1.0, 0.5)[0], x[RATE : RATE + 12_000, 0])
    ((_, start, y),) = excerpts([path], 1.0, RATE)
    assert start == 0.5
    np.testing.assert_array_equal(y, x[12_000:36_000, 0])
    assert _length(path) is None
    config = Phase0Config.model_validate({"data": {"kind": "folder", "path": str(tmp_path), "min_seconds": 0.5}})
    assert [u.duration_sec for u in prepare(config).utterances] == [2.0]


# ---- cut off -----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.3, 0.77])
@pytest.mark.parametrize(
    "how",
    [
        {"format": "WAV"},
        {"format": "WAV", "subtype": "FLOAT"},
        {"format": "WAV", "subtype": "IMA_ADPCM"},
        {"format": "WAV", "endian": "BIG"},
        {"format": "WAVEX", "subtype": "PCM_24"},
        {"format": "RF64"},
        {"format": "W64"},
        {"format": "AIFF"},
        {"format": "AIFF", "endian": "LITTLE"},
        {"format": "AU"},
        {"format": "AU", "endian": "LITTLE"},
        {"format": "CAF"},
        {"format": "FLAC"},
        {"format": "OGG"},
        {"format": "OGG", "subtype": "OPUS"},
        {"format": "MP3"},
    ],
    ids=lambda how: " ".join(how.values()),
)
def test_a_cut_off_file_gives_what_is_there_and_says_so(tmp_path: Path, how: dict[str, str], share: float) -> None:
    seconds = 6 if how["format"] == "OGG" else 3
    x, path = noise(seconds * RATE), tmp_path / "cut"
    whole = written(path, x, **how)
    expected, warnings = read(path)
    assert warnings == []
    path.write_bytes(whole[: int(len(whole) * share)])
    y, warnings = read(path)
    # At least what was asked for, less the page, frame or block that was cut through: an Ogg page holds about 1 s.
    assert seconds * RATE * share - 1.3 * RATE <= len(y) < seconds * RATE
    if how["format"] != "MP3":  # its decoder looks at the frame that follows
        np.testing.assert_array_equal(y, expected[: len(y)])
    (line,) = warnings
    assert "cut off" in line or "promises 3.0" in line  # ADPCM counts whole blocks
    report = render(Chain(), path, tmp_path / "out.wav")
    assert any(line in w for w in report.warnings)


@pytest.mark.parametrize("share", [0.3, 0.77])
def test_a_cut_off_flac_file_without_a_length_says_so(tmp_path: Path, share: float) -> None:
    x, path = noise(3 * RATE), tmp_path / "cut.flac"
    whole = without_length(written(path, x))
    path.write_bytes(whole[: int(len(whole) * share)])
    y, warnings = read(path)
    assert 3 * RATE * share - 4096 <= len(y) < 3 * RATE
    np.testing.assert_array_equal(y, x[: len(y)])
    assert len(warnings) == 1
    assert "cut off or damaged after" in warnings[0]
    with Reader(path) as file:
        assert file.length() == len(y)


def test_the_length_of_a_cut_off_flac_file_is_what_is_there(tmp_path: Path) -> None:
    x, path = noise(3 * RATE), tmp_path / "cut.flac"
    whole = written(path, x)
    path.write_bytes(whole[: len(whole) // 2])
    with Reader(path) as file:
        assert file.frames == 3 * RATE
        assert RATE < file.length() < 2 * RATE
        file.seek(file.length() - 10)
        np.testing.assert_array_equal(file.read(99), x[file.length() - 10 : file.length()])


def test_sound_behind_damage_in_a_flac_file_stays_in_time(tmp_path: Path) -> None:
    x, path = noise(4 * RATE), tmp_path / "d.flac"
    whole = bytearray(written(path, x))
    middle = len(whole) // 2
    for damage in (bytes(40), b"\xff" * 40, np.random.default_rng(1).bytes(9000)):
        data = whole.copy()
        data[middle : middle + len(damage)] = damage
        path.write_bytes(data)
        y, warnings = read(path)
        assert len(y) == len(x)
        right = np.all(y == x, axis=1)
        assert right.sum() >= len(x) - 3 * 4096 - 2 * 9000
        assert np.all(y[~right] == 0.0)
        assert right[:20_000].all()
        assert right[-20_000:].all()
        assert "is damaged" in warnings[0]


@pytest.mark.parametrize("suffix", ["wav", "rf64", "w64", "flac", "aiff", "au", "caf", "ogg", "mp3"])
def test_a_file_cut_off_before_its_first_sample_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"h.{suffix}"
    whole = written(path, noise(100))
    whole_header = {"wav": 44, "rf64": 104, "w64": 104, "aiff": 54, "au": 24, "caf": 4096, "flac": 86}.get(suffix, 44)
    for kept in [*range(min(whole_header, 200)), *range(whole_header, whole_header + (1 if suffix == "flac" else 4))]:
        path.write_bytes(whole[:kept])
        with pytest.raises(FileError) as told:
            read(path)
        assert str(path) in str(told.value)


def test_a_header_alone_is_not_rendered_and_no_index_stops_at_it(tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    path, chain, out = sounds / "header.wav", tmp_path / "g.toml", tmp_path / "out.wav"
    path.write_bytes(written(path, noise())[:44])
    chain.write_text('[[processor]]\ntype = "gain"\n')
    written(sounds / "good.wav", noise(2 * RATE))
    done = CliRunner().invoke(app, ["render", str(chain), str(path), str(out)])
    assert done.exit_code == 2
    assert "header.wav: is cut off before its sound begins" in done.output
    assert not out.exists()
    done = CliRunner().invoke(app, ["index", "build", str(sounds), str(tmp_path / "x")])
    assert "header.wav" in done.output
    assert (tmp_path / "x").is_dir()
    done = CliRunner().invoke(app, ["index", "info", str(tmp_path / "x")])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("less", "line"),
    [
        (2, "ends after 23999 samples, though its header promises 24000 samples"),
        (5, "ends after 23997 samples, though its header promises 24000 samples"),
        (2 * 240, "ends after 0.990 s, though its header promises 1.000 s"),
    ],
)
@pytest.mark.parametrize("kind", ["WAV", "W64", "AIFF", "AU", "CAF"])
def test_a_few_missing_samples_are_counted(tmp_path: Path, kind: str, less: int, line: str) -> None:
    path = tmp_path / "few"
    whole = written(path, noise(FRAMES, 1), format=kind, subtype="PCM_16")
    path.write_bytes(whole[:-less])
    assert read(path)[1] == [line]


def test_less_than_one_frame_is_not_missing(tmp_path: Path) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(riff(fmt(2), chunk(b"data", pcm(noise()), size=FRAMES * 4 + 2)))
    y, warnings = read(path)
    np.testing.assert_array_equal(y, noise())
    assert warnings == []


# ---- tags in front -----------------------------------------------------------------------------


READ = """
import sys
from cspace.audiofile import FileError, Reader
for name in sys.argv[1:]:
    try:
        with Reader(name) as file:
            print(name, len(file.read(5000)))
    except FileError as e:
        print(name, "refused", e)
"""


@pytest.mark.parametrize("kind", sorted(set(sf.available_formats()) - {"RAW", "SD2"}))
def test_a_tag_in_front_of_any_format_is_passed_over(tmp_path: Path, kind: str) -> None:
    """In another process: libsndfile stayed for ever at an IFF/8SVX file behind a tag of some lengths."""
    plain = tmp_path / "plain"
    for subtype in (None, *sf.available_subtypes(kind)):
        try:
            sf.write(plain, noise(4800, 1), 8000 if kind == "WVE" else 44_100, format=kind, subtype=subtype)
        except (sf.LibsndfileError, TypeError, ValueError):
            continue
        break
    names = ["plain"]
    for length in (10, 11, 300) if kind == "MP3" else (0, 1, 2, 3, 10, 300):  # its decoder has limits of its own
        tag = b"ID3\3\0\0" + bytes([0, 0, length >> 7, length & 127]) + bytes(length)
        for many in (1, 2):
            names.append(f"{length}-{many}")
            (tmp_path / names[-1]).write_bytes(many * tag + plain.read_bytes())
    names.append("cut")
    (tmp_path / "cut").write_bytes(tag + plain.read_bytes()[:203])
    done = subprocess.run(
        [sys.executable, "-c", READ, *names], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    lines = [line.split(" ", 1)[1] for line in done.stdout.splitlines()]
    assert len(lines) == len(names)
    if kind != "HTK":  # has no mark of its own: libsndfile may not know it
        assert set(lines[:-1]) == {lines[0]}, done.stdout


# ---- chunks ------------------------------------------------------------------------------------


LIST = chunk(b"LIST", b"INFOINAM\x05\0\0\0abcde", pad=False)


@pytest.mark.parametrize(
    "data",
    [
        riff(LIST, fmt(2), chunk(b"data", pcm(noise()))),
        riff(fmt(2), LIST, chunk(b"data", pcm(noise()))),
        riff(LIST + b"\0", fmt(2), chunk(b"data", pcm(noise()))),
        riff(fmt(2), chunk(b"iXML", b"<a/>x", pad=False), chunk(b"data", pcm(noise())), LIST),
        riff(fmt(2), chunk(b"data", pcm(noise())), LIST, b"\0\1junk\xff" * 99),
        riff(fmt(2), chunk(b"data", pcm(noise()))) + b"TAG" + bytes(125),
        riff(fmt(2), chunk(b"data", pcm(noise()))) + b"\0",
    ],
    ids=["unpadded first", "unpadded", "padded", "unpadded text", "junk", "tag", "a byte"],
)
def test_chunks_around_the_sound_do_no_harm(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "c.wav"
    path.write_bytes(data)
    y, warnings = read(path)
    np.testing.assert_array_equal(y, noise())
    assert warnings == []


@pytest.mark.parametrize("frames", [1000, 1001])
def test_chunks_behind_the_sound_of_a_w64_file_are_no_sound(tmp_path: Path, frames: int) -> None:
    x, path = noise(frames, 1), tmp_path / "c.w64"
    whole = written(path, x, subtype="PCM_16", format="W64")
    marks = b"levl" + bytes.fromhex("f3acd3118cd100c04f8edb8a") + struct.pack("<Q", 24 + 1000) + b"\x55" * 1000
    path.write_bytes(whole + bytes(-len(whole) % 8) + marks)
    y, warnings = read(path)
    np.testing.assert_array_equal(y, x)
    assert warnings == []


@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_sizes_of_64_bits(tmp_path: Path, name: bytes, share: float) -> None:
    x, path = noise(), tmp_path / "long.wav"
    size = len(pcm(x))
    ds64 = chunk(b"ds64", struct.pack("<QQQI", size + 72, size, FRAMES, 0))
    head = riff(ds64, fmt(2), b"data" + struct.pack("<I", 0xFFFFFFFF), name=name, size=0xFFFFFFFF)
    path.write_bytes(head + pcm(x)[: int(size * share)])
    y, warnings = read(path)
    np.testing.assert_array_equal(y, x[: int(FRAMES * share)])
    assert warnings == ([] if share == 1.0 else ["ends after 0.500 s, though its header promises 1.000 s"])


def test_a_sound_of_no_samples_is_no_streamed_one(tmp_path: Path) -> None:
    path = tmp_path / "none.wav"
    path.write_bytes(riff(fmt(2), chunk(b"data", b""), LIST))
    assert len(read(path)[0]) == 0
    assert render(Chain([Gain()]), path, tmp_path / "out.wav").frames == 0
