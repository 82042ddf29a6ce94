"""An audio file that appears whole or not at all. Thread: control."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from ..outputs import new_part, put, settled, why_not
from ..plugins._errors import FileError
from .about import About
from .carry import Carrier
from .formats import choose_format, reason
from .parts import claim

_BYTES = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "ULAW": 1,
    "ALAW": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
}
_UNBOUNDED = ("FLOAT", "DOUBLE")  # these keep samples beyond full scale
_PACKED = ("FLAC", "OGG", "MP3")
WAV_LIMIT = 4 * 1024**3 - 64 * 1024  # sizes in a WAV header are 32 bits wide
_SPARE_DISK = 1024 * 1024
_SET_ADD_PEAK_CHUNK = 0x1050


class Writer:
    """An audio file that appears under its name only when it is complete.

    Frames go to a hidden `.NAME.XXXXXXXX.part` beside the target. On a clean exit that file is
    flushed to disk and renamed; on an exception it is removed. A killed process leaves at most the
    hidden file. A link stays and the file it leads to is replaced; that file's mode is kept. WAV
    becomes RF64 by itself where it would pass 4 GB.

    Parameters
    ----------
    path : the final name; its suffix chooses the format
    inputs : files that are read meanwhile; `path` may be none of them
    frames : how many are expected, to check disk space and choose RF64; None if unknown
    subtype : libsndfile's name, such as PCM_16; None for FLOAT, or what suits the format
    about : what the source holds besides its sound (`Reader.about`), to be kept; `lost` says what cannot be
    """

    _fate = "; the unfinished file is removed"

    def __init__(
        self,
        path: str | os.PathLike[str],
        sample_rate: int,
        channels: int,
        *,
        frames: int | None = None,
        subtype: str | None = None,
        inputs: Iterable[str | os.PathLike[str] | None] = (),
        about: About | None = None,
    ):
        self.path = Path(path)
        self.sample_rate = int(sample_rate)
        self.channels = channels
        self.frames_written = 0
        self.clipped_samples = 0
        self.peak = 0.0
        self.format, self.subtype = choose_format(self.path, subtype)
        self._target = settled(self.path, inputs=inputs)
        packed = self.format in _PACKED  # its size is not known before
        size = 0 if packed else (frames or 0) * channels * _BYTES.get(self.subtype, 0)
        if self.format == "WAV" and size > WAV_LIMIT:
            self.format = "RF64"
        free = shutil.disk_usage(self._target.parent).free
        if size + _SPARE_DISK > free:
            raise FileError(
                f"{self.path}: {size / 1e6:.0f} MB are needed, but the disk has {free / 1e6:.0f} MB free; "
                "nothing is written"
            )
        self._carrier = Carrier(about, self.format, self.subtype, channels, int(sample_rate))
        self.format = self._carrier.format
        self._file: Any = None
        self._carried = False
        try:
            self._fd, self._part = new_part(self._target)
        except OSError as e:
            raise FileError(f"{self.path}: {why_not(e, self.path)}") from None
        claim(self._fd)  # nobody recovers it while this process lives
        try:
            self._file = sf.SoundFile(
                self._fd, "w", int(sample_rate), channels, self.subtype, format=self.format, closefd=False
            )
        except (sf.LibsndfileError, OSError, ValueError, TypeError) as e:
            self._discard()
            raise FileError(
                f"{self.path}: {self.format} {self.subtype} cannot be written with {channels} channels at "
                f"{sample_rate} Hz: {reason(e)}"
            ) from None
        # libsndfile stamps float files with the time (PEAK chunk): the same sound would give other
        # bytes every second. soundfile has no public way to switch that off.
        sf._snd.sf_command(self._file._file, _SET_ADD_PEAK_CHUNK, sf._ffi.NULL, 0)
        self._carrier.begin(self._file)

    def write(self, x: NDArray[np.float32]) -> None:
        """Appends float32 [shape=(frames, channels)]. Raises FileError, for a full disk among others."""
        if len(x) == 0:
            return
        level = float(np.max(np.abs(x)))
        self.peak = max(self.peak, level)
        if level > 1.0 and self.subtype not in _UNBOUNDED:
            self.clipped_samples += int(np.count_nonzero(np.abs(x) > 1.0))
            x = np.clip(x, -1.0, 1.0)
        try:
            self._file.write(x)
        except (sf.LibsndfileError, OSError, AssertionError, RuntimeError) as e:
            raise FileError(f"{self.path}: cannot be written: {self._why(e)}{self._fate}") from None
        self.frames_written += len(x)

    @property
    def lost(self) -> list[str]:
        """What the source holds besides its sound and this file cannot, in words; complete when it is closed."""
        return self._carrier.lost

    def _why(self, e: BaseException) -> str:
        with contextlib.suppress(OSError):
            if shutil.disk_usage(self._part.parent).free < _SPARE_DISK:
                return "the disk is full"
        if isinstance(e, AssertionError):
            return "the disk took fewer samples than given (disk full, or a size limit)"
        return reason(e)

    def _complete(self) -> None:
        """Closes the sound, puts the chunks behind it, flushes, checks that all arrived. Raises OSError and others."""
        self._file.close()
        self._sound_closed()
        if not self._carried:
            self._carrier.end(self._fd)
            self._carried = True
        os.fsync(self._fd)
        with sf.SoundFile(os.fsencode(self._part)) as check:  # its name may be no UTF-8
            if check.frames < self.frames_written and self.format not in ("MP3", "OGG"):
                raise OSError(f"only {check.frames} of {self.frames_written} frames arrived on the disk")

    def _sound_closed(self) -> None:
        """Between the sound and the chunks behind it."""

    def _close(self) -> None:
        """Lets go of the descriptor, and with it of the lock: until then nobody may take the part for a left one."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _finish(self) -> None:
        """Completes the file and gives it its name."""
        try:
            self._complete()
            put(self._part, self._target)
            self._close()
        except (sf.LibsndfileError, OSError, RuntimeError) as e:
            why = self._why(e)
            self._discard()
            raise FileError(f"{self.path}: cannot be finished: {why}{self._fate}") from None

    def _discard(self) -> None:
        if self._file is not None and not self._file.closed:
            with contextlib.suppress(sf.LibsndfileError, OSError, RuntimeError):
                self._file.close()
        self._close()
        with contextlib.suppress(OSError):
            self._part.unlink()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            self._finish()
        else:
            self._discard()
