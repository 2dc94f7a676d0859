"""Where and when results are, read from the files themselves."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import rasterio
import xarray as xr
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from openeo_nc.cubes.places import Place
from openeo_nc.errors import OpenEONCError

logger = logging.getLogger(__name__)

_WORLD = (-180.0, -90.0, 180.0, 90.0)
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class _Extent:
    """Of one result."""

    box: Box | None = None
    """West, south, east, north."""
    times: tuple[str, ...] = ()
    """RFC 3339, in any order."""


def extents(paths: Iterable[Place]) -> dict[str, Any]:
    """STAC's `extent` of files and stores together; the world, and all time, if none tells."""
    found = [_extent(path) for path in paths]
    boxes = [one.box for one in found if one.box is not None]
    times = sorted(time for one in found for time in one.times)
    box = (
        (min(b[0] for b in boxes), min(b[1] for b in boxes),
         max(b[2] for b in boxes), max(b[3] for b in boxes))
        if boxes else _WORLD
    )  # fmt: skip
    span = [times[0], times[-1]] if times else [None, None]
    return {"spatial": {"bbox": [list(box)]}, "temporal": {"interval": [span]}}


def _extent(path: Place) -> _Extent:
    readers = {".tif": _of_geotiff, ".nc": _of_netcdf, ".zarr": _of_store,
               ".json": _of_item}  # fmt: skip
    reader = readers.get(path.suffix)
    if reader is None:
        return _Extent()
    try:
        return reader(path)
    except (OpenEONCError, OSError, RasterioError, ValueError, KeyError, TypeError):
        logger.warning("the extent of %s cannot be read", path.name, exc_info=True)
        return _Extent()


def _of_store(path: Place) -> _Extent:
    return _of_item(path / "item.json")


def _of_item(path: Place) -> _Extent:
    """Of an Item; other JSON, such as reports, has none."""
    item = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(item, dict) or item.get("type") != "Feature" or "bbox" not in item:
        return _Extent()
    properties = item["properties"]
    names = ("datetime", "start_datetime", "end_datetime")
    times = tuple(properties[name] for name in names if properties.get(name))
    west, south, east, north = item["bbox"]
    return _Extent(box=(west, south, east, north), times=times)


def _of_geotiff(path: Place) -> _Extent:
    with path.open("rb") as file, rasterio.open(file) as raster:
        if raster.crs is None:
            return _Extent()
        return _Extent(box=transform_bounds(raster.crs, "EPSG:4326", *raster.bounds))


def _of_netcdf(path: Place) -> _Extent:
    with (
        path.open("rb") as file,
        xr.open_dataset(file, engine="h5netcdf", decode_coords="all") as cube,
    ):
        times = tuple(f"{str(t)[:19]}Z" for t in cube["t"].values) if "t" in cube else ()
        crs = cube.rio.crs
        if crs is None:
            return _Extent(times=times)
        return _Extent(box=cube.rio.transform_bounds("EPSG:4326"), times=times)
