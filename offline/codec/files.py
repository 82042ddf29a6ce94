"""Sound files to `.csc` files and back, in bounded memory; damage is reported, not spread."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from ...audiofile import Reader, Writer, places
from ...outputs import settled
from ...plugins._errors import AudioError, FileError
from ...standardio import open_input
from ...wholefile import whole
from . import container
from .codec import Analyser, Codec, Synthesiser, by_hash, decode_codes, encode_codes, load
from .container import Damage, Header, Packet
from .rate import OnePass, Plan

F32 = NDArray[np.float32]
SUFFIX = ".csc"

#: Longest stretch of lost packets that is filled with silence; a longer one can only be a damaged index.
LONGEST_GAP_SECONDS = 600.0
Progress = Callable[[float], None]


@dataclass
class Encoded:
    """What an encoding was, in figures."""

    samples: int
    sample_rate: int
    channels: int
    bytes: int
    conversions: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return self.samples / self.sample_rate

    @property
    def kbps(self) -> float:
        """Bytes of the file, header and checks included, over its length."""
        return self.bytes * 8 / 1000 / max(self.seconds, 1e-9)


@dataclass
class Decoded:
    """What a decoding found."""

    samples: int
    sample_rate: int
    channels: int
    #: Stretches without sound, in words.
    gaps: list[str] = field(default_factory=list)
    damage: Damage = field(default_factory=Damage)


def planes(path: Path, sample_rate: int, channels: int, block: int, said: list[str] | None = None) -> Iterator[F32]:
    """Blocks [shape=(frames, channels)] of a file at `sample_rate`; 1 channel is the mean of all."""
    with Reader(path) as file:
        change: Any = None
        if file.sample_rate != sample_rate:
            change = soxr.ResampleStream(file.sample_rate, sample_rate, channels, dtype="float32", quality="VHQ")
            if said is not None:
                said.append(f"resampled from {file.sample_rate} to {sample_rate} Hz")
        if channels == 1 and file.channels > 1 and said is not None:
            said.append(f"{file.channels} channels averaged to one")
        for x in file.blocks(block):
            y = x if channels == file.channels else x.mean(axis=1, keepdims=True, dtype=np.float32)
            if change is not None:
                y = change.resample_chunk(np.ascontiguousarray(y), last=False).reshape(-1, channels)
            if len(y):
                yield y
        if change is not None:
            rest = change.resample_chunk(np.zeros((0, channels), np.float32), last=True).reshape(-1, channels)
            if len(rest):
                yield rest
        if said is not None:
            said += file.warnings
        if file.bad_samples and said is not None:
            said.append(f"{file.bad_samples} NaN or Inf samples set to 0")


def encode_file(
    codec: Codec,
    source: Path,
    target: Path,
    *,
    kbps: float | None = None,
    mono: bool = False,
    one_pass: bool = False,
    block: int = 65_536,
    progress: Progress | None = None,
) -> Encoded:
    """Encodes a sound file. The rate is for each channel; each is coded by itself.

    `target` ends in .csc and is not the source. Raises FileError for what cannot be read or written,
    AudioError for a file without samples.
    """
    spec = codec.spec
    if target.suffix.lower() != SUFFIX:
        raise FileError(f"{target}: is no name of an encoded file; it ends in {SUFFIX}")
    settled(target, inputs=[source], makes_folders=True)
    rate = spec.kbps if kbps is None else kbps
    with Reader(source) as file:
        channels = 1 if mono else file.channels
        layout = file.about().layout
        # Without a length in the header the progress stays at its beginning.
        expected = (file.frames or float("inf")) * spec.sample_rate / file.sample_rate
    if channels > 32:
        raise AudioError(f"{source}: has {channels} channels; at most 32 can be encoded, or one with --mono")
    said: list[str] = []
    if layout is not None and channels > 1:
        said.append(f"the speaker layout ({places(layout)}) has no room in a .csc file and is not kept")
    overhead = 8.0 * (container.PACKET_BYTES + 6)
    samples = 0
    controls: list[Plan | OnePass]
    if one_pass:
        controls = [OnePass(codec, rate, overhead) for _ in range(channels)]
    else:
        plans = [Plan(codec, rate, overhead) for _ in range(channels)]
        count = 0
        for channel, z, done in _packets(codec, source, channels, block, None):
            plans[channel].look(z)
            count += 1
            samples = done
            if progress is not None:
                progress(min(0.5, 0.5 * done / expected))
        for plan in plans:
            # The last packet is padded with silence; the rate is that of the sound, all bytes counted.
            spent = (8.0 * container.HEADER_BYTES + overhead * count) / channels
            plan.settle(rate * 1000.0 * samples / spec.sample_rate - spent)
        controls = list(plans)
    with whole(target, inputs=[source]) as part, open(part, "wb") as out:
        header = Header(codec.hash, spec.sample_rate, spec.hop, spec.dims, spec.packet_frames, channels, 0)
        out.write(header.pack())
        for index, (channel, z, done) in enumerate(_packets(codec, source, channels, block, said)):
            codes, step = controls[channel].choose(z)
            out.write(Packet(index, step, encode_codes(codec, codes)).pack())
            samples = done
            if progress is not None:
                progress(min(1.0, (0.0 if one_pass else 0.5) + (1.0 if one_pass else 0.5) * done / expected))
        if samples == 0:
            raise AudioError(f"{source}: has no samples")
        size = out.tell()
        out.seek(0)
        out.write(
            Header(codec.hash, spec.sample_rate, spec.hop, spec.dims, spec.packet_frames, channels, samples).pack()
        )
    return Encoded(samples, spec.sample_rate, channels, size, said)


def _packets(
    codec: Codec, source: Path, channels: int, block: int, said: list[str] | None
) -> Iterator[tuple[int, F32, int]]:
    """Channel, values and samples so far, packet by packet, channels in turn."""
    analysers = [Analyser(codec) for _ in range(channels)]
    samples = 0
    for x in planes(source, codec.spec.sample_rate, channels, block, said):
        samples += len(x)
        made = [a.push(np.ascontiguousarray(x[:, c])) for c, a in enumerate(analysers)]
        for group in zip(*made, strict=True):
            for channel, z in enumerate(group):
                yield channel, z, samples
    if samples:
        made = [a.flush() for a in analysers]
        for group in zip(*made, strict=True):
            for channel, z in enumerate(group):
                yield channel, z, samples


def check_model(codec: Codec, header: Header, name: str) -> None:
    """FileError if a file was made with another model."""
    s = codec.spec
    if header.model != codec.hash[:16]:
        raise FileError(
            f"{name}: was encoded with another model (hash {header.model.hex()}); "
            f"this is {codec.info.name} ({codec.hash[:16].hex()})"
        )
    if (header.sample_rate, header.hop, header.dims, header.packet_frames) != (
        s.sample_rate,
        s.hop,
        s.dims,
        s.packet_frames,
    ):
        raise FileError(f"{name}: its header does not go with the model {codec.info.name}")


def model_of(source: Path, name: str | None) -> Codec:
    """The model of a name, or the shipped one that a file names by its hash. Raises FileError."""
    if name is not None:
        return load(name)
    with open_input(source, "encoded file") as file:
        header = container.read_header(file, str(source))
    codec = by_hash(header.model)
    if codec is None:
        raise FileError(
            f"{source}: was encoded with a model that is not shipped (hash {header.model.hex()}); say --model"
        )
    return codec


class Decoder:
    """Packets of a file, in order or with some missing -> sound of all channels in step."""

    def __init__(self, codec: Codec, header: Header):
        self.codec, self.header = codec, header
        spec = codec.spec
        self.channels = header.channels
        self._parts = [Synthesiser(codec) for _ in range(self.channels)]
        self._length = spec.packet_frames * spec.hop
        self._skip = spec.delay_samples
        self._row: dict[int, tuple[int, bytes]] = {}
        self._at = 0
        self.samples = 0
        self.gaps: list[str] = []
        self.total_rows = -(-(header.samples + spec.delay_samples) // self._length)
        self._longest = max(1, round(LONGEST_GAP_SECONDS * spec.sample_rate / self._length))

    def push(self, packet: Packet) -> Iterator[F32]:
        """Sound [shape=(frames, channels)] that a packet completes, silence for packets missing before it."""
        row, channel = divmod(packet.index, self.channels)
        if row < self._at or (row == self._at and channel in self._row):
            self._say(f"packet {packet.index} comes again or too late; left out")
            return
        if row >= self.total_rows or row - self._at > self._longest:
            self._say(f"packet {packet.index} is beyond the file's length or a gap too long; left out")
            return
        while self._at < row:
            yield from self._finish()
        self._row[channel] = (packet.step, packet.codes)
        if len(self._row) == self.channels:
            yield from self._finish()

    def flush(self) -> Iterator[F32]:
        """What is left of a row that some packets are missing from; notes an early end."""
        if self._row:
            yield from self._finish()
        if self._at < self.total_rows:
            self._say(f"ends early: {self.samples} of {self.header.samples} samples are there")

    def _finish(self) -> Iterator[F32]:
        spec = self.codec.spec
        columns = []
        for channel, part in enumerate(self._parts):
            z = np.zeros((spec.packet_frames, spec.dims), np.float32)
            if channel in self._row:
                step, data = self._row[channel]
                try:
                    z = self.codec.values(decode_codes(self.codec, data), step)
                except FileError as e:
                    self._lost(channel, str(e))
            else:
                self._lost(channel, "packet missing or damaged")
            columns.append(part.push(z))
        self._row = {}
        self._at += 1
        y = np.stack(columns, axis=1)
        if self._skip:
            cut = min(self._skip, len(y))
            y, self._skip = y[cut:], self._skip - cut
        y = y[: max(0, self.header.samples - self.samples)]
        self.samples += len(y)
        if len(y):
            yield y

    def _lost(self, channel: int, why: str) -> None:
        rate = self.codec.spec.sample_rate
        start = max(0, self._at * self._length - self.codec.spec.delay_samples)
        end = min(self.header.samples, start + self._length)
        of = f", channel {channel}" if self.channels > 1 else ""
        self._say(f"{start / rate:.3f} to {end / rate:.3f} s{of}: {why}; silence there")

    def _say(self, line: str) -> None:
        if len(self.gaps) < 1000:
            self.gaps.append(line)


def decode_file(
    codec: Codec, source: Path, target: Path, *, subtype: str | None = None, progress: Progress | None = None
) -> Decoded:
    """Decodes a `.csc` file; what is damaged becomes silence and a line in the report.

    Raises FileError for a file that is none, was made with another model, or holds nothing to decode.
    """
    damage = Damage()
    with open_input(source, "encoded file") as file:
        size = max(1, file.seek(0, os.SEEK_END))
        file.seek(0)
        header = container.read_header(file, str(source))
        check_model(codec, header, str(source))
        decoder = Decoder(codec, header)
        # What the header promises, or, where it promises too much, all that so many bytes of packets can hold.
        packets = size // container.PACKET_BYTES // header.channels + 1
        frames = min(header.samples, packets * header.packet_frames * header.hop)
        with Writer(
            target, header.sample_rate, header.channels, frames=frames, subtype=subtype, inputs=[source]
        ) as out:
            for packet in container.read_packets(file, damage):
                for y in decoder.push(packet):
                    out.write(np.ascontiguousarray(y))
                if progress is not None:
                    progress(min(1.0, file.tell() / size))
            for y in decoder.flush():
                out.write(np.ascontiguousarray(y))
            if decoder.samples == 0:
                raise FileError(f"{source}: holds no packet that can be decoded")
    return Decoded(decoder.samples, header.sample_rate, header.channels, decoder.gaps, damage)
