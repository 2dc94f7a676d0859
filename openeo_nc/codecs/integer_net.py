"""Convolutions over integers, exact on every machine: what entropy models must be made of.

A float network that chooses code tables is not reproducible: another thread count, instruction set
or memory layout flips an index now and then, and one flip ruins a stream. Here weights, activations
and sums are integers held in floats, whose products BLAS adds exactly in any order as long as no
sum can reach 2^53; `Convolution` refuses weights whose sums could.

Products are taken in float32, at twice the speed, wherever weights and the range of each input prove
that no part of a sum reaches 2^24; what is left is taken in float64. So speed depends on the values,
and results do not.

Fixed point: weights in units of 2^-12, activations of 2^-8, sums and biases of 2^-20.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import WeightsInvalidError

WEIGHT_BITS, ACTIVATION_BITS = 12, 8
SUM_BITS = WEIGHT_BITS + ACTIVATION_BITS
ACTIVATION_LIMIT = 65535
"""Largest activation in its units; also the bound on any input's magnitude."""
EXACT, EXACT_SINGLE = 2**53, 2**24
"""Below these, float64 and float32 hold every integer."""

Array = npt.NDArray[np.float64]
"""Integers in float64, `(channels, y, x)`."""
Float = type[np.float32] | type[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution:
    """A convolution of odd kernel with zero padding and stride 1; sums in units of 2^-20."""

    weight: npt.NDArray[np.float64]
    """`(outputs, inputs, ky, kx)` integers."""
    bias: npt.NDArray[np.float64]
    """`(outputs,)` integers."""

    @classmethod
    def load(cls, arrays: dict[str, npt.NDArray[Any]], name: str) -> Convolution:
        """From `name.weight` and, if there is one, `name.bias`; WeightsInvalidError if inexact."""
        weight = arrays[f"{name}.weight"]
        bias = arrays.get(f"{name}.bias", np.zeros(weight.shape[0], np.int32))
        if weight.dtype.kind != "i" or bias.dtype.kind != "i" or weight.ndim != 4:
            raise WeightsInvalidError(f"'{name}' must have 4-D integer weights and integer bias")
        largest = np.abs(weight.astype(np.float64)).sum(axis=(1, 2, 3)) * ACTIVATION_LIMIT
        if (largest + np.abs(bias.astype(np.float64))).max() >= EXACT:
            raise WeightsInvalidError(f"sums of '{name}' could reach 2^53 and become inexact")
        return cls(weight=weight.astype(np.float64), bias=bias.astype(np.float64))

    @cached_property
    def _taps(self) -> dict[Float, npt.NDArray[Any]]:
        """`(ky, kx, outputs, inputs)`, each matrix contiguous."""
        taps = np.ascontiguousarray(self.weight.transpose(2, 3, 0, 1))
        return {np.float64: taps, np.float32: taps.astype(np.float32)}

    def __call__(self, x: Array, at: npt.NDArray[np.bool_] | None = None) -> Array:
        """Sums of `(inputs, y, x)` integers, one matrix product a kernel tap.

        With `at`, `(y, x)`, those of its positions only, `(outputs, 1, positions)`.
        """
        outputs, inputs, ky, kx = self.weight.shape
        least, most = (of(axis=(1, 2), initial=0) for of in (x.min, x.max))
        used = np.flatnonzero((least < 0) | (most > 0))  # a third may be zero throughout
        taps = self._taps
        if used.size < inputs:
            x, least, most = x[used], least[used], most[used]
            taps = {of: np.ascontiguousarray(all_[..., used]) for of, all_ in taps.items()}
        windows = _Windows(x, (ky, kx), at)
        total = np.empty((outputs, windows.size))
        product = {of: np.empty(total.shape, of) for of in taps}
        before: npt.NDArray[Any] = self.bias[:, None]
        for tap in np.ndindex(ky, kx) if used.size else ():
            for part, of in _parts(taps[np.float64][tap], least, most, slice(0, used.size)):
                out = np.matmul(taps[of][tap][:, part], windows(tap, part, of), out=product[of])
                before = np.add(before, out, out=total)
        if before is not total:
            total[...] = before
        return windows.cropped(total)


class _Windows:
    """What each tap of a kernel sees of `(inputs, y, x)`: all pixels, or some positions."""

    def __init__(self, x: Array, kernel: tuple[int, int], at: npt.NDArray[np.bool_] | None) -> None:
        self._x = x
        self._padded: dict[Float, npt.NDArray[Any]] = {}
        (_, self._height, self._width), (ky, kx) = x.shape, kernel
        # rows padded on one side: the zeros after a row are those before the next, so that a tap is
        # one slice of all pixels; the sums at the padding belong to no pixel
        self._row = self._width + kx // 2
        self._before = ky // 2 * self._row + kx // 2
        self.size = self._height * self._row
        self._where = None
        if at is not None:
            rows, columns = np.nonzero(at)
            self._where, self.size = rows * self._row + columns, rows.size

    def __call__(self, tap: tuple[int, ...], part: slice, of: Float) -> npt.NDArray[Any]:
        """`(inputs of the part, size)` of a dtype."""
        if of not in self._padded:
            self._padded[of] = self._pad(of)
        start = tap[0] * self._row + tap[1]
        padded: npt.NDArray[Any] = self._padded[of][part]
        if self._where is None:
            return padded[:, start : start + self.size]
        return np.asarray(padded.take(self._where + start, axis=1))

    def _pad(self, of: Float) -> npt.NDArray[Any]:
        size = self._height * self._row
        padded = np.zeros((len(self._x), size + 2 * self._before), of)
        inner = padded[:, self._before : self._before + size]
        inner.reshape(-1, self._height, self._row)[:, :, : self._width] = self._x
        return padded

    def cropped(self, total: Array) -> Array:
        """Sums `(outputs, size)` as `Convolution` gives them."""
        if self._where is not None:
            return total[:, None]
        return total.reshape(len(total), self._height, self._row)[:, :, : self._width]


def _parts(tap: Array, least: Array, most: Array, part: slice) -> Iterator[tuple[slice, Float]]:
    """Inputs of a tap `(outputs, inputs)` in parts, and in which floats a part's sums are exact.

    Whatever the order of a sum, it never leaves what its negative and its positive terms reach.
    """
    weights = tap[:, part]
    span, middle = (np.maximum(most, 0) + op * np.minimum(least, 0) for op in (-1, 1))
    reach = (np.abs(weights) @ span[part] + np.abs(weights @ middle[part])) / 2
    if reach.max() < EXACT_SINGLE:
        yield part, np.float32
    elif part.stop - part.start == 1:
        yield part, np.float64
    else:
        half = (part.start + part.stop) // 2
        yield from _parts(tap, least, most, slice(part.start, half))
        yield from _parts(tap, least, most, slice(half, part.stop))


def activate(total: Array) -> Array:
    """Sums to activations: rounded to 2^-8 and clipped to 0..65535."""
    rounded = shift(total, WEIGHT_BITS)
    return np.asarray(np.clip(rounded, 0, ACTIVATION_LIMIT, out=rounded))


def shift(total: Array, bits: int) -> Array:
    """total / 2^bits, rounded half up; exact, since a power of two only moves the exponent."""
    units = total * 2.0**-bits
    units += 0.5
    return np.asarray(np.floor(units, out=units))


def upsample(x: Array) -> Array:
    """Every value twice in y and in x."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def depthwise(x: Array, kernel: npt.NDArray[np.float64]) -> Array:
    """3 x 3 correlation of every channel with its own `(channels, 3, 3)` integer kernel."""
    height, width = x.shape[1:]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    total = np.zeros_like(x)
    for i in range(3):
        for j in range(3):
            total += kernel[:, i, j, None, None] * padded[:, i : i + height, j : j + width]
    return total
