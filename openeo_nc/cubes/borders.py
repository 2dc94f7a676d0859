"""Error along the borders of tiles against the error inside them: do tiles that are coded alone show?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from openeo_nc.cubes.comparison import Array, Comparison, Dims, as_given, mean
from openeo_nc.cubes.dims import X, Y
from openeo_nc.cubes.grid import TileGrid
from openeo_nc.errors import InvalidParameterError

WIDTH = 8
"""Pixels along a border that count as border."""


def border_error(
    x: Any, x_hat: Any, *, tile: int | None = None, width: int = WIDTH,
    nodata: float | None = None, dim: Dims = None,
) -> Any:  # fmt: skip
    """Mean squared error along tile borders over that inside, in dB; 0 is no difference.

    NaN where one of them has no valid pixel or no error; parameters are those of `border_mse`.
    """
    border, inside = border_mse(x, x_hat, tile=tile, width=width, nodata=nodata, dim=dim)
    ratio = xr.DataArray(border) / xr.DataArray(inside)
    return as_given(x, xr.ufuncs.log10(ratio.where((ratio > 0) & (ratio < np.inf))) * 10)


def border_mse(
    x: Any, x_hat: Any, *, tile: int | None = None, width: int = WIDTH,
    nodata: float | None = None, dim: Dims = None,
) -> tuple[Any, Any]:  # fmt: skip
    """Mean squared error along the borders of tiles, and inside of them; two results of `mse`.

    Parameters
    ----------
    tile
        Side of the tiles of the fixed grid that a DataArray with a CRS lies on. None takes the
        arrays for one tile, whose edges are its borders.
    width
        Pixels that count as border, on each side of it.

    Raises
    ------
    GridMismatchError, DimensionMissingError, CRSMissingError, InvalidParameterError
    """
    pair = Comparison.of(x, x_hat, nodata)
    height, breadth = (pair.original.sizes[dim] for dim in (Y, X))
    if tile is None:
        near = near_border((height, breadth), (height, breadth), (0, 0), width)
    elif isinstance(x, xr.DataArray):
        window = TileGrid.of(x, tile).window(x)
        near = near_border(
            (height, breadth), (tile, tile), (window.pad_top, window.pad_left), width
        )
    else:
        raise InvalidParameterError("tiles of a grid are those of DataArrays; arrays are one tile.")
    flags = xr.DataArray(near, dims=(Y, X))
    squared, over = pair.error() ** 2, pair.dims(dim)
    border, inside = (mean(squared, pair.valid & part, over) for part in (flags, ~flags))
    return as_given(x, border), as_given(x, inside)


def near_border(
    shape: tuple[int, int], tile: tuple[int, int], first: tuple[int, int], width: int = WIDTH
) -> npt.NDArray[np.bool_]:
    """Which pixels `(y, x)` of a part of a tiling lie within `width` of a border.

    Parameters
    ----------
    tile
        Height and width of a tile.
    first
        Row and column of the part's first pixel within its tile.
    """
    if width != int(width) or width < 1:
        raise InvalidParameterError(f"the width of a border is {width}; expected 1 or more pixels.")
    rows, columns = (
        _near((np.arange(n) + start) % side, side, width)
        for n, start, side in zip(shape, first, tile, strict=True)
    )
    flags: npt.NDArray[np.bool_] = rows[:, None] | columns[None, :]
    return flags


def _near(place: Array, side: int, width: int) -> Array:
    return (place < width) | (place >= side - width)


def border_decibel(border: float, inside: float) -> float | None:
    """`border_error` of two mean squared errors; None where it has no value."""
    if not (border > 0 and inside > 0 and math.isfinite(border) and math.isfinite(inside)):
        return None
    return 10 * math.log10(border / inside)
