"""Arrays in `.npy` files: no more is reserved than the file holds, and nothing is unpickled."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest

from cspace.arrayfile import parse_npy, read_npy
from cspace.offline.phase0.store import EncoderInfo, Latents, LatentStore
from cspace.plugins._errors import FileError
from cspace.realtime import chainfile
from cspace.realtime.errors import ChainFileError


def header(text: str, version: tuple[int, int] = (1, 0), body: bytes = b"") -> bytes:
    """A .npy file with this header."""
    line = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes(version) + len(line).to_bytes(2 if version == (1, 0) else 4, "little") + line + body


def claims(dtype: str, shape: str) -> str:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 4), (2, 0, 5), (70_000,)])
def test_what_numpy_writes_is_read(tmp_path: Path, shape: tuple[int, ...], order: str) -> None:
    for dtype in (np.float32, np.int8, ">f8", bool):
        x = np.asarray(np.arange(int(np.prod(shape))).reshape(shape), dtype, order=order)  # type: ignore[call-overload]
        np.save(tmp_path / "a.npy", x)
        y = read_npy(tmp_path / "a.npy")
        np.testing.assert_array_equal(x, y)
        assert y.dtype == x.dtype
        if x.size:
            np.testing.assert_array_equal(x, read_npy(tmp_path / "a.npy", mmap_mode="r"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(claims("<f4", "(9895604649984,)"), body=bytes(64)), "claims 39582418599936 bytes"),
        (header(claims("<f8", "(3000000, 3000000)"), body=bytes(64)), "cut off or damaged"),
        (header(claims("<f4", f"({2**62}, 4)")), "cut off or damaged"),
        (header(claims("<f4", f"({2**40},)"), (2, 0)), "cut off or damaged"),
        (header(claims("<f4", "(-1, 4)")), "claims the shape"),
        (header(claims("|S1000000000", "(1000,)")), "cut off or damaged"),
        (header(claims("|O", "(1,)"), body=b"cos\nsystem\n(S'echo'\ntR."), "Python objects"),
        (header(claims("<f4", "(4,)"), body=bytes(15)), "claims 16 bytes of numbers .* the file holds 15"),
        (header("{'descr': "), "is not a .npy file"),
        (header(claims("<f4", "(1,)"), (9, 0)), "is not a .npy file"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "is not a .npy file"),
        (b"", "is not a .npy file"),
        (b"PK\x03\x04", "is not a .npy file"),
    ],
)
def test_other_files_are_refused_before_anything_is_reserved(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "w.npy"
    path.write_bytes(data)
    with pytest.raises(FileError, match=message):
        read_npy(path)
    with pytest.raises(FileError, match=message):
        read_npy(path, mmap_mode="r")
    with pytest.raises(FileError, match=rf"^golden: .*{message}"):
        parse_npy(data, "golden")


def test_an_array_of_a_chain_file_is_read_so(tmp_path: Path) -> None:
    chain = tmp_path / "c.toml"
    chain.write_text('[[processor]]\ntype = "esn"\nw_out = "w.npy"\n')
    (tmp_path / "w.npy").write_bytes(header(claims("<f4", "(9895604649984,)")))
    with pytest.raises(ChainFileError, match=r"c\.toml, line 3: w_out: .*w\.npy: is cut off or damaged"):
        chainfile.load(chain)
    (tmp_path / "w.npy").unlink()
    os.mkfifo(tmp_path / "w.npy")
    with pytest.raises(ChainFileError, match="is a pipe"):
        chainfile.load(chain)


def test_an_array_of_latents_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    info = EncoderInfo(name="e", note="", dim=4, frame_rate_hz=10.0, hop=800, sample_rate=8000, fingerprint="f")
    store = LatentStore.create(tmp_path, info)
    good = Latents(np.ones((9, 4), np.float32), np.ones(9, np.float32), np.arange(9.0), "s")
    store.write("u", good)
    np.testing.assert_array_equal(LatentStore(tmp_path, info).read("u").x, good.x)
    for shape, chunks in (((10**12, 4), (4096, 4)), ((10**12, 4), (10**12, 4)), ((4, 10**12), (4, 10**12))):
        folder = str(next((tmp_path / "latents.zarr").glob("u")))
        zarr.create(shape, chunks=chunks, dtype="f4", store=folder, path="x", overwrite=True)
        with pytest.raises(FileError, match="claims"):
            LatentStore(tmp_path, info).read("u")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", ["(3L,)", "(9L,)"])
def test_a_header_made_by_python_2_needs_no_warning(tmp_path: Path, shape: str) -> None:
    data = header(claims("<f4", shape), body=np.arange(3, dtype="<f4").tobytes())
    (tmp_path / "a.npy").write_bytes(data)
    for read in (
        lambda: read_npy(tmp_path / "a.npy"),
        lambda: read_npy(tmp_path / "a.npy", mmap_mode="r"),
        lambda: parse_npy(data, "x"),
    ):
        if shape == "(3L,)":
            np.testing.assert_array_equal(read(), [0, 1, 2])
        else:
            with pytest.raises(FileError, match="is cut off or damaged"):
                read()


def test_pickled_bytes_are_not_run(tmp_path: Path) -> None:
    held = io.BytesIO()
    np.save(held, np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(FileError, match="Python objects"):
        parse_npy(held.getvalue(), "x")
