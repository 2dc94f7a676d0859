"""Bands of repeated pixels: cells of 2 x 2, 3 x 3 or 6 x 6 equal pixels, as nearest resampling makes.

A 20 m band on the 10 m grid is often its own pixels, each repeated. Codecs look for such cells from
the tile's corner, code the band as what it is, and repeat the decoded cells, exactly.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from openeo_nc.errors import PayloadError

REPEATS = (1, 2, 3, 6)
"""Sides of the cells that are looked for."""


def repeat_of(band: npt.NDArray[Any]) -> int:
    """Side of the cells of equal pixels that `(y, x)` consists of, counted from its corner, or 1."""
    if min(band.shape) < 2 or not np.array_equal(band[0], band[1]):
        return 1
    for side in reversed(REPEATS):
        if np.array_equal(enlarge(band[::side, ::side], side, band.shape), band):
            return side
    return 1


def enlarge(band: npt.NDArray[Any], side: int, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Each pixel repeated side x side times, cropped to shape."""
    repeated = band if side == 1 else band.repeat(side, 0).repeat(side, 1)
    return repeated[: shape[0], : shape[1]]


def smooth(band: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """Piecewise linear interpolation of `(y, x)` repeated pixels; `settle` gives them back exactly."""
    if side == 1:
        return band
    rows, columns = (_interpolation(n, side) for n in band.shape)
    return np.asarray(rows @ band[::side, ::side] @ columns.T)


def settle(band: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """Every pixel of `(y, x)` as the mean of its cell."""
    return band if side == 1 else np.asarray(enlarge(_means(band, side), side, band.shape))


def to_bytes(repeats: list[int]) -> bytes:
    """Two bits a band."""
    codes = np.searchsorted(REPEATS, repeats).astype(np.uint8)
    return np.packbits((codes[:, None] >> np.arange(2, dtype=np.uint8)) & 1).tobytes()


def from_bytes(data: bytes, bands: int) -> list[int]:
    """Inverse of `to_bytes`; PayloadError if the bytes are too few."""
    if len(data) < -(-bands // 4):
        raise PayloadError(f"{len(data)} bytes do not say how pixels of {bands} bands repeat")
    bits = np.unpackbits(np.frombuffer(data, np.uint8), count=2 * bands).reshape(bands, 2)
    return [REPEATS[a + 2 * b] for a, b in bits.tolist()]


def _means(band: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """Mean of each cell; cells that the edge cuts have the mean of what is there."""
    rows, columns = (np.arange(0, n, side) for n in band.shape)
    total = np.add.reduceat(np.add.reduceat(band, rows, axis=0), columns, axis=1)
    height, width = (
        np.diff(np.append(starts, n)) for starts, n in zip((rows, columns), band.shape, strict=True)
    )
    return np.asarray(total / (height[:, None] * width[None, :]))


@cache
def _interpolation(size: int, side: int) -> npt.NDArray[np.float64]:
    """`(pixels, cells)`: linear between nodes at cell centres, whose means over cells are the cells."""
    cells = -(-size // side)
    position = np.clip((np.arange(size) + 0.5) / side - 0.5, 0, cells - 1)
    linear = np.maximum(1 - np.abs(position[:, None] - np.arange(cells)), 0)
    starts = np.arange(0, size, side)
    means = np.add.reduceat(linear, starts) / np.diff(np.append(starts, size))[:, None]
    return np.asarray(linear @ np.linalg.inv(means))
