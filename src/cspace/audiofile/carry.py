"""What one audio file holds besides its sound, put into another: loudspeakers, notes, marks, tags.

A WAV file's chunks go into a WAV file as they are. What the other format cannot hold is named in
`Carrier.lost`; nothing goes away in silence. Thread: control.
"""

from __future__ import annotations

import os
import struct
from typing import Any

import soundfile as sf

from .about import FLAC_LAYOUTS, About, places

_SET_CHANNEL_MAP = 0x1101
_RIFF = ("WAV", "WAVEX", "RF64")
# Their places count in frames of the file they are from.
_COUNTED = frozenset((b"cue ", b"smpl", b"plst"))
# Broadcast WAV (EBU Tech 3285): where its time in samples, version and measured loudness stand.
_BEXT_TIME, _BEXT_VERSION, _BEXT_LOUDNESS, _BEXT_BYTES = 338, 346, 412, 602
_NOT_MEASURED = struct.pack("<h", 0x7FFF)


class Carrier:
    """Puts what a source holds besides its sound into the file that is written.

    Parameters
    ----------
    about : of the source; None for none
    format, subtype : libsndfile's, of the file written
    channels, sample_rate : of the file written, Hz
    """

    def __init__(self, about: About | None, format: str, subtype: str, channels: int, sample_rate: int):
        self._about = about or About()
        self._channels, self._rate = channels, sample_rate
        #: What the file written cannot hold, in words.
        self.lost: list[str] = []
        self._layout = self._about.layout
        if self._layout is not None and len(self._layout) != channels:
            self._lose_layout(f"is for {len(self._layout)} channels, {channels} are written")
        self.format = format
        if self._layout is not None and format == "WAV":
            if sf.check_format("WAVEX", subtype):
                self.format = "WAVEX"  # WAVE_FORMAT_EXTENSIBLE: the same file with room for it
            else:
                self._lose_layout(f"cannot be written with {subtype}")

    def _lose_layout(self, why: str) -> None:
        self.lost.append(f"the speaker layout ({places(self._about.layout or ())}) {why}, so it is not kept")
        self._layout = None

    def begin(self, file: Any) -> None:
        """Puts in what goes before the sound, into a `soundfile.SoundFile` just opened to write."""
        layout = self._layout
        if layout is not None and not (self.format == "FLAC" and layout == FLAC_LAYOUTS.get(len(layout))):
            given = sf._ffi.new("int[]", layout)
            if not sf._snd.sf_command(file._file, _SET_CHANNEL_MAP, given, sf._ffi.sizeof(given)):
                self._lose_layout(f"cannot be written to {_article(self.format)} file")
        if self.format in _RIFF and self._about.chunks:
            return  # a WAV file's tags are among its chunks
        gone = []
        for name, value in self._about.tags.items():
            if name == "software":
                continue
            try:
                setattr(file, name, value)
            except (sf.LibsndfileError, RuntimeError, AttributeError):
                gone.append(name)
        if gone:
            self.lost.append(f"the tags {', '.join(gone)} cannot be written to {_article(self.format)} file")

    def end(self, fd: int) -> None:
        """Puts the chunks behind the sound of a finished WAV file. Raises OSError."""
        names = [_name(n) for n in self._about.too_large]
        kept = []
        for name, data in self._about.chunks:
            if self.format not in _RIFF:
                if name != b"LIST" or data[:4] != b"INFO":  # those went in as tags
                    names.append(_name(name))
            elif self._rate != self._about.sample_rate and (name in _COUNTED or data[:4] == b"adtl"):
                names.append(_name(name))  # marks at frames of another rate
            else:
                kept.append((name, self._changed(name, data)))
        if kept:
            _append(fd, kept)
        if names:
            into = "at another rate" if self.format in _RIFF else f"to {_article(self.format)} file"
            unique = ", ".join(dict.fromkeys(names))
            if self._about.too_large and self.format in _RIFF:
                into = "here"
            self.lost.append(f"the chunks {unique} cannot be written {into}")

    def _changed(self, name: bytes, data: bytes) -> bytes:
        if name != b"bext" or len(data) < _BEXT_BYTES:
            return data
        out = bytearray(data)
        if self._rate != self._about.sample_rate:
            (time,) = struct.unpack_from("<Q", out, _BEXT_TIME)
            struct.pack_into("<Q", out, _BEXT_TIME, min(round(time * self._rate / self._about.sample_rate), 2**64 - 1))
        if struct.unpack_from("<H", out, _BEXT_VERSION)[0] >= 2:
            out[_BEXT_LOUDNESS : _BEXT_LOUDNESS + 10] = 5 * _NOT_MEASURED  # it was that of another sound
        return bytes(out)


def _append(fd: int, chunks: list[tuple[bytes, bytes]]) -> None:
    size = os.fstat(fd).st_size
    body = b"\0" if size & 1 else b""
    for name, data in chunks:
        body += name + struct.pack("<I", len(data)) + data + (b"\0" if len(data) & 1 else b"")
    # The size first: what stands behind the sound is then known for chunks, wherever the program is killed.
    _tell_size(fd, size + len(body))
    at = size
    try:
        while body:
            count = os.pwrite(fd, body, at)
            at, body = at + count, body[count:]
    except OSError:
        os.ftruncate(fd, size)  # half a chunk would be taken for sound
        _tell_size(fd, size)
        raise


def _tell_size(fd: int, size: int) -> None:
    if os.pread(fd, 4, 0) == b"RF64":
        os.pwrite(fd, struct.pack("<Q", size - 8), 20)  # the ds64 chunk is the first
    else:
        os.pwrite(fd, struct.pack("<I", size - 8), 4)


def _name(chunk: bytes) -> str:
    return chunk.decode("ascii", "replace").strip()


def _article(format: str) -> str:
    return f"{'an' if format[0] in 'AO' or format in ('MP3', 'RF64') else 'a'} {format}"
