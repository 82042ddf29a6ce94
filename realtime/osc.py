"""OSC: the remote control of a running chain.

    /chain/<processor>/<parameter> value     a number, a name of a choice, or T/F for a switch
    /chain/<processor>/bypass 0|1            /bypass 0|1 for the whole chain
    /preset/load name                        /preset/save name
    /panic                                   /stats and /ping are answered

Addresses may hold the patterns of OSC 1.0 in any part (`/chain/*/bypass 1`). `/panic` and `/stats`
take nothing, `N`, `I`, or the value of a button; a button let go (0, F) does nothing. Messages in a
bundle take effect at its time tag, parameters of native processors to the sample; a tag in the past
means now and is counted as late. `/panic` cancels all that came before it and waits for its time,
also while no device plays.

A bad message changes nothing, also where a pattern fits several addresses: all are checked, then all
are set, and set back if one fails. It is counted, and answered with `/error address reason`. The
messages of a bundle are independent of each other. `/error`, `/pong` and answers to `/stats` that
come in are counted and never answered, so that two hosts cannot talk for ever.

What takes long (set-up parameters, presets) is done by `builder.py` while the rest is answered.
Nothing that comes in stops the server. Thread: control.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from .builder import Builder
from .clock import Clock
from .control import Control
from .errors import CspaceError, ParameterError
from .oscmap import AddressMap, Target
from .oscpacket import Message, PacketError, encode, message, parse
from .oscpattern import PatternError, is_pattern
from .oscschedule import Schedule
from .oscserver import OscServer
from .oscvalues import BadMessage, last_bit, one, pressed, switch, value_of, word
from .ratelimit import Bucket

__all__ = ["FAR_S", "KINDS", "BadMessage", "OscHandler", "OscServer", "encode"]

_log = logging.getLogger(__name__)

FAR_S = 60.0  # time tags further ahead are refused
#: What is done within this time is done before the next message is read, so that messages sent in a
#: row take effect in a row; what takes longer goes on beside. In a flood of such messages it is not waited for.
GRACE_S = 0.03
_TICK_S = 0.1
_OWN = ("/bypass", "/panic", "/preset/load", "/preset/save", "/stats", "/ping")

Send = Callable[[str, list[Any]], None]  # a reply to the sender: address, arguments
KINDS = ("unreadable", "unknown_address", "wrong_type", "wrong_count", "out_of_range", "far_future", "refused")


class _Step(NamedTuple):
    do: Callable[[], None]
    undo: Callable[[], None] | None = None


class _Plan(NamedTuple):
    """What a message will do, found right."""

    steps: list[_Step]
    slow: bool = False  # builds something, or writes a file
    chain: bool = False  # is about processors of the chain
    timed: bool = False  # the engine can do it to the sample
    fence: bool = False
    scene: bool = False
    key: str = ""


class OscHandler:
    """Acts on packets; knows nothing of sockets, so that tests can feed it directly.

    Parameters
    ----------
    control : what the addresses stand for
    clock : makes time tags samples; None plays everything at once
    """

    def __init__(self, control: Control, clock: Clock | None = None):
        self.control = control
        self.clock = clock
        self.counts: Counter[str] = Counter()
        self.last_error = ""
        self._lock = threading.RLock()
        self._count_lock = threading.Lock()
        self._map = AddressMap(control, _OWN)
        self._schedule = Schedule()
        self._packets = 0
        self._builder = Builder()
        self._graces = Bucket(2, 10)
        self._hints = Bucket(5, 20)  # looking for like names takes a thousand times as long as the rest

    @property
    def errors(self) -> int:
        """Bad messages and packets so far."""
        return sum(self.counts[k] for k in KINDS)

    @property
    def waiting(self) -> int:
        """Messages that wait for their time."""
        return len(self._schedule)

    def addresses(self) -> list[str]:
        """All addresses there are now."""
        return self._map.all()

    def count(self, what: str, n: int = 1) -> None:
        """Adds to a counter. Thread: any."""
        with self._count_lock:
            self.counts[what] += n

    def close(self) -> None:
        """Drops what waits to be built or for its time."""
        self._builder.close()
        with self._lock:
            self._schedule.clear()

    # ---- in ----------------------------------------------------------------------------------

    def handle(self, data: bytes, send: Send) -> None:
        """Acts on one packet. Never raises."""
        with self._lock:
            self.count("packets")
            self._packets += 1
            now = self._now()
            try:
                messages = parse(data)
            except PacketError as e:
                self._bad(e.address, "unreadable", str(e), send)
                return
            for m in messages:
                if isinstance(m, PacketError):
                    self._bad(m.address, "unreadable", str(m), send)
                elif _is_reply(m):
                    self.count("replies_received")
                else:
                    with self._answered(m.address, send):
                        self._receive(m, now, send)

    def _receive(self, m: Message, now: float, send: Send) -> None:
        self.count("messages")
        if m.time is None or self.clock is None:
            self._act(m, None, send, self._packets)
        elif m.time <= now:
            self.count("late")
            self._act(m, None, send, self._packets)
        elif m.time > now + FAR_S:
            ahead = m.time - now
            raise BadMessage("far_future", f"the time tag is {ahead:.0f} s ahead, at most {FAR_S:g}")
        elif full := self._schedule.full(len(m.data)):
            raise BadMessage("refused", full)
        else:
            plan = self._plan_ahead(m, send)
            self._schedule.add(m.time, m.data, send, timed=plan is not None and plan.timed, packet=self._packets)
            self.run_due(now)

    def run_due(self, now: float | None = None) -> float:
        """Plays messages whose time has come; returns the seconds until the next one, or a tick."""
        with self._lock:
            now = self._now() if now is None else now
            while (due := self._schedule.next()) is not None:
                assert self.clock is not None
                wait = due.act - now
                if wait <= 0 < due.time - now and self._schedule.room(self.clock.samples(now)) <= 0:
                    wait = 0.002  # the engine holds as many events as it can
                if wait > 0:
                    return min(wait, _TICK_S)
                self._schedule.pop()
                m = message(due.data, due.time)
                with self._answered(m.address, due.send):
                    self._act(m, max(0, self.clock.samples(due.time)), due.send, due.packet)
            return _TICK_S

    def _now(self) -> float:
        """Wall time; reads the engine's clock on the way."""
        try:
            return self.clock.observe() if self.clock else time.time()
        except CspaceError:  # the stream is closed for now
            return time.time()

    # ---- act ---------------------------------------------------------------------------------

    def _act(self, m: Message, time: int | None, send: Send, packet: int) -> None:
        """Does what a message of a packet asks for now, or hands it to the builder. Raises why not."""
        plan = self._plan_ahead(m, send, time, packet)
        if plan is not None and not plan.slow and not (plan.chain and self._builder.settling):
            self._run(plan)
            if time is not None and plan.timed:
                self._schedule.handed(time, len(plan.steps))
            return

        def later() -> None:
            with self._answered(m.address, send):
                # A preset is saved as the chain was when that was asked.
                asked = plan if plan is not None and plan.fence else None
                self._run(asked or self._plan(m, time, send, packet, whole=True))

        key = (plan.key if plan is not None else "") or f"{m.address} {'' if time is None else time}"
        idle = self._builder.idle
        fence, scene = (False, False) if plan is None else (plan.fence, plan.scene)
        if not self._builder.add(key, later, fence=fence, scene=scene):
            raise BadMessage("refused", "too much waits to be built already; send this again later")
        if plan is not None and not plan.slow and time is None:
            # A scene is being built and may bring its own value: this one is heard now, and set again after.
            with contextlib.suppress(Exception):
                self._run(plan)
        if idle and self._graces.take():
            self._builder.wait(GRACE_S)

    def _run(self, plan: _Plan) -> None:
        """All steps, or none of them."""
        done: list[_Step] = []
        try:
            for step in plan.steps:
                step.do()
                done.append(step)
        except Exception:
            for step in reversed(done):
                if step.undo is not None:
                    with contextlib.suppress(Exception):
                        step.undo()
            raise

    def _plan_ahead(self, m: Message, send: Send, time: int | None = None, packet: int = 0) -> _Plan | None:
        """The plan; None if nothing has this address and a scene on its way may still bring it."""
        try:
            return self._plan(m, time, send, packet)
        except BadMessage as e:
            if e.kind == "unknown_address" and self._builder.scene:
                return None
            raise

    def _plan(self, m: Message, time: int | None, send: Send, packet: int, *, whole: bool = False) -> _Plan:
        """Checks a message and says what it does. Raises BadMessage and CspaceError, and changes nothing.

        Texts of processors may need a model to be looked at, so they are left to the builder: `whole`.
        """
        targets = self._find(m.address)
        if not targets[0].processor:
            return self._own(m, targets, send, packet)
        arg = one(m.args)
        steps, slow, timed = [], False, True
        for t in targets:
            if t.name == "bypass":
                steps.append(self._bypass_step(t.processor, switch(arg), undo=len(targets) > 1))
                timed = False
                continue
            knob = self.control.knob(t.processor, t.name)
            value = last_bit(knob, value_of(knob, arg))
            if knob["scale"] != "text" or whole:
                self.control.check(t.processor, t.name, value)
            slow |= knob["setup"] or knob["scale"] == "text"
            timed &= self.control.is_timed(t.processor)
            steps.append(self._set_step(t, value, time, undo=len(targets) > 1))
        return _Plan(steps, slow=slow, chain=True, timed=timed and not slow)

    def _set_step(self, t: Target, value: Any, time: int | None, *, undo: bool) -> _Step:
        old: Any = self.control.get(t.processor, t.name) if undo else None

        put = partial(self.control.set, t.processor, t.name, time=time)
        return _Step(partial(put, value), partial(put, old) if undo else None)

    def _bypass_step(self, processor: str, on: bool, *, undo: bool) -> _Step:
        old = self.control.bypassed(processor)
        put = partial(self.control.bypass, processor)
        return _Step(partial(put, on), partial(put, old) if undo else None)

    def _own(self, m: Message, targets: list[Target], send: Send, packet: int) -> _Plan:
        """Addresses of the host itself. Only `/preset/*` can be slow, and no pattern fits it with others."""
        control, steps, plan = self.control, [], _Plan([])
        for address in (t.address for t in targets):
            if address == "/ping":
                steps.append(_Step(partial(send, "/pong", m.args)))
            elif address == "/bypass":
                on = switch(one(m.args))
                steps.append(_Step(partial(control.bypass_all, on), partial(control.bypass_all, control.all_bypassed)))
            elif address in ("/preset/load", "/preset/save"):
                name = word(one(m.args))
                control.check_preset_name(name)
                load = address == "/preset/load"
                plan = _Plan([], slow=True, fence=True, scene=plan.scene or load, key=f"{m.address} {name}")
                if load:
                    steps.append(_Step(partial(control.load_preset, name)))
                else:  # what comes before it is written is not part of it; behind a scene the processors are not known
                    moving = None if self._builder.settling else control.moving()
                    steps.append(_Step(partial(control.save_preset, name, moving)))
            elif pressed(m.args):
                steps.append(_Step(partial(self._panic, packet) if address == "/panic" else partial(self._stats, send)))
        return plan._replace(steps=steps)

    def _panic(self, packet: int) -> None:
        # First, and without an engine too: a device that comes back must not play what was cancelled. What came
        # with the panic or after it stays.
        self.count("cancelled", self._schedule.clear(before=packet))
        self.control.panic()

    def _find(self, address: str) -> list[Target]:
        try:
            targets = self._map.find(address)
        except PatternError as e:
            raise BadMessage("unknown_address", f"this is no pattern: {e}") from None
        if targets:
            return targets
        if is_pattern(address):
            raise BadMessage("unknown_address", "no address fits this pattern")
        hint = self._map.near(address) if self._hints.take() else ""
        raise BadMessage("unknown_address", f"there is no such address{hint}")

    # ---- out ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _answered(self, address: str, send: Send) -> Iterator[None]:
        """What goes wrong inside is counted and answered."""
        try:
            yield
        except BadMessage as e:
            self._bad(address, e.kind, str(e), send)
        except ParameterError as e:
            self._bad(address, "out_of_range", str(e), send)
        except CspaceError as e:
            self._bad(address, "refused", str(e), send)
        except Exception as e:  # a defect must not silence the remote control, nor fill the terminal
            self.count("defects")
            _log.debug("OSC message %s failed", address, exc_info=True)
            self._bad(address, "refused", f"it failed here: {type(e).__name__}: {e}", send)

    def _bad(self, address: str, kind: str, reason: str, send: Send) -> None:
        self.count(kind)
        self.last_error = f"{address[:200]} {reason}".strip()
        send("/error", [address[:200], reason[:400]])

    def _stats(self, send: Send) -> None:
        stats = self.control.stats()
        slots = self.control.slot_stats(stats)
        time = stats["time"]
        flat: dict[str, float | int] = {
            "sample_time": stats["sample_time"],
            "load": stats["load"],
            "p50_us": time["p50_us"],
            "p99_us": time["p99_us"],
            "max_us": time["max_us"],
            "deadline_misses": stats["deadline_misses"],
            "xruns": stats["input_xruns"] + stats["output_xruns"],
            "late_blocks": sum(s["late_blocks"] for s in slots.values()),
            "faults": sum(s["faults"] for s in slots.values()),
            "dropped_events": stats["dropped_events"],
            "osc_messages": self.counts["messages"],
            "osc_errors": self.errors,
            "osc_late": self.counts["late"],
            "osc_waiting": self.waiting,
            "osc_dropped": self.counts["dropped_by_system"],
            "osc_replies_held_back": self.counts["replies_held_back"],
        }
        send("/stats", [x for pair in flat.items() for x in pair])
        for name, s in slots.items():
            send(f"/stats/chain/{name}", ["p99_us", s["time"]["p99_us"], "faults", s["faults"]])


def _is_reply(m: Message) -> bool:
    """Whether this is what a host answers with, not what it is asked."""
    return (
        m.address in ("/error", "/pong")
        or m.address.startswith(("/stats/", "/error/"))
        or (m.address == "/stats" and len(m.args) > 1)
    )
