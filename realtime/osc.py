"""OSC over UDP: the remote control of a running chain.

    /chain/<processor>/<parameter> value     a number, a name of a choice, or T/F for a switch
    /chain/<processor>/bypass 0|1            /bypass 0|1 for the whole chain
    /preset/load name                        /preset/save name
    /panic                                   /stats and /ping are answered

Addresses may hold the patterns of OSC 1.0 (`/chain/*/bypass 1`). Messages in a bundle take effect
at its time tag, parameters to the sample; a tag in the past means now and is counted as late. Every
bad message changes nothing, is counted, and is answered with `/error address reason`; nothing that
comes in stops the server. Thread: control.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from pythonosc.osc_message_builder import OscMessageBuilder

from .clock import Clock
from .control import Control
from .errors import CspaceError, ParameterError, near
from .oscpacket import Message, PacketError, parse

_log = logging.getLogger(__name__)

FAR_S = 60.0  # time tags further ahead are refused
AHEAD_S = 0.5  # how long before its time an event goes to the engine
MAX_PENDING = 10_000
_TICK_S = 0.1
_PATTERN = frozenset("*?[]{}")
_BYTES = 65_536

Send = Callable[[str, list[Any]], None]  # a reply to the sender: address, arguments
KINDS = ("unreadable", "unknown_address", "wrong_type", "wrong_count", "out_of_range", "far_future", "refused")


class BadMessage(Exception):  # noqa: N818
    """Why a message changes nothing. Thread: control."""

    def __init__(self, kind: str, reason: str):
        super().__init__(reason)
        self.kind = kind


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
        self._pending: list[tuple[float, int, Message, Send]] = []
        self._order = itertools.count()
        self._fixed: dict[str, tuple[int, Callable[[list[Any], Send], None]]] = {
            "/bypass": (1, lambda args, _: control.bypass_all(_switch(args[0]))),
            "/panic": (0, lambda args, _: control.panic()),
            "/preset/load": (1, lambda args, _: control.load_preset(_word(args[0]))),
            "/preset/save": (1, lambda args, _: control.save_preset(_word(args[0]))),
            "/stats": (0, lambda args, send: self._stats(send)),
        }

    @property
    def errors(self) -> int:
        """Bad messages and packets so far."""
        return sum(self.counts[k] for k in KINDS)

    # ---- in ----------------------------------------------------------------------------------

    def handle(self, data: bytes, send: Send) -> None:
        """Acts on one packet. Never raises."""
        with self._lock:
            self.counts["packets"] += 1
            now = self._now()
            try:
                messages = parse(data)
            except PacketError as e:
                self._bad(e.address, "unreadable", str(e), send)
                return
            except Exception as e:
                self._bad("", "unreadable", type(e).__name__, send)
                return
            for message in messages:
                if isinstance(message, PacketError):
                    self._bad(message.address, "unreadable", str(message), send)
                else:
                    self._receive(message, now, send)

    def _receive(self, message: Message, now: float, send: Send) -> None:
        self.counts["messages"] += 1
        if message.time is None or self.clock is None:
            self._act(message, None, send)
        elif message.time <= now:
            self.counts["late"] += 1
            self._act(message, None, send)
        elif message.time > now + FAR_S:
            ahead = message.time - now
            self._bad(message.address, "far_future", f"the time tag is {ahead:.0f} s ahead, at most {FAR_S:g}", send)
        elif len(self._pending) >= MAX_PENDING:
            self._bad(message.address, "refused", f"{MAX_PENDING} messages wait for their time already", send)
        elif self._guarded(message, send, lambda: self._check(message)):
            heapq.heappush(self._pending, (message.time, next(self._order), message, send))
            self.run_due(now)

    def run_due(self, now: float | None = None) -> float:
        """Plays messages whose time has come; returns the seconds until the next one, or a tick."""
        with self._lock:
            now = self._now() if now is None else now
            while self._pending:
                due = self._pending[0]
                wait = due[0] - now - (AHEAD_S if self._timed(due[2].address) else 0.0)
                if wait > 0:
                    return min(wait, _TICK_S)
                heapq.heappop(self._pending)
                assert self.clock is not None
                self._act(due[2], max(0, self.clock.samples(due[0])), due[3])
            return _TICK_S

    def _now(self) -> float:
        """Wall time; reads the engine's clock on the way."""
        try:
            return self.clock.observe() if self.clock else time.time()
        except CspaceError:  # the stream is closed for now
            return time.time()

    @staticmethod
    def _timed(address: str) -> bool:
        return address.startswith("/chain/") and not address.endswith("/bypass")

    # ---- act ---------------------------------------------------------------------------------

    def _act(self, message: Message, time: int | None, send: Send) -> None:
        self._guarded(message, send, lambda: self._do(message, time, send))

    def _guarded(self, message: Message, send: Send, work: Callable[[], None]) -> bool:
        try:
            work()
        except BadMessage as e:
            self._bad(message.address, e.kind, str(e), send)
        except ParameterError as e:
            self._bad(message.address, "out_of_range", str(e), send)
        except CspaceError as e:
            self._bad(message.address, "refused", str(e), send)
        except Exception as e:  # a defect must not silence the remote control
            _log.exception("OSC message %s failed", message.address)
            self._bad(message.address, "refused", f"it failed here: {type(e).__name__}: {e}", send)
        else:
            return True
        return False

    def _do(self, message: Message, time: int | None, send: Send) -> None:
        if message.address == "/ping":
            send("/pong", [a for a in message.args if isinstance(a, (bool, int, float, str))])
        elif message.address in self._fixed:
            wanted, act = self._fixed[message.address]
            _count(message, wanted)
            act(message.args, send)
        else:
            for processor, name in self._targets(message):
                self._set(processor, name, message.args[0], time)

    def _check(self, message: Message) -> None:
        """Raises what `_do` would, as far as that can be known ahead."""
        if message.address in self._fixed:
            _count(message, self._fixed[message.address][0])
        elif message.address != "/ping":
            for processor, name in self._targets(message):
                if name == "bypass":
                    _switch(message.args[0])
                else:
                    self.control.check(processor, name, self._value(processor, name, message.args[0]))

    def _set(self, processor: str, name: str, arg: Any, time: int | None) -> None:
        if name == "bypass":
            self.control.bypass(processor, _switch(arg))
        else:
            self.control.set(processor, name, self._value(processor, name, arg), time=time)

    def _targets(self, message: Message) -> list[tuple[str, str]]:
        parts = message.address.split("/")
        if len(parts) != 4 or parts[1] != "chain":
            raise self._unknown(message.address)
        processor, name = parts[2:]
        if _PATTERN.isdisjoint(message.address):
            if processor not in self.control.chain.names:
                raise self._unknown(message.address)
            if name != "bypass" and name not in self.control.chain.slot(processor).params():
                raise self._unknown(message.address)
            targets = [(processor, name)]
        else:
            targets = [
                (p, n)
                for p in self.control.chain.names
                if _matches(p, processor)
                for n in [*self.control.chain.slot(p).params(), "bypass"]
                if _matches(n, name)
            ]
            if not targets:
                raise BadMessage("unknown_address", "no address fits this pattern")
        _count(message, 1)
        return targets

    def _unknown(self, address: str) -> BadMessage:
        known = self.addresses()
        return BadMessage("unknown_address", f"there is no such address{near(address[:80], known)}")

    def addresses(self) -> list[str]:
        """All addresses there are now."""
        chain = self.control.chain
        listed = [f"/chain/{p}/{n}" for p in chain.names for n in [*chain.slot(p).params(), "bypass"]]
        return [*listed, *self._fixed, "/ping"]

    def _value(self, processor: str, name: str, arg: Any) -> float | int | bool | str:
        knob = self.control.knob(processor, name)
        allowed: tuple[type, ...] = {
            "toggle": (bool, int, float),
            "choice": (str, int, float),
            "text": (str,),
        }.get(knob["scale"], (int, float))
        if not isinstance(arg, allowed) or (isinstance(arg, bool) and bool not in allowed):
            words = {"toggle": "T, F, 0 or 1", "choice": "a name or its number", "text": "a string"}
            raise BadMessage("wrong_type", f"takes {words.get(knob['scale'], 'a number')}, not {_type_word(arg)}")
        if isinstance(arg, float) and not math.isfinite(arg):
            raise BadMessage("out_of_range", f"{arg} is not a value")
        assert isinstance(arg, (bool, int, float, str))  # said above; mypy cannot follow
        return arg

    def _bad(self, address: str, kind: str, reason: str, send: Send) -> None:
        self.counts[kind] += 1
        self.last_error = f"{address} {reason}".strip()
        send("/error", [address[:200], reason[:400]])

    def _stats(self, send: Send) -> None:
        stats = self.control.stats()
        time = stats["time"]
        flat: dict[str, float | int] = {
            "sample_time": stats["sample_time"],
            "load": stats["load"],
            "p50_us": time["p50_us"],
            "p99_us": time["p99_us"],
            "max_us": time["max_us"],
            "deadline_misses": stats["deadline_misses"],
            "xruns": stats["input_xruns"] + stats["output_xruns"],
            "late_blocks": sum(s["late_blocks"] for s in stats["slots"]),
            "faults": sum(s["faults"] for s in stats["slots"]),
            "dropped_events": stats["dropped_events"],
            "osc_messages": self.counts["messages"],
            "osc_errors": self.errors,
            "osc_late": self.counts["late"],
        }
        send("/stats", [x for pair in flat.items() for x in pair])
        for slot, s in zip(self.control.chain.slots, stats["slots"], strict=False):
            send(f"/stats/chain/{slot.name}", ["p99_us", s["time"]["p99_us"], "faults", s["faults"]])


