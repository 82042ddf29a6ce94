"""Offline render: a file of any length through a chain, in bounded memory.

The same engine as live runs in blocks, so the samples equal the live output bit for bit. Latency
is taken out, so input and output lie on top of each other. Thread: control.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from ..audiofile import Reader, Writer
from ..audiofile.parts import left_over
from ..outputs import protected, settled
from ..plugins._audio import RATES, check_rate, is_number
from ..plugins._params import to_native
from .callstream import held
from .chain import Chain
from .chaininputs import inputs_of
from .errors import CspaceError, ParameterError
from .sequence import Event as Moved
from .sequence import PartSequence

PIECE = 16_384  # frames in hand at once
ENGINE_BLOCK = 1024
FALLBACK_RATE = 48_000  # for files below the lowest rate of processors
AUTO_TAIL_S = 10.0

Event = tuple[float, str, Any]  # seconds, "eq.low_gain_db", value
Progress = Callable[[int, int], None]  # frames written, frames expected or 0


@dataclass
class Report:
    """What a render did."""

    frames: int = 0  # written
    sample_rate: int = 0  # of the file written
    chain_rate: float = 0.0  # the chain ran at
    channels: int = 0
    latency_samples: int = 0  # taken out, at the chain's rate
    bad_samples: int = 0  # NaN or Inf in the input, played as 0
    clipped_samples: int = 0  # beyond full scale in a format that cannot hold them
    peak: float = 0.0
    seconds: float = 0.0  # the render took
    warnings: list[str] = field(default_factory=list)

    @property
    def times_realtime(self) -> float:
        """Seconds of sound per second of work."""
        return self.frames / self.sample_rate / self.seconds if self.seconds and self.sample_rate else 0.0


def render(
    chain: Chain,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    sample_rate: float | None = None,
    subtype: str | None = None,
    tail: float | str = 0.0,
    automation: Iterable[Event] = (),
    progress: Progress | None = None,
) -> Report:
    """Renders `source` through `chain` into `target`.

    Parameters
    ----------
    chain : stays as it is; the render has its own copy of every native plugin
    source : any file libsndfile reads
    target : its suffix chooses the format; written at the source's rate and channel count. It
        appears under its name only when complete; an earlier file stays until then, and hands on
        its mode. A link stays, and the file it leads to is replaced. Never the source itself, nor a
        file that the chain is made from
    sample_rate : the rate in Hz the chain runs at; None for the chain's own wish, else the file's
    subtype : sample format such as PCM_16; None for float32 where the format can hold it
    tail : seconds to go on after the input ends, or "auto" for the chain's tail, at most 10 s
    automation : (seconds, "processor.parameter", value): sample-accurate parameter moves; those at or
        after the end have no effect and are told in `Report.warnings`
    progress : called with (frames written, frames expected); 0 are expected where the file does not say

    An input of 0 frames gives a valid file of 0 frames (plus tail) and a warning.
    Raises CspaceError: FileError for files, ParameterError for the chain and automation.
    """
    began = time.perf_counter()
    locked = protected(target)
    inputs = [source, *inputs_of(chain)]
    settled(target, inputs=inputs)
    foreign = [s.plugin for s in chain.slots if s.native is None]
    with Reader(source) as reader, held(foreign):
        rate = _chain_rate(chain, sample_rate, reader.sample_rate)
        events = _timed_events(chain, automation, rate)
        parts = chain.parts(rate, reader.channels, ENGINE_BLOCK, events)
        try:
            job = _Job(parts, reader, rate, _tail_frames(parts, tail, rate), events)
            added = round(job.tail * reader.sample_rate / rate)
            expected = None if reader.frames is None else reader.frames + added
            with Writer(
                target,
                reader.sample_rate,
                reader.channels,
                frames=expected,
                subtype=subtype,
                inputs=inputs,
                about=reader.about(),
            ) as writer:
                for y in job.output():
                    writer.write(y)
                    if progress is not None:
                        progress(writer.frames_written, expected or 0)
            faults = [f"{name} gave NaN or Inf and was muted {n}×" for name, n in parts.muted().items()]
        finally:
            parts.close()
    report = Report(
        frames=writer.frames_written,
        sample_rate=reader.sample_rate,
        chain_rate=rate,
        channels=reader.channels,
        latency_samples=job.latency,
        bad_samples=reader.bad_samples,
        clipped_samples=writer.clipped_samples,
        peak=writer.peak,
        seconds=time.perf_counter() - began,
    )
    report.warnings = [
        *_warnings(report, reader),
        *(f"{writer.path}: {words}" for words in writer.lost),
        *job.late_events(),
        *faults,
    ]
    if cut_off := left_over(target):
        report.warnings.append(cut_off)
    if locked:
        report.warnings.append(f"{target}: was write-protected; it is replaced and keeps its mode")
    return report


def _chain_rate(chain: Chain, asked: float | None, of_file: int) -> float:
    rate = chain.wanted_rate if asked is None else asked
    if rate is None:
        rate = min(of_file, RATES[1]) if of_file >= RATES[0] else FALLBACK_RATE
    return check_rate(rate)


def _tail_frames(parts: PartSequence, tail: float | str, rate: float) -> int:
    if tail == "auto":
        frames = parts.tail_samples
        return min(frames, int(AUTO_TAIL_S * rate))
    if isinstance(tail, str) or not is_number(tail) or not 0.0 <= tail <= 3600.0:
        raise CspaceError(f"tail = {tail!r} is not allowed, use 0 to 3600 seconds or 'auto'")
    return round(tail * rate)


def _warnings(report: Report, reader: Reader) -> list[str]:
    found = []
    if reader.frames_read == 0:
        found.append(f"{reader.path}: holds no samples")
    found += [f"{reader.path}: {words}" for words in reader.warnings]
    if report.bad_samples:
        found.append(f"{reader.path}: {report.bad_samples} samples were NaN or Inf and are played as 0")
    if report.clipped_samples:
        found.append(f"{report.clipped_samples} samples lie beyond full scale and were clipped")
    return found


class _Job:
    """The stream from input blocks to output blocks: resample, process, cut latency, resample back."""

    def __init__(self, parts: PartSequence, reader: Reader, rate: float, tail: int, events: list[Moved]):
        self.parts = parts
        self.reader = reader
        self.rate = rate
        self.tail = tail
        self.latency = parts.latency_samples
        self._events = events
        self._ended = False
        self._heard = 0  # frames of the input, at the chain's rate

    def output(self) -> Iterator[NDArray[np.float32]]:
        """Float32 [shape=(frames, channels)] at the file's rate: as many as came in, plus the tail."""
        if self.rate == self.reader.sample_rate:
            yield from self._process(self.reader.blocks(PIECE))
            return
        up = _resample(self.reader.blocks(PIECE), self.reader.sample_rate, self.rate, self.reader.channels)
        down = _resample(self._process(up), self.rate, self.reader.sample_rate, self.reader.channels)
        written = 0
        for y in down:
            # Rounding in two resamplers may add or lose a frame; the length is the input's.
            room = self._wanted() - written if self._ended else len(y)
            yield y[:room]
            written += min(len(y), room)
        missing = self._wanted() - written
        if missing > 0:
            yield np.zeros((missing, self.reader.channels), np.float32)

    def late_events(self) -> list[str]:
        """Automation at or after the end of what was written, in a sentence; none if there was none."""
        end = self._heard + self.tail
        late = [e for e in self._events if e[0] >= end]
        if not late:
            return []
        at, name, param, _ = late[0]
        many = f"{len(late)} automation events lie" if len(late) > 1 else "1 automation event lies"
        return [
            f"{many} at or after the end, {end / self.rate:g} s, and had no effect; the first is "
            f"{name}.{param} at {at / self.rate:g} s"
        ]

    def _wanted(self) -> int:
        return self.reader.frames_read + round(self.tail * self.reader.sample_rate / self.rate)

    def _process(self, blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        for x in blocks:
            self._heard += len(x)
            yield self._fed(x)
        self._ended = True
        for n in [PIECE] * (self.tail // PIECE) + [self.tail % PIECE]:
            yield self._fed(np.zeros((n, self.reader.channels), np.float32))
        rest = self.parts.finish()
        if rest is not None:
            yield np.ascontiguousarray(rest.T)

    def _fed(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.parts.feed(np.ascontiguousarray(x.T)).T)


def _timed_events(chain: Chain, automation: Iterable[Event], rate: float) -> list[Moved]:
    events: list[Moved] = []
    slots = {s.name: s for s in chain.slots}
    for at, address, value in automation:
        name, _, param = str(address).partition(".")
        slot = slots.get(name)
        if slot is None:
            raise ParameterError(f"automation of {address!r}: the chain has no processor {name!r}")
        if not is_number(at) or not 0.0 <= at < 1e9:
            raise ParameterError(f"automation of {address!r} at {at} s: use a time from 0 on")
        native = slot.native
        if native is None:  # its part checks it
            events.append((round(at * rate), name, param, value))
            continue
        if param in native._array_infos:
            raise ParameterError(f"automation of {address!r}: an array cannot be automated; automate a parameter")
        info = native._param(param)
        if native.staged:
            raise ParameterError(f"automation of {address!r}: a {native.native_name} decides by itself; automate an eq")
        if info["setup"]:
            raise ParameterError(f"automation of {address!r}: this rebuilds the processor and cannot be timed")
        events.append((round(at * rate), name, param, to_native(name, info, value)))
    events.sort(key=lambda e: e[0])
    return list({e[:3]: e for e in events}.values())  # of several at one sample, the last holds


def _resample(
    blocks: Iterator[NDArray[np.float32]], rate_in: float, rate_out: float, channels: int
) -> Iterator[NDArray[np.float32]]:
    """Streams through soxr (very high quality); aligned, as it takes out its own delay."""
    stream = soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32", quality="VHQ")
    for x in blocks:
        if len(x):
            yield stream.resample_chunk(x).reshape(-1, channels)
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).reshape(-1, channels)
