"""Does a package sound the same everywhere? Torch, Python's onnxruntime and the engine's worker, block by block.

`cspace export check PACKAGE` prints what this measures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..modelpackage import Golden, Package
from .runner import Runner

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

    `runtimes` : by default `python` (onnxruntime) and `engine` (the worker's model in the Rust core); an
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
    return {"python": lambda golden: Runner(package, **golden.parameters).step}
