"""The index on disk: whatever happens to its files, the answer is right or one clear error."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from typer.testing import CliRunner

from cspace.cli import app
from cspace.offline.index.build import build
from cspace.offline.index.quantise import Quantiser
from cspace.offline.index.search import Searcher
from cspace.offline.index.spec import IndexSpec
from cspace.offline.index.store import MANIFEST, Index, IndexFormatError
from cspace.plugins import AudioError
from tests.offline.index_clips import F32, RATE, voice, write_folder

QUICK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module", params=["int8", "float32"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, F32]:
    """An index of two recordings beside them, and a clip of one."""
    folder = tmp_path_factory.mktemp("small")
    clips = write_folder(folder / "sounds", files=2, seconds=1.5)
    build(folder / "sounds", folder / "index", IndexSpec(dtype=request.param))
    return folder / "index", clips["a/0.flac"][6000:18_000]


def use(folder: Path, clip: F32) -> None:
    """All that a reader does."""
    index = Index(folder)
    searcher = Searcher(index, window_s=0.5, candidates=2)
    searcher.query(clip)
    assert index.seconds >= 0
    assert index.bytes >= 0


def error_of(action: Callable[[], object]) -> str | None:
    """The message of the one kind of error a damaged index may give; None if there was none."""
    try:
        action()
    except IndexFormatError as e:
        return str(e)
    return None


def with_manifest(folder: Path, target: Path, text: bytes) -> Path:
    """A copy of the index with another manifest; the recordings stay where they are."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    (target / MANIFEST).write_bytes(text)
    return target


