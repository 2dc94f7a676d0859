"""Names and order of cube dimensions, and what every process asks of a cube before it starts.

A raster cube has the dimensions `(t, bands, y, x)`, an embedding cube `(t, embedding, y, x)`.
x and y are pixel (or patch) centres; y runs from north to south. Nothing here computes pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import rioxarray  # noqa: F401  registers DataArray.rio
import xarray as xr

from openeo_nc.errors import CRSMissingError, DimensionMissingError

T = "t"
BANDS = "bands"
EMBEDDING = "embedding"
Y = "y"
X = "x"
PREDICTIONS, CLASSES = "predictions", "classes"
"""What models say of a patch, in place of its bands or embedding."""
RASTER = (T, BANDS, Y, X)
LATENT = (T, EMBEDDING, Y, X)


def require(cube: xr.DataArray, *names: str) -> None:
    """Raise DimensionMissingError unless the cube has all of these dimensions."""
    missing = [name for name in names if name not in cube.dims]
    if missing:
        given = ", ".join(map(str, cube.dims)) or "none"
        raise DimensionMissingError(
            f"The cube lacks the dimension {', '.join(missing)}; it has {given}."
        )


def in_order(cube: xr.DataArray, order: tuple[str, ...] = RASTER) -> xr.DataArray:
    """The cube with exactly these dimensions, transposed if need be (lazy).

    Raises
    ------
    DimensionMissingError
        A dimension is missing, or the cube has one more that is not named in `order`.
    """
    require(cube, *order)
    extra = [str(name) for name in cube.dims if name not in order]
    if extra:
        raise DimensionMissingError(
            f"The cube has the dimensions {', '.join(map(str, cube.dims))}; expected only "
            f"{', '.join(order)}. Reduce or drop {', '.join(extra)} first."
        )
    return cube if cube.dims == order else cube.transpose(*order)


def crs_of(cube: xr.DataArray) -> Any:
    """The `rasterio.crs.CRS` of the cube; CRSMissingError if it states none."""
    crs = cube.rio.crs
    if crs is None:
        raise CRSMissingError(
            "The cube has no coordinate reference system (no spatial_ref coordinate). "
            "Set one with cube.rio.write_crs('EPSG:...')."
        )
    return crs


def crs_name(crs: Any) -> str:
    """`EPSG:n` where the CRS (or text that names one) has a code, else its WKT."""
    from rasterio.crs import CRS

    known = crs if isinstance(crs, CRS) else CRS.from_user_input(crs)
    code = known.to_epsg()
    return f"EPSG:{code}" if code is not None else str(known.to_wkt())


def labels(cube: xr.DataArray, dim: str = BANDS) -> tuple[str, ...]:
    """Labels of a dimension as strings; a dimension without labels is numbered from 0."""
    require(cube, dim)
    if dim not in cube.coords:
        return tuple(str(i) for i in range(cube.sizes[dim]))
    return tuple(str(label) for label in cube.coords[dim].values)


def with_bands(cube: xr.DataArray) -> xr.DataArray:
    """The cube with what a model says of its patches as bands, for formats that have these (lazy)."""
    if BANDS not in cube.dims and PREDICTIONS in cube.dims:
        cube = cube.rename({PREDICTIONS: BANDS})
        return cube.assign_coords({BANDS: ["prediction"]}) if cube.sizes[BANDS] == 1 else cube
    return cube.rename({CLASSES: BANDS}) if {BANDS, CLASSES} - set(cube.dims) == {BANDS} else cube


def nodata_of(cube: xr.DataArray) -> float | None:
    """The value that marks no data: NaN in float cubes, `_FillValue` of integer ones, else None."""
    if np.issubdtype(cube.dtype, np.floating):
        return float("nan")
    value = cube.attrs.get("_FillValue", cube.encoding.get("_FillValue"))
    return None if value is None else float(value)


def fill_value(cube: xr.DataArray) -> float:
    """`nodata_of`, or for integer cubes that state none a value that can stand for it.

    That is the lowest value of a signed dtype and the highest of an unsigned one. Real pixels of
    that value lose nothing: no data is kept exactly, so they come back as the same number.
    """
    nodata = nodata_of(cube)
    if nodata is not None:
        return nodata
    info = np.iinfo(cube.dtype)
    return float(info.min if info.min < 0 else info.max)


def lazy(cube: xr.DataArray) -> xr.DataArray:
    """The cube on dask arrays; one chunk a date where it was in memory."""
    if cube.chunks is not None:
        return cube
    return cube.chunk({dim: 1 if dim == T else -1 for dim in cube.dims})
