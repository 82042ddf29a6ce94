"""libsndfile, read to the end of the sound: through `soundfile`, but without its trust in headers.

`soundfile` reads no further than the header says, seeks after every read (which fails in a FLAC
file without a length) and throws away what a read gave before an error. Thread: control.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from ..plugins._errors import FileError
from .formats import reason
from .source import Source, View

_UNKNOWN = 1 << 62  # libsndfile says 2**63 - 1 frames for a length that it does not know
# More than the longest page holds: 255 packets of 1024 samples (Vorbis) or 960 (Opus).
_OGG_PAGE = 300_000
_SKIPPED = 65_536
_FLAC_BLOCK = 4096
_FARTHEST = 1 << 26  # frames looked ahead for sound behind damage where the length is not known
_GET_CHANNEL_MAP = 0x1100


class Decoder:
    """The frames of one piece of sound, one after another.

    Parameters
    ----------
    source : the file
    view : a part of it, or the file under a mended header; None for the file as it is

    Raises FileError naming the file for what cannot be decoded.
    """

    def __init__(self, source: Source, view: View | None = None):
        self._source, self._view = source, view
        if view is None and (source.begin or not source.whole_file):
            self._view = View(source, 0, source.size)
        self._open()
        self.sample_rate = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        self.format = str(self._file.format)
        self.subtype = str(self._file.subtype)
        frames = int(self._file.frames)
        #: By the header, or counted by libsndfile; None where neither knows.
        self.frames = frames if 0 <= frames < _UNKNOWN else None
        #: Frames from the start of this piece to the next one read.
        self.position = 0
        #: Why decoding stopped before the end; empty if it did not.
        self.fault = ""

    def _open(self) -> None:
        file: Any = self._view
        if self._view is None:
            os.lseek(self._source.fd, 0, os.SEEK_SET)
            file = self._source.fd
        else:
            self._view.seek(0)
        try:
            self._file = sf.SoundFile(file, closefd=False)
        except (sf.LibsndfileError, OSError, TypeError, ValueError, RuntimeError) as e:
            if self._source.size == 0:
                raise FileError(f"{self._source.name}: the file is empty (0 bytes)") from None
            raise FileError(f"{self._source.name}: cannot be read as audio: {reason(e)}") from None

    def read(self, frames: int) -> NDArray[np.float32]:
        """The next frames, float32 [shape=(up to `frames`, channels)]; none at the end and at a fault."""
        x = np.empty((frames, self.channels), np.float32)
        got = int(sf._snd.sf_readf_float(self._file._file, sf._ffi.cast("float *", x.ctypes.data), frames))
        code = int(sf._snd.sf_error(self._file._file))
        self.position += max(0, got)
        if code and not self.fault and (self.frames is None or self.position < self.frames):
            words = sf._ffi.string(sf._snd.sf_error_number(code)).decode("utf-8", "replace")
            self.fault = words.removeprefix("Error : ").strip().rstrip(".")
        return x[: max(0, got)]

    def seek(self, frame: int) -> None:
        """Goes to a frame, or to the end if that comes before."""
        # libsndfile 1.2.2 lands beside the frame in the last page of an Ogg file (192 samples off in
        # Vorbis at 24 kHz), so that one is read through from the page before.
        near = min(frame, max(0, (self.frames or frame) - _OGG_PAGE)) if self.format == "OGG" else frame
        at = int(sf._snd.sf_seek(self._file._file, near, os.SEEK_SET))
        if not 0 <= at <= frame:
            # No way to go there: a file without a length, or one that ends before.
            self.close()
            self._open()
            at = 0
        self.position, self.fault = at, ""
        while self.position < frame and len(self.read(min(_SKIPPED, frame - self.position))):
            pass

    def resume(self) -> int:
        """Behind damage, goes to the next frame that can be decoded; the frames passed over, 0 if there are none.

        FLAC frames carry their place, so that what follows stays in time.
        """
        if self.format != "FLAC":
            return 0
        broken, fault = self.position, self.fault
        last = self.frames if self.frames is not None else broken + _FARTHEST
        step, tries = _FLAC_BLOCK, 0
        while broken + step < last:
            self.close()
            self._open()
            if int(sf._snd.sf_seek(self._file._file, broken + step, os.SEEK_SET)) == broken + step:
                self.position, self.fault = broken + step, ""
                if len(self.read(1)):
                    self.close()
                    self._open()
                    sf._snd.sf_seek(self._file._file, broken + step, os.SEEK_SET)
                    self.position, self.fault = broken + step, ""
                    return step
            tries += 1
            step += _FLAC_BLOCK if tries < 8 else step
        self.position, self.fault = broken, fault
        return 0

    def channel_map(self) -> tuple[int, ...] | None:
        """What loudspeaker each channel is for, in libsndfile's numbers; None where the file does not say."""
        places = sf._ffi.new("int[]", self.channels)
        size = self.channels * sf._ffi.sizeof("int")
        if not sf._snd.sf_command(self._file._file, _GET_CHANNEL_MAP, places, size):
            return None
        found = tuple(int(p) for p in places)
        return found if all(found) else None

    def tags(self) -> dict[str, str]:
        """Title, artist and the like, by libsndfile's names."""
        return {str(k): str(v) for k, v in self._file.copy_metadata().items() if v}

    def close(self) -> None:
        """Closes libsndfile's side; the source stays open."""
        self._file.close()
