"""Runs a model package with Python's onnxruntime, hop by hop: the reference of the engine's worker."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..modelpackage import Package, PackageError
from ..ortruntime import Limited, reason, require_onnxruntime, session
from ..plugins._errors import CspaceError, ParameterError, near

F32 = NDArray[np.float32]


class Runner:
    """One stream through a model. Thread: control or a worker; one at a time.

    >>> runner = Runner(read("models/one-pole"))
    >>> y = runner.run(x)  # x : float32 [shape=(channels, whole hops)]
    """

    def __init__(self, package: Package, **parameters: float):
        self.package = package
        self.manifest = package.manifest
        require_onnxruntime()
        try:
            m = self.manifest
            self._session = Limited(session(package.model), m.hop, m.sample_rate)
        except CspaceError as e:
            raise PackageError(f"{package.folder}: {e}") from None
        self.parameters = {p.name: p.default for p in self.manifest.parameters}
        self.set(**parameters)
        self.reset()

    def set(self, **parameters: float) -> None:
        """Sets parameters, for the hops to come. Raises ParameterError."""
        specs = {p.name: p for p in self.manifest.parameters}
        for name, value in parameters.items():
            if name not in specs:
                raise ParameterError(f"{self.manifest.name} has no parameter {name!r}{near(name, specs)}")
            low, high = specs[name].min, specs[name].max
            if not low <= value <= high:
                raise ParameterError(f"{self.manifest.name}.{name} = {value} is not allowed, use {low:g} to {high:g}")
            self.parameters[name] = float(value)

    def reset(self) -> None:
        """Forgets all sound."""
        self._states = {s.input: np.zeros(s.shape, np.float32) for s in self.manifest.states}

    def step(self, hop: F32) -> F32:
        """One hop [shape=(channels, hop)] through the model, states handed on."""
        m = self.manifest
        if hop.shape != (m.channels, m.hop):
            raise ParameterError(f"{m.name} takes hops of shape ({m.channels}, {m.hop}), not {hop.shape}")
        feed: dict[str, Any] = {m.audio_in.name: np.ascontiguousarray(hop, np.float32).reshape(m.audio_in.shape)}
        feed |= self._states
        feed |= {p.input: np.full(p.shape, self.parameters[p.name], np.float32) for p in m.parameters}
        wanted = [m.audio_out.name, *(s.output for s in m.states)]
        try:
            audio, *states = self._session.run(wanted, feed)
        except TimeoutError as e:
            raise PackageError(
                f"{self.package.folder}: a run of the model, {m.hop} samples, {e}; it may loop without end: mend the "
                "model, or use a smaller one"
            ) from None
        except Exception as e:  # the runtime's exceptions share no base but Exception
            raise PackageError(f"{self.package.folder}: the model fails while running: {reason(e)}") from None
        if audio.size != m.channels * m.hop:
            raise PackageError(
                f"{self.package.folder}: output {m.audio_out.name!r} came with shape {audio.shape}, "
                f"not {m.audio_out.shape}"
            )
        for s, value in zip(m.states, states, strict=True):
            if value.shape != s.shape:
                raise PackageError(
                    f"{self.package.folder}: state {s.output!r} came with shape {value.shape}, not {s.shape}"
                )
            self._states[s.input] = value
        return np.asarray(audio, np.float32).reshape(m.channels, m.hop)

    def run(self, audio: F32) -> F32:
        """Whole hops [shape=(channels, n · hop)], in one go; late by the model's `latency_samples`."""
        m = self.manifest
        if audio.ndim != 2 or audio.shape[0] != m.channels or audio.shape[1] % m.hop:
            raise ParameterError(f"{m.name} takes ({m.channels}, whole hops of {m.hop}), not {audio.shape}")
        hops = [self.step(audio[:, i : i + m.hop]) for i in range(0, audio.shape[1], m.hop)]
        return np.concatenate([audio[:, :0], *hops], axis=1)
