"""Loads embeddings that lie ready: which reader takes a URL, and what extents leave of it.

a folder with zarr.json            a store of ours
.tif                               our COGs, AlphaEarth's, or bands of floats
.npy                               a TESSERA tile
.parquet                           a table: ours, Clay's, Major TOM's
STAC (JSON, or any other URL)      Items whose asset `embeddings` is one of these
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import xarray as xr

from openeo_nc.cubes import archive
from openeo_nc.cubes.addresses import guard
from openeo_nc.cubes.catalogue import find_items
from openeo_nc.cubes.dims import EMBEDDING, T, X, Y, labels
from openeo_nc.cubes.embedding_mosaic import joined
from openeo_nc.cubes.embedding_rasters import open_raster, open_tile
from openeo_nc.cubes.embedding_store import open_embeddings
from openeo_nc.cubes.embedding_tables import open_table
from openeo_nc.cubes.places import place_of, zarr_location
from openeo_nc.cubes.query import Query, period
from openeo_nc.cubes.remote_file import Source
from openeo_nc.cubes.stored import open_cube
from openeo_nc.cubes.within import within
from openeo_nc.errors import (
    AssetMissingError,
    InvalidParameterError,
    NoDataAvailableError,
    OpenEONCError,
)

ASSET = "embeddings"
"""Key of the asset that STAC's embeddings extension asks for."""


def load_vectors(
    url: str,
    query: Query | None = None,
    dimensions: Sequence[str] | None = None,
    *,
    landmask: str | None = None,
) -> xr.DataArray:
    """The embedding cube at a URL, float32 (lazy).

    A raster cube `(t, embedding, y, x)`, without t where the source tells no date; of tables whose
    patches lie on no regular grid a vector cube `(geometry, embedding)`.

    Parameters
    ----------
    url
        URL or path.
    query
        Extents; default all.
    dimensions
        Labels of the embedding dimension, in the order wanted; default all.
    landmask
        Of a TESSERA tile, if it is not where geotessera puts it.

    Raises
    ------
    AssetMissingError, FormatUnsuitableError, NoDataAvailableError, GridMismatchError,
    InvalidParameterError, AddressRefusedError
    """
    query = query or Query()
    suffix = _suffix(url)
    if suffix or _is_store(url):
        cube = _within(_open(url, suffix, query, None, landmask), query)
    else:
        cube = _of_items(url, query)
    return cube if dimensions is None else _selected(cube, dimensions, url)


def _suffix(url: str) -> str | None:
    """The ending that says what a file is; None of STAC and stores."""
    ending = Path(urlsplit(url).path if "://" in url else url).suffix.lower()
    return ending if ending in (".tif", ".tiff", ".npy", ".parquet") else None


def _is_store(url: str) -> bool:
    path = url.removeprefix("file://").rstrip("/")
    return path.endswith(".zarr") or ("://" not in path and (Path(path) / "zarr.json").is_file())


def _open(
    url: str, suffix: str | None, query: Query, moment: pd.Timestamp | None,
    landmask: str | None = None, of: str | None = None,
) -> xr.DataArray:  # fmt: skip
    href = url.removeprefix("file://")
    if (by := guard()) is not None:
        for one in filter(None, (href, landmask)):
            by.check(one, of=of)
    if suffix in (".tif", ".tiff"):
        return open_raster(href, moment)
    if suffix == ".npy":
        return open_tile(Source(href=href, guard=by), moment, landmask)
    if suffix == ".parquet":
        return open_table(Source(href=href, guard=by), query)
    try:
        quantised = open_embeddings(zarr_location(place_of(href)))
        return open_cube(href) if quantised is None else quantised
    except OpenEONCError:
        raise
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise AssetMissingError(f"The store {href} cannot be opened: {error}") from error


def _of_items(url: str, query: Query) -> xr.DataArray:
    cubes, empty = [], None
    for item in find_items(url, query):
        asset = _asset(item)
        href = str(asset["href"])
        if not (suffix := _suffix(href)) and not _is_store(href):
            raise AssetMissingError(
                f"The embeddings of item '{item.get('id')}' ({href}) are of no format that is read."
            )
        first, last = period(item)
        # a raster has the one date that its Item gives it, which matched as the period that it is of
        asked = replace(query, temporal=None) if suffix and first != last else query
        try:
            cube = _open(href, suffix, query, pd.Timestamp(first), of=url)
            cubes.append(_within(cube, asked))
        except NoDataAvailableError as error:  # an Item's box is wider than its patches
            empty = error
    if not cubes and empty is not None:
        raise empty
    return joined(cubes)


def _asset(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The asset `embeddings`, or the only one of data."""
    assets: Mapping[str, Mapping[str, Any]] = item.get("assets") or {}
    if ASSET in assets:
        return assets[ASSET]
    data = [a for a in assets.values() if "data" in (a.get("roles") or ())]
    if len(data) != 1:
        raise AssetMissingError(
            f"Item '{item.get('id')}' has no asset '{ASSET}'; it has {', '.join(assets) or 'none'}."
        )
    return data[0]


def _within(cube: xr.DataArray, query: Query) -> xr.DataArray:
    """The part of a raster cube in the extents; rows of tables were selected before."""
    if not {X, Y} <= set(cube.dims):
        return cube
    cube = archive.dated(cube, query.temporal)
    if not cube.sizes.get(T, 1):
        raise NoDataAvailableError("The embeddings have no date in the temporal extent.")
    return within(archive.cropped(cube, query.spatial), query.spatial)


def _selected(cube: xr.DataArray, names: Sequence[str], url: str) -> xr.DataArray:
    known = labels(cube, EMBEDDING)
    if missing := [str(name) for name in names if name not in known]:
        raise InvalidParameterError(
            f"The embeddings of {url} have no dimension {', '.join(missing)}; they have "
            f"{known[0]} to {known[-1]}."
        )
    return cube.isel({EMBEDDING: [known.index(str(name)) for name in names]})
