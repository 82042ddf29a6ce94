"""The echo state network of the studies: the Rust one, made from the settings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ..plugins._errors import ParameterError
from .config import EsnSpec

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def network(spec: EsnSpec) -> _native.EsnAnalysis:
    """The network at rest; `achieved_radius` tells the largest eigenvalue modulus of its W.

    Raises ParameterError for what the core cannot hold.
    """
    try:
        return _native.EsnAnalysis(
            spec.nodes, spec.density, spec.spectral_radius, spec.seed, spec.leak_low, spec.leak_high
        )
    except (ValueError, OverflowError) as e:
        raise ParameterError(f"esn: {e}") from None


def reference_states(esn: _native.EsnAnalysis, x: F64, start: F64 | None = None) -> F64:
    """States by the equation in float64, with the very weights of `esn`, several sounds at once.

    s ← s + leak ∘ (tanh(w_in x + W s) − s)

    Parameters
    ----------
    x : sounds [shape=(samples, sounds)]
    start : states before the first sample [shape=(N, sounds)]; None for 0

    Returns
    -------
    states after each sample [shape=(samples, N, sounds)]
    """
    w, w_in, leak = (np.asarray(a, np.float64) for a in (esn.w, esn.w_in[:, None], esn.leak[:, None]))
    s = np.zeros((len(esn), x.shape[1])) if start is None else start.astype(np.float64)
    out = np.empty((len(x), *s.shape))
    for t, u in enumerate(x):
        s = s + leak * (np.tanh(w_in * u + w @ s) - s)
        out[t] = s
    return out
