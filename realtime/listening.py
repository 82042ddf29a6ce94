"""Where OSC and OSCQuery listen: one address from what the user calls a host, and one socket at it. Thread: any."""

from __future__ import annotations

import errno
import socket

from .errors import CspaceError

Address = tuple[str, int] | tuple[str, int, int, int]  # of IPv6 with its flow and its scope, as in fe80::1%eth0


def resolved(host: str, what: str) -> tuple[socket.AddressFamily, Address]:
    """The family and the address that a host stands for: an IPv4 one where it has one; every address for "".

    Raises CspaceError, which begins with `what` listens.
    """
    if not host:
        return socket.AF_INET, ("0.0.0.0", 0)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, TypeError, ValueError) as e:  # TypeError: a text of too many letters outside ASCII
        reason = getattr(e, "strerror", None) or "it is no name of a host"
        raise CspaceError(
            f"{what} cannot listen on the host {host!r}: {reason}; give an address of this machine"
        ) from None
    family, *_, address = min(found, key=lambda f: f[0] != socket.AF_INET)
    return family, address  # type: ignore[return-value]  # of these families


def bound(host: str, port: int, kind: socket.SocketKind, what: str, advice: str) -> socket.socket:
    """A socket at that host and port; 0 takes any free port. At `::` it takes IPv4 too.

    Raises CspaceError; `advice` is what to do where the port is not to be had.
    """
    family, address = resolved(host, what)
    made = socket.socket(family, kind)
    try:
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind((address[0], port, *address[2:]))
    except OSError as e:
        made.close()
        advice = advice if e.errno in (errno.EADDRINUSE, errno.EACCES) else "give an address of this machine"
        raise CspaceError(f"{what} cannot listen on {host or address[0]}:{port}: {e.strerror}; {advice}") from None
    except OverflowError:
        made.close()
        raise CspaceError(f"{what} cannot listen on port {port}: ports are 0 to 65535; {advice}") from None
    return made