# ---- arguments -------------------------------------------------------------------------------


def _count(message: Message, wanted: int) -> None:
    if len(message.args) != wanted:
        takes = ("no arguments", "one argument")[wanted]
        raise BadMessage("wrong_count", f"takes {takes}, not {len(message.args)}")


def _switch(arg: Any) -> bool:
    if isinstance(arg, bool) or (isinstance(arg, (int, float)) and arg in (0, 1)):
        return bool(arg)
    if isinstance(arg, (int, float)):
        raise BadMessage("out_of_range", f"{arg:g} is not allowed, use 0 or 1")
    raise BadMessage("wrong_type", f"takes T, F, 0 or 1, not {_type_word(arg)}")


def _word(arg: Any) -> str:
    if not isinstance(arg, str):
        raise BadMessage("wrong_type", f"takes a name, not {_type_word(arg)}")
    return arg


def _type_word(arg: Any) -> str:
    kinds: dict[type, str] = {bool: "T or F", int: "a number", float: "a number", str: "a string"}
    kinds |= {bytes: "a blob", list: "a list", type(None): "nil"}
    return kinds.get(type(arg), "that type")


def _matches(name: str, pattern: str) -> bool:
    """OSC 1.0 pattern matching within one part of an address."""
    before, brace, rest = pattern.partition("{")
    if brace:
        inside, _, after = rest.partition("}")
        return any(fnmatchcase(name, _no_brace(before + word + after)) for word in inside.split(",")[:32])
    return fnmatchcase(name, _no_brace(pattern))


