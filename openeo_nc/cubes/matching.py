"""Puts an original on the labels of its reconstruction: same dates, bands and pixels, same numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from openeo_nc.cubes.dims import BANDS, RASTER, T, X, Y, crs_name, crs_of, labels
from openeo_nc.cubes.grid import TileGrid
from openeo_nc.cubes.scaling import SCALE
from openeo_nc.cubes.tiles import complete
from openeo_nc.errors import BandMismatchError, GridMismatchError


def matched(data: xr.DataArray, reference: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Both as `(t, bands, y, x)` on the labels of `data`, in the numbers of `reference` (lazy).

    The reference may hold more: it is cut to the pixels, bands and dates of the data. Dates of
    which one side knows the day only are matched by day. A dimension without labels on one side is
    matched by position.

    Raises
    ------
    GridMismatchError
        They lie in other CRS, on other pixels, or the reference lacks pixels or dates of the data.
    BandMismatchError
        The reference lacks a band.
    DimensionMissingError, CRSMissingError, NoDataAvailableError
    """
    restored, original = complete(data), complete(reference)
    places: dict[Any, Any] = {
        T: _dates(restored, original),
        BANDS: _bands(restored, original),
        **_pixels(restored, original),
    }
    original = original.isel({dim: place for dim, place in places.items() if place is not None})
    coords = {dim: restored[dim] for dim in RASTER if dim in restored.coords}
    original = original.drop_vars([d for d in RASTER if d in original.coords]).assign_coords(coords)
    return _in_numbers_of(restored, original), original


def _in_numbers_of(restored: xr.DataArray, original: xr.DataArray) -> xr.DataArray:
    scales = [float(c.attrs[SCALE]) for c in (restored, original) if SCALE in c.attrs]
    if len(scales) < 2 or math.isclose(*scales, rel_tol=1e-9):
        return restored
    rescaled: xr.DataArray = restored * (scales[0] / scales[1])
    return rescaled


def _dates(restored: xr.DataArray, original: xr.DataArray) -> list[int] | None:
    if T not in restored.coords or T not in original.coords:
        _check_counts(T, restored, original)
        return None
    wanted, known = restored[T].values, original[T].values
    for unit in ("ns", "D"):
        times, have = (_times(values, unit) for values in (wanted, known))
        found = {time: place for place, time in enumerate(have)}
        if len(found) == len(have) and len(set(times)) == len(times) and set(times) <= set(found):
            return [found[time] for time in times]
    raise GridMismatchError(
        f"The reference lacks dates of the data: it has {', '.join(map(str, known[:9]))}, "
        f"the data {', '.join(map(str, wanted[:9]))}."
    )


def _times(values: Any, unit: str) -> list[Any]:
    if not np.issubdtype(values.dtype, np.datetime64):
        return [str(value) for value in values]
    return list(pd.DatetimeIndex(values).floor(unit))


def _bands(restored: xr.DataArray, original: xr.DataArray) -> list[int] | None:
    if BANDS not in restored.coords or BANDS not in original.coords:
        _check_counts(BANDS, restored, original)
        return None
    wanted, known = labels(restored), labels(original)
    if missing := [band for band in wanted if band not in known]:
        raise BandMismatchError(
            f"The reference lacks the bands {', '.join(missing)}; it has {', '.join(known)}."
        )
    return None if wanted == known else [known.index(band) for band in wanted]


def _check_counts(dim: str, restored: xr.DataArray, original: xr.DataArray) -> None:
    if restored.sizes[dim] != original.sizes[dim]:
        raise GridMismatchError(
            f"The data have {restored.sizes[dim]} of {dim}, the reference {original.sizes[dim]}, "
            "and one of them has no labels to match them by."
        )


def _pixels(restored: xr.DataArray, original: xr.DataArray) -> dict[str, slice]:
    """The part of the original's rows and columns that are the restored's."""
    here, there = (crs_name(crs_of(cube)) for cube in (restored, original))
    if here != there:
        raise GridMismatchError(f"The data are in {here[:60]}, the reference in {there[:60]}.")
    grid = TileGrid.of(original, 1)
    inner, outer = grid.window(restored), grid.window(original)
    top, left = inner.j0 - outer.j0, inner.i0 - outer.i0
    if top < 0 or left < 0 or top + inner.nj > outer.nj or left + inner.ni > outer.ni:
        raise GridMismatchError(
            f"The data cover pixels that the reference does not: theirs are {inner.ni} x "
            f"{inner.nj}, {left} to the right of and {top} below the reference's first, which has "
            f"{outer.ni} x {outer.nj}."
        )
    return {Y: slice(top, top + inner.nj), X: slice(left, left + inner.ni)}
