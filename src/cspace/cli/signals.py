"""How a command is asked to end: signals and closed terminals. Only the command line listens to them.

Importing CSpace installs nothing. Thread: main, for all that installs.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name))
PATIENCE = 3  # the signal that is not waited for
_SHOW_CURSOR = b"\x1b[?25h"


class Stopped(SystemExit):
    """A signal other than Ctrl-C asks the command to end: whatever is unfinished is cleaned up on the way out."""

    def __init__(self, number: int):
        super().__init__(128 + number)


class Request:
    """Whether the command was asked to end, and by what."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.by: signal.Signals | None = None  # the first signal
        self._count = 0
        self._waits = False  # somebody watches `asked` and ends in order
        self._process = os.getpid()

    @property
    def exit_code(self) -> int:
        """0 where nobody asked, and for Ctrl-C, which is how a person ends what has no end of its own.

        128 plus the number for other signals, as shells say it: whoever sent it can tell that the command
        was cut short.
        """
        return 0 if self.by is None or self.by == signal.SIGINT else 128 + self.by

    def ask(self, number: int) -> None:
        """As if the signal had come."""
        self.by = self.by or signal.Signals(number)
        self.asked.set()

    def receive(self, number: int, frame: FrameType | None) -> Any:
        """The signal handler."""
        if os.getpid() != self._process:  # a forked worker is not ours to keep alive
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if not self._waits:
            raise KeyboardInterrupt if number == signal.SIGINT else Stopped(number)
        self._count += 1
        self.ask(number)
        for fd in (1, 2):  # a terminal that nobody reads (Ctrl-S, a stalled ssh) holds up no end
            if _is_tty(fd):
                os.set_blocking(fd, False)
        if self._count == PATIENCE - 1:
            _write(b"\ncspace: what was recorded is being completed; one more signal leaves without waiting for it\n")
        elif self._count >= PATIENCE:
            _write(_SHOW_CURSOR + b"\ncspace: left at once; `cspace recover` saves what is in the unfinished file\n")
            os._exit(128 + number)

    @contextlib.contextmanager
    def in_order(self) -> Iterator[Request]:
        """Within, a signal is noted in `asked` instead of raised, so that closing is never cut short."""
        before, self._waits = self._waits, True
        try:
            yield self
        finally:
            self._waits = before


_request: Request | None = None


@contextlib.contextmanager
def listening() -> Iterator[Request]:
    """Takes the signals that ask a command to end; those that were ignored (nohup, a job with `&`) stay so."""
    global _request
    if _request is not None:
        yield _request
        return
    request = _request = Request()
    before: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in ENDING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, request.receive)
        yield request
    finally:
        _request = None
        if request.asked.is_set():
            for fd in (1, 2):
                if _is_tty(fd):
                    os.set_blocking(fd, True)
        for number, handler in before.items():
            signal.signal(number, handler)


def _write(text: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(2, text)


class Terminal:
    """The terminal the command was started from, which may be closed meanwhile."""

    def __init__(self) -> None:
        self._ttys = [fd for fd in (0, 1, 2) if _is_tty(fd)]
        # Under nohup the command is meant to outlive its terminal.
        self._outlives = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN

    def gone(self) -> bool:
        """Whether it was closed; never for a command that is to outlive it, or was started from none."""
        if self._outlives or not self._ttys or not hasattr(select, "poll"):
            return False
        poll = select.poll()
        for fd in self._ttys:
            poll.register(fd, 0)
        return any(events & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, events in poll.poll(0))

    @contextlib.contextmanager
    def kept_tidy(self) -> Iterator[None]:
        """The cursor is there again afterwards, and no dead terminal gets a traceback."""
        try:
            yield
        finally:
            with contextlib.suppress(OSError, ValueError):
                if sys.stdout.isatty():
                    sys.stdout.flush()
                    os.write(sys.stdout.fileno(), _SHOW_CURSOR)
            _flush(sys.stdout)
            _flush(sys.stderr)


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        # The interpreter flushes once more at its end, and would complain with exit code 120.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_tty(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False
