"""Loads raster cubes from STAC: items found, grid chosen, pixels read by stackstac's graph.

        catalogue.find_items -> assets.find_asset -> target.choose -> stackstac.stack -> mosaic
              items (JSON)         bands of items      the pixels       (dates, bands, y, x)

Only metadata are fetched while a cube is built; pixels are read when it is computed, one task a
date and tile with all bands in it.

Items of one UTC day become one date, named by the earliest of them: at each pixel and band the
first valid value counts, in the order of datetime, then id. `mosaic="none"` keeps every item.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Literal

import dask.array as da
import numpy as np
import pandas as pd
import stackstac
import xarray as xr
from rasterio.enums import Resampling

from openeo_nc.cubes import archive, on_error
from openeo_nc.cubes.assets import Asset, band_names, find_asset
from openeo_nc.cubes.catalogue import Json, find_collection, find_items
from openeo_nc.cubes.dims import BANDS, RASTER, T, X, Y
from openeo_nc.cubes.query import Query, known_crs, period
from openeo_nc.cubes.reader import BandReader, Source
from openeo_nc.cubes.scaling import SCALE
from openeo_nc.cubes.surroundings import Request, with_surroundings
from openeo_nc.cubes.target import Target, bounds_in, choose, native, overlap
from openeo_nc.cubes.within import within
from openeo_nc.errors import InvalidParameterError, InvalidValuesError, NoDataAvailableError

TILE = 384
"""Chunks end where tiles of this size end, those of the Sentinel-2 cards; any other is rechunked."""

RESAMPLING = "bilinear"
"""Default for bands whose pixels are not the cube's: never leaves the range of its inputs."""
METHODS = {
    "nearest": Resampling.nearest,
    "near": Resampling.nearest,
    "bilinear": Resampling.bilinear,
    "cubic": Resampling.cubic,
    "cubicspline": Resampling.cubic_spline,
    "lanczos": Resampling.lanczos,
    "average": Resampling.average,
    "mode": Resampling.mode,
}
"""Names as in openEO's resample_spatial, and `nearest` beside its `near`."""

Mosaic = Literal["day", "none"]
_catalogues: list[str] | None = None


def configure(catalogues: Sequence[str]) -> None:
    """Set the catalogues that load_collection knows, instead of those in OPENEO_NC_CATALOGUES.

    Parameters
    ----------
    catalogues
        URLs or paths of STAC APIs, static catalogues or collections, searched in this order.
    """
    global _catalogues
    _catalogues = list(catalogues)


def catalogues() -> list[str]:
    """The catalogues in use: those configured, else the comma-separated OPENEO_NC_CATALOGUES."""
    if _catalogues is not None:
        return list(_catalogues)
    given = os.environ.get("OPENEO_NC_CATALOGUES", "")
    return [part.strip() for part in given.split(",") if part.strip()]


def collection_url(collection_id: str) -> str:
    """URL of a collection in the catalogues in use; CollectionNotFoundError if none has it."""
    return find_collection(collection_id, catalogues())


