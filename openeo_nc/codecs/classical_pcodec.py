"""Pcodec: numbers of every dtype without loss, or on a lattice within a bound.

    kind (u8)   0 floats as they are, 1 on a lattice
    floats      streams of the bands
    lattice     lattice | streams of its whole numbers, each with how they are predicted (u8)

Pcodec sees one dimension. Whole numbers are predicted from the pixels above, left and above left
where that is smaller, which it could not do itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from openeo_nc.codecs.classical_coder import (
    Array,
    Floats,
    Shape,
    decoding,
    encoding,
    join,
    libraries,
    split,
)
from openeo_nc.codecs.classical_lattice import lattice_type
from openeo_nc.errors import PayloadError

_FLOATS, _LATTICE = b"\0", b"\1"
_FINE = 2.0**-29
"""Of the largest magnitude: finer bounds are kept by coding floats as they are."""


class Pcodec:
    """A stream a band; quality is of no consequence, since nothing is lost."""

    fade = 0.05  # flat: whatever else filled a gap would be kept to the last bit

    def at_quality(self, x: Array, quality: float, peak: float) -> bytes:
        """See `Coder`."""
        return self.within(x, np.zeros(len(x)))

    def within(self, x: Array, tolerances: Floats) -> bytes:
        """See `Coder`."""
        with encoding("Pcodec"):
            if x.dtype.kind == "f" and not (tolerances > float(np.abs(x).max()) * _FINE).all():
                return _FLOATS + join([_stream(band) for band in x])
            lattice = lattice_type(x.dtype).of(x, tolerances)
            q = lattice.quantised(x).astype(_whole(x.dtype))
            return _LATTICE + lattice.to_bytes() + _predicted(q)

    def pixels(self, data: bytes, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """See `Coder`."""
        kind, rest = data[:1], data[1:]
        with decoding("Pcodec"):
            if kind == _FLOATS and dtype.kind == "f":
                return np.stack([_values(s, shape[1:], dtype) for s in split(rest, shape[0])])
            if kind == _LATTICE:
                lattice, rest = lattice_type(dtype).from_bytes(rest, shape[0])
                return lattice.pixels(_unpredicted(rest, shape, _whole(dtype)), dtype)
        raise PayloadError(f"the payload has the unknown kind {kind!r}")


def _whole(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """dtype of the whole numbers of a lattice for pixels of a dtype."""
    return np.dtype("u4" if dtype.kind == "f" else f"u{dtype.itemsize}")


def _predicted(q: Array) -> bytes:
    """Streams of the bands of integers, and before each whether it is predicted."""
    streams = []
    for band in q:
        # differences wrap around, and so do their sums: nothing is lost
        signed = band.view(f"i{band.itemsize}")
        rows = np.diff(signed, axis=0, prepend=signed.dtype.type(0))
        both = np.diff(rows, axis=1, prepend=signed.dtype.type(0))
        streams.append(min(b"\0" + _stream(band), b"\1" + _stream(both), key=len))
    return join(streams)


def _unpredicted(data: bytes, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """The integers of `_predicted`."""
    q = np.empty(shape, dtype)
    signed = np.dtype(f"i{dtype.itemsize}")
    for band, stream in zip(q, split(data, shape[0]), strict=True):
        if stream[:1] == b"\1":
            both = _values(stream[1:], shape[1:], signed)
            rows = np.cumsum(both, axis=1, dtype=signed)
            band[...] = np.cumsum(rows, axis=0, dtype=signed).view(dtype)
        elif stream[:1] == b"\0":
            band[...] = _values(stream[1:], shape[1:], dtype)
        else:
            raise PayloadError(f"a band is predicted in the unknown way {stream[:1]!r}")
    return q


def _stream(band: Array) -> bytes:
    return bytes(libraries().pcodec_encode(np.ascontiguousarray(band)))


def _values(stream: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    decoded: Array = libraries().pcodec_decode(stream, shape, dtype)
    return decoded
