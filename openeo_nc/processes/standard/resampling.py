"""Cubes on other grids of pixels: another size, another CRS, or the pixels of another cube; lazily."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from rasterio.crs import CRS

from openeo_nc.cubes.dims import crs_name, crs_of, fill_value, nodata_of
from openeo_nc.errors import InvalidParameterError
from openeo_nc.processes.standard._dimensions import horizontal

__all__ = ["resample_cube_spatial", "resample_spatial"]

_METHODS = {"near": "nearest", "cubicspline": "cubic_spline"}
"""openEO's names where GDAL's Python differs."""
_ROUNDING = 1e-6
"""Share of a pixel that an extent may exceed whole pixels by."""


def resample_spatial(
    data: xr.DataArray,
    resolution: float | Sequence[float] = 0,
    projection: int | str | None = None,
    method: str = "near",
    align: str = "upper-left",
) -> xr.DataArray:
    """The cube with pixels of another size, perhaps in another CRS, from a corner of its extent on.

    Raises
    ------
    DimensionNotAvailableError, CRSMissingError
    InvalidParameterError
        A resolution is below zero.
    """
    return onto(data, _geobox(data, resolution, projection, align), method)


def resample_cube_spatial(
    data: xr.DataArray, target: xr.DataArray, method: str = "near"
) -> xr.DataArray:
    """The cube at the pixels of another.

    Raises
    ------
    DimensionNotAvailableError, CRSMissingError
    """
    there = onto(data, _box_of(target), method)
    return there.assign_coords(
        {own: target[other].values
         for own, other in zip(horizontal(data), horizontal(target), strict=True)}
    )  # fmt: skip


def onto(data: xr.DataArray, geobox: Any, method: str = "near") -> xr.DataArray:
    """The cube at the pixels of an odc-geo GeoBox, its dimensions and their order as they are.

    The nearest pixels of the same CRS are looked up, all bands at once: GDAL takes a plane at a time.
    """
    from odc.geo.xr import xr_reproject

    x, y = horizontal(data)
    if method == "near" and crs_name(crs_of(data)) == crs_name(str(geobox.crs)):
        return _nearest(data, geobox)
    nodata = nodata_of(data)
    moved: xr.DataArray = xr_reproject(
        data.transpose(..., y, x).chunk(), geobox, resampling=_METHODS.get(method, method),
        src_nodata=nodata, dst_nodata=nodata,
    )  # fmt: skip
    names = dict(zip(moved.dims[-2:], (y, x), strict=True))
    moved = moved.rename({old: new for old, new in names.items() if old != new})
    named: xr.DataArray = moved.transpose(*data.dims).rename(data.name)
    named.attrs = dict(data.attrs)
    return named.rio.write_crs(str(geobox.crs))  # type: ignore[no-any-return]


def _nearest(data: xr.DataArray, geobox: Any) -> xr.DataArray:
    """The pixels that have the centres of others; of a centre on an edge that to the right or below."""
    x, y = horizontal(data)
    own, wanted = _box_of(data).affine, geobox.affine
    there = data
    for dim, step, start, size, count in (
        (x, own.a, wanted.c, wanted.a, geobox.shape.x),
        (y, own.e, wanted.f, wanted.e, geobox.shape.y),
    ):
        centres = start + size * (np.arange(count) + 0.5)
        first = float(data[dim].values[0]) - step / 2
        at = np.floor((centres - first) / step + _ROUNDING).astype(int)
        known = (at >= 0) & (at < data.sizes[dim])
        there = there.isel({dim: np.clip(at, 0, data.sizes[dim] - 1)})
        there = there.assign_coords({dim: centres})
        if not known.all():
            there = there.where(xr.DataArray(known, dims=dim), data.dtype.type(fill_value(data)))
    if data.dtype.kind in "iu" and nodata_of(data) is None:
        there.attrs["_FillValue"] = int(fill_value(data))
    return there.rio.write_transform()  # type: ignore[no-any-return]


def _box_of(data: xr.DataArray) -> Any:
    """The GeoBox of a cube's pixels."""
    import odc.geo.xr  # noqa: F401  registers DataArray.odc

    horizontal(data)
    crs_of(data)
    return data.odc.geobox


def _geobox(data: xr.DataArray, resolution: Any, projection: Any, align: str) -> Any:
    """The pixels that cover the cube, the first at the corner of its extent that is named."""
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from rasterio.warp import calculate_default_transform, transform_bounds

    width, height = resolution if isinstance(resolution, Sequence) else (resolution, resolution)
    if min(width, height) < 0:
        raise InvalidParameterError(f"A resolution is not below zero; given {resolution}.")
    own, source = _box_of(data), crs_of(data)
    crs = source if projection is None else CRS.from_user_input(projection)
    left, bottom, right, top = own.boundingbox.bbox
    pixel = own.affine
    if crs_name(crs) != crs_name(source):
        pixel, *_ = calculate_default_transform(
            source, crs, own.shape.x, own.shape.y, left=left, bottom=bottom, right=right, top=top
        )
        left, bottom, right, top = transform_bounds(source, crs, left, bottom, right, top)
    width, height = width or abs(pixel.a), height or abs(pixel.e)
    columns = max(1, math.ceil((right - left) / width - _ROUNDING))
    rows = max(1, math.ceil((top - bottom) / height - _ROUNDING))
    left = left if align.endswith("left") else right - columns * width
    top = top if align.startswith("upper") else bottom + rows * height
    return GeoBox((rows, columns), Affine(width, 0, left, 0, -height, top), crs_name(crs))
