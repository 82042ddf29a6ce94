"""Hosted models live: on the file device and through JACK they give what a render gives."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from bench.jackd import available
from cspace import _native
from cspace.plugins import CspaceError, Gain, OnnxStream
from cspace.realtime import Chain, Stream, render
from cspace.realtime.clip import clip
from cspace.realtime.control import Control
from tests.export import models
from tests.waiting import until

RATE = 48_000


@pytest.fixture
def fir(tmp_path: Path) -> Path:
    return models.package(tmp_path / "fir", models.fir([0.5, -0.25, 0.125], 64)).folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    sf.write(tmp_path / "in.wav", clip(2.0).T, RATE, subtype="FLOAT")
    return tmp_path / "in.wav"


# 200 ms: this machine may be busy with anything, and a late hop would be concealed, as it should be.
@pytest.mark.parametrize(("block", "hop"), [(64, 64), (128, 100), (100, 480)])
def test_file_device_equals_the_render(source: Path, tmp_path: Path, block: int, hop: int) -> None:
    package = models.package(tmp_path / "p", models.fir([0.5, -0.25, 0.125], hop)).folder
    chain = Chain([OnnxStream(package, spare_ms=200.0, wet=0.8, drop_rate=0.05), Gain(gain_db=-3.0)])
    for _ in range(5):
        with Stream(chain, input=source, output=tmp_path / "out.wav", block=block) as stream:
            assert stream.wait(60)
            stats = stream.stats()
        if stats["engine"]["slots"][0]["late_hops"] == 0:
            break
    render(chain, source, tmp_path / "rendered.wav")
    live, _ = sf.read(tmp_path / "out.wav", dtype="float32")
    offline, _ = sf.read(tmp_path / "rendered.wav", dtype="float32")
    slot = stats["engine"]["slots"][0]
    assert stats["latency_samples"] == _native.hosted_latency(hop, block, round(0.2 * RATE))
    assert slot["hops"] >= 2 * RATE // hop - 1
    assert slot["dropped_hops"] > 0
    assert live.shape == offline.shape
    assert slot["late_hops"] == 0, "five times in a row"
    np.testing.assert_array_equal(live, offline)


def test_a_rendered_file_is_moved_back_by_the_latency(source: Path, tmp_path: Path, fir: Path) -> None:
    render(Chain([OnnxStream(fir)]), source, tmp_path / "out.wav")
    y, _ = sf.read(tmp_path / "out.wav", dtype="float32")
    x, _ = sf.read(source, dtype="float32")
    expected = 0.5 * x[2:] - 0.25 * x[1:-1] + 0.125 * x[:-2]
    # Three products in float32, added in ONNX Runtime's order.
    np.testing.assert_allclose(y[2:], expected, atol=1e-6)


def test_swaps_and_refusals_while_it_plays(source: Path, tmp_path: Path, fir: Path) -> None:
    other = models.package(tmp_path / "other", models.one_pole()).folder
    chain = Chain([OnnxStream(fir)])
    with Stream(chain, input=source, output=tmp_path / "out.wav", loop=True, block=64) as stream:
        control = Control(chain, stream.engine)
        until(lambda: stream.engine.stats()["slots"][0]["hops"] > 0)
        before = stream.engine.stats()["slots"][0]["hops"]
        chain["onnx"].package = other
        control.set("onnx", "drive", 0.5)  # as OSC does
        with pytest.raises(CspaceError, match="no such folder"):
            chain["onnx"].package = tmp_path / "nowhere"
        with pytest.raises(CspaceError, match="use 0 to 2"):
            control.set("onnx", "drive", 5.0)
        assert {k["name"] for k in control.knobs("onnx")} >= {"wet", "conceal", "drop_rate", "drive"}
        until(lambda: stream.engine.stats()["slots"][0]["hops"] > before + 100)  # counts go on over the swap
        chain["onnx"].spare_ms = 10.0
        assert stream.engine.latency_samples == _native.hosted_latency(64, 64, 480)
        chain.append(OnnxStream(fir, wet=0.5))
        time.sleep(0.2)
        del chain["onnx2"]
        time.sleep(0.1)
        stats = stream.stats()["engine"]
        assert stats["panics"] == 0
        assert [s["faults"] for s in stats["slots"]] == [0]
    y, _ = sf.read(tmp_path / "out.wav", dtype="float32")
    assert np.isfinite(y).all()


def test_an_engine_with_a_model_inline_is_not_driven_by_a_device(fir: Path) -> None:
    engine = _native.Engine(RATE, 2, 64)
    engine.insert(0, OnnxStream(fir)._build())
    with pytest.raises(RuntimeError, match="an audio thread would have to"):
        engine.attach()


def undisturbed(*arguments: str) -> dict[str, Any]:
    """A run through JACK's dummy server, again where JACK missed a block or the worker a hop: both change the sound."""
    from tests.realtime.test_jack import scenario

    for _ in range(5):
        r = scenario(*arguments, timeout=120)
        print(json.dumps(r))
        assert r["done"]
        if r["gaps"] == 0 and r["late_hops"] == 0:
            break
    return r


