"""Loss and true gradient along a shift: from how far away a criterion points home.

A window of a changed copy (noise added) is moved by s samples and compared with the clean window.
The move is a band-limited fractional delay, a phase ramp over a longer tapered segment, so that
nothing wraps into the window; the derivative with respect to s is exact (torch autograd in float64).

The original min-max scaled its curves and put the zero shift, where its loss was 0 by construction,
among them; it computed no gradient, and its basin width was always 0 (defect 12).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...audiofile import Reader
from ...plugins._errors import AudioError
from ..audio import stream_mono
from .landscape_criteria import Criterion

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

#: Largest shift looked at, samples: 21 ms at 24 kHz.
FARTHEST = 512
#: Segment beyond the window either side: room for the shift, the taper, and the ringing of its edge.
MARGIN = 2048
TAPER = 512
#: Windows quieter than this below the recording's loudest sample are no positions.
QUIET_DB = -30.0
RIGHT = 0.95
#: So near that noise alone may move a minimum there: left out of the second, milder figure of direction.
NEAR = 4.0
#: Edges of the ranges of distance by which directions are counted, samples.
RANGES = (0.0, 4.0, 16.0, 64.0, 256.0, 512.0)


@dataclass
class Place:
    """A position in a recording."""

    path: Path
    #: First sample of the window, at the settings' rate.
    start: int
    #: Window and margins, over the segment's peak [shape=(window + 2 MARGIN,)].
    segment: F64
    #: Share of the spectrum that the recording's own rate leaves filled.
    band: float = 1.0


def grid() -> F64:
    """Distances looked at, in samples: fine near 0, at odd spacings far away."""
    parts = [np.array([0.5, 1.0, 1.5]), np.arange(2, 12, 1.0), np.arange(12, 40, 2.0), np.arange(40, 100, 4.0)]
    return np.concatenate([*parts, np.arange(101, 200, 9.0), np.arange(203, FARTHEST, 23.0), [float(FARTHEST)]])


def both_ways(distances: F64) -> F64:
    """−d … −d₀, 0, d₀ … d."""
    return np.concatenate([-distances[::-1], [0.0], distances])


def find_places(
    paths: Sequence[Path],
    count: int,
    window: int,
    sample_rate: int,
    seed: int,
    tick: Callable[[], None] | None = None,
    conversions: Counter[str] | None = None,
) -> list[Place]:
    """`count` seeded positions where there is sound, spread evenly over the recordings in a random order.

    A recording is read once, in bounded memory: of its windows, which do not overlap, those within
    30 dB of the loudest sample so far stand for choice, and as many as wanted are kept by reservoir
    sampling. `conversions` counts the files by what was changed. Raises AudioError if the recordings
    have too few such windows.
    """
    rng = np.random.default_rng(seed)
    order = [paths[i] for i in rng.permutation(len(paths))]
    places: list[Place] = []
    for k, path in enumerate(order):
        left = count - len(places)
        if left == 0:
            break
        wanted = -(-left // (len(order) - k))
        said: list[str] = []
        places += _from_one(path, wanted, window, sample_rate, rng, said)
        if conversions is not None:
            conversions.update(said)
        if tick:
            tick()
    if len(places) < count:
        whole = "; silence and files shorter than that have none"
        raise AudioError(
            f"{len(places)} positions found of {count}: each needs {window + 2 * MARGIN} samples "
            f"({(window + 2 * MARGIN) / sample_rate:.2f} s) with sound in the middle{whole}"
        )
    return places


def _from_one(
    path: Path, wanted: int, window: int, sample_rate: int, rng: np.random.Generator, said: list[str]
) -> list[Place]:
    length = window + 2 * MARGIN
    held = np.zeros(0, np.float32)
    at, seen, peak = 0, 0, 0.0
    kept: list[tuple[int, F32]] = []
    for block in stream_mono(path, sample_rate, conversions=said):
        peak = max(peak, float(np.max(np.abs(block))))
        held = np.concatenate([held, block])
        while len(held) >= length:
            middle = held[MARGIN : MARGIN + window]
            level = float(np.sqrt(np.mean(middle.astype(np.float64) ** 2)))
            if level > max(peak * 10 ** (QUIET_DB / 20), 1e-4):
                seen += 1
                slot = len(kept) if len(kept) < wanted else int(rng.integers(seen))
                if slot < wanted:
                    kept[slot : slot + 1] = [(at + MARGIN, held[:length].copy())]
            held = held[window:]
            at += window
    with Reader(path) as file:
        band = min(1.0, 0.95 * file.sample_rate / sample_rate)
    return [Place(path, start, x / np.max(np.abs(x)).astype(np.float64), band) for start, x in kept]


def changed_copy(place: Place, window: int, noise_db: float | None, rng: np.random.Generator) -> F64:
    """The segment with noise `noise_db` below the window's level; None for none.

    The noise is white up to the highest frequency that the recording holds: bands that are empty
    because a recording was resampled upwards stay empty, or they would decide for every logarithm.
    """
    if noise_db is None:
        return place.segment
    spectrum = np.fft.rfft(rng.standard_normal(len(place.segment)))
    spectrum[int(place.band * len(spectrum)) :] = 0.0
    noise = np.fft.irfft(spectrum, len(place.segment))
    level = np.sqrt(np.mean(place.segment[MARGIN : MARGIN + window] ** 2) / np.mean(noise**2)) * 10 ** (-noise_db / 20)
    noisy: F64 = place.segment + level * noise
    return noisy


def shifted(segment: Tensor, shifts: Tensor, window: int, *, slope: bool = False) -> Tensor:
    """The window of a segment moved so that sample t holds x(t + s) [shape=(len(shifts), window)].

    Band-limited and differentiable in `shifts` (samples, fractions too, up to FARTHEST either way).
    The segment's ends are faded out over TAPER samples, far from any window, so that its periodic
    continuation has no step. With `slope`, the derivative with respect to the shift instead.
    """
    n = segment.shape[-1]
    fade = 0.5 - 0.5 * torch.cos(torch.pi * (torch.arange(TAPER, dtype=segment.dtype) + 0.5) / TAPER)
    ends = torch.ones(n, dtype=segment.dtype)
    ends[:TAPER] = fade
    ends[-TAPER:] = fade.flip(0)
    spectrum = torch.fft.rfft(segment * ends)
    omega = 2.0 * torch.pi * torch.arange(n // 2 + 1, dtype=segment.dtype) / n
    turn = shifts[:, None] * omega
    phase = torch.complex(torch.cos(turn), torch.sin(turn))
    if slope:
        phase = phase * 1j * omega
    moved = torch.fft.irfft(spectrum * phase, n)
    middle: Tensor = moved[:, MARGIN : MARGIN + window]
    return middle


def curve(criterion: Criterion, copy: F64, clean: F64, shifts: F64, window: int) -> tuple[F64, F64]:
    """Loss at each shift of the copy against the clean window, and its exact derivative there."""
    target = [f.detach() for f in criterion.features(torch.from_numpy(clean[None, MARGIN : MARGIN + window]))]
    source = torch.from_numpy(copy)
    losses, slopes = [], []
    for at in range(0, len(shifts), criterion.batch):
        s = torch.from_numpy(shifts[at : at + criterion.batch].copy()).requires_grad_()
        loss = criterion.distance(criterion.features(shifted(source, s, window)), target)
        # Each row depends on its own shift alone, so one pass gives every derivative.
        (slope,) = torch.autograd.grad(loss.sum(), s)
        losses.append(loss.detach().numpy())
        slopes.append(slope.numpy())
    return np.concatenate(losses), np.concatenate(slopes)


def split_sides(values: F64) -> F64:
    """Values over `both_ways` shifts, by distance [shape=(..., distances, 2)]: left, right; without 0."""
    n = (values.shape[-1] - 1) // 2
    return np.stack([values[..., n - 1 :: -1] if n else values[..., :0], values[..., n + 1 :]], axis=-1)


def points_home(slopes: F64) -> NDArray[np.bool_]:
    """Whether −gradient points to shift 0 [shape=(..., distances, 2)]."""
    sides = split_sides(slopes)
    return np.stack([sides[..., 0] < 0.0, sides[..., 1] > 0.0], axis=-1)


def direction_figures(slopes: F64, distances: F64) -> dict[str, Any]:
    """Reach of right directions, of slopes at many positions [shape=(positions, shifts)].

    `reach_samples`: the largest distance up to which, at every distance looked at, at least 95 % of
    positions and sides point home (0 if not even the nearest). `first_failure_samples`: per position,
    the nearest distance at which either side points away (the farthest looked at if none does).
    `first_failure_past_4_samples`: the same with the nearest 4 samples left out, so that a minimum a
    little off, which noise alone can bring, is not held against a criterion. `share_by_range`: of all
    directions in each of RANGES, how many are right.
    """
    home = points_home(slopes)
    share = home.mean(axis=(0, 2))
    wrong = np.flatnonzero(share < RIGHT)
    upto = int(wrong[0]) if len(wrong) else len(share)
    reach = float(distances[upto - 1]) if upto else 0.0
    fine: NDArray[np.bool_] = np.all(home, axis=2)
    first = _first_wrong(fine, distances)
    past = _first_wrong(fine | (distances <= NEAR), distances)
    ranges = [share[(distances > a) & (distances <= b)] for a, b in itertools.pairwise(RANGES)]
    return {
        "reach_samples": reach,
        "share": share,
        "share_by_range": [float(np.mean(r)) if len(r) else float("nan") for r in ranges],
        "first_failure_samples": first,
        "first_failure_past_4_samples": past,
        **spread("first_failure", first),
        **spread("first_failure_past_4", past),
    }


def _first_wrong(fine: NDArray[np.bool_], distances: F64) -> F64:
    first: F64 = np.where(np.all(fine, axis=1), distances[-1], distances[np.argmin(fine, axis=1)])
    return first


def basin_figures(losses: F64, distances: F64) -> dict[str, Any]:
    """Basin widths of loss curves at many positions [shape=(positions, shifts)].

    Per position: floor = loss of the changed copy at shift 0, far = median of the outer half of the
    shifts, level = halfway between; width = samples around 0 over which the loss stays below the
    level, between straight lines, both sides together (at most twice the farthest distance). A position whose
    far loss does not rise above its floor has width 0. `contrast` = far over floor.
    """
    n = len(distances)
    floor = losses[:, n]
    far = np.median(split_sides(losses)[:, distances >= distances[-1] / 2].reshape(len(losses), -1), axis=1)
    level = 0.5 * (floor + far)
    widths = np.zeros(len(losses))
    for k, sides in enumerate(split_sides(losses)):
        if far[k] <= floor[k]:
            continue
        for side in (0, 1):
            y = np.concatenate([[floor[k]], sides[:, side]])
            x = np.concatenate([[0.0], distances])
            above = np.flatnonzero(y >= level[k])
            if not len(above):
                widths[k] += distances[-1]
                continue
            i = int(above[0])
            widths[k] += x[i - 1] + (level[k] - y[i - 1]) / (y[i] - y[i - 1]) * (x[i] - x[i - 1])
    return {
        "floor": floor,
        "far": far,
        "width_samples": widths,
        **spread("width", widths),
        "contrast_median": float(np.median(far / np.maximum(floor, 1e-30))),
    }


def spread(name: str, values: F64) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = (float(v) for v in np.percentile(values, [25, 50, 75]))
    return {f"{name}_q1": low, f"{name}_median": middle, f"{name}_q3": high}
