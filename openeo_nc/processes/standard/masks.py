"""Pixels of a cube replaced or cut out by another cube or by geometries; cubes stay lazy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import shapely
import xarray as xr
from pyproj import CRS, Transformer

from openeo_nc.cubes.dims import crs_of
from openeo_nc.errors import GeometryInvalidError, IncompatibleDataCubesError
from openeo_nc.processes.standard._dimensions import horizontal
from openeo_nc.processes.standard._values import missing
from openeo_nc.processes.standard.resampling import resample_cube_spatial

__all__ = ["filter_spatial", "mask", "mask_polygon"]

_LONGITUDE_LATITUDE = CRS.from_epsg(4326)  # GeoJSON's, unless it names another


def mask(data: xr.DataArray, mask: xr.DataArray, replacement: Any = None) -> xr.DataArray:
    """The cube with pixels replaced where the mask is true or not zero; by no data if by nothing.

    A mask on another grid is resampled to the nearest pixels of the cube.

    Raises
    ------
    IncompatibleDataCubesError
        The mask has a dimension that the cube lacks, or other labels along one.
    """
    x, y = horizontal(data)
    if extra := [str(name) for name in mask.dims if name not in data.dims]:
        raise IncompatibleDataCubesError(f"The cube lacks the mask's {', '.join(extra)}.")
    for name in mask.dims:
        if name not in (x, y) and not np.array_equal(data[name].values, mask[name].values):
            raise IncompatibleDataCubesError(f"The labels of '{name}' differ in cube and mask.")
    on_grid = all(np.array_equal(data[name].values, mask[name].values) for name in (x, y))
    aligned = mask if on_grid else resample_cube_spatial(mask.astype(np.float32), data)
    chosen = (aligned != 0) & ~aligned.copy(data=missing(aligned.data))
    return _replaced(data, chosen.drop_vars(list(chosen.coords)), replacement)


def mask_polygon(
    data: xr.DataArray, mask: Any, replacement: Any = None, inside: bool = False
) -> xr.DataArray:
    """The cube with pixels replaced whose centres lie outside of all polygons, or inside of any.

    Pixels without data stay so.

    Raises
    ------
    GeometryInvalidError
        The mask is no GeoJSON, or has no polygon.
    """
    covered = _covered(data, _geometries(mask, data, polygons=True))
    chosen = covered if inside else ~covered
    if replacement is None:
        return _replaced(data, chosen, None)
    known = data.copy(data=~missing(data.data)).drop_vars(list(data.coords))
    return _replaced(data, chosen & known, replacement)


def filter_spatial(data: xr.DataArray, geometries: Any) -> xr.DataArray:
    """The part of the cube in the geometries' bounding box, no data where no geometry is.

    A polygon has the pixels whose centres are in it, a point or a line those nearest to it.

    Raises
    ------
    GeometryInvalidError
    """
    x, y = horizontal(data)
    shapes = _geometries(geometries, data)
    west, south, east, north = shapely.total_bounds(shapes)
    covered = _covered(data, shapes)
    xs, ys = data[x].values, data[y].values
    half_x, half_y = (_spacing(v) / 2 if _thin(shapes) else 0.0 for v in (xs, ys))
    columns = np.flatnonzero((xs >= west - half_x) & (xs <= east + half_x))
    rows = np.flatnonzero((ys >= south - half_y) & (ys <= north + half_y))
    part = {x: columns, y: rows}
    return _replaced(data.isel(part), ~covered.isel(part), None)


def _replaced(data: xr.DataArray, chosen: xr.DataArray, replacement: Any) -> xr.DataArray:
    """The cube with another value at chosen pixels; their order of dimensions is the cube's."""
    value = np.nan if replacement is None else replacement
    kept = data.where(~chosen, np.asarray(value, _dtype(data, value)))
    return kept.transpose(*data.dims)


