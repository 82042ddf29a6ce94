"""Fits a context model to codes: weights by the length they give, tables by counting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from . import entropy as e
from .entropy import ContextModel

I16 = NDArray[np.int16]


def fit(packets: Sequence[I16], *, seed: int = 0, rounds: int = 250, most: int = 60_000) -> ContextModel:
    """A context model for packets like these [each shape=(frames, dims)].

    Weights minimise the length of a geometric code whose mean is the guess,
    log2(1 + b) + m log2((1 + b) / b); tables then count what the classes hold, with a floor.
    """
    rng = np.random.default_rng(seed)
    weights = np.zeros((e.VARIANTS, len(e.NEIGHBOURS)), np.int32)
    offsets = np.zeros((e.VARIANTS, e.BANDS), np.int32)
    gathered: list[list[tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]]] = [[], [], []]
    for codes in packets:
        m = np.abs(codes.astype(np.int32))
        near, band = e.neighbours(m), np.broadcast_to(e.bands(m.shape[1]), m.shape)
        for v in range(e.VARIANTS):
            rows = slice(v, v + 1) if v < e.VARIANTS - 1 else slice(v, None)
            gathered[v].append((near[:, rows].reshape(len(near), -1), band[rows].ravel(), m[rows].ravel()))
    for v in range(e.VARIANTS):
        near = np.concatenate([g[0] for g in gathered[v]], axis=1)
        band, m = np.concatenate([g[1] for g in gathered[v]]), np.concatenate([g[2] for g in gathered[v]])
        pick = rng.permutation(len(m))[:most]
        w, c = _weights(near[:, pick].T, band[pick], m[pick], rounds)
        weights[v], offsets[v] = np.round(w * e.SCALE), np.maximum(1, np.round(c * e.SCALE))
    untabled = ContextModel(weights, offsets, flat_model().tables)
    counts = np.zeros((e.CLASSES, e.SYMBOLS))
    for codes in packets:
        m = np.abs(codes.astype(np.int32))
        cls = e.classes(untabled, m)
        np.add.at(counts, (cls.ravel(), e.symbols(m, cls).ravel()), 1)
    return ContextModel(weights, offsets, tables(counts))


def flat_model() -> ContextModel:
    """A context model that knows nothing, to start from."""
    tables = np.full((e.CLASSES, e.SYMBOLS), e.TOTAL // e.SYMBOLS, np.int32)
    tables[:, 0] += e.TOTAL - tables.sum(axis=1)
    return ContextModel(
        np.zeros((e.VARIANTS, len(e.NEIGHBOURS)), np.int32), np.full((e.VARIANTS, e.BANDS), e.SCALE, np.int32), tables
    )


def _weights(
    near: NDArray[np.int32], band: NDArray[np.int64], m: NDArray[np.int32], rounds: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = torch.from_numpy(near.astype(np.float32)), torch.from_numpy(m.astype(np.float32))
    which = torch.from_numpy(band)
    raw_w = torch.full((x.shape[1],), -2.5, requires_grad=True)
    raw_c = torch.full((e.BANDS,), -4.0, requires_grad=True)
    optimiser = torch.optim.Adam([raw_w, raw_c], lr=0.05)
    softplus = torch.nn.functional.softplus
    for step in range(rounds):
        for group in optimiser.param_groups:
            group["lr"] = 0.05 * (1 - 0.95 * step / rounds)
        guess = x @ softplus(raw_w) + softplus(raw_c)[which] + 1e-4
        loss = (torch.log1p(guess) + y * torch.log1p(1 / guess)).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        return softplus(raw_w).double().numpy(), softplus(raw_c).double().numpy()


def tables(counts: NDArray[np.float64]) -> NDArray[np.int32]:
    """Frequency tables of counts: a geometric prior worth 30 codes, no entry below 1, rows summing to TOTAL."""
    out = np.empty(counts.shape, np.int32)
    for i, row in enumerate(counts):
        mean = 2.0 ** (e.FIRST_OCTAVE + i / e.CLASSES_PER_OCTAVE) / 2.0 ** e.SHIFTS[i]
        prior = (mean / (1 + mean)) ** np.arange(e.SYMBOLS)
        p = row + 30 * prior / prior.sum()
        share = np.maximum(1, np.floor(p / p.sum() * e.TOTAL)).astype(np.int32)
        share[np.argmax(share)] += e.TOTAL - share.sum()
        out[i] = share
    return out
