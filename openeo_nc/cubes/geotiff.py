"""Writes cubes as GeoTIFFs, one cloud-optimised file (COG) a date."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import rasterio
import rasterio.shutil
from rasterio.transform import Affine
from rasterio.windows import Window

from openeo_nc.cubes.dims import T, X, Y, crs_of, labels, nodata_of
from openeo_nc.cubes.grid import resolution_of
from openeo_nc.cubes.growing import Growth, grown
from openeo_nc.cubes.ledger import Written, fingerprint, keep_file, known
from openeo_nc.cubes.outputs import Outputs, Saved
from openeo_nc.cubes.strips import Array, prepared, strips
from openeo_nc.errors import InvalidParameterError

if TYPE_CHECKING:
    import xarray as xr
    from dask.delayed import Delayed


COMPRESSIONS = ("DEFLATE", "LZW", "ZSTD", "NONE")
"""Lossless compressions of the COG driver that are offered."""
_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class Raster:
    """What a file's header says."""

    profile: dict[str, Any]
    """GDAL's profile of the file while it is written."""
    labels: tuple[str, ...]
    """Band descriptions."""
    moment: str
    """Label of its date, or an empty string."""
    compression: str
    """Compression of the finished file."""
    tags: Mapping[str, str]
    """Further tags."""


def plan_geotiff(
    cube: xr.DataArray, outputs: Outputs, name: str, compression: str = "DEFLATE",
    *, tags: Mapping[str, str] | None = None,
) -> Delayed:  # fmt: skip
    """A task that writes `<name>_<date>.tif` for each date (`<name>.tif` for none); gives `Saved`.

    Band descriptions are the labels of bands; NaN, or `_FillValue` of integers, is no data.

    Raises
    ------
    DimensionMissingError, CRSMissingError, GridMismatchError, NoDataAvailableError,
    FormatUnsuitableError, InvalidParameterError
    """
    if compression.upper() not in COMPRESSIONS:
        raise InvalidParameterError(
            f"GTIFF has the compressions {', '.join(COMPRESSIONS)}; given '{compression}'."
        )
    named = T in cube.dims
    cube, dim = prepared(cube, "GTIFF")
    if cube.dtype == bool:
        cube = cube.astype(np.uint8)
    moments = date_names(cube) if named else [""]
    profile, names = _profile(cube), labels(cube, dim)
    written = []
    tasks, dates = strips(cube)
    for moment, date in zip(moments, dates, strict=True):
        path = outputs.folder / (f"{name}_{moment}.tif" if moment else f"{name}.tif")
        header = Raster(
            profile=profile, labels=names, moment=moment, compression=compression.upper(),
            tags=dict(tags or {}),
        )  # fmt: skip
        mark = fingerprint(header)
        if (found := known(outputs.ledger, path.name, mark).get(path.name)) is not None:
            written.append(tasks.add("keep", keep_file, found, path, place=(path.name,)))
            continue
        growth = Growth(
            create=partial(_create, raster=header), finish=partial(_finish, raster=header)
        )
        fillings = [(partial(_write, row=strip.row), strip.blocks) for strip in date]
        written.append(grown(tasks, outputs, path, mark, growth, fillings))
    plan = tasks.add("saved", _saved, written)
    outputs.objects += map(tasks.delayed, written)
    return tasks.delayed(plan)


def _profile(cube: xr.DataArray) -> dict[str, Any]:
    res_x, res_y = resolution_of(cube)
    left = float(cube[X].values[0]) - res_x / 2
    top = float(cube[Y].values[0]) + res_y / 2
    return {
        "driver": "GTiff",
        "dtype": cube.dtype.name,
        "count": cube.shape[1],
        "height": cube.sizes[Y],
        "width": cube.sizes[X],
        "crs": crs_of(cube).to_wkt(),
        "transform": Affine(res_x, 0, left, 0, -res_y, top),
        "nodata": nodata_of(cube),
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "bigtiff": "IF_SAFER",
    }


def date_names(cube: xr.DataArray) -> list[str]:
    """A name a date: the day, with the time where that is needed to tell dates apart."""
    if T not in cube.coords:
        return [f"{index:04d}" for index in range(cube.sizes[T])]
    values = cube[T].values
    if not np.issubdtype(values.dtype, np.datetime64):
        names = [str(value) for value in values]
    else:
        moments = pd.DatetimeIndex(values)
        days = Counter(moments.strftime("%Y-%m-%d"))
        names = list(moments.strftime("%Y-%m-%d"))
        if max(days.values()) > 1:
            names = list(moments.strftime("%Y%m%dT%H%M%SZ"))
    if len(set(names)) < len(names):
        names = [f"{name}_{index:04d}" for index, name in enumerate(names)]
    return ["".join(c if c.isalnum() or c in "-." else "_" for c in name) for name in names]


def _create(part: Path, *, raster: Raster) -> None:
    with rasterio.open(part, "w", **raster.profile) as file:
        file.descriptions = raster.labels


def _write(part: Path, values: Array, *, row: int) -> None:
    with rasterio.open(part, "r+") as file:
        file.write(values, window=Window(0, row, values.shape[2], values.shape[1]))


def _finish(part: Path, final: Path, *, raster: Raster) -> None:
    """Turn the plain file into a COG."""
    predictor = "YES" if raster.compression != "NONE" else "NO"
    with rasterio.open(part, "r+") as file:
        moment = {"datetime": raster.moment} if raster.moment else {}
        file.update_tags(**moment, **raster.tags)
    rasterio.shutil.copy(
        part, final, driver="COG", compress=raster.compression, predictor=predictor,
        bigtiff="IF_SAFER",
    )  # fmt: skip


def _saved(written: list[Written]) -> Saved:
    paths = tuple(file.places[0] for file in written)
    return Saved(
        path=paths[0],
        format="GTIFF",
        files=paths,
        bytes=sum(file.bytes for file in written),
    )
