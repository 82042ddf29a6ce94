"""Crops to train on: files at random places, and music made by code."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from ...audiofile import Reader
from ...plugins._errors import AudioError, FileError, MissingExtraError
from ..audio import audio_files
from .synth import music

F32 = NDArray[np.float32]

#: Quieter crops teach nothing but noise: −66 dB full scale, rms.
QUIET = 5e-4
#: Files that fail one after the other before the corpus counts as unreadable.
PATIENCE = 50


class Source(Protocol):
    """Something that gives crops, the same ones for the same generator."""

    name: str

    def crop(self, rng: np.random.Generator, samples: int) -> F32:
        """Sound [shape=(samples,)]."""


@dataclass
class Folder:
    """Crops of the audio files in a folder; each file is as likely as any other.

    Raises AudioError for a folder without usable audio. A file that cannot be read is named in `problems`,
    counted, and not tried again.
    """

    files: list[Path]
    sample_rate: int
    name: str
    problems: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def open(cls, folder: Path, sample_rate: int, *, held_out: float = 0.0, validation: bool = False) -> Folder:
        """The files of a folder, or with `held_out` > 0 the share of them kept from training (every n-th)."""
        files = audio_files(folder)
        if held_out > 0.0 and len(files) > 1:
            every = max(2, round(1 / held_out))
            files = [f for i, f in enumerate(files) if (i % every == 0) == validation]
        return cls(files, sample_rate, str(folder))

    def crop(self, rng: np.random.Generator, samples: int) -> F32:
        """A crop that is not silent, padded with silence if the file is shorter."""
        best = np.zeros(samples, np.float32)
        for _ in range(PATIENCE):
            if not self.files:
                break
            path = self.files[int(rng.integers(len(self.files)))]
            try:
                x = read_crop(path, self.sample_rate, samples, rng.random())
            except (FileError, AudioError) as e:
                self.problems[path.name] = str(e)
                self.counts["unreadable files"] += 1
                self.files = [f for f in self.files if f != path]
                continue
            self.counts["crops"] += 1
            if float(np.sqrt(np.mean(np.square(x)))) >= QUIET:
                return x
            self.counts["crops too quiet"] += 1
            best = x
        if not self.counts["crops"]:
            first = next(iter(self.problems.values()), "no files")
            raise AudioError(f"{self.name}: no file in it can be used; the first: {first}")
        return best


def read_crop(path: Path, sample_rate: int, samples: int, where: float) -> F32:
    """`samples` mono samples at `sample_rate` from `where` (0 … 1) of the places a file offers."""
    with Reader(path) as file:
        need = int(np.ceil(samples * file.sample_rate / sample_rate)) + 64
        file.seek(int(where * max(0, file.length() - need)))
        block = file.read(need)
    if len(block) == 0:
        raise AudioError(f"{path}: has no samples")
    mono = block.mean(axis=1, dtype=np.float32)
    if file.sample_rate != sample_rate:
        mono = soxr.resample(mono, file.sample_rate, sample_rate, quality="HQ").astype(np.float32)
    return np.pad(mono[:samples], (0, max(0, samples - len(mono))))


@dataclass
class Synthetic:
    """Music made by code, without end; a pool of clips is kept, since making one costs more than a step."""

    sample_rate: int
    seed: int
    clips: int = 32
    seconds: float = 3.0
    name: str = "synthetic music"
    _pool: dict[int, F32] = field(default_factory=dict)

    def crop(self, rng: np.random.Generator, samples: int) -> F32:
        """A crop out of the pool, which fills as it is asked."""
        index = int(rng.integers(self.clips))
        seconds = max(self.seconds, samples / self.sample_rate + 0.5)
        clip = self._pool.get(index)
        if clip is None or len(clip) < samples:
            clip = self._pool[index] = music(seconds, self.sample_rate, self.seed * 1000 + index)
        start = int(rng.integers(0, len(clip) - samples + 1))
        return clip[start : start + samples]


class HuggingFace:
    """Crops of a streamed Hugging Face speech set, in the order it gives them, through a small shuffle buffer."""

    def __init__(self, name: str, sample_rate: int, *, split: str = "train"):
        self.name, self.sample_rate = f"hf:{name}", sample_rate
        try:
            import datasets
        except ImportError:
            raise MissingExtraError(f"hf:{name} needs the package datasets; say pip install datasets") from None
        try:
            stream = datasets.load_dataset(name, split=split, streaming=True)
            self._rows: Iterator[Any] = iter(stream.shuffle(seed=0, buffer_size=64))
            self._held: list[F32] = [self._sound(next(self._rows))]
        except StopIteration:
            raise AudioError(f"hf:{name}: the split {split!r} is empty") from None
        except (OSError, ValueError, KeyError, RuntimeError) as e:
            line = str(e).strip().splitlines()[0] if str(e).strip() else type(e).__name__
            raise AudioError(
                f"hf:{name}: cannot be streamed ({line}); it needs the network. Give a local folder instead"
            ) from None

    def _sound(self, row: Any) -> F32:
        x = np.asarray(row["audio"]["array"], np.float32)
        rate = int(row["audio"]["sampling_rate"])
        return x if rate == self.sample_rate else soxr.resample(x, rate, self.sample_rate).astype(np.float32)

    def crop(self, rng: np.random.Generator, samples: int) -> F32:
        """A crop of the next utterance, or of one of the last 64."""
        with contextlib.suppress(StopIteration):
            self._held = [*self._held[-63:], self._sound(next(self._rows))]
        x = self._held[int(rng.integers(len(self._held)))]
        start = int(rng.integers(0, max(1, len(x) - samples + 1)))
        x = x[start : start + samples]
        return np.pad(x, (0, samples - len(x)))


@dataclass
class Mixture:
    """Batches of crops from several sources in turn, at random levels."""

    sources: Sequence[Source]
    samples: int
    batch: int
    seed: int

    def at(self, step: int) -> F32:
        """The batch of a step [shape=(batch, samples)]: the same for the same seed, also after a resume."""
        rng = np.random.default_rng([self.seed, step])
        out = np.empty((self.batch, self.samples), np.float32)
        for i in range(self.batch):
            source = self.sources[(step * self.batch + i) % len(self.sources)]
            out[i] = source.crop(rng, self.samples)
        return out


def open_sources(
    names: Sequence[str], sample_rate: int, seed: int, *, held_out: float = 0.0, validation: bool = False
) -> list[Source]:
    """Sources of names: folders, `hf:NAME`, or `synthetic`. Raises AudioError for an empty corpus."""
    sources: list[Source] = []
    for name in names:
        if name == "synthetic":
            sources.append(Synthetic(sample_rate, seed + (7919 if validation else 0)))
        elif name.startswith("hf:"):
            if not validation:
                sources.append(HuggingFace(name[3:], sample_rate))
        else:
            sources.append(Folder.open(Path(name), sample_rate, held_out=held_out, validation=validation))
    if not sources:
        raise AudioError("there is nothing to train on; give --data DIR, hf:NAME or synthetic")
    return sources