def _dtype(data: xr.DataArray, value: Any) -> Any:
    if isinstance(value, float) and data.dtype.kind == "f":
        return data.dtype
    return np.result_type(data.dtype, np.min_scalar_type(value))


def _geometries(given: Any, data: xr.DataArray, *, polygons: bool = False) -> Any:
    """Geometries in the cube's coordinates: array of shapely geometries, none of them empty."""
    source = _LONGITUDE_LATITUDE
    if isinstance(given, Mapping):
        try:
            shapes = [shapely.geometry.shape(one) for one in _parts(given)]
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            shapely.errors.ShapelyError,
        ) as error:
            raise GeometryInvalidError(f"The geometries are no GeoJSON: {error}") from error
        named = (given.get("crs") or {}).get("properties", {}).get("name")
        source = CRS.from_user_input(named) if named else source
    elif hasattr(given, "xvec"):
        frame = given.xvec.to_geodataframe(name="value")
        shapes, source = list(frame.geometry), CRS.from_user_input(frame.crs or source)
    elif hasattr(given, "geometry"):
        shapes, source = list(given.geometry), CRS.from_user_input(given.crs or source)
    else:
        raise GeometryInvalidError(f"GeoJSON or vectors are needed; given {type(given).__name__}.")
    shapes = [one for one in shapes if not one.is_empty]
    if not shapes or (polygons and any("Polygon" not in one.geom_type for one in shapes)):
        raise GeometryInvalidError("No geometry is given, or one that is no polygon.")
    transform = Transformer.from_crs(source, CRS.from_user_input(crs_of(data)), always_xy=True)
    return np.array(
        [shapely.transform(one, transform.transform, interleaved=False) for one in shapes]
    )


def _parts(given: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Geometries of a GeoJSON object."""
    if given.get("type") == "FeatureCollection":
        for feature in given["features"]:
            yield from _parts(feature)
    elif given.get("type") == "Feature":
        if given.get("geometry"):
            yield from _parts(given["geometry"])
    else:
        yield given


def _covered(data: xr.DataArray, shapes: Any) -> xr.DataArray:
    """Which pixels a geometry has, `(y, x)` bool: computed from coordinates, no pixel is read."""
    x, y = horizontal(data)
    xs, ys = data[x].values, data[y].values
    covered = np.zeros((len(ys), len(xs)), bool)
    for one in shapes:
        if "Polygon" in one.geom_type:
            _cover(covered, xs, ys, one)
        elif len(xs) and len(ys):
            for px, py in shapely.get_coordinates(_densified(one, _spacing(xs), _spacing(ys))):
                column, row = np.abs(xs - px).argmin(), np.abs(ys - py).argmin()
                near = (abs(xs[column] - px) <= _spacing(xs)) & (abs(ys[row] - py) <= _spacing(ys))
                covered[row, column] |= near
    return xr.DataArray(covered, dims=(y, x))


def _cover(covered: Any, xs: Any, ys: Any, polygon: Any) -> None:
    """Mark the pixels whose centres a polygon has, looking at those in its bounding box."""
    west, south, east, north = polygon.bounds
    columns = np.flatnonzero((xs >= west) & (xs <= east))
    rows = np.flatnonzero((ys >= south) & (ys <= north))
    if not len(columns) or not len(rows):
        return
    shapely.prepare(polygon)
    grid_x, grid_y = np.meshgrid(xs[columns], ys[rows])
    covered[np.ix_(rows, columns)] |= shapely.intersects_xy(polygon, grid_x, grid_y)


def _densified(one: Any, dx: float, dy: float) -> Any:
    return one if "Point" in one.geom_type else shapely.segmentize(one, min(dx, dy) / 4)


def _thin(shapes: Any) -> bool:
    return any("Polygon" not in one.geom_type for one in shapes)


def _spacing(values: Any) -> float:
    return float(np.abs(np.diff(values)).min()) if len(values) > 1 else 0.0
