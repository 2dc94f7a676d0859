"""Sets the pixels of a cube that lie outside of polygons to no data, lazily."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import shapely
import xarray as xr

from openeo_nc.cubes.dims import X, Y, crs_name, crs_of, fill_value, lazy
from openeo_nc.cubes.query import SpatialExtent


def within(cube: xr.DataArray, extent: SpatialExtent | None) -> xr.DataArray:
    """The cube with no data where a pixel's centre is in none of the extent's polygons.

    A cube, or an extent without polygons, comes back as it is.
    """
    polygons = None if extent is None else extent.polygons_in(crs_name(crs_of(cube)))
    if polygons is None:
        return cube
    cube = lazy(cube)
    inside = da.map_blocks(
        _inside,
        da.from_array(cube[X].values[None, :], chunks=(1, cube.chunksizes[X])),
        da.from_array(cube[Y].values[:, None], chunks=(cube.chunksizes[Y], 1)),
        polygons=shapely.to_wkb(polygons),
        chunks=(cube.chunksizes[Y], cube.chunksizes[X]),
        dtype=bool,
    )
    return cube.where(xr.DataArray(inside, dims=(Y, X)), cube.dtype.type(fill_value(cube)))


def _inside(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], *, polygons: bytes
) -> npt.NDArray[Any]:
    shapes = shapely.from_wkb(polygons)
    shapely.prepare(shapes)
    inside: npt.NDArray[Any] = shapely.intersects_xy(shapes, *np.broadcast_arrays(x, y))
    return inside
