"""The adaptive EQ in time: hears sound, decides now and then, and moves the knobs in small steps.

The same machine steers the live equaliser (from a thread, see `live.py`) and the offline one (inside
the block loop, at exact samples): sound goes in by `hear`, and `tick`, once per 20 ms of sound, says
where the 14 knobs of `Eq` belong. Thread: control or worker, one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ... import _native
from . import words
from .brain import Brain, Decision
from .curve import FLAT, NAMES, from_domain, to_domain
from .model import Model
from .spectrum import LongTerm, Sound

TICK_S = 0.02
#: The knobs of `Eq` in the order of a vector of 14: the setting, then the output gain.
KNOBS = (*NAMES, "output_gain_db")


@dataclass(frozen=True)
class Orders:
    """What the user asks for, as one unchangeable piece: threads swap it whole."""

    text: str = ""  # the blend
    intensity: float = 0.7
    mode: str = "gated"
    match_loudness: bool = False
    freeze: bool = False
    first_analysis_s: float = 1.0
    period_s: float = 1.0
    memory_s: float = 10.0
    glide_ms: float = 300.0
    reference: Sound | None = None


class Pilot:
    """Steers one equaliser.

    Parameters
    ----------
    model : what words mean and how sounds are heard
    sample_rate : of the sound, in Hz
    orders : gives what is asked for now; called once per tick
    """

    def __init__(self, model: Model, sample_rate: float, orders: Callable[[], Orders]):
        self.model = model
        self.sample_rate = sample_rate
        self.tick_samples = max(1, round(TICK_S * sample_rate))
        self._brain = Brain(model, sample_rate)
        self._orders = orders
        self._meter = LongTerm(sample_rate, model.bands, orders().memory_s)
        self.reset()

    def reset(self) -> None:
        """Forgets all sound; the knobs go flat at once."""
        self._meter.clear()
        self._sound: Sound | None = None
        self._given: Orders | None = None
        self._heard_s = 0.0
        self._next_s = 0.0
        self._at = np.append(to_domain(FLAT), 0.0)
        self._from, self._to = self._at, self._at
        self._left = self._steps = 0
        self.decision: Decision | None = None
        self.analyses = 0
        self.analysis_ms = 0.0

    def hear(self, audio: NDArray[np.float32]) -> None:
        """Takes the sound of a tick or so [shape=(channels, n)], as it enters the equaliser."""
        self._heard_s += audio.shape[1] / self.sample_rate
        if not self._orders().freeze:
            self._meter.add(audio)

    @property
    def values(self) -> dict[str, float]:
        """Where the knobs are."""
        return dict(zip(KNOBS, np.append(from_domain(self._at[:-1]), self._at[-1]).tolist(), strict=True))

    def tick(self) -> dict[str, float] | None:
        """One step of 20 ms; the knobs' new places, or None while they rest."""
        orders = self._orders()
        listened = self._listen(orders)
        if listened or orders != self._given:
            self._decide(orders, at_once=self._given is None)
        if not self._left:
            return None
        self._left -= 1
        share = 1.0 - self._left / self._steps
        self._at = self._to if self._left == 0 else self._from + share * (self._to - self._from)
        return self.values

    def _listen(self, orders: Orders) -> bool:
        """Whether a new analysis is there."""
        self._meter.memory_s = orders.memory_s
        first = self._sound is None
        due = self._heard_s >= (max(orders.first_analysis_s, self._next_s) if first else self._next_s)
        if orders.freeze or not due or not self._meter.enough:
            return False
        self._sound = self._meter.sound()
        self._next_s = self._heard_s + orders.period_s
        self.analyses += 1
        return True

    def _decide(self, orders: Orders, *, at_once: bool) -> None:
        started = time.perf_counter()
        self._given = orders
        shares = words.parse(orders.text, self.model)
        made = self._brain.decide(
            self._sound,
            shares,
            orders.intensity,
            orders.mode,
            reference=orders.reference,
            match_loudness=orders.match_loudness,
            start=from_domain(self._to[:-1]),
        )
        self.decision = made
        self._from, self._to = self._at, np.append(to_domain(made.setting), made.output_gain_db)
        moves = not np.array_equal(self._to, self._at)
        # A word that is set before the first sound needs no way there.
        self._steps = self._left = (1 if at_once else max(1, round(orders.glide_ms / (1e3 * TICK_S)))) if moves else 0
        self.analysis_ms = 1e3 * (time.perf_counter() - started)


class Stage:
    """A pilot and its equaliser as one processor that runs inside the offline block loop.

    Ticks fall on fixed samples, so the output does not depend on the blocks.
    """

    def __init__(self, pilot: Pilot, channels: int, max_block: int = 1024):
        self.pilot = pilot
        self._max = max_block
        self.core = _native.Processor("eq")
        self.core.prepare(pilot.sample_rate, max_block, channels)
        self._ear: list[NDArray[np.float32]] = []
        self._since = 0
        self._fresh = True
        self._kept: bytes | None = None
        self._channels = channels
        self._steer(pilot.values)

    @property
    def latency_samples(self) -> int:
        """0: sound never waits."""
        return 0

    def ahead(self, frames: int) -> NDArray[np.float32]:
        """What comes out if silence follows now."""
        self.keep()
        try:
            return self.process(np.zeros((self._channels, frames), np.float32))
        finally:
            self.put_back()

    def keep(self) -> None:
        """Keeps the sound as it is for `put_back`; until then nothing is heard and no knob moves."""
        self._kept = self.core.save_state()

    def put_back(self) -> None:
        """Makes the sound what it was at `keep`."""
        if self._kept is not None:
            self.core.load_state(self._kept)
            self._kept = None

    @property
    def tail_samples(self) -> int:
        """How long the filters ring as they stand."""
        return int(self.core.tail_samples)

    def reset(self) -> None:
        """Starts from silence."""
        self.pilot.reset()
        self._ear, self._since, self._fresh = [], 0, True
        self._steer(self.pilot.values)

    def _steer(self, values: dict[str, float] | None) -> None:
        for name, value in (values or {}).items():
            self.core.set(name, value)

    def process(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, n) in and out, without delay."""
        if self._kept is not None:
            return self.core.process(x)
        out = np.empty_like(x)
        at, n = 0, x.shape[1]
        while at < n:
            if self._since == 0:
                if self._ear:
                    self.pilot.hear(np.concatenate(self._ear, axis=1))
                    self._ear = []
                self._steer(self.pilot.tick())
                if self._fresh:  # the first knobs are where sound begins, not where it glides to
                    self.core.reset()
                    self._fresh = False
            size = min(n - at, self.pilot.tick_samples - self._since, self._max)
            piece = np.ascontiguousarray(x[:, at : at + size])
            self._ear.append(piece)
            out[:, at : at + size] = self.core.process(piece)
            self._since = (self._since + size) % self.pilot.tick_samples
            at += size
        return out


__all__ = ["KNOBS", "TICK_S", "Orders", "Pilot", "Stage"]
