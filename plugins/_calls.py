"""Audio handed over in calls: whole sounds, or a stream in pieces, whoever makes the sound.

Used by plugins alone and by chains. Thread: control.
"""

from __future__ import annotations

import threading
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _native

F32 = NDArray[np.float32]


class Sounding(Protocol):
    """What can be asked for sound piece by piece."""

    @property
    def latency_samples(self) -> int:
        """How late its output is."""
        ...

    def process(self, audio: F32, /) -> F32:
        """(channels, n) in and out, for any n."""
        ...

    def ahead(self, frames: int, /) -> F32:
        """What comes out if `frames` of silence follow: (channels, frames). What was heard so far stays as it is."""
        ...


class Alone:
    """A native processor on its own."""

    def __init__(self, core: _native.Processor, channels: int):
        self.core = core
        self.process = core.process
        self._channels = channels

    @property
    def latency_samples(self) -> int:
        """How late its output is."""
        return self.core.latency_samples

    def ahead(self, frames: int) -> F32:
        """What comes out if silence follows."""
        state = self.core.save_state()
        try:
            return self.core.process(np.zeros((self._channels, frames), np.float32))
        finally:
            self.core.load_state(state)


class Calls:
    """What is common to one call after another: only one runs at a time, and they agree on where sound belongs.

    `aligned` is how the last call was made: output sample n belongs to input sample n, for which the
    end of each piece is made as if silence followed.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.aligned = False

    def begin(self, reset: bool, compensate: bool | None) -> None:
        """Settles whether this call is aligned: as asked, else a whole sound is, and a piece is as the call before."""
        if compensate is not None:
            self.aligned = bool(compensate)
        elif reset:
            self.aligned = True

    def run(self, sound: Sounding, x: F32, size: int) -> F32:
        """One piece through `sound`, `size` frames at a time."""
        pieces = [sound.process(np.ascontiguousarray(x[:, i : i + size])) for i in range(0, x.shape[1], size)]
        late = sound.latency_samples if self.aligned else 0
        if not late or not x.shape[1]:
            return pieces[0] if len(pieces) == 1 else np.concatenate([x[:, :0], *pieces], axis=1)
        return np.ascontiguousarray(np.concatenate([*pieces, sound.ahead(late)], axis=1)[:, late:])


__all__ = ["Alone", "Calls", "Sounding"]
