"""Parts of a cube by place and time: labels are chosen, values stay what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import shapely
import xarray as xr
import xvec  # noqa: F401  registers DataArray.xvec
from pyproj import CRS, Transformer

from openeo_nc.cubes.dims import crs_of
from openeo_nc.cubes.scenes import selected
from openeo_nc.errors import (
    DimensionNotAvailableError,
    InvalidParameterError,
    TemporalExtentEmptyError,
)
from openeo_nc.processes.standard._dimensions import horizontal, named, of_type
from openeo_nc.processes.standard.temporal import moment

__all__ = ["filter_bbox", "filter_temporal"]

GEOMETRY = "geometry"
"""Dimension of vector cubes that are arrays."""
_MIDWAY = 21
"""Points between the corners of a box whose sides are projected."""


def filter_bbox(data: Any, extent: Mapping[str, Any]) -> Any:
    """The pixels whose centres a box has; of a vector cube the geometries that it has whole.

    Raises
    ------
    DimensionNotAvailableError, CRSMissingError
    """
    if not isinstance(data, xr.DataArray):
        return data[data.geometry.within(_box(extent, data.crs))]
    if GEOMETRY in data.dims:
        box = _box(extent, data.xvec.geom_coords_indexed[GEOMETRY].crs)
        return data.isel({GEOMETRY: shapely.within(data[GEOMETRY].values, box)})
    x, y = horizontal(data)
    west, south, east, north = _box(extent, crs_of(data)).bounds
    xs, ys = data[x].values, data[y].values
    inside = {x: _span((xs >= west) & (xs <= east)), y: _span((ys >= south) & (ys <= north))}
    part = data.isel(inside)
    if part.size and data.rio.grid_mapping in data.coords:  # whose GeoTransform has the old corner
        part = part.rio.write_transform()
    return selected(data, part)


def filter_temporal(
    data: xr.DataArray, extent: Sequence[str | None], dimension: str | None = None
) -> xr.DataArray:
    """The labels from the start on, the end excluded, of one temporal dimension or of all.

    Raises
    ------
    DimensionNotAvailableError
    TemporalExtentEmptyError
        It ends before or as it starts.
    InvalidParameterError
        Labels are no dates, as those of seasons.
    """
    start, end = (None if side is None else moment(side) for side in extent)
    if start is not None and end is not None and end <= start:
        raise TemporalExtentEmptyError(f"The interval [{extent[0]}, {extent[1]}] is empty.")
    names = of_type(data, "temporal") if dimension is None else [named(data, dimension)]
    if not names:
        given = ", ".join(map(str, data.dims)) or "none"
        raise DimensionNotAvailableError(f"The cube has no temporal dimension, but {given}.")
    part = data
    for name in names:
        times = _times(data, name)
        inside = ~times.isna()
        inside &= True if start is None else times >= start
        inside &= True if end is None else times < end
        part = part.isel({name: _span(np.asarray(inside))})
    chosen: xr.DataArray = selected(data, part)
    return chosen


def _times(data: xr.DataArray, name: str) -> pd.DatetimeIndex:
    try:
        return pd.DatetimeIndex(data[name].values)
    except ValueError as error:
        raise InvalidParameterError(
            f"The labels of '{name}' are no dates: {error}. Filter before they are aggregated."
        ) from error


def _box(extent: Mapping[str, Any], crs: Any) -> Any:
    """The box around an extent in another CRS."""
    source = CRS.from_user_input(extent.get("crs") or 4326)
    west, south, east, north = (float(extent[s]) for s in ("west", "south", "east", "north"))
    if source == (target := CRS.from_user_input(crs)):
        return shapely.box(west, south, east, north)
    project = Transformer.from_crs(source, target, always_xy=True)
    return shapely.box(*project.transform_bounds(west, south, east, north, _MIDWAY))


def _span(inside: Any) -> Any:
    """Positions that are inside, as a slice where they follow one another: Dask then copies none."""
    found = np.flatnonzero(inside)
    if found.size and found[-1] - found[0] + 1 == found.size:
        return slice(int(found[0]), int(found[-1]) + 1)
    return found
