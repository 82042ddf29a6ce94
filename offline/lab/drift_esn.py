"""The echo state network over an hour: float32 in Rust against float64, and what its radius does.

That states stay within ±1 is no finding: each step is a mean of the old state and a tanh, whatever
the radius. What the radius decides is whether the network forgets where it started: that is measured
here, with the same sound from two opposite corners of the state space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import EsnSpec
from ..esn import network, reference_states
from .drift import CHUNK, Errors, even

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

#: Compared from the first sample on for this long.
START_S = 60.0
#: Stretches compared later, each of COMPARED_S after a run-in of RUN_IN_S.
STRETCHES = 12
COMPARED_S = 2.0
RUN_IN_S = 40.0
RADII = (0.5, 0.9, 0.99, 1.2, 1.5)
#: What a start is forgotten to before it is called forgotten, as a share of the first distance.
FORGOTTEN = 1e-4
_STEP = 4096


class Stretch:
    """Sound and float32 states of a part of the run: the run-in's sound, then sound with states."""

    def __init__(self, begin: int, run_in: int, length: int, nodes: int):
        self.begin, self.first, self.stop = begin, begin + run_in, begin + run_in + length
        self.sound: F32 = np.zeros(run_in + length, np.float32)
        self.states: F32 = np.zeros((length, nodes), np.float32)

    def take(self, at: int, x: F32, states: F32) -> None:
        """Keeps what belongs here of a chunk that begins at sample `at`."""
        for kept, new, first in ((self.sound, x, self.begin), (self.states, states, self.first)):
            part = new[max(first - at, 0) : max(self.stop - at, 0)]
            begin = max(at - first, 0)
            kept[begin : begin + len(part)] = part


def compare(
    sound: Iterator[F32], spec: EsnSpec, sample_rate: int, seconds: float, tick: Callable[[float], None] | None = None
) -> tuple[Errors, dict[str, Any]]:
    """One uninterrupted float32 run of `seconds`, compared with float64 at its start and along it.

    Float64 in Python would take hours, so it runs from the first sample over 60 s, and later over 12
    stretches of 2 s, all at once. A stretch begins at rest 40 s before it is compared; what that start
    is worth is measured by a second run from the corner of ones. Returns errors (one bin per stretch)
    and the figures of the run.
    """
    total = round(seconds * sample_rate)
    first_length = min(total, round(START_S * sample_rate))
    run_in, length = round(RUN_IN_S * sample_rate), round(COMPARED_S * sample_rate)
    first = Stretch(0, 0, first_length, spec.nodes)
    later: list[Stretch] = []
    if total >= first_length + run_in + length:
        begins = np.linspace(first_length - run_in, total - run_in - length, STRETCHES + 1)[1:]
        later = [Stretch(int(b), run_in, length, spec.nodes) for b in begins]
    esn = network(spec)
    at, largest, square, half_a_chunk = 0, 0.0, np.zeros(spec.nodes), CHUNK // 2
    for x in even(sound, half_a_chunk):
        states = esn.process(np.ascontiguousarray(x))
        largest = max(largest, float(states.max()), -float(states.min()))
        square += np.einsum("ij,ij->j", states, states)
        for stretch in (first, *later):
            stretch.take(at, x, states)
        at += len(x)
        if tick:
            tick(at / sample_rate)
    errors = Errors()
    rms = np.sqrt(square / max(at, 1))
    left_over = 0.0
    compared_s = START_S + STRETCHES * COMPARED_S if later else first_length / sample_rate
    groups = [[first], later]
    del first  # hundreds of MB, let go of before the others are judged
    while groups:
        group = groups.pop(0)
        if group:
            left_over = max(left_over, _judge(group, esn, errors, rms, sample_rate))
        del group
    figures = {
        "achieved_radius": esn.achieved_radius,
        "largest_state": largest,
        "seconds": at / sample_rate,
        "reference_run_in_effect": left_over,
        "compared_s": compared_s,
    }
    return errors, figures


