"""Limits around an HTTP server that answers small questions at once. Thread: the server's own.

A connection is there for one question: it lives for seconds, brings some kilobytes, and when many are
open the oldest is cut. So half a request that never goes on (slow loris) costs the others nothing, and
files stay free for presets. What a browser asks for in the name of another site is refused.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections import Counter
from collections.abc import Callable

MAX_CONNECTIONS = 64
LIFE_S = 10.0  # of a connection, from its first byte to its last
#: One question brings this much at most, headers and all; Node.js allows as much. At worst all connections
#: hold theirs at once, several times over as Python's objects, and the heap stays as large: under attack the
#: process grew by 7 MB where this was 64 KiB, by 3 MB now.
MAX_BYTES = 16 * 1024


class Guard:
    """Makes the protocols of a server's connections, each within the limits.

    Parameters
    ----------
    make : makes the protocol that is guarded
    counts : what was cut is counted here
    """

    def __init__(self, make: Callable[[], asyncio.Protocol], counts: Counter[str]):
        self._make = make
        self.counts = counts
        self.open: dict[_Guarded, None] = {}  # oldest first
        self.buffer = bytearray(16 * 1024)

    def __call__(self) -> asyncio.BaseProtocol:
        """The protocol of a new connection."""
        return _Guarded(self, self._make())


class _Guarded(asyncio.BufferedProtocol):
    """One connection: hands all to the protocol inside until a limit is reached.

    Its buffer is one of all: asyncio's own are 256 KiB for each reading, and leave holes in the heap.
    """

    def __init__(self, guard: Guard, inside: asyncio.Protocol):
        self._guard = guard
        self._inside = inside
        self._left = MAX_BYTES
        self._transport: asyncio.Transport | None = None
        self._ends: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._guard.open) >= MAX_CONNECTIONS:
            next(iter(self._guard.open)).cut("http_too_many")
        self._guard.open[self] = None
        self._ends = asyncio.get_running_loop().call_later(LIFE_S, self.cut, "http_too_slow")
        self._inside.connection_made(transport)

    def cut(self, why: str) -> None:
        """Ends the connection at once; what was not sent is dropped."""
        self._guard.open.pop(self, None)
        self._guard.counts[why] += 1
        if self._transport is not None:
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._guard.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._left -= nbytes
        if self._left < 0:
            self.cut("http_too_large")
        else:
            self._inside.data_received(bytes(self._guard.buffer[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._inside.eof_received()

    def pause_writing(self) -> None:
        self._inside.pause_writing()

    def resume_writing(self) -> None:
        self._inside.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.open.pop(self, None)
        if self._ends is not None:
            self._ends.cancel()
        self._inside.connection_lost(exc)
        self._transport = None  # no cycle keeps what came and went


class CountingHandler(logging.Handler):
    """Counts what a server would log: anyone who sends nonsense could fill the terminal."""

    def __init__(self, counts: Counter[str]):
        super().__init__()
        self._counts = counts

    def emit(self, record: logging.LogRecord) -> None:
        """Counts it."""
        self._counts["http_bad_requests"] += 1


def silent_logger(counts: Counter[str]) -> logging.Logger:
    """A logger of nobody else's that prints nothing."""
    logger = logging.Logger("cspace.http")
    logger.addHandler(CountingHandler(counts))
    return logger


def is_wildcard(host: str) -> bool:
    """Whether a server bound to this host listens on all addresses."""
    try:
        return not host or ipaddress.ip_address(plain_ip(host)).is_unspecified
    except ValueError:
        return False


def plain_ip(address: str) -> str:
    """An IPv4 address that came in by IPv6 as itself; no scope."""
    address = address.split("%")[0]
    try:
        mapped = getattr(ipaddress.ip_address(address), "ipv4_mapped", None)
    except ValueError:
        return address
    return str(mapped or address)


def name_of(host: str) -> str | None:
    """The name or address in a Host header, lower case, without its port; None if it is none."""
    host = host.strip().lower()
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        if not bracket or (rest and not (rest.startswith(":") and rest[1:].isdigit())):
            return None
        try:
            return str(ipaddress.IPv6Address(name))
        except ValueError:
            return None
    name, colon, port = host.partition(":")
    return name if name and (not colon or port.isdigit()) else None


def known_names(host: str, bound: str, local: str) -> set[str]:
    """What a client may call us: the host we were told, the address it reached, our names if we are `bound` to all.

    Another site's page in a browser can reach us through a name of its own that points here; it must
    not read anything.
    """
    names = {host.lower(), plain_ip(local)} - {""}
    try:
        loopback = ipaddress.ip_address(plain_ip(local)).is_loopback
    except ValueError:
        loopback = False
    if loopback:
        names |= {"localhost", "127.0.0.1", "::1"}
    if is_wildcard(bound):
        own = socket.gethostname().lower()
        names |= {own, own.partition(".")[0], f"{own.partition('.')[0]}.local"} - {"", ".local"}
        names = {n for n in names if not is_wildcard(n) and n != "0"}
    return names