def _no_brace(pattern: str) -> str:
    return pattern.replace("{", "?").replace("}", "?")[:128]


# ---- socket ----------------------------------------------------------------------------------


def encode(address: str, args: list[Any]) -> bytes:
    """One OSC message as bytes; whole numbers beyond 32 bits go as 64."""
    builder = OscMessageBuilder(address=address)
    for arg in args:
        if isinstance(arg, bool):
            builder.add_arg(arg)
        elif isinstance(arg, int):
            fits = -(2**31) <= arg < 2**31
            builder.add_arg(arg if fits else max(min(arg, 2**63 - 1), -(2**63)), "i" if fits else "h")
        else:
            builder.add_arg(float(arg) if isinstance(arg, float) else str(arg))
    return builder.build().dgram


class OscServer:
    """An OSC server on a UDP port. Use it with `with`.

    Parameters
    ----------
    handler : acts on the packets
    port : 0 takes any free one; see `port`
    host : 127.0.0.1 keeps other machines out
    """

    def __init__(self, handler: OscHandler, port: int = 9000, host: str = "127.0.0.1"):
        self.handler = handler
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        # A burst must not be lost while another thread holds the interpreter.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        try:
            self._socket.bind((host, port))
        except (OSError, OverflowError) as e:
            self._socket.close()
            reason = getattr(e, "strerror", None) or e
            raise CspaceError(f"OSC cannot listen on {host}:{port}: {reason}; choose another with --osc-port") from None
        self.host = host
        self.port = int(self._socket.getsockname()[1])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="cspace-osc", daemon=True)

    def start(self) -> OscServer:
        """Begins to listen."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stops. Idempotent."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)
        self._socket.close()

    def __enter__(self) -> OscServer:
        return self if self._thread.is_alive() else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                self._socket.settimeout(max(0.001, self.handler.run_due()))
                data, sender = self._socket.recvfrom(_BYTES)
            except TimeoutError:
                continue
            except OSError:  # e.g. a reply reached a closed port; the next packet may be fine
                if self._stop.wait(0.01):
                    return
                continue
            except Exception:  # the remote control must outlive any defect here
                _log.exception("OSC server")
                continue
            self.handler.handle(data, self._reply_to(sender))

    def _reply_to(self, sender: Any) -> Send:
        def send(address: str, args: list[Any]) -> None:
            try:
                self._socket.sendto(encode(address, args), sender)
                self.handler.counts["replies"] += 1
            except Exception:  # the sender is gone, or its port is none
                self.handler.counts["replies_lost"] += 1

        return send