def _judge(group: list[Stretch], esn: Any, errors: Errors, rms: F64, sample_rate: int) -> float:
    """Adds one bin per stretch (or per 10 s of a long one); returns what the reference's start is worth."""
    x = np.stack([s.sound for s in group], axis=1)
    got = [s.states for s in group]
    run_in = group[0].first - group[0].begin
    runs = 2 if run_in else 1
    x = np.concatenate([x] * runs, axis=1)
    state = np.zeros((len(esn), x.shape[1]))
    state[:, len(group) :] = 1.0
    bin_length = len(got[0]) if run_in else round(10 * sample_rate)
    shape = (len(group), -(-len(got[0]) // bin_length))
    wrong, right = np.zeros(shape), np.zeros(shape)
    worst = np.zeros((*shape, len(esn)))
    counts = np.zeros(shape[1])
    effect = 0.0
    for at in range(0, len(x), _STEP):
        states = reference_states(esn, x[at : at + _STEP].astype(np.float64), state)
        state = states[-1]
        inside = states[max(run_in - at, 0) :]
        if not len(inside):
            continue
        begin = max(at - run_in, 0)
        bins = (begin + np.arange(len(inside))) // bin_length
        if runs == 2:
            effect = max(effect, float(np.max(np.abs(inside[:, :, len(group) :] - inside[:, :, : len(group)]))))
        for k, states32 in enumerate(got):
            truth = inside[:, :, k]
            difference = (states32[begin : begin + len(inside)] - truth) ** 2
            for b in range(int(bins[0]), int(bins[-1]) + 1):
                here = bins == b
                wrong[k, b] += difference[here].sum()
                right[k, b] += (truth[here] ** 2).sum()
                worst[k, b] += difference[here].sum(axis=0)
                counts[b] += here.sum() / len(group)
    for k, stretch in enumerate(group):
        for b in range(shape[1]):
            end = min(stretch.first + (b + 1) * bin_length, stretch.stop)
            errors.seconds.append(end / sample_rate)
            errors.vector.append(float(np.sqrt(wrong[k, b] / max(right[k, b], 1e-300))))
            errors.worst.append(float(np.max(np.sqrt(worst[k, b] / counts[b]) / np.maximum(rms, 1e-300))))
    return effect


def forgetting(sound: F32, spec: EsnSpec, sample_rate: int) -> dict[str, Any]:
    """Distance over time of two runs of one sound from all ones and all minus ones.

    Returns `seconds` and `distance` (as shares of the first), `time_constant_s` (of the line through
    the logarithm from 0.1 to 1e-4, None where that is not reached) and `forgets`.
    """
    esn = network(spec)
    hop = sample_rate // 20
    distance: list[float] = [2.0 * np.sqrt(spec.nodes)]
    starts = [np.full(spec.nodes, corner, np.float32) for corner in (1.0, -1.0)]
    for x in even(iter([sound]), hop * 20):
        runs = []
        for k in (0, 1):
            esn.set_state(starts[k])
            states = esn.process(np.ascontiguousarray(x))
            starts[k] = states[-1].copy()
            runs.append(states[hop - 1 :: hop].astype(np.float64))
        distance += list(np.linalg.norm(runs[0] - runs[1], axis=1))
    share = np.array(distance) / distance[0]
    seconds = np.arange(len(share)) * hop / sample_rate
    below = np.flatnonzero(share < FORGOTTEN)
    constant = None
    if len(below):
        part = slice(int(np.flatnonzero(share < 0.1)[0]), int(below[0]) + 1)
        if part.stop - part.start >= 3:
            slope = np.polyfit(seconds[part], np.log(share[part]), 1)[0]
            constant = float(-1.0 / slope)
    return {
        "asked_radius": spec.spectral_radius,
        "achieved_radius": esn.achieved_radius,
        "forgets": bool(len(below)),
        "time_constant_s": constant,
        "last_share": float(share[-1]),
        "seconds": seconds,
        "share": share,
    }
