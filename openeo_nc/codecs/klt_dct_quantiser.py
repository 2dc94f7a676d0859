"""Chooses the integers of `klt-dct`: rate-distortion optimised quantisation, and its centroids.

Rounding to the nearest integer is not the best choice at a given size: a coefficient that is
rarely non-zero in its context costs many bits. Each is rounded to whichever of nearest, next
smaller and zero has the least squared error + LMBDA * bits, in coding order, with the bits of the
tables that its context selects (Yang, Yu and Wu, SOFT decision quantisation, 2005, greedily).
Nothing here needs to be repeated by the decoder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.entropy import TOTAL, Tables
from openeo_nc.codecs.klt_dct_context import (
    DIAGONALS,
    ZONES,
    ContextModel,
    IndexArray,
    IntArray,
    N,
    boxes,
    skew_index,
    walk,
    zones,
)
from openeo_nc.codecs.klt_dct_transform import ENTRY_BITS, FloatArray

Number = TypeVar("Number", np.int32, np.float32)
LMBDA = 0.14
"""Squared steps that a bit is worth; 0.1 to 0.18 gave the same curve on evaluation tiles."""
_ISOLATED_BITS = 6.0  # about what a lone non-zero coefficient costs
_LIKELY = 0.6  # smaller magnitudes hardly ever survive
_ESCAPE_BITS = 8.0


def skewed_zeros(
    components: int, blocks: tuple[int, ...], dtype: type[Number]
) -> npt.NDArray[Number]:
    """`(components, DIAGONALS, N, by, bx)` skewed planes."""
    return np.zeros((components, DIAGONALS, N, *blocks), dtype)


def skew(planes: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """`(components, N, N, by, bx)` as skewed planes, zero outside the block."""
    out = skewed_zeros(len(planes), planes.shape[3:], planes.dtype.type)
    d, u = skew_index()
    out[:, d, u] = planes
    return out


def unskew(planes: IntArray) -> IntArray:
    """Inverse of `skew`."""
    d, u = skew_index()
    return planes[:, d, u]


def prune(
    components: FloatArray, bases: Sequence[IntArray | None], valid: npt.NDArray[np.float64]
) -> FloatArray:
    """Components without those parts of zones that are not worth their bits and their axis."""
    out = components.copy()
    magnitudes = np.abs(components).reshape(-1)
    likely = np.flatnonzero(magnitudes > _LIKELY)
    kind = likely // (N * N * valid.size) * ZONES + _zones_at(likely, valid.size)
    found = magnitudes[likely].astype(np.float64)
    gain = (found**2 - (found - np.rint(found)) ** 2) * valid.reshape(-1)[likely % valid.size]
    size = len(components) * ZONES
    gains = np.bincount(kind, gain, size).reshape(-1, ZONES)
    bits = _ISOLATED_BITS * np.bincount(kind, minlength=size).reshape(-1, ZONES)
    for zone, stored in enumerate(bases):
        axis = 0 if stored is None else ENTRY_BITS * stored.any(axis=1).sum()
        weak = gains[:, zone] < LMBDA * (bits[:, zone] + axis)
        out[weak[:, None, None] & (zones() == zone)] = 0
    return out


def quantise(
    model: ContextModel, components: FloatArray, valid: npt.NDArray[np.float64]
) -> IntArray:
    """Integers of `(components, N, N, by, bx)` in steps.

    `valid` is `(by, bx)`: the share of each block whose error counts. Blocks without any cost
    nothing: their DC is what the decoder predicts, the rest is zero.
    """
    wanted = skew(components)
    out = np.zeros(wanted.shape, np.int32)
    bits = _bits(model.tables)
    price = (LMBDA / np.maximum(valid, 1e-6)).reshape(-1).astype(np.float32)
    blank = (valid == 0).reshape(-1)

    def visit(
        c: int, where: slice | IntArray, index: IndexArray, prediction: IntArray | None
    ) -> IntArray:
        values = wanted[c].reshape(-1)[where]
        if prediction is None:
            chosen = _choose(values, index, bits, price)
        else:
            chosen = np.where(blank[where], prediction, np.rint(values).astype(np.int32))
        out[c].reshape(-1)[where] = chosen
        return chosen

    walk(model, boxes(np.abs(wanted) > _LIKELY), (valid.shape[0], valid.shape[1]), visit)
    return unskew(out)


def centroids(components: FloatArray, integers: IntArray) -> npt.NDArray[np.float64]:
    """`(ZONES, 3)`: mean of |component| - |integer| where the integer is 1, 2 and more."""
    at = np.flatnonzero(integers)
    values = np.abs(integers.reshape(-1)[at])
    kind = 3 * _zones_at(at, _cells(integers)) + np.minimum(values, 3) - 1
    off = np.abs(components.reshape(-1)[at]) - values
    sums = np.bincount(kind, off, 3 * ZONES)
    return (sums / np.maximum(np.bincount(kind, minlength=3 * ZONES), 1)).reshape(ZONES, 3)


def dequantise(integers: IntArray, centres: npt.NDArray[np.float64]) -> FloatArray:
    """Components in steps from integers and `centroids`."""
    out = integers.astype(np.float32, order="C")
    at = np.flatnonzero(integers)
    values = integers.reshape(-1)[at]
    shift = centres[_zones_at(at, _cells(integers)), np.minimum(np.abs(values), 3) - 1]
    out.reshape(-1)[at] += np.sign(values) * shift.astype(np.float32)
    return out


def _cells(planes: IntArray) -> int:
    """Blocks of `(components, N, N, by, bx)`."""
    return math.prod(planes.shape[3:])


def _zones_at(at: npt.NDArray[np.intp], cells: int) -> npt.NDArray[np.intp]:
    """The zones of flat positions in `(components, N, N, by, bx)`."""
    return zones().reshape(-1)[at // cells % (N * N)]


def _choose(values: FloatArray, index: IndexArray, bits: FloatArray, price: FloatArray) -> IntArray:
    """The best integer for each value, `(n,)`; blocks run fastest."""
    chosen = np.zeros(values.shape, np.int32)
    at = np.flatnonzero(np.abs(values) > 0.5)
    magnitude, table, price = np.abs(values[at]), index[at], price[at % price.size]
    top = bits.shape[1] - 1
    nearest = np.rint(magnitude).astype(np.int32)
    best, least = np.zeros_like(nearest), magnitude**2 + price * bits[table, 0]
    for candidate in (nearest - 1, nearest):
        cost = (magnitude - candidate) ** 2 + price * bits[table, np.minimum(candidate, top)]
        better = cost < least
        best, least = np.where(better, candidate, best), np.where(better, cost, least)
    chosen[at] = np.where(values[at] < 0, -best, best)
    return chosen


def _bits(tables: Tables) -> FloatArray:
    """`(tables, magnitudes)` float32: bits of a magnitude and its sign; the last for an escape."""
    freq = tables.freq.astype(np.float64)
    middle = (freq.shape[1] - 2) // 2
    escape = _ESCAPE_BITS - np.log2(freq[:, -1:] / TOTAL)
    coded = np.where(freq[:, middle:-1] > 0, freq[:, middle:-1], 1) / TOTAL
    bits = np.where(freq[:, middle:-1] > 0, -np.log2(coded), escape)
    return np.concatenate([bits, escape], axis=1).astype(np.float32)
