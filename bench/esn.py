"""Echo state network against reservoirpy, with the same matrices and the same input."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cspace import _native

from .common import Row, race

CASES = [
    # nodes, density, topology, steps, target
    (100, 0.10, "random", 20_000, 50.0),
    (1000, 0.01, "random", 4_000, 10.0),
    (1000, 0.10, "random", 2_000, 2.5),
    (1000, 0.10, "blocks", 2_000, 8.0),
    # no target: what the structured option brings where the random one misses its target
    (100, 0.10, "blocks", 20_000, None),
    (1000, 0.01, "blocks", 4_000, None),
]


def block_matrix(rng: np.random.Generator, nodes: int, density: float) -> np.ndarray:
    """Non-zeros in runs of eight rows that share a column: the structure `blocks` stores."""
    mask = rng.random((-(-nodes // 8), nodes)) < density
    return rng.uniform(-1, 1, (nodes, nodes)) * np.repeat(mask, 8, axis=0)[:nodes]


def matrices(nodes: int, density: float, topology: str) -> tuple[np.ndarray, np.ndarray]:
    """A float32 recurrent matrix of true spectral radius 0.9, and input weights."""
    rng = np.random.default_rng(1)
    if topology == "blocks":
        w = block_matrix(rng, nodes, density)
    else:
        w = rng.uniform(-1, 1, (nodes, nodes)) * (rng.random((nodes, nodes)) < density)
    w *= 0.9 / np.abs(np.linalg.eigvals(w)).max()
    return w.astype(np.float32), rng.uniform(-1, 1, nodes).astype(np.float32)


def run(quick: bool) -> Iterator[Row]:
    import scipy.sparse as sp
    from reservoirpy.nodes import Reservoir

    rounds = 3 if quick else 7
    for nodes, density, topology, steps, target in CASES:
        w, w_in = matrices(nodes, density, topology)
        leak = np.full(nodes, 0.3, np.float32)
        esn = _native.Processor("esn")
        for name, value in {"nodes": nodes, "density": density}.items():
            esn.set(name, value)
        choices = next(p["choices"] for p in esn.info["params"] if p["name"] == "topology")
        esn.set("topology", choices.index(topology))
        for name, data in {"w": w, "w_in": w_in, "leak": leak}.items():
            esn.set_array(name, data)
        esn.prepare(48_000.0, 64, 1)
        u = np.random.default_rng(2).uniform(-0.5, 0.5, (1, steps)).astype(np.float32)
        rival = Reservoir(
            units=nodes, W=sp.csr_array(w.astype(np.float64)), Win=w_in[:, None].astype(np.float64), lr=0.3
        )
        rival_u = u.T.astype(np.float64)
        states = rival.run(rival_u)
        esn.reset()
        esn.process(u)
        worst = float(np.abs(esn.tap("state") - states[-1]).max())
        esn_call = lambda esn=esn, u=u: esn.process(u)  # noqa: E731
        result = race(esn_call, lambda r=rival, u=rival_u: r.run(u), work=(steps, steps), rounds=rounds)
        yield Row(
            bench="esn",
            what=f"N = {nodes}, {density:.0%} dense, {topology}",
            unit="ns/step",
            ours=result.ours,
            rival_name="reservoirpy",
            rival=result.rival,
            ratio=result.ratio,
            spread=result.spread,
            target="" if target is None else f">= {target:g}x",
            met=None if target is None else result.ratio >= target,
            how=f"{result.how}; states differ by {worst:.1e} after {steps} steps",
        )
