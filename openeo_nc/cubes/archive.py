"""Opens cubes that STAC Items keep in Zarr stores, such as those that save_result(ZARR) writes.

The pixels (or embeddings) stay as they are in the store: its grid, its dates, its numbers. An
extent selects from them; nothing is resampled. Chunks are those of the store, so that a coded
tile is decoded once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import xarray as xr
import zarr

from openeo_nc.codecs.views import ARRAYS
from openeo_nc.cubes.dims import BANDS, EMBEDDING, T, X, Y, crs_name, crs_of, labels
from openeo_nc.cubes.grid import TileGrid
from openeo_nc.cubes.query import Query, SpatialExtent, TemporalExtent
from openeo_nc.cubes.stored import open_cube
from openeo_nc.cubes.within import within
from openeo_nc.errors import (
    AssetMissingError,
    GridMismatchError,
    NoDataAvailableError,
)

ZARR_TYPES = ("application/vnd+zarr", "application/vnd.zarr", "application/x-zarr")


def holds(items: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the items keep their cube in Zarr."""
    return all(_asset(item) is not None for item in items)


def load(
    items: Sequence[Mapping[str, Any]], query: Query, bands: Sequence[str] | None
) -> xr.DataArray:
    """The cube of the items' stores, dates in order.

    Raises
    ------
    AssetMissingError
        A store cannot be opened, holds no cube, or lacks a band.
    GridMismatchError
        The stores of several items do not hold the same pixels.
    NoDataAvailableError
        Nothing of them is in the extents.
    """
    cubes = []
    for item in items:
        cube = _select(_open(item), item, bands)
        cube = cropped(dated(cube, query.temporal), query.spatial)
        if cube.sizes.get(T, 1):
            cubes.append(cube)
    if not cubes:
        raise NoDataAvailableError("The stores have no date in the temporal extent.")
    first = cubes[0]
    for cube in cubes[1:]:
        if not (first[X].equals(cube[X]) and first[Y].equals(cube[Y])):
            raise GridMismatchError(
                "The stores hold different pixels; load them one by one, or give a "
                "spatial_extent inside of all."
            )
    joined = first if len(cubes) == 1 else xr.concat(cubes, T, combine_attrs="drop_conflicts")
    return within(joined, query.spatial)


def _asset(item: Mapping[str, Any]) -> Mapping[str, Any] | None:
    found = [
        asset
        for asset in (item.get("assets") or {}).values()
        if str(asset.get("type") or "").startswith(ZARR_TYPES)
        or str(asset.get("href", "")).rstrip("/").endswith(".zarr")
    ]
    return found[0] if found else None


def _open(item: Mapping[str, Any]) -> xr.DataArray:
    href = str((_asset(item) or {})["href"])
    try:
        group = zarr.open_group(href, mode="r")
        if set(ARRAYS.values()) & set(group):
            return open_cube(href)
        return _foreign(href, consolidated=group.metadata.consolidated_metadata is not None)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise AssetMissingError(
            f"The store of item '{item.get('id')}' ({href}) cannot be opened: {error}"
        ) from error


def _foreign(href: str, *, consolidated: bool) -> xr.DataArray:
    """The first array with x and y of a store that others wrote, CF scale applied."""
    dataset = xr.open_zarr(href, chunks={}, decode_coords="all", consolidated=consolidated)
    for variable in dataset.data_vars.values():
        if {X, Y} <= set(variable.dims):
            cube: xr.DataArray = variable.assign_attrs({**dataset.attrs, **variable.attrs})
            return cube
    raise ValueError("it holds no array with x and y")


def _select(
    cube: xr.DataArray, item: Mapping[str, Any], bands: Sequence[str] | None
) -> xr.DataArray:
    if bands is None:
        return cube
    dim = EMBEDDING if EMBEDDING in cube.dims else BANDS
    known = labels(cube, dim)
    if missing := [name for name in bands if name not in known]:
        raise AssetMissingError(
            f"The store of item '{item.get('id')}' has no band {', '.join(missing)}. "
            f"It has: {', '.join(known)}."
        )
    return cube if tuple(bands) == known else cube.isel({dim: [known.index(n) for n in bands]})


def dated(cube: xr.DataArray, extent: TemporalExtent | None) -> xr.DataArray:
    if extent is None or T not in cube.dims:
        return cube
    moments = [m.to_pydatetime() for m in pd.DatetimeIndex(cube[T].values).tz_localize("UTC")]
    chosen = [i for i, moment in enumerate(moments) if extent.overlaps(moment, moment)]
    return cube if len(chosen) == len(moments) else cube.isel({T: chosen})


def cropped(cube: xr.DataArray, extent: SpatialExtent | None) -> xr.DataArray:
    """The part of a cube in an extent, by the rule of pixel centres."""
    if extent is None:
        return cube
    grid = TileGrid.of(cube, 1)
    column, row, width, height = grid.pixels(extent.bounds_in(crs_name(crs_of(cube))))
    own = grid.window(cube)
    left, top = max(column - own.i0, 0), max(row - own.j0, 0)
    right = min(column + width - own.i0, cube.sizes[X])
    bottom = min(row + height - own.j0, cube.sizes[Y])
    if left >= right or top >= bottom:
        raise NoDataAvailableError(f"The store has no pixels in the extent {extent.bounds}.")
    if (left, top, right, bottom) == (0, 0, cube.sizes[X], cube.sizes[Y]):
        return cube
    return cube.isel({X: slice(left, right), Y: slice(top, bottom)})
