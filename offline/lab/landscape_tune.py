"""Which bank and weighting point home from farthest, found on positions of their own.

States are tried in their Parseval form, the waveform through the bank's filter (`WeightedWaveform`):
it leaves out what a cut window adds at its edges and takes a hundredth of the time. The setting that
wins is judged on other positions by its states.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..bank import BankSpec
from .landscape import F64, MARGIN, Place, both_ways, curve, direction_figures, shifted
from .landscape_criteria import Criterion, Magnitudes, States, WeightedWaveform

#: Tried on the tuning positions.
QS = (1.0, 4.0, 8.0, 16.0)
TILTS = (0.0, 1.0, 2.0, 3.0, 4.0)
LOWS_HZ = (10.0, 40.0)
MAGNITUDE_QS = (8.0, 16.0)
MAGNITUDE_TILTS = (1.0, 2.0)
#: Magnitudes need all states at every shift: they are tried on this many of the positions.
MAGNITUDE_PLACES = 8


def build(setting: dict[str, Any], sample_rate: int, window: int, name: str, label: str) -> Criterion:
    """The criterion of a setting: `part`, `spec` and `tilt`."""
    spec = BankSpec.model_validate(setting["spec"])
    if setting["part"] == "magnitudes":
        return Magnitudes(name, label, spec, sample_rate, setting["tilt"])
    return States(name, label, spec, sample_rate, window, setting["tilt"])


def settings(base: BankSpec, *, magnitudes: bool) -> list[dict[str, Any]]:
    """All that is tried."""
    out: list[dict[str, Any]] = []
    for low in LOWS_HZ:
        for part, qs, tilts in (("states", QS, TILTS), ("magnitudes", MAGNITUDE_QS, MAGNITUDE_TILTS)):
            if part == "magnitudes" and (not magnitudes or low != LOWS_HZ[-1]):
                continue
            for q in qs:
                spec = base.model_copy(update={"q": q, "low_hz": low, "decay_law": "constant_q"})
                out += [{"part": part, "spec": spec.model_dump(), "tilt": tilt} for tilt in tilts]
    return out


def tune(
    places: Sequence[Place],
    copies: Sequence[F64],
    distances: F64,
    base: BankSpec,
    sample_rate: int,
    window: int,
    *,
    magnitudes: bool = True,
    tick: Callable[[int, int], None] | None = None,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The settings that point home from farthest, and a row for each tried.

    Of states and of magnitudes the best each, the better one first. Order of merit: reach at 95 % of
    positions and sides, then median of the first failures.
    """
    tried = settings(base, magnitudes=magnitudes)
    by_states = [s for s in tried if s["part"] == "states"]
    signs = dict(
        zip(
            map(id, by_states), _through_filters(by_states, places, copies, distances, sample_rate, window), strict=True
        )
    )
    rows: list[dict[str, Any]] = []
    for k, setting in enumerate(tried):
        part = len(places)
        if id(setting) not in signs:
            part = min(part, MAGNITUDE_PLACES)
            criterion = build(setting, sample_rate, window, "tuned", "")
            pairs = list(zip(places, copies, strict=True))[:part]
            slopes = [curve(criterion, copy, place.segment, both_ways(distances), window)[1] for place, copy in pairs]
            signs[id(setting)] = np.array(slopes)
        figures = direction_figures(signs[id(setting)], distances)
        rows.append({
            "part": setting["part"],
            "q": setting["spec"]["q"],
            "low_hz": setting["spec"]["low_hz"],
            "tilt": setting["tilt"],
            "positions": part,
            "reach_samples": figures["reach_samples"],
            "first_failure_median": figures["first_failure_median"],
        })  # fmt: skip
        if tick:
            tick(k + 1, len(tried))
    order = sorted(range(len(rows)), key=lambda i: (-rows[i]["reach_samples"], -rows[i]["first_failure_median"]))
    best = {tried[i]["part"]: tried[i] for i in reversed(order)}
    return sorted(best.values(), key=lambda s: order.index(tried.index(s))), rows


def _through_filters(
    tried: Sequence[dict[str, Any]],
    places: Sequence[Place],
    copies: Sequence[F64],
    distances: F64,
    sample_rate: int,
    window: int,
) -> F64:
    """Slopes of the squared distance through each setting's filter [shape=(settings, places, shifts)].

    With D the spectrum of the difference and D′ its derivative with respect to the shift, both the
    same for all settings, the slope is 2 Σ gain² Re(conj(D) D′): one product of matrices per place.
    """
    gains = []
    for setting in tried:
        spec = BankSpec.model_validate(setting["spec"])
        gains.append(WeightedWaveform("tuned", "", spec, sample_rate, window, setting["tilt"]).gain.square())
    power = torch.stack(gains, dim=1)
    size = 2 * (len(power) - 1)
    twice = torch.full((len(power),), 2.0, dtype=power.dtype)
    twice[0] = twice[-1] = 1.0  # the others stand for both signs of a frequency
    shifts = torch.from_numpy(both_ways(distances))
    out = np.empty((len(tried), len(places), len(shifts)))
    for k, (place, copy) in enumerate(zip(places, copies, strict=True)):
        source = torch.from_numpy(copy)
        target = torch.from_numpy(place.segment[MARGIN : MARGIN + window])
        difference = torch.fft.rfft(shifted(source, shifts, window) - target, size)
        change = torch.fft.rfft(shifted(source, shifts, window, slope=True), size)
        turning = (difference.conj() * change).real
        out[:, k] = (2.0 * (turning * twice) @ power).T.numpy()
    return out
