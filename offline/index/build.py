"""Building an index: many files on all cores, in bounded memory, going on where a killed build was.

Thread: control. Decoding, resampling and the bank leave the GIL free, so the workers are threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...arrayfile import read_npy
from ...audiofile import Reader
from ...outputs import settled_folder, why_not
from ...plugins._errors import AudioError, CspaceError, FileError, ParameterError
from ..audio import stream_mono
from .contents import BuildReport, keep, look_into, reason_alone
from .quantise import Quantiser
from .spec import IndexSpec
from .store import (
    MANIFEST,
    Manifest,
    Piece,
    Shard,
    Skipped,
    Source,
    as_text,
    is_whole,
    read_manifest,
    recordings_root,
    write_manifest,
    write_rows,
)

F32 = NDArray[np.float32]

#: Frames of a piece beyond the overlap, and of a shard: 11 and 44 minutes at the default hop. A piece
#: and a shard as float32 are 4 and 17 MB, which bounds the memory of a build.
PIECE_FRAMES = 1 << 15
SHARD_ROWS = 1 << 17

#: Largest energy taken, that of a sine of 100 times full scale: recordings of one shard share its
#: quantiser's range, which a louder one would take for itself.
LOUDEST = 1e4


class Stopped(Exception):  # noqa: N818 - not an error
    """Raised in workers once the build is interrupted."""


def build(
    folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    spec: IndexSpec | None = None,
    *,
    jobs: int | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> BuildReport:
    """Makes the index `target` of all recordings under `folder`, or brings it up to date.

    Files that are in it unchanged (by size and time of change) are left alone, changed ones are
    taken in again (as are those whose shards are damaged), missing ones dropped. Files that cannot
    be read are reported and left out. Folders and files that the system refuses, and links that lead
    nowhere, may be there again tomorrow: they are reported, and what the index has of them stays. A
    link to a folder is followed once. An interrupted or killed build leaves a good index of what was
    done; the next build goes on.

    Parameters
    ----------
    spec : settings; None for those the index already has, or the defaults. One that differs from
        the index's is a ParameterError.
    jobs : worker threads; None for one per core
    progress : called with (files done, files to do, seconds of sound done)

    Raises AudioError for a folder without audio files, FileError for what cannot be written,
    IndexFormatError for a damaged manifest, ParameterError for jobs below 1.
    """
    if jobs is not None and jobs < 1:
        raise ParameterError(f"jobs is {jobs}; it is 1 or more")
    root, target = Path(folder), Path(target)
    if os.path.isfile(root):
        raise AudioError(f"{root}: is a file; an index is built over a folder")
    report = BuildReport()
    look, found = look_into(root, report)
    settled_folder(target)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise FileError(f"{target}: {why_not(e, target)}") from None
    _check_own(target)  # nothing is put into a folder that is no index's
    with _alone(target):
        writer = _Writer(target, _start(root, target, spec))
        kept = keep(root, look, found, writer, report)
        try:
            return _run(
                found, kept, report, writer, jobs or len(os.sched_getaffinity(0)), progress or (lambda *_: None)
            )
        except _UnwritableError as e:
            raise FileError(str(e)) from None


def frames_of(
    path: Path, spec: IndexSpec, said: list[str] | None = None, faults: list[str] | None = None
) -> Iterator[tuple[F32, int]]:
    """Features of a recording, block by block [shape=(frames, channels)], and the samples each block took in."""
    bank = spec.bank.bank(spec.sample_rate, spec.hop)
    for x in stream_mono(path, spec.sample_rate, conversions=said, faults=faults):
        yield spec.compress(bank.energies(x)), len(x)


def _check_own(target: Path) -> None:
    """FileError for a folder that holds something else."""
    try:
        if not (target / MANIFEST).exists() and any(not p.name.startswith(".") for p in target.iterdir()):
            raise FileError(f"{target}: is not empty and holds no index; name a new folder")
    except OSError as e:
        if isinstance(e, FileError):
            raise
        raise FileError(f"{target}: {why_not(e, target)}") from None


def _start(root: Path, target: Path, spec: IndexSpec | None) -> Manifest:
    """The manifest to go on from; a new one if there is none."""
    relative, relative_bytes = as_text(os.path.relpath(root.resolve(), target.resolve()))
    if not (target / MANIFEST).exists():
        _check_own(target)
        (spec or IndexSpec()).check()
        manifest = Manifest(root=relative, root_bytes=relative_bytes, spec=spec or IndexSpec())
        write_manifest(target, manifest)  # from here on the folder is known as an index
        return manifest
    manifest = read_manifest(target)
    if (manifest.root, manifest.root_bytes) != (relative, relative_bytes):
        there = recordings_root(target, manifest)
        raise ParameterError(f"{target}: is an index of {there}, not of {root}; name another folder for the index")
    if spec is not None and spec != manifest.spec:
        old, new = manifest.spec.model_dump(), spec.model_dump()
        which = ", ".join(f"{k} {old[k]} (asked for: {new[k]})" for k in old if old[k] != new[k])
        raise ParameterError(f"{target}: was built with other settings: {which}; leave them out or name a new folder")
    return manifest


def _run(
    found: dict[str, Path],
    kept: set[str],
    report: BuildReport,
    writer: _Writer,
    jobs: int,
    progress: Callable[[int, int, float], None],
) -> BuildReport:
    todo: list[tuple[str, Path]] = []
    for name, path in found.items():
        if writer.is_current(name, path):
            report.unchanged += 1
        else:
            todo.append((name, path))
    report.removed = sum(name not in found and name not in kept for name in writer.sources)
    writer.keep_only((found.keys() - dict(todo).keys()) | kept)
    # Large files first, so that no core is left with one of them at the end.
    todo.sort(key=lambda item: -_bytes(item[1]))
    stop = threading.Event()
    running: dict[Future[tuple[Source, list[str]]], str] = {}
    waiting = iter(todo)
    done = 0
    progress(0, len(todo), 0.0)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while True:
                # No more are handed out than can run soon, so that an interrupt has little to wait for.
                while len(running) < 2 * jobs and (item := next(waiting, None)) is not None:
                    running[pool.submit(_take_in, *item, writer, stop)] = item[0]
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(future)
                    done += 1
                    try:
                        source, faults = future.result()
                    except _FILE_FAULTS as e:
                        writer.discard(name)
                        report.skipped.append(Skipped(path=name, why=reason_alone(e, found[name])))
                        continue
                    writer.finish(source)
                    report.added += 1
                    report.notes += [f"{name}: {fault}" for fault in faults]
                    report.seconds += source.samples / writer.spec.sample_rate
                progress(done, len(todo), report.seconds)
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            for future, name in running.items():
                if not future.cancelled() and future.exception() is None:
                    writer.finish(future.result()[0])
                else:
                    writer.discard(name)
            with contextlib.suppress(FileError):  # of a disk that is full the first error counts
                writer.close(report.skipped)
            raise
    report.skipped.sort(key=lambda s: s.path)
    writer.close(report.skipped)
    return report


class _UnwritableError(Exception):
    """The index cannot be written: the build ends, no recording is to blame."""


# What a broken recording can raise out of decoding and resampling.
_FILE_FAULTS = (CspaceError, OSError, RuntimeError, ValueError, EOFError)


def _take_in(name: str, path: Path, writer: _Writer, stop: threading.Event) -> tuple[Source, list[str]]:
    """Reads one recording into the writer, piece by piece; what is wrong with it besides. Thread: a worker."""
    spec, status = writer.spec, path.stat()
    with Reader(path) as file:
        rate = file.sample_rate
    said: list[str] = []
    faults: list[str] = []
    blocks: list[F32] = []
    frames = first = samples = 0
    length = PIECE_FRAMES + spec.overlap_frames
    for block, taken in frames_of(path, spec, said, faults):
        if stop.is_set():
            raise Stopped
        samples += taken
        if len(block) and not block.max() <= LOUDEST**spec.power:  # a NaN is not
            at = (samples - taken) / spec.sample_rate
            raise AudioError(f"{path}: is more than 40 dB above full scale after {at:.1f} s; scale it down")
        blocks.append(block)
        frames += len(block)
        if frames > length:
            rows = np.concatenate(blocks)
            writer.add(name, first, rows[:length])
            blocks, frames, first = [rows[PIECE_FRAMES:]], frames - PIECE_FRAMES, first + PIECE_FRAMES
    if samples == 0:
        raise AudioError(f"{path}: has no samples")
    if frames:
        writer.add(name, first, np.concatenate(blocks))
    _, name_bytes = as_text("/".join(path.parts[-(name.count("/") + 1) :]))
    source = Source(
        path=name,
        name_bytes=name_bytes,
        bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        source_rate=rate,
        samples=samples,
        conversions=said,
    )
    return source, faults


class _Writer:
    """Collects pieces into shards and keeps the manifest. All methods take its lock."""

    def __init__(self, folder: Path, manifest: Manifest):
        self.folder, self.spec = folder, manifest.spec
        self._root = {"root": manifest.root, "root_bytes": manifest.root_bytes}
        damaged = [s for s in manifest.shards if not is_whole(folder, s)]
        lost = {p.path for s in damaged for p in s.pieces}  # taken in again
        self.sources = {s.path: s for s in manifest.sources if s.path not in lost}
        self._shards = [s for s in manifest.shards if s not in damaged]
        self._waiting: list[tuple[str, int, F32]] = []
        self._rows = 0
        self._lock = threading.RLock()
        kept = {s.name for s in self._shards}
        for stray in [*folder.glob("rows-*.npy"), *folder.glob(".rows-*.part.npy"), *folder.glob(".manifest.*.part*")]:
            if stray.name not in kept:  # a killed build's
                stray.unlink()

    def is_current(self, name: str, path: Path) -> bool:
        """Whether the recording is in the index as it is now."""
        source = self.sources.get(name)
        with contextlib.suppress(OSError):
            status = path.stat()
            return source is not None and (source.bytes, source.mtime_ns) == (status.st_size, status.st_mtime_ns)
        return False

    def keep_only(self, names: set[str]) -> None:
        """Drops all other recordings."""
        with self._lock:
            self.sources = {n: s for n, s in self.sources.items() if n in names}
            self._shards = [_without(s, lambda p: p.path not in names) for s in self._shards]

    def add(self, name: str, first_frame: int, rows: F32) -> None:
        """Takes a piece; writes a shard when enough have come."""
        with self._lock:
            self._waiting.append((name, first_frame, rows))
            self._rows += len(rows)
            if self._rows >= SHARD_ROWS:
                try:
                    self._flush()
                except FileError as e:
                    raise _UnwritableError(str(e)) from None

    def finish(self, source: Source) -> None:
        """All pieces of this recording have come."""
        with self._lock:
            self.sources[source.path] = source

    def discard(self, name: str) -> None:
        """Forgets what came of a recording."""
        with self._lock:
            self._waiting = [w for w in self._waiting if w[0] != name]
            self._rows = sum(len(rows) for _, _, rows in self._waiting)
            self._shards = [_without(s, lambda p: p.path == name) for s in self._shards]

    def close(self, skipped: list[Skipped]) -> None:
        """Writes what waits, gives back the room of dropped recordings, removes what is no longer needed."""
        with self._lock:
            if self._waiting:
                self._flush()
            self._shards = [self._compact(s) for s in self._shards if s.pieces]
            self._save(skipped)
            kept = {s.name for s in self._shards}
            for old in self.folder.glob("rows-*.npy"):
                if old.name not in kept:
                    old.unlink()

    def _flush(self) -> None:
        rows = np.concatenate([r for _, _, r in self._waiting])
        pieces, row = [], 0
        for name, first, r in self._waiting:
            pieces.append(Piece(path=name, first_frame=first, row=row, frames=len(r)))
            row += len(r)
        quantiser = Quantiser.fit(rows) if self.spec.dtype == "int8" else None
        codes = rows if quantiser is None else quantiser.quantise(rows)
        self._shards.append(self._write(codes, pieces, quantiser))
        self._waiting, self._rows = [], 0
        self._save([])

    def _write(self, codes: NDArray[np.generic], pieces: list[Piece], quantiser: Quantiser | None) -> Shard:
        name = f"rows-{secrets.token_hex(8)}.npy"
        size, checksum = write_rows(self.folder, name, codes)
        return Shard(
            name=name,
            rows=len(codes),
            bytes=size,
            crc32=checksum,
            scale=None if quantiser is None else quantiser.scale.tolist(),
            zero_point=None if quantiser is None else quantiser.zero_point.tolist(),
            pieces=pieces,
        )

    def _compact(self, shard: Shard) -> Shard:
        """The shard without the rows of dropped recordings, if those are more than half."""
        if 2 * sum(p.frames for p in shard.pieces) >= shard.rows:
            return shard
        old = read_npy(self.folder / shard.name, mmap_mode="r")
        pieces, row = [], 0
        for p in shard.pieces:
            pieces.append(p.model_copy(update={"row": row}))
            row += p.frames
        live = np.concatenate([old[p.row : p.row + p.frames] for p in shard.pieces])
        return self._write(live, pieces, shard.quantiser())

    def _save(self, skipped: list[Skipped]) -> None:
        write_manifest(
            self.folder,
            Manifest(
                **self._root,
                spec=self.spec,
                sources=sorted(self.sources.values(), key=lambda s: s.path),
                skipped=skipped,
                shards=self._shards,
            ),
        )


def _without(shard: Shard, gone: Callable[[Piece], bool]) -> Shard:
    return shard.model_copy(update={"pieces": [p for p in shard.pieces if not gone(p)]})


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other build writes into the folder meanwhile."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC  # a link of that name is not written through
    try:
        handle = os.open(folder / ".lock", flags, 0o666)
    except OSError as e:
        raise FileError(f"{folder}: {why_not(e, folder)}") from None
    with open(handle, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FileError(f"{folder}: another build is writing to this index; wait for it") from None
        yield


def _bytes(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0
