"""The file of a live recording: whatever happens, what was recorded is kept. Thread: one at a time."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from ..outputs import put
from ..plugins._errors import FileError
from .formats import reason
from .mend import mend
from .parts import put_free
from .writer import Writer

SYNC_S = 5.0  # a power cut takes at most this much
_UPDATE_HEADER_NOW = 0x1060
_SET_OGG_PAGE_LATENCY_MS = 0x1302
_PAGE_MS = 100.0  # of Opus; a page is what a kill loses, and 1 s by default
_WITH_SIZES = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF")  # an update in Ogg would begin a new stream
_BYTES_LIMIT = {"AIFF": 4 * 1024**3 - 64 * 1024, "AU": 4 * 1024**3 - 64 * 1024}  # sizes of 32 bits


class TakeError(FileError):
    """A recording could not be written to its end; the message says how much of it is kept."""

    exit_code = 1  # it broke while running


class Take(Writer):
    """A `Writer` that never loses what it was given.

    Every 5 s the header is brought up to date and the file flushed to the disk. When the disk is full
    or fails, what was written is mended, keeps its name, and later sound is counted in `frames_lost`:
    the stream plays on. A WAV beyond 4 GB becomes RF64 when it is finished.
    """

    _fate = ""

    def __init__(self, *args: Any, **settings: Any):
        super().__init__(*args, **settings)
        self.error: TakeError | None = None
        self.frames_lost = 0
        self._finished = False
        self._before = _identity(self._target)
        self._synced = time.monotonic()
        page = sf._ffi.new("double *", _PAGE_MS)
        sf._snd.sf_command(self._file._file, _SET_OGG_PAGE_LATENCY_MS, page, sf._ffi.sizeof("double"))

    def write(self, x: NDArray[np.float32]) -> None:
        """Appends float32 [shape=(frames, channels)]. Never raises for the disk: see `error`."""
        if self.error is not None or self._finished:
            self.frames_lost += len(x)
            return
        try:
            limit = _BYTES_LIMIT.get(self.format)
            if limit is not None and os.fstat(self._fd).st_size > limit:
                raise FileError(f"{self.path}: cannot be written: {self.format} holds at most 4 GB")
            super().write(x)
        except (FileError, OSError) as e:
            self.frames_lost += len(x)
            self._keep(str(e) if isinstance(e, FileError) else f"{self.path}: cannot be written: {self._why(e)}")
            return
        try:
            if time.monotonic() - self._synced > SYNC_S:
                self._sync()
        except OSError as e:  # the block itself was taken
            self._keep(f"{self.path}: cannot be written: {self._why(e)}")

    def _sync(self) -> None:
        if self.format in _WITH_SIZES:
            sf._snd.sf_command(self._file._file, _UPDATE_HEADER_NOW, sf._ffi.NULL, 0)
        getattr(os, "fdatasync", os.fsync)(self._fd)
        self._synced = time.monotonic()

    def finish(self) -> None:
        """Completes the file and gives it its name. Idempotent. Raises TakeError where a part is missing."""
        if not self._finished and self.error is None:
            if not self.frames_written and self._before is not None:
                self._discard()  # nothing was recorded: what was there stays
                self._finished = True
                return
            try:
                self._complete()
                self._name()
                self._finished = True
                self._close()
            except (sf.LibsndfileError, OSError, RuntimeError, AssertionError) as e:
                self._keep(f"{self.path}: cannot be finished: {self._why(e)}")
        self._finished = True
        if self.error is not None:
            raise self.error

    def _sound_closed(self) -> None:
        if self.format in _WITH_SIZES and self.frames_written:
            mend(self._part)  # beyond 4 GB the sizes of a WAV need another header

    def _name(self) -> None:
        """The target's name; a free one where somebody else has put a file there meanwhile."""
        if _identity(self._target) in (None, self._before):
            put(self._part, self._target)
        else:
            self._target = put_free(self._part, self._target)
            self.error = TakeError(
                f"{self.path}: another file came there meanwhile; this recording is in {self._target}"
            )

    def _keep(self, why: str) -> None:
        """Mends what is on the disk, gives it its name, and says so in `error`."""
        given = self.frames_written + self.frames_lost
        kept = 0
        try:
            with contextlib.suppress(sf.LibsndfileError, OSError, RuntimeError, AssertionError):
                self._file.close()
            if mend(self._part):
                with sf.SoundFile(os.fsencode(self._part)) as file:
                    kept = file.frames
            with contextlib.suppress(OSError):
                os.fsync(self._fd)
            if kept:
                self._name()
            else:
                self._part.unlink()
        except (sf.LibsndfileError, OSError) as e:
            self.error = TakeError(f"{why}; what was written is in {self._part} ({reason(e)}): see `cspace recover`")
        else:
            seconds = f"{kept / self.sample_rate:.2f} s"
            where = f" in {self._target}" if self.error is not None else ""
            self.error = TakeError(f"{why}; " + (f"{seconds} are kept{where}" if kept else "nothing was written"))
        self.frames_written, self.frames_lost = kept, given - kept
        self._close()

    def __exit__(self, *_: object) -> None:
        self.finish()


def _identity(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = os.stat(path, follow_symlinks=False)
        return found.st_dev, found.st_ino
    return None


__all__ = ["SYNC_S", "Take", "TakeError"]
