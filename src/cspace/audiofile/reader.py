"""An audio file read in blocks. Thread: control."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from ..plugins._errors import FileError, near
from .formats import reason

# More than the longest page holds: 255 packets of 1024 samples (Vorbis) or 960 (Opus).
_OGG_PAGE = 300_000


class Reader:
    """An audio file read in blocks; NaN and Inf become 0 and are counted.

    Raises FileError naming the file and the reason for a missing, unreadable or corrupt file.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.bad_samples = 0
        self.frames_read = 0
        if self.path.is_dir():
            raise FileError(f"{self.path}: is a folder, not an audio file")
        if not self.path.exists():
            beside = [p.name for p in self.path.parent.iterdir()] if self.path.parent.is_dir() else []
            raise FileError(f"{self.path}: there is no such file{near(self.path.name, beside)}")
        try:
            self._file = sf.SoundFile(os.fspath(self.path))
        except (sf.LibsndfileError, OSError, TypeError) as e:
            if self.path.stat().st_size == 0:
                raise FileError(f"{self.path}: the file is empty (0 bytes)") from None
            raise FileError(f"{self.path}: cannot be read as audio: {reason(e)}") from None
        self.sample_rate = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        self.frames = int(self._file.frames)  # what the header says; a cut-off file has fewer

    def blocks(self, size: int) -> Iterator[NDArray[np.float32]]:
        """The whole file in pieces: float32 [shape=(frames, channels)], up to `size` frames each."""
        while True:
            try:
                x = self._file.read(size, dtype="float32", always_2d=True)
            except (sf.LibsndfileError, OSError) as e:
                at = self.frames_read / self.sample_rate
                raise FileError(f"{self.path}: is damaged {at:.3f} s from the start: {reason(e)}") from None
            if len(x) == 0:
                return
            self.frames_read += len(x)
            bad = ~np.isfinite(x)
            if bad.any():
                self.bad_samples += int(bad.sum())
                x[bad] = 0.0
            yield x

    def seek(self, frame: int) -> None:
        """Goes to a frame counted from the start; `blocks` reads on from there. FileError where that fails."""
        # libsndfile 1.2.2 lands beside the frame in the last page of an Ogg file (192 samples off in
        # Vorbis at 24 kHz), so that one is read through from the page before.
        safe = min(frame, max(0, self.frames - _OGG_PAGE)) if self._file.format == "OGG" else frame
        try:
            self.frames_read = int(self._file.seek(safe))
            while self.frames_read < frame:
                passed = len(self._file.read(min(65536, frame - self.frames_read), dtype="float32", always_2d=True))
                if passed == 0:
                    break
                self.frames_read += passed
        except (sf.LibsndfileError, OSError, RuntimeError) as e:
            at = frame / self.sample_rate
            raise FileError(f"{self.path}: cannot be read from {at:.3f} s on: {reason(e)}") from None

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
