"""torch -> a model package: one hop in, one hop out, every state an input and an output of the graph."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..modelpackage import Manifest, Package, PackageError, Parameter, State, Tensor, check_graph
from ..onnxfile import OnnxError, inspect
from .package import GoldenAudio, write

if TYPE_CHECKING:
    import torch

OPSET = 18  # ONNX Runtime from 1.14 on runs it
GOLDEN_SECONDS = 0.25


class TorchStream:
    """One stream through a module, hop by hop: `forward(audio, *states, *parameters)` -> `(audio, *states)`.

    Parameters
    ----------
    module : in eval mode; takes audio [shape=(1, channels, hop)], then the states, then the parameters
        [shape=(1,)], in the manifest's order, and returns audio of the same shape and the new states
    manifest : says hop, channels, states and parameters
    """

    def __init__(self, module: torch.nn.Module, manifest: Manifest, **parameters: float):
        self.module = module
        self.manifest = manifest
        self.parameters = {p.name: p.default for p in manifest.parameters} | parameters
        self.reset()

    def reset(self) -> None:
        """Forgets all sound."""
        import torch

        self._states = [torch.zeros(s.shape) for s in self.manifest.states]

    def step(self, hop: NDArray[np.float32]) -> NDArray[np.float32]:
        """One hop [shape=(channels, hop)]."""
        import torch

        m = self.manifest
        values = [torch.full(p.shape, float(self.parameters[p.name])) for p in m.parameters]
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(hop, np.float32)).reshape(m.audio_in.shape)
            audio, *self._states = self.module(x, *self._states, *values)
        return np.asarray(audio.numpy(), np.float32).reshape(m.channels, m.hop)

    def run(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Whole hops [shape=(channels, n · hop)]."""
        hop = self.manifest.hop
        hops = [self.step(audio[:, i : i + hop]) for i in range(0, audio.shape[1], hop)]
        return np.concatenate([audio[:, :0], *hops], axis=1)


def export_stream(
    module: torch.nn.Module,
    path: str | os.PathLike[str],
    *,
    name: str,
    sample_rate: int,
    hop: int,
    states: Mapping[str, Sequence[int]],
    licence: str,
    channels: int = 1,
    latency_samples: int = 0,
    tail_samples: int = 0,
    parameters: Sequence[Parameter] = (),
    description: str = "",
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
    goldens: Sequence[NDArray[np.float32]] = (),
    tolerance: float = 1e-5,
    overwrite: bool = False,
) -> Package:
    """Exports a streaming torch module as a verified package with goldens computed by torch.

    Parameters
    ----------
    module : see `TorchStream`; weights on the CPU
    path : the folder to make
    states : name -> shape of each state, in the order of `forward`; the graph's tensors are `NAME` and
        `NAME_next`. States start at zero.
    latency_samples : delay of the output against the input when hops are joined end to end
    goldens : inputs [shape=(channels, whole hops)]; by default an impulse, then noise at two levels
    tolerance : largest difference allowed between torch and a runtime, full scale 1.0
    Other arguments stand in the manifest as they are; see `cspace.modelpackage.Manifest`.

    Raises PackageError if the graph is not a valid streaming model or differs from torch.
    """
    manifest = Manifest(
        name=name,
        sample_rate=sample_rate,
        hop=hop,
        channels=channels,
        latency_samples=latency_samples,
        tail_samples=tail_samples,
        audio_in=Tensor("audio", (1, channels, hop)),
        audio_out=Tensor("audio_next", (1, channels, hop)),
        states=tuple(State(n, f"{n}_next", tuple(shape)) for n, shape in states.items()),
        parameters=tuple(parameters),
        description=description,
        licence=licence,
        training=dict(training or {}),
        metrics=dict(metrics or {}),
        extra=dict(extra or {}),
    )
    was_training = module.training
    module.eval()
    try:
        model = to_onnx(module, manifest)
        sounds = list(goldens) or [golden_sound(manifest)]
        made = [GoldenAudio(x, TorchStream(module, manifest).run(x), tolerance) for x in sounds]
    finally:
        module.train(was_training)
    _check_parity(Package(Path(path), manifest, model), made)
    return write(path, manifest, model, goldens=made, files=files, overwrite=overwrite)


def to_onnx(module: torch.nn.Module, manifest: Manifest) -> bytes:
    """The graph as bytes, checked by the onnx package and against the manifest. Raises PackageError."""
    import onnx
    import torch

    m = manifest
    inputs = [torch.zeros(m.audio_in.shape), *(torch.zeros(s.shape) for s in m.states)]
    inputs += [torch.full(p.shape, float(p.default)) for p in m.parameters]
    in_names = [m.audio_in.name, *(s.input for s in m.states), *(p.input for p in m.parameters)]
    out_names = [m.audio_out.name, *(s.output for s in m.states)]
    with tempfile.TemporaryDirectory(prefix="cspace-export-") as folder, _quiet():
        file = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                module,
                tuple(inputs),
                str(file),
                input_names=in_names,
                output_names=out_names,
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
            )
        except Exception as e:  # the exporter's errors share no base but Exception
            raise PackageError(f"{m.name}: torch cannot export the module: {str(e).strip().splitlines()[0]}") from e
        model = onnx.load(str(file))
    try:
        onnx.checker.check_model(model, full_check=True)
        data = io.BytesIO()
        onnx.save_model(model, data)
        check_graph(m.name, m, inspect(data.getvalue()))
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, OnnxError) as e:
        raise PackageError(f"{m.name}: the exported graph is not valid: {e}") from None
    return data.getvalue()


def golden_sound(manifest: Manifest, seed: int = 20_240) -> NDArray[np.float32]:
    """An impulse and half a second of noise, loud and 60 dB quieter [shape=(channels, whole hops)]."""
    m = manifest
    hops = max(8, round(GOLDEN_SECONDS * m.sample_rate / m.hop))
    rng = np.random.default_rng(seed)
    x = np.zeros((m.channels, 3 * hops * m.hop), np.float32)
    x[:, 0] = 0.5
    loud, quiet = hops * m.hop, 2 * hops * m.hop
    x[:, loud:quiet] = rng.uniform(-0.7, 0.7, (m.channels, hops * m.hop))
    x[:, quiet:] = rng.uniform(-7e-4, 7e-4, (m.channels, hops * m.hop))
    return x


def _check_parity(package: Package, goldens: Sequence[GoldenAudio]) -> None:
    from .runner import Runner

    for golden in goldens:
        if golden.output is None:
            continue
        worst = float(np.abs(Runner(package).run(golden.input) - golden.output).max(initial=0.0))
        if not worst <= golden.tolerance:
            raise PackageError(
                f"{package.folder}: ONNX Runtime differs from torch by {worst:.3g}; {golden.tolerance:g} is allowed. "
                "Does forward depend on anything but its arguments?"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's chatter, off: what matters comes as an exception."""
    loggers = [logging.getLogger(n) for n in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for log in loggers:
            log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for log, level in zip(loggers, levels, strict=True):
                log.setLevel(level)
