"""What a library has to do to be a codec here, and what the libraries' coders have in common.

A coder turns pixels without gaps into bytes and back. It knows nothing of payloads, of missing
pixels or of cards: that is `classical`'s part. The libraries come with `imagecodecs`, which is
imported on first use. Their decoders trust their input: whoever calls one has checked the bytes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from openeo_nc.codecs.base import quality_step
from openeo_nc.errors import InvalidValuesError, OpenEONCError, PayloadError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Shape = tuple[int, int, int]
_COUNT = np.dtype("<u4")


class Coder(Protocol):
    """One library, arranged for tiles of many bands."""

    fade: float
    """Pixels into a gap over which what fills it becomes half as rough."""

    def at_quality(self, x: Array, quality: float, peak: float) -> bytes:
        """`(bands, y, x)` pixels coded about as well as klt-dct codes them at a quality.

        Parameters
        ----------
        peak
            What the quality refers to, in the pixels' units.
        """

    def within(self, x: Array, tolerances: Floats) -> bytes:
        """`(bands, y, x)` pixels coded so that the library means to keep errors below `tolerances`.

        Parameters
        ----------
        tolerances
            `(bands,)` in the pixels' units; below 0.5 whole numbers come back exactly.

        Raises
        ------
        InvalidParameterError
            The library cannot keep such a tolerance.
        """

    def pixels(self, data: bytes, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """What was coded: exact pixels of `dtype`, or float64 values that are still to be rounded.

        Raises
        ------
        PayloadError
        """


def step_like_klt(quality: float, at_1: float, rise: float) -> float:
    """A library's step, in parts of the peak, that gives klt-dct's mean PSNR on Sentinel-2.

    `at_1` is the step at quality 1 in klt-dct's; it grows against klt-dct's by 2^rise a quality up
    to quality 8, since klt-dct gains most from its quantiser where few coefficients are left.
    """
    return quality_step(quality, 1.0) * at_1 * 2 ** (rise * (min(quality, 8.0) - 1))


def libraries() -> ModuleType:
    """The package `imagecodecs`."""
    return importlib.import_module("imagecodecs")


@contextmanager
def encoding(library: str) -> Iterator[None]:
    """Within it, a library's exception is an InvalidValuesError."""
    try:
        yield
    except OpenEONCError:
        raise
    except (RuntimeError, ValueError, OverflowError) as error:
        raise InvalidValuesError(f"{library} cannot code these pixels: {error}") from error


@contextmanager
def decoding(library: str) -> Iterator[None]:
    """Within it, a library's exception is a PayloadError."""
    try:
        yield
    except OpenEONCError:
        raise
    except (RuntimeError, ValueError, OverflowError, MemoryError) as error:
        raise PayloadError(f"{library} cannot decode the payload: {error}") from error


def join(streams: Sequence[bytes]) -> bytes:
    """Streams behind each other, their lengths before them; `split` knows how many there are."""
    lengths = np.array([len(stream) for stream in streams], _COUNT)
    return lengths.tobytes() + b"".join(streams)


def split(data: bytes, count: int) -> list[bytes]:
    """The streams of `join`; PayloadError if they do not fill the data."""
    start = count * _COUNT.itemsize
    if len(data) < start:
        raise PayloadError(f"{len(data)} bytes cannot hold {count} streams")
    ends = start + np.cumsum(np.frombuffer(data, _COUNT, count), dtype=np.int64)
    if ends[-1] != len(data):
        raise PayloadError(f"the payload's streams end at {ends[-1]} of {len(data)} bytes")
    return [data[a:b] for a, b in zip([start, *ends[:-1].tolist()], ends.tolist(), strict=True)]


def shaped(decoded: Array, shape: Shape) -> Array:
    """Decoded pixels in the shape of their tile; PayloadError if it is another tile's."""
    if decoded.size != np.prod(shape) or [n for n in decoded.shape if n > 1] != [
        n for n in shape if n > 1
    ]:
        raise PayloadError(f"the payload decodes to {decoded.shape}, its header says {shape}")
    return decoded.reshape(shape)


def vector(values: Array) -> bytes:
    """A number a band, as one number if all bands have the same."""
    same = bool((values == values[0]).all())
    return bytes([same]) + values[: 1 if same else None].tobytes()


def read_vector(data: bytes, dtype: str, bands: int) -> tuple[Array, bytes]:
    """The `(bands,)` numbers of `vector`, and the bytes behind them."""
    count = 1 if data[:1] == b"\1" else bands
    end = 1 + count * np.dtype(dtype).itemsize
    if len(data) < end:
        raise PayloadError(f"the payload ends within the numbers of its {bands} bands")
    found = np.frombuffer(data, dtype, count, 1)
    return np.broadcast_to(found.astype(found.dtype.newbyteorder("=")), bands), data[end:]
