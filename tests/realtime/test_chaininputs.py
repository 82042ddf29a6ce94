"""No output takes the place of a file that the chain is made from: impulse response, model, plugin, array."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from cspace.plugins import Esn, Gain
from cspace.realtime import Chain, Stream, chainfile, render
from cspace.realtime.chaininputs import inputs_of
from cspace.realtime.errors import FileError


class Model:
    """As a hosted model has its package."""

    def __init__(self, package: Path):
        self.package = package

    def process(self, *_: Any, **__: Any) -> None: ...
    def reset(self) -> None: ...


@pytest.fixture
def source(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "in.wav", np.zeros(100), 48_000)
    return tmp_path / "in.wav"


def refused(chain: Chain, source: Path, target: Path, file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(FileError, match=r"is the input .*itself, which would be lost"):
        render(chain, source, target)
    with pytest.raises(FileError, match=r"is the input .*itself, which would be lost"):
        Stream(chain, input=source, output=target)
    assert file.read_bytes() == before


def test_an_impulse_response_is_an_input(tmp_path: Path, source: Path) -> None:
    pedalboard = pytest.importorskip("pedalboard")
    soundfile.write(tmp_path / "ir.wav", np.ones(10), 48_000)
    (tmp_path / "c.toml").write_text(
        "[[processor]]\ntype = 'pedalboard'\nclass = 'Convolution'\nimpulse_response = 'ir.wav'\n"
    )
    os.link(tmp_path / "ir.wav", tmp_path / "same.wav")
    chain = chainfile.load(tmp_path / "c.toml")
    for name in ("ir.wav", "same.wav"):
        refused(chain, source, tmp_path / name, tmp_path / "ir.wav")
    inner = Chain([pedalboard.Chain([pedalboard.Convolution(str(tmp_path / "ir.wav"))])])
    refused(inner, source, tmp_path / "ir.wav", tmp_path / "ir.wav")
    later = Chain([Gain()])
    stream = Stream(later, input="null", output=tmp_path / "ir.wav")
    later.append(chain[0])  # between the making of a stream and its start
    with pytest.raises(FileError, match="is the input"):
        stream.open()


def test_all_of_a_package_and_the_arrays_beside_a_chain_file_are_inputs(tmp_path: Path, source: Path) -> None:
    package = tmp_path / "package"
    (package / "deep").mkdir(parents=True)
    (package / "deep" / "model.onnx").write_bytes(b"model")
    (tmp_path / "out.wav").symlink_to(package / "deep" / "model.onnx")
    refused(Chain([Model(package)]), source, tmp_path / "out.wav", package / "deep" / "model.onnx")
    rng = np.random.default_rng(0)
    net = Chain([Esn.from_matrices(rng.standard_normal((20, 20)), rng.standard_normal(20), 0.5)])
    chainfile.save(net, tmp_path / "net.toml")
    (array,) = tmp_path.glob("*.npy")
    (tmp_path / "array.wav").symlink_to(array)
    chain = chainfile.load(tmp_path / "net.toml")
    assert inputs_of(chain) == [tmp_path / "net.toml", array]
    refused(chain, source, tmp_path / "array.wav", array)
    refused(chain, source, tmp_path / "array.wav", tmp_path / "net.toml")
