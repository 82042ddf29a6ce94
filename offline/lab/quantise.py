"""Rows in one byte per number: integer zero point and integer scale, stored beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..audio import F32
from .descriptors import F64, I64, Descriptor

Form = Literal["float32", "float16", "int8 per channel", "int8 global"]
FORMS: tuple[Form, ...] = ("float32", "float16", "int8 per channel", "int8 global")


@dataclass(frozen=True)
class Int8:
    """An affine map between numbers and bytes, kept in integers only (as gemmlowp does [1]_).

    value = (byte − zero) · multiplier · 2^exponent, byte = clip(round(value / scale) + zero, −128, 127).
    One entry per channel, or one for all: multiplier int32 in 2^30 … 2^31 − 1, exponent int32, zero
    int32 [shape=(channels,) or (1,)]. The original kept its scale as a float and rounded nothing of
    it; here what is stored is what is used, on any machine.

    .. [1] B. Jacob et al., "Quantization and training of neural networks for efficient
       integer-arithmetic-only inference", CVPR 2018, section 2.
    """

    multiplier: NDArray[np.int32]
    exponent: NDArray[np.int32]
    zero: NDArray[np.int32]

    @classmethod
    def over(cls, low: F32 | F64, high: F32 | F64) -> Int8:
        """The map whose 256 steps just cover low … high [shape=(channels,) or (1,)].

        A step is at least 2^−22 of the largest value, so that the zero point of a (nearly) constant
        channel fits its integer and float32 can hold what is added to it.
        """
        low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
        floor = np.maximum(255.0 * 2.0**-22 * np.maximum(np.abs(low), np.abs(high)), 1e-12)
        span = np.maximum(high - low, floor)
        mantissa, exponent = np.frexp(span / 255.0)
        # Rounded up, so that the range is covered also after rounding.
        whole = np.ceil(np.ldexp(mantissa, 31)).astype(np.int64)
        over = whole > 2**31 - 1
        whole[over], exponent = 2**30, exponent + over
        scale = np.ldexp(whole.astype(np.float64), exponent - 31)
        zero = np.rint(-128.0 - low / scale)
        return cls(whole.astype(np.int32), (exponent - 31).astype(np.int32), zero.astype(np.int32))

    @property
    def scale(self) -> F64:
        """Size of a step, exactly multiplier · 2^exponent."""
        return np.ldexp(self.multiplier.astype(np.float64), self.exponent)

    def encode(self, rows: F32) -> NDArray[np.int8]:
        """Bytes of numbers [shape=(n, channels)]; what lies outside the range becomes its end."""
        steps = rows * (1.0 / self.scale).astype(np.float32)
        np.rint(steps, out=steps)
        steps += self.zero.astype(np.float32)
        return np.clip(steps, -128, 127, out=steps).astype(np.int8)

    def decode(self, stored: NDArray[np.int8]) -> F32:
        """Numbers of bytes."""
        return (stored.astype(np.float32) - self.zero.astype(np.float32)) * self.scale.astype(np.float32)


class StoredRows(Descriptor):
    """A descriptor whose database of `x` is kept in a smaller form, while queries stay float32.

    int8: ranges are those of the database itself, found in a first pass over it.
    """

    def __init__(self, inner: Descriptor, form: Form, *, name: str = "") -> None:
        super().__init__(inner.sample_rate)
        self.inner, self.form = inner, form
        self.dims, self.forward_dims = inner.dims, inner.forward_dims
        self.name = name or f"{inner.name}, {form}"
        self._code: Int8 | None = None
        self._code_of: F32 | None = None

    @property
    def block_rows(self) -> int:
        """As the descriptor within."""
        return self.inner.block_rows

    @property
    def bytes_per_row(self) -> int:
        """Of the database, without the few bytes of the scales."""
        return self.dims * {"float32": 4, "float16": 2}.get(self.form, 1)

    def fit(self, x: F32) -> Int8:
        """The map for the rows of `x`, per channel or global."""
        low = np.full(self.dims, np.inf, np.float32)
        high = np.full(self.dims, -np.inf, np.float32)
        for rows in self.inner.blocks(x):
            np.minimum(low, rows.min(axis=0), out=low)
            np.maximum(high, rows.max(axis=0), out=high)
        if self.form == "int8 global":
            low, high = low.min(keepdims=True), high.max(keepdims=True)
        return Int8.over(low, high)

    def stored_at(self, x: F32, places: I64) -> F32:
        """Rows of the database itself at chosen samples, as they come back out of storage [shape=(n, dims)]."""
        return self._stored(x)(self.inner.at(x, places))

    def _stored(self, x: F32) -> Callable[[F32], F32]:
        """Into the smaller form and back."""
        if self.form == "float32":
            return lambda rows: rows
        if self.form == "float16":
            return lambda rows: rows.astype(np.float16).astype(np.float32)
        if self._code is None or self._code_of is not x:
            self._code, self._code_of = self.fit(x), x
        code = self._code
        return lambda rows: code.decode(code.encode(rows))

    def _blocks(self, x: F32) -> Iterator[F32]:
        back = self._stored(x)
        for rows in self.inner.blocks(x):
            yield back(rows)

    def _at(self, x: F32, places: I64) -> F32:
        return self.inner.at(x, places)
