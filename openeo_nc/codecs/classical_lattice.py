"""Pixels as whole numbers on a lattice, so that coders that lose nothing can keep a bound.

        integers   q = (x - lowest) // step       x_hat = lowest + q * step + step // 2
        floats     q = round((x - lowest) / step) x_hat = lowest + q * step

A step of 2 n + 1 keeps every error of integers within n, 1 loses nothing. On real imagery a good
lossless coder beats the lossy ones at a bound, most so where 20 m and 60 m pixels are repeated.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from openeo_nc.codecs.classical_coder import Array, Floats, read_vector, vector
from openeo_nc.errors import InvalidParameterError, PayloadError

_RANGE = struct.Struct("<QQ")
_LOWEST = struct.Struct("<d")
_MODULUS = 1 << 64
_MOST = 2.0**31


@dataclass(frozen=True, kw_only=True, eq=False)
class Lattice:
    """Where the integers of a tile lie."""

    lowest: int
    """Smallest pixel, modulo 2^64."""
    span: int
    """Largest pixel less the smallest."""
    steps: Array
    """`(bands,)` uint64, one or more."""

    @classmethod
    def of(cls, x: Array, tolerances: Floats) -> Lattice:
        """The widest lattice on which `(bands, y, x)` integers stay within tolerances."""
        lowest, highest = int(x.min()), int(x.max())
        span = highest - lowest
        reach = np.minimum(tolerances, float(span >> 1)).astype(np.uint64)
        return cls(lowest=lowest % _MODULUS, span=span, steps=2 * reach + 1)

    def quantised(self, x: Array) -> Array:
        """q of the pixels, uint64."""
        offset = x.astype(np.uint64) - np.uint64(self.lowest)
        q: Array = offset // self.steps[:, None, None]
        return q

    def pixels(self, q: Array, dtype: np.dtype[Any]) -> Array:
        """Pixels of `dtype` from q."""
        steps = self.steps[:, None, None]
        start = np.minimum(q.astype(np.uint64) * steps, np.uint64(self.span))
        offset = start + np.minimum(steps // 2, np.uint64(self.span) - start)
        pixels: Array = offset + np.uint64(self.lowest)
        return pixels.astype(dtype)

    def to_bytes(self) -> bytes:
        """What `from_bytes` reads."""
        return _RANGE.pack(self.lowest, self.span) + vector(self.steps.astype("<u8"))

    @classmethod
    def from_bytes(cls, data: bytes, bands: int) -> tuple[Lattice, bytes]:
        """The lattice at the start of data, and the bytes behind it."""
        if len(data) < _RANGE.size:
            raise PayloadError("the payload ends within its lattice")
        lowest, span = _RANGE.unpack_from(data)
        steps, rest = read_vector(data[_RANGE.size :], "<u8", bands)
        if not (steps > 0).all():
            raise PayloadError("the payload gives a step of 0")
        return cls(lowest=lowest, span=span, steps=steps), rest


@dataclass(frozen=True, kw_only=True, eq=False)
class RealLattice:
    """Where the floats of a tile are moved to."""

    lowest: float
    """Smallest pixel."""
    steps: Floats
    """`(bands,)` float64 above 0."""

    @classmethod
    def of(cls, x: Array, tolerances: Floats) -> RealLattice:
        """The widest lattice on which `(bands, y, x)` floats stay within tolerances.

        Raises
        ------
        InvalidParameterError
            A tolerance is 0, or too small for 32 bits.
        """
        lowest, highest = float(x.min()), float(x.max())
        # halves: the difference of the largest floats is none
        if not (highest / 2 - lowest / 2 < tolerances * _MOST).all():
            raise InvalidParameterError(
                f"{x.dtype} pixels from {lowest} to {highest} have no lattice within an error of "
                f"{tolerances.min()}; give a larger one"
            )
        return cls(lowest=lowest, steps=2 * tolerances)

    def quantised(self, x: Array) -> Array:
        """q of the pixels, uint64."""
        q: Array = np.rint((x.astype(np.float64) - self.lowest) / self.steps[:, None, None])
        return q.astype(np.uint64)

    def pixels(self, q: Array, dtype: np.dtype[Any]) -> Floats:
        """Values from q, still to be rounded to `dtype`."""
        values: Floats = q * self.steps[:, None, None] + self.lowest
        return values

    def to_bytes(self) -> bytes:
        """What `from_bytes` reads."""
        return _LOWEST.pack(self.lowest) + vector(self.steps.astype("<f8"))

    @classmethod
    def from_bytes(cls, data: bytes, bands: int) -> tuple[RealLattice, bytes]:
        """The lattice at the start of data, and the bytes behind it."""
        if len(data) < _LOWEST.size:
            raise PayloadError("the payload ends within its lattice")
        (lowest,) = _LOWEST.unpack_from(data)
        steps, rest = read_vector(data[_LOWEST.size :], "<f8", bands)
        if not (np.isfinite([lowest, *steps]).all() and (steps > 0).all()):
            raise PayloadError("the payload gives a lattice that does not exist")
        return cls(lowest=lowest, steps=steps), rest


def lattice_type(dtype: np.dtype[Any]) -> type[Lattice | RealLattice]:
    """The lattice for pixels of a dtype."""
    return RealLattice if dtype.kind == "f" else Lattice
