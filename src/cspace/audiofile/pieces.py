"""The pieces of sound in a file: one, or the links of a chained Ogg file, all at the rate of the first.

Thread: control.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from ..plugins._errors import FileError
from .decoder import Decoder
from .headers import Header
from .ogg import Link, links
from .source import Source, View

F32 = NDArray[np.float32]


class Piece:
    """One piece of sound, given at the rate and with the channels of the file's first.

    Parameters
    ----------
    like : the first piece's rate in Hz and channels; None for this piece's own
    before : frames of the file before this piece, for messages
    """

    def __init__(self, source: Source, view: View | None, like: tuple[int, int] | None = None, before: int = 0):
        self._source, self._view, self._before = source, view, before
        self._decoder: Decoder | None = None
        found = self.decoder
        #: Rate in Hz and channels that the piece has by itself.
        self.own = (found.sample_rate, found.channels)
        self.sample_rate, self.channels = like or self.own
        self.frames = found.frames
        if self.frames is not None and self.sample_rate != found.sample_rate:
            self.frames = round(self.frames * self.sample_rate / found.sample_rate)
        #: Why decoding stopped before the end; empty if it did not.
        self.fault = ""
        #: What was passed over, in words.
        self.holes: list[str] = []
        self._start()

    @property
    def decoder(self) -> Decoder:
        """The piece's decoder, opened anew if it was closed."""
        if self._decoder is None:
            self._decoder = Decoder(self._source, self._view)
        return self._decoder

    def _start(self) -> None:
        self._silence = 0
        self._held = np.zeros((0, self.channels), np.float32)
        self._drained = False
        self._change: Any = None
        if self.own[0] != self.sample_rate:
            self._change = soxr.ResampleStream(
                self.own[0], self.sample_rate, self.channels, dtype="float32", quality="VHQ"
            )

    def read(self, size: int) -> F32:
        """The next frames [shape=(up to `size`, channels)]; none at the end."""
        if self._change is None:
            return self._fit(self._decoded(size))
        while len(self._held) < size and not self._drained:
            x = self._fit(self._decoded(size))
            self._drained = len(x) == 0
            y = self._change.resample_chunk(np.ascontiguousarray(x), last=self._drained)
            self._held = np.concatenate([self._held, y.reshape(-1, self.channels)])
        x, self._held = self._held[:size], self._held[size:]
        return x

    def _fit(self, x: F32) -> F32:
        """The piece's channels as those of the file's first piece."""
        here, wanted = x.shape[1], self.channels
        if here == wanted:
            return x
        if here == 1:
            return np.repeat(x, wanted, axis=1)
        if wanted == 1:
            return np.asarray(x.mean(axis=1, keepdims=True, dtype=np.float32))
        out = np.zeros((len(x), wanted), np.float32)
        out[:, :here] = x[:, :wanted]
        return out

    def _decoded(self, size: int) -> F32:
        decoder = self.decoder
        if self._silence:
            count = min(self._silence, size)
            self._silence -= count
            return np.zeros((count, decoder.channels), np.float32)
        x = decoder.read(size)
        if len(x) or not decoder.fault:
            return x
        at, fault = (self._before + decoder.position) / self.sample_rate, decoder.fault
        passed = decoder.resume()
        if not passed:
            self.fault = "" if _ends_with_a_tag(self._source) else fault
            return x
        self._silence = passed
        self.holes.append(f"is damaged {at:.3f} s from the start ({fault}); {passed} samples there are silent")
        return self._decoded(size)

    def seek(self, frame: int) -> int:
        """Goes to a frame from the start of the piece, or to its end; gives where it is now."""
        self._start()
        if self._change is None:
            self.decoder.seek(frame)
            return self.decoder.position
        self.decoder.seek(0)
        passed = 0
        while passed < frame and (count := len(self.read(min(65_536, frame - passed)))):
            passed += count
        return passed

    def close(self) -> None:
        """Closes the decoder; the next read opens it at the start."""
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            decoder.close()
        self._start()


def _ends_with_a_tag(source: Source) -> bool:
    """Whether there is an ID3v1 or APE tag at the end, which a FLAC decoder takes for a broken frame."""
    id3 = source.at(source.size - 128, 3) == b"TAG"
    return id3 or source.at(source.size - 32, 8) == b"APETAGEX"


def pieces_of(source: Source, header: Header | None, said: list[str]) -> list[Piece]:
    """The pieces in a file, at least one; `said` receives what was left out or converted. Raises FileError."""
    chain, torn = links(source) if source.at(0, 4) == b"OggS" else ([], False)
    if len(chain) < 2:
        first = Piece(source, None if header is None else header.mended)
        found = [first]
    else:
        found = _chained(source, chain, said)
        first = found[0]
    if torn or (chain and not chain[-1].ended):
        why = "its last page is not whole" if torn else "the mark of its end is missing"
        ends = sum(p.frames or 0 for p in found) / first.sample_rate
        said.append(f"is cut off after {ends:.3f} s ({why})")
    return found


def _chained(source: Source, chain: list[Link], said: list[str]) -> list[Piece]:
    first = Piece(source, View(source, chain[0].begin, chain[0].end))
    found, before = [first], first.frames or 0
    others, unread = [], []
    for number, link in enumerate(chain[1:], 2):
        try:
            piece = Piece(source, View(source, link.begin, link.end), first.own, before)
        except FileError as e:
            unread.append(f"{number} ({str(e).removeprefix(source.name + ': ')})")
            continue
        piece.close()  # of a long chain not all are open at once
        if piece.own != first.own:
            others.append(f"{number} ({piece.own[1]} channels at {piece.own[0]} Hz)")
        found.append(piece)
        before += piece.frames or 0
    many = f"is a chain of {len(chain)} Ogg files"
    if others:
        said.append(
            f"{many}; converted to the first's {first.channels} channels at {first.sample_rate} Hz: {_some(others)}"
        )
    if unread:
        said.append(f"{many}; left out: {_some(unread)}")
    return found


def _some(names: list[str]) -> str:
    shown = ", ".join(f"number {n}" for n in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