def load(
    url: str | Sequence[Json],
    query: Query | None = None,
    bands: Sequence[str] | None = None,
    *,
    resolution: float | Sequence[float] | None = None,
    crs: int | str | None = None,
    resampling: str | Mapping[str, str] | None = None,
    mosaic: Mosaic = "day",
    tile: int = TILE,
) -> xr.DataArray:
    """A lazy raster cube `(t, bands, y, x)` float32, NaN where there is no data.

    Values are physical (`raster:scale` and `raster:offset` applied, attribute `nc:scale` = 1)
    where the items state a scale, else as stored. The cube covers the pixels whose centres are in
    the extent. An item with a Zarr asset is opened instead, see `archive.py`.

    Parameters
    ----------
    url
        Item, ItemCollection, Catalog or Collection, static or of an API; or items found there.
    query
        Extents and filters; default all.
    bands
        Names of assets, bands or common names, in the order wanted; default all data bands.
    resolution
        Pixel size in units of the CRS, one number or (x, y); default the finest of the bands.
    crs
        EPSG code or WKT to resample to; default that of the items.
    resampling
        Method, or methods by band, for bands whose pixels are not the cube's; default bilinear.
        Bands of classes are always read by nearest neighbour.
    mosaic
        `"day"` merges the items of a UTC day, `"none"` keeps each.
    tile
        Chunks end at the tiles of this size.

    Raises
    ------
    NoDataAvailableError, AssetMissingError, GridMismatchError, InvalidParameterError,
    InvalidValuesError
    """
    if mosaic not in ("day", "none"):
        raise InvalidParameterError(f"mosaic must be 'day' or 'none'; given {mosaic!r}.")
    query = query or Query()
    items = find_items(url, query)
    if archive.holds(items):
        return archive.load(items, query, bands)
    names = list(bands) if bands else band_names(items[0])
    if not names or len(set(names)) != len(names):
        raise InvalidParameterError(f"bands must name at least one band, each once; given {names}.")
    table = [[find_asset(item, name) for name in names] for item in items]
    target = choose(
        table,
        query.spatial,
        crs=None if crs is None else known_crs(crs),
        resolution=pixel_size(resolution),
        tile=tile,
    )
    kept = [i for i, row in enumerate(table) if any(_covers(asset, target) for asset in row)]
    if not kept:
        where = url if isinstance(url, str) else f"{len(url)} items"
        raise NoDataAvailableError(f"No item of {where} has pixels in the extent {target.bounds}.")
    items, table = [items[i] for i in kept], [table[i] for i in kept]
    methods = _methods(names, table, resampling)
    request = Request(
        url=url, query=query, items=items, table=table, methods=dict(methods), target=target,
        crs=None if crs is None else known_crs(crs), resolution=pixel_size(resolution),
        by_day=mosaic == "day",
    )  # fmt: skip
    cube = _mosaic(_stack(items, table, names, methods, target), items, mosaic)
    placed: xr.DataArray = cube.rio.write_crs(target.grid.crs).rio.write_transform()
    cube = within(placed, query.spatial)
    for i, name in enumerate(names):
        if all(native(row[i], target) for row in table):
            methods[name] = "none"
    cube = cube.assign_attrs(_attributes(items, table, names, methods, mosaic)).rename(None)
    return with_surroundings(cube, request)


def _stack(
    items: Sequence[Json],
    table: Sequence[Sequence[Asset]],
    names: Sequence[str],
    methods: Mapping[str, str],
    target: Target,
) -> xr.DataArray:
    """One date an item, in their order, through stackstac.

    stackstac is given items that say only what it needs: in place of an asset's URL the `Source`
    that our reader takes, no scale (the reader applies it), and for each asset the bounds of the
    whole target, since it would drop dates and bands that it thinks are outside. It knows a CRS by
    EPSG code only and compares just these; the reader takes the CRS from the Source.
    """
    plain = [
        {
            "type": "Feature",
            "id": str(item["id"]),
            "properties": {
                "datetime": period(item)[0].isoformat(),
                "proj:epsg": 4326,
                "proj:bbox": target.bounds,
            },
            "assets": {
                name: {
                    "href": Source(
                        asset=asset, crs=target.grid.crs, resampling=methods[name],
                        nodata_topic=on_error.topic(),
                    )
                }
                for name, asset in zip(names, row, strict=True)
            },
        }
        for item, row in zip(items, table, strict=True)
    ]  # fmt: skip
    chunks_y, chunks_x = target.chunks
    stacked = stackstac.stack(
        plain,
        assets=list(names),
        epsg=4326,
        bounds=target.bounds,
        resolution=target.resolution,
        snap_bounds=False,
        chunksize=(1, -1, chunks_y, chunks_x),
        dtype=np.dtype("float32"),
        fill_value=np.float32("nan"),
        rescale=False,
        sortby_date=False,
        xy_coords=False,
        properties=False,
        band_coords=False,
        reader=BandReader,
    )
    return xr.DataArray(
        stacked.data,
        dims=RASTER,
        coords={
            T: pd.DatetimeIndex([_naive(period(item)[0]) for item in items]).as_unit("ns"),
            BANDS: list(names),
            Y: target.y,
            X: target.x,
        },
    )


