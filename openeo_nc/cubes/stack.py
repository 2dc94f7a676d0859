"""Opens what lies on disk as a cube: a store, or GeoTIFFs of one date each (lazy)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import rioxarray
import xarray as xr

from openeo_nc.cubes.dims import BANDS, T
from openeo_nc.cubes.stored import open_cube
from openeo_nc.errors import FormatUnsuitableError, GridMismatchError

_DAY = re.compile(r"(?<!\d)(19|20)\d{2}-?[01]\d-?[0-3]\d(?!\d)")
_CHUNK = 1536


def open_source(path: str | os.PathLike[str]) -> xr.DataArray:
    """The cube of a store that `write_store` wrote, of a GeoTIFF, or of a folder of them.

    Files of a folder are dates, in the order of their names; a date is the file's tag `datetime`,
    else the first in its name. Bands are named by their descriptions, `_FillValue` is the files'
    nodata, and numbers are as stored.

    Raises
    ------
    FormatUnsuitableError
        It is none of these.
    GridMismatchError
        The files of a folder differ in bands, size, CRS or place.
    """
    root = Path(path)
    if (root / "zarr.json").is_file():
        return open_cube(root)
    files = sorted(root.glob("*.tif")) if root.is_dir() else [root]
    if not files:
        raise FormatUnsuitableError(f"{root} is no Zarr store and holds no *.tif files.")
    cubes = [_opened(file) for file in files]
    times = [_time(file) for file in files]
    if len(cubes) == 1 and times[0] is None:
        return cubes[0]
    return _stacked(files, cubes, times)


def _opened(path: Path) -> xr.DataArray:
    try:
        with rasterio.open(path) as file:
            names = file.descriptions
        opened = rioxarray.open_rasterio(path, chunks={"band": -1, "x": _CHUNK, "y": _CHUNK})
    except rasterio.errors.RasterioIOError as error:
        raise FormatUnsuitableError(f"{path} cannot be read: {error}") from error
    if not isinstance(opened, xr.DataArray):
        raise FormatUnsuitableError(f"{path} holds several rasters.")
    labels = [name or str(place + 1) for place, name in enumerate(names)]
    cube: xr.DataArray = opened.rename(band=BANDS).assign_coords({BANDS: labels})
    nodata = cube.rio.nodata
    cube.attrs = {}
    cube.encoding = {}
    if nodata is not None and cube.dtype.kind != "f":
        cube.attrs["_FillValue"] = nodata.item() if hasattr(nodata, "item") else nodata
    elif nodata is not None and not np.isnan(nodata):
        cube = cube.where(cube != nodata)
    return cube


def _time(path: Path) -> pd.Timestamp | None:
    with rasterio.open(path) as file:
        tag = file.tags().get("datetime")
    found = _DAY.search(path.stem)
    for text in (tag, found and found.group()):
        if text:
            try:
                moment = pd.Timestamp(text)
            except ValueError:
                continue
            return moment.tz_convert(None) if moment.tzinfo else moment
    return None


def _stacked(
    files: Sequence[Path], cubes: Sequence[xr.DataArray], times: Sequence[pd.Timestamp | None]
) -> xr.DataArray:
    first = cubes[0]
    for file, cube in zip(files, cubes, strict=True):
        same = (
            cube.shape == first.shape
            and cube.rio.crs == first.rio.crs
            and cube.rio.transform().almost_equals(first.rio.transform())
            and list(cube[BANDS].values) == list(first[BANDS].values)
        )
        if not same:
            raise GridMismatchError(
                f"{file.name} and {files[0].name} differ in bands, size, CRS or place; the dates "
                "of a stack must not."
            )
    stack = xr.concat(cubes, T, combine_attrs="override", join="override", coords="minimal",
                      compat="override")  # fmt: skip
    known = [time for time in times if time is not None]
    if len(set(known)) == len(files):
        stack = stack.assign_coords({T: pd.DatetimeIndex(known).astype("datetime64[ns]")})
    return stack.rio.write_crs(first.rio.crs)  # type: ignore[no-any-return]