@pytest.mark.skipif(not available(), reason="needs jackd (apt install jackd2)")
@pytest.mark.skipif(importlib.util.find_spec("jack") is None, reason="needs JACK-Client")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("period", [64, 128])
def test_jack_equals_the_render(tmp_path: Path, period: int) -> None:
    from tests.realtime.jack_peer import signal
    from tests.realtime.jack_scenario import SPARE_MS, model_chain
    from tests.realtime.test_jack import mostly_in_order, places

    seconds = 5.0
    r = undisturbed("model", "--period", str(period), "--seconds", str(seconds), "--out", str(tmp_path))
    assert r["hops"] >= seconds * RATE / 64
    live = _native.hosted_latency(64, period, round(SPARE_MS * 1e-3 * RATE))
    assert r["latency"] == live
    with np.load(tmp_path / "peer.npz") as data:
        y = data["y"][:, : int(data["blocks"]) * period]
    chain = model_chain(tmp_path)
    x = signal(seconds)
    fed = np.concatenate([x, np.zeros((2, live), np.float32)], axis=1)
    offline = chain.process(fed, RATE, compensate=False)
    # Live it is late by the buffering too.
    whole = np.concatenate([np.zeros((2, live - 64), np.float32), offline], axis=1)[:, : x.shape[1]]
    assert mostly_in_order(places(np.ascontiguousarray(whole), y, period))


@pytest.mark.skipif(not available(), reason="needs jackd (apt install jackd2)")
@pytest.mark.skipif(importlib.util.find_spec("jack") is None, reason="needs JACK-Client")
@pytest.mark.timeout(300)
def test_the_codec_through_jack_equals_the_render(tmp_path: Path) -> None:
    from tests.realtime.jack_peer import signal
    from tests.realtime.jack_scenario import SPARE_MS, codec_chain
    from tests.realtime.test_jack import mostly_in_order, places

    rate, period, seconds = 24_000, 64, 3.0
    r = undisturbed("codec", "--period", str(period), "--seconds", str(seconds), "--out", str(tmp_path))
    buffered = _native.hosted_latency(64, period, round(SPARE_MS * 1e-3 * rate))
    assert r["latency"] == buffered + 64  # the model looks one frame ahead
    with np.load(tmp_path / "peer.npz") as data:
        y = data["y"][:, : int(data["blocks"]) * period]
    x = signal(seconds)
    fed = np.concatenate([x, np.zeros((2, buffered), np.float32)], axis=1)
    offline = codec_chain().process(fed, rate, compensate=False)
    whole = np.concatenate([np.zeros((2, buffered - 64), np.float32), offline], axis=1)[:, : x.shape[1]]
    assert mostly_in_order(places(np.ascontiguousarray(whole), y, period))
