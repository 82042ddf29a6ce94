"""The codec as a processor: latency as stated, quality in steps, loss, models swapped, chain files."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cspace import _native
from cspace.modelmanifest import RESERVED
from cspace.models import CODEC
from cspace.plugins import Codec, ParameterError
from cspace.realtime import Chain, chainfile

RATE = 24_000


def tones(channels: int = 1, frames: int = 24_000) -> NDArray[np.float32]:
    rng = np.random.default_rng(3)
    t = np.arange(frames) / RATE
    x = sum(0.2 / k * np.sin(2 * np.pi * 233.0 * k * t + rng.uniform(0, 6)) for k in range(1, 8))
    return (x + 0.01 * rng.standard_normal((channels, frames))).astype(np.float32)


X = tones()


def ratio_db(y: NDArray[np.float32], x: NDArray[np.float32], delay: int) -> float:
    error = y[:, delay:].astype(np.float64) - x[:, : x.shape[1] - delay]
    return float(10 * np.log10(np.sum(x.astype(np.float64) ** 2) / np.sum(error**2)))


@pytest.mark.parametrize(("model", "latency", "most_ms"), [("phase96", 128, 10.0), ("rate24", 768, 50.0)])
def test_latency_is_what_an_impulse_measures(model: str, latency: int, most_ms: float) -> None:
    codec = Codec(model)
    codec.quality = codec._params["quality"]["max"]
    assert codec.latency_samples == latency
    assert 1000 * latency / RATE <= most_ms
    x = np.zeros((1, 6000), np.float32)
    x[0, 0] = 0.5
    for wet in (1.0, 0.0):
        codec.wet = wet
        y = codec(x, RATE, compensate=False)[0]
        assert int(np.argmax(np.abs(y))) == latency
        # What rounding of codes at the highest quality leaves of a single sample: 3.8 % at rate24, a fixed model.
        assert y[latency] == pytest.approx(0.5, rel=0.05)
    live = _native.Engine(RATE, 1, 64)  # with the worker's time, at blocks of 64
    Chain([Codec(model)]).attach(live)
    assert 1000 * live.latency_samples / RATE <= most_ms


def test_more_bits_lose_less() -> None:
    found = [ratio_db(Codec("phase96", quality=q)(X, RATE), X, 0) for q in (16.0, 48.0, 96.0, 192.0)]
    assert found == sorted(found)
    assert found[0] > 5.0
    assert found[2] > 26.0
    assert found[3] - found[0] > 20.0


@pytest.mark.parametrize("level_db", [-60, -20, 6])
def test_quality_is_the_same_at_any_level(level_db: int) -> None:
    x = X * np.float32(10 ** (level_db / 20))
    assert ratio_db(Codec("phase96")(x, RATE), x, 0) == pytest.approx(
        # Steps of 0.75 dB fall otherwise.
        ratio_db(Codec("phase96")(X, RATE), X, 0),
        abs=1,
    )


@pytest.mark.parametrize("size", [1, 63, 64, 1000, 8192])
def test_blocks_do_not_matter(size: int) -> None:
    codec = Codec("phase96", quality=48.0, drop_rate=0.1, wet=0.8)
    x = X[:, :9000]
    np.testing.assert_array_equal(codec.process(x, RATE, buffer_size=size), codec(x, RATE))


def test_loss_is_concealed() -> None:
    whole = Codec("phase96")(X, RATE)
    for conceal in ("fade", "dry"):
        lost = Codec("phase96", drop_rate=0.05, conceal=conceal)(X, RATE)
        assert np.any(lost != whole)
        assert np.isfinite(lost).all()
        assert np.abs(lost).max() < 1.5 * np.abs(whole).max()


def test_presets_names_and_texts(tmp_path: Path) -> None:
    codec = Codec("phase144", wet=0.5)
    assert repr(codec) == "Codec('phase96', wet=0.5, quality=144)"
    settings = codec.to_dict()
    assert settings.pop("type") == "codec"
    assert Codec(**settings) == codec == copy.deepcopy(codec)
    assert Codec(str(CODEC / "rate24")) == Codec("rate24")
    with pytest.raises(ParameterError, match=r"codec.model = 'phase69' is not there; did you mean 'phase96'"):
        Codec("phase69")
    public = {n for n in dir(Codec) if not n.startswith("_")}
    assert public <= RESERVED
    chain = Chain([codec])
    file = tmp_path / "chain.toml"
    chainfile.save(chain, file)
    assert 'model = "phase96"' in file.read_text(encoding="utf-8")
    assert chainfile.load(file)["codec"] == codec


def test_another_model_takes_its_place() -> None:
    codec = Codec("phase96", quality=48.0, wet=0.7)
    codec.model = "rate16"
    assert codec == Codec("rate24", quality=16.0, wet=0.7)
    with pytest.raises(ParameterError, match="not there"):
        codec.model = "nothing"
    assert codec.model == "rate24"
    codec.model = "phase96"
    assert codec == Codec("phase96", wet=0.7)
