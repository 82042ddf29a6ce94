"""The echo state network against reservoirpy with the same matrices, over one second of sound."""

import warnings

import numpy as np
import pytest

from cspace.plugins import Esn
from cspace.realtime.clip import clip

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    reservoirpy = pytest.importorskip("reservoirpy")
    from reservoirpy.nodes import Reservoir

RATE = 48_000


@pytest.mark.parametrize(("nodes", "density", "leak"), [(100, 0.1, None), (100, 0.1, 0.3), (500, 0.02, None)])
def test_states_equal_reservoirpy(nodes: int, density: float, leak: float | None) -> None:
    rng = np.random.default_rng(11)
    w = np.where(rng.random((nodes, nodes)) < density, rng.uniform(-1, 1, (nodes, nodes)), 0.0)
    w *= 0.95 / np.max(np.abs(np.linalg.eigvals(w)))
    # Both see the same numbers: what float32 holds.
    w = w.astype(np.float32).astype(np.float64)
    w_in = rng.uniform(-1, 1, nodes).astype(np.float32).astype(np.float64)
    rates = np.geomspace(1e-4, 1.0, nodes).astype(np.float32).astype(np.float64) if leak is None else leak
    u = clip(6.0, RATE)[0, 5 * RATE :].copy()

    theirs = Reservoir(units=nodes, W=w, Win=w_in[:, None], bias=np.zeros(nodes), lr=rates)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(theirs.run(u[:, None].astype(np.float64)))
    esn = Esn.from_matrices(w, w_in, rates)
    got = esn.states(u, RATE)
    assert got.shape == expected.shape == (RATE, nodes)
    error = float(np.max(np.abs(got - expected)))
    print(f"N = {nodes}: largest difference {error:.1e}, largest state {np.max(np.abs(expected)):.2f}")
    # float32 sums of up to 1000 nodes against float64, inside tanh, forgotten by leaks: 9e-8 seen.
    assert error <= 1e-5
    assert esn.achieved_radius() == pytest.approx(0.95, rel=1e-4)


def test_readout_is_the_linear_map_of_the_states() -> None:
    esn = Esn(nodes=50, seed=3, mode="readout", wet=1.0)
    u = clip(1.0, RATE)[0]
    assert esn.fit_readout(u, np.concatenate([[0.0], u[:-1]]), RATE, ridge=1e-9) < 0.1
    s = esn.states(u, RATE).astype(np.float64)
    expected = esn.w_out[0] + s @ esn.w_out[1:].astype(np.float64)
    scale = 1.0 + np.abs(s) @ np.abs(esn.w_out[1:].astype(np.float64))
    # 2⁻²⁴ of the sum of magnitudes, once for each of two roundings; 7e-8 seen.
    assert np.max(np.abs(esn(u, RATE) - expected) / scale) < 1e-6
    np.testing.assert_array_equal(esn.states(u, RATE)[-1], esn.tap("state"))


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"esn\.w must have shape"):
        Esn.from_matrices(np.zeros((3, 4)), np.zeros(3))
    esn = Esn.from_matrices(np.zeros((3, 3)), np.zeros(4))
    with pytest.raises(ValueError, match="`w_in` has 4 numbers; 3 are needed"):
        esn(np.zeros(10, np.float32), RATE)
    with pytest.raises(ValueError, match="target has 9 samples"):
        Esn(nodes=4).fit_readout(np.zeros(10, np.float32), np.zeros(9), RATE)
