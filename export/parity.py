"""Does a package sound the same everywhere? Torch, Python's onnxruntime and the engine's worker, block by block.

`cspace export check PACKAGE` prints what this measures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..modelpackage import Golden, Package, PackageError
from ..ortruntime import library
from ..plugins._errors import CspaceError
from .runner import Runner

_PATIENCE_SECONDS = 30.0

F32 = NDArray[np.float32]
Stream = Callable[[Golden], Callable[[F32], F32]]  # a fresh stream for a golden; takes hops, gives hops


@dataclass(frozen=True)
class Parity:
    """One runtime against one golden."""

    runtime: str
    golden: str
    hops: int
    worst: float  # largest difference of any sample, full scale 1.0
    worst_hop: int  # where it lies, -1 if there is none
    tolerance: float

    @property
    def ok(self) -> bool:
        """Within the golden's tolerance."""
        return self.worst <= self.tolerance  # False for NaN


def check(package: Package, runtimes: dict[str, Stream] | None = None) -> list[Parity]:
    """Every golden through every runtime, hop by hop. Raises PackageError for a package that cannot run.

    `runtimes` : by default `python` (onnxruntime) and the Rust core's, inline and on a worker; an
    exporter adds its torch module here.
    """
    chosen = runtimes if runtimes is not None else default_runtimes(package)
    found = []
    for golden in package.manifest.goldens:
        x, y = package.golden(golden)
        found += [compare(name, golden, stream(golden), x, y, package.manifest.hop) for name, stream in chosen.items()]
    return found


def compare(runtime: str, golden: Golden, step: Callable[[F32], F32], x: F32, y: F32, hop: int) -> Parity:
    """One stream of hops against what is known of it."""
    worst, where = 0.0, -1
    for i in range(0, x.shape[1], hop):
        difference = float(np.abs(step(x[:, i : i + hop]) - y[:, i : i + hop]).max(initial=0.0))
        if not difference <= worst:  # NaN counts as worst
            worst, where = difference, i // hop
    return Parity(runtime, golden.input, x.shape[1] // hop, worst, where, golden.tolerance)


def default_runtimes(package: Package) -> dict[str, Stream]:
    """The runtimes of this installation."""
    return {
        "python": lambda golden: Runner(package, **golden.parameters).step,
        "engine, offline": lambda golden: _Offline(package, golden),
        "engine, worker": lambda golden: _Worker(package, golden),
    }


def _processor(package: Package, golden: Golden) -> _native.Processor:
    m = package.manifest
    try:
        model = _native.Model(str(library()), "onnx", "", m, package.model)
    except ValueError as e:
        raise PackageError(f"{package.folder}: {e}") from None
    core = _native.Processor.of_model(model)
    core.set("spare_ms", 0.0)
    for name, value in golden.parameters.items():
        core.set(name, value)
    return core


class _Offline:
    """The engine's processor as renders use it. It is a hop late, so it runs a hop ahead of what it gives."""

    def __init__(self, package: Package, golden: Golden):
        m = package.manifest
        core = _processor(package, golden)
        core.prepare(m.sample_rate, m.hop, m.channels)
        x = package.golden(golden)[0]
        self.hop = m.hop
        self.sound = core.process(np.concatenate([x, np.zeros((m.channels, m.hop), np.float32)], axis=1))
        self.at = m.hop

    def __call__(self, hop: F32) -> F32:
        made = self.sound[:, self.at : self.at + self.hop]
        self.at += self.hop
        return made


class _Worker:
    """The engine's processor as it plays live, on its worker thread; each hop is waited for."""

    def __init__(self, package: Package, golden: Golden):
        m = package.manifest
        self.engine = _native.Engine(m.sample_rate, m.channels, m.hop)
        self.engine.live = True
        self.engine.insert(0, _processor(package, golden))
        self.hops = 0
        # With blocks of one hop and no spare time the result of a hop is heard in the next block.
        x = package.golden(golden)[0]
        self.ahead = [x[:, i : i + m.hop] for i in range(m.hop, x.shape[1], m.hop)]
        self.ahead.append(np.zeros((m.channels, m.hop), np.float32))
        self._send(x[:, : m.hop])

    def _send(self, hop: F32) -> F32:
        made = self.engine.process(np.ascontiguousarray(hop))
        self.hops += 1
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.engine.stats()["slots"][0]["hops"] < self.hops:
            if time.monotonic() > deadline:
                raise CspaceError(f"the engine's worker took longer than {_PATIENCE_SECONDS:g} s for one hop")
            time.sleep(1e-4)
        return made

    def __call__(self, hop: F32) -> F32:
        return self._send(self.ahead.pop(0))
