"""Leaky echo state network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _native
from ._audio import as_audio, check_rate
from ._base import NativePlugin
from ._errors import ParameterError

_PIECE = 1024  # samples run between two readings of the state tap


class Esn(NativePlugin, native="esn"):
    """A leaky echo state network [1]_: a fixed random network whose state remembers the sound.

    s ← s + a ∘ (tanh(w_in u + W s) − s) at every sample, where u is the mean of the channels times
    `input_scale`. Leak rates a are spaced evenly in the logarithm from `leak_min` (node 0, slowest)
    to `leak_max`. W is drawn from `seed`, sparse, and scaled so that its largest eigenvalue has the
    modulus `spectral_radius`, computed, not guessed; `achieved_radius()` tells what came out.

    `mode` says what is heard: "analyse" the input, "readout" the linear readout `w_out` (bias first,
    then one weight per node), "texture" a random projection of the state. Tap `state`: the N nodes.

    >>> from cspace.plugins import Esn
    >>> esn = Esn(nodes=100, spectral_radius=0.9, seed=7)
    >>> u = x[0]
    >>> error = esn.fit_readout(u, np.roll(u, 1), sample_rate=48_000)  # learn to remember one sample
    >>> y = esn(x, sample_rate=48_000)

    .. [1] H. Jaeger, "The echo state approach to analysing and training recurrent neural networks",
       GMD report 148 (2001); leaky units: H. Jaeger et al., Neural Networks 20 (2007), p. 335.
    """

    nodes: int
    density: float
    spectral_radius: float
    seed: int
    leak_min: float
    leak_max: float
    topology: str
    input_scale: float
    mode: str
    wet: float
    w: Any
    w_in: Any
    leak: Any
    w_out: Any

    @classmethod
    def from_matrices(cls, w: Any, w_in: Any, leak: Any = 1.0, w_out: Any = None, **settings: Any) -> Esn:
        """A network with given weights, used as they are (no rescaling).

        Parameters
        ----------
        w : recurrent weights [shape=(N, N)], row i feeds node i; a scipy.sparse matrix is taken too
        w_in : input weights [shape=(N,)]
        leak : leak rates per sample, 0 to 1 [shape=(N,) or one number]
        w_out : readout, bias first [shape=(N + 1,)], or None
        """
        dense = np.asarray(w.toarray() if hasattr(w, "toarray") else w, dtype=np.float32)
        if dense.ndim != 2 or dense.shape[0] != dense.shape[1]:
            raise ParameterError(f"esn.w must have shape (N, N), not {dense.shape}")
        n = dense.shape[0]
        rates = np.broadcast_to(np.asarray(leak, np.float32).ravel(), (n,)) if np.size(leak) == 1 else leak
        arrays = {"w": dense, "w_in": np.ravel(w_in), "leak": rates}
        if w_out is not None:
            arrays["w_out"] = np.ravel(w_out)
        return cls(nodes=n, **arrays, **settings)

    def achieved_radius(self) -> float:
        """Largest eigenvalue modulus of W as it runs."""
        self._prepared(*(self._core_spec or (48_000.0, 1)))
        return float(self.tap("achieved_radius")[0])

    def states(self, audio: Any, sample_rate: float) -> NDArray[np.float32]:
        """Every state for an input from silence: float32 [shape=(frames, nodes)].

        audio : floating point [shape=(frames,) or (channels, frames)], mean of the channels is heard
        """
        x, _ = as_audio(audio)
        engine = _native.Engine(check_rate(sample_rate), x.shape[0], _PIECE)
        tap = engine.subscribe(engine.insert(0, self._build()), "state", 1)
        out = np.empty((x.shape[1], self.nodes), np.float32)
        got = 0
        for i in range(0, x.shape[1], _PIECE):
            engine.process(np.ascontiguousarray(x[:, i : i + _PIECE]))
            values = tap.read()[1]
            out[got : got + len(values)] = values
            got += len(values)
        if got != x.shape[1]:
            raise RuntimeError(f"{x.shape[1] - got} states were lost on the way")
        return out

    def fit_readout(
        self, audio: Any, target: Any, sample_rate: float, *, ridge: float = 1e-6, washout: int | None = None
    ) -> float:
        """Trains `w_out` by ridge regression so that the readout of `audio` is `target`.

        Parameters
        ----------
        audio : floating point [shape=(frames,) or (channels, frames)]
        target : [shape=(frames,)], the sample wanted at the same time
        ridge : weight of the penalty on the weights (not the bias), relative to the mean square of
            the states
        washout : first samples left out, while the start from silence still shows; None for a tenth

        Returns
        -------
        normalised root mean square error on the samples used: 0 is perfect, 1 no better than the mean.
        Solved in float64.
        """
        wanted = np.asarray(target, np.float64).ravel()
        states = self.states(audio, sample_rate)
        if len(wanted) != len(states):
            raise ParameterError(f"target has {len(wanted)} samples, the input {len(states)}")
        skip = len(states) // 10 if washout is None else int(washout)
        if not 0 <= skip < len(states) - self.nodes // 8:
            raise ParameterError(f"washout = {skip} leaves too few of {len(states)} samples")
        s = states[skip:].astype(np.float64)
        d = wanted[skip:]
        if not np.isfinite(d).all():
            raise ParameterError("target holds NaN or Inf")
        mean_s, mean_d = s.mean(axis=0), d.mean()
        centred = s - mean_s
        gram = centred.T @ centred
        penalty = ridge * max(np.trace(gram) / self.nodes, 1e-12)
        weights = np.linalg.solve(gram + penalty * np.eye(self.nodes), centred.T @ (d - mean_d))
        self.set_array("w_out", np.concatenate([[mean_d - mean_s @ weights], weights]))
        error = centred @ weights - (d - mean_d)
        return float(np.sqrt(np.mean(error**2) / max(np.var(d), 1e-30)))