def _mosaic(cube: xr.DataArray, items: Sequence[Json], mosaic: Mosaic) -> xr.DataArray:
    days: dict[Any, list[int]] = {}
    for i, item in enumerate(items):
        first = period(item)[0]
        days.setdefault(first.date() if mosaic == "day" else i, []).append(i)
    if len(days) == len(items):
        return cube
    layers = []
    for members in days.values():
        layer = cube.data[members[0]]
        for i in members[1:]:
            layer = da.where(da.isnan(layer), cube.data[i], layer)
        layers.append(layer)
    merged = cube.isel({T: [members[0] for members in days.values()]})
    return merged.copy(data=da.stack(layers).rechunk({0: 1}))


def _methods(
    names: Sequence[str], table: Sequence[Sequence[Asset]], asked: str | Mapping[str, str] | None
) -> dict[str, str]:
    """How each band is brought to the cube's pixels where they are not its own."""
    by_band = dict(asked) if isinstance(asked, Mapping) else {}
    default = asked if isinstance(asked, str) else RESAMPLING
    if unknown := sorted(set(by_band) - set(names)):
        raise InvalidParameterError(f"resampling names {', '.join(unknown)}, not in the bands.")
    methods: dict[str, str] = {}
    for i, name in enumerate(names):
        classes = any(row[i].classes for row in table)
        method = by_band.get(name, "nearest" if classes and default in METHODS else default)
        allowed = [m for m in METHODS if m in ("nearest", "near", "mode") or not classes]
        if method not in allowed:
            kind = "classes" if classes else "values"
            raise InvalidParameterError(
                f"resampling of '{name}', a band of {kind}, must be one of {', '.join(allowed)}; "
                f"given {method!r}."
            )
        methods[name] = METHODS[method].name
    return methods


def _attributes(
    items: Sequence[Json],
    table: Sequence[Sequence[Asset]],
    names: Sequence[str],
    methods: Mapping[str, str],
    mosaic: Mosaic,
) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "nc:resampling": ", ".join(f"{name}: {methods[name]}" for name in names),
        "nc:mosaic": "first valid of a UTC day, by datetime, then id"
        if mosaic == "day"
        else "none",
        "nc:items": [str(item["id"]) for item in items],
    }
    columns = [[row[i] for row in table] for i in range(len(names))]
    for name, column in zip(names, columns, strict=True):
        if len({asset.scaled for asset in column}) > 1:
            silent = next(asset.item for asset in column if not asset.scaled)
            raise InvalidValuesError(
                f"Some items state raster:scale for '{name}' and others, such as '{silent}', do "
                "not, so their numbers cannot stand in one cube. Load them apart."
            )
    measured = [column for column in columns if not column[0].classes]
    if measured and all(column[0].scaled for column in measured):
        attributes[SCALE] = 1.0
    return attributes


def _covers(asset: Asset, target: Target) -> bool:
    return overlap(bounds_in(asset, target.grid.crs), target)


def pixel_size(value: Any) -> tuple[float, float] | None:
    """A resolution as width and height; InvalidParameterError if it is none."""
    if value is None:
        return None
    pair = [value, value] if isinstance(value, Real) else list(value)
    if len(pair) != 2 or not all(isinstance(v, Real) and float(v) > 0 for v in pair):
        raise InvalidParameterError(
            f"resolution must be a number above 0, or two of them (x, y); given {value!r}."
        )
    return float(pair[0]), float(pair[1])


def _naive(moment: dt.datetime) -> dt.datetime:
    return moment.astimezone(dt.UTC).replace(tzinfo=None)
