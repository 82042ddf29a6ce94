"""What is written: an input is never harmed, links and modes stay, a file is there whole or not at all."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from cspace.audiofile import Writer
from cspace.offline.codec.codec import load as load_codec
from cspace.offline.codec.files import decode_file, encode_file
from cspace.offline.eq.study import render as render_eq
from cspace.outputs import protected, settled
from cspace.plugins import CSpace, Gain
from cspace.plugins._adaptive.curve import FLAT
from cspace.plugins._errors import FileError, near
from cspace.realtime import Chain, Stream, render
from cspace.realtime.chainfile import ChainFileError
from cspace.realtime.chainfile import load as load_chain
from cspace.realtime.chainfile import save as save_chain
from cspace.realtime.presets import Presets
from cspace.wholefile import whole, write_text

RATE = 48_000


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "in.wav"
    sf.write(path, np.full((4800, 1), 0.25, np.float32), RATE, subtype="FLOAT")
    return path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def hidden(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.name.startswith(".")]


def write_sound(path: Path) -> None:
    with Writer(path, RATE, 1) as file:
        file.write(np.full((100, 1), 0.5, np.float32))


def write_chain(path: Path) -> None:
    save_chain(Chain([Gain(gain_db=-3.0)]), path)


def write_page(path: Path) -> None:
    write_text(path, "new\n")


WAYS: list[tuple[Callable[[Path], None], str]] = [(write_sound, "x.wav"), (write_chain, "x.toml"), (write_page, "x.md")]
each_way = pytest.mark.parametrize(("write", "name"), WAYS, ids=[w.__name__ for w, _ in WAYS])


# ---- an input is never an output -------------------------------------------------------------


def spellings(wav: Path) -> list[Path]:
    """The same file by other names: another way round, links, a hard link, a linked folder."""
    folder = wav.parent
    (folder / "link.wav").symlink_to("in.wav")
    (folder / "link2.wav").symlink_to("link.wav")
    os.link(wav, folder / "hard.wav")
    (folder / "sub").mkdir()
    (folder / "there").symlink_to(folder)
    names = (
        "in.wav",
        "./in.wav",
        "sub/../in.wav",
        "link.wav",
        "link2.wav",
        "hard.wav",
        "there/in.wav",
        "there/hard.wav",
    )
    return [folder / n for n in names]


def test_no_function_takes_its_input_as_output(wav: Path) -> None:
    before = wav.read_bytes()
    codec = load_codec("phase96")
    csc = wav.with_suffix(".csc")
    encode_file(codec, wav, csc)
    coded = csc.read_bytes()
    for target in spellings(wav):
        for act in (
            lambda t=target: render(Chain([Gain()]), wav, t),
            lambda t=target: Stream(Chain([Gain()]), input=wav, output=t),
            lambda t=target: Stream(Chain([Gain()]), input=str(wav), output=str(t)),
            lambda t=target: render_eq(wav, t, FLAT, 0.0),
        ):
            with pytest.raises(FileError, match="is the input"):
                act()
    named_wav = csc.with_name("coded.wav")
    csc.rename(named_wav)
    with pytest.raises(FileError, match="is the input"):
        decode_file(codec, named_wav, named_wav)
    with pytest.raises(FileError, match=r"\.csc"):
        encode_file(codec, wav, wav.with_name("b.wav"))
    os.link(wav, wav.with_name("same.csc"))
    with pytest.raises(FileError, match="is the input"):
        encode_file(codec, wav, wav.with_name("same.csc"))
    assert wav.read_bytes() == before
    assert named_wav.read_bytes() == coded
    assert not hidden(wav.parent)


def test_any_of_several_inputs_is_refused(wav: Path) -> None:
    other = wav.with_name("other.wav")
    other.write_bytes(wav.read_bytes())
    with pytest.raises(FileError, match=r"other\.wav: is the input"):
        settled(other, inputs=[wav, None, other])
    assert settled(wav.with_name("new.wav"), inputs=[wav, other]).name == "new.wav"


def test_another_file_of_the_same_sound_is_no_input(wav: Path) -> None:
    copy = wav.with_name("copy.wav")
    copy.write_bytes(wav.read_bytes())
    render(Chain([Gain(gain_db=-6.0)]), wav, copy)
    assert abs(float(sf.read(copy)[0][0]) - 0.25 * 10 ** (-6 / 20)) < 1e-6  # one rounding to float32


# ---- links, modes, attributes ----------------------------------------------------------------


@each_way
def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    (tmp_path / "far").mkdir()
    real, link, second = tmp_path / "far" / name, tmp_path / name, tmp_path / f"second{name}"
    real.write_bytes(b"old")
    link.symlink_to(Path("far") / name)
    second.symlink_to(link)
    write(second)
    assert second.is_symlink()
    assert link.is_symlink()
    assert not real.is_symlink()
    assert real.read_bytes() not in (b"old", b"")
    assert not hidden(tmp_path) + hidden(tmp_path / "far")


@each_way
def test_a_dangling_link_gets_its_file(tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    link = tmp_path / name
    link.symlink_to(f"later-{name}")
    write(link)
    assert link.is_symlink()
    assert (tmp_path / f"later-{name}").stat().st_size > 0


@each_way
def test_a_link_to_itself_is_told(tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    (tmp_path / name).symlink_to(f"b{name}")
    (tmp_path / f"b{name}").symlink_to(name)
    with pytest.raises((FileError, ChainFileError), match="leads back to itself"):
        write(tmp_path / name)


@each_way
@pytest.mark.parametrize("bits", [0o600, 0o640, 0o444, 0o755, 0o666])
def test_a_replaced_file_hands_on_its_mode(tmp_path: Path, write: Callable[[Path], None], name: str, bits: int) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    path.chmod(bits)
    write(path)
    assert mode(path) == bits
    assert path.read_bytes() != b"old"


@each_way
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_a_new_file_has_the_mode_of_new_files(
    tmp_path: Path, write: Callable[[Path], None], name: str, umask: int
) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / name)
    finally:
        os.umask(before)
    assert mode(tmp_path / name) == 0o666 & ~umask


def test_a_writer_that_makes_its_file_anew_changes_no_mode(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    with whole(path) as part:
        part.unlink()
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))
    assert mode(path) == 0o666 & ~_umask()


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


@each_way
def test_extended_attributes_and_groups_are_handed_on(tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.comment", b"take 3")
    except OSError:
        pytest.skip("this file system has no attributes")
    write(path)
    assert os.getxattr(path, "user.comment") == b"take 3"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_is_handed_on(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"old")
    os.chown(path, 1234, 2345)
    write_sound(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


@each_way
def test_other_names_of_a_hard_link_keep_the_old_content(
    tmp_path: Path, write: Callable[[Path], None], name: str
) -> None:
    path, other = tmp_path / name, tmp_path / "other"
    path.write_bytes(b"old")
    os.link(path, other)
    write(path)
    assert other.read_bytes() == b"old"
    assert path.read_bytes() != b"old"


# ---- places that take no file ----------------------------------------------------------------


@each_way
def test_what_is_no_place_for_a_file(tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    (tmp_path / "folder" / name).mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"x")
    os.mkfifo(tmp_path / f"pipe{name}")
    (tmp_path / f"null{name}").symlink_to("/dev/null")
    for path, words in (
        (tmp_path / "folder" / name, "is a folder"),
        (tmp_path / "file" / name, "is a file, not a folder"),
        (tmp_path / "file" / "deep" / name, "is a file, not a folder"),
        (tmp_path / f"pipe{name}", "is a pipe"),
        (tmp_path / f"null{name}", "is a device"),
        (tmp_path / ("n" * 300 + name), "too long"),
        (tmp_path / f"a\0{name}", "no file name may hold"),
    ):
        with pytest.raises((FileError, ChainFileError), match=words):
            write(path)
    assert (tmp_path / "file").read_bytes() == b"x"


@each_way
def test_the_longest_name_is_one(tmp_path: Path, write: Callable[[Path], None], name: str) -> None:
    path = tmp_path / ("n" * (255 - len(name)) + name)
    write(path)
    assert path.stat().st_size > 0
    accents = tmp_path / ("é" * 120 + name)  # 2 bytes each
    write(accents)
    assert accents.stat().st_size > 0
    assert not hidden(tmp_path)


def test_a_name_of_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"take\xff\xfe.wav")
    write_sound(path)
    assert os.listdir(os.fsencode(tmp_path)) == [b"take\xff\xfe.wav"]
    write_text(tmp_path / "page.txt", f"{path.name}\n")
    assert (tmp_path / "page.txt").read_text() == "take\\udcff\\udcfe.wav\n"


# ---- the hidden file -------------------------------------------------------------------------


@pytest.mark.parametrize("name", [".show.toml.part", ".show.part.toml", ".show.toml.0.part"])
def test_a_link_laid_in_wait_is_not_written_through(tmp_path: Path, name: str) -> None:
    victim, presets = tmp_path / "victim.txt", tmp_path / "presets"
    presets.mkdir()
    victim.write_text("precious\n")
    (presets / name).symlink_to(victim)
    Presets(presets).save("show", Chain([Gain(gain_db=-7.0)]))
    assert victim.read_text() == "precious\n"
    assert load_chain(presets / "show.toml")["gain"].gain_db == -7.0
    assert (presets / name).is_symlink()


def test_arrays_beside_a_chain_are_not_written_through_links(tmp_path: Path) -> None:
    victim = tmp_path / "victim.txt"
    victim.write_text("precious\n")
    plugin = CSpace()
    plugin.band_gain_db = np.linspace(-3.0, 3.0, plugin.bands if hasattr(plugin, "bands") else 96)
    for name in (".c.cspace.band_gain_db.npy.part", ".c.toml.part"):
        (tmp_path / name).symlink_to(victim)
    save_chain(Chain([plugin]), tmp_path / "c.toml")
    assert victim.read_text() == "precious\n"


@each_way
def test_an_error_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, write: Callable[[Path], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises((FileError, ChainFileError), match=r"No space left|disk is full"):
        write(path)
    assert path.read_bytes() == b"old"
    assert not hidden(tmp_path)


# ---- write protection ------------------------------------------------------------------------


def test_write_protection_counts_for_root_too(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    assert protected(path) is None
    path.write_bytes(b"old")
    assert protected(path) is None
    for bits in (0o444, 0o400, 0o000, 0o555):
        path.chmod(bits)
        assert f"(mode {bits:04o})" in str(protected(path))
        assert "chmod u+w" in str(protected(path))


def test_a_protected_preset_stays(tmp_path: Path) -> None:
    presets = Presets(tmp_path)
    path = presets.save("show", Chain([Gain(gain_db=-1.0)]))
    path.chmod(0o444)
    before = path.read_bytes()
    with pytest.raises(ChainFileError, match="write-protected"):
        presets.save("show", Chain([Gain(gain_db=-2.0)]))
    assert path.read_bytes() == before


def test_render_tells_that_it_replaced_a_protected_file(wav: Path) -> None:
    target = wav.with_name("out.wav")
    target.write_bytes(b"old")
    target.chmod(0o444)
    report = render(Chain([Gain()]), wav, target)
    assert any("write-protected" in w for w in report.warnings)
    assert mode(target) == 0o444


# ---- suggestions and numbers in messages -----------------------------------------------------


def test_the_refused_name_is_never_suggested() -> None:
    assert near("gain", ["gain"]) == ""
    assert near("gain", ["gain", "again"]) == "; did you mean 'again'?"
    assert near("gian", ["gain"]) == "; did you mean 'gain'?"
    assert near("", [""]) == ""


def test_a_preset_that_is_a_folder_is_not_suggested(tmp_path: Path, wav: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ChainFileError) as caught:
        Presets(tmp_path).load("folder")
    assert "did you mean 'folder'" not in str(caught.value)
    with pytest.raises(ValueError, match="band_gain_db") as told:
        render(Chain([CSpace()]), wav, wav.with_name("o.wav"), automation=[(0, "cspace.band_gain_db", 0)])
    assert "did you mean 'band_gain_db'" not in str(told.value)


@pytest.mark.parametrize(
    ("value", "shown"), [(24.0001, "24.0001"), (24.000004, "24.000004"), (-120.00003, "-120.00003"), (25.0, "25 ")]
)
def test_a_refused_number_is_told_from_its_limit(value: float, shown: str) -> None:
    with pytest.raises(ValueError, match=r"-120 to 24 dB") as caught:
        Gain(gain_db=value)
    assert f"gain_db = {shown}" in str(caught.value)


def test_a_refused_rate_is_told_from_its_limit(wav: Path) -> None:
    with pytest.raises(ValueError, match=r"7999\.9999 Hz is not allowed, use 8000 to 192000 Hz"):
        render(Chain([]), wav, wav.with_name("o.wav"), sample_rate=7999.9999)