@st.composite
def damage(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with some bytes changed, cut out, put in, or cut off."""
    kind = draw(st.sampled_from(["change", "cut", "put", "truncate"]))
    at = draw(st.integers(0, len(whole) - 1))
    some = draw(st.binary(min_size=1, max_size=8))
    if kind == "change":
        return whole[:at] + some + whole[at + len(some) :]
    if kind == "cut":
        return whole[:at] + whole[at + len(some) :]
    return whole[:at] + some + whole[at:] if kind == "put" else whole[:at]


@QUICK
@given(data=st.data())
def test_damaged_manifests_are_noticed(small: tuple[Path, F32], tmp_path: Path, data: st.DataObject) -> None:
    """Any damage to the text that changes what it says is an error, not another answer."""
    folder, _ = small
    whole = (folder / MANIFEST).read_bytes()
    text = data.draw(damage(whole))
    target = with_manifest(folder, tmp_path / "index", text)
    error = error_of(lambda: Index(target))
    if error is None:
        assert json.loads(text) == json.loads(whole)
    else:
        assert str(target / MANIFEST) in error
        assert "\n" not in error


@QUICK
@given(data=st.data())
def test_damaged_rows_are_noticed(small: tuple[Path, F32], tmp_path: Path, data: st.DataObject) -> None:
    folder, clip = small
    whole = (folder / MANIFEST).read_bytes()
    target = with_manifest(folder, tmp_path / "index", whole)
    shard = next(target.glob("rows-*.npy"))
    before = shard.read_bytes()
    after = data.draw(damage(before))
    shard.write_bytes(after)
    if after == before:
        use(target, clip)
    else:
        with pytest.raises(IndexFormatError, match=shard.name):
            use(target, clip)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where all values of a JSON document are."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(p for k, v in inner for p in places(v, (*here, k)))][bool(not here) :]


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**400), 10**400), st.floats(), st.text(max_size=8),
    st.sampled_from(["", "..", "/etc/passwd", "a/../../b", "\0", "x\0y", "\ud800", "int8", "float32", [], {}, [[]]]),
    st.integers(0, 100_000), st.floats(0.0, 1e5),
)  # fmt: skip


@QUICK
@given(data=st.data())
def test_manifests_that_do_not_fit_are_refused(small: tuple[Path, F32], tmp_path: Path, data: st.DataObject) -> None:
    """A manifest with the right checksum and other facts: refused, or consistent enough to be searched."""
    folder, clip = small
    document = json.loads((folder / MANIFEST).read_bytes())
    del document["checksum"]
    document = copy.deepcopy(document)
    *path, last = data.draw(st.sampled_from(places(document)))
    inner = document
    for key in path:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[last] = data.draw(ANYTHING)
    else:
        del inner[last]
    document["checksum"] = zlib.crc32(json.dumps(document, sort_keys=True).encode())
    target = with_manifest(folder, tmp_path / "index", json.dumps(document).encode())
    with contextlib.suppress(AudioError):  # the index may now have a rate at which the clip is too short
        assert "\n" not in (error_of(lambda: use(target, clip)) or "")


def test_another_version_and_no_index_at_all(small: tuple[Path, F32], tmp_path: Path) -> None:
    folder, _ = small
    document = json.loads((folder / MANIFEST).read_bytes())
    cases = {
        "has schema version 2; this version of cspace reads 1": {**document, "schema_version": 2},
        "is not the manifest of a search index": {**document, "kind": "model"},
        "is not the manifest": [],
        "its checksum is wrong": {**document, "root": "elsewhere"},
    }
    sf.write(tmp_path / "clip.wav", voice(1.0, 3), RATE)
    for message, changed in cases.items():
        target = with_manifest(folder, tmp_path / "index", json.dumps(changed).encode())
        result = CliRunner().invoke(app, ["index", "query", str(target), str(tmp_path / "clip.wav")])
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert message in result.stderr
        assert str(target) in result.stderr
    for name, message in (("nowhere", "there is no such index"), (".", "is not an index")):
        result = CliRunner().invoke(app, ["index", "info", str(tmp_path / name)])
        assert (result.exit_code, message in result.stderr) == (2, True)


def test_lost_rows_are_named_and_mended(small: tuple[Path, F32], tmp_path: Path) -> None:
    folder, clip = small
    target = folder.parent / "mended"
    for spoil in (lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:-1]), lambda p: p.write_bytes(b"no")):
        with_manifest(folder, target, (folder / MANIFEST).read_bytes())
        spoil(next(target.glob("rows-*.npy")))
        with pytest.raises(IndexFormatError, match="cspace index build mends it"):
            Index(target)
        report = build(folder.parent / "sounds", target)
        assert (report.added, report.unchanged) == (2, 0)
        use(target, clip)
        assert len(list(target.glob("rows-*.npy"))) == 1
    shutil.rmtree(target)


def test_info_checks_everything(small: tuple[Path, F32], tmp_path: Path) -> None:
    folder, _ = small
    assert "all checksums are right" in CliRunner().invoke(app, ["index", "info", str(folder), "--check"]).stdout
    target = with_manifest(folder, tmp_path / "index", (folder / MANIFEST).read_bytes())
    shard = next(target.glob("rows-*.npy"))
    bits = bytearray(shard.read_bytes())
    bits[-1] ^= 1
    shard.write_bytes(bits)
    assert CliRunner().invoke(app, ["index", "info", str(target)]).exit_code == 0
    result = CliRunner().invoke(app, ["index", "info", str(target), "--check"])
    assert (result.exit_code, "its checksum is wrong" in result.stderr) == (2, True)


# ---- quantiser --------------------------------------------------------------------------------

FINITE = st.floats(-15_000, 15_000, width=32)


@settings(deadline=None)
@given(values=hnp.arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 6)), elements=FINITE))
def test_codes_are_within_half_a_step(values: F32) -> None:
    q = Quantiser.fit(values)
    codes = q.quantise(values)
    assert codes.dtype == np.int8
    assert (q.scale > 0).all()
    error = np.abs(q.dequantise(codes).astype(float) - values)
    # Half a step, and what rounding the product to float32 adds.
    assert (error <= 0.5 * q.step + np.abs(values) * 2.0**-23 + 1e-30).all()
    assert np.array_equal(q.quantise(q.dequantise(codes)), codes)


@settings(deadline=None)
@given(values=hnp.arrays(np.float32, (12, 3), elements=FINITE), seed=st.integers(0, 99))
def test_steps_are_no_wider_than_the_range_needs(values: F32, seed: int) -> None:
    q = Quantiser.fit(values)
    span = values.max(0).astype(float) - values.min(0)
    resolved = np.abs(values).max(0) * 2.0**-21 + 2.0**-23
    assert (q.step <= span / 253 + resolved).all()
    beyond = values + np.float32(1e6) * np.random.default_rng(seed).choice([-1, 1], values.shape).astype(np.float32)
    assert set(np.unique(q.quantise(beyond))) <= {-128, 127}


def test_values_that_cannot_be_quantised() -> None:
    with pytest.raises(AudioError, match="NaN or Inf"):
        Quantiser.fit(np.array([[np.nan]], np.float32))
    with pytest.raises(AudioError, match="too far apart"):
        Quantiser.fit(np.array([[-1e9], [1e9]], np.float32))
