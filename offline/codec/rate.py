"""Rate control: which step each packet takes, so that a file has the rate that was asked for.

`Plan` looks at the whole file first (in bounded memory: a dozen numbers a packet) and takes nearly one step
for all of it, which gives the best signal-to-noise ratio for the bits: by the theory of reverse water-filling every
component gets the same noise. `OnePass` knows only the past and spends nearly the same on every packet.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from . import entropy
from .codec import Codec
from .quantise import smallest_step
from .spec import STEP_MAX, STEP_ZERO, STEPS_PER_OCTAVE

F32 = NDArray[np.float32]
I16 = NDArray[np.int16]

GRID = 4  # the plan knows the cost at every 4th step index (3 dB)
VANISH = 14  # octaves above the smallest step: there the largest code is 0


class Control(Protocol):
    """Chooses steps, packet by packet."""

    def choose(self, z: F32) -> tuple[I16, int]:
        """Codes and step of the next packet's values."""


def level_steps(z: F32) -> float:
    """Root mean square of a packet's values, as a step index."""
    rms = float(np.sqrt(np.mean(np.square(z, dtype=np.float64))))
    return STEP_ZERO + STEPS_PER_OCTAVE * float(np.log2(max(rms, 1e-12)))


class Plan:
    """Two passes: `look` at every packet, `settle` on the step, then `choose` for every packet again.

    Parameters
    ----------
    overhead_bits : what a packet costs beyond its codes
    """

    def __init__(self, codec: Codec, kbps: float, overhead_bits: float = 160.0):
        self.codec = codec
        spec = codec.spec
        self.target = kbps * 1000.0 * spec.packet_frames / spec.frame_rate - overhead_bits
        self._levels: list[float] = []
        self._costs: list[tuple[int, NDArray[np.float32]]] = []
        self._step = 0.0
        self._loudest = 0.0
        self._next = 0
        self._drift = 0.0

    def look(self, z: F32) -> None:
        """Notes what the next packet would cost, from the step at which it vanishes down."""
        level = level_steps(z)
        least = smallest_step(float(np.abs(z).max(initial=0.0)))
        step = min(STEP_MAX, -(-(least + VANISH * STEPS_PER_OCTAVE) // GRID) * GRID)
        costs = []
        while step >= least:
            codes, _ = self.codec.quantise(z, step)
            costs.append(entropy.cost_bits(self.codec.context, codes))
            if costs[-1] > 4.0 * max(self.target, 1.0) or not level > STEP_ZERO - 20 * STEPS_PER_OCTAVE:
                break
            step -= GRID
        self._levels.append(level)
        start = min(STEP_MAX, -(-(least + VANISH * STEPS_PER_OCTAVE) // GRID) * GRID)
        self._costs.append((start, np.asarray(costs or [0.0], np.float32)))

    def settle(self, bits: float | None = None) -> float:
        """The step index at which the whole file costs what it may: by default that of its rate, or `bits`."""
        if bits is not None:
            self.target = bits / max(1, len(self._costs))
        self._loudest = max(self._levels, default=0.0)
        low, high = 0.0, float(STEP_MAX)
        for _ in range(30):
            self._step = (low + high) / 2
            total = sum(self._cost(i) for i in range(len(self._costs)))
            low, high = (self._step, high) if total > self.target * len(self._costs) else (low, self._step)
        self._step = high
        return high

    def _wish(self, i: int) -> float:
        quieter = max(0.0, self._loudest - self._levels[i])
        return self._step - self.codec.info.level_follow * quieter

    def _cost(self, i: int) -> float:
        start, costs = self._costs[i]
        place = np.clip((start - self._wish(i)) / GRID, 0.0, len(costs) - 1.0)
        return float(np.interp(place, np.arange(len(costs)), costs))

    def choose(self, z: F32) -> tuple[I16, int]:
        """Codes and step of the next packet; what earlier ones spent too much or too little moves the step."""
        i = self._next
        self._next += 1
        # A drift of a packet's worth moves by one step; the plan's errors are far smaller than that.
        move = np.clip(self._drift / max(self.target, 1.0), -8.0, 8.0)
        codes, step = self.codec.quantise(z, int(np.clip(np.round(self._wish(i) + move), 0, STEP_MAX)))
        self._drift += entropy.cost_bits(self.codec.context, codes) - self._cost(i)
        return codes, step


class OnePass:
    """For streams: the finest step that a packet's share and a quarter of what was saved can pay."""

    def __init__(self, codec: Codec, kbps: float, overhead_bits: float = 160.0):
        self.codec = codec
        spec = codec.spec
        self.target = kbps * 1000.0 * spec.packet_frames / spec.frame_rate - overhead_bits
        self._saved = 0.0

    def choose(self, z: F32) -> tuple[I16, int]:
        """Codes and step of the next packet."""
        allowed = self.target + 0.25 * self._saved
        low = smallest_step(float(np.abs(z).max(initial=0.0)))
        high = min(STEP_MAX, low + VANISH * STEPS_PER_OCTAVE)
        while low < high:
            middle = (low + high) // 2
            codes, _ = self.codec.quantise(z, middle)
            if entropy.cost_bits(self.codec.context, codes) > allowed:
                low = middle + 1
            else:
                high = middle
        codes, step = self.codec.quantise(z, low)
        self._saved += self.target - entropy.cost_bits(self.codec.context, codes)
        self._saved = float(np.clip(self._saved, -4 * self.target, 8 * self.target))
        return codes, step
