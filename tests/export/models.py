"""Tiny streaming models made by code, as ONNX bytes with their manifests. No weights, no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cspace.export.package import GoldenAudio, Manifest, Package, Parameter, State, Tensor, write

F32 = np.float32


def _value(name: str, shape: Sequence[int]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def model_bytes(
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[int]],
    outputs: dict[str, Sequence[int]],
    constants: dict[str, Any] | None = None,
) -> bytes:
    graph = helper.make_graph(
        list(nodes),
        "tiny",
        [_value(n, s) for n, s in inputs.items()],
        [_value(n, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def manifest(name: str, hop: int, channels: int = 1, **more: Any) -> Manifest:
    base = Manifest(
        name=name,
        sample_rate=48_000,
        hop=hop,
        channels=channels,
        latency_samples=0,
        audio_in=Tensor("audio", (channels, hop)),
        audio_out=Tensor("audio_out", (channels, hop)),
        licence="MIT",
    )
    return replace(base, **more)


def fir(taps: Sequence[float], hop: int = 64, channels: int = 1, latency: int = 0) -> tuple[Manifest, bytes]:
    """y[n] = sum of taps[k] x[n − k], the last samples kept as a state."""
    history = len(taps) - 1
    weight = np.asarray(taps, F32)[::-1].reshape(1, 1, -1)
    data = model_bytes(
        [
            helper.make_node("Concat", ["history", "audio"], ["long"], axis=1),
            helper.make_node("Unsqueeze", ["long", "one"], ["batch"]),
            helper.make_node("Conv", ["batch", "weight"], ["conv"]),
            helper.make_node("Squeeze", ["conv", "one"], ["audio_out"]),
            helper.make_node("Slice", ["long", "from", "to", "one"], ["history_next"]),
        ],
        {"audio": (channels, hop), "history": (channels, history)},
        {"audio_out": (channels, hop), "history_next": (channels, history)},
        {
            "weight": weight,
            "one": np.array([1], np.int64),
            "from": np.array([hop], np.int64),
            "to": np.array([hop + history], np.int64),
        },
    )
    state = State("history", "history_next", (channels, history))
    return manifest("fir", hop, channels, states=(state,), latency_samples=latency), data


def one_pole(pole: float = 0.9, hop: int = 64) -> tuple[Manifest, bytes]:
    """y[n] = drive · x[n] + pole · y[n − 1] as a lower triangular matrix; `drive` is a parameter."""
    i = np.arange(hop)
    matrix = np.where(i[:, None] >= i[None, :], pole ** np.maximum(i[:, None] - i[None, :], 0), 0.0).astype(F32)
    data = model_bytes(
        [
            helper.make_node("Mul", ["audio", "drive"], ["driven"]),
            helper.make_node("MatMul", ["driven", "matrix"], ["forced"]),
            helper.make_node("Mul", ["last", "decay"], ["free"]),
            helper.make_node("Add", ["forced", "free"], ["audio_out"]),
            helper.make_node("Slice", ["audio_out", "from", "to", "one"], ["last_next"]),
        ],
        {"audio": (1, hop), "last": (1, 1), "drive": (1,)},
        {"audio_out": (1, hop), "last_next": (1, 1)},
        {
            "matrix": matrix.T.copy(),
            "decay": (pole ** (i + 1)).astype(F32).reshape(1, hop),
            "from": np.array([hop - 1], np.int64),
            "to": np.array([hop], np.int64),
            "one": np.array([1], np.int64),
        },
    )
    drive = Parameter("drive", "drive", 0.0, 2.0, 1.0, doc="Level into the filter.")
    return manifest("one-pole", hop, states=(State("last", "last_next", (1, 1)),), parameters=(drive,)), data


def swap(hop: int = 64) -> tuple[Manifest, bytes]:
    """Stereo: left and right change places. No state."""
    data = model_bytes(
        [helper.make_node("Gather", ["audio", "order"], ["audio_out"], axis=0)],
        {"audio": (2, hop)},
        {"audio_out": (2, hop)},
        {"order": np.array([1, 0], np.int64)},
    )
    return manifest("swap", hop, 2), data


def dense(hop: int, width: int, seed: int = 0) -> tuple[Manifest, bytes]:
    """Two hidden layers over the last and this hop, random weights: as much work as a small codec."""
    rng = np.random.default_rng(seed)

    def weight(rows: int, columns: int) -> Any:
        return rng.normal(0.0, rows**-0.5, (rows, columns)).astype(F32)

    data = model_bytes(
        [
            helper.make_node("Concat", ["last", "audio"], ["both"], axis=1),
            helper.make_node("MatMul", ["both", "w1"], ["h1"]),
            helper.make_node("Tanh", ["h1"], ["a1"]),
            helper.make_node("MatMul", ["a1", "w2"], ["h2"]),
            helper.make_node("Tanh", ["h2"], ["a2"]),
            helper.make_node("MatMul", ["a2", "w3"], ["audio_out"]),
            helper.make_node("Identity", ["audio"], ["last_next"]),
        ],
        {"audio": (1, hop), "last": (1, hop)},
        {"audio_out": (1, hop), "last_next": (1, hop)},
        {"w1": weight(2 * hop, width), "w2": weight(width, width), "w3": weight(width, hop)},
    )
    return manifest(f"dense-{width}", hop, states=(State("last", "last_next", (1, hop)),)), data


def endless(hop: int = 64, after: int = 0) -> tuple[Manifest, bytes]:
    """Gives its input for `after` hops; then a Loop turns 2^62 times, which is for ever."""
    tensor = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["still"]), helper.make_node("Mul", ["kept", "level"], ["next"])],
        "turn",
        [
            tensor("turn_number", TensorProto.INT64, []),
            tensor("go_on", TensorProto.BOOL, []),
            tensor("kept", TensorProto.FLOAT, [1, hop]),
        ],
        [tensor("still", TensorProto.BOOL, []), tensor("next", TensorProto.FLOAT, [1, hop])],
        [numpy_helper.from_array(np.asarray(1.0, F32), "level")],
    )
    data = model_bytes(
        [
            helper.make_node("Greater", ["count", "after"], ["is_late"]),
            helper.make_node("Squeeze", ["is_late", "axes"], ["late"]),
            helper.make_node("Where", ["late", "many", "none"], ["turns"]),
            helper.make_node("Loop", ["turns", "true", "audio"], ["audio_out"], body=body),
            helper.make_node("Add", ["count", "one"], ["count_next"]),
        ],
        {"audio": (1, hop), "count": (1, 1)},
        {"audio_out": (1, hop), "count_next": (1, 1)},
        {
            "after": np.array([[after - 0.5]], F32),
            "axes": np.array([0, 1], np.int64),
            "many": np.array(2**62, np.int64),
            "none": np.array(0, np.int64),
            "true": np.array(True),
            "one": np.array([[1.0]], F32),
        },
    )
    return manifest("endless", hop, states=(State("count", "count_next", (1, 1)),)), data


def noise(channels: int, frames: int, seed: int = 3) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (channels, frames)).astype(F32)


def package(folder: Path, made: tuple[Manifest, bytes], **more: Any) -> Package:
    """The model written to a folder, with a golden made by the Python runtime."""
    m, data = made
    more.setdefault("goldens", [GoldenAudio(noise(m.channels, 20 * m.hop))])
    return write(folder, m, data, **more)
