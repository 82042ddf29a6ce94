"""The UDP socket that OSC comes in by, and the limits of what goes out. Thread: a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

from .listening import bound
from .oscpacket import encode
from .ratelimit import Buckets

if TYPE_CHECKING:
    from .osc import OscHandler, Send

_log = logging.getLogger(__name__)

_BYTES = 65_536
_RXQ_OVFL = getattr(socket, "SO_RXQ_OVFL", 40)  # Linux: each packet brings how many were dropped before it
_ANCILLARY = socket.CMSG_SPACE(4)

# Answers for a second and at once, to one sender and to all. The sender may be forged, so there are fewer of those
# that are longer than what causes them: an /error, and /stats, which is a packet for each processor: 15 times a second
# for 32 of them. A /pong is as long as its /ping.
ERRORS = ((200.0, 500.0), (1_000.0, 2_000.0))
STATS = ((500.0, 1_000.0), (1_000.0, 2_000.0))
ANSWERS = ((2_000.0, 4_000.0), (10_000.0, 20_000.0))


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
        self._socket = bound(host, port, socket.SOCK_DGRAM, "OSC", "choose another with --osc-port")
        # A burst must not be lost while another thread holds the interpreter.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _RXQ_OVFL, 1)
        except OSError:  # a system that does not count: `dropped_by_system` stays 0
            _log.debug("the system does not count dropped packets")
        self.address, self.port = (str(self._socket.getsockname()[0]), int(self._socket.getsockname()[1]))
        self.host = host or self.address
        self._errors, self._stats, self._answers = Buckets(*ERRORS), Buckets(*STATS), Buckets(*ANSWERS)
        self._buffer = bytearray(_BYTES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="cspace-osc", daemon=True)

    def start(self) -> OscServer:
        """Begins to listen."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stops; what waits to be built or for its time is dropped. Idempotent."""
        self._stop.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)
        self._socket.close()
        self.handler.close()

    def __enter__(self) -> OscServer:
        return self if self._thread.is_alive() else self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                if not self._serve_one() and self._stop.wait(0.01):
                    return

    def _serve_one(self) -> bool:
        """Waits for a packet until something else is due, and acts on it. False if it failed."""
        try:
            self._socket.settimeout(max(0.001, self.handler.run_due()))
            size, ancillary, _, sender = self._socket.recvmsg_into([self._buffer], _ANCILLARY)
            for level, kind, value in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, _RXQ_OVFL) and len(value) >= 4:
                    self.handler.counts["dropped_by_system"] = struct.unpack("=I", value[:4])[0]
            self.handler.handle(bytes(self._buffer[:size]), self._reply_to(sender))
        except TimeoutError:
            raise
        except OSError:  # e.g. a reply reached a closed port; the next packet may be fine
            return False
        except Exception:  # the remote control must outlive any defect here
            self.handler.count("defects")
            _log.debug("OSC server", exc_info=True)
            return False
        return True

    def _reply_to(self, sender: Any) -> Send:
        def send(address: str, args: list[Any]) -> None:
            allowed = self._errors if address == "/error" else self._answers
            if address.startswith("/stats"):
                allowed = self._stats
            if not allowed.take(sender):
                self.handler.count("replies_held_back")
                return
            try:
                self._socket.sendto(encode(address, args), sender)
                self.handler.count("replies")
            except Exception:  # the sender is gone, or its port is none
                self.handler.count("replies_lost")

        return send
