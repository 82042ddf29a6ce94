"""Real bits: a range coder driven by a context model in whole numbers, the same on every machine.

Each code's magnitude is guessed from neighbours already coded: two lower ones of its frame and up to
eight of the two frames before, in the same packet. The guess is a weighted sum of integers; a table of
thresholds turns it into one of `CLASSES` classes; each class has a frequency table summing to 2^15. The
arithmetic is on whole numbers (held in float64 far below 2^53, where it is exact), so encoder and decoder
cannot drift apart.

Large magnitudes are split: a symbol from the table, and low bits as they are. Signs are plain bits too.
Codes are taken along diagonals k + 3 t of a packet: all codes of a diagonal depend only on earlier ones,
so a diagonal is coded as one vector.

The coder is `constriction` (Bamler 2022, arXiv:2201.01741).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...plugins._errors import FileError
from .spec import CODE_MAX

I16 = NDArray[np.int16]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

#: Neighbours (frames back, dims up), in the order of the weights.
NEIGHBOURS = ((0, -1), (0, -2), (1, -2), (1, -1), (1, 0), (1, 1), (1, 2), (2, -1), (2, 0), (2, 1))
SLOPE = 3  # diagonals k + SLOPE t: (1, +2) lies one diagonal back
VARIANTS = 3  # first, second, later frames of a packet
BANDS = 16
SCALE = 4096  # the guess counts magnitudes in 1/SCALE
SYMBOLS = 18  # 0 … 16, and 17 for "13 bits follow"
ESCAPE = SYMBOLS - 1
ESCAPE_BITS = 13
CLASSES_PER_OCTAVE = 3
FIRST_OCTAVE, LAST_OCTAVE = -7, 13
CLASSES = (LAST_OCTAVE - FIRST_OCTAVE) * CLASSES_PER_OCTAVE + 1
TOTAL = 1 << 15
THRESHOLDS: NDArray[np.float64] = np.round(
    SCALE * np.exp2(FIRST_OCTAVE + (np.arange(CLASSES - 1) + 0.5) / CLASSES_PER_OCTAVE)
)
#: Low bits sent as they are, by class: the table then reaches five times the expected magnitude.
SHIFTS: I32 = np.maximum(
    0, np.ceil(np.log2(0.3) + FIRST_OCTAVE + np.arange(CLASSES) / CLASSES_PER_OCTAVE - 1e-9)
).astype(np.int32)


@dataclass(frozen=True)
class ContextModel:
    """The integers that both sides hold; they are part of the model, and of its hash.

    weights : [shape=(VARIANTS, neighbours)] in 1/SCALE; offsets : [shape=(VARIANTS, BANDS)] in 1/SCALE;
    tables : [shape=(CLASSES, SYMBOLS)], each row sums to TOTAL, none below 1
    """

    weights: I32
    offsets: I32
    tables: I32

    def __post_init__(self) -> None:
        shapes = ((VARIANTS, len(NEIGHBOURS)), (VARIANTS, BANDS), (CLASSES, SYMBOLS))
        for name, array, shape in zip(
            ("weights", "offsets", "tables"), (self.weights, self.offsets, self.tables), shapes, strict=True
        ):
            if array.shape != shape or array.dtype != np.int32:
                raise FileError(f"context model: {name} is {array.dtype} {array.shape}; it must be int32 {shape}")
        if (
            np.any(self.weights < 0)
            or np.any(self.offsets < 0)
            or max(self.weights.max(), self.offsets.max()) > 1 << 20
        ):
            raise FileError("context model: weights and offsets must lie in 0 … 2^20")
        if np.any(self.tables < 1) or np.any(self.tables.sum(axis=1) != TOTAL):
            raise FileError(f"context model: every table must sum to {TOTAL}, with no entry below 1")

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """Tables as dyadic fractions, which float32 holds exactly."""
        return (self.tables / np.float64(TOTAL)).astype(np.float32)

    @cached_property
    def lengths(self) -> NDArray[np.float32]:
        """Bits of a symbol in a class, with its low bits or escape, without the sign."""
        bits = -np.log2(self.tables / TOTAL) + SHIFTS[:, None]
        bits[:, ESCAPE] += ESCAPE_BITS - SHIFTS
        return bits.astype(np.float32)


def neighbours(magnitudes: I32) -> NDArray[np.int32]:
    """Magnitudes of the neighbours of every code [shape=(10, frames, dims)], 0 outside the packet."""
    frames, dims = magnitudes.shape
    padded = np.zeros((frames + 2, dims + 4), np.int32)
    padded[2:, 2:-2] = magnitudes
    return np.stack([padded[2 - t : 2 - t + frames, 2 + k : 2 + k + dims] for t, k in NEIGHBOURS])


@lru_cache(maxsize=16)
def bands(dims: int) -> I64:
    """Which offset a dim takes."""
    return np.arange(dims) * BANDS // dims


def classes(model: ContextModel, magnitudes: I32) -> I64:
    """The class of every code of a packet [shape=(frames, dims)]."""
    near = neighbours(magnitudes).astype(np.float64)  # whole numbers far below 2^53: exact in any order
    frames, dims = magnitudes.shape
    guess = np.empty((frames, dims))
    for variant in range(VARIANTS):
        rows = slice(variant, variant + 1) if variant < VARIANTS - 1 else slice(variant, None)
        guess[rows] = np.tensordot(model.weights[variant].astype(np.float64), near[:, rows], 1)
        guess[rows] += model.offsets[variant][bands(dims)]
    return np.asarray(np.searchsorted(THRESHOLDS, guess, side="right"))


def symbols(magnitudes: I32, cls: I64) -> I64:
    """Table symbols of magnitudes in their classes."""
    return np.asarray(np.minimum(magnitudes >> SHIFTS[cls], ESCAPE))


def cost_bits(model: ContextModel, codes: I16) -> float:
    """What a packet will cost, without coding it; within a word or two of the real size."""
    magnitudes = np.abs(codes.astype(np.int32))
    cls = classes(model, magnitudes)
    return float(model.lengths[cls, symbols(magnitudes, cls)].sum(dtype=np.float64)) + int(np.count_nonzero(codes))


@lru_cache(maxsize=8)
def diagonals(frames: int, dims: int) -> tuple[tuple[I64, I64], ...]:
    """Frames and dims of the codes of each diagonal, in the order of coding."""
    found = []
    for w in range(dims + SLOPE * (frames - 1)):
        t = np.arange(max(0, -(-(w - dims + 1) // SLOPE)), min(frames - 1, w // SLOPE) + 1)
        if len(t):
            found.append((t, w - SLOPE * t))
    return tuple(found)


@lru_cache(maxsize=8)
def order(frames: int, dims: int) -> I64:
    """All codes of a packet in the order of coding, as flat indices."""
    return np.concatenate([t * dims + k for t, k in diagonals(frames, dims)])


def encode(model: ContextModel, codes: I16) -> bytes:
    """A packet's codes [shape=(frames, dims)], −8191 … 8191, as bytes."""
    import constriction

    magnitudes = np.abs(codes.astype(np.int32))
    at = order(*codes.shape)
    cls = classes(model, magnitudes).ravel()[at]
    flat = magnitudes.ravel()[at]
    sym = symbols(flat, cls)
    coder = constriction.stream.queue.RangeEncoder()
    family = constriction.stream.model.Categorical(perfect=False)
    coder.encode(sym.astype(np.int32), family, model.probabilities[cls])
    words: bytes = coder.get_compressed().astype("<u4").tobytes()
    width = np.where(sym == ESCAPE, ESCAPE_BITS, SHIFTS[cls])
    low = np.where(sym == ESCAPE, flat, flat & ((1 << SHIFTS[cls]) - 1))
    which = width[:, None] > np.arange(ESCAPE_BITS)
    low_bits = ((low[:, None] >> np.arange(ESCAPE_BITS)) & 1)[which]
    signs = codes.ravel()[at][flat > 0] < 0
    plain = np.packbits(np.concatenate([low_bits.astype(bool), signs])).tobytes()
    return (len(words) // 4).to_bytes(2, "little") + words + plain


def decode(model: ContextModel, data: bytes, frames: int, dims: int) -> I16:
    """The codes [shape=(frames, dims)] of `encode`'s bytes. Raises FileError for bytes that are no packet."""
    import constriction

    if len(data) < 2 or len(data) < 2 + 4 * int.from_bytes(data[:2], "little"):
        raise FileError("packet is shorter than it says")
    count = int.from_bytes(data[:2], "little")
    coder: Any = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4", count, 2).astype(np.uint32))
    family = constriction.stream.model.Categorical(perfect=False)
    plain = np.unpackbits(np.frombuffer(data, np.uint8, offset=2 + 4 * count)).astype(np.int32)
    width_of_row = dims + 4
    padded = np.zeros((frames + 2) * width_of_row)
    reach = np.array([[-back * width_of_row + up] for back, up in NEIGHBOURS])
    used = 0
    places = np.arange(ESCAPE_BITS)
    offsets = model.offsets[:, bands(dims)].astype(np.float64)
    weights = np.ascontiguousarray(model.weights.T, np.float64)
    for t, k in diagonals(frames, dims):
        variant = np.minimum(t, VARIANTS - 1)
        place = (t + 2) * width_of_row + k + 2
        guess = offsets[variant, k] + (weights[:, variant] * padded[place + reach]).sum(axis=0)
        cls = np.searchsorted(THRESHOLDS, guess, side="right")
        try:
            sym = coder.decode(family, model.probabilities[cls])
        except (AssertionError, ValueError) as e:
            raise FileError(f"packet holds no codes of this model ({e})") from None
        width = np.where(sym == ESCAPE, ESCAPE_BITS, SHIFTS[cls])
        value = np.where(sym == ESCAPE, 0, sym << SHIFTS[cls])
        total = int(width.sum())
        if total:
            if used + total > len(plain):
                raise FileError("packet ends too early")
            which = width[:, None] > places
            grid = np.zeros(which.shape, np.int32)
            grid[which] = plain[used : used + total]
            used += total
            value = value + (grid << places).sum(axis=1)
        padded[place] = value
    magnitudes = padded.reshape(frames + 2, width_of_row)[2:, 2:-2].astype(np.int32)
    if magnitudes.max(initial=0) > CODE_MAX:
        raise FileError("packet holds a code beyond 8191")
    at = order(frames, dims)
    flat = magnitudes.ravel()[at]
    nonzero = np.flatnonzero(flat)
    if used + len(nonzero) > len(plain):
        raise FileError("packet ends too early")
    flat[nonzero] *= 1 - 2 * plain[used : used + len(nonzero)]
    out = np.empty(frames * dims, np.int16)
    out[at] = flat
    return out.reshape(frames, dims)
