"""An audio file read in blocks, to its true end. Thread: control."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..plugins._errors import FileError
from .about import About, about
from .headers import Header, pass_over_tag, read_header
from .pieces import Piece, pieces_of
from .source import Source

_SKIPPED = 65_536
# Formats whose header may promise frames that are not there, and libsndfile believes it.
_PROMISES = ("FLAC", "MP3", "MPEG")
# Of subtypes whose samples are so many bytes each.
_SAMPLE_BYTES = {
    "PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8, "ULAW": 1, "ALAW": 1,
}  # fmt: skip


class Reader:
    """An audio file read in blocks; NaN and Inf become 0 and are counted.

    A file that ends before its header says so, a damaged one and a chained Ogg file give what is in
    them, and `warnings` says what is missing. A file written to a pipe, whose header has no length,
    is read like any other.

    Parameters
    ----------
    path : a file, or `-` for standard input

    Raises FileError naming the file and the reason for a missing, unreadable or corrupt file, and for
    one whose header promises sound of which nothing is there: some kinds when they are read.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._source = Source(path)
        self.path: Path = self._source.path
        #: Samples that were NaN or Inf.
        self.bad_samples = 0
        #: Frames given by `blocks`, or passed over by `seek`.
        self.frames_read = 0
        #: What is wrong with the file, in words that follow its name; complete when all of it has been read.
        self.warnings: list[str] = []
        self._pieces: list[Piece] = []
        self._at = 0  # the piece that is read
        self._complete = False  # `warnings` is
        try:
            pass_over_tag(self._source)
            self._header = read_header(self._source)
            self._pieces = pieces_of(self._source, self._header, self.warnings)
            self._begin()
        except BaseException:
            self.close()
            raise

    def _begin(self) -> None:
        first = self._pieces[0]
        self.sample_rate = first.sample_rate
        self.channels = first.channels
        #: As many as there should be; None where neither header nor pages say it. A cut-off file may
        #: give fewer: see `length`.
        self.frames: int | None = None
        if all(p.frames is not None for p in self._pieces):
            self.frames = sum(p.frames or 0 for p in self._pieces)
        self._length: int | None = None
        if self._header is not None and self._header.cut:
            self._cut_off(self._header)

    def _cut_off(self, header: Header) -> None:
        """Says that the header promises more than is there."""
        got, claimed = self.frames or 0, header.claimed or 0
        frame = _SAMPLE_BYTES.get(self._pieces[0].decoder.subtype, 0) * self.channels
        if frame:
            self._promised(got, claimed // frame)
        else:
            self._promised(got, got * claimed / header.there if got and header.there else 1)

    def _promised(self, got: int, said: float) -> None:
        """Says that there is less than the header promises; raises FileError where there is nothing."""
        if said - got < 1:
            return
        if not got:
            raise FileError(f"{self.path}: is cut off before its sound begins")
        rate = self.sample_rate
        there, promised = f"{got / rate:.3f} s", f"{said / rate:.3f} s"
        if there == promised:
            there, promised = f"{got} samples", f"{round(said)} samples"
        self.warnings.append(f"ends after {there}, though its header promises {promised}")

    def about(self) -> About:
        """What else the file holds: which loudspeaker each channel is for, notes, marks, tags."""
        return about(self._pieces[0].decoder, self._header)

    def blocks(self, size: int) -> Iterator[NDArray[np.float32]]:
        """The rest of the file in pieces: float32 [shape=(frames, channels)], up to `size` frames each."""
        while self._at < len(self._pieces):
            piece = self._pieces[self._at]
            x = piece.read(size)
            if self._source.failed:
                at = self.frames_read / self.sample_rate
                raise FileError(f"{self.path}: cannot be read from {at:.3f} s on: {self._source.failed}")
            if len(x) == 0:
                if piece.fault and not self.frames_read:
                    raise FileError(f"{self.path}: is damaged 0.000 s from the start: {piece.fault}")
                self._next_piece()
                continue
            self.frames_read += len(x)
            bad = ~np.isfinite(x)
            if bad.any():
                self.bad_samples += int(bad.sum())
                x[bad] = 0.0
            yield x
        self._finish()

    def _next_piece(self) -> None:
        if len(self._pieces) > 1:
            self._pieces[self._at].close()
        self._at += 1
        if self._at < len(self._pieces):
            self._pieces[self._at].seek(0)

    def _finish(self) -> None:
        """All was read: the warnings are complete."""
        if self._complete:
            return
        self._complete = True
        for piece in self._pieces:
            self.warnings += piece.holes
        faults = [p.fault for p in self._pieces if p.fault]
        if self.frames is not None and self.frames_read < self.frames:
            self._promised(self.frames_read, self.frames)
        elif faults:
            ends = self.frames_read / self.sample_rate
            self.warnings.append(f"is cut off or damaged after {ends:.3f} s: {faults[0]}")

    def seek(self, frame: int) -> None:
        """Goes to a frame counted from the start, at most to the end; `blocks` reads on from there."""
        before = 0
        for at, piece in enumerate(self._pieces):
            self._at = at
            last = at == len(self._pieces) - 1
            if last or piece.frames is None or frame < before + piece.frames:
                self.frames_read = before + piece.seek(frame - before)
                return
            before += piece.frames

    def read(self, frames: int) -> NDArray[np.float32]:
        """The next frames in one array, float32 [shape=(frames, channels)]; fewer only at the end."""
        found = [np.zeros((0, self.channels), np.float32)]
        left = frames
        while left > 0 and (x := next(self.blocks(left), None)) is not None:
            found.append(x)
            left -= len(x)
        return np.concatenate(found)

    def length(self) -> int:
        """Frames that there are, and `seek` can go to; `blocks` starts at the beginning afterwards.

        Where the header says nothing, or more than can be decoded, they are counted by reading through.
        """
        if self._length is None:
            self._length = self.frames
            if self.frames is None or (self._pieces[0].decoder.format in _PROMISES and not self._ends_at(self.frames)):
                self.seek(0)
                for _ in self.blocks(_SKIPPED):
                    pass
                self._length = self.frames_read
        self.seek(0)
        self.bad_samples = 0
        return self._length or 0

    def _ends_at(self, frames: int) -> bool:
        if frames == 0:
            return True
        self.seek(frames - 1)
        return self.frames_read == frames - 1 and len(self._pieces[self._at].read(1)) == 1

    def close(self) -> None:
        """Closes the file."""
        for piece in self._pieces:
            piece.close()
        self._source.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
