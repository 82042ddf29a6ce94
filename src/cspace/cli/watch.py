"""What `cspace live` does while it plays: the view, news, the wish to end, and devices that come back."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.live import Live

from ..clitools import note, out, say
from .signals import Request, Terminal

if TYPE_CHECKING:
    from ..realtime import Stream
    from ..realtime.errors import CspaceError
    from ..realtime.osc import OscHandler
    from ..realtime.stream import StreamStats

STEP_S = 0.1
RETRY_S = 1.0  # between two looks for a lost device


def tell(line: str, how: Callable[[str], None] = note) -> None:
    """Prints where somebody can still read it; a recording does not end because its log does."""
    with contextlib.suppress(OSError, ValueError, SystemExit):  # rich leaves the program for a closed pipe
        how(line)


@dataclass
class Watch:
    """A stream under watch until it ends, and why it did."""

    stream: Stream
    osc: OscHandler
    address: str
    request: Request
    seconds: float | None
    view: bool
    back: Callable[[], None]  # called when the device is back, maybe at another rate
    failed: CspaceError | None = None  # what ended it against the will of its user

    def __post_init__(self) -> None:
        self._terminal = Terminal()
        self._until = None if self.seconds is None else time.monotonic() + self.seconds
        self._told = 0

    def run(self) -> None:
        """Until the end of the file, the time, a signal, the terminal's end, or a loss for good."""
        from ..plugins.externalthread import serve, serving
        from ..realtime import CspaceError, DeviceLost
        from ..realtime.stream import is_file
        from ..realtime.view import OrderParameter, summary

        stats = self.stream.stats()
        order = OrderParameter(self.stream)
        with self._terminal.kept_tidy(), serving(), _Picture(self.view) as picture:
            while not self._over():
                serve()
                try:
                    if self.stream.wait(self._step()):
                        break
                except DeviceLost as e:
                    if is_file(self.stream.output):
                        self.failed = e  # another take would replace this one
                        break
                    tell(str(e))
                    if not self._come_back():
                        self.failed = None if self.request.asked.is_set() else e
                        break
                    continue
                except CspaceError as e:
                    self.failed = e
                    break
                stats = self.stream.stats()
                self._tell_news(stats)
                picture.show(self.stream, stats, order, self.osc, self.address)
            if self.stream.running or self.stream.finished:
                stats = self.stream.stats()
                self._tell_news(stats)
        tell(summary(self.stream, stats, self.osc), say)

    def _over(self) -> bool:
        if self._terminal.gone():
            self.request.ask(signal.SIGHUP)
        return self.request.asked.is_set() or (self._until is not None and time.monotonic() >= self._until)

    def _step(self) -> float:
        return STEP_S if self._until is None else min(STEP_S, max(0.0, self._until - time.monotonic()))

    def _tell_news(self, stats: StreamStats) -> None:
        for line in stats["news"][self._told :]:
            tell(line)
        self._told = len(stats["news"])

    def _come_back(self) -> bool:
        """Reopens a lost device as soon as it is there again; False if the time is over before."""
        from ..realtime import CspaceError

        tell("waiting for it; Ctrl-C stops")
        said = ""
        before = self.stream.sample_rate
        while not self._over():
            if self.request.asked.wait(RETRY_S):
                return False
            try:
                self.stream.reopen()
            except CspaceError as e:
                if str(e) != said:  # it runs at another rate now; a processor set meanwhile cannot play at its rate
                    said = str(e)
                    tell(said)
                continue
            after = self.stream.sample_rate
            self.back()
            self._told = 0
            tell("it is back" if after == before else f"it is back at {after:g} Hz, before it was {before:g} Hz")
            return True
        return False


class _Picture:
    """The meters on a terminal; whatever goes wrong with them, the sound plays on."""

    def __init__(self, on: bool):
        # No thread of its own: what a closed terminal raises is to arrive here.
        self._live = Live(console=out, auto_refresh=False, transient=True, redirect_stderr=False) if on else None

    def show(self, stream: Stream, stats: StreamStats, order: object, osc: OscHandler, address: str) -> None:
        """Draws the stream as it is now."""
        from ..realtime.view import OrderParameter, render_view

        if self._live is None:
            return
        assert isinstance(order, OrderParameter)
        try:
            self._live.update(render_view(stream, stats, order.read(), osc, address), refresh=True)
        except (OSError, ValueError):
            self._drop()
        except Exception as e:
            self._drop()
            tell(f"the view ended by {type(e).__name__}: {e}; the sound plays on")

    def __enter__(self) -> _Picture:
        if self._live is not None:
            try:
                self._live.start()
            except (OSError, ValueError):
                self._live = None
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def _drop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(OSError, ValueError, SystemExit):
                live.stop()
